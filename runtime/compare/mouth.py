"""The mouth in pictures of which nothing else is known: how far it is open, as a share of what the pictures showed.

The head is found, and in each picture its middle, brows to nose, is laid on how it usually looks; below lies the
mouth. What of its change goes with the head's place is taken out. Three things then tell how open it is: how dark its
darkest parts are, how much darker it is than when it is shut, and the way in which it changes most. Where they agree,
their mean is the opening; where they do not, it is not a mouth that is seen. The sound is not asked, so that what is
found may be laid beside it.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from marotte.runtime.compare.face_fit import FaceFit, reduced
from marotte.runtime.compare.head_find import head_box

# Pictures that are looked at before anything is measured.
_LOOK = 75
# Windows that are kept, 1.4 kB each; of a longer film every second one, every fourth, and so on.
_MOST = 60_000
# Frames that the measures are made from, spread over the film, and that are measured at once.
_FIT, _BATCH, _FEWEST = 3000, 1024, 25
_POWERS = 60
# The share of frames that is taken for a shut mouth; of its surroundings, that which counts as dark, in percent.
_SHUT, _DARK = 0.25, 10
# Below these it is not a mouth that is seen: how much its pixels change (steps of 255), how far the measures agree.
_LEAST_CHANGE, _LEAST_SURE = 6.0, 0.6


@dataclass(frozen=True, eq=False)
class MouthTrack:
    """opening: [T], 0 at the first percentile of what was shown and 1 at the 99th, NaN where it is not known. sure:
    0 to 1, how far the ways to tell agree. why: why it was not measured, else empty. box: [4] the head's left, top,
    right and bottom in pixels, approximate; None where none was found."""

    opening: np.ndarray
    sure: float
    why: str
    box: np.ndarray | None


class _Kept(NamedTuple):
    frame: int
    window: np.ndarray
    shift: np.ndarray


class MouthWatch:
    """Watches the pictures of a film, in order, and says at their end how the mouth opened.

    It keeps 35 MB of pictures at first, and 1.4 kB for each frame, of 60000 at most.
    """

    def __init__(self) -> None:
        self._waiting: list[np.ndarray | None] = []
        self._looked = False
        self._box: np.ndarray | None = None
        self._face: FaceFit | None = None
        self._scale = 1.0
        self._kept: list[_Kept] = []
        self._every = 1
        self._count = 0

    def add(self, picture: np.ndarray | None) -> None:
        """Take the next picture [H, W, 3] uint8; None where there is none."""
        copy = None
        if picture is not None and (self._face or not self._looked):
            copy = reduced(picture)
            self._scale = picture.shape[1] / copy.shape[1]
        if self._looked:
            self._measure(copy)
            return
        self._waiting.append(copy)
        if len(self._waiting) == _LOOK:
            self._look()

    def result(self) -> MouthTrack:
        """Return what was seen."""
        if not self._looked:
            self._look()
        opening = np.full(self._count, np.nan)
        if self._box is None:
            return MouthTrack(opening, 0.0, "no head stands out from what is behind it", None)
        box = self._box * self._scale
        if len(self._kept) < _FEWEST:
            return MouthTrack(opening, 0.0, f"a face is seen in fewer than {_FEWEST} frames", box)
        found, sure, why = _opening(self._kept)
        if why:
            return MouthTrack(opening, sure, why, box)
        frames = np.array([each.frame for each in self._kept])
        opening = np.interp(np.arange(self._count), frames, found, left=np.nan, right=np.nan)
        # Only what was left out to save memory is filled in.
        for gap in np.flatnonzero(np.diff(frames) > self._every):
            opening[frames[gap] + 1 : frames[gap + 1]] = np.nan
        return MouthTrack(opening, sure, "", box)

    def _look(self) -> None:
        self._looked = True
        seen = [copy for copy in self._waiting if copy is not None]
        self._box = head_box(seen)
        if self._box is not None:
            self._face = FaceFit(self._box, seen)
        for copy in self._waiting:
            self._measure(copy)
        self._waiting = []

    def _measure(self, copy: np.ndarray | None) -> None:
        frame, self._count = self._count, self._count + 1
        if copy is None or self._face is None or frame % self._every:
            return
        fitted = self._face.mouth(copy)
        if fitted is not None:
            self._kept.append(_Kept(frame, *fitted))
        if len(self._kept) > _MOST:
            self._every *= 2
            self._kept = [each for each in self._kept if each.frame % self._every == 0]


def _opening(kept: list[_Kept]) -> tuple[np.ndarray, float, str]:
    """Return the opening [n] of windows, how sure it is, and why it is not a mouth's, else nothing."""
    some = _Windows.of(kept[:: -(-len(kept) // _FIT)])
    change = float(np.quantile(some.pixels.std(axis=0), 0.9))
    if change < _LEAST_CHANGE:
        return np.zeros(0), 0.0, "the mouth does not move, or hardly, where a head has it"
    measures = _Measures(some)
    told = _less(measures(some).T, some.moved).T
    sure = max(0.0, float(np.corrcoef(told)[0, 1:].min()))
    if not sure >= _LEAST_SURE:
        return np.zeros(0), sure, f"what moves below the nose is hardly a mouth's (agreement {sure:.2f})"
    parts = [_Windows.of(kept[at : at + _BATCH]) for at in range(0, len(kept), _BATCH)]
    moved = np.concatenate([part.moved for part in parts])
    whole = _less(np.concatenate([measures(part) for part in parts], axis=1).T, moved)
    whole = (whole / whole.std(axis=0)).mean(axis=1)
    low, high = np.percentile(whole, (1, 99))
    return np.clip((whole - low) / (high - low), 0, 1), sure, ""


class _Windows(NamedTuple):
    """Windows as rows of pixels [n, P] float32, and by how much [n, 2] each face was moved."""

    pixels: np.ndarray
    moved: np.ndarray

    @classmethod
    def of(cls, kept: list[_Kept]) -> "_Windows":
        pixels = np.array([each.window.ravel() for each in kept], np.float32)
        return cls(pixels, np.array([each.shift for each in kept], np.float32))


class _Measures:
    """The three measures, as windows say what they are."""

    def __init__(self, some: _Windows) -> None:
        self._mean = some.pixels.mean(axis=0)
        change = _less(some.pixels - self._mean, some.moved)
        way = change.std(axis=0)
        for _ in range(_POWERS):
            way = change.T @ (change @ way)
            way /= max(float(np.linalg.norm(way)), 1e-12)
        self._dark = np.percentile(np.median(some.pixels, axis=0), _DARK)
        # A mouth that opens shows more of the dark.
        dark = _less(np.maximum(self._dark - some.pixels, 0).mean(axis=1, keepdims=True), some.moved)[:, 0]
        along = change @ way
        sign = 1 if float(along @ (dark - dark.mean())) >= 0 else -1
        self._way, along = sign * way, sign * along
        self._shut = np.median(some.pixels[along <= np.quantile(along, _SHUT)], axis=0)

    def __call__(self, windows: _Windows) -> np.ndarray:
        """Return the measures [3, n], all larger for mouths more open."""
        pixels = windows.pixels
        return np.stack(
            [
                (pixels - self._mean) @ self._way,
                np.maximum(self._dark - pixels, 0).mean(axis=1),
                np.maximum(self._shut - pixels, 0).mean(axis=1),
            ]
        )


def _less(values: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Return values [n, ...] without what of them goes with the head's place [n, 2]; their mean stays."""
    place = moved - moved.mean(axis=0)
    return np.asarray(values - place @ np.linalg.lstsq(place, values - values.mean(axis=0), rcond=None)[0])
