"""What a camera file says, checked: every complaint is one line that names the file and the key."""

import json
import re
import zipfile
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.models.plain_files import read_bytes
from marotte.runtime.camera import Camera
from marotte.runtime.clock import as_fps

# How much of a file is looked at to tell what it is: more than the first entry of any.
_GLANCE = 8 << 20
# What float32 holds; a larger number in a file is damage.
_MOST = float(np.finfo(np.float32).max)


def entry(path: Path, table: Any, key: Any, where: str = "") -> Any:
    """Return an entry of a table. where: of the table in the file. Raises MarotteError where it is missing."""
    if not isinstance(table, Mapping):
        raise MarotteError(f"{path}: {where or 'its content'} is a {type(table).__name__}, expected a table with {key}")
    if key not in table:
        held = ", ".join(str(name)[:40] for name in list(table)[:12])
        raise MarotteError(f"{path} lacks {_named(where, key)}: it holds {held or 'nothing'}")
    return table[key]


def numbers(path: Path, table: Any, key: Any, shape: tuple[int | None, ...], where: str = "") -> np.ndarray:
    """Return an entry as finite float64 of a shape, in which None is any length.

    Raises MarotteError where it is missing, is not made of numbers, or has another shape.
    """
    value, named = entry(path, table, key, where), _named(where, key)
    try:
        array = np.array(value)
        if array.dtype.kind not in "fiu":
            raise TypeError
        array = array.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        raise MarotteError(
            f"{path}: {named} is {str(value)[:40]!r}, not an array of numbers: export it again"
        ) from None
    if len(array.shape) != len(shape) or any(n not in (None, m) for n, m in zip(shape, array.shape, strict=True)):
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise MarotteError(f"{path}: {named} has shape {list(array.shape)}, expected [{wanted}]")
    if not (np.abs(array) < _MOST).all():
        raise MarotteError(f"{path}: {named} has a value that is NaN, infinite or too large: export it again")
    return array


def number(path: Path, table: Any, key: Any, where: str = "") -> float:
    """Return an entry that is one number; arrays of one element count. Raises MarotteError as `numbers` does."""
    value = entry(path, table, key, where)
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.ravel()[0]
    return float(numbers(path, {key: value}, key, (), where))


def whole_number(path: Path, table: Any, key: Any, least: int, where: str = "") -> int:
    """Return an entry that is a whole number of at least `least`. Raises MarotteError where it is not."""
    value = number(path, table, key, where)
    if value != int(value) or value < least:
        raise MarotteError(f"{path}: {_named(where, key)} is {value:g}, expected a whole number of at least {least}")
    return int(value)


def camera(path: Path, where: str, **fields: Any) -> Camera:
    """Return a camera. Raises MarotteError, with the file and the place before it, where the fields are none."""
    try:
        return Camera(**fields)
    except MarotteError as error:
        raise MarotteError(f"{path}: {where}: {error}") from None


def found(path: Path, name: str) -> Path:
    """Return a file, or the one of this name in a folder. Raises MarotteError where the folder has none."""
    if path.is_dir():
        if not (path / name).is_file():
            raise MarotteError(f"{path} has no {name}")
        return path / name
    return path


def read_json_list(path: Path) -> list[Any]:
    """Return the list in a JSON file. Raises MarotteError where it cannot be read, is something else, or is empty."""
    try:
        content = json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise MarotteError(f"{path} is not valid JSON: {error}; copy or export it again") from None
    if not isinstance(content, list) or not content:
        kind = "an empty list" if content == [] else f"a {type(content).__name__}"
        raise MarotteError(f"{path} holds {kind}, expected a list of cameras")
    return content


def glance(path: Path) -> bytes:
    """Return the first bytes of a file, or of the pickle in a torch archive; nothing where there is none."""
    try:
        if not path.is_file():
            return b""
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                inside = [name for name in archive.namelist() if re.fullmatch("[^/]+/data.pkl", name)]
                if not inside:
                    return b""
                with archive.open(inside[0]) as member:
                    return member.read(_GLANCE)
        with path.open("rb") as file:
            return file.read(_GLANCE)
    except (OSError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile):
        return b""


def json_has(path: Path, name: str, *keys: str, begins: bytes = b"{") -> bool:
    """Tell whether a JSON file, or the one of this name in a folder, begins so and has these keys."""
    start = glance(path / name if path.is_dir() else path)
    return start.lstrip().startswith(begins) and all(f'"{key}"'.encode() in start for key in keys)


def pickle_has(path: Path, name: str, *keys: str) -> bool:
    """Tell whether a pickle or torch archive, or the one of this name in a folder, has these texts near its start."""
    start = glance(path / name if path.is_dir() else path)
    return start.startswith(b"\x80") and all(any(text in start for text in _pushes(key)) for key in keys)


def fps_option(options: Mapping[str, Any]) -> Fraction | None:
    """Return the frame rate that the user gives, or None."""
    return as_fps(options["fps"]) if options.get("fps") is not None else None


def _named(where: str, key: Any) -> str:
    return f"{where}.{key}" if where else str(key)


def _pushes(key: str) -> tuple[bytes, ...]:
    """Return the ways in which pickles of all protocols write a short text."""
    text, length = key.encode(), len(key)
    return bytes((0x55, length)) + text, bytes((0x8C, length)) + text, b"X" + length.to_bytes(4, "little") + text
