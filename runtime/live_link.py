"""ARKit motion as Epic's Live Link Face writes it: one CSV row a frame, columns by name.

Columns are matched by name, whatever their order and case, so files of other ARKit recorders that
keep Apple's names read too. Head and eye rotations are Euler angles in radians (degrees are
recognised by their size) about the axes of ARKit's face anchor, which are FLAME's: yaw about y
(positive to the person's left), pitch about x (positive down), roll about z (positive towards the
person's right shoulder).
"""

import csv
import re
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np

from marotte.errors import MarotteError
from marotte.models.rotations import matrix_to_rotvec
from marotte.runtime.arkit import ACTIONS, SLOT, eye_rotations, jaw_rotation
from marotte.runtime.motion import WIDTH, Motion

_JAW = ("jawOpen", "jawLeft", "jawRight")
_HEAD = ("headYaw", "headPitch", "headRoll")
_EYES = (("leftEyeYaw", "leftEyePitch"), ("rightEyeYaw", "rightEyePitch"))
_TIMECODE = re.compile(r"^(\d+):(\d+):(\d+)[:;](\d+(?:\.\d+)?)$")
_DEVICE_RATES = (24, 25, 30, 60)
_DAY = 86400.0


def read_live_link(path: Path, *, fps: Fraction | None = None) -> Motion:
    """Read a Live Link Face CSV as `arkit52` motion with eyes.

    Rows are put on an even time line at the device's rate (from the time codes; 60 fps without
    them, or `fps`), so dropped and doubled rows and those without a face do not shift the rest.
    jawOpen, jawLeft and jawRight become the jaw rotation.
    """
    table = _read_table(path)
    missing = [name for name in ACTIONS if name.lower() not in table.cells]
    if missing:
        raise MarotteError(f"{path} lacks ARKit's columns {', '.join(missing[:4])}{' ...' if len(missing) > 4 else ''}")
    columns = {
        name.lower(): _numbers(path, name, table.cells[name.lower()])
        for name in (*ACTIONS, *_HEAD, *chain(*_EYES))
        if name.lower() in table.cells
    }
    count = len(table.rows)
    seconds, rate = _timeline(table, fps)

    codes = np.zeros((count, WIDTH))
    for name in ACTIONS:
        codes[:, SLOT[name]] = np.clip(columns[name.lower()], 0, 1)
    codes[:, 103:106] = jaw_rotation(*(codes[:, SLOT[name]] for name in _JAW))
    codes[:, [SLOT[name] for name in _JAW]] = 0
    if all(name.lower() in columns for name in _HEAD):
        yaw, pitch, roll = _radians(np.stack([columns[name.lower()] for name in _HEAD], axis=1)).T
        codes[:, 100:103] = _euler_to_rotvec(yaw, pitch, roll)
    eyes = _eyes(columns, codes)

    even = np.arange(round(float(seconds[-1] * rate)) + 1) / float(rate)
    return Motion(
        codes=np.stack([np.interp(even, seconds, column) for column in codes.T], axis=1),
        fps=rate,
        basis="arkit52",
        eyes=np.stack([np.interp(even, seconds, column) for column in eyes.T], axis=1),
    )


@dataclass(frozen=True)
class _Table:
    """cells: of each column by its name in lower case, where there was a face. rows: which rows those are, from 0.

    began: the first row's time code, with or without a face; None where there are no time codes.
    """

    cells: dict[str, list[str]]
    rows: list[int]
    began: str | None


def _read_table(path: Path) -> _Table:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [line for line in csv.reader(file) if any(cell.strip() for cell in line)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise MarotteError(f"{path} is not a text table ({error})") from error
    except OSError as error:
        raise MarotteError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(lines) < 2:
        raise MarotteError(f"{path} holds no frames: a Live Link Face CSV has a line of names and a line each frame")
    names = [name.strip().lower() for name in lines[0]]
    lines = [[cell.strip() for cell in line] for line in lines[1:]]
    rows = []
    for row, line in enumerate(lines):
        if dict(zip(names, line, strict=False)).get("blendshapecount") == "0":
            continue  # the app saw no face; such a row may end here
        if len(line) != len(names):
            raise MarotteError(
                f"{path} row {row + 2} has {len(line)} cells, its header {len(names)}: the file is cut, export it again"
            )
        rows.append(row)
    if not rows:
        raise MarotteError(f"{path}: the app saw no face in any frame")
    cells = {name: [lines[row][column] for row in rows] for column, name in enumerate(names)}
    return _Table(cells, rows, dict(zip(names, lines[0], strict=False)).get("timecode"))


def _numbers(path: Path, name: str, cells: list[str]) -> np.ndarray:
    for cell in cells:
        try:
            if np.isfinite(float(cell)):
                continue
        except ValueError:
            pass
        raise MarotteError(f"{path}: {cell!r} in column {name} is not a number")
    return np.array(cells, dtype=np.float64)


def _timeline(table: _Table, fps: Fraction | None) -> tuple[np.ndarray, Fraction]:
    """Return the seconds of each face since the file's first row, and the frame rate."""
    codes = [] if table.began is None else [table.began, *table.cells["timecode"]]
    parts = [_TIMECODE.match(code) for code in codes]
    if not parts or None in parts:
        rate = fps or Fraction(60)
        return np.array(table.rows) / float(rate), rate
    fields = np.array([[float(value) for value in part.groups()] for part in parts if part])
    whole, frames = fields[:, :3] @ (3600, 60, 1), fields[:, 3]
    device = next((rate for rate in _DEVICE_RATES if frames.max() < rate), 60)
    if whole[0] == whole[-1]:
        device = 60  # under a second the frame count says nothing about the rate, and 60 is the app's own
    seconds = whole + frames / device
    midnights = np.cumsum(np.diff(seconds, prepend=seconds[0]) < -_DAY / 2)
    seconds += midnights * _DAY - seconds[0]
    return np.maximum.accumulate(seconds)[1:], fps or Fraction(device)


def _radians(angles: np.ndarray) -> np.ndarray:
    return np.deg2rad(angles) if np.abs(angles).max() > np.pi else angles


def _euler_to_rotvec(yaw: np.ndarray, pitch: np.ndarray, roll: np.ndarray) -> np.ndarray:
    """Return rotation vectors [T, 3] of yaw about y, then pitch about x, then roll about z."""
    zero, one = np.zeros_like(yaw), np.ones_like(yaw)

    def matrix(*rows: np.ndarray) -> np.ndarray:
        return np.stack(rows, axis=-1).reshape(-1, 3, 3)

    about_y = matrix(np.cos(yaw), zero, np.sin(yaw), zero, one, zero, -np.sin(yaw), zero, np.cos(yaw))
    about_x = matrix(one, zero, zero, zero, np.cos(pitch), -np.sin(pitch), zero, np.sin(pitch), np.cos(pitch))
    about_z = matrix(np.cos(roll), -np.sin(roll), zero, np.sin(roll), np.cos(roll), zero, zero, zero, one)
    return matrix_to_rotvec(about_y @ about_x @ about_z)


def _eyes(columns: dict[str, np.ndarray], codes: np.ndarray) -> np.ndarray:
    """Return eye rotations [T, 6] from the eyeLook weights, or from the angle columns where those are still.

    The weights have a side and a direction in their names; the angles' signs depend on the
    recorder's mirroring, so they count only where the weights say nothing.
    """
    eyes = eye_rotations(codes)
    for side, (name, start) in enumerate((("Left", 0), ("Right", 3))):
        still = all(np.ptp(codes[:, SLOT[f"eyeLook{way}{name}"]]) == 0 for way in ("Down", "Up", "Out", "In"))
        if still:
            eyes[:, start : start + 2] = 0
        if still and all(column.lower() in columns for column in _EYES[side]):
            yaw, pitch = _radians(np.stack([columns[column.lower()] for column in _EYES[side]], axis=1)).T
            eyes[:, start], eyes[:, start + 1] = pitch, yaw
    return eyes
