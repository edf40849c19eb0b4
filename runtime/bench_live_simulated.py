"""Hours of one live session in minutes: a clock that is moved, a source that runs fast, loses packets and jitters.

The session is the real one, but for a driver that opens the jaw where it hears anything and a renderer that paints how
far it is open. The source sends a burst of a tone each second; a viewer notes when each is heard and seen.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from marotte.runtime.avatar import Avatar
from marotte.runtime.clock import TICK_RATE
from marotte.runtime.contracts import SAMPLE_RATE, Drive, Driver, DriverStream, Renderer, RenderOptions, RenderStream
from marotte.runtime.frames import Frames
from marotte.runtime.live.counter import SQUARE, read_counter
from marotte.runtime.live.limits import Limits
from marotte.runtime.live.live_session import LiveSession
from marotte.runtime.live.pace import SimulatedClock
from marotte.runtime.live.segment import to_int16
from marotte.runtime.live.settings import LiveSettings
from marotte.runtime.live.studio import Studio
from marotte.runtime.live.viewing import Picture, Viewer
from marotte.runtime.motion import JAW, WIDTH, Motion

_PACKET = 320  # samples of 16 kHz
_HOP = 160
# A burst, and from one to the next; quiet for so long comes before an onset.
_BURST_S, _EVERY_S, _QUIET_S = 0.1, 1.0, 0.3
_LOUD = 0.05
_OPEN = 0.3  # radians of an open jaw
_SIZE = (216, 2 * SQUARE)
# Onsets that are further apart are not of one burst.
_SAME_S = 0.4


class Hearing(Driver):
    """The jaw is open in each 10 ms in which anything is loud."""

    basis = "arkit52"
    fps = Fraction(SAMPLE_RATE, _HOP)

    def open(self, options: Mapping[str, Any] | None = None) -> "HearingStream":
        """Return the stream of a new speaker."""
        return HearingStream()


class HearingStream(DriverStream):
    """One speaker."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._kept = np.zeros(0, np.float32)

    def feed(self, samples: np.ndarray) -> Motion:
        """Return the frames that were heard."""
        kept = np.concatenate([self._kept, samples])
        count = len(kept) // _HOP
        codes = np.zeros((count, WIDTH), np.float32)
        loud = np.abs(kept[: count * _HOP]).reshape(count, _HOP).max(axis=1, initial=0) > _LOUD
        codes[:, JAW.start] = _OPEN * loud
        self._kept = kept[count * _HOP :].copy()
        return Motion(codes, Hearing.fps, Hearing.basis)

    def finish(self) -> Motion:
        """Return nothing: what is left is no whole frame."""
        return Motion(np.zeros((0, WIDTH), np.float32), Hearing.fps, Hearing.basis)


class Jaws(Renderer):
    """Paints how far the jaw is open."""

    def open(self, avatar: Avatar, options: RenderOptions) -> RenderStream:
        """Return the stream of a new face."""
        stream = RenderStream()
        stream.width, stream.height = options.width, options.height
        return stream

    def render(self, stream: RenderStream, drive: Drive) -> Frames:
        """Return grey pictures."""
        grey = np.rint(255 * np.clip(drive.head.jaw[:, 0] / _OPEN, 0, 1)).astype(np.uint8)
        pixels = np.empty((len(drive), stream.height, stream.width, 3), np.uint8)
        pixels[:] = grey[:, None, None, None]
        return Frames(drive.ticks, pixels)


def openness(pixels: np.ndarray) -> float:
    """Return how far the jaw is open in a picture of `Jaws`, from 0 to 1."""
    return float(pixels[-1, -1, 0]) / 255


def make_simple(kind: str, name: str) -> Driver | Renderer:
    """Make the plug-ins of a studio that simulates."""
    return Hearing() if kind == "driver" else Jaws()


def bursts(start: int, count: int) -> np.ndarray:
    """Return int16 [count] of the source from sample `start` on."""
    place = np.arange(start, start + count)
    every = round(_EVERY_S * SAMPLE_RATE)
    on = (place + every // 2) % every < round(_BURST_S * SAMPLE_RATE)  # none at once: a face fades into speech
    return to_int16(np.where(on, 0.5 * np.sin(place * (2 * np.pi * 1000 / SAMPLE_RATE)), 0))


@dataclass(frozen=True)
class Source:
    """How a source misbehaves. ppm: how fast its clock runs; loss: share of packets; jitter: seconds at most."""

    ppm: float = 200.0
    loss: float = 0.02
    jitter: float = 0.03
    seed: int = 0

    def packets(self, seconds: float) -> Iterator[tuple[float, int]]:
        """Yield when packets arrive and at which sample of the source they begin, in their order."""
        rng = np.random.default_rng(self.seed)
        real = _PACKET / (SAMPLE_RATE * (1 + self.ppm * 1e-6))  # seconds of a packet
        latest = 0.0
        for index in range(int(seconds / real)):
            latest = max(latest, (index + 1) * real + self.jitter * rng.random())
            if rng.random() >= self.loss:
                yield latest, index * _PACKET


@dataclass(frozen=True)
class Hour:
    """An hour, or what there was of it. offsets, delays: seconds by burst: from heard to seen, from made to heard.

    bursts: that were heard; unseen: of them without a picture; ran_dry: how often the turn had to wait.
    """

    offsets: np.ndarray
    delays: np.ndarray
    bursts: int
    unseen: int
    ran_dry: int

    @property
    def worst(self) -> tuple[float, float]:
        """The least and the largest offset in seconds."""
        return float(self.offsets.min()), float(self.offsets.max())


def simulate(seconds: float, *, fps: Fraction = Fraction(30), source: Source | None = None) -> Iterator[Hour]:
    """Run one session for so long and yield what its viewer got, hour by hour."""
    source = source or Source()
    clock = SimulatedClock()
    limits = Limits(session_s=2 * seconds + 60)
    studio = Studio(clock=clock, limits=limits, share=1e9, make=make_simple)
    session = studio.open(LiveSettings(width=_SIZE[0], height=_SIZE[1], fps=fps, idle=0, counter=True))
    audience = _Audience(session)
    session.speaker.speak("source", SAMPLE_RATE, stream=True)
    hours, dry = 0, 0
    try:
        for at, start in source.packets(seconds):
            while (due := session.next_due()) <= at:
                clock.advance(max(due - clock.now(), 0))
                studio.run_once()
                audience.look()
            clock.advance(max(at - clock.now(), 0))
            session.speaker.push(bursts(start, _PACKET), at=start)
            if at >= 3600 * (hours + 1):
                now = _ran_dry(session)
                yield audience.hour(source, now - dry)
                hours, dry = hours + 1, now
        if seconds > 3600 * hours:
            yield audience.hour(source, _ran_dry(session) - dry)
    finally:
        studio.close()


def _ran_dry(session: LiveSession) -> int:
    counts = session.metrics.report()["counts"]
    assert isinstance(counts, dict)
    return int(counts.get("ran_dry", 0))


class _Audience:
    """A viewer that notes the ticks at which bursts begin to be heard and seen."""

    def __init__(self, session: LiveSession) -> None:
        self._viewer = Viewer("pixels")
        session.watch(self._viewer)
        self._heard: list[int] = []
        self._seen: list[int] = []
        self._loud_at = self._open_at = -TICK_RATE

    def look(self) -> None:
        """Take what is there."""
        for sound in self._viewer.sound():
            loud = np.flatnonzero(np.abs(sound.pcm) > 32767 * _LOUD)
            if len(loud):
                if sound.tick + loud[0] - self._loud_at > _QUIET_S * TICK_RATE:
                    self._heard.append(sound.tick + int(loud[0]))
                self._loud_at = sound.tick + int(loud[-1])
        picture = self._viewer.picture()
        if isinstance(picture, Picture) and openness(picture.pixels) > 0.5:
            if picture.tick - self._open_at > _QUIET_S * TICK_RATE:
                assert read_counter(picture.pixels) == picture.tick * 1000 // TICK_RATE % (1 << 24)
                self._seen.append(picture.tick)
            self._open_at = picture.tick

    def hour(self, source: Source, ran_dry: int) -> Hour:
        """Return what was noted, and forget it."""
        heard, seen = np.array(self._heard) / TICK_RATE, np.array(self._seen) / TICK_RATE
        offsets = _nearest(heard, seen) - heard
        found = np.abs(offsets) < _SAME_S
        # A burst is made at each second of the source's clock; it is heard within one after.
        made = _EVERY_S / (1 + source.ppm * 1e-6)
        self._heard, self._seen = [], []
        return Hour(offsets[found], (heard - made / 2) % made, len(heard), int((~found).sum()), ran_dry)


def _nearest(values: np.ndarray, among: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return for each value the nearest of an ascending list; infinity where it is empty."""
    if not len(among):
        return np.full(len(values), np.inf)
    among = np.asarray(among)
    after = np.clip(np.searchsorted(among, values), 1, max(len(among) - 1, 1))
    low, high = among[after - 1], among[np.minimum(after, len(among) - 1)]
    return np.where(values - low <= high - values, low, high)
