"""Is a trained GaussianTalker whole? Its network by the names and shapes of all entries, its Gaussians by columns.

Neither needs torch, and nothing in the files is run. Source: reference/gaussiantalker/SPEC.md, sections 2 and 4.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import numpy as np

from marotte.errors import MarotteError
from marotte.models.gaussian_talker import TalkerConfig
from marotte.models.gaussian_talker.config import AUDIO_CODE, CAMERA_CODE, CLASSES, EYE_CODE, WINDOWS
from marotte.models.ply import read_ply_vertices
from marotte.models.safe_files import read_torch

_NET = "deformation_net."
_BOX = _NET + "tri_plane.grid.aabb"
_HIDDEN = 64
# Numbers that each head gives for a Gaussian, beside 3 colours of each SH coefficient.
_HEADS = {"pos": 3, "scales": 3, "rotations": 4, "opacity": 1}
_REST = 45
_COLUMNS = (
    *("x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2"),
    *(f"f_rest_{i}" for i in range(_REST)),
    *("opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
)
_SHOWN = 3
_FIX = "name the folder of a whole training, or copy it again"


def check_network(path: Path, cfg_args: Mapping[str, Any]) -> tuple[TalkerConfig, np.ndarray]:
    """Return the network's sizes and the box [2, 3] that its planes fill, largest corner first.

    Raises MarotteError where an entry is missing, extra, misshapen or not finite, and where cfg_args says other sizes.
    """
    content = read_torch(path)
    if not isinstance(content, dict) or not all(isinstance(each, np.ndarray) for each in content.values()):
        raise MarotteError(f"{path} is not a flat dictionary of tensors, as a deformation.pth is: {_FIX}")
    if not is_zipfile(path):
        # Readable here, but weights are mapped from the file when it is drawn.
        raise MarotteError(f"{path} is in torch's old form, which is not a zip: load it and torch.save it again")
    shapes = {str(name): array.shape for name, array in content.items()}
    try:
        config = TalkerConfig.from_entries(shapes, cfg_args)
    except MarotteError as error:
        raise MarotteError(f"{path}: {error}") from None
    expected = expected_entries(config)
    problems = [
        *_listed("missing", [name for name in expected if name not in shapes]),
        *_listed("not GaussianTalker's", [name for name in shapes if name not in expected]),
        *_listed(
            "of another shape",
            [
                f"{name} {list(shapes[name])} (expected {list(shape)})"
                for name, shape in expected.items()
                if shapes.get(name, shape) != shape
            ],
        ),
        *_listed("not of real numbers", [name for name, array in content.items() if array.dtype.kind != "f"]),
        *_listed("with NaN or infinity", [name for name, array in content.items() if not np.isfinite(array).all()]),
    ]
    if problems:
        raise MarotteError(f"{path} is not a whole GaussianTalker network: {'; '.join(problems)}: {_FIX}")
    box = np.asarray(content[_BOX], np.float32)
    if not (box[0] > box[1]).all():
        raise MarotteError(f"{path}: {_BOX} is {box.tolist()}, expected the largest corner above the smallest: {_FIX}")
    return config, box


def check_gaussians(path: Path) -> int:
    """Return how many Gaussians a `point_cloud.ply` has.

    Raises MarotteError where it has none, lacks a column, has one that is not finite, or is not of SH degree 3.
    """
    columns = read_ply_vertices(path)
    missing = [name for name in _COLUMNS if name not in columns]
    rest = sum(name.startswith("f_rest_") for name in columns)
    if missing or rest != _REST:
        what = f"{rest} f_rest_*, expected {_REST} (SH degree 3)" if rest != _REST else f"no {', '.join(missing[:4])}"
        raise MarotteError(f"{path} has {what}: it is not a point cloud of GaussianTalker; {_FIX}")
    if not len(columns["x"]):
        raise MarotteError(f"{path} has no Gaussians: {_FIX}")
    for name in _COLUMNS:
        bad = ~(np.abs(columns[name]) <= np.finfo(np.float32).max)
        if bad.any():
            raise MarotteError(
                f"{path} has {name} {columns[name][bad][0]:g} at {int(bad.argmax())} ({int(bad.sum())} such): numbers "
                "must be finite; take an earlier iteration, or train again"
            )
    return len(columns["x"])


def expected_entries(config: TalkerConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of each entry that a `deformation.pth` of these sizes has, also of those that nothing reads."""
    names = ("pos_poc", "rotation_scaling_poc", "opacity_poc")
    entries: dict[str, tuple[int, ...]] = {name: (length,) for name, length in zip(names, config.waves, strict=True)}
    entries |= {_NET + name: shape for name, shape in _entries(config)}
    return entries


def _entries(config: TalkerConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    width, net, sh = config.d_model, config.net_width, 3 * config.sh
    yield "null_vector", (1, 1, width)
    yield "tri_plane.grid.aabb", (2, 3)
    for level, times in enumerate(config.multires):
        x, y, z = (times * cells for cells in config.planes)
        for k, (across, down) in enumerate([(x, y), (x, z), (y, z)]):
            yield f"tri_plane.grid.grids.{level}.{k}", (1, config.features, down, across)
    yield from _linear("tri_plane.feature_out.0", config.features * len(config.multires), net)
    for layer in range(1, config.depth):
        yield from _linear(f"tri_plane.feature_out.{2 * layer}", net, net)
    for name, out in {"scales": 3, "rotations": 4, "opacity": 1, "shs": sh}.items():
        yield from _head(f"tri_plane.{name}", net, net, out)
    for layer in range(config.n_layer):
        yield from _layer(f"transformer.layers.{layer}.", config)
    for name, out in {**_HEADS, "shs": sh}.items():
        yield from _head(f"{name}_deform", width, net, out)
    for i, (given, out) in enumerate([(CLASSES, 32), (32, 32), (32, 64), (64, 64)]):
        yield from _linear(f"audio_net.encoder_conv.{2 * i}", given, out, 3)
    yield from _linear("audio_net.encoder_fc1.0", 64, 64)
    yield from _linear("audio_net.encoder_fc1.2", 64, AUDIO_CODE)
    for i, (given, out) in enumerate([(AUDIO_CODE, 16), (16, 8), (8, 4), (4, 2), (2, 1)]):
        yield from _linear(f"audio_att_net.attentionConvNet.{2 * i}", given, out, 3)
    yield from _linear("audio_att_net.attentionNet.0", WINDOWS, WINDOWS)
    for name, given, hidden, out in (
        ("audio_mlp", AUDIO_CODE, _HIDDEN, width),
        ("eye_mlp", EYE_CODE, _HIDDEN, width),
        ("cam_mlp", CAMERA_CODE, _HIDDEN, width),
        ("aud_ch_att_net", AUDIO_CODE, _HIDDEN, AUDIO_CODE),
        ("eye_att_net", EYE_CODE, 16, 1),
        ("enc_x_mlp", config.features, _HIDDEN, width),
    ):
        yield f"{name}.net.0.weight", (hidden, given)
        yield f"{name}.net.1.weight", (out, hidden)


def _layer(name: str, config: TalkerConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    for part in ("w_q", "w_k", "w_v", "w_concat"):
        yield from _linear(f"{name}enc_dec_attention.{part}", config.d_model, config.d_model)
    for norm in ("norm1", "norm2"):
        yield f"{name}{norm}.gamma", (config.d_model,)
        yield f"{name}{norm}.beta", (config.d_model,)
    yield from _linear(f"{name}ffn.linear1", config.d_model, config.ffn_hidden)
    yield from _linear(f"{name}ffn.linear2", config.ffn_hidden, config.d_model)


def _head(name: str, given: int, hidden: int, out: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from _linear(f"{name}.1", given, hidden)
    yield from _linear(f"{name}.3", hidden, out)


def _linear(name: str, given: int, out: int, *kernel: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (out, given, *kernel)
    yield f"{name}.bias", (out,)


def _listed(what: str, names: list[str]) -> list[str]:
    """Return one phrase that counts the names and gives the first few, or none."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return [f"{len(names)} {what}: {', '.join(names[:_SHOWN])}{more}"] if names else []
