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
        if self._smoother:
            self._smoother.reset()

    def feed(self, samples: np.ndarray) -> Motion:
        """Return the frames of the chunks that are complete now."""
        return feed_together([(self, samples)])[0]

    def finish(self) -> Motion:
        """Return the frames that are left: what of the last chunk there is, padded with silence."""
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
        del self.network, self.state, self._start

    def hear(self, samples: np.ndarray) -> None:
        """Take sound in. Raises MarotteError where it is not finite."""
        if not np.isfinite(samples).all():
            where = self._heard + int(np.flatnonzero(~np.isfinite(samples))[0])
            raise MarotteError(f"the sound has a value that is not finite at sample {where}: repair the recording")
        if len(samples):
            self._sound.append(np.array(samples, np.float32))
            self._heard += len(samples)
            self._held += len(samples)

    def unsent(self, motion: np.ndarray, count: int | None = None) -> np.ndarray:
        """Return what of a complete chunk's motion is to be sent: all, or its first `count` frames."""
        return motion[:count]

    def early(self) -> np.ndarray:
        """Return what can be had before the chunk is full [n, 106]; in exact mode nothing."""
        return np.zeros((0, WIDTH), np.float32)

    @property
    def has_chunk(self) -> bool:
        """Whether a chunk of sound is complete."""
        return self._held >= self.network.chunk_samples

    def take(self, count: int) -> np.ndarray:
        """Return the next samples and forget them."""
        joined = np.concatenate(self._sound)
        self._sound = [joined[count:].copy()] if len(joined) > count else []
        self._held = len(joined) - count
        return joined[:count]

    def peek(self) -> np.ndarray:
        """Return the sound of the chunk that is not complete yet."""
        self._sound = [np.concatenate(self._sound)] if self._sound else []
        return self._sound[0] if self._sound else np.zeros(0, np.float32)

    def emit(self, raw: np.ndarray) -> np.ndarray:
        """Return what raw frames [n, 106] give now: smoothed, and so four frames late."""
        self._emitted += len(raw)
        return self._smoother.feed(raw) if self._smoother and len(raw) else raw

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
    """Feed several speakers and return the motion of each; chunks that are complete at once are decoded at once."""
    parts: list[list[np.ndarray]] = []
    streams = []
    for stream, samples in work:
        assert isinstance(stream, ARTalkStream)
        stream.hear(samples)
        streams.append(stream)
        parts.append([])
    while ready := [index for index, stream in enumerate(streams) if stream.has_chunk]:
        network = streams[ready[0]].network
        ready = [index for index in ready if streams[index].network is network]
        chunks = [streams[index].take(network.chunk_samples) for index in ready]
        results = network.step([streams[index].state for index in ready], chunks)
        for index, (motion, state) in zip(ready, results, strict=True):
            streams[index].state = state
            parts[index].append(streams[index].emit(streams[index].unsent(motion)))
    motions = []
    for stream, done in zip(streams, parts, strict=True):
        done.append(stream.early())
        motions.append(stream.motion(np.concatenate(done)))
    return motions
