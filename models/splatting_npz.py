"""SplattingAvatar in one compact file: `marotte-splats-1`, an npz of small whole numbers.

A Gaussian takes 17 bytes and one for its part. The canonical mesh is not in it: it is the head model's template with
the avatar's identity, which a renderer has anyway. Floats are kept as bytes over a range, or as float16; what that
loses is far below what shows (a hundredth of a millimetre, half a degree, half a step of an 8 bit colour).
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from marotte.errors import MarotteError
from marotte.models.plain_files import packed_npz, write_whole
from marotte.models.safe_files import read_npz
from marotte.models.splatting_avatar import SplattingAvatar

FORMAT = "marotte-splats-1"
_TURN = 127
_STEPS = 255
_RANGED = ("log_scales", "opacity_logits", "sh")
_FLAGS = ("with_mesh_scaling", "colours_outside", "positive_w")


class Parts(NamedTuple):
    """What each Gaussian belongs to: ids [N] uint8, indices of `names`."""

    ids: np.ndarray
    names: tuple[str, ...]


def write_splats(path: str | Path, avatar: SplattingAvatar, parts: Parts) -> None:
    """Write the Gaussians of an avatar whose centres follow the mesh; the same avatar gives the same bytes.

    Raises MarotteError where its centres do not follow the mesh, or the file cannot be written.
    """
    if not avatar.xyz_as_uvd:
        raise MarotteError(f"{path}: centres that do not follow the mesh have no place in {FORMAT}")
    faces = avatar.face_ids.astype(np.uint16 if len(avatar.faces) <= 1 << 16 else np.uint32)
    turns = avatar.rotations_wxyz / np.linalg.norm(avatar.rotations_wxyz, axis=1, keepdims=True)
    arrays = {
        "format": np.array(FORMAT),
        "mesh": np.array([len(avatar.canonical), len(avatar.faces)], np.int32),
        "face_ids": faces,
        "bary": _weights(avatar.bary),
        "d": avatar.uvd[:, 2].astype(np.float16),
        "rotations": np.round(turns * _TURN).astype(np.int8),
        "part": parts.ids.astype(np.uint8),
        "part_names": np.array(parts.names),
        "flags": np.array([getattr(avatar, flag) for flag in _FLAGS], np.uint8),
    }
    for name in _RANGED:
        values = getattr(avatar, name)
        low, high = float(values.min()), float(values.max())
        step = (high - low) / _STEPS or 1.0
        arrays[name] = np.round((values - low) / step).astype(np.uint8)
        arrays[f"{name}_range"] = np.array([low, high], np.float32)
    write_whole(Path(path), packed_npz(arrays))


def read_splats(path: str | Path, canonical: np.ndarray, faces: np.ndarray) -> SplattingAvatar:
    """Return the avatar in a file, on its canonical mesh: vertices [V, 3] and faces [F, 3].

    Raises MarotteError where the file cannot be read, or belongs to another mesh.
    """
    content = _content(path)
    mesh = _array(path, content, "mesh", (2,)).tolist()
    if mesh != [len(canonical), len(faces)]:
        raise MarotteError(
            f"{path} has Gaussians for a mesh of {mesh[0]} vertices and {mesh[1]} faces, the head model has "
            f"{len(canonical)} and {len(faces)}: name the head model that they were made for"
        )
    face_ids = _array(path, content, "face_ids", (-1,))
    count = len(face_ids)
    weights = _array(path, content, "bary", (count, 2)).astype(np.float32) / _STEPS
    uvd = np.zeros((count, 3), np.float32)
    uvd[:, 2] = _array(path, content, "d", (count,))
    ranged = {}
    for name, shape in zip(_RANGED, ((count, 3), (count,), (count, -1, 3)), strict=True):
        low, high = _array(path, content, f"{name}_range", (2,)).astype(np.float64)
        steps = _array(path, content, name, shape).astype(np.float64)
        ranged[name] = (low + steps * ((high - low) / _STEPS)).astype(np.float32)
    flags = _array(path, content, "flags", (len(_FLAGS),))
    return SplattingAvatar(
        face_ids=face_ids.astype(np.int32),
        bary=np.concatenate([1 - weights.sum(1, keepdims=True), weights], axis=1),
        uvd=uvd,
        rotations_wxyz=_array(path, content, "rotations", (count, 4)).astype(np.float32) / _TURN,
        canonical=np.asarray(canonical, np.float32),
        faces=np.asarray(faces, np.int32),
        **ranged,
        **{flag: bool(value) for flag, value in zip(_FLAGS, flags, strict=True)},
    )


def read_parts(path: str | Path) -> Parts:
    """Return what each Gaussian in a file belongs to. Raises MarotteError where it cannot be read."""
    content = _content(path)
    names = tuple(str(name) for name in _array(path, content, "part_names", (-1,)))
    ids = _array(path, content, "part", (-1,))
    if len(ids) and ids.max() >= len(names):
        raise MarotteError(f"{path} names part {ids.max()} of {len(names)}: it is damaged, get it again")
    return Parts(ids, names)


def _weights(bary: np.ndarray) -> np.ndarray:
    """The second and third weight [N, 2] as bytes; what is left for the first is never less than 0."""
    steps = np.clip(np.round(bary[:, 1:] * _STEPS), 0, _STEPS).astype(np.int64)
    steps[:, 1] -= np.maximum(steps.sum(1) - _STEPS, 0)
    return steps.astype(np.uint8)


def _content(path: str | Path) -> dict[str, Any]:
    content = read_npz(path)
    found = str(content.get("format", "none"))
    if found != FORMAT:
        raise MarotteError(f"{path} has format {found!r}, expected {FORMAT!r}: it is another file")
    return content


def _array(path: str | Path, content: dict[str, Any], name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return an array of the file that has this shape; -1 stands for any size."""
    if name not in content:
        raise MarotteError(f"{path} lacks {name!r}: it is damaged, get it again")
    array = np.asarray(content[name])
    fits = array.ndim == len(shape) and all(w in (-1, h) for w, h in zip(shape, array.shape, strict=True))
    if not fits:
        raise MarotteError(f"{path} has {name!r} of shape {list(array.shape)}, expected {list(shape)}: get it again")
    return array
