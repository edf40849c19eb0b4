"""Audio features joined to frames by their ticks."""

from fractions import Fraction

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.clock import TICK_RATE, frame_tick, frame_ticks
from marotte.runtime.contracts import FeatureNeed, Features
from marotte.runtime.registry import create


def features_for(need: FeatureNeed, avatar: str) -> Features:
    """Return the features that an avatar, by name, needs.

    Raises MarotteError where what they mean is not what the avatar was trained on.
    """
    features: Features = create("features", need.kind, **need.options)
    if need.space and features.space and need.space != features.space:
        raise MarotteError(
            f"avatar {avatar} was trained on {need.space} features, {need.kind} gives {features.space}: its lips would "
            f"move at random; drive it with features of its own kind (--features)"
        )
    return features


class FeatureJoin:
    """Windows of feature rows around frames, as the rows come in; which rows, `FeatureNeed` says.

    rest: the row [width] that stands before the start and after the end; zeros where it is not given.
    """

    def __init__(self, features: Features, need: FeatureNeed, fps: Fraction, rest: np.ndarray | None = None) -> None:
        self._stream = features.open()
        self._rate, self._width = Fraction(features.rate), features.width
        self._need, self._fps = need, fps
        self._rest = np.zeros(self._width, np.float32) if rest is None else rest.astype(np.float32)
        self.reset()

    def reset(self) -> None:
        """Start a new utterance."""
        self._stream.reset()
        self._first = min(self._need.first, 0)  # rows before the start
        self._rows = self._resting(-self._first)
        self._ended = False

    def close(self) -> None:
        """Give back the feature stream."""
        self._stream.close()

    def feed(self, samples: np.ndarray) -> None:
        """Take sound [n] float32 at 16 kHz."""
        self._add(self._stream.feed(samples))

    def finish(self) -> None:
        """Take the end of the sound: every later window is known, padded with rows of rest."""
        self._add(self._stream.finish())
        self._ended = True

    def ready(self, start: int, stop: int) -> int:
        """Return how far, from `start` up to `stop`, the windows of the frames are known."""
        if self._ended:
            return stop
        have = self._first + len(self._rows)
        while start < stop and self._row(start) + self._need.last < have:
            start += 1
        return start

    def windows(self, start: int, stop: int) -> np.ndarray:
        """Return the windows [T, window, width] of frames that are ready, in order, each once."""
        rows = frame_ticks(start, stop, self._fps) * self._rate.numerator // (TICK_RATE * self._rate.denominator)
        index = rows[:, None] + self._need.first + self._need.stride * np.arange(self._need.window) - self._first
        lacking = int(index.max(initial=-1)) + 1 - len(self._rows)
        if lacking > 0:
            self._add(self._resting(lacking))
        out = self._rows[index]
        drop = self._row(stop) + self._need.first - self._first
        if drop > 0:
            self._rows, self._first = self._rows[drop:], self._first + min(drop, len(self._rows))
        return out

    def _row(self, frame: int) -> int:
        return frame_tick(frame, self._fps) * self._rate.numerator // (TICK_RATE * self._rate.denominator)

    def _resting(self, count: int) -> np.ndarray:
        return np.tile(self._rest, (count, 1))

    def _add(self, rows: np.ndarray) -> None:
        self._rows = np.concatenate([self._rows, rows])
