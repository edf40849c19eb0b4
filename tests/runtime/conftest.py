"""Plug-ins that are simple enough to know what they must give."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from marotte.runtime.avatar import Avatar, Framing
from marotte.runtime.contracts import Driver, DriverStream, Features, FeatureStream, Renderer, RenderStream
from marotte.runtime.frames import Frames
from marotte.runtime.motion import Motion


class Loudness(Driver):
    """Jaw by loudness, at 25 fps, in chunks of `chunk` seconds, as late as `lookahead` says."""

    basis = "arkit52"
    fps = Fraction(25)

    def __init__(self, chunk: float = 0.0, lookahead: float = 0.0) -> None:
        self.chunk, self.lookahead = chunk, lookahead

    def open(self, options=None):
        return LoudnessStream(self)


class LoudnessStream(DriverStream):
    def __init__(self, driver: Loudness) -> None:
        self._driver = driver
        self.reset()

    def reset(self) -> None:
        self._sound = np.zeros(0, np.float32)
        self._given = 0

    def feed(self, samples):
        self._sound = np.concatenate([self._sound, samples])
        heard = len(self._sound) - round(self._driver.lookahead * 16000)
        frames = max(heard // 640, 0)
        if self._driver.chunk:
            whole = round(self._driver.chunk * 25)
            frames = frames // whole * whole
        return self._until(frames)

    def finish(self):
        return self._until(-(-len(self._sound) // 640))

    def _until(self, stop: int) -> Motion:
        start, self._given = self._given, max(stop, self._given)
        codes = np.zeros((self._given - start, 106), np.float32)
        for row, frame in zip(codes, range(start, self._given), strict=True):
            row[103] = np.abs(self._sound[frame * 640 : frame * 640 + 640]).mean()
        return Motion(codes, Fraction(25), "arkit52")


class Bars(Renderer):
    """Paints each frame with its jaw rotation and its feature window's mean."""

    def open(self, avatar, options):
        stream = RenderStream()
        stream.width, stream.height = options.width, options.height
        return stream

    def render(self, stream, drive):
        pixels = np.zeros((len(drive), stream.height, stream.width, 3), np.uint8)
        pixels[..., 0] = np.clip(drive.head.jaw[:, 0] * 1000, 0, 255).astype(np.uint8)[:, None, None]
        if drive.features is not None:
            pixels[..., 1] = drive.features.mean(axis=(1, 2)).astype(np.uint8)[:, None, None]
        return Frames(drive.ticks, pixels)


class Count(Features):
    """Each row is the number of 10 ms before it, and comes 30 ms late."""

    rate = Fraction(100)
    width = 2
    lookahead = 0.03

    def open(self):
        return CountStream()


class CountStream(FeatureStream):
    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._heard = self._given = 0

    def feed(self, samples):
        self._heard += len(samples)
        return self._until(max((self._heard - 480) // 160, 0))

    def finish(self):
        return self._until(self._heard // 160)

    def _until(self, stop):
        rows = np.repeat(np.arange(self._given, max(stop, self._given), dtype=np.float32)[:, None], 2, axis=1)
        self._given = max(stop, self._given)
        return rows


@pytest.fixture
def avatar() -> Avatar:
    return Avatar(
        name="test",
        path=Path("."),
        renderer="bars",
        basis="arkit52",
        framings={"head": Framing((0, 0, 0), 1.0, 0.4)},
    )


@pytest.fixture
def loudness():
    return Loudness


@pytest.fixture
def bars():
    return Bars


@pytest.fixture
def count():
    return Count


def syllables(count: int, *, pitch: float = 120.0, gain: float = 0.1, seconds: float = 0.14, gap: float = 0.06):
    """Return so many equal syllables [n] at 16 kHz, each with harmonics of `pitch` and a rise and a fall."""
    time = np.arange(round(seconds * 16000)) / 16000
    tone = sum(np.sin(2 * np.pi * k * pitch * time) / k for k in range(1, int(3500 / pitch)))
    one = gain * tone * np.sin(np.pi * time / seconds) ** 0.5
    return np.tile(np.concatenate([one, np.zeros(round(gap * 16000))]), count).astype(np.float32)


@pytest.fixture(name="syllables")
def _syllables():
    return syllables


@pytest.fixture(scope="session")
def talk() -> np.ndarray:
    """24 s of sentences with pauses, whose syllables differ in level, length and pitch, over a little noise."""
    random = np.random.default_rng(5)
    parts = []
    while sum(map(len, parts)) < 24 * 16000:
        for _ in range(random.integers(6, 14)):
            loud = random.random() < 0.25
            parts.append(
                syllables(
                    1,
                    pitch=110 * 2 ** (random.normal(0, 1.5) / 12 + (random.random() < 0.15) * 0.6),
                    gain=0.2 if loud else 0.05 * 2 ** random.normal(0, 0.3),
                    seconds=0.24 if loud else random.uniform(0.1, 0.16),
                    gap=random.uniform(0.03, 0.07),
                )
            )
        parts.append(np.zeros(random.integers(4000, 9000)))
    sound = np.concatenate(parts)[: 24 * 16000]
    return (sound + 0.0005 * random.standard_normal(len(sound))).astype(np.float32)
