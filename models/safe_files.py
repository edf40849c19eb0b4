"""Files of this field as plain Python and numpy, without running what is in them.

FLAME's pickles, `.frame`, `bbox.pt`, `tracked.pt`, landmark tables and small checkpoints are pickles, and a
pickle is a program. `safe_pickle` reads them as data; a file that asks for more is refused by name. Neither
torch, chumpy nor scipy is imported. Arrays come back read-only.
"""

import io
import zipfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from marotte.errors import MarotteError
from marotte.models.safe_pickle import Machine
from marotte.models.safe_torch import LEGACY_START, ZipMembers, nested, picked, read_legacy, read_zip
from marotte.models.safe_values import Damage, Refusal, Settler, array_from, count

_NPY = b"\x93NUMPY"
_ZIP = b"PK\x03\x04"
# What one npz may unpack to. A small compressed file can declare a thousand times its size.
_MOST_UNPACKED = 4 << 30
# How much of a large file is looked at to say what happened to it.
_GLANCE = 1 << 20


def read_pickle(path: str | Path) -> Any:
    """Return the content of a plain pickle (protocols 2 to 5; Python 2 strings as latin-1).

    chumpy arrays come as numpy arrays, scipy's csc_matrix as `safe_values.SparseColumns`, OrderedDict as dict.
    Raises MarotteError where the file is missing, damaged, or asks to run anything.
    """
    return _read(path, _pickle)


def read_torch(path: str | Path) -> Any:
    """Return the content of a `torch.save` file, zip or older form, with numpy arrays for tensors.

    bfloat16 comes as float32; views share their storage. For small files: all of it is read into memory.
    Raises MarotteError where the file is missing, damaged, or asks to run anything.
    """
    return _read(path, _torch)


def read_torch_entries(path: str | Path, keys: Collection[str]) -> dict[str, Any]:
    """Return some entries of the dict in a `torch.save` file, as `read_torch` does; those that it lacks are left out.

    Of the zip form no other tensor is read, however large; a file of the older form is read whole.
    Raises MarotteError where the file is missing, damaged, holds no dict, or asks to run anything.
    """

    def entries(file: BinaryIO) -> dict[str, Any]:
        start = file.read(max(len(_ZIP), len(LEGACY_START)))
        file.seek(0)
        if start.startswith(LEGACY_START):
            return picked(read_legacy(file.read()), keys)
        return read_zip(file, keys)

    try:
        with Path(path).open("rb") as file:
            try:
                return entries(file)
            except Exception as error:  # parsers of hostile bytes fail in every way there is
                file.seek(0)
                raise MarotteError(f"{path} {_explain(error, file.read(_GLANCE))}") from error
    except OSError as error:
        raise MarotteError(f"cannot read {path}: {error.strerror or error}") from None


def read_npy_object(path: str | Path) -> Any:
    """Return the content of a `.npy` file, also of one that holds pickled objects.

    An object array of shape () comes as the object itself, any other as a numpy array.
    Raises MarotteError where the file is missing, damaged, or asks to run anything.
    """
    return _read(path, _npy)


def read_npz(path: str | Path) -> dict[str, np.ndarray]:
    """Return the arrays of a `.npz` file by name; arrays of objects are refused.

    Raises MarotteError where the file is missing, damaged, or declares more than it may unpack to (4 GiB).
    """
    return _read(path, _npz)


def read_any(path: str | Path) -> Any:
    """Return the content of a file of any of these kinds, told apart by its first bytes, not by its name.

    Raises MarotteError as the others do, and where the file is of none of these kinds.
    """
    return _read(path, _any)


def _read(path: str | Path, reader: Callable[[bytes], Any]) -> Any:
    """Read a file whole and turn every way in which it can fail into one line."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise MarotteError(f"cannot read {path}: {error.strerror or error}") from None
    try:
        return reader(data)
    except Exception as error:  # parsers of hostile bytes fail in every way there is
        raise MarotteError(f"{path} {_explain(error, data)}") from error


def _explain(error: Exception, data: bytes) -> str:
    """Return what goes after the file's name."""
    # First, because the damage turns an allowed name into one that is refused.
    if _has_windows_line_ends(data):
        return (
            "was copied as text: every line feed in it became \\r\\n (Windows line endings), which breaks a binary "
            "file. Copy it again in binary mode (ftp: binary; git: '*.pkl -text' in .gitattributes)"
        )
    if isinstance(error, Refusal):
        return (
            f"{error}; refused: a file of numbers has no need of that, and running it could do anything. "
            "Get the file from its publisher"
        )
    text = str(error) if isinstance(error, Damage) else f"{type(error).__name__}: {error}"
    return f"is damaged: {' '.join(text.split())[:300]}. Download or copy it again"


def _has_windows_line_ends(data: bytes) -> bool:
    """Tell whether each of the line feeds has a carriage return before it, which binary data never shows."""
    feeds = data.count(b"\n")
    return feeds >= 2 and feeds == data.count(b"\r\n")


def _pickle(data: bytes) -> Any:
    machine = Machine(data, nested=nested)
    return Settler(machine).settle(machine.run())


def _torch(data: bytes) -> Any:
    return read_legacy(data) if data.startswith(LEGACY_START) else read_zip(data)


def _npy(data: bytes) -> Any:
    dtype, shape, order, start = _npy_header(data)
    if not dtype.hasobject:
        return array_from(data[start : start + count(shape) * dtype.itemsize], dtype, shape, order)
    machine = Machine(data, start, nested=nested)
    value = Settler(machine).settle(machine.run())
    if not isinstance(value, np.ndarray) or not value.dtype.hasobject or value.shape != shape:
        raise Damage(f"its pickle is not the object array of shape {list(shape)} that its header declares")
    return value[()]


def _npy_header(data: bytes) -> tuple[np.dtype, tuple[int, ...], str, int]:
    """Return type, shape, order and where the data begins."""
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
    else:
        raise Damage(f"npy version {version} is not read")
    if dtype.kind != "O" and (dtype.kind not in "fiubSU" or not dtype.itemsize):
        raise Damage(f"its type {dtype} is not one of numbers or text")
    if any(n < 0 for n in shape):
        raise Damage(f"its shape is {list(shape)}")
    return dtype, shape, "F" if fortran else "C", stream.tell()


def _npz(data: bytes) -> dict[str, np.ndarray]:
    archive = zipfile.ZipFile(io.BytesIO(data))
    arrays, total = {}, 0
    for info in archive.infolist():
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Damage(f"its member {info.filename!r} is compressed in a way that numpy does not use")
        total += info.file_size
        if total > _MOST_UNPACKED:
            raise Damage(f"it declares more than {_MOST_UNPACKED >> 30} GiB of arrays")
        if not info.filename.endswith(".npy"):
            raise Damage(f"its member {info.filename!r} is not an array")
        raw = archive.read(info)
        dtype, shape, order, start = _npy_header(raw)
        name = info.filename.removesuffix(".npy")
        if dtype.hasobject:
            raise Refusal(f"holds pickled objects in {name!r}")
        arrays[name] = array_from(raw[start:], dtype, shape, order)
    return arrays


def _any(data: bytes) -> Any:
    if data.startswith(_NPY):
        return _npy(data)
    if data.startswith(_ZIP):
        return read_zip(data) if ZipMembers(data).root() is not None else _npz(data)
    if data.startswith(LEGACY_START):
        return read_legacy(data)
    if data.startswith(b"\x80"):
        return _pickle(data)
    raise Damage("it is neither a pickle, a torch archive, an npy nor an npz file")
