"""FLAME parameters that come with trackers: MICA's identity, DECA's and EMOCA's code dictionaries.

MICA writes `identity.npy`: 300 shape coefficients. DECA and EMOCA write dictionaries as `.npz`, `.mat` (MATLAB 5) or
pickle: `shape` [100], `exp` [50], `pose` [6] (rotation vectors in radians: global, then jaw) and `cam` [3] (a weak
perspective camera: scale, x, y), for one frame or [T, ...]; the longer names of EMOCA's networks (`shapecode`,
`expcode`, `posecode`) are read too. All are in FLAME 2020's basis. Nothing in a file is ever run.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.models.plain_files import read_bytes
from marotte.models.safe_files import read_any
from marotte.runtime.head import HeadState

BASIS = "flame2020"
_SUFFIXES = (".npz", ".npy", ".mat", ".pkl", ".pickle", ".pt")
# What each field is called, and how many numbers it may have; None is any number up to FLAME's own.
_NAMES = {"shape": ("shape", "shapecode"), "exp": ("exp", "expcode"), "pose": ("pose", "posecode"), "cam": ("cam",)}
_WIDTHS = {"pose": 6, "cam": 3}
_MOST = {"shape": 300, "exp": 100}


@dataclass(frozen=True, eq=False)
class FaceCodes:
    """What a tracker says of T frames of a face.

    head: FLAME parameters in the basis `BASIS`; one shape for all, the mean over the frames. cam: [T, 3] scale, x and
    y of a weak perspective camera: image = scale (X.xy + (x, y)), from -1 to 1; None where there is none.
    names: T, of files and, in files with several frames, `name/3`. shape_spread: how far a frame's shape is from the
    mean at most, which is 0 where the tracker has one for all.
    """

    head: HeadState
    cam: np.ndarray | None
    names: tuple[str, ...]
    shape_spread: float


def head_state(frames: int, **fields: Any) -> HeadState:
    """Return the FLAME parameters of `frames` frames; fields of HeadState that are not given are zero.

    An expression that is not given has 100 coefficients, a shape none.
    """
    widths = {"expression": 100, "root": 3, "neck": 3, "jaw": 3, "eyes": 6, "eyelids": 2, "translation": 3}
    filled: dict[str, Any] = {name: np.zeros((frames, width)) for name, width in widths.items()}
    filled = {"shape": np.zeros(0), **filled, **fields}
    return HeadState(**{name: np.ascontiguousarray(array, dtype=np.float32) for name, array in filled.items()})


def read_codes(path: str | Path) -> HeadState:
    """Return the FLAME parameters of a file, or of a folder of files for single frames in the order of their numbers.

    Raises MarotteError as `read_face_codes` does.
    """
    return read_face_codes(path).head


def read_face_codes(path: str | Path) -> FaceCodes:
    """Return all that a file says, or a folder of files for single frames in the order of their numbers.

    A folder may hold one folder for each frame, with `shape.npy`, `exp.npy` and `pose.npy` in it. Raises MarotteError
    naming file and key where something is missing, has another shape or is not finite.
    """
    path = Path(path)
    parts = [(name, _checked(where, table)) for name, where, table in _tables(path)]
    fields = {field: [field in codes for _, codes in parts] for field in _NAMES}
    for field, has in fields.items():
        if any(has) and not all(has):
            raise MarotteError(f"{path}: {parts[has.index(False)][0]} has no {field}, other frames have")
        widths = {codes[field].shape[1] for _, codes in parts if field in codes}
        if len(widths) > 1:
            raise MarotteError(f"{path}: frames have {field} of {' and '.join(map(str, sorted(widths)))} numbers")
    joined = {field: np.concatenate([codes[field] for _, codes in parts]) for field, has in fields.items() if all(has)}
    names = tuple(name for stem, codes in parts for name in _frame_names(stem, _frames(codes)))
    pose, shapes = joined.get("pose", np.zeros((len(names), 6))), joined.get("shape", np.zeros((len(names), 0)))
    shape = shapes.mean(axis=0)
    head = head_state(
        len(names),
        shape=shape,
        expression=joined.get("exp", np.zeros((len(names), 100))),
        root=pose[:, :3],
        jaw=pose[:, 3:],
    )
    cam = joined["cam"].astype(np.float32) if "cam" in joined else None
    spread = float(np.abs(shapes - shape).max(initial=0))
    return FaceCodes(head, cam, names, spread)


def _tables(path: Path) -> list[tuple[str, Path, Mapping[str, Any]]]:
    """Return (name, file or folder, table) of a file or of each part of a folder."""
    if not path.is_dir():
        return [(path.stem, path, _table(path))]
    folders = sorted((p for p in path.iterdir() if (p / "exp.npy").is_file()), key=_natural)
    if folders:
        return [(p.name, p, _frame_folder(p)) for p in folders]
    if (path / "exp.npy").is_file():
        return [(path.name, path, _frame_folder(path))]
    files = sorted((p for p in path.iterdir() if p.is_file() and p.suffix in _SUFFIXES), key=_natural)
    if not files:
        raise MarotteError(f"{path} has no codes: expected files ending in {', '.join(_SUFFIXES)}")
    return [(p.stem, p, _table(p)) for p in files]


def _natural(path: Path) -> list[tuple[int, str]]:
    """Return what sorts `frame2` before `frame10`."""
    return [(int(n or 0), text) for n, text in re.findall(r"(\d+)|(\D+)", path.stem)]


def _frame_folder(path: Path) -> dict[str, Any]:
    """Return the arrays that EMOCA writes for one frame."""
    return {f: read_any(path / f"{f}.npy") for f in ("shape", "exp", "pose", "cam") if (path / f"{f}.npy").is_file()}


def _table(path: Path) -> Mapping[str, Any]:
    """Return the table in a file; a bare array is MICA's identity."""
    if path.suffix == ".mat":
        return _mat(path)
    content = read_any(path)
    if isinstance(content, np.ndarray) and content.dtype.kind in "fiu":
        if content.size != _MOST["shape"]:
            raise MarotteError(f"{path} holds an array {list(content.shape)}, expected MICA's identity of 300 numbers")
        return {"shape": content}
    if not isinstance(content, Mapping):
        raise MarotteError(f"{path} holds a {type(content).__name__}, expected a table with shape, exp, pose")
    return content


def _mat(path: Path) -> Mapping[str, Any]:
    """Return the arrays of a MATLAB 5 file; scipy reads these as data."""
    from scipy.io import loadmat

    if b"MATLAB 7.3" in read_bytes(path)[:128]:
        raise MarotteError(f"{path} is a MATLAB 7.3 file, only version 5 is read: save it with -v7, or as .npz")
    try:
        return loadmat(path)
    except Exception as error:  # parsers of hostile bytes fail in every way there is
        raise MarotteError(f"{path} is no MATLAB 5 file ({error}): copy or export it again") from None


def _checked(path: Path, table: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the fields [T, n] that a table has."""
    codes: dict[str, np.ndarray] = {}
    for field, names in _NAMES.items():
        key = next((name for name in names if name in table), None)
        if key is None:
            continue
        try:
            array = np.array(table[key])
            if array.dtype.kind not in "fiu":
                raise TypeError
            array = array.astype(np.float64)
        except (TypeError, ValueError, OverflowError):
            raise MarotteError(f"{path}: {key} is not an array of numbers: export it again") from None
        array = array.reshape(1, -1) if array.ndim < 2 else array[:, 0] if array.shape[1:-1] == (1,) else array
        most, exact = _MOST.get(field), _WIDTHS.get(field)
        if array.ndim != 2 or not len(array) or (exact and array.shape[1] != exact) or (most and array.shape[1] > most):
            wanted = f"{exact}" if exact else f"at most {most}"
            raise MarotteError(f"{path}: {key} has shape {list(np.shape(table[key]))}, expected [frames, {wanted}]")
        if not np.isfinite(array).all():
            raise MarotteError(f"{path}: {key} has a value that is NaN or infinite: track it again")
        codes[field] = array
    if not {"shape", "exp"} & codes.keys():
        held = ", ".join(str(key) for key in list(table)[:12] if not str(key).startswith("__"))
        raise MarotteError(f"{path} lacks shape and exp: it holds {held or 'nothing'}")
    frames = _frames(codes)
    for field, array in codes.items():
        if len(array) not in (1, frames):
            raise MarotteError(f"{path}: {field} has {len(array)} frames, other keys have {frames}")
        codes[field] = np.broadcast_to(array, (frames, array.shape[1]))
    return codes


def _frame_names(name: str, frames: int) -> list[str]:
    return [name] if frames == 1 else [f"{name}/{i}" for i in range(frames)]


def _frames(codes: Mapping[str, np.ndarray]) -> int:
    return max(len(array) for array in codes.values())
