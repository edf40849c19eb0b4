"""From a synthesiser's own times to where its phones are heard.

espeak-ng reports a stop at its burst, after the closure that the lips or the tongue make, some phones at no
length at all, and pauses inside of words; flite reports a stop and what is breathed after it as one. All
figures here were measured on their speech.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from marotte.runtime.contracts import SAMPLE_RATE
from marotte.runtime.lipsync.labelled import Span
from marotte.runtime.lipsync.phonesets import Shares

# Levels are measured every 5 ms, in dB above the mean power of the whole.
_HOP = 80
_SECONDS = _HOP / SAMPLE_RATE
_SILENT, _LOUD = -35.0, -15.0

# The closure of espeak's unvoiced stop begins where the level falls by so many dB and stays low until the burst.
# Where it does not, it begins so long before the burst; after a pause, where nothing shows it, longer. A voiced
# stop is one of the same kind after a deeper fall, or where it is that short after a pause. So much, or half, is
# left of the phone before.
_DROP, _DROP_VOICED = 12.0, 20.0
_CLOSURE_SHORTEST, _CLOSURE_LONGEST = 0.015, 0.25
_CLOSURE, _CLOSURE_AFTER_PAUSE = 0.045, 0.06
_LEFT = 0.03
_BURST = 0.015

# A phone of no length takes this share of the phone before it, if that is long enough to give.
_EMPTY = 0.002
_GIVEN, _GIVER_SHORTEST = 0.4, 0.03

# What espeak reports as a pause is none where it is shorter: before a stop it is the closure, else a join of
# two phones, silent or not.
_PAUSE_BEFORE_STOP, _PAUSE_SILENT, _PAUSE_LOUD = 0.1, 0.03, 0.12

# What is silent for so long is a pause, but in a stop.
_SILENCE = 0.08

# A rise of so many dB is a burst.
_RISE = 6.0

_STOPS = ("PB", "TD", "KG", "CH")
# Nothing is breathed through these.
_SHUT = (*_STOPS, "M", "N", "NG", "SIL")


class Phone(NamedTuple):
    """A phone as a synthesiser reports it: seconds, its own symbol, its classes (see `phonesets`)."""

    start: float
    end: float
    symbol: str
    classes: Shares

    @property
    def pause(self) -> bool:
        """Whether nothing is said."""
        return self.classes[0][0] == "SIL"


def levels(samples: np.ndarray) -> np.ndarray:
    """Return the level of each 5 ms of sound at 16 kHz, [n // 80] dB above the mean power of all of it."""
    frames = samples[: len(samples) // _HOP * _HOP].reshape(-1, _HOP)
    power = np.mean(np.square(frames, dtype=np.float64), 1)
    return 10 * np.log10((power + 1e-10) / (power.mean() + 1e-10)) if len(power) else power


def give_length(phones: Sequence[Phone]) -> list[Phone]:
    """Return the phones with a length for each: an empty one gets the last part of the phone before it.

    Where that is a pause or too short, the empty one gets the first part of the phone after it. An empty
    pause is left out.
    """
    given: list[Phone] = []
    borrowed = None  # where the next phone begins, if not at its start
    for index, phone in enumerate(phones):
        if borrowed is not None:
            phone, borrowed = phone._replace(start=borrowed), None
        if phone.end - phone.start >= _EMPTY:
            given.append(phone)
        elif phone.pause:
            continue
        elif given and not given[-1].pause and given[-1].end - given[-1].start > _GIVER_SHORTEST:
            before = given[-1]
            start = before.end - _GIVEN * (before.end - before.start)
            given[-1] = before._replace(end=start)
            given.append(phone._replace(start=start))
        elif index + 1 < len(phones):
            after = phones[index + 1]
            borrowed = after.start + _GIVEN * (after.end - after.start)
            given.append(phone._replace(end=borrowed))
    return [phone for phone in given if phone.end > phone.start]


def join_gaps(phones: Sequence[Phone], level: np.ndarray) -> list[Phone]:
    """Return the phones without the pauses that espeak-ng reports inside of speech.

    Before a stop, the phone before lasts on (the stop's closure is found later); else the phone after begins
    sooner. Pauses that touch each other are one.
    """
    joined: list[Phone] = []
    for phone in phones:
        if phone.pause and joined and joined[-1].pause:
            joined[-1] = joined[-1]._replace(end=phone.end)
            continue
        if len(joined) > 1 and joined[-1].pause and not phone.pause:
            gap = joined[-1]
            length = gap.end - gap.start
            inside = level[round(gap.start / _SECONDS) : round(gap.end / _SECONDS)]
            loud = len(inside) and np.median(inside) > _LOUD
            if phone.classes[0][0] in _STOPS:
                if length < _PAUSE_BEFORE_STOP:
                    joined.pop()
                    joined[-1] = joined[-1]._replace(end=gap.end)
            elif length < (_PAUSE_LOUD if loud else _PAUSE_SILENT):
                joined.pop()
                phone = phone._replace(start=gap.start)
        joined.append(phone)
    return joined


def espeak_spans(samples: np.ndarray, phones: Sequence[Phone]) -> tuple[Span, ...]:
    """Return where espeak-ng's phones are heard in its speech, from the first sample to the last."""
    level = levels(samples)
    phones = join_gaps(give_length(phones), level)
    line = _Line()
    for index, phone in enumerate(phones):
        since = phones[index - 1].start if index and not phones[index - 1].pause else None
        if not _at_burst(level, phone, since):
            line.add(phone.start, phone.end, phone.classes)
            continue
        line.cut(closure_start(level, phone.start, since))
        stop, rest = phone.classes[0][0], phone.classes[1:]
        if rest:
            line.until(phone.start + _SECONDS, stop)
            line.add(line.end, phone.end, rest)
        elif stop == "CH":
            line.until(phone.end, stop)
        else:
            line.until(min(phone.end, phone.start + _BURST), stop)
            line.until(phone.end, _breathed_into(phones[index + 1 :]))
    return _settle(samples, level, line)


def flite_spans(samples: np.ndarray, phones: Sequence[Phone]) -> tuple[Span, ...]:
    """Return where flite's phones are heard in its speech: its unvoiced stops end with their burst."""
    level = levels(np.append(np.diff(samples), np.float32(0)))  # a burst is heard in the highs
    line = _Line()
    for index, phone in enumerate(phones):
        burst = burst_time(level, phone.start, phone.end) if phone.symbol in ("p", "t", "k") else None
        if burst is None:
            line.add(phone.start, phone.end, phone.classes)
            continue
        line.until(min(phone.end, burst + _BURST), phone.classes[0][0])
        line.until(phone.end, _breathed_into(phones[index + 1 :]))
    return _settle(samples, levels(samples), line)


def closure_start(level: np.ndarray, burst: float, since: float | None) -> float:
    """Return when the closure of an unvoiced stop with its burst at `burst` seconds begins.

    level: [T], every 5 ms. since: when the phone before began; None after a pause.
    """
    if since is None:
        return max(burst - _CLOSURE_AFTER_PAUSE, 0.0)
    closure = quiet_before(level, burst, since, _DROP)
    return max(burst - (closure if closure >= _CLOSURE_SHORTEST else _CLOSURE), 0.0)


def quiet_before(level: np.ndarray, time: float, since: float, drop: float) -> float:
    """Return for how many seconds just before `time` it was quiet: `drop` dB under the phone begun at `since`."""
    loudest = _between(level, since, time).max(initial=-np.inf)
    return _run(_possible(level, time, since) < loudest - drop) * _SECONDS


def _possible(level: np.ndarray, time: float, since: float) -> np.ndarray:
    """The levels of what may be the closure of a stop at `time`."""
    return _between(level, max(min(since + _LEFT, (since + time) / 2), time - _CLOSURE_LONGEST), time)


def _between(level: np.ndarray, start: float, end: float) -> np.ndarray:
    return level[round(start / _SECONDS) : int(end / _SECONDS)]


def _run(quiet: np.ndarray) -> int:
    """How many are true at the end."""
    return len(quiet) if quiet.all() else int(np.argmin(quiet[::-1]))


def burst_time(level: np.ndarray, start: float, end: float) -> float | None:
    """Return when the level rises most between `start` and `end` seconds; None where it hardly rises."""
    first = round(start / _SECONDS)
    inside = level[first : round(end / _SECONDS)]
    if len(inside) < 4:
        return None
    pairs = (inside[1:] + inside[:-1]) / 2
    rises = pairs[2:] - pairs[:-2]
    best = int(rises.argmax())
    return (first + best + 2) * _SECONDS if rises[best] >= _RISE else None


class _Line:
    """Spans being laid end to end."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    @property
    def end(self) -> float:
        return self.spans[-1].end if self.spans else 0.0

    def cut(self, time: float) -> None:
        """Take back all that was laid after `time`."""
        while self.spans and self.spans[-1].start >= time:
            self.spans.pop()
        if self.spans and self.end > time:
            last = self.spans.pop()
            self.spans.append(Span(last.start, time, last.phone))

    def until(self, end: float, phone: str) -> None:
        """Lay a phone from the end of the line on; lengthen the last one if it is the same."""
        start = self.end
        if end <= start:
            return
        if self.spans and self.spans[-1].phone == phone:
            start = self.spans.pop().start
        self.spans.append(Span(start, end, phone))

    def add(self, start: float, end: float, classes: Shares) -> None:
        """Lay classes by their shares from `start` to `end`; what is missing before it is silence."""
        self.until(start, "SIL")
        start, whole = self.end, sum(share for _, share in classes)
        done = 0.0
        for phone, share in classes:
            done += share
            self.until(start + (end - start) * done / whole, phone)


def _at_burst(level: np.ndarray, phone: Phone, since: float | None) -> bool:
    """Whether espeak's phone is a stop of which it reports the burst: an unvoiced one, or voiced after silence."""
    if phone.classes[0][0] not in _STOPS:
        return False
    if phone.symbol[:1] in set("ptʈckq"):
        return True
    if since is None:
        return phone.end - phone.start < _CLOSURE_AFTER_PAUSE
    return quiet_before(level, phone.start, since, _DROP_VOICED) >= _CLOSURE_SHORTEST


def _breathed_into(following: Sequence[Phone]) -> str:
    """The class of the breath between a stop's burst and what follows: the mouth is at the next phone by then."""
    after = following[0].classes[0][0] if following else "SIL"
    return "H" if after in _SHUT else after


def _settle(samples: np.ndarray, level: np.ndarray, line: _Line) -> tuple[Span, ...]:
    """Make what is silent beside a pause, or for long, a pause too, and end the line with the sound."""
    duration = len(samples) / SAMPLE_RATE
    line.cut(duration)
    line.until(duration, "SIL")
    settled = _Line()
    quiet = silences(level)
    pauses = [True, *(span.phone == "SIL" for span in line.spans), True]
    for index, span in enumerate(line.spans):
        for start, end in quiet if span.phone not in _STOPS else ():
            start, end = max(start, span.start), min(end, span.end)
            beside = (start == span.start and pauses[index]) or (end == span.end and pauses[index + 2])
            if end - start > (0 if beside else _SILENCE):
                settled.until(start, span.phone)
                settled.until(end, "SIL")
        settled.until(span.end, span.phone)
    return tuple(settled.spans)


def silences(level: np.ndarray) -> list[tuple[float, float]]:
    """Return the stretches of silence, in seconds; level: [T], every 5 ms."""
    edges = np.flatnonzero(np.diff(np.r_[False, level < _SILENT, False]))
    return [(start * _SECONDS, end * _SECONDS) for start, end in edges.reshape(-1, 2).tolist()]
