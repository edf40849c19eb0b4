"""One speaker of ARTalk: sound in packets of any size, motion whenever a chunk is full."""

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from marotte.drivers.artalk_engine import Engine
from marotte.errors import MarotteError
from marotte.models.artalk.frames import frame_count, streaming_frame_count
from marotte.runtime.contracts import DriverStream
from marotte.runtime.motion import WIDTH, Motion
from marotte.runtime.smoothing import Smoother

if TYPE_CHECKING:
    from marotte.drivers.artalk import ARTalkOptions

BASIS, FPS = "flame2020", Fraction(25)
# The jaw's two sideways rotations, which the published code drops after smoothing.
_SIDEWAYS = slice(104, 106)


class ARTalkStream(DriverStream):
    """Exact mode: frames come when their chunk of sound is complete, and are the published ones.

    style: [50, 106] or None.
    """

    def __init__(self, network: Engine, style: np.ndarray | None, options: "ARTalkOptions") -> None:
        self.network, self.options = network, options
        self._start = network.start(style)
        self._smoother = Smoother() if options.smooth else None
        self.reset()

    def reset(self) -> None:
        """Forget the speaker, but not the style."""
        self.state = self._start
        self._heard = 0
        self._emitted = 0  # frames of raw motion
        self._sound: list[np.ndarray] = []
        self._held = 0  # samples in `_sound`
        self._finished = False
        if self._smoother:
            self._smoother.reset()

    def feed(self, samples: np.ndarray) -> Motion:
        """Return the frames of the chunks that are complete now."""
        return feed_together([(self, samples)])[0]

    def finish(self) -> Motion:
        """Return the frames that are left: what of the last chunk there is, padded with silence.

        Raises MarotteError where that was done already.
        """
        self._check_open()
        self._finished = True
        raw = np.zeros((0, WIDTH), np.float32)
        if self._held:
            ((motion, self.state),) = self.network.step([self.state], [self.take(self._held)])
            raw = self.emit(self.unsent(motion, self._left()))
        if self._smoother and self._emitted:
            raw = np.concatenate([raw, self._smoother.finish()])
        return self.motion(raw)

    def close(self) -> None:
        """Let go of the network and of the sound."""
        self._sound.clear()
        self._finished = True
        for held in ("network", "state", "_start"):
            self.__dict__.pop(held, None)

    def checked(self, samples: np.ndarray) -> np.ndarray:
        """Return sound as float32 of its own memory. Raises MarotteError where it is not [n], or not finite, or
        where the utterance has ended."""
        self._check_open()
        with np.errstate(over="ignore"):
            sound = np.array(samples, np.float32)
        if sound.ndim != 1:
            raise MarotteError(f"sound has shape {list(sound.shape)}, expected [samples]: mix channels into one first")
        if not np.isfinite(sound).all():
            where = self._heard + int(np.flatnonzero(~np.isfinite(sound))[0])
            raise MarotteError(f"the sound has a value that is not finite at sample {where}: repair the recording")
        return sound

    def hear(self, samples: np.ndarray) -> None:
        """Take in sound that is `checked`."""
        if len(samples):
            self._sound.append(samples)
            self._heard += len(samples)
            self._held += len(samples)

    def unsent(self, motion: np.ndarray, count: int | None = None) -> np.ndarray:
        """Return what of a complete chunk's motion is to be sent: all, or its first `count` frames."""
        return motion[:count]

    def early(self, motion: np.ndarray) -> np.ndarray:
        """Return what the motion of a chunk that is not full yet gives now [n, 106]; only where `wants_early`."""
        raise NotImplementedError

    @property
    def wants_early(self) -> bool:
        """Whether the chunk is to be decoded before it is full; in exact mode never."""
        return False

    @property
    def has_chunk(self) -> bool:
        """Whether a chunk of sound is complete."""
        return self._held >= self.network.chunk_samples

    def take(self, count: int) -> np.ndarray:
        """Return the next samples and forget them."""
        joined, rest = self.peek(), self._held - count
        # Of much sound that waits, a view: copying what is left for every chunk would cost its square.
        self._sound = [joined[count:] if rest >= count else joined[count:].copy()] if rest else []
        self._held = rest
        return joined[:count]

    def peek(self) -> np.ndarray:
        """Return the sound that has not been taken."""
        if len(self._sound) != 1:
            self._sound = [np.concatenate([np.zeros(0, np.float32), *self._sound])]
        return self._sound[0]

    def emit(self, raw: np.ndarray) -> np.ndarray:
        """Return what raw frames [n, 106] give now: smoothed, and so four frames late."""
        self._emitted += len(raw)
        return self._smoother.feed(raw) if self._smoother and len(raw) else raw

    def _check_open(self) -> None:
        if self._finished:
            raise MarotteError("this speaker has finished: call reset() before the next utterance, or open another")

    def _left(self) -> int:
        """Return how many frames of the last chunk count."""
        if self.options.count == "one-shot":
            return frame_count(self._heard) - self._emitted
        return streaming_frame_count(self._heard, self.network.chunk_frames) - self._emitted

    def motion(self, codes: np.ndarray) -> Motion:
        """Return frames [n, 106] as the published code hands them on."""
        if self.options.jaw == "published":
            codes = codes.copy()
            codes[:, _SIDEWAYS] = 0
        return Motion(codes, FPS, BASIS)


def feed_together(work: Sequence[tuple[DriverStream, np.ndarray]]) -> list[Motion]:
    """Feed several speakers and return the motion of each; chunks that are complete at once are decoded at once.

    Sound that a speaker cannot take raises MarotteError before any of them has heard a thing. A speaker who comes
    twice is fed one after the other.
    """
    checked: list[tuple[ARTalkStream, np.ndarray]] = []
    for stream, samples in work:
        assert isinstance(stream, ARTalkStream)
        checked.append((stream, stream.checked(samples)))
    motions: dict[int, Motion] = {}
    while len(motions) < len(checked):
        turn: dict[int, int] = {}  # the first piece of each speaker that is still to be fed
        for index, (stream, _) in enumerate(checked):
            if index not in motions:
                turn.setdefault(id(stream), index)
        fed = _feed([checked[index] for index in turn.values()])
        motions |= zip(turn.values(), fed, strict=True)
    return [motions[index] for index in range(len(checked))]


def _feed(work: Sequence[tuple[ARTalkStream, np.ndarray]]) -> list[Motion]:
    """Feed speakers, each of them once."""
    streams, parts = [stream for stream, _ in work], [[np.zeros((0, WIDTH), np.float32)] for _ in work]
    for stream, samples in work:
        stream.hear(samples)
    while ready := _alike(streams, [stream.has_chunk for stream in streams]):
        network = streams[ready[0]].network
        chunks = [streams[index].take(network.chunk_samples) for index in ready]
        results = network.step([streams[index].state for index in ready], chunks)
        for index, (motion, state) in zip(ready, results, strict=True):
            streams[index].state = state
            parts[index].append(streams[index].emit(streams[index].unsent(motion)))
    while ready := _alike(streams, [stream.wants_early for stream in streams]):
        network, some = streams[ready[0]].network, [streams[index] for index in ready]
        decoded = network.decode([stream.state for stream in some], [stream.peek() for stream in some])
        for index, motion in zip(ready, decoded, strict=True):
            parts[index].append(streams[index].early(motion))
    return [stream.motion(np.concatenate(done)) for stream, done in zip(streams, parts, strict=True)]


def _alike(streams: Sequence[ARTalkStream], wanted: Sequence[bool]) -> list[int]:
    """Return which of the streams that are wanted have the network of the first of them."""
    chosen = [index for index, want in enumerate(wanted) if want]
    return [index for index in chosen if streams[index].network is streams[chosen[0]].network]
