"""Files that appear under their name only when they are whole."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from marotte.errors import MarotteError
from marotte.models import plain_files


def check_place(path: Path) -> None:
    """Raise MarotteError where `path` cannot be written, so that nobody works for nothing."""
    if not path.parent.is_dir():
        raise MarotteError(f"cannot write {path}: there is no folder {path.parent}")
    if path.is_dir():
        raise MarotteError(f"cannot write {path}: it is a folder")
    part = _part(path)
    try:
        part.touch()
        part.unlink()
    except OSError as error:
        raise MarotteError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield the name to write under, after `check_place`; see `marotte.models.plain_files.written_whole`."""
    check_place(path)
    with plain_files.written_whole(path) as part:
        yield part


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")
