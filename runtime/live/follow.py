"""Follow a source whose clock runs fast or slow: what waits to be played stays near its target, unheard.

A microphone that delivers 48,009.6 samples a second fills a queue by 7 s in ten hours. The follower reads its stream
at a rate that a slow controller sets from the level of what waits, at most half a percent off, by cubic interpolation.
"""

import math

import numpy as np

from marotte.runtime.clock import TICK_RATE

# The largest change of speed: below what is heard as a change of pitch.
_MOST = 0.005
# Levels are averaged over so long: jitter of packets and the steps of frames are not drift.
_SMOOTH_S = 8.0
# The controller's gains, by second of error, and by second of error and second of time.
_GAIN, _INTEGRAL = 0.02, 0.0002


class Follower:
    """One stream of sound at 48 kHz. target: seconds that should wait on the average."""

    def __init__(self, target: float) -> None:
        self.target = target
        self.reset()

    def reset(self) -> None:
        """Start a new stream, at the source's own speed."""
        self.speed = 1.0
        self._level: float | None = None
        self._drift = 0.0
        self._kept = np.zeros(1, np.float32)  # one sample before the first
        self._at = 1.0  # where the next sample is read, in `_kept`

    def feed(self, sound: np.ndarray, level: float) -> np.ndarray:
        """Take sound [n] float32 and the seconds that now wait; return it [m], stretched a little.

        It comes two samples late: the interpolation needs the next ones.
        """
        self._steer(len(sound) / TICK_RATE, level)
        kept = np.concatenate([self._kept, sound.astype(np.float32)])
        count = max(0, math.ceil((len(kept) - 2 - self._at) / self.speed))
        places = self._at + self.speed * np.arange(count)
        low = places.astype(np.int64)
        out = _cubic(kept, low, (places - low).astype(np.float32))
        self._at += self.speed * count
        drop = max(int(self._at) - 1, 0)
        self._kept, self._at = kept[drop:], self._at - drop
        return out

    def _steer(self, seconds: float, level: float) -> None:
        """Set the speed from the level, seconds of sound after the last time."""
        if self._level is None:
            self._level = level
        share = 1 - np.exp(-seconds / _SMOOTH_S)
        self._level += share * (level - self._level)
        error = self._level - self.target
        self._drift = float(np.clip(self._drift + _INTEGRAL * error * seconds, -_MOST, _MOST))
        self.speed = 1 + float(np.clip(_GAIN * error + self._drift, -_MOST, _MOST))


def _cubic(kept: np.ndarray, low: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Return Catmull-Rom values between kept[low] and kept[low + 1]; needs one sample before and two after."""
    a, b, c, d = (kept[low + k] for k in (-1, 0, 1, 2))
    return b + share * (
        0.5 * (c - a) + share * (a - 2.5 * b + 2 * c - 0.5 * d + share * (1.5 * (b - c) + 0.5 * (d - a)))
    )
