"""The clock: ticks of 1/48000 s, counted from the start of a stream.

Everything in the runtime that has a time has it in ticks; no wall clock is read here.
"""

from fractions import Fraction

import numpy as np

from marotte.errors import MarotteError

TICK_RATE = 48000


def as_fps(value: Fraction | int | float | str) -> Fraction:
    """Return a frame rate as an exact fraction: `25`, `"30000/1001"`, `29.97` (as 30000/1001)."""
    try:
        exact = Fraction(value)
    except (ValueError, ZeroDivisionError, OverflowError, TypeError):
        exact = Fraction(0)
    if not 1 <= exact <= 240:
        raise MarotteError(f"frame rate {value} is not between 1 and 240 frames a second; 25 and 60 are usual")
    if exact.denominator not in (1, 1001):
        ntsc = Fraction(round(exact * 1001 / 1000) * 1000, 1001)
        exact = ntsc if abs(ntsc - exact) < Fraction(1, 150) else exact.limit_denominator(1001)
    return exact


def frame_tick(index: int, fps: Fraction) -> int:
    """Return the tick at which frame `index` starts: floor(index * 48000 / fps)."""
    return index * TICK_RATE * fps.denominator // fps.numerator


def frame_ticks(start: int, stop: int, fps: Fraction) -> np.ndarray:
    """Return the ticks of frames start..stop-1, int64 [stop - start]."""
    index = np.arange(start, stop, dtype=np.int64)
    return index * (TICK_RATE * fps.denominator) // fps.numerator


def frame_count(duration: Fraction, fps: Fraction) -> int:
    """Return how many frames cover `duration` seconds: the last one starts before the end."""
    return -(-(duration * fps).numerator // (duration * fps).denominator)
