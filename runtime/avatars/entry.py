"""One tracked picture of GAGAvatar: an entry of `tracked.pt`, checked, and as an avatar keeps it.

An entry is a dict: `image` [3, 512, 512] RGB in 0..1, matted on black; `transform_matrix` [3, 4], PyTorch3D's [R | t]
of FLAME times 5; `shapecode` [300]; and, not used for drawing, `expcode` [100], `posecode` [6], `eyecode` [6], `bbox`
[4].
Source: reference/gagavatar/SPEC.md, section 11.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from marotte.errors import MarotteError, unknown_name
from marotte.models.plain_files import packed_npz, write_whole
from marotte.models.safe_files import read_any, read_npz
from marotte.models.torch_writer import write_torch
from marotte.runtime.camera import Camera
from marotte.runtime.cameras import values
from marotte.runtime.cameras.formats.gagavatar import SIZE, UNIT, gagavatar_to_opencv

TRACKER = "GAGAvatar_track (github.com/xg-chu/GAGAvatar_track)"
SHAPES = 300
_FILE = "tracked.pt"
_SUFFIXES = (".pt", ".pth", ".pkl", ".npz")
_NEEDED = {"image": (3, SIZE, SIZE), "transform_matrix": (3, 4), "shapecode": (SHAPES,)}
_MORE = {"expcode": (100,), "posecode": (6,), "eyecode": (6,), "bbox": (4,)}
# Of a head at FLAME times 5: nearer than this it is larger than the picture, farther it is a speck.
_NEAREST, _FARTHEST = 3.0, 50.0
# What rounding may leave beyond 0 and 1; and how many names an error lists.
_ROUNDING, _LISTED = 1e-3, 12


@dataclass(frozen=True, eq=False)
class Entry:
    """A tracked picture, float32. name: of the picture; more: what is not used for drawing, where it is there."""

    name: str
    image: np.ndarray
    transform_matrix: np.ndarray
    shapecode: np.ndarray
    more: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Whether the picture is black all over."""
        return not self.image.any()


def holds_entries(path: Path) -> bool:
    """Tell whether a file, or one in a folder, is GAGAvatar's, by its first bytes."""
    return path.exists() and bool(_candidates(path))


def read_entry(path: Path, name: str | None = None) -> Entry:
    """Return one tracked picture of a file, or of the file in a folder.

    name: which one of several. Raises MarotteError, which lists the names, where that stays open, and with one line
    that says what is wrong with the entry and what would make it right.
    """
    files = _candidates(path)
    if len(files) > 1:
        raise MarotteError(f"{path} holds {', '.join(file.name for file in files)}: name one of these files")
    file = files[0] if files else path
    content = read_any(file)
    if not isinstance(content, Mapping) or not content:
        raise MarotteError(f"{file} holds {_what(content)}, not tracked pictures: {TRACKER} makes them of a photo")
    if "transform_matrix" in content or "image" in content:
        return entry_from(file, name or file.stem, content)
    names = [str(key) for key in content]
    listed = ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
    if not any(isinstance(item, Mapping) and set(item) & set(_NEEDED) for item in content.values()):
        raise MarotteError(f"{file} holds {listed}, none of it a tracked picture: {TRACKER} makes them of a photo")
    if name is None and len(names) > 1:
        raise MarotteError(f"{file} holds {len(names)} tracked pictures: name one with --entry ({listed})")
    chosen = names[0] if name is None else name
    if chosen not in names:
        raise unknown_name(f"tracked picture of {file}", chosen, names[:_LISTED] if len(names) > _LISTED else names)
    item = next(value for key, value in content.items() if str(key) == chosen)
    if not isinstance(item, Mapping):
        raise MarotteError(f"{file}: {chosen} is {_what(item)}, not a tracked picture: {TRACKER} makes them of a photo")
    return entry_from(file, chosen, item)


def entry_from(file: Path, name: str, item: Mapping[str, Any]) -> Entry:
    """Return the entry in a dict of arrays or lists. file: what errors name.

    Raises MarotteError with one line that says what is wrong and what would make it right.
    """
    missing = [key for key in _NEEDED if key not in item]
    if missing:
        raise MarotteError(f"{file}: {name} lacks {', '.join(missing)}: {TRACKER} writes them, track the photo with it")
    _check_picture(file, name, item["image"])
    arrays = {key: values.numbers(file, item, key, shape, name) for key, shape in _NEEDED.items()}
    more = {key: values.numbers(file, item, key, shape, name) for key, shape in _MORE.items() if key in item}
    _check_range(file, name, arrays["image"])
    _check_camera(file, name, arrays["transform_matrix"])
    arrays["image"] = arrays["image"].clip(0, 1)
    image, matrix, shape = (np.ascontiguousarray(array, np.float32) for array in arrays.values())
    return Entry(name, image, matrix, shape, {key: array.astype(np.float32) for key, array in more.items()})


def write_source(path: Path, entry: Entry) -> None:
    """Write an entry as an avatar keeps it: an npz of its arrays.

    The picture is in bytes k where it is k / 255 in float32 all over, so that it comes back exactly.
    """
    levels = np.rint(entry.image * np.float32(255)).clip(0, 255).astype(np.uint8)
    image = levels if np.array_equal(_from_bytes(levels), entry.image) else entry.image
    arrays = {"image": image, "transform_matrix": entry.transform_matrix, "shapecode": entry.shapecode, **entry.more}
    arrays["name"] = np.array(entry.name)
    write_whole(path, packed_npz(arrays))


def read_source(path: Path) -> Entry:
    """Return the entry that an avatar keeps. Raises MarotteError where the file is damaged or no entry."""
    content = dict(read_npz(path))
    image = content.get("image")
    if isinstance(image, np.ndarray) and image.dtype == np.uint8:
        content["image"] = _from_bytes(image)
    return entry_from(path, str(content.get("name", path.stem)), content)


def write_tracked(path: Path, entry: Entry) -> None:
    """Write a `tracked.pt` of one entry. Raises MarotteError where it cannot be written."""
    arrays = {"image": entry.image, "transform_matrix": entry.transform_matrix, "shapecode": entry.shapecode}
    write_torch(path, {entry.name: {**entry.more, **arrays}})


def picture(entry: Entry) -> np.ndarray:
    """Return the picture as bytes [512, 512, 3], for people."""
    return np.moveaxis(np.floor(entry.image * 255 + 0.5).clip(0, 255).astype(np.uint8), 0, -1)


def _from_bytes(levels: np.ndarray) -> np.ndarray:
    return levels.astype(np.float32) / np.float32(255)


def _candidates(path: Path) -> list[Path]:
    """Return the files of entries that a path leads to: the file, or those in a folder, `tracked.pt` before others."""
    if path.is_file():
        return [path] if _holds(path) else []
    if (path / _FILE).is_file():
        return [path / _FILE]
    try:
        return sorted(file for file in path.iterdir() if file.is_file() and _holds(file))
    except OSError:
        return []


def _holds(file: Path) -> bool:
    if file.suffix.lower() not in _SUFFIXES:
        return False
    if file.suffix.lower() == ".npz":
        try:
            with np.load(file, allow_pickle=False) as archive:
                return {"transform_matrix", "shapecode"} <= set(archive.files)
        except Exception:
            return False
    return values.pickle_has(file, _FILE, "transform_matrix", "shapecode")


def _check_picture(file: Path, name: str, image: Any) -> None:
    """Raise MarotteError where a picture is of another form, with what would make it right."""
    shape = tuple(np.shape(image))
    wanted = f"expected [3, {SIZE}, {SIZE}]"
    if shape == (SIZE, SIZE, 3):
        raise MarotteError(f"{file}: {name}.image has shape {list(shape)}, {wanted}: put the colours first")
    if shape != _NEEDED["image"]:
        raise MarotteError(
            f"{file}: {name}.image has shape {list(shape)}, {wanted}: {TRACKER} cuts and resizes it, do not resize it "
            "after tracking"
        )


def _check_range(file: Path, name: str, image: np.ndarray) -> None:
    low, high = float(image.min()), float(image.max())
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        why = "it is in 0..255: divide it by 255" if low >= 0 and high <= 255 else f"{TRACKER} writes 0..1"
        raise MarotteError(f"{file}: {name}.image goes from {low:.4g} to {high:.4g}, expected 0 to 1: {why}")


def _check_camera(file: Path, name: str, matrix: np.ndarray) -> None:
    """Raise MarotteError where a matrix is no camera, or does not look at a head of FLAME times 5."""
    try:
        camera = gagavatar_to_opencv(matrix)
    except MarotteError:
        turn = matrix[:, :3]
        raise MarotteError(
            f"{file}: {name}.transform_matrix has no rotation in it (determinant {np.linalg.det(turn):.3g}, off by "
            f"{np.abs(turn @ turn.T - np.eye(3)).max():.3g}): expected PyTorch3D's [R | t] as {TRACKER} writes it"
        ) from None
    distance = float(camera.t[2])
    if _NEAREST <= distance <= _FARTHEST:
        _check_view(file, name, camera)
        return
    why = "the head is behind the camera" if distance <= 0 else "no head of FLAME times 5 is seen so"
    if _NEAREST <= distance * UNIT <= _FARTHEST:
        why = f"that is FLAME's own unit, multiply t by {UNIT:g}"
    raise MarotteError(
        f"{file}: {name}.transform_matrix has t_z {distance:.4g}: {why}; {TRACKER} gives about 9, `marotte doctor` "
        "names other faults"
    )


def _check_view(file: Path, name: str, camera: Camera) -> None:
    """Raise MarotteError where a head at the world's origin is not in the picture, or looks the other way."""
    column, row = (float(value) for value in camera.project(np.zeros(3)))
    if not (0 <= column <= SIZE and 0 <= row <= SIZE):
        raise MarotteError(
            f"{file}: {name}.transform_matrix puts the head at pixel ({column:.0f}, {row:.0f}), outside the picture of "
            f"{SIZE}x{SIZE}: `marotte doctor` names what is wrong with a camera"
        )
    # FLAME's face looks along z.
    if camera.R[2, 2] > 0:
        raise MarotteError(
            f"{file}: {name}.transform_matrix sees the head from behind: `marotte doctor` names what is wrong with a "
            "camera"
        )


def _what(content: Any) -> str:
    empty = content is None or (isinstance(content, Mapping) and not content)
    return "nothing" if empty else f"a {type(content).__name__}"
