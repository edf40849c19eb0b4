"""What a face does about what it hears: it blinks at pauses, nods at stress, lifts its brows at accents.

A frame reacts to the events that are known by its own time. Decisions are made in the order of time,
not of frames, so packets and frame rates do not change them.

People blink 15 to 20 times a minute at rest and a little more often when they speak, and then mostly
where they pause (Bentivoglio et al. 1997, Nakano and Kitazawa 2010): a blink at a pause takes the place
of the regular ones that would follow it soon. Nods of some degrees and brow raises of half a second go
with prominent syllables (Hadar et al. 1983, Cavé et al. 1996).
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from marotte.runtime.idle_motion import BLINK_EVERY, BLINK_SECONDS, blink_starts, one_blink, smoothstep, uniform
from marotte.runtime.prosody import ACCENT, PAUSE, STRESS, Event

# A pause brings a blink with this chance, from weak to strong, so many seconds later, and not this soon after another.
PAUSE_BLINK_CHANCE = 0.6, 0.8
PAUSE_BLINK_AFTER = 0.1, 0.3
PAUSE_BLINK_APART = 0.8

NOD_DOWN, NOD_BACK = 0.14, 0.30
NOD_SIZE = np.deg2rad(1.5), np.deg2rad(3.0)  # from weak to strong

BROW_UP, BROW_HOLD, BROW_DOWN = 0.12, 0.20, 0.40
BROW_SIZE = 0.10, 0.45  # weight, from weak to strong


@dataclass(frozen=True)
class Moves:
    """Of T frames, each [T] float32. lids: shut, 0 to 1. nod: radians, down. brows: raised, 0 to 0.45."""

    lids: np.ndarray
    nod: np.ndarray
    brows: np.ndarray


@dataclass(frozen=True)
class _Gesture:
    start: float
    size: float


class Reactions:
    """One face's blinks, nods and brow raises: give it events and ask for frames, both in order of time."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._events: deque[Event] = deque()  # not reached by the frames yet
        self._blinks, self._nods, self._brows = (deque[_Gesture]() for _ in range(3))
        self._slot = 0  # of the next regular blink
        self._regular = blink_starts(0, seed)
        self._last_blink = self._last_pause_blink = -np.inf

    def hear(self, events: Iterable[Event]) -> None:
        """Take the events that follow those before."""
        self._events.extend(events)

    def at(self, seconds: np.ndarray) -> Moves:
        """Return the moves at times [T] that follow those before."""
        self._decide(float(seconds[-1]))
        return Moves(
            lids=_played(self._blinks, one_blink, BLINK_SECONDS, seconds),
            nod=_played(self._nods, _nod, NOD_DOWN + NOD_BACK, seconds),
            brows=_played(self._brows, _brow_raise, BROW_UP + BROW_HOLD + BROW_DOWN, seconds),
        )

    def _decide(self, now: float) -> None:
        """Turn what happens until `now` into gestures, none of which starts before its cause."""
        while True:
            start = self._regular[0]
            if self._events and self._events[0].seconds <= min(now, start):
                self._react(self._events.popleft())
            elif start <= now:
                self._blink_regularly()
            else:
                return

    def _blink_regularly(self) -> None:
        if self._regular[0] >= self._last_pause_blink + BLINK_EVERY:
            self._blinks.extend(_Gesture(start, 1.0) for start in self._regular)
            self._last_blink = self._regular[-1]
        self._slot += 1
        self._regular = blink_starts(self._slot, self._seed)

    def _react(self, event: Event) -> None:
        if event.kind == STRESS:
            self._nods.append(_Gesture(event.seconds, _between(NOD_SIZE, event.strength)))
        elif event.kind == ACCENT:
            self._brows.append(_Gesture(event.seconds, _between(BROW_SIZE, event.strength)))
        elif event.kind == PAUSE:
            moment = np.array([round(event.seconds * 1000)])
            chance, after = (float(uniform(moment, self._seed, channel)[0]) for channel in (7, 8))
            start = event.seconds + _between(PAUSE_BLINK_AFTER, after)
            if chance < _between(PAUSE_BLINK_CHANCE, event.strength) and start >= self._last_blink + PAUSE_BLINK_APART:
                self._blinks.append(_Gesture(start, 1.0))
                self._last_blink = self._last_pause_blink = start


def _played(
    gestures: deque[_Gesture], shape: Callable[[np.ndarray], np.ndarray], length: float, seconds: np.ndarray
) -> np.ndarray:
    """Return the sizes of gestures at times [T], and drop those that are over."""
    out = np.zeros(len(seconds), np.float32)
    for gesture in gestures:
        first, last = np.searchsorted(seconds, (gesture.start, gesture.start + length))
        part = out[first:last]
        np.maximum(part, gesture.size * shape(seconds[first:last] - gesture.start), out=part, casting="same_kind")
    while gestures and gestures[0].start + length < seconds[-1]:
        gestures.popleft()
    return out


def _nod(after: np.ndarray) -> np.ndarray:
    return smoothstep(after / NOD_DOWN) * (1 - smoothstep((after - NOD_DOWN) / NOD_BACK))


def _brow_raise(after: np.ndarray) -> np.ndarray:
    return smoothstep(after / BROW_UP) * (1 - smoothstep((after - BROW_UP - BROW_HOLD) / BROW_DOWN))


def _between(ends: tuple[float, float], share: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * share
