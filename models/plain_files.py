"""Whole files, in and out: what cannot be read is one clear line, what is written appears only when whole."""

import io
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from marotte.errors import MarotteError

# A million Gaussians of degree 3 are a quarter of this.
_MOST = 1 << 30


def read_bytes(path: str | Path) -> bytes:
    """Return the content of a file of up to 1 GiB; devices and pipes are no files.

    Raises MarotteError where it is not there, is something else, or is larger.
    """
    path = Path(path)
    try:
        # A name from somebody else's file may lead to a device, which would never end.
        if not path.is_file():
            raise MarotteError(f"{path} is {'not a file' if path.exists() else 'not there'}: name the file, or get it")
        if path.stat().st_size > _MOST:
            raise MarotteError(
                f"{path} has {path.stat().st_size} bytes, at most {_MOST} are read: is it the right one?"
            )
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        raise MarotteError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def read_json(path: str | Path) -> dict[str, Any]:
    """Return the object in a JSON file. Raises MarotteError where it cannot be read or holds something else."""
    try:
        content = json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise MarotteError(f"{path} is not valid JSON: {error}; copy or export it again") from None
    if not isinstance(content, dict):
        raise MarotteError(f"{path} holds a {type(content).__name__}, not an object with names: it is another file")
    return content


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield the name to write under; the file gets its own name when the block ends well, else it goes.

    Raises MarotteError where it cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        yield part
        os.replace(part, path)
    except OSError as error:
        raise MarotteError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            part.unlink()


def write_whole(path: Path, data: bytes) -> None:
    """Write a file under its final name only when whole. Raises MarotteError where it cannot be written."""
    with written_whole(path) as part:
        part.write_bytes(data)


def packed_npz(arrays: Mapping[str, np.ndarray], level: int = 9) -> bytes:
    """Return an npz whose bytes depend on the arrays alone: entries in order of their names, one time stamp for all.

    level: of the compression, 0 to 9.
    """
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(arrays):
            entry = io.BytesIO()
            np.lib.format.write_array(entry, np.asarray(arrays[name], order="C"), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, entry.getvalue(), compresslevel=level)
    return stream.getvalue()
