"""Turn: one utterance, or one open microphone, from sound to segments.

Sound is taken at once and driven later: a driver may need a second for a chunk, and neither the source nor the clock
waits for it. `drive_turns` does that work for several turns in one call of the driver.
"""

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from marotte.runtime.audio.resample import Resampler
from marotte.runtime.clock import TICK_RATE, frame_count, frame_tick
from marotte.runtime.contracts import SAMPLE_RATE, Driver, FeatureNeed, Features
from marotte.runtime.join import FeatureJoin
from marotte.runtime.live.follow import Follower
from marotte.runtime.live.segment import Segment, to_float, to_int16
from marotte.runtime.motion import Motion, concatenate
from marotte.runtime.retime import Retimer
from marotte.runtime.smoothing import MotionSmoother

# A stream that waits by so much more than its target gives up silence, which is what is below this level.
_TOO_FAR_S, _SILENCE = 0.2, 0.004
# The longest gap of a stream that is filled with silence; a longer one is a source that stood still.
_LONGEST_GAP_S = 1.0
# Sound is kept in pieces of so many seconds at most, and so much is driven at once: a file that is pushed whole keeps
# no other session's turn waiting.
_PIECE_S, _AT_ONCE_S = 0.5, 2.0
# Ticks of one sample at the driver's rate.
_STEP = TICK_RATE // SAMPLE_RATE


class Turn:
    """One turn of one session. Sound goes in from any thread, `drive_turns` runs on one, segments go out on a third.

    rate: of the sound that comes in. need, features: for renderers that hear for themselves; rest: the rows [width]
    that the features give for long silence. smooth: as in a session. follow: seconds that should wait in a live stream,
    None for sound that comes faster than it is played.
    """

    def __init__(
        self,
        name: str,
        generation: int,
        driver: Driver,
        fps: Fraction,
        *,
        rate: int = SAMPLE_RATE,
        options: Mapping[str, Any] | None = None,
        features: Features | None = None,
        need: FeatureNeed | None = None,
        rest: np.ndarray | None = None,
        smooth: bool = False,
        follow: float | None = None,
    ) -> None:
        self.name, self.generation, self.driver, self.fps, self.rate = name, generation, driver, fps, rate
        self.stream = driver.open(options)
        self._smoother = MotionSmoother() if smooth and not driver.smooths else None
        self._moved = False
        self._retimer = Retimer(fps)
        self._join = FeatureJoin(features, need, fps, rest) if features is not None and need is not None else None
        self._to_ticks = Resampler(rate, TICK_RATE)
        # A stream is followed first, so that what is driven is what is played.
        self._to_driver = Resampler(rate if follow is None else TICK_RATE, SAMPLE_RATE)
        self._follower = None if follow is None else Follower(follow)
        self._lock = threading.Lock()
        self._incoming: deque[tuple[np.ndarray, float]] = deque()
        self._ended = False  # no more sound comes
        self._last = False  # the drive thread has all of it
        self._driven = False  # and all of it is driven
        self._received = 0  # samples, at the source's rate, gaps included
        self._unheard = 0  # ticks that wait in `_incoming`
        self._ticks = 0  # of sound as it is played
        self._taken = 0
        self._segments: deque[Segment] = deque()
        self._sound = np.zeros(0, np.float32)  # at 48 kHz, from frame `_cut` on
        self._heard = np.zeros(0, np.float32)
        self._motion: Motion | None = None
        self._cut = 0  # frames that are segments
        self._born: deque[tuple[int, float]] = deque()  # ticks up to which sound came, and when

    @property
    def seconds_waiting(self) -> float:
        """Seconds of sound that came in and were not taken yet."""
        with self._lock:
            return self._level()

    @property
    def finished(self) -> bool:
        """Whether the sound has ended and every segment was taken."""
        with self._lock:
            return self._driven and not self._segments

    @property
    def whole(self) -> bool:
        """Whether the sound has ended and all of it is driven."""
        with self._lock:
            return self._driven

    @property
    def ticks(self) -> int:
        """Ticks of sound that came in so far, as it is played."""
        return self._ticks

    def feed(self, pcm: np.ndarray, now: float, at: int | None = None) -> None:
        """Take sound [n], int16 or floats of -1 to 1, at the turn's rate; what comes after the end is dropped.

        now: seconds of the session's clock. at: the place of its first sample in the source's stream, where the
        source says it: a gap is filled with silence, what came before is dropped.
        """
        sound = to_float(pcm)
        with self._lock:
            if self._ended:
                return
            if at is not None:
                lacking = min(at - self._received, round(_LONGEST_GAP_S * self.rate))
                sound = sound[-lacking:] if lacking < 0 else np.concatenate([np.zeros(lacking, np.float32), sound])
                self._received = max(self._received, at + len(pcm))
            else:
                self._received += len(sound)
            if not len(sound):
                return
            if self._follower and self._is_too_far(sound):
                return
            piece = max(1, round(_PIECE_S * self.rate))
            for start in range(0, len(sound), piece):
                self._incoming.append((sound[start : start + piece], now))
                self._unheard += self._as_ticks(len(self._incoming[-1][0]))

    def end(self) -> None:
        """Say that no more sound comes."""
        with self._lock:
            self._ended = True

    def has_work(self) -> bool:
        """Return whether the drive thread has anything to do for it."""
        with self._lock:
            return bool(self._incoming) or (self._ended and not self._driven)

    def ready(self) -> int:
        """Return how many segments can be taken."""
        with self._lock:
            return len(self._segments)

    def take(self) -> Segment | None:
        """Return the next segment, None where it is not there yet."""
        with self._lock:
            if not self._segments:
                return None
            segment = self._segments.popleft()
            self._taken += len(segment.sound)
            return segment

    def close(self) -> None:
        """Give back the streams; on the drive thread."""
        self.stream.close()
        if self._join:
            self._join.close()

    def _is_too_far(self, sound: np.ndarray) -> bool:
        """Return whether to leave out this piece of a stream: it is silent, and far too much waits."""
        assert self._follower
        far = self._level() > self._follower.target + _TOO_FAR_S
        return far and float(np.abs(sound).max()) < _SILENCE

    def _as_ticks(self, samples: int) -> int:
        return round(samples * TICK_RATE / self.rate)

    def _level(self) -> float:
        """Return the seconds of sound that wait, under the lock."""
        return (self._unheard + self._ticks - self._taken) / TICK_RATE

    # What follows is the drive thread's.

    def hear(self) -> np.ndarray:
        """Take what came in, or as much as is driven at once; return the sound [n] float32 at 16 kHz for the driver."""
        pieces: list[tuple[np.ndarray, float]] = []
        with self._lock:
            level, ticks = self._level(), 0
            while self._incoming and ticks < _AT_ONCE_S * TICK_RATE:
                pieces.append(self._incoming.popleft())
                ticks += self._as_ticks(len(pieces[-1][0]))
            self._unheard -= ticks
            self._last = self._ended and not self._incoming
        played, heard = [self._sound], [np.zeros(0, np.float32)]
        for sound, born in pieces:
            same = self._to_ticks.feed(sound)
            if self._follower:
                sound = same = self._follower.feed(same, level)
            played.append(same)
            heard.append(self._to_driver.feed(sound))
            self._ticks += len(same)
            self._born.append((self._ticks, born))
        if self._last:
            same = self._to_ticks.finish()
            played.append(same)
            heard += [self._to_driver.feed(same)] if self._follower else []
            heard.append(self._to_driver.finish())
            self._ticks += len(same)
        self._sound, driven = np.concatenate(played), np.concatenate(heard)
        self._heard = np.concatenate([self._heard, driven])
        return driven

    def add(self, motion: Motion, sound: np.ndarray) -> None:
        """Take the driver's motion for the sound [n] that `hear` returned, and cut segments of what is whole."""
        parts = [self._retimer.feed(self._smoothed(motion))]
        if self._join:
            self._join.feed(sound)
        if self._last:
            seconds = Fraction(self._ticks, TICK_RATE)
            rest = self._smoothed(self.stream.finish())
            if self._smoother and self._moved:
                rest = concatenate([rest, self._smoother.finish()])
            parts.append(self._retimer.feed(rest))
            left = self._retimer.finish(seconds)
            parts += [left] if left is not None else []
            if self._join:
                self._join.finish()
        self._motion = concatenate([*([self._motion] if self._motion is not None else []), *parts])
        self._cut_segments()

    def _smoothed(self, motion: Motion) -> Motion:
        if self._smoother is None or not len(motion):
            return motion
        self._moved = True
        return self._smoother.feed(motion)

    def _cut_segments(self) -> None:
        motion = self._motion
        assert motion is not None
        stop = frame_count(Fraction(self._ticks, TICK_RATE), self.fps)
        if not self._last:
            # A frame's sound must be there to its end, at both rates.
            while stop > self._cut and not self._has(stop):
                stop -= 1
        count = min(stop - self._cut, len(motion))
        if self._join:
            count = self._join.ready(self._cut, self._cut + count) - self._cut
        windows = self._join.windows(self._cut, self._cut + count) if self._join and count > 0 else None
        base = frame_tick(self._cut, self.fps)
        made = [self._segment(motion, i, base, None if windows is None else windows[i]) for i in range(max(count, 0))]
        self._motion = motion[max(count, 0) :]
        end = frame_tick(self._cut, self.fps)
        self._sound = self._sound[end - base :].copy()
        self._heard = self._heard[end // _STEP - base // _STEP :].copy()
        with self._lock:
            self._segments.extend(made)
            self._driven = self._last

    def _has(self, frames: int) -> bool:
        base, end = frame_tick(self._cut, self.fps), frame_tick(frames, self.fps)
        return end - base <= len(self._sound) and end // _STEP - base // _STEP <= len(self._heard)

    def _segment(self, motion: Motion, index: int, base: int, window: np.ndarray | None) -> Segment:
        """Return the next segment; base: the tick from which sound is kept."""
        start, end = frame_tick(self._cut, self.fps), frame_tick(self._cut + 1, self.fps)
        while len(self._born) > 1 and self._born[0][0] <= start:
            self._born.popleft()
        self._cut += 1
        return Segment(
            turn=self.name,
            generation=self.generation,
            position=start,
            sound=to_int16(_piece(self._sound, start - base, end - base)),
            heard=_piece(self._heard, start // _STEP - base // _STEP, end // _STEP - base // _STEP),
            motion=motion[index : index + 1],
            features=window,
            born=self._born[0][1] if self._born else 0.0,
        )


def drive_turns(turns: Sequence[Turn]) -> list[tuple[Turn, Exception]]:
    """Do what the turns' drivers have to do, with one call for each driver; return the turns that failed, and why.

    Where a driver takes several streams at once, what fails takes all of its turns along.
    """
    failed: list[tuple[Turn, Exception]] = []
    by_driver: dict[int, list[Turn]] = {}
    for turn in turns:
        by_driver.setdefault(id(turn.driver), []).append(turn)
    for group in by_driver.values():
        together = type(group[0].driver).step is not Driver.step
        for some in [group] if together else [[turn] for turn in group]:
            try:
                sounds = [turn.hear() for turn in some]
                streams = [turn.stream for turn in some]
                motions = some[0].driver.step(list(zip(streams, sounds, strict=True)))
                for turn, motion, sound in zip(some, motions, sounds, strict=True):
                    turn.add(motion, sound)
            except Exception as error:
                failed += [(turn, error) for turn in some]
    return failed


def _piece(sound: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Return a copy of the samples from start to stop, with silence for those that are not there."""
    out = np.zeros(stop - start, np.float32)
    there = sound[start:stop]
    out[: len(there)] = there
    return out
