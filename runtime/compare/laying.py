"""Laying pictures on each other: those of all arms on the first one's, and a reference's on the common picture."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from marotte.errors import MarotteError
from marotte.models.safe_files import read_any
from marotte.runtime.compare.cast import Member
from marotte.runtime.compare.faces import at_times
from marotte.runtime.compare.film import Film
from marotte.runtime.compare.head_find import head_box
from marotte.runtime.compare.model import Arm
from marotte.runtime.compare.play import DrawnPlayer, FilmPlayer, Player
from marotte.runtime.compare.stage import Reference, Sound
from marotte.runtime.compare.views import (
    Candidate,
    Seen,
    Similarity,
    View,
    align,
    candidate,
    choose_views,
    similarities,
    similarity,
)

# Of films: their heads are found in so many pictures, so many a second.
_LOOKS, _LOOKS_RATE = 30, Fraction(5)


def lay(
    arms: Sequence[Arm], opened: dict[str, Member], films: dict[str, Film], start: float
) -> tuple[dict[str, View], list[Similarity]]:
    """Return how each drawn arm is seen, and how every picture is laid on the first."""
    free: list[Candidate] = [
        candidate(member.name, member.stream, member.avatar, member.camera) for member in opened.values()
    ]
    views = dict(zip(opened, choose_views(free), strict=True))
    if not films:
        return views, similarities([views[arm.name].seen for arm in arms])
    # A film's head is found in its pictures. What is laid on it, or it on, is found by the same eyes.
    seen = [
        _pictured(opened[arm.name], views[arm.name]) if arm.name in views else _seen(films[arm.name], start)
        for arm in arms
    ]
    known = [views[arm.name].seen if arm.name in views else None for arm in arms]
    laid = [Similarity()]
    for by_picture, own in zip(seen[1:], known[1:], strict=True):
        if known[0] is None or own is None:
            laid.append(similarity(by_picture, seen[0]))
        else:
            laid += similarities([known[0], own])[1:]
    return views, laid


def _seen(film: Film, start: float) -> Seen:
    """Return where the head is in a film, by some pictures of its first seconds."""
    return Seen(*film.size, box=head_box(list(film.frames(_LOOKS_RATE, start, _LOOKS))), rough=True)


def _pictured(member: Member, view: View) -> Seen:
    """Return where a drawn head at rest is found in its picture, as a film's would be."""
    picture = member.at_rest(view.camera)
    return Seen(picture.shape[1], picture.shape[0], box=head_box([picture]), rough=True)


def lay_reference(
    film: Film | None,
    marks: np.ndarray | None,
    fps: Fraction,
    count: int,
    size: tuple[int, int],
    sound: Sound,
    first: Callable[[], Seen],
) -> Reference | None:
    """Return the reference, brought to the common size: as a whole where it has the same shape, else by its head.

    marks: [T, 68, 2] landmarks of the film's frames in its pixels; first: finds the head in the first arm's pictures.
    """
    if film is None:
        return None
    whole = size[0] / film.width
    if film.size == size:
        how, words = Similarity(), "as it is; its head is not laid on the others'"
    elif abs(whole * film.height - size[1]) < 1:
        how = Similarity(whole, applied=True)
        words = f"scaled from {film.width}x{film.height} to the common {size[0]}x{size[1]}; its head is not laid on "
        words += "the others'"
    else:
        how = similarity(_seen(film, sound.start), first())
        words = (
            f"of {film.width}x{film.height}, which is another shape than the common {size[0]}x{size[1]}: {how.words}"
        )
    if note := film.length_note(float(sound.duration), sound.start):
        words += f"; {note}"
    pictures = (align(picture, how, size) for picture in film.frames(fps, sound.start, count))
    laid = None
    if marks is not None:
        known = min(count, film.frame_count(fps, sound.start))
        shown = at_times(marks[round(sound.start * film.fps) :], film.fps, fps, known)
        laid = np.full((count, *marks.shape[1:]), np.nan)
        laid[:known] = how.affine.apply(shown.reshape(-1, 2)).reshape(shown.shape)
    return Reference(film.path, pictures, words, laid)


def read_marks(path: str | Path) -> np.ndarray:
    """Return the landmarks [T, 68, 2] of a film's frames, pixels, from an .npy. Raises MarotteError."""
    marks = read_any(path)
    if (
        not isinstance(marks, np.ndarray)
        or marks.ndim != 3
        or marks.shape[1:] != (68, 2)
        or marks.dtype.kind not in "fiu"
    ):
        shape = list(marks.shape) if isinstance(marks, np.ndarray) else type(marks).__name__
        raise MarotteError(f"{path} holds {shape}, not the 68 landmarks of each frame: give an .npy of [frames, 68, 2]")
    return marks.astype(np.float64)


def head_of(player: Player, start: float) -> Seen:
    """Return where an arm's head is found in its pictures."""
    if isinstance(player, DrawnPlayer):
        return _pictured(player.member, player.view)
    assert isinstance(player, FilmPlayer)
    return _seen(player.film, start)
