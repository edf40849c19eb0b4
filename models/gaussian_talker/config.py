"""The sizes of a GaussianTalker network: told by its weights, checked against what its training noted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from marotte.errors import MarotteError

# Fixed in the published code, whatever its configuration says.
WINDOWS = 8  # of audio features that a frame hears
CLASSES = 29
STEPS = 16  # rows of a window
TOKENS = 4  # audio, eye, camera, null
AUDIO_CODE = 32
EYE_CODE = 32
CAMERA_CODE = 12
# The attributes that a head each moves, by their names in Canonical: the switch that stops it.
SWITCHES = {
    "xyz": "no_dx",
    "log_scales": "no_ds",
    "quats_wxyz": "no_dr",
    "opacity_logits": "no_do",
    "sh": "no_dshs",
}
# Variants whose published code cannot run, and the entries that give them away.
_REFUSED = {"static_mlp": "static_mlp.", "empty_voxel": "empty_voxel.", "apply_rotation": None}
_NET = "deformation_net."
_FIX = "use the cfg_args and the deformation.pth of one training"


@dataclass(frozen=True)
class TalkerConfig:
    """The network's sizes; the published ones are the defaults (`64_dim_1_transformer`).

    features: of a plane at each level. planes: cells along x, y and z at the first level; multires: times so many at
    each. d_model: of a Gaussian's state and of a token. net_width: of the heads that move the attributes; depth: of
    a part that only training uses. sh: coefficients a channel. moves: which attributes a head moves, by the names of
    SWITCHES. waves: lengths of the three buffers that nothing reads.
    """

    features: int = 32
    planes: tuple[int, int, int] = (64, 64, 64)
    multires: tuple[int, ...] = (1, 2)
    d_model: int = 64
    n_head: int = 2
    n_layer: int = 1
    ffn_hidden: int = 128
    net_width: int = 128
    depth: int = 2
    sh: int = 16
    moves: frozenset[str] = frozenset(SWITCHES)
    waves: tuple[int, int, int] = (10, 2, 2)

    @classmethod
    def from_entries(
        cls, shapes: Mapping[str, Sequence[int]], cfg_args: Mapping[str, Any] | None = None
    ) -> "TalkerConfig":
        """Return the sizes of a checkpoint with entries of these shapes; how many heads look is in `cfg_args` alone.

        cfg_args: as `read_cfg_args` gives it, with the sizes of the training; what it lacks is as published. Raises
        MarotteError where entries are missing, the two disagree, or the variant is one that cannot run.
        """
        noted = dict(cfg_args or {})
        for switch, entry in _REFUSED.items():
            if _switch(noted, switch) or any(entry and entry in name for name in shapes):
                raise MarotteError(f"GaussianTalker's variant {switch} cannot run: train without it")
        levels = _levels(shapes)
        d_model = _shape(shapes, _NET + "null_vector", 3)[2]
        config = cls(
            features=_shape(shapes, f"{_NET}tri_plane.grid.grids.0.0", 4)[1],
            planes=levels[0],
            multires=tuple(_ratio(level, levels[0]) for level in levels),
            d_model=d_model,
            n_head=_whole(noted, "n_head", cls.n_head),
            n_layer=_count(shapes, _NET + "transformer.layers.{}.norm1.gamma"),
            ffn_hidden=_shape(shapes, f"{_NET}transformer.layers.0.ffn.linear1.weight", 2)[0],
            net_width=_shape(shapes, f"{_NET}pos_deform.1.weight", 2)[0],
            depth=_count(shapes, _NET + "tri_plane.feature_out.{}.weight", 2),
            sh=_shape(shapes, f"{_NET}shs_deform.3.weight", 2)[0] // 3,
            moves=frozenset(name for name, switch in SWITCHES.items() if not _switch(noted, switch)),
            waves=(
                _shape(shapes, "pos_poc", 1)[0],
                _shape(shapes, "rotation_scaling_poc", 1)[0],
                _shape(shapes, "opacity_poc", 1)[0],
            ),
        )
        config._agree(noted, levels)
        if config.sh != 16:
            raise MarotteError(f"the weights have {config.sh} SH coefficients, expected 16 (degree 3) as published")
        if config.features * len(levels) != d_model:
            found = f"{len(levels)} levels of {config.features} plane features"
            raise MarotteError(f"the weights have {found}, but d_model {d_model}: one is the width of the other")
        if d_model % config.n_head:
            raise MarotteError(f"n_head {config.n_head} does not divide the weights' d_model {d_model}: {_FIX}")
        return config

    def _agree(self, noted: Mapping[str, Any], levels: Sequence[tuple[int, int, int]]) -> None:
        """Raise MarotteError where the training notes another size than the weights have."""
        held: dict[str, Any] = {
            "d_model": self.d_model,
            "n_layer": self.n_layer,
            "ffn_hidden": self.ffn_hidden,
            "net_width": self.net_width,
            "defor_depth": self.depth,
            "posebase_pe": self.waves[0],
            "scale_rotation_pe": self.waves[1],
            "opacity_pe": self.waves[2],
        }
        for name, value in held.items():
            _same(name, noted.get(name, value), value)
        if "sh_degree" in noted:
            _same("sh_degree", noted["sh_degree"], round(self.sh**0.5) - 1)
        planes = noted.get("kplanes_config")
        if planes is None:
            return
        if not isinstance(planes, dict):
            raise MarotteError(f"cfg_args has kplanes_config {planes!r}, expected a dictionary: {_FIX}")
        _same("kplanes_config grid_dimensions", planes.get("grid_dimensions", 2), 2)
        _same("kplanes_config input_coordinate_dim", planes.get("input_coordinate_dim", 3), 3)
        _same("kplanes_config output_coordinate_dim", planes.get("output_coordinate_dim", self.features), self.features)
        resolution, multires = planes.get("resolution"), noted.get("multires", [1, 2])
        if resolution is None:
            return
        if not _wholes(resolution) or not _wholes(multires):
            raise MarotteError(f"cfg_args has resolution {resolution!r} and multires {multires!r}: {_FIX}")
        _same(
            "plane resolutions",
            [[times * cells for cells in resolution] for times in multires],
            [list(level) for level in levels],
        )


def _same(name: str, noted: Any, held: Any) -> None:
    if noted != held or isinstance(noted, bool):
        raise MarotteError(f"cfg_args has {name} {noted!r}, but the weights have {held!r}: {_FIX}")


def _shape(shapes: Mapping[str, Sequence[int]], name: str, dimensions: int) -> tuple[int, ...]:
    shape = shapes.get(name)
    if shape is None or len(shape) != dimensions:
        found = "lacks" if shape is None else f"has {list(shape)} as"
        raise MarotteError(f"the checkpoint {found} {name}: it is no GaussianTalker network; name its deformation.pth")
    return tuple(shape)


def _count(shapes: Mapping[str, Sequence[int]], pattern: str, step: int = 1) -> int:
    """Return how many entries there are in a row with numbers 0, step, ... in the pattern."""
    count = 0
    while pattern.format(count * step) in shapes:
        count += 1
    return count


def _levels(shapes: Mapping[str, Sequence[int]]) -> list[tuple[int, int, int]]:
    """Return the cells along x, y and z at each level: a plane over (a, b) is stored [1, features, b, a]."""
    pattern = _NET + "tri_plane.grid.grids.{}"
    levels = []
    for level in range(max(1, _count(shapes, pattern + ".0"))):
        over_xy = _shape(shapes, pattern.format(level) + ".0", 4)
        over_xz = _shape(shapes, pattern.format(level) + ".1", 4)
        levels.append((over_xy[3], over_xy[2], over_xz[2]))
    return levels


def _ratio(level: tuple[int, int, int], first: tuple[int, int, int]) -> int:
    times = level[0] // first[0] if first[0] else 0
    if level != tuple(times * cells for cells in first):
        raise MarotteError(f"the weights have planes of {list(level)} cells, no multiple of the first {list(first)}")
    return times


def _whole(noted: Mapping[str, Any], name: str, default: int) -> int:
    value = noted.get(name, default)
    if not _wholes([value]):
        raise MarotteError(f"cfg_args has {name} {value!r}, expected a whole number above 0: {_FIX}")
    return int(value)


def _wholes(values: Any) -> bool:
    return isinstance(values, list | tuple) and bool(values) and all(type(n) is int and n > 0 for n in values)


def _switch(noted: Mapping[str, Any], name: str) -> bool:
    value = noted.get(name, False)
    if not isinstance(value, bool):
        raise MarotteError(f"cfg_args has {name} {value!r}, expected True or False: {_FIX}")
    return value
