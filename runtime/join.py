"""Audio features joined to frames by their ticks."""

from fractions import Fraction

import numpy as np

from marotte.runtime.clock import TICK_RATE, frame_tick, frame_ticks
from marotte.runtime.contracts import FeatureNeed, Features


class FeatureJoin:
    """Windows of feature rows around frames, as the rows come in.

    The window of a frame holds `window` rows centred on the row that its tick falls into; rows
    before the start and after the end are zero.
    """

    def __init__(self, features: Features, need: FeatureNeed, fps: Fraction) -> None:
        self._stream = features.open()
        self._rate, self._width = Fraction(features.rate), features.width
        self._window, self._fps = need.window, fps
        self.reset()

    def reset(self) -> None:
        """Start a new utterance."""
        self._stream.reset()
        self._first = -self._window  # zero rows before the start
        self._rows = np.zeros((self._window, self._width), np.float32)
        self._ended = False

    def close(self) -> None:
        """Give back the feature stream."""
        self._stream.close()

    def feed(self, samples: np.ndarray) -> None:
        """Take sound [n] float32 at 16 kHz."""
        self._add(self._stream.feed(samples))

    def finish(self) -> None:
        """Take the end of the sound: every later window is known, padded with zero rows."""
        self._add(self._stream.finish())
        self._ended = True

    def ready(self, start: int, stop: int) -> int:
        """Return how far, from `start` up to `stop`, the windows of the frames are known."""
        if self._ended:
            return stop
        have = self._first + len(self._rows)
        while start < stop and self._begin(start) + self._window <= have:
            start += 1
        return start

    def windows(self, start: int, stop: int) -> np.ndarray:
        """Return the windows [T, window, width] of frames that are ready, in order, each once."""
        begins = self._rows_of(frame_ticks(start, stop, self._fps)) - self._window // 2
        lacking = int(begins[-1]) + self._window - self._first - len(self._rows) if len(begins) else 0
        if lacking > 0:
            self._add(np.zeros((lacking, self._width), np.float32))
        index = begins[:, None] - self._first + np.arange(self._window)
        out = self._rows[index]
        drop = self._begin(stop) - self._first
        if drop > 0:
            self._rows, self._first = self._rows[drop:], self._first + min(drop, len(self._rows))
        return out

    def _begin(self, frame: int) -> int:
        return (
            frame_tick(frame, self._fps) * self._rate.numerator // (TICK_RATE * self._rate.denominator)
            - self._window // 2
        )

    def _rows_of(self, ticks: np.ndarray) -> np.ndarray:
        return ticks * self._rate.numerator // (TICK_RATE * self._rate.denominator)

    def _add(self, rows: np.ndarray) -> None:
        self._rows = np.concatenate([self._rows, rows])
