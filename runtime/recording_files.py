"""The files of a GaussianTalker's recording: what each says, checked, one line for each thing that is wrong with it.

    DATA/track_params.pt                          euler [F, 3] and trans [F, 3] of every filmed frame
    DATA/transforms_train.json, transforms_val.json   the frames of each split, and the lens
    DATA/au.csv                                   OpenFace's table, a row for each filmed frame
    DATA/bc.jpg, torso_imgs/<img_id>.png          what is behind the head

Source: reference/gaussiantalker/SPEC.md, section 6.
"""

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from marotte.errors import MarotteError, unknown_name
from marotte.models.plain_files import read_json
from marotte.models.safe_files import read_torch_entries
from marotte.runtime.cameras import values
from marotte.runtime.cameras.formats.gaussian_talker import PARAMS, SPLITS

Frames = Literal["train", "val", "all"]
AU, PLAIN, TORSOS, SOUND = "au.csv", "bc.jpg", "torso_imgs", "aud_ds.npy"
BLINK = "AU45_r"
# OpenFace's intensity that counts as shut.
_SHUT = 2.0
_LARGEST = 16384


@dataclass(frozen=True)
class Split:
    """A json file: its frames in order, and the lens. ids, sounds: `img_id` and `aud_id` of each frame."""

    path: Path
    ids: tuple[int, ...]
    sounds: tuple[int, ...]
    focal: float
    width: int
    height: int


def read_splits(folder: Path, frames: Frames) -> list[Split]:
    """Return the splits that are wanted; `all` is what the folder has, train before val.

    Raises MarotteError where it has none of them, or one is not as published.
    """
    if frames not in get_args(Frames):
        raise unknown_name("frames of a recording", frames, get_args(Frames))
    names = [name for name in SPLITS if frames in ("all", _split_name(name))]
    found = [folder / name for name in names if (folder / name).is_file()]
    if not found:
        there = [name for name in SPLITS if (folder / name).is_file()]
        fix = f"take --frames {_split_name(there[0])}" if there else "it is not the folder of a tracked recording"
        raise MarotteError(f"{folder} has no {' or '.join(names)}: {fix}")
    splits = [_split(path) for path in found]
    for other in splits[1:]:
        if (other.width, other.height) != (splits[0].width, splits[0].height):
            raise MarotteError(
                f"{other.path} says pictures of {other.width}x{other.height}, {splits[0].path.name} of "
                f"{splits[0].width}x{splits[0].height}: prepare the recording again"
            )
    return splits


def _split_name(file: str) -> str:
    return file.removeprefix("transforms_").removesuffix(".json")


def _split(path: Path) -> Split:
    table = read_json(path)
    focal, cx, cy = (values.number(path, table, key) for key in ("focal_len", "cx", "cy"))
    sides = [2 * centre for centre in (cx, cy)]
    if focal <= 0 or any(side != round(side) or not 1 <= side <= _LARGEST for side in sides):
        raise MarotteError(
            f"{path}: focal_len {focal:g}, cx {cx:g} and cy {cy:g} are no lens: cx and cy are half the picture's sides"
        )
    listed = values.entry(path, table, "frames")
    if not isinstance(listed, list) or not listed:
        raise MarotteError(f"{path}: frames is {str(listed)[:40]}, expected a list of at least one frame")
    ids, sounds = [], []
    for place, frame in enumerate(listed):
        where = f"frames[{place}]"
        ids.append(values.whole_number(path, frame, "img_id", 0, where))
        sounds.append(values.whole_number(path, frame, "aud_id", 0, where) if "aud_id" in frame else ids[-1])
    return Split(path, tuple(ids), tuple(sounds), focal, round(sides[0]), round(sides[1]))


def read_track(folder: Path, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return euler [F, 3] in radians and trans [F, 3], float32, of all filmed frames; F is more than `most`.

    The mesh of every frame, gigabytes of it, is not read. Raises MarotteError where there are fewer, or others.
    """
    path = folder / PARAMS
    track = read_torch_entries(path, ("euler", "trans"))
    euler = values.numbers(path, track, "euler", (None, 3))
    trans = values.numbers(path, track, "trans", (len(euler), 3))
    if most >= len(euler):
        raise MarotteError(f"{path} has {len(euler)} frames, but the json files name frame {most}: they are of one run")
    return euler.astype(np.float32), trans.astype(np.float32)


def read_blinks(folder: Path, most: int) -> np.ndarray:
    """Return how shut the eyes are [R] float64, 0 open to 1 shut, of each row of au.csv; R is more than `most`.

    Raises MarotteError where the column or a row is missing, or a cell is no number.
    """
    path = folder / AU
    cells = blink_cells(path)
    if most >= len(cells):
        raise MarotteError(f"{path} has {len(cells)} rows, but the json files name frame {most}: they are of one run")
    return np.clip(np.array(cells, np.float64), 0, _SHUT) / _SHUT


def blink_cells(path: Path) -> list[str]:
    """Return the cells of an au.csv that say how shut the eyes are, each a finite number as the file writes it.

    Raises MarotteError where the column is missing, or a cell is no number.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            rows = csv.reader(file)
            names = [name.strip() for name in next(rows, [])]
            if BLINK not in names:
                raise MarotteError(f"{path} has no column {BLINK} (blinks): make it with OpenFace's FeatureExtraction")
            column = names.index(BLINK)
            return [_cell(path, rows.line_num, row, column) for row in rows if row]
    except (OSError, csv.Error) as error:
        raise MarotteError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def _cell(path: Path, line: int, row: list[str], column: int) -> str:
    cell = row[column].strip() if column < len(row) else ""
    try:
        sound = math.isfinite(float(cell))
    except ValueError:
        sound = False
    if not sound:
        raise MarotteError(f"{path}, line {line}: {BLINK} is {cell[:20]!r}, not a number: run OpenFace again")
    return cell


def read_picture(path: Path, mode: str, size: tuple[int, int]) -> np.ndarray:
    """Return a picture [H, W, C] uint8, read-only. mode: `RGB`, or `RGBA`, which the file must be already.

    size: (width, height) that it has. Raises MarotteError where it is missing, damaged, or of another kind or size.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            check_picture(path, image, mode, size)
            pixels = np.asarray(image.convert(mode), np.uint8)
    except (OSError, Image.DecompressionBombError, SyntaxError, ValueError) as error:
        raise _unreadable(path, error) from None
    pixels.flags.writeable = False
    return pixels


def check_picture(path: Path, image: Any, mode: str, size: tuple[int, int]) -> None:
    """Raise MarotteError where a picture is of another size, or has no transparency where that is wanted."""
    if image.size != size:
        raise MarotteError(
            f"{path} has {image.size[0]}x{image.size[1]} pixels, the json files say {size[0]}x{size[1]}: "
            "prepare the recording again"
        )
    if mode == "RGBA" and image.mode != "RGBA":
        raise MarotteError(f"{path} is a picture of kind {image.mode}, expected RGBA: the torso with what is around it")


def check_torsos(folder: Path, ids: tuple[int, ...], size: tuple[int, int]) -> None:
    """Look at the head of each frame's torso picture.

    Raises MarotteError that names the first which is missing or of another size or kind, and says how many are.
    """
    from PIL import Image

    torsos = folder / TORSOS
    # One listing: asking for each of thousands of files is slow over a network.
    there = {path.name for path in torsos.iterdir()} if torsos.is_dir() else set()
    missing = [name for name in map(torso_name, dict.fromkeys(ids)) if name not in there]
    if missing:
        raise MarotteError(
            f"{torsos / missing[0]} is missing{_more(missing)}: copy {TORSOS} of the prepared recording whole, or "
            "prepare it again"
        )
    wrong = []
    for i in dict.fromkeys(ids):
        path = torsos / torso_name(i)
        try:
            with Image.open(path) as image:
                check_picture(path, image, "RGBA", size)
        except MarotteError as error:
            wrong.append(str(error))
        except (OSError, Image.DecompressionBombError, SyntaxError, ValueError) as error:
            wrong.append(str(_unreadable(path, error)))
    if wrong:
        raise MarotteError(f"{wrong[0]}{f' (and so {len(wrong) - 1} more)' if len(wrong) > 1 else ''}")


def _unreadable(path: Path, error: Exception) -> MarotteError:
    why = getattr(error, "strerror", None)  # Pillow's own words name the path again
    return MarotteError(f"{path} is not a picture that can be read{f' ({why})' if why else ''}: copy it again")


def torso_name(i: int) -> str:
    """Return the name of a frame's torso picture."""
    return f"{i}.png"


def _more(names: list[str]) -> str:
    return f", and {len(names) - 1} more with it" if len(names) > 1 else ""
