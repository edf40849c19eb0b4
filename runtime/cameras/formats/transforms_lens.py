"""The lens and the picture's size in `transforms.json`, as INSTA and instant-ngp read them.

Source: reference/cameras/SPEC.md, section 5.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.cameras import values
from marotte.runtime.cameras.formats.record import picture_size


class Source(NamedTuple):
    """One file, and the frames that are taken from it."""

    path: Path
    table: dict[str, Any]
    frames: list[tuple[int, dict[str, Any]]]


def focal(path: Path, where: str, level: Mapping[str, Any], axis: str, length: int) -> float | None:
    """Return the focal length in pixels of one level of a file (top or frame), None where it does not say.

    axis: `x` or `y`; length: pixels of the picture along it, which angles are turned into pixels with. The order is
    that of INSTA and instant-ngp: `x_fov` in degrees, else `fl_x`, else `camera_angle_x`, the whole angle in radians.
    """
    for key, unit in ((f"{axis}_fov", np.pi / 180), (f"fl_{axis}", 0.0), (f"camera_angle_{axis}", 1.0)):
        if key not in level:
            continue
        named = f"{path}: {where}.{key}" if where else f"{path}: {key}"
        value = values.number(path, level, key, where)
        if not unit:
            if value <= 0:
                raise MarotteError(f"{named} is {value:g} pixels: a focal length is above 0")
            return value
        if not 0 < value * unit < np.pi:
            raise MarotteError(
                f"{named} is {value:g} {'rad' if unit == 1 else 'degrees'}: the whole angle lies between "
                "0 and 180 degrees; are these degrees where radians are meant?"
            )
        return float(length / 2 / np.tan(value * unit / 2))
    return None


def said_size(level: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the picture's (width, height) as the file says it."""
    try:
        return int(level["w"]), int(level["h"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def picture_size_of(source: Source) -> tuple[int, int] | None:
    """Return the size of the first picture that is there, by which published readers turn angles into pixels."""
    for _, frame in source.frames[:1]:
        name = str(frame.get("file_path", ""))
        for image in (source.path.parent / name, source.path.parent / f"{name}.png"):
            if "\0" not in name and (size := picture_size(image)):
                return size
    return None


def intrinsics(
    source: Source, where: str, frame: Mapping[str, Any], size: tuple[int, int] | None
) -> tuple[np.ndarray, int, int]:
    """Return K of a frame and the picture's width and height."""
    path, table = source.path, source.table
    said = said_size(frame) or said_size(table)
    width, height = (said_size(frame) or size or said) or (0, 0)
    if min(width, height) < 1 or (said and min(said) < 1):
        if said:
            raise MarotteError(f"{path}: w and h are {said[0]} and {said[1]}: both must be at least 1")
        raise MarotteError(f"{path} lacks w and h, and the first picture is not there: give its size (--size)")
    fx = focal(path, where, frame, "x", width) or focal(path, "", table, "x", width)
    if fx is None:
        raise MarotteError(f"{path} lacks a focal length: none of x_fov, fl_x and camera_angle_x is in it")
    fy = focal(path, where, frame, "y", height)
    if fy is None and not any(key in frame for key in ("x_fov", "fl_x", "camera_angle_x")):
        fy = focal(path, "", table, "y", height)
    # In parts of the size that the file says, so that it follows pictures that were resized.
    old = said or (width, height)
    cx, cy = (
        values.number(path, {key: have / 2, **table, **frame}, key) / have * length
        for key, have, length in (("cx", old[0], width), ("cy", old[1], height))
    )
    return np.array([[fx, 0, cx], [0, fy or fx, cy], [0, 0, 1]]), width, height
