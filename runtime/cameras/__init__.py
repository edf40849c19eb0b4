"""Cameras of every published format: told apart, read into one canonical form, written back, or diagnosed.

`FORMATS` are the names in the order in which formats are tried. A file is of the first format that recognises it:
formats are recognised by what only they have, and the order settles what is left (`splatting-avatar` and `3dgs`,
`insta` and `nerf` share file names; each pair lives in one module). A folder may hold files of several formats;
then the user has to say which is meant.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from marotte.errors import MarotteError, unknown_name
from marotte.models.plain_files import read_json
from marotte.models.safe_files import read_any
from marotte.runtime.cameras.formats.format import Format
from marotte.runtime.cameras.track import CameraTrack, Crop

# Where each format is: a module of `marotte.runtime.cameras.formats`.
_MODULES = {
    "metrical": "metrical",
    "insta": "transforms",
    "nerf": "transforms",
    "imavatar": "imavatar",
    "splatting-avatar": "gaussian_splatting",
    "3dgs": "gaussian_splatting",
    "gaussian-talker": "gaussian_talker",
    "gagavatar": "gagavatar",
    "facelift": "facelift",
    "mammal": "mammal",
    "pytorch3d": "pytorch3d",
}
FORMATS = tuple(_MODULES)
OPTIONS = ("size", "video", "bbox", "fps")
# Of a folder that no format recognises, how many files are looked at for damage.
_LOOKED_AT = 16

__all__ = [
    "FORMATS",
    "OPTIONS",
    "CameraTrack",
    "Crop",
    "Format",
    "diagnose",
    "format_of",
    "load_format",
    "read_cameras",
    "write_cameras",
]


def __getattr__(name: str) -> Any:
    """Return `diagnose`, which is not imported before somebody asks for it."""
    if name == "diagnose":
        return import_module("marotte.runtime.cameras.doctor").diagnose
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def load_format(name: str) -> Format:
    """Return a format by its name. Raises MarotteError for a name that is none."""
    if name not in _MODULES:
        raise unknown_name("camera format", name, FORMATS)
    module = import_module(f"marotte.runtime.cameras.formats.{_MODULES[name]}")
    found: tuple[Format, ...] = getattr(module, "FORMATS", None) or (module.FORMAT,)
    return next(format for format in found if format.name == name)


def format_of(path: str | Path) -> str:
    """Return the name of the format of a file or folder, by its content.

    Raises MarotteError where it is not there, where no format recognises it, and where a folder holds several.
    """
    path = Path(path)
    if not path.exists():
        raise MarotteError(f"{path} is not there: name a camera file or a folder of them")
    if path.is_dir() and not any(path.iterdir()):
        raise MarotteError(f"{path} is an empty folder: it should hold cameras")
    found: dict[str, str] = {}  # by module, so that of two in one module the first counts
    for name in FORMATS:
        if _MODULES[name] not in found and load_format(name).recognises(path):
            found[_MODULES[name]] = name
    names = list(found.values())
    if not names:
        _complain(path)
        looked = ", ".join(f"{name} ({load_format(name).title})" for name in FORMATS)
        raise MarotteError(f"{path} holds no cameras in a format that is known; looked for {looked}")
    if len(names) > 1 and path.is_dir():
        raise MarotteError(f"{path} holds cameras of {' and '.join(names)}: name the file, or the format")
    return names[0]


def _complain(path: Path) -> None:
    """Raise MarotteError for a file, or one of the first in a folder, that is damaged or asks to run something."""
    files = sorted(path.iterdir())[:_LOOKED_AT] if path.is_dir() else [path]
    for file in files:
        if file.is_file() and file.suffix == ".json":
            read_json(file)
        elif file.is_file() and file.suffix in (".pt", ".pkl", ".npz", ".frame"):
            read_any(file)


def read_cameras(path: str | Path, format: str | None = None, **options: Any) -> CameraTrack:
    """Return the cameras of a file or folder.

    format: one of FORMATS, None recognises it. options: `size` (width, height) of the pictures where the file does not
    say it; `video` (width, height) that they were cut from; `bbox` the path to metrical-tracker's bbox.pt; `fps`.
    Raises MarotteError naming file and key where something is missing or wrong; nothing in a file is ever run.
    """
    path = Path(path)
    for name in options:
        if name not in OPTIONS:
            raise unknown_name("option of read_cameras", name, OPTIONS)
    given = {name: value for name, value in options.items() if value is not None}
    for name in ("size", "video"):
        if name in given:
            given[name] = _pair(name, given[name])
    source = load_format(format or format_of(path))
    if not path.exists():
        raise MarotteError(f"{path} is not there: name a camera file or a folder of them")
    return source.read(path, given)


def write_cameras(track: CameraTrack, path: str | Path, format: str, *, allow_loss: bool = False) -> list[str]:
    """Write cameras in a format and return what was lost, one line for each thing.

    The unit becomes the format's own. Files appear only when all of them are whole; a format that is a folder asks
    for a new or an empty one. Raises MarotteError, before anything is written, where something would be lost and
    `allow_loss` is not set.
    """
    path, target = Path(path), load_format(format)
    if target.unit is not None:
        track = track.scaled(target.unit)
    losses = target.losses(track)
    if losses and not allow_loss:
        raise MarotteError(
            f"{target.title} cannot hold {'; '.join(losses)}. Accept that with --allow-loss (allow_loss=True)"
        )
    if target.is_folder and path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise MarotteError(f"cannot write {path}: it is not an empty folder, name another")
    with _stage(path) as staged:
        if target.is_folder:
            staged.mkdir()
        target.write(track, staged)
    return losses


@contextmanager
def _stage(path: Path) -> Iterator[Path]:
    """Yield the place to write under, by the same name; what is there when the block ends well moves to `path`'s side.

    Raises MarotteError where that cannot be.
    """
    if not path.parent.is_dir():
        raise MarotteError(f"cannot write {path}: there is no folder {path.parent}")
    stage = None
    try:
        stage = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
        yield stage / path.name
        # Folders first, for a file must not take the name of one.
        for part in sorted(stage.rglob("*"), key=lambda part: (not part.is_dir(), part)):
            final = path.parent / part.relative_to(stage)
            if part.is_dir():
                final.mkdir(exist_ok=True)
            else:
                os.replace(part, final)
    except OSError as error:
        raise MarotteError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if stage is not None:
            shutil.rmtree(stage, ignore_errors=True)


def _pair(name: str, value: Any) -> tuple[int, int]:
    """Return (width, height), both at least 1."""
    try:
        width, height = (int(number) for number in value)
    except (TypeError, ValueError):
        raise MarotteError(f"{name} is {value!r}: give width and height, such as 1920x1080") from None
    if min(width, height) < 1:
        raise MarotteError(f"{name} is {width}x{height}: both must be at least 1")
    return width, height
