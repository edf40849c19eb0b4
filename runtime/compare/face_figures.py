"""Figures of a face's life and steadiness, of its landmarks, and of pictures: all that does not hang on the sound."""

from dataclasses import dataclass

import numpy as np

from marotte.runtime.compare.blocks import Blocks, Quantity, mean
from marotte.runtime.compare.model import Take, not_known
from marotte.runtime.lipsync.measure import ratio

# A blink begins above the first, and the next one can begin under the second.
BLINK, OPEN_AGAIN = 0.5, 0.3
_MINUTE = 60.0
# Of the 68: without the jaw line; the eyes' outer corners.
_FIRM = slice(17, 68)
_OUTER = (36, 45)


@dataclass(frozen=True, eq=False)
class Blinks:
    """Blinks of a track: begins [N] their first frames; lasting [N] seconds, NaN where an end was not seen."""

    begins: np.ndarray
    lasting: np.ndarray


def blinks(track: np.ndarray, fps: float) -> Blinks:
    """Return the blinks of a closure of the eyes [T], 0 open to 1 shut. One that a film begins in is left out."""
    begins: list[int] = []
    lasting: list[float] = []
    began = ended = 0.0
    shut, armed = False, False
    for i, value in enumerate(track.tolist()):
        before = track[i - 1] if i else np.nan
        if np.isnan(value):
            shut, armed = False, False
        elif armed and value > BLINK and before <= BLINK:
            began = ended = i - (value - BLINK) / (value - before)
            begins.append(i)
            lasting.append(float("nan"))
            shut, armed = True, False
        elif shut and value <= BLINK < before:
            ended = i - (BLINK - value) / (before - value)
        if value < OPEN_AGAIN:
            if shut:
                lasting[-1] = (ended - began) / fps
            shut, armed = False, True
    return Blinks(np.array(begins, np.int64), np.array(lasting))


def blink_rate(take: Take, blocks: Blocks) -> Quantity | str:
    """Return blinks a minute."""
    if why := _no_eyes(take):
        return why
    begun = np.bincount(blinks(take.blink, float(blocks.fps)).begins, minlength=len(take)).astype(float)
    return mean(blocks, np.where(np.isfinite(take.blink), begun * float(blocks.fps) * _MINUTE, np.nan), least=0)


def blink_duration(take: Take, blocks: Blocks) -> Quantity | str:
    """Return how long a blink lasts, seconds."""
    if why := _no_eyes(take):
        return why
    found = blinks(take.blink, float(blocks.fps))
    lasting, whole = np.zeros(len(take)), np.zeros(len(take), bool)
    seen = np.isfinite(found.lasting)
    lasting[found.begins[seen]], whole[found.begins[seen]] = found.lasting[seen], True

    def sums(keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        parts = blocks.added(np.stack([lasting, whole], axis=1), keep)
        return parts[:, 1], parts

    without = "no whole blink was seen"
    return Quantity(np.isfinite(take.blink), sums, lambda parts: ratio(*parts.T), least=0, without=without)


def head_motion(take: Take, blocks: Blocks) -> Quantity | str:
    """Return how far the head turns from its mean, degrees."""
    if why := _no_head(take):
        return why
    known = np.isfinite(take.head).all(axis=1)
    # From any angle that it has, so that 359 degrees are one from 0.
    turned = _turned(take.head - take.head[known][0])

    def sums(keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        parts = blocks.added(np.concatenate([np.ones((len(turned), 1)), turned, turned**2], axis=1), keep)
        return parts[:, 0], parts

    def pooled(parts: np.ndarray) -> np.ndarray:
        sums = np.stack([ratio(part, parts[:, 0]) for part in parts.T[1:]], axis=1)
        variances = sums[:, 3:] - sums[:, :3] ** 2
        # What rounding leaves of the variance of a head that is still is none.
        variances = np.where(variances <= 1e-12 * sums[:, 3:], 0, variances)
        return np.asarray(np.sqrt(variances.sum(axis=1)))

    return Quantity(known, sums, pooled, least=0)


def head_speed(take: Take, blocks: Blocks) -> Quantity | str:
    """Return how fast the head turns, degrees a second."""
    if why := _no_head(take):
        return why
    steps = _turned(np.diff(take.head, axis=0, prepend=np.nan))
    return mean(blocks, np.linalg.norm(steps, axis=1) * float(blocks.fps), least=0)


def head_jitter(take: Take, blocks: Blocks) -> Quantity | str:
    """Return the mean second difference of the head's angles, degrees a frame squared."""
    if why := _no_head(take):
        return why
    steps = _turned(np.diff(take.head, axis=0, prepend=np.nan))
    return mean(blocks, np.linalg.norm(_bend(steps), axis=1), least=0)


def lips_jitter(take: Take, blocks: Blocks) -> Quantity | str:
    """Return the mean second difference of the lips' landmarks, mm a frame squared; of the opening without these."""
    if take.lips is not None and np.isfinite(take.lips).any():
        bends = np.linalg.norm(_bend(np.diff(take.lips, axis=0, prepend=np.nan)), axis=-1)
        return mean(blocks, _mean_known(bends), least=0, kind="landmarks")
    if not np.isfinite(take.opening).any():
        return "neither the lips' landmarks nor their opening are known"
    bends = np.abs(_bend(np.diff(take.opening, prepend=np.nan)))
    unit = f"{take.opening_unit or 'share of the opening'}/frame²"
    return mean(blocks, bends, least=0, kind=f"opening in {unit}", note=f"of the opening, in {unit}")


def frame_time(take: Take, blocks: Blocks) -> Quantity | str:
    """Return the mean time of a frame, ms."""
    return _no_times(take) or mean(blocks, take.frame_ms, least=0)


def frame_time_jitter(take: Take, blocks: Blocks) -> Quantity | str:
    """Return the mean absolute difference of the times of successive frames, ms."""
    return _no_times(take) or mean(blocks, np.abs(np.diff(take.frame_ms, prepend=np.nan)), least=0)


def landmark_distance(marks: np.ndarray | None, others: np.ndarray | None, *, share: bool) -> np.ndarray | str:
    """Return the mean distance [T] of landmarks [T, 68, 2] from others, in pixels, or % of the others' eye distance.

    The jaw line does not count. NaN for frames that either lacks.
    """
    if marks is None or others is None:
        return "no landmarks" if marks is None else "no landmarks in what it is compared with"
    count = len(marks)
    known = np.full((count, 68, 2), np.nan)
    known[: len(others)] = others[:count]
    distance = _mean_known(np.linalg.norm(marks[:, _FIRM] - known[:, _FIRM], axis=-1))
    if share:
        eyes = np.linalg.norm(known[:, _OUTER[0]] - known[:, _OUTER[1]], axis=-1)
        distance = 100 * ratio(distance, eyes)
    return distance


def lip_speed(take: Take) -> np.ndarray:
    """Return how fast the lips' landmarks move [T], the mean of the 20 in mm/s, NaN where they are not known."""
    if take.lips is None:
        return np.full(len(take), np.nan)
    return _mean_known(np.linalg.norm(np.diff(take.lips, axis=0, prepend=np.nan), axis=-1)) * float(take.fps)


def _mean_known(values: np.ndarray) -> np.ndarray:
    """Return the mean [T] of what is known of values [T, n]; NaN where nothing is."""
    known = np.isfinite(values)
    return ratio(np.where(known, values, 0).sum(axis=1), known.sum(axis=1))


def _bend(steps: np.ndarray) -> np.ndarray:
    """Return the second difference [T, ...] of steps [T, ...], of which each is from the frame before.

    At the middle one of three frames; NaN at the ends.
    """
    bends = np.full(steps.shape, np.nan)
    bends[:-1] = np.diff(steps, axis=0)
    return bends


def _turned(degrees: np.ndarray) -> np.ndarray:
    """Return differences of angles, -180 to 180."""
    return np.asarray((degrees + 180) % 360 - 180)


def _no_eyes(take: Take) -> str:
    return "" if np.isfinite(take.blink).any() else f"the eyes' closure is {not_known(take.blink_by)}"


def _no_head(take: Take) -> str:
    return "" if np.isfinite(take.head).all(axis=1).any() else f"the head's pose is {not_known(take.head_by)}"


def _no_times(take: Take) -> str:
    return "" if np.isfinite(take.frame_ms).any() else "a film that is there already is not drawn"
