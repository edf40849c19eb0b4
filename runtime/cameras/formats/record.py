"""What camera files have in common: frame numbers, the size of pictures, and a record of ours.

JSON formats get one more key, `marotte`, which their published readers ignore: it holds what a CameraTrack knows and
the format has no place for (the crop, the unit), so that a file that we wrote reads back whole.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from marotte.errors import MarotteError
from marotte.runtime.cameras import values
from marotte.runtime.cameras.track import CameraTrack, Crop

RECORD = "marotte"


def picture_size(path: Path) -> tuple[int, int] | None:
    """Return (width, height) of a picture from its header, None where there is no picture to read."""
    from PIL import Image

    if not path.is_file():
        return None
    try:
        with Image.open(path) as picture:
            return picture.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


def frame_number(name: str, default: int) -> int:
    """Return the last number in a frame's name (`./image/7`, `00007.png`: 7), `default` where it has none."""
    found = re.findall(r"\d+", Path(name).stem)
    return int(found[-1]) if found else default


def frame_numbers(track: CameraTrack) -> list[int]:
    """Return the last number in each frame's name, or 0, 1, 2, ... where two frames have the same."""
    found = [frame_number(name, index) for index, name in enumerate(track.names)]
    return found if len(set(found)) == len(found) else list(range(len(found)))


def crop_to_record(track: CameraTrack) -> dict[str, Any]:
    """Return what our own key holds of a track: the unit where it is not 1, the crop where it is known."""
    record: dict[str, Any] = {} if track.unit == 1 else {"unit": track.unit}
    return record if track.crop is None else {**record, "crop": asdict(track.crop)}


def record_of(path: str | Path, table: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return our own key of a file, empty where it has none. Raises MarotteError where it is no table."""
    record = table.get(RECORD, {})
    if not isinstance(record, Mapping):
        raise MarotteError(f"{path}: {RECORD} is a {type(record).__name__}, expected names and values")
    return record


def record_to_crop(path: Path, record: Mapping[str, Any]) -> tuple[Crop | None, float]:
    """Return crop and unit from our own key of a file; without them no crop and unit 1."""
    unit = values.number(path, record, "unit", RECORD) if "unit" in record else 1.0
    if unit <= 0:
        raise MarotteError(f"{path}: {RECORD}.unit is {unit:g}: it must be above 0")
    return (crop_from(path, record["crop"], f"{RECORD}.crop") if "crop" in record else None), unit


def crop_from(path: Path, table: Any, where: str) -> Crop:
    """Return the crop in a table of its fields. Raises MarotteError naming the file and the place in it."""
    parts = [
        [int(n) for n in values.numbers(path, table, name, (count,), where)]
        for name, count in (("video", 2), ("box", 4), ("padding", 2), ("size", 2))
    ]
    (width, height), (left, right, top, bottom), (across, down), (new_width, new_height) = parts
    if min(width, height, new_width, new_height, right - left, bottom - top) < 1 or min(across, down) < 0:
        raise MarotteError(f"{path}: {where} is empty: video, box, padding and size are {parts}")
    return Crop((width, height), (left, right, top, bottom), (across, down), (new_width, new_height))
