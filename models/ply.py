"""The `vertex` element of PLY files, by name of its properties.

Binary of either byte order and ASCII; scalar properties only; other elements are left out. The header's counts are
held against what is there before anything is allocated.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from marotte.errors import MarotteError
from marotte.models.plain_files import read_bytes, write_whole

_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": ""}
_TYPES = {
    name: code
    for code, names in {
        "i1": "char int8",
        "u1": "uchar uint8",
        "i2": "short int16",
        "u2": "ushort uint16",
        "i4": "int int32",
        "u4": "uint uint32",
        "f4": "float float32",
        "f8": "double float64",
    }.items()
    for name in names.split()
}
# A header of degree 3 has 62 properties and 1.5 KB.
_LONGEST_HEADER = 1 << 16


class _Element(NamedTuple):
    name: str
    entries: int
    properties: dict[str, str]  # numpy type by name, without byte order; "list" for lists


def read_ply_vertices(path: str | Path) -> dict[str, np.ndarray]:
    """Return the properties of the vertices by name, each [N] in the type that the file gives it.

    Raises MarotteError where the file is no PLY, is truncated, or its vertices hold lists.
    """
    data = read_bytes(path)
    order, elements, start = _header(path, data)
    for element in elements:
        if "list" in element.properties.values():
            break
        if element.name == "vertex":
            read = _binary if order else _ascii
            return read(path, data[start:], element, order)
        start += _skipped(path, data[start:], element, order)
    raise MarotteError(f"{path} has no vertices of plain numbers before its first list: it holds no Gaussians")


def write_ply_vertices(path: Path, columns: dict[str, np.ndarray]) -> None:
    """Write columns [N] by name as float32 vertices, binary little endian."""
    count = len(next(iter(columns.values())))
    rows = np.empty(count, [(name, "<f4") for name in columns])
    for name, column in columns.items():
        rows[name] = column
    properties = "".join(f"property float {name}\n" for name in columns)
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {count}\n{properties}end_header\n"
    write_whole(path, header.encode() + rows.tobytes())


def _header(path: str | Path, data: bytes) -> tuple[str, list[_Element], int]:
    """Return the byte order ("" for ASCII), the elements, and where their data begins."""
    if not data.startswith(b"ply"):
        raise MarotteError(f"{path} is not a PLY file: it begins with {data[:8]!r}")
    end = data.find(b"end_header", 0, _LONGEST_HEADER)
    start = data.find(b"\n", end) + 1
    if end < 0 or not start:
        raise MarotteError(f"{path} is truncated or damaged: its PLY header has no end; copy or export it again")
    order, elements = None, list[_Element]()
    for line in data[:end].decode("latin-1").split("\n")[1:]:
        match line.split():
            case ["format", name, _] if name in _ORDERS:
                order = _ORDERS[name]
            case ["element", name, count] if count.isascii() and count.isdigit() and len(count) < 16:
                elements.append(_Element(name, int(count), {}))
            case ["property", "list", _, _, name] if elements:
                elements[-1].properties[name] = "list"
            case ["property", kind, name] if elements and kind in _TYPES and name not in elements[-1].properties:
                elements[-1].properties[name] = _TYPES[kind]
            case [] | ["comment" | "obj_info", *_]:
                pass
            case _:
                raise MarotteError(f"{path} has a PLY header line that cannot be right: {line[:80]!r}; export it again")
    if order is None:
        raise MarotteError(f"{path} does not say its PLY format; export it again")
    return order, elements, start


def _dtype(element: _Element, order: str) -> np.dtype:
    return np.dtype([(name, order + code) for name, code in element.properties.items()])


def _binary(path: str | Path, data: bytes, element: _Element, order: str) -> dict[str, np.ndarray]:
    dtype = _dtype(element, order)
    held = len(data) // dtype.itemsize if dtype.itemsize else 0
    if held < element.entries:
        raise _truncated(path, element, held)
    rows = np.frombuffer(data, dtype, element.entries)
    return {name: rows[name].astype(dtype[name].newbyteorder("=")) for name in element.properties}


def _ascii(path: str | Path, data: bytes, element: _Element, order: str) -> dict[str, np.ndarray]:
    width = len(element.properties)
    words = data.split(None, element.entries * width)[: element.entries * width]
    if len(words) < element.entries * width or not width:
        raise _truncated(path, element, len(words) // width if width else 0)
    try:
        rows = np.array(words, "S64").astype(np.float64).reshape(element.entries, width)
    except ValueError as error:
        raise MarotteError(f"{path} has a vertex with something that is no number: {error}; export it again") from None
    return dict(zip(element.properties, rows.T, strict=True))


def _skipped(path: str | Path, data: bytes, element: _Element, order: str) -> int:
    """Return how many bytes an element of plain numbers takes."""
    if order:
        size = element.entries * _dtype(element, order).itemsize
        if size > len(data):
            raise _truncated(path, element, 0)
        return size
    lines = data.split(b"\n", element.entries)
    if len(lines) <= element.entries:
        raise _truncated(path, element, len(lines))
    return len(data) - len(lines[-1])


def _truncated(path: str | Path, element: _Element, held: int) -> MarotteError:
    return MarotteError(
        f"{path} is truncated: it says {element.entries} entries of {element.name!r} and holds {held}; "
        "copy or export it again"
    )
