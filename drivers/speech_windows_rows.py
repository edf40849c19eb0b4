"""Rows of logits to the windows that a GaussianTalker hears, as they come in.

Source: reference/gaussiantalker/SPEC.md, sections 7.2 and 7.3; `marotte.models.gaussian_talker.windows` is the form for
whole clips.
"""

from fractions import Fraction

import numpy as np

from marotte.models.gaussian_talker.config import CLASSES, STEPS

RATE = Fraction(50)  # rows a second, of logits as of windows
WIDTH = CLASSES * STEPS
# Rows of logits after its own that a window waits for: those in it, and one more, as the clip's last is left out.
WAIT = STEPS // 2

_HALF = STEPS // 2


class WindowRows:
    """Windows of one speaker's logits: row r is the sixteen rows r - 8 to r + 7, zeros where there are none.

    As published, the last row of a clip of M is left out, and there are ceil((M - 1) / 2) windows at 25 Hz: the even
    rows here, of which there are twice as many.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the speaker."""
        self._rows = np.zeros((_HALF, CLASSES), np.float32)  # from eight before the next window on
        self._out = 0

    def feed(self, logits: np.ndarray) -> np.ndarray:
        """Take rows [n, 29] and return the windows that are now known: [k, 464] float32, class by class."""
        self._rows = np.concatenate([self._rows, logits.astype(np.float32)])
        return self._windows(max(0, len(self._rows) - _HALF - WAIT))

    def finish(self) -> np.ndarray:
        """Say that there are no more rows and return the windows that are left."""
        kept = self._out + len(self._rows) - _HALF - 1  # rows of logits in all, but the last
        left = 2 * -(-kept // 2) - self._out if kept > 0 else 0
        self._rows = np.concatenate([self._rows[:-1], np.zeros((STEPS, CLASSES), np.float32)])
        return self._windows(left)

    def _windows(self, count: int) -> np.ndarray:
        if not count:
            return np.zeros((0, WIDTH), np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(self._rows, STEPS, axis=0)[:count]
        out = windows.reshape(count, WIDTH)
        self._rows = self._rows[count:]
        self._out += count
        return out
