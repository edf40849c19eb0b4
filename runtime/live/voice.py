"""Voice: one driver's way from a turn's sound to motion, frame by frame, and the features that go with it.

A turn has one for each face that moves in its own way. The voice of a face beside the first never holds up what is
being said: frames that it has not got in time are missing, and later ones are in their place all the same.
"""

import logging
import threading
from collections import deque
from fractions import Fraction

import numpy as np

from marotte.runtime.clock import TICK_RATE, frame_tick
from marotte.runtime.join import FeatureJoin
from marotte.runtime.live.segment import Frame
from marotte.runtime.live.way import Way
from marotte.runtime.motion import Motion, concatenate
from marotte.runtime.retime import Retimer
from marotte.runtime.smoothing import MotionSmoother

_LOG = logging.getLogger("marotte.live")


class Voice:
    """One way of one turn; all but `ahead` and `take` on the drive thread. Frame 0 is where its sound begins, `start`
    frames into the turn. name: of the session whose face it moves."""

    def __init__(self, name: str, way: Way, fps: Fraction) -> None:
        self.name, self.way, self.fps = name, way, fps
        self.start = 0
        self.stream = way.driver.open(way.options)
        self._smoother = MotionSmoother() if way.smooth and not way.driver.smooths else None
        self._moved = False
        self._retimer = Retimer(fps)
        self._join: FeatureJoin | None = None
        if way.features is not None and way.need is not None:
            self._join = FeatureJoin(way.features, way.need, fps, way.rest)
        self._sound: deque[np.ndarray] = deque()  # at 16 kHz, not driven yet
        self._end: Fraction | None = None  # seconds of its sound, once that has ended
        self._motion: Motion | None = None  # from frame `_cut` on
        self._cut = 0
        self.done = False  # all its sound is driven
        self._lock = threading.Lock()
        self._frames: deque[tuple[int, Frame]] = deque()  # `cut_all`'s, by frames of the turn

    def hear(self, sound: np.ndarray) -> None:
        """Take sound [n] float32 at 16 kHz, to be driven later."""
        self._sound.append(sound)

    def end(self, ticks: int) -> None:
        """Say that the turn's sound has ended, so many ticks after its start."""
        self._end = Fraction(ticks - frame_tick(self.start, self.fps), TICK_RATE)

    @property
    def waits(self) -> bool:
        """Whether there is anything to drive."""
        return bool(self._sound) or (self._end is not None and not self.done)

    def sound(self, most: int) -> np.ndarray:
        """Take what waits, about `most` samples at a time, whole pieces."""
        pieces = [np.zeros(0, np.float32)]
        while self._sound and sum(map(len, pieces)) < most:
            pieces.append(self._sound.popleft())
        return np.concatenate(pieces)

    def add(self, motion: Motion, sound: np.ndarray) -> None:
        """Take the driver's motion for the sound [n] that `sound` gave."""
        parts = [] if self._motion is None else [self._motion]
        parts.append(self._retimer.feed(self._smoothed(motion)))
        if self._join:
            self._join.feed(sound)
        if self._end is not None and not self._sound:
            rest = self._smoothed(self.stream.finish())
            if self._smoother and self._moved:
                rest = concatenate([rest, self._smoother.finish()])
            parts.append(self._retimer.feed(rest))
            left = self._retimer.finish(self._end)
            parts += [left] if left is not None else []
            if self._join:
                self._join.finish()
            self.done = True
        self._motion = concatenate(parts)

    def cut(self, most: int) -> list[Frame]:
        """Return the next frames that are whole, `most` at most: motion of one frame, and its feature window."""
        motion = self._motion
        if motion is None:
            return []
        count = max(0, min(most, len(motion)))
        if self._join:
            count = self._join.ready(self._cut, self._cut + count) - self._cut
        windows = self._join.windows(self._cut, self._cut + count) if self._join and count > 0 else None
        frames = [(motion[i : i + 1], None if windows is None else windows[i]) for i in range(count)]
        self._motion = motion[count:]
        self._cut += count
        return frames

    def close(self) -> None:
        """Give back the streams; what fails in that is no other voice's trouble."""
        for part in (self.stream, self._join):
            try:
                if part:
                    part.close()
            except Exception:
                _LOG.exception("a voice's stream cannot be closed")

    # Of a face beside the first.

    def cut_all(self) -> None:
        """Keep the frames that are whole, to be taken by their places in the turn."""
        first = self.start + self._cut
        made = self.cut(len(self._motion) if self._motion is not None else 0)
        with self._lock:
            self._frames.extend(enumerate(made, first))

    def ahead(self, index: int) -> int:
        """Return how many frames it has from the turn's frame `index` on."""
        with self._lock:
            return max(0, self._frames[-1][0] + 1 - index) if self._frames else 0

    def take(self, index: int) -> Frame | None:
        """Return the turn's frame `index`, None where it is not there; what came before it is forgotten."""
        with self._lock:
            while self._frames and self._frames[0][0] < index:
                self._frames.popleft()
            if not self._frames or self._frames[0][0] > index:
                return None
            return self._frames.popleft()[1]

    def _smoothed(self, motion: Motion) -> Motion:
        if self._smoother is None or not len(motion):
            return motion
        self._moved = True
        return self._smoother.feed(motion)
