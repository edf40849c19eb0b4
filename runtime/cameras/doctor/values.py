"""Numbers out of a file's tables: there, of the right shape and finite, or one line that names file and key."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.models.plain_files import read_bytes


def entry(path: Path, table: Any, key: Any, where: str = "") -> Any:
    """Return an entry of a table that stands at `where` in the file. Raises MarotteError where it is missing."""
    try:
        return table[key]
    except (KeyError, TypeError, IndexError):
        named = f"{where}.{key}" if where else str(key)
        raise MarotteError(f"{path} lacks {named}: export it again") from None


def numbers(path: Path, table: Any, key: Any, shape: tuple[int | None, ...], where: str = "") -> np.ndarray:
    """Return an entry as finite float64 of a shape, in which None is any length; axes of length 1 may lead.

    Raises MarotteError where it is missing, is not made of numbers, has another shape, or a value is not finite.
    """
    named = f"{where}.{key}" if where else str(key)
    value = entry(path, table, key, where)
    try:
        array = np.array(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise MarotteError(f"{path}: {named} is not an array of numbers: export it again") from None
    while array.ndim > len(shape) and array.shape[0] == 1:
        array = array[0]
    if array.ndim != len(shape) or any(n not in (None, m) for n, m in zip(shape, array.shape, strict=True)):
        wanted = " x ".join("any" if n is None else str(n) for n in shape) or "one number"
        raise MarotteError(f"{path}: {named} has shape {list(array.shape)}, expected {wanted}")
    if not np.isfinite(array).all():
        raise MarotteError(f"{path}: {named} has a value that is NaN or infinite: export it again")
    return array


def number(path: Path, table: Any, key: Any, where: str = "") -> float:
    """Return an entry that is one number. Raises MarotteError as `numbers` does."""
    return float(numbers(path, table, key, (), where))


def read_json_list(path: Path) -> list[Any]:
    """Return the list in a JSON file. Raises MarotteError where it cannot be read, is something else, or is empty."""
    try:
        content = json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise MarotteError(f"{path} is not valid JSON: {error}; copy or export it again") from None
    if not isinstance(content, list) or not content:
        raise MarotteError(f"{path} holds no list of cameras")
    return content
