"""Laying pictures of a face, of which only the head's box is known, on how it usually looks: a small shift for each."""

from typing import NamedTuple

import numpy as np

from marotte.runtime.compare.head_find import HIGH

# Pictures are copied no wider than this first.
_COPY_WIDE = 384
# The head's width in the working copy, and what is copied of it: beside it a share of its width, and rows, as shares
# of its height from the crown. Places within are such rows, and columns a share of its width from its middle.
_HEAD, _BESIDE, _COPY_ROWS = 80, 0.2, (0.2, 1.2)
_FIRM_ROWS, _FIRM_HALF = (0.41, 0.69), 0.3
_MOUTH_ROWS, _MOUTH_HALF = (0.69, 0.98), 0.25
_BLUR = 1.0
# Steps of laying one picture on another, when to stop, and how far it may lie, in pixels of the working copy.
_STEPS, _NEAR, _FARTHEST, _PAD = 12, 0.01, 16.0, 18
# Where to look again for a face that is not where it last was, and how like the usual one (correlation) it must be.
_ELSEWHERE = tuple((float(y), float(x)) for y in (0, -6, 6) for x in (0, -6, 6))
_LIKE = 0.6


# First and last row, first and last column, of a copy that is not padded.
Part = tuple[int, int, int, int]


def reduced(picture: np.ndarray) -> np.ndarray:
    """Return a copy [h, w, 3] of a picture uint8 that is no wider than is looked at."""
    from PIL import Image

    height, width = picture.shape[:2]
    if width <= _COPY_WIDE:
        return picture.copy()
    size = _COPY_WIDE, max(1, round(height * _COPY_WIDE / width))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))


class _Place(NamedTuple):
    """Where [2] a face is, how like (-1 to 1) the usual one it is there, and the light on it."""

    shift: np.ndarray
    like: float
    factor: float
    summand: float


class FaceFit:
    """A head's middle, brows to nose, as it usually looks in some copies. box: the head's, in their pixels."""

    def __init__(self, box: np.ndarray, copies: list[np.ndarray]) -> None:
        left, top, right, _ = box
        width, high = right - left, HIGH * (right - left)
        first, last = (top + row * high for row in _COPY_ROWS)
        self._source = left - _BESIDE * width, first, right + _BESIDE * width, last
        # Even, so that left and right are treated alike.
        half = round((0.5 + _BESIDE) * _HEAD)
        self._size = 2 * half, round((_COPY_ROWS[1] - _COPY_ROWS[0]) * HIGH * _HEAD)
        self._firm = _part(_FIRM_ROWS, half, _FIRM_HALF)
        self._window = _part(_MOUTH_ROWS, half, _MOUTH_HALF)
        whole = 0, self._size[1], 0, self._size[0]
        works = [self._work(copy) for copy in copies]
        # Twice: the usual look is sharper once the pictures lie on each other.
        for _ in range(2):
            self._learn(np.median(works, axis=0))
            works = [_padded(_sampled(work, whole, self._lay(work).shift)) for work in works]
        self._learn(np.median(works, axis=0))

    def mouth(self, copy: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Return what is below the nose in a picture's copy, [h, w] uint8 luma in the usual light, and where the face
        was, [2] in pixels of the working copy; None where the face is not seen."""
        work = self._work(copy)
        place = self._lay(work)
        if place.like < _LIKE:
            return None
        window = (_sampled(work, self._window, place.shift) - place.summand) / place.factor
        return np.clip(window + 0.5, 0, 255).astype(np.uint8), place.shift

    def _work(self, copy: np.ndarray) -> np.ndarray:
        """Return the working copy, padded, float32, luma of 0 to 255; edges go on where a picture ends."""
        from PIL import Image

        height, width = copy.shape[:2]
        luma = np.asarray(Image.fromarray(copy).convert("L"))
        beside = max(0, int(np.ceil(max(-min(self._source), self._source[2] - width, self._source[3] - height))))
        image = Image.fromarray(np.pad(luma, beside, mode="edge"))
        left, top, right, bottom = (float(side) + beside for side in self._source)
        return _padded(
            np.asarray(image.resize(self._size, Image.Resampling.BILINEAR, box=(left, top, right, bottom)), np.float32)
        )

    def _learn(self, usual: np.ndarray) -> None:
        from scipy.ndimage import gaussian_filter

        blurred = gaussian_filter(usual, _BLUR)
        down, right = np.gradient(blurred)
        zero = np.zeros(2)
        self._usual = _sampled(blurred, self._firm, zero).ravel()
        # Light that changes as a whole, by a factor or a summand, is no shift.
        self._slopes = np.stack(
            [
                _sampled(down, self._firm, zero).ravel(),
                _sampled(right, self._firm, zero).ravel(),
                self._usual,
                np.ones_like(self._usual),
            ],
            axis=1,
        )
        self._last = zero

    def _lay(self, work: np.ndarray) -> _Place:
        """Return where the face is in a working copy."""
        from scipy.ndimage import gaussian_filter

        blurred = gaussian_filter(work, _BLUR)
        best = self._descend(blurred, self._last)
        for start in _ELSEWHERE if best.like < _LIKE else ():
            other = self._descend(blurred, np.array(start))
            best = other if other.like > best.like else best
        self._last = best.shift if best.like >= _LIKE else np.zeros(2)
        return best

    def _descend(self, blurred: np.ndarray, start: np.ndarray) -> _Place:
        """Return where the face is, from a start. After Baker and Matthews, 2004, Lucas-Kanade 20 years on, the
        inverse way; pixels that differ much, as of eyes that blink, count less."""
        shift = start.copy()
        slopes = self._slopes
        for _ in range(_STEPS):
            error = _sampled(blurred, self._firm, shift).ravel() - self._usual
            usual = 3 * float(np.median(abs(error))) + 1e-3
            weighted = slopes / (1 + np.square(error / usual))[:, None]
            found = np.linalg.solve(weighted.T @ slopes + 1e-3 * np.eye(4), weighted.T @ error)
            shift = np.clip(shift - found[:2], -_FARTHEST, _FARTHEST)
            if abs(found[:2]).max() < _NEAR:
                break
        seen = _sampled(blurred, self._firm, shift).ravel()
        seen, usual_look = seen - seen.mean(), self._usual - self._usual.mean()
        size = float(np.linalg.norm(seen) * np.linalg.norm(usual_look))
        # Less contrast than one step is none.
        like = float(seen @ usual_look) / size if size > len(seen) else -1.0
        return _Place(shift, like, max(1 + float(found[2]), 0.1), float(found[3]))


def _padded(work: np.ndarray) -> np.ndarray:
    return np.pad(work, _PAD, mode="edge")


def _part(rows: tuple[float, float], half: int, reach: float) -> Part:
    """Return first and last row and column of a part of the working copy, as far to the left as to the right."""
    first, last = (round((row - _COPY_ROWS[0]) * HIGH * _HEAD) for row in rows)
    beside = round(reach * _HEAD)
    return first, last, half - beside, half + beside


def _sampled(work: np.ndarray, part: Part, shift: np.ndarray) -> np.ndarray:
    """Return a part of a padded copy, shifted by down and right, between pixels linearly."""
    (row, down), (column, right) = ((int(np.floor(by)), float(by - np.floor(by))) for by in shift)
    top, left = part[0] + row + _PAD, part[2] + column + _PAD
    high, wide = part[1] - part[0], part[3] - part[2]
    seen = work[top : top + high + 1, left : left + wide + 1]
    rows = seen[:-1] + np.float32(down) * (seen[1:] - seen[:-1])
    return np.asarray(rows[:, :-1] + np.float32(right) * (rows[:, 1:] - rows[:, :-1]))
