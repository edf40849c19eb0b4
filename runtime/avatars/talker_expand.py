"""A talker in one small file, unpacked to the folders that a training and a recording of GaussianTalker leave.

The file holds the network and its Gaussians at 16 bits, the camera's track, and which Gaussians of another avatar are
the torso: that avatar's own renderer draws them at each pose of the track, once. demos/train_demo_talker.py writes it.
"""

import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from marotte.errors import MarotteError, MarotteWarning
from marotte.models.ply import write_ply_vertices
from marotte.models.rotations import matrix_to_rotvec
from marotte.models.splatting_files import gaussian_columns
from marotte.models.splatting_npz import Parts, write_splats
from marotte.models.torch_writer import write_torch
from marotte.runtime.avatar import Avatar, load_avatar
from marotte.runtime.background import Background
from marotte.runtime.cameras import CameraTrack, write_cameras
from marotte.runtime.cameras.formats.gaussian_talker import euler_to_matrix
from marotte.runtime.contracts import Drive, RenderOptions
from marotte.runtime.head import HeadState
from marotte.runtime.places import cache_folder
from marotte.runtime.recording import camera_of
from marotte.runtime.registry import create
from marotte.runtime.splats import avatar_head, avatar_splats

FORMAT = "marotte-talker-1"
MODEL, DATA = "model", "data"
NETWORK, GAUSSIANS, TRACK, TORSO = "network.", "gaussians.", "track.", "torso"
# What the published training calls its last step.
_ITERATION = "iteration_10000"
_LAYOUT = 2  # of what is unpacked; another number unpacks anew
_BATCH = 8
_SH = 16
_ROWS = ("face_ids", "bary", "uvd", "rotations_wxyz", "log_scales", "opacity_logits", "sh")
_CFG_ARGS = (
    "Namespace(sh_degree=3, source_path='data', d_model=64, n_head=2, n_layer=1, drop_prob=0.2, ffn_hidden=128, "
    "net_width=128, "
    "defor_depth=2, posebase_pe=10, scale_rotation_pe=2, opacity_pe=2, kplanes_config={'grid_dimensions': 2, "
    "'input_coordinate_dim': 3, 'output_coordinate_dim': 32, 'resolution': [64, 64, 64]}, multires=[1, 2], "
    "no_dx=False, no_ds=True, no_dr=False, no_do=True, no_dshs=True, static_mlp=False, empty_voxel=False, "
    "apply_rotation=False, bounds=1.6)\n"
)


def expand(avatar: Avatar) -> Path:
    """Return a folder with `model` and `data` in the published layout, made of the avatar's one file where need be.

    It lies in the user's cache folder (or $MAROTTE_EXPANDED), under the hash of the avatar's files, and appears whole.
    Needs no torch. Raises MarotteError where the file is damaged or the folder cannot be written.
    """
    source = avatar.path / avatar.network
    folder = cache_folder("expanded") / f"{avatar.name}-{avatar.sha256[:16]}-{_LAYOUT}"
    if folder.is_dir():
        return folder
    arrays, notes = _read(source)
    warnings.warn(f"unpacking avatar {avatar.name} into {folder}, once", MarotteWarning, stacklevel=2)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{avatar.name}-", dir=folder.parent))
    except OSError as error:
        raise MarotteError(
            f"cannot unpack avatar {avatar.name} into {folder.parent}: {error.strerror or error}; name another folder "
            "in MAROTTE_EXPANDED"
        ) from error
    try:
        _write_model(arrays, part / MODEL)
        _write_data(arrays, notes, part)
        part.chmod(0o755)
        # Another process may have been quicker; its folder is as good.
        with suppress(OSError):
            part.rename(folder)
    except OSError as error:
        raise MarotteError(f"cannot unpack avatar {avatar.name} into {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    if not folder.is_dir():
        raise MarotteError(f"cannot unpack avatar {avatar.name}: {folder} cannot be made")
    return folder


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    try:
        with safe_open(path, "numpy") as file:
            notes = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise MarotteError(f"{path} cannot be read ({error}): install Marotte again") from None
    if notes.get("format") != FORMAT:
        raise MarotteError(f"{path} is not a {FORMAT} file: name the network of a talker that this script made")
    return arrays, notes


def _write_model(arrays: Mapping[str, np.ndarray], folder: Path) -> None:
    place = folder / "point_cloud" / _ITERATION
    place.mkdir(parents=True)
    (folder / "cfg_args").write_text(_CFG_ARGS, encoding="utf-8")
    write_torch(place / "deformation.pth", _under(arrays, NETWORK))
    rest = _under(arrays, GAUSSIANS)
    sh = np.zeros((len(rest["xyz"]), _SH, 3), np.float32)
    sh[:, 0] = rest.pop("colours")
    write_ply_vertices(place / "point_cloud.ply", gaussian_columns(means=rest.pop("xyz"), sh=sh, **rest))


def _write_data(arrays: Mapping[str, np.ndarray], notes: Mapping[str, str], part: Path) -> None:
    from PIL import Image

    track, folder = _under(arrays, TRACK), part / DATA
    side, focal, count = int(notes["side"]), float(notes["focal"]), len(track["euler"])
    cameras = tuple(
        camera_of(euler, trans, focal, side, side) for euler, trans in zip(track["euler"], track["trans"], strict=True)
    )
    names = tuple(map(str, range(count)))
    write_cameras(CameraTrack(cameras, names, fps=Fraction(25)), folder, "gaussian-talker", allow_loss=True)
    rows = [f"{i + 1}, {i / 25:.3f}, 1, {level:.2f}" for i, level in enumerate(track["au45"])]
    (folder / "au.csv").write_text("\n".join(["frame, timestamp, success, AU45_r", *rows]) + "\n", encoding="utf-8")
    Image.new("RGB", (side, side), notes["background"]).save(folder / "bc.jpg", quality=100, subsampling=0)
    torsos = folder / "torso_imgs"
    torsos.mkdir()
    necks = np.array([matrix_to_rotvec(euler_to_matrix(euler.astype(np.float64))) for euler in track["euler"]])
    drawn = _torsos(load_avatar(notes["teacher"]), notes["variant"], arrays[TORSO], necks, side, part)

    def save(i: int, picture: np.ndarray) -> None:
        Image.fromarray(picture).save(torsos / f"{i}.png", compress_level=1)

    # One thread packs pictures while the other draws them.
    with ThreadPoolExecutor(1) as pool:
        for saved in [pool.submit(save, i, picture) for i, picture in enumerate(drawn)]:
            saved.result()


def _torsos(
    teacher: Avatar, variant: str, chosen: np.ndarray, necks: np.ndarray, side: int, folder: Path
) -> Iterator[np.ndarray]:
    """Yield pictures [side, side, 4] uint8 of some of the teacher's Gaussians, its neck turned by `necks` [F, 3]."""
    head = avatar_head(teacher)
    whole = avatar_splats(teacher, head, variant)
    rows = {name: getattr(whole, name)[chosen] for name in _ROWS}
    file = folder / "torso.npz"
    write_splats(file, replace(whole, **rows), Parts(np.zeros(len(chosen), np.uint8), ("torso",)))
    torso = replace(teacher, splats=str(file.resolve()), variants={})
    renderer = create("renderer", torso.renderer)
    stream = renderer.open(torso, RenderOptions(side, side, transparent=True, extra={"device": "cpu"}))
    camera = torso.framing("head").camera(side, side)
    for start in range(0, len(necks), _BATCH):
        turns = necks[start : start + _BATCH].astype(np.float32)
        count, zero = len(turns), np.zeros((len(turns), 3), np.float32)
        state = HeadState(
            shape=np.zeros(0, np.float32),
            expression=np.zeros((count, torso.expressions), np.float32),
            root=zero,
            neck=turns,
            jaw=zero,
            eyes=np.zeros((count, 6), np.float32),
            eyelids=np.zeros((count, 2), np.float32),
            translation=zero,
        )
        ticks = np.arange(start, start + count)
        yield from renderer.render(stream, Drive(ticks, state, (camera,) * count, Background(transparent=True))).pixels
    stream.close()
    file.unlink()


def _under(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Return the arrays whose names begin so, without that, as float32."""
    return {name.removeprefix(prefix): a.astype(np.float32) for name, a in arrays.items() if name.startswith(prefix)}
