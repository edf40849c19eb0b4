"""Savitzky-Golay smoothing of motion, at once and as a stream, as ARTalk was published with.

Each frame becomes the value of a polynomial fitted to the frames around it: window 5 and order 2,
and window 9 and order 3 for the head rotation. At both ends one polynomial fitted to the first (last)
window gives the frames that have no full window of their own. Sums run in double and in one fixed
order, so a frame's bits do not depend on how the stream was cut. (scipy, which the published code
calls, agrees to float32 rounding, but for the ends: it fits those in float32 and is up to 3e-6 off.)
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.motion import HEAD, WIDTH, Motion

WINDOW = 9  # frames that the widest fit needs
DELAY = WINDOW // 2  # frames that must follow before a frame is settled


def _fit(window: int, order: int) -> np.ndarray:
    """Return the least-squares fit as a matrix [window, window]: row r gives the fitted value at r."""
    position = np.arange(window) - window // 2
    basis, _ = np.linalg.qr(np.vander(position.astype(np.float64), order + 1))
    return basis @ basis.T


_FACE = _fit(5, 2)
_HEAD = _fit(WINDOW, 3)


def smooth(codes: np.ndarray) -> np.ndarray:
    """Return float32 [F, width] smoothed along the frames; columns 100:103 by the wider window.

    Any width will do. Fewer than 9 frames come back as they are, as from the stream; the published
    one-shot function fails there.
    """
    if codes.ndim != 2:
        raise MarotteError(f"codes to smooth have shape {list(codes.shape)}, expected [frames, width]")
    if len(codes) < WINDOW:
        return codes.astype(np.float32)
    rows = codes.astype(np.float64)
    smoothed = _apply(_FACE, rows)
    smoothed[:, HEAD] = _apply(_HEAD, rows[:, HEAD])
    return smoothed.astype(np.float32)


def _apply(fit: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Filter double [F, width], F >= the window of `fit`, along the frames."""
    window = len(fit)
    half = window // 2
    out = np.zeros_like(rows)
    inner = out[half : len(rows) - half]
    for k in range(window):  # ascending, element by element: a matrix product's order varies with its shape
        inner += fit[half, k] * rows[k : k + len(inner)]
        out[:half] += fit[:half, k, None] * rows[k]
        out[-half:] += fit[-half:, k, None] * rows[k - window]
    return out


def postprocess(codes: np.ndarray, clip: int | None = 750, fix_pose: bool = False) -> np.ndarray:
    """Return what ARTalk makes of a whole sequence of raw codes [F, 106], float32 [min(F, clip), 106].

    In the published order: smooth all of it, cut to `clip` frames (None: keep all), zero the head
    rotation if `fix_pose`, zero the jaw's two sideways rotations always.
    """
    if codes.ndim != 2 or codes.shape[1] != WIDTH:
        raise MarotteError(f"codes have shape {list(codes.shape)}, expected [frames, {WIDTH}]")
    if clip is not None and clip < 1:
        raise MarotteError(f"clip of {clip} frames is not above 0: give None to keep all")
    done = smooth(codes)[:clip].copy()
    if fix_pose:
        done[:, HEAD] = 0
    done[:, 104:106] = 0
    return done


class Smoother:
    """The streaming form of `smooth`, equal to it bit for bit, 4 frames late.

    Nothing comes out before 9 frames are in; a stream that ends sooner comes out as it went in.

    function: what to stream instead: rows [F, width] to rows, where frame t depends on t - 4 to
    t + 4 and the first and last 4 frames on the first and last 9.
    """

    def __init__(self, function: Callable[[np.ndarray], np.ndarray] = smooth) -> None:
        self._function = function
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next frame is the first of a new stream."""
        self._kept: np.ndarray | None = None  # the frames from `_first` on
        self._first = 0
        self._sent = 0
        self._finished = False

    def feed(self, codes: np.ndarray) -> np.ndarray:
        """Take in frames [n, width] and return the frames that are settled, float32 [m, width]."""
        if self._finished:
            raise MarotteError("this smoother has finished its stream: call reset() before feeding another")
        if codes.ndim != 2 or (self._kept is not None and codes.shape[1] != self._kept.shape[1]):
            width = "width" if self._kept is None else self._kept.shape[1]
            raise MarotteError(f"codes to smooth have shape {list(codes.shape)}, expected [frames, {width}]")
        codes = codes.astype(np.float32)
        self._kept = codes if self._kept is None else np.concatenate([self._kept, codes])
        seen = self._first + len(self._kept)
        return self._emit(max(self._sent, seen - DELAY) if seen >= WINDOW else 0)

    def finish(self) -> np.ndarray:
        """Return the frames that were waiting, float32 [m, width]: 4, or all where fewer than 9 came.

        Raises MarotteError when nothing was fed.
        """
        if self._kept is None:
            raise MarotteError("smoother was finished before anything was fed: feed motion first")
        if self._finished:
            raise MarotteError("this smoother has finished its stream already: call reset()")
        self._finished = True
        return self._emit(self._first + len(self._kept))

    def _emit(self, stop: int) -> np.ndarray:
        assert self._kept is not None
        if stop == self._sent:
            return self._kept[:0]
        done = self._function(self._kept)[self._sent - self._first : stop - self._first]
        # Kept are the 4 frames ahead of the next to send, for its window, and at least the last 9,
        # for the fit at the end. So the fit at the start is only ever used where the stream starts.
        first = max(0, min(stop - DELAY, self._first + len(self._kept) - WINDOW))
        self._kept = self._kept[first - self._first :].copy()
        self._first, self._sent = first, stop
        return done


class MotionSmoother:
    """`Smoother` for `Motion`: codes and extras together, all 4 frames late.

    Extras are smoothed with window 5 and order 2, but for the eyelids, which only wait: a blink is
    as short as the window and would lose its depth.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next motion starts a new stream."""
        self._lanes: dict[str, Smoother] = {}  # one a kind of channel, made when the first frame comes
        self._none: Motion | None = None  # this stream's motion of no frames

    def feed(self, motion: Motion) -> Motion:
        """Take in motion and return the frames that are settled.

        Raises MarotteError when rate, basis or the set of extras changes within a stream.
        """
        if self._none is None or not self._lanes:
            self._none = motion[:0]
            if len(motion):
                names = ("codes", *motion.extras)
                self._lanes = {name: Smoother(_unchanged if name == "eyelids" else smooth) for name in names}
        if not len(motion):
            return self._none
        _check_alike(motion, self._none)
        settled: dict[str, Any] = {name: lane.feed(getattr(motion, name)) for name, lane in self._lanes.items()}
        return replace(self._none, **settled)

    def finish(self) -> Motion:
        """Return the frames that were waiting. Raises MarotteError when nothing was fed."""
        if self._none is None:
            raise MarotteError("smoother was finished before anything was fed: feed motion first")
        waiting: dict[str, Any] = {name: lane.finish() for name, lane in self._lanes.items()}
        return replace(self._none, **waiting)


def _unchanged(rows: np.ndarray) -> np.ndarray:
    return rows


def _check_alike(motion: Motion, before: Motion) -> None:
    for what, new, old in (
        ("rate", motion.fps, before.fps),
        ("basis", motion.basis, before.basis),
        ("extras", ", ".join(motion.extras) or "none", ", ".join(before.extras) or "none"),
    ):
        if new != old:
            raise MarotteError(f"motion changed its {what} from {old} to {new} within a stream: call reset() first")
