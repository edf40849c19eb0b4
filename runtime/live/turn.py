"""Turn: one utterance, or one open microphone, from sound to segments.

Sound is taken at once and driven later: a driver may need a second for a chunk, and neither the source nor the clock
waits for it. `drive_turns` does that work for several turns in one call of the driver. The turn's own voice cuts it
into segments; voices of faces beside the first hear the same sound, and their frames go with the segments.
"""

import threading
from collections import deque
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from marotte.runtime.audio.resample import Resampler
from marotte.runtime.clock import TICK_RATE, frame_count, frame_tick
from marotte.runtime.contracts import SAMPLE_RATE, Driver
from marotte.runtime.live.follow import Follower
from marotte.runtime.live.segment import Frame, Segment, to_float, to_int16
from marotte.runtime.live.voice import Voice
from marotte.runtime.live.way import Way

# A stream that waits by so much more than its target gives up silence, which is what is below this level.
_TOO_FAR_S, _SILENCE = 0.2, 0.004
# The longest gap of a stream that is filled with silence; a longer one is a source that stood still.
_LONGEST_GAP_S = 1.0
# Sound is kept in pieces of so many seconds at most, and so much is driven at once: a file that is pushed whole keeps
# no other session's turn waiting.
_PIECE_S, _AT_ONCE_S = 0.5, 2.0
# What was played is kept for so long: a voice that joins hears it first, so that it is no stranger to the sentence.
_PAST_S = 1.0
# Ticks of one sample at the driver's rate.
_STEP = TICK_RATE // SAMPLE_RATE


class Turn:
    """One turn of one session. Sound goes in from any thread, `drive_turns` runs on one, segments go out on a third.

    way: of its own voice. rate: of the sound that comes in. follow: seconds that should wait in a live stream, None for
    sound that comes faster than it is played.
    """

    def __init__(
        self,
        name: str,
        generation: int,
        way: Way,
        fps: Fraction,
        *,
        rate: int = SAMPLE_RATE,
        follow: float | None = None,
    ) -> None:
        self.name, self.generation, self.fps, self.rate = name, generation, fps, rate
        self.voice = Voice("", way, fps)
        self._beside: dict[str, Voice] = {}
        self._joining: list[Voice] = []  # voices that have heard nothing yet
        self._left: list[Voice] = []  # and those that are to be closed
        self._to_ticks = Resampler(rate, TICK_RATE)
        # A stream is followed first, so that what is driven is what is played.
        self._to_driver = Resampler(rate if follow is None else TICK_RATE, SAMPLE_RATE)
        self._follower = None if follow is None else Follower(follow)
        self._lock = threading.Lock()
        self._incoming: deque[tuple[np.ndarray, float]] = deque()
        self._ended = False  # no more sound comes
        self._last = False  # the voices have all of it
        self._driven = False  # and all of it is driven
        self._received = 0  # samples, at the source's rate, gaps included
        self._unheard = 0  # ticks that wait in `_incoming`
        self._ticks = 0  # of sound as it is played
        self._taken = 0
        self._segments: deque[Segment] = deque()
        self._sound = np.zeros(0, np.float32)  # at 48 kHz, from frame `_cut` on
        self._heard = np.zeros(0, np.float32)
        self._past: deque[np.ndarray] = deque(maxlen=max(1, round(_PAST_S * fps)))  # `heard` of the last taken
        self._next = 0  # the frame that is taken next
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

    def join(self, voice: Voice) -> None:
        """Let a face beside the first have a voice of its own in what is said, from now on."""
        with self._lock:
            self._beside[voice.name] = voice
            self._joining.append(voice)

    def part(self, name: str) -> None:
        """Do without the voice of that name, if there is one."""
        with self._lock:
            if voice := self._beside.pop(name, None):
                self._left.append(voice)
                self._joining = [each for each in self._joining if each is not voice]

    def has_work(self) -> bool:
        """Return whether the drive thread has anything to do for it."""
        with self._lock:
            waits = self.voice.waits or any(voice.waits for voice in self._beside.values())
            return waits or bool(self._incoming or self._joining or self._left) or (self._ended and not self._last)

    def ready(self) -> int:
        """Return how many segments can be taken."""
        with self._lock:
            return len(self._segments)

    def behind(self, frames: int) -> list[Voice]:
        """Return the voices beside the first that have less than so many frames for the segments to come."""
        with self._lock:
            most = min(frames, len(self._segments))
            return [voice for voice in self._beside.values() if not voice.done and voice.ahead(self._next) < most]

    def take(self) -> Segment | None:
        """Return the next segment, None where it is not there yet."""
        with self._lock:
            if not self._segments:
                return None
            segment = self._segments.popleft()
            self._taken += len(segment.sound)
            self._past.append(segment.heard)
            self._next = segment.index + 1
            for name, voice in self._beside.items():
                segment.beside[name] = voice.take(segment.index)
            return segment

    def close(self) -> None:
        """Give back the streams; on the drive thread."""
        with self._lock:
            voices, self._beside, self._left = [self.voice, *self._beside.values(), *self._left], {}, []
        for voice in voices:
            voice.close()

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

    def hear(self) -> list[Voice]:
        """Let the voices hear what came in, or as much as is driven at once; return those that now have work."""
        with self._lock:
            joining, self._joining = self._joining, []
            left, self._left = self._left, []
            voices = [self.voice, *self._beside.values()]
            for voice in joining:
                voice.start = self._next - len(self._past)
                for sound in (*self._past, *(segment.heard for segment in self._segments), self._heard):
                    voice.hear(sound)
                if self._last:
                    voice.end(self._ticks)
        for voice in left:
            voice.close()
        if self._incoming or (self._ended and not self._last):
            self._hear(voices)
        return [voice for voice in voices if voice.waits]

    def _hear(self, voices: list[Voice]) -> None:
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
        for voice in voices:
            voice.hear(driven)
            if self._last:
                voice.end(self._ticks)

    def cut(self) -> None:
        """Make segments of what is whole."""
        stop = frame_count(Fraction(self._ticks, TICK_RATE), self.fps)
        if not self._last:
            # A frame's sound must be there to its end, at both rates.
            while stop > self._cut and not self._has(stop):
                stop -= 1
        base = frame_tick(self._cut, self.fps)
        made = [self._segment(frame, base) for frame in self.voice.cut(stop - self._cut)]
        end = frame_tick(self._cut, self.fps)
        self._sound = self._sound[end - base :].copy()
        self._heard = self._heard[end // _STEP - base // _STEP :].copy()
        with self._lock:
            self._segments.extend(made)
            self._driven = self.voice.done

    def _has(self, frames: int) -> bool:
        base, end = frame_tick(self._cut, self.fps), frame_tick(frames, self.fps)
        return end - base <= len(self._sound) and end // _STEP - base // _STEP <= len(self._heard)

    def _segment(self, frame: Frame, base: int) -> Segment:
        """Return the next segment; base: the tick from which sound is kept."""
        motion, window = frame
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
            motion=motion,
            features=window,
            index=self._cut - 1,
            born=self._born[0][1] if self._born else 0.0,
        )


def drive_turns(turns: Sequence[Turn]) -> list[tuple[Turn, Voice, Exception]]:
    """Do what the turns' drivers have to do, with one call for each driver; return the voices that failed, and why.

    Where a driver takes several streams at once, what fails takes all of its voices along.
    """
    failed: list[tuple[Turn, Voice, Exception]] = []
    by_driver: dict[int, list[tuple[Turn, Voice]]] = {}
    for turn in turns:
        try:
            for voice in turn.hear():
                by_driver.setdefault(id(voice.way.driver), []).append((turn, voice))
        except Exception as error:
            failed.append((turn, turn.voice, error))
    for group in by_driver.values():
        driver = group[0][1].way.driver
        for some in [group] if type(driver).step is not Driver.step else [[one] for one in group]:
            try:
                sounds = [voice.sound(round(_AT_ONCE_S * SAMPLE_RATE)) for _, voice in some]
                streams = [voice.stream for _, voice in some]
                motions = driver.step(list(zip(streams, sounds, strict=True)))
                for (turn, voice), motion, sound in zip(some, motions, sounds, strict=True):
                    voice.add(motion, sound)
                    if voice is turn.voice:
                        turn.cut()
                    else:
                        voice.cut_all()
            except Exception as error:
                failed += [(turn, voice, error) for turn, voice in some]
    return failed


def _piece(sound: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Return a copy of the samples from start to stop, with silence for those that are not there."""
    out = np.zeros(stop - start, np.float32)
    there = sound[start:stop]
    out[: len(there)] = there
    return out
