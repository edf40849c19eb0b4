"""What is known beside the camera file: the picture's size, the video and the crop that it came from, the noise."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.models.plain_files import read_json
from marotte.models.safe_files import read_npz, read_torch
from marotte.runtime.cameras.crop_chain import tracker_crop
from marotte.runtime.cameras.track import Crop

Size = tuple[int, int]

# Names of formats as other people write them, without case and punctuation.
_ALIASES = {
    "metricaltracker": "metrical",
    "blender": "nerf",
    "instantngp": "nerf",
    "inria": "3dgs",
    "gaussiansplatting": "3dgs",
    "splattingavatar": "splatting-avatar",
    "gaussiantalker": "gaussian-talker",
    "artalk": "gagavatar",
    "p3d": "pytorch3d",
}
# The spread of a head's or a small animal's points about their mean, in metres.
_HEAD = (0.01, 0.35)


@dataclass(frozen=True)
class Setting:
    """What a file is judged against.

    format: its name, None recognises it. files: the names of the camera files in the folder, () where not said.
    image: (width, height) of the pictures. video, box: (width, height) and (left, right, top, bottom) that the
    pictures were cut from. side: of the square pictures that the crop was resized to. space: `video`, `tracked` or
    another name. points_unit: points' units per metre, None where not said. noise_px: of the landmarks per coordinate.
    """

    format: str | None = None
    files: tuple[str, ...] = ()
    image: Size | None = None
    video: Size | None = None
    box: tuple[int, int, int, int] | None = None
    side: int = 512
    space: str = ""
    points_unit: float | None = None
    noise_px: float | None = None

    @property
    def crop(self) -> Crop | None:
        """How the tracker cut the pictures, where video and box are known and fit each other."""
        if self.video is None or self.box is None:
            return None
        try:
            return tracker_crop(self.box, self.video, self.side)
        except MarotteError:
            return None

    def in_video(self, size: Size) -> bool:
        """Tell whether cameras of pictures of this size belong to the whole video."""
        return self.space.startswith("video") or (not self.space and self.video == size)

    def in_crop(self, size: Size) -> bool:
        """Tell whether cameras of pictures of this size belong to the tracker's crop."""
        return self.space.startswith("tracked") or (not self.space and size == (self.side, self.side))


@dataclass(frozen=True, eq=False)
class Landmarks:
    """points3d [P, 3] in metres; points2d [F, P, 2] continuous pixels; seen [F, P] where both are to be used."""

    points3d: np.ndarray
    points2d: np.ndarray
    seen: np.ndarray


def canonical_format(name: str) -> str:
    """Return a format's own name for any of the names that it goes by."""
    plain = re.sub("[^a-z0-9]", "", name.lower())
    return _ALIASES.get(plain, plain)


def read_setting(folder: Path, **given: Any) -> Setting:
    """Return what `puzzle.json` and `bbox.pt` in a folder say; what is given and not None comes before them.

    Raises MarotteError where one of them is damaged.
    """
    known: dict[str, Any] = {}
    if (folder / "puzzle.json").is_file():
        known = _described(folder / "puzzle.json")
    if "box" not in known and given.get("box") is None and (folder / "bbox.pt").is_file():
        known["box"] = read_box(folder / "bbox.pt")
    return Setting(**{**known, **{name: value for name, value in given.items() if value is not None}})


def read_box(path: Path) -> tuple[int, ...]:
    """Return (left, right, top, bottom) of a `bbox.pt`. Raises MarotteError where it holds something else."""
    return _whole(path, "the box", read_torch(path), 4)


def read_landmarks(path: Path, setting: Setting, unit: float) -> Landmarks:
    """Return the measured points of a file.

    `points3d` [P, 3] in the setting's unit, else in metres or, where they would be no head, in the format's `unit`;
    `points2d` [F, P, 2]; `visibility` [F, P] or [P], maybe; what is NaN or not visible is not used.
    Raises MarotteError where arrays are missing or do not fit each other.
    """
    arrays = read_npz(path)
    for name, ndim, last in (("points3d", 2, 3), ("points2d", 3, 2)):
        if name not in arrays:
            raise MarotteError(f"{path} lacks {name}: landmarks need points3d [P, 3] and points2d [frames, P, 2]")
        shape = arrays[name].shape
        if arrays[name].dtype.kind not in "fiu" or len(shape) != ndim or shape[-1] != last:
            raise MarotteError(f"{path}: {name} has shape {list(shape)}, expected {ndim} dimensions, the last {last}")
    points3d, points2d = (np.asarray(arrays[name], np.float64) for name in ("points3d", "points2d"))
    if len(points3d) != points2d.shape[1]:
        raise MarotteError(
            f"{path}: points3d has {len(points3d)} points, points2d {points2d.shape[1]}: they must agree"
        )
    seen = np.asarray(np.isfinite(points2d).all(axis=-1) & np.isfinite(points3d).all(axis=-1))
    for name in ("visibility", "visible", "mask"):
        if name in arrays:
            try:
                seen = np.asarray(seen & (np.broadcast_to(arrays[name], seen.shape) > 0))
            except ValueError:
                raise MarotteError(f"{path}: {name} has shape {list(arrays[name].shape)}, expected [F, P]") from None
    if seen.sum() < 4:
        raise MarotteError(f"{path} has {int(seen.sum())} points that can be used: at least 4 are needed")
    points3d, points2d = np.where(np.isfinite(points3d), points3d, 0), np.where(np.isfinite(points2d), points2d, 0)
    per_metre = setting.points_unit or _guessed_unit(points3d[seen.any(axis=0)], unit)
    return Landmarks(points3d / per_metre, points2d, seen)


def _guessed_unit(points: np.ndarray, unit: float) -> float:
    """Return the format's unit where only that makes the points a head, else 1."""
    spread = float(np.sqrt(np.var(points, axis=0).sum()))
    fits = [_HEAD[0] <= spread / factor <= _HEAD[1] for factor in (1.0, unit)]
    return unit if fits == [False, True] else 1.0


def _described(path: Path) -> dict[str, Any]:
    table: Mapping[str, Any] = read_json(path)
    known: dict[str, Any] = {}
    for key, name, count in (
        ("image_wh", "image", 2),
        ("video_wh", "video", 2),
        ("bbox", "box", 4),
        ("tracked_size", "side", 1),
    ):
        if table.get(key) is not None:
            values = _whole(path, key, table[key], count)
            known[name] = values[0] if count == 1 else values
    if isinstance(table.get("format"), str):
        known["format"] = canonical_format(table["format"])
    if isinstance(table.get("files"), str):
        known["files"] = tuple(table["files"].replace(",", " ").split())
    elif isinstance(table.get("files"), list):
        known["files"] = tuple(map(str, table["files"]))
    known["space"] = str(table.get("image_space") or "")
    noise = table.get("noise_px")
    if isinstance(noise, int | float) and np.isfinite(noise) and noise > 0:
        known["noise_px"] = float(noise)
    known["points_unit"] = _unit_in_words(str(table.get("points_unit") or ""))
    return known


def _unit_in_words(text: str) -> float | None:
    """Return units per metre of a text like `metre (FLAME scale 1)` or `millimetre`."""
    if scale := re.search(r"scale\s*([0-9.]*[0-9])", text):
        return float(scale[1]) or None
    if re.search(r"milli|\bmm\b", text):
        return 1000.0
    return 1.0 if re.search(r"met(re|er)|\bm\b", text) else None


def _whole(path: Path, key: str, value: Any, count: int) -> tuple[int, ...]:
    try:
        numbers = np.asarray(value, np.float64).ravel()
    except (TypeError, ValueError):
        numbers = np.zeros(0)
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise MarotteError(f"{path}: {key} is {value!r}, expected {count} whole numbers")
    return tuple(int(number) for number in numbers)
