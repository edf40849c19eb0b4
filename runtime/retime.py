"""Motion from one frame rate to another: rotations on the sphere, everything else along straight lines."""

from fractions import Fraction

import numpy as np

from marotte.models.rotations import quat_slerp, quat_wxyz_to_rotvec, rotvec_to_quat_wxyz
from marotte.runtime.clock import frame_count
from marotte.runtime.motion import EXTRAS, HEAD, JAW, Motion, concatenate, empty

# How long a face takes to come to rest after its motion has ended before the sound does.
REST_SECONDS = 0.4

_ROTATIONS = {"codes": (HEAD, JAW), "eyes": (slice(0, 3), slice(3, 6)), "neck": (slice(0, 3),)}


class Retimer:
    """Stream of motion at `fps` from motion at another rate. Packets do not change the values.

    A frame comes out once the source frames on both sides of it are in. Equal rates pass through.
    """

    def __init__(self, fps: Fraction) -> None:
        self.fps = fps
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next frame is frame 0."""
        self._held: Motion | None = None  # source frames from `_first` on that are still needed
        self._first = 0
        self._next = 0  # the next frame to come out

    def feed(self, motion: Motion) -> Motion:
        """Take the next source frames and return the frames that are now decided."""
        self._held = motion if self._held is None else concatenate([self._held, motion])
        have = self._first + len(self._held)
        # The last frame i with i * source / fps <= have - 1 has both neighbours.
        stop = 0 if have == 0 else int((have - 1) * self.fps / motion.fps) + 1
        return self._sample(max(stop, self._next))

    def finish(self, duration: Fraction) -> Motion | None:
        """Return the frames left of `duration` seconds; a motion that ended sooner comes to rest.

        None when no motion was ever fed.
        """
        if self._held is None:
            return None
        if not len(self._held):
            rest = np.zeros((frame_count(duration, self.fps) - self._next, 106), np.float32)
            self._next += len(rest)
            return Motion(rest, self.fps, self._held.basis)
        return self._sample(max(frame_count(duration, self.fps), self._next))

    def _sample(self, stop: int) -> Motion:
        held = self._held
        assert held is not None
        index = np.arange(self._next, stop, dtype=np.int64)
        self._next = stop
        if not len(index):
            return empty(self.fps, held.basis)
        if held.fps == self.fps and stop <= self._first + len(held):
            out = held[index[0] - self._first : stop - self._first]
        else:
            out = self._between(held, index)
        self._drop(stop)
        return out

    def _between(self, held: Motion, index: np.ndarray) -> Motion:
        step = held.fps / self.fps
        numerator = index * step.numerator
        low = numerator // step.denominator - self._first
        share = (numerator % step.denominator / step.denominator).astype(np.float32)
        last = len(held) - 1
        beyond = (numerator / step.denominator - self._first - last) / float(held.fps)
        share = np.where(low >= last, np.float32(0), share)
        low = np.clip(low, 0, last)
        high = np.minimum(low + 1, last)
        # After the last source frame the face comes to rest along a smooth step.
        left = np.clip(1 - (beyond - 1 / float(held.fps)) / REST_SECONDS, 0, 1)
        keep = (left * left * (3 - 2 * left)).astype(np.float32)[:, None]

        out = {}
        for name in ("codes", *EXTRAS):
            source = getattr(held, name)
            if source is None:
                continue
            mixed = source[low] + (source[high] - source[low]) * share[:, None]
            for part in _ROTATIONS.get(name, ()):
                mixed[:, part] = _slerp(source[low, part], source[high, part], share)
            out[name] = mixed * keep
        return Motion(fps=self.fps, basis=held.basis, **out)

    def _drop(self, stop: int) -> None:
        """Forget the source frames before the neighbours of frame `stop`."""
        held = self._held
        assert held is not None
        need = int(stop * held.fps / self.fps)
        drop = min(max(need - self._first, 0), max(len(held) - 1, 0))
        self._held = held[drop:]
        self._first += drop


def retime(motion: Motion, fps: Fraction, duration: Fraction | None = None) -> Motion:
    """Return a whole motion at another rate, over its own duration or another."""
    retimer = Retimer(fps)
    head = retimer.feed(motion)
    tail = retimer.finish(motion.duration if duration is None else duration)
    assert tail is not None
    return concatenate([head, tail])


def mixed(start: Motion, end: Motion, share: float) -> Motion:
    """Return the motion `share` of the way from one to another of the same length: rotations on the sphere.

    An extra that only one of them has is at rest in the other.
    """
    out = {}
    for name in ("codes", *EXTRAS):
        a, b = getattr(start, name), getattr(end, name)
        if a is None and b is None:
            continue
        a, b = np.zeros_like(b) if a is None else a, np.zeros_like(a) if b is None else b
        out[name] = a + (b - a) * np.float32(share)
        for part in _ROTATIONS.get(name, ()):
            out[name][:, part] = _slerp(a[:, part], b[:, part], np.full(len(a), share, np.float32))
    return Motion(fps=end.fps, basis=end.basis, **out)


def _slerp(start: np.ndarray, end: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Return rotation vectors [T, 3] on the shortest way from start to end [T, 3]."""
    exact = np.all(start == end, axis=1) | (share == 0)
    if exact.all():
        return start
    turned = quat_slerp(rotvec_to_quat_wxyz(start), rotvec_to_quat_wxyz(end), share[:, None])
    return np.where(exact[:, None], start, quat_wxyz_to_rotvec(turned))
