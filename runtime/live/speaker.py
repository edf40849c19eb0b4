"""Speaker: what one session says, frame by frame: turns that start, stop, queue up and can be interrupted at any time.

Every call is valid in every state and returns at once; `take` is called once for every frame of the session's clock and
always has an answer: the next segment of the turn, or silence.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.clock import TICK_RATE, frame_tick
from marotte.runtime.contracts import SAMPLE_RATE
from marotte.runtime.live.limits import Limits
from marotte.runtime.live.segment import Heard, Segment
from marotte.runtime.live.turn import Turn
from marotte.runtime.live.voice import Voice

# What must be ready before a turn starts, or goes on after it ran dry: the jitter of a source that is live.
CUSHION_S = 0.04
# How much longer than its own latency a turn waits for a voice beside the first, so that both begin together.
PATIENCE_S = 0.5
_STEP = TICK_RATE // SAMPLE_RATE

State = Literal["silent", "waiting", "speaking"]


@dataclass(frozen=True)
class Started:
    """A turn's first sound is played. tick: of the session; waited_s: since that sound came in."""

    turn: str
    tick: int
    waited_s: float


@dataclass(frozen=True)
class Finished:
    """A turn is over. heard: how much of it was played; reason: `end`, or `interrupted`."""

    heard: Heard
    reason: Literal["end", "interrupted"]


@dataclass(frozen=True)
class RanDry:
    """A turn's source is late: silence until enough is there again."""

    turn: str
    position: int


Event = Started | Finished | RanDry
# (name, generation, rate, whether it is a live stream) -> turn
MakeTurn = Callable[[str, int, int, bool], Turn]
# None: where it failed, and is told otherwise.
MakeVoice = Callable[[], Voice | None]


class Speaker:
    """One session's speech. make_turn opens a turn; wake: called when a turn has work for the drive thread."""

    def __init__(
        self,
        make_turn: MakeTurn,
        fps: Fraction,
        *,
        now: Callable[[], float],
        wake: Callable[[], None] = lambda: None,
        limits: Limits | None = None,
        cushion: float = CUSHION_S,
    ) -> None:
        self.fps, self.generation = fps, 0
        self.dropped = 0  # samples that came when nothing was to be said
        self._make_turn: MakeTurn | None = make_turn
        self._now, self._wake = now, wake
        self._limits = limits or Limits()
        self._cushion = max(1, round(cushion * fps))
        self._lock = threading.RLock()
        self._turns: deque[Turn] = deque()  # the first is the one that speaks or is about to
        self._retired: list[Turn] = []  # to be closed by the drive thread
        self._open: Turn | None = None  # that takes sound
        self._streams: set[str] = set()
        self._voices: dict[str, MakeVoice] = {}  # of faces beside the first
        self._held: float | None = None  # since when a turn waits for them alone
        self._speaking = False
        self._began = False  # the first turn has been heard
        self._position = 0
        self._events: deque[Event] = deque(maxlen=256)
        self._ticks = 0  # of sound taken in all
        self._frame = 0

    @property
    def state(self) -> State:
        """What it does now."""
        with self._lock:
            return "speaking" if self._speaking else "waiting" if self._turns else "silent"

    @property
    def waiting_s(self) -> float:
        """Seconds of sound that wait to be played."""
        with self._lock:
            return sum(turn.seconds_waiting for turn in self._turns)

    def speak(self, turn: str, rate: int = SAMPLE_RATE, *, stream: bool = False) -> None:
        """Open a turn that follows those that are open: `push` goes to it until `end`, or until the next `speak`.

        stream: its sound comes as fast as it is to be played, as from a microphone, without an end in sight. Raises
        MarotteError for a rate that cannot be resampled.
        """
        with self._lock:
            if self._make_turn is None:
                return
            opened = self._make_turn(turn, self.generation, rate, stream)
            for make in list(self._voices.values()):
                if voice := make():
                    opened.join(voice)
            if self._open is not None:
                self._open.end()
            if stream:
                self._streams.add(turn)
            self._open = opened
            self._turns.append(opened)
        self._wake()

    def push(self, pcm: np.ndarray, at: int | None = None, turn: str | None = None) -> bool:
        """Take sound [n], int16 or floats, at the open turn's rate; without one it is dropped and counted.

        at: see `Turn.feed`. turn: the one that it belongs to; where another is open by now it is dropped, too.
        Returns whether it was taken. Raises MarotteError where more waits than the limits allow; nothing is queued
        then.
        """
        with self._lock:
            opened = self._open
            if opened is None or turn not in (None, opened.name):
                self.dropped += len(pcm)
                return False
            live = opened.name in self._streams
            most, name = (self._limits.stream_s, "stream_s") if live else (self._limits.turn_s, "turn_s")
            waiting = sum(each.seconds_waiting for each in self._turns) + len(pcm) / opened.rate
            if waiting > most:
                raise MarotteError(f"{waiting:.1f} s of sound would wait to be played, more than {name} = {most:g}")
            opened.feed(pcm, self._now(), at)
        self._wake()
        return True

    def end(self, turn: str | None = None) -> None:
        """Say that the open turn's sound is complete. turn: only where it is this one."""
        with self._lock:
            if self._open is not None and turn in (None, self._open.name):
                self._open.end()
                self._open = None
        self._wake()

    def interrupt(self) -> Heard | None:
        """Stop speaking now and forget all turns; return how far the first was heard, None where there was none.

        Whatever is under way for them carries an older generation from now on.
        """
        with self._lock:
            self.generation += 1
            heard = None
            for index, turn in enumerate(self._turns):
                was = Heard(turn.name, min(self._position, turn.ticks) if index == 0 else 0)
                heard = heard or was
                self._events.append(Finished(was, "interrupted"))
            self._retired.extend(self._turns)
            self._turns.clear()
            self._streams.clear()
            self._open = None
            self._next()
        self._wake()
        return heard

    def join(self, name: str, make: MakeVoice) -> None:
        """Let a face beside the first have a voice of its own: in what is being said from where it is, and in what
        follows. make: opens one. A turn waits for it, for a while, to begin, and to go on after it ran dry; never
        while it is being said."""
        with self._lock:
            self._voices[name] = make
            for turn in list(self._turns):
                if (voice := make()) is None:
                    break
                turn.join(voice)
        self._wake()

    def part(self, name: str) -> None:
        """Do without the voice of that name, if there is one."""
        with self._lock:
            self._voices.pop(name, None)
            for turn in self._turns:
                turn.part(name)
        self._wake()

    def take(self) -> Segment:
        """Return what is heard and seen in the session's next frame."""
        with self._lock:
            start, self._frame = frame_tick(self._frame, self.fps), self._frame + 1
            segment = self._of_turn(start)
            if segment is None:
                # Silence makes up for the ticks by which turns' frames and the session's differ.
                count = max(frame_tick(self._frame, self.fps) - self._ticks, 0)
                heard = (self._ticks + count) // _STEP - self._ticks // _STEP
                segment = Segment("", self.generation, 0, np.zeros(count, np.int16), np.zeros(heard, np.float32))
            self._ticks += len(segment.sound)
            return segment

    def events(self) -> Iterator[Event]:
        """Yield what has happened since the last time, and forget it."""
        with self._lock:
            happened, self._events = list(self._events), deque(maxlen=self._events.maxlen)
        yield from happened

    def work(self) -> list[Turn]:
        """Return the turns that have work for the drive thread, and close those that are no longer wanted; on it."""
        with self._lock:
            retired, self._retired = self._retired, []
            busy = [turn for turn in self._turns if turn.has_work()]
        for turn in retired:
            turn.close()
        return busy

    def close(self) -> None:
        """Forget all turns, and whoever makes them; nothing is said from now on."""
        with self._lock:
            self._make_turn = None
            self._voices.clear()
            self.interrupt()

    def _of_turn(self, tick: int) -> Segment | None:
        """Return the next segment of the first turn, where there is one to be played now."""
        while self._turns:
            turn = self._turns[0]
            if turn.finished:
                self._events.append(Finished(Heard(turn.name, min(self._position, turn.ticks)), "end"))
                self._retired.append(self._turns.popleft())
                self._streams.discard(turn.name)
                self._open = None if self._open is turn else self._open
                self._next()
                continue
            if not self._speaking and not self._may_begin(turn):
                return None
            segment = turn.take()
            if segment is None:
                self._speaking = False
                self._events.append(RanDry(turn.name, self._position))
                return None
            if not self._began:
                self._events.append(Started(turn.name, tick, self._now() - segment.born))
            self._speaking = self._began = True
            self._position = segment.position + len(segment.sound)
            return segment
        return None

    def _may_begin(self, turn: Turn) -> bool:
        """Return whether enough is there to begin, or to go on after it ran dry."""
        if turn.ready() < self._cushion and not turn.whole:
            self._held = None
            return False
        if behind := turn.behind(self._cushion):
            self._held = self._now() if self._held is None else self._held
            return self._now() - self._held > PATIENCE_S + max(voice.way.latency for voice in behind)
        self._held = None
        return True

    def _next(self) -> None:
        self._speaking, self._began, self._position, self._held = False, False, 0, None
