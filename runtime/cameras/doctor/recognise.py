"""Which format a file or folder is of, by its content, and its lenient reading."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from marotte.errors import MarotteError
from marotte.models.plain_files import read_bytes
from marotte.models.safe_files import read_any
from marotte.runtime.cameras.doctor.read_arrays import (
    read_gagavatar,
    read_mammal,
    read_metrical,
    read_pytorch3d,
    read_splatting_avatar,
    read_talker,
)
from marotte.runtime.cameras.doctor.read_json import read_facelift, read_imavatar, read_transforms, read_viewer
from marotte.runtime.cameras.doctor.readings import Reader, Reading
from marotte.runtime.cameras.doctor.setting import Setting

READERS: dict[str, Reader] = {
    "metrical": read_metrical,
    "insta": partial(read_transforms, kind="insta"),
    "nerf": partial(read_transforms, kind="nerf"),
    "imavatar": read_imavatar,
    "3dgs": read_viewer,
    "splatting-avatar": read_splatting_avatar,
    "gaussian-talker": read_talker,
    "gagavatar": read_gagavatar,
    "facelift": read_facelift,
    "mammal": read_mammal,
    "pytorch3d": read_pytorch3d,
}
# What lies beside cameras and is none.
_NOT_CAMERAS = {"puzzle.json", "landmarks.npz", "answers.json", "correct_poses.npz", "bbox.pt"}
_INSTA_TOP = {"integer_depth_scale", "x_fov"}
_INSTA_FRAME = {"mesh_path", "exp_path", "depth_path", "seg_mask_path"}


def read_as_published(path: Path, setting: Setting) -> Reading:
    """Return the cameras of a file or folder as the reader of its format takes them, faulty or not.

    Raises MarotteError where there are none, where they are damaged, and where the format is not known.
    """
    if not path.exists():
        raise MarotteError(f"{path} is not there: name a camera file or a folder of them")
    name, file = _located(path, setting if setting.format in READERS else replace(setting, format=None))
    reading = READERS[name](file, setting)
    if not len(reading):
        raise MarotteError(f"{file} has no camera in it")
    return reading


def _located(path: Path, setting: Setting) -> tuple[str, Path]:
    """Return the format's name and the file (the folder, for metrical-tracker)."""
    if path.is_file():
        return setting.format or _named(path), path
    tracked = sorted(path.glob("*.frame")) or sorted(path.glob("*/*.frame"))
    if tracked:
        return "metrical", tracked[0].parent
    for name in setting.files:
        if (path / name).is_file() and name not in _NOT_CAMERAS:
            return setting.format or _named(path / name), path / name
    files = [
        file
        for file in sorted(path.iterdir())
        if file.suffix in (".json", ".pt", ".pkl", ".npz") and file.name not in _NOT_CAMERAS
    ]
    found = [(kind, file) for file in files if (kind := _format_of(file))]
    if setting.format is not None:
        found = [(setting.format, file) for name, file in found if name == setting.format or len(found) == 1]
    # Before arrays that may be made of them come the files that trackers write; GaussianTalker's reader starts from its
    # .pt; of several transforms the whole one counts.
    found.sort(
        key=lambda pair: (
            pair[1].suffix == ".npz",
            pair[1].suffix == ".json" and pair[0] == "gaussian-talker",
            len(pair[1].stem),
        )
    )
    names = {name for name, file in found if (file.suffix == ".npz") == (found[0][1].suffix == ".npz")}
    if not found:
        raise MarotteError(f"{path} holds no camera file that is known: name the file")
    if len(names) > 1:
        raise MarotteError(f"{path} holds cameras of {' and '.join(sorted(names))}: name the file")
    return found[0]


def _named(path: Path) -> str:
    name = _format_of(path)
    if name is None:
        raise MarotteError(f"{path} is of no camera format that is known: known are {', '.join(READERS)}")
    return name


def _format_of(path: Path) -> str | None:
    """Return a file's format by its content, None where it has no cameras or cannot be read."""
    if path.suffix == ".frame":
        return "metrical"
    try:
        content = json.loads(read_bytes(path)) if path.suffix == ".json" else read_any(path)
    except ValueError as error:
        raise MarotteError(f"{path} is not valid JSON: {error}; copy or export it again") from None
    return next((name for name, test in _SIGNS.items() if test(content)), None)


def _first(content: Any) -> dict[Any, Any]:
    """Return the first entry of a list or a dict, of `frames` where there are such."""
    if isinstance(content, dict) and isinstance(content.get("frames"), list):
        content = content["frames"]
    entries = list(content.values()) if isinstance(content, dict) else content
    first = entries[0] if isinstance(entries, list | tuple) and entries else None
    return first if isinstance(first, dict) else {}


def _has(content: Any, *keys: str) -> bool:
    return isinstance(content, dict) and set(keys) <= content.keys()


def _is_insta(content: Any) -> bool:
    return bool(_INSTA_TOP & content.keys() or _INSTA_FRAME & _first(content).keys())


_SIGNS: dict[str, Callable[[Any], bool]] = {
    "metrical": lambda c: _has(c, "opencv", "camera"),
    "gaussian-talker": lambda c: _has(c, "euler", "trans") or _has(c, "focal_len", "frames"),
    "imavatar": lambda c: _has(c, "intrinsics", "frames") and "world_mat" in _first(c),
    "facelift": lambda c: _has(c, "frames") and "w2c" in _first(c),
    "insta": lambda c: _has(c, "frames") and "transform_matrix" in _first(c) and _is_insta(c),
    "nerf": lambda c: _has(c, "frames") and "transform_matrix" in _first(c),
    "3dgs": lambda c: isinstance(c, list) and {"rotation", "position"} <= _first(c).keys(),
    "mammal": lambda c: {"K", "R", "T"} <= _first(c).keys(),
    "gagavatar": lambda c: isinstance(c, dict) and "transform_matrix" in _first(c),
    "splatting-avatar": lambda c: _has(c, "R_stored", "T_stored", "intr"),
    "pytorch3d": lambda c: _has(c, "p3d_R", "p3d_T") or _has(c, "R", "T"),
}
