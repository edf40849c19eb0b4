"""The pictures of a track: found beside its cameras, read from a video or a folder, written as a format names them."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.cameras.track import CameraTrack
from marotte.runtime.video.probe import read_frames

_SUFFIXES = (".png", ".jpg", ".jpeg")
# Where tracker folders keep the pictures whose numbers are the frames' own.
_INPUT = "input"


@dataclass(frozen=True)
class Pictures:
    """Pictures in order: of files, or the frames of a video after the first `skip`."""

    paths: tuple[Path, ...]
    video: Path | None = None
    skip: int = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield uint8 [H, W, 3] RGB."""
        if self.video is not None:
            yield from islice(read_frames(self.video), self.skip, None)
        for path in self.paths:
            yield read_picture(path)


def pictures_in(place: Path) -> Pictures:
    """Return the pictures of a folder, by the number in their names, or the frames of a video.

    Raises MarotteError where there are none.
    """
    if not place.exists():
        raise MarotteError(f"{place} is not there: name a video or a folder of pictures")
    if place.is_file():
        if place.suffix.lower() in _SUFFIXES:
            return Pictures((place,))
        return Pictures((), place)
    found = [path for path in place.iterdir() if path.suffix.lower() in _SUFFIXES]
    if not found:
        raise MarotteError(f"{place} has no pictures: it should hold {', '.join(_SUFFIXES)} files")
    return Pictures(tuple(sorted(found, key=lambda path: (len(path.stem), path.name))))


def pictures_of(track: CameraTrack, place: Path | None = None, first: int | None = None) -> Pictures:
    """Return a track's N pictures, where they are known beyond doubt.

    place: a folder or a video, None looks beside the cameras. first: the number, in its name, of the picture that
    belongs to the first camera (of a video: 1 is its first frame). Without it pictures go by the names in the track, or
    in order where there are as many as cameras: metrical-tracker's pictures count from another number than its frames,
    so a like number proves nothing. Raises MarotteError where it stays open which picture is whose.
    """
    if first is None and (named := _named(track, place)):
        return Pictures(named)
    if place is None:
        raise MarotteError("the pictures are not beside the cameras: say where they are, --images FOLDER or VIDEO")
    there = pictures_in(place)
    if there.video is not None:
        return replace(there, skip=(first or 1) - 1)
    paths = there.paths
    if first is not None:
        start = next((i for i, path in enumerate(paths) if _number(path) == first), None)
        if start is None:
            raise MarotteError(f"{place} has no picture with the number {first}: its first is {paths[0].name}")
        paths = paths[start : start + len(track)]
    if len(paths) != len(track):
        raise MarotteError(
            f"{place} has {len(paths)} pictures for {len(track)} cameras: say which is the first camera's, such as "
            f"--first {_number(paths[0])} for {paths[0].name}"
        )
    return Pictures(paths)


def _named(track: CameraTrack, place: Path | None) -> tuple[Path, ...]:
    """Return the pictures that the track names, or the tracker's own copies, empty where one is missing."""
    if track.images:
        if place is not None:
            roots = [place / Path(image).name for image in track.images]
        else:
            roots = [(track.root or Path()) / image for image in track.images]
        paths = tuple(_with_suffix(path) for path in roots)
        return paths if all(path.is_file() for path in paths) else ()
    folder = place
    if folder is None and track.root is not None:
        folder = next((f for root in (track.root, track.root.parent) if (f := root / _INPUT).is_dir()), None)
    if folder is None or (track.format == "metrical" and folder.name != _INPUT):
        return ()
    paths = tuple(_with_suffix(folder / name) for name in track.names)
    return paths if all(path.is_file() for path in paths) else ()


def _with_suffix(path: Path) -> Path:
    """Return the picture that a name without its suffix means."""
    if path.suffix.lower() in _SUFFIXES:
        return path
    found = (path.with_name(path.name + suffix) for suffix in _SUFFIXES)
    return next((candidate for candidate in found if candidate.is_file()), path)


def _number(path: Path) -> int:
    digits = "".join(letter if letter.isdigit() else " " for letter in path.stem).split()
    return int(digits[-1]) if digits else -1


def read_picture(path: Path) -> np.ndarray:
    """Return a picture as uint8 [H, W, 3] RGB. Raises MarotteError where it cannot be read."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise MarotteError(f"{path} cannot be read as a picture: {error}") from None


def write_picture(path: Path, picture: np.ndarray) -> None:
    """Write a picture; as JPEG, where the name asks for it, nearly without loss."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    style: dict[str, Any] = (
        {"compress_level": 1} if path.suffix.lower() == ".png" else {"quality": 98, "subsampling": 0}
    )
    Image.fromarray(picture).save(path, **style)


def picture_names(track: CameraTrack, format: str) -> tuple[str, ...]:
    """Return where a format looks for the pictures, relative to the folder of the cameras."""
    numbers = [_number(Path(name)) for name in track.names]
    if min(numbers) < 0 or len(set(numbers)) < len(numbers):
        numbers = list(range(len(track)))
    patterns: dict[str, Callable[[int, int], str]] = {
        "gaussian-talker": lambda index, number: f"ori_imgs/{index}.jpg",
        "imavatar": lambda index, number: f"image/{number}.png",
        # The tracker's pictures count from 1, its frames from 0.
        "metrical": lambda index, number: f"images/{number + 1:05d}.png",
    }
    pattern = patterns.get(format, lambda index, number: f"images/{number:05d}.png")
    return tuple(pattern(index, number) for index, number in enumerate(numbers))


def take(pictures: Pictures, count: int) -> Iterator[np.ndarray]:
    """Yield the first `count` pictures. Raises MarotteError where there are fewer."""
    seen = 0
    for seen, picture in enumerate(pictures, 1):
        yield picture
        if seen == count:
            return
    raise MarotteError(f"{pictures.video or 'the folder'} has {seen} pictures, {count} are needed")


@contextmanager
def staged(out: Path, source: Path) -> Iterator[Path]:
    """Yield an empty folder beside `out` to write into; when all went well its content moves to `out`'s side.

    source: the file or folder of cameras that is being read. Raises MarotteError, with nothing moved, where something
    of it would be written over, or a picture is there already.
    """
    beside = out.absolute().parent
    if not beside.is_dir():
        raise MarotteError(f"cannot write {out}: there is no folder {beside}")
    stage = None
    try:
        stage = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=beside))
        yield stage
        moves = [(part, beside / part.relative_to(stage)) for part in sorted(stage.rglob("*"))]
        for part, final in moves:
            if part.is_file() and final.exists():
                _check_free(final, out, source)
        for part, final in moves:
            if part.is_dir():
                final.mkdir(exist_ok=True)
            else:
                part.replace(final)
    except OSError as error:
        raise MarotteError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        if stage is not None:
            shutil.rmtree(stage, ignore_errors=True)


def _check_free(final: Path, out: Path, source: Path) -> None:
    """Raise MarotteError where a file may not be written over: a picture, or what may be part of the source."""
    place, origin = final.resolve(), source.resolve()
    folder = origin if origin.is_dir() else origin.parent
    again = out.resolve() in (place, place.parent) and place != origin and place.parent != origin
    if folder in place.parents and not again:
        raise MarotteError(f"{final} would be written over, and it may be part of what is read: name another folder")
    if final.suffix.lower() in _SUFFIXES:
        raise MarotteError(f"{final} is there already: name a new folder, or remove the pictures first")
