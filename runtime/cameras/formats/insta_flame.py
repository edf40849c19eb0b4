"""The FLAME parameters beside INSTA's `transforms.json`: one text file of numbers a frame and kind.

A frame names `exp_path` (`flame/exp/00000.txt`); `eyes_path` and the like may be named too, else the file of the same
name in a neighbouring folder (`flame/eyes/00000.txt`) counts. Rotations are 6D as metrical-tracker has them, or
rotation vectors; which one, their number says. The head's global rotation is in the camera.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.models.plain_files import read_bytes, write_whole
from marotte.models.rotations import matrix_to_rotvec, matrix_to_sixd, rotvec_to_matrix, sixd_to_matrix
from marotte.runtime.cameras.track import CameraTrack
from marotte.runtime.head import HeadState

# How many joints a kind turns.
_JOINTS = {"jaw": 1, "eyes": 2}
_KINDS = ("exp", "shape", "jaw", "eyes", "eyelids")


def sixd_to_rotvec(sixd: np.ndarray) -> np.ndarray:
    """Return rotation vectors [..., 3 J] of 6D rotations [..., 6 J], joint by joint."""
    joints = np.asarray(sixd, np.float64).reshape(*sixd.shape[:-1], -1, 6)
    return matrix_to_rotvec(sixd_to_matrix(joints)).reshape(*sixd.shape[:-1], -1)


def rotvec_to_sixd(rotvec: np.ndarray) -> np.ndarray:
    """Return 6D rotations [..., 6 J] of rotation vectors [..., 3 J], joint by joint."""
    joints = np.asarray(rotvec, np.float64).reshape(*rotvec.shape[:-1], -1, 3)
    return matrix_to_sixd(rotvec_to_matrix(joints)).reshape(*rotvec.shape[:-1], -1)


def read_head(root: Path, frames: Sequence[Mapping[str, Any]]) -> tuple[HeadState | None, str]:
    """Return the FLAME parameters of the frames, or None and the reason.

    Raises MarotteError where some frames have a kind of file and others lack it, and where a file is damaged.
    """
    paths = {kind: [_path(root, frame, kind) for frame in frames] for kind in _KINDS}
    there = {kind: [p for p in found if p is not None and p.is_file()] for kind, found in paths.items()}
    if not there["exp"]:
        named = paths["exp"][0]
        return None, f"{named} is not there: the cameras came without FLAME parameters" if named else ""
    values = {}
    for kind, found in there.items():
        if len(found) not in (0, len(frames)) and kind != "shape":
            lacking = next(p for p in paths[kind] if p is None or not p.is_file())
            raise MarotteError(f"{lacking} is not there, though {len(found)} other frames have theirs: add it")
        if found:
            values[kind] = [_numbers(path, kind) for path in (found[:1] if kind == "shape" else found)]
            if len({len(row) for row in values[kind]}) > 1:
                raise MarotteError(f"{found[0].parent} has files with different counts of numbers: export them again")
    count = len(frames)
    arrays = {kind: np.array(rows, np.float32) for kind, rows in values.items()}
    still = np.zeros((count, 6), np.float32)
    return HeadState(
        shape=arrays["shape"][0] if "shape" in arrays else np.zeros(0, np.float32),
        expression=arrays["exp"],
        root=still[:, :3],
        neck=still[:, :3],
        jaw=arrays.get("jaw", still[:, :3]),
        eyes=arrays.get("eyes", still),
        eyelids=arrays.get("eyelids", still[:, :2]),
        translation=still[:, :3],
    ), ""


def write_head(head: HeadState, root: Path, frames: Sequence[Mapping[str, Any]]) -> None:
    """Write the files of the frames where their `exp_path` says, rotations in 6D."""
    columns = {
        "exp": head.expression,
        "shape": np.broadcast_to(head.shape, (len(head), len(head.shape))),
        "jaw": rotvec_to_sixd(head.jaw),
        "eyes": rotvec_to_sixd(head.eyes),
        "eyelids": head.eyelids,
    }
    for kind, rows in columns.items():
        if not rows.shape[1]:
            continue
        for frame, row in zip(frames, rows, strict=True):
            path = _path(root, frame, kind)
            if path is None:
                raise MarotteError(f"frame {frame.get('file_path')!r} has no exp_path to write its parameters to")
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, "".join(f"{value:.9g}\n" for value in row).encode())


def losses(track: CameraTrack) -> list[str]:
    """Return what of a head neither INSTA nor metrical-tracker holds: turns of the whole head and of the neck."""
    if track.head is None:
        return []
    lost = []
    for name in ("root", "neck"):
        angle = np.degrees(np.linalg.norm(getattr(track.head, name), axis=1).max())
        if angle > 1e-3:
            lost.append(f"FLAME's {name} rotation: up to {angle:.3g} degrees (head motion has to be in the camera)")
    shift = np.abs(track.head.translation).max()
    if shift > 1e-6:
        lost.append(f"FLAME's translation: up to {shift:.3g} (head motion has to be in the camera)")
    return lost


def _path(root: Path, frame: Mapping[str, Any], kind: str) -> Path | None:
    """Return where a frame's file of a kind should be, None where the frame does not say.

    Raises MarotteError for a name that leads out of the folder.
    """
    expression = frame.get("exp_path")
    name = frame.get(f"{kind}_path")
    if name is None and isinstance(expression, str):
        beside = Path(expression)
        name = str(beside.parent.with_name(kind) / beside.name) if beside.parent.name == "exp" else None
    if not isinstance(name, str) or "\0" in name:
        return None
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise MarotteError(f"{kind}_path {name!r} leads out of {root}: expected a name such as flame/{kind}/00000.txt")
    return root / name


def _numbers(path: Path, kind: str) -> np.ndarray:
    """Return the numbers in a text file; rotations as rotation vectors."""
    try:
        array = np.array([float(word) for word in read_bytes(path).decode("utf-8", "replace").split()])
    except ValueError as error:
        raise MarotteError(f"{path} has something that is no number ({error}): export it again") from None
    if not len(array) or not np.isfinite(array).all():
        raise MarotteError(
            f"{path} {'has a number that is NaN or infinite' if len(array) else 'is empty'}: export it again"
        )
    if kind in _JOINTS:
        joints = _JOINTS[kind]
        if len(array) not in (6 * joints, 3 * joints):
            raise MarotteError(
                f"{path} has {len(array)} numbers, expected {6 * joints} (6D) or {3 * joints} (rotation vectors)"
            )
        return sixd_to_rotvec(array) if len(array) == 6 * joints else array
    if kind == "eyelids" and len(array) != 2:
        raise MarotteError(f"{path} has {len(array)} numbers, expected 2, left and right")
    return array
