"""Lips and sound: how far a mouth opens, whether it does what is asked, closes at p, b and m, and keeps time."""

from fractions import Fraction

import numpy as np

from marotte.runtime.arkit import JAW_OPEN
from marotte.runtime.avatar import Avatar, load_avatar
from marotte.runtime.compare.blocks import Blocks, Quantity, mean
from marotte.runtime.compare.faces import asked_tracks
from marotte.runtime.compare.model import Take, not_known
from marotte.runtime.compare.spoken import Speech
from marotte.runtime.lipsync.measure import CLOSED, NEAR, lags, peak, pearson, ratio
from marotte.runtime.motion import BASES, JAW, WIDTH, Motion

LARGEST_LAG = 0.5  # seconds
# Lips whose opening follows the sound no better than this at any lag tell none.
WEAK = 0.3
# Where no head tells how far a mouth opens: a tenth of the way between these percentiles counts as closed.
_LOW, _HIGH, _LEVEL = 2, 98, 0.1
MM = "mm"
NO_SPEECH = "nothing was said"
UNMOVED = "no motion moves its lips"


def full_opening(avatar: Avatar | None = None) -> float:
    """Return the lips' gap in mm at full jaw opening of an avatar's head, or of the demo's; NaN where it has none."""
    codes = np.zeros((1, WIDTH), np.float32)
    codes[:, JAW] = JAW_OPEN
    person = avatar or load_avatar("demo")
    # The jaw's rotation is not of the basis: any does that the head takes.
    basis = person.basis if person.basis in BASES else "arkit52"
    return float(asked_tracks(Motion(codes, Fraction(1), basis), person).opening[0])


def unseen(take: Take) -> str:
    """Return why nothing is known of an arm's lips; empty where something is."""
    if np.isfinite(take.opening).any():
        return ""
    return f"the lips' opening is {not_known(take.opening_by)}"


def opening(take: Take, speech: Speech, blocks: Blocks) -> Quantity | str:
    """Return the mean opening in speech, mm."""
    if why := unseen(take):
        return why
    if take.opening_unit != MM:
        return "the picture tells the opening's course, not its mm"
    return mean(blocks, _in_speech(take.opening, speech, blocks), least=0, without=NO_SPEECH)


def gain(take: Take, speech: Speech, blocks: Blocks) -> Quantity | str:
    """Return the slope through the origin of the realised opening on the asked one."""
    asked = _asked(take)
    if isinstance(asked, str):
        return asked
    if take.opening_unit != MM:
        return "the picture tells the opening's course, not its mm"
    shown, wanted = _in_speech(take.opening, speech, blocks), _in_speech(asked, speech, blocks)
    known = np.isfinite(shown) & np.isfinite(wanted)

    def sums(keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return blocks.added(known, keep), blocks.added(np.stack([shown * wanted, wanted**2], axis=1), keep & known)

    without = "nothing was said, or no opening asked for"
    return Quantity(known, sums, lambda parts: ratio(*parts.T), without=without)


def follows(take: Take, speech: Speech, blocks: Blocks) -> Quantity | str:
    """Return r of the realised opening with the asked one."""
    asked = _asked(take)
    if isinstance(asked, str):
        return asked
    shown, wanted = _in_speech(take.opening, speech, blocks), _in_speech(asked, speech, blocks)
    known = np.isfinite(shown) & np.isfinite(wanted)

    def sums(keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        parts = blocks.added(_moments(shown, wanted), keep & known)
        return parts[:, 0], parts

    return Quantity(known, sums, _bounded_r, -1, 1, without="nothing was said, or an opening does not move")


def closure(take: Take, own: Speech, blocks: Blocks, full: float, *, asked: bool = False) -> Quantity | str:
    """Return the share of bilabials at which the realised lips close, or those asked for.

    own: what is said in the arm's own video. full: mm of the head's full opening.
    """
    if asked:
        wanted = _asked(take, only=True)
        if isinstance(wanted, str):
            return wanted
        track, in_mm = wanted, True
    else:
        if why := unseen(take):
            return why
        track, in_mm = take.opening, take.opening_unit == MM
    if in_mm and not np.isfinite(full):
        return "it is not known how far the head's mouth opens"
    level, note = (CLOSED * full, "") if in_mm else (_level(track, own, blocks), "closed by the film's own range")
    known, seconds = np.isfinite(track), _seconds(blocks)
    spans = np.stack(
        [
            np.searchsorted(seconds, own.bilabials[:, 0] - NEAR, "left"),
            np.searchsorted(seconds, own.bilabials[:, 1] + NEAR, "right"),
        ],
        axis=1,
    )
    spans = spans[spans[:, 1] > spans[:, 0]]
    owner = np.searchsorted(blocks.starts, spans.mean(axis=1), "right") - 1
    shut = known & (np.where(known, track, np.inf) < level)

    def sums(keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        whole = np.array([keep[a:b].all() for a, b in spans], bool)
        met = np.array([shut[a:b].any() for a, b in spans], bool) & whole
        parts = [np.bincount(owner, each.astype(float), len(blocks)) for each in (met, whole)]
        return parts[1], np.stack(parts, axis=1)

    without = "no p, b or m was said" if len(own.talk) else NO_SPEECH
    kind = ", ".join(filter(None, (f"phones by {own.by}", note)))
    return Quantity(known, sums, lambda parts: ratio(*parts.T), 0, 1, kind, note, without, share=True)


def lag(take: Take, own: Speech, blocks: Blocks) -> Quantity | str:
    """Return by how many ms the lips are behind what is said in the arm's own video."""
    if why := unseen(take):
        return why
    if not len(own.talk):
        return NO_SPEECH
    shifts, seconds = lags(LARGEST_LAG), _seconds(blocks)
    shown = _in_speech(take.opening, own, blocks)
    known = np.isfinite(shown)
    said = [own.openness(seconds - shift) for shift in shifts]

    def sums(keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        parts = np.stack([blocks.added(_moments(shown, openness), keep & known) for openness in said], axis=1)
        return parts[:, 0, 0], parts

    def pooled(parts: np.ndarray) -> np.ndarray:
        r = pearson(parts)
        best = np.where(np.isnan(r).any(axis=1), -1, np.nan_to_num(r).argmax(axis=1))
        inside = (best > 0) & (best < len(shifts) - 1)
        # That a draw of blocks has a weak peak is a part of the interval; that all of them have is no lag.
        strong = np.nan_to_num(r[0]).max() >= WEAK
        return np.where(inside & strong, peak(shifts, r) * 1000, np.nan)

    without = f"the lips follow the sound at no lag within {1000 * LARGEST_LAG:.0f} ms"
    # Frames out of speech are not to be known, yet the other arm's speech may be elsewhere.
    return Quantity(np.isfinite(take.opening), sums, pooled, kind=f"phones by {own.by}", without=without)


def _asked(take: Take, *, only: bool = False) -> np.ndarray | str:
    """Return the opening asked for, or why there is none; with `only`, whether or not it shows."""
    if take.asked is None:
        return UNMOVED
    if not np.isfinite(take.asked).any():
        return "what the motion asks for is not known"
    return take.asked if only or not (why := unseen(take)) else why


def _in_speech(track: np.ndarray, speech: Speech, blocks: Blocks) -> np.ndarray:
    """Return a track [T], NaN where nothing is said."""
    return np.where(speech.spoken(_seconds(blocks)), track, np.nan)


def _level(track: np.ndarray, speech: Speech, blocks: Blocks) -> float:
    """Return the opening under which a mouth whose mm are not known counts as closed; NaN where there is none."""
    values = _in_speech(track, speech, blocks)
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan")
    low, high = np.percentile(values, (_LOW, _HIGH))
    return float(low + _LEVEL * (high - low))


def _moments(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return [T, 6], which adds up to what `pearson` takes."""
    return np.stack([np.ones(len(x)), x, y, x * x, y * y, x * y], axis=1)


def _bounded_r(parts: np.ndarray) -> np.ndarray:
    return np.clip(pearson(parts), -1, 1)


def _seconds(blocks: Blocks) -> np.ndarray:
    return np.asarray(np.arange(blocks.frames) / float(blocks.fps))
