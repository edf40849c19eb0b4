"""The plug-in contracts: what a driver, a feature extractor and a renderer owe the runtime.

A driver turns 16 kHz mono sound into motion, a feature extractor turns it into rows for renderers
that hear for themselves, a renderer turns head states into pictures. Each holds weights and no
session state; a stream holds the state of one speaker or one face; work on several streams is one
call (`step`, `submit`). The base classes give these batch forms to whoever writes a plug-in for one
stream and no asynchrony. `marotte.runtime.testing` checks that a plug-in keeps the contract.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Protocol

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.avatar import Avatar
from marotte.runtime.background import Background
from marotte.runtime.camera import Camera
from marotte.runtime.frames import Frames
from marotte.runtime.head import HeadState
from marotte.runtime.motion import Motion

SAMPLE_RATE = 16000  # of the mono sound that drivers and features get


def refuse_options(driver: str, options: Mapping[str, Any] | None) -> None:
    """Raise MarotteError for any option: for drivers that have none."""
    for name in options or ():
        raise MarotteError(f"the driver {driver} has no option {name!r}: leave it out or use another driver")


class DriverStream(ABC):
    """One speaker. Fed at once or in packets of any size, the motion is the same."""

    @abstractmethod
    def feed(self, samples: np.ndarray) -> Motion:
        """Take sound [n] float32 at 16 kHz and return the frames that are now decided, maybe none."""

    @abstractmethod
    def finish(self) -> Motion:
        """Say that the sound has ended and return the frames that are left."""

    @abstractmethod
    def reset(self) -> None:
        """Forget everything: the next sample is the first of a new utterance."""

    def close(self) -> None:
        """Give back what the stream holds. No other call follows."""


class Driver(ABC):
    """A source of motion. Frame i of its motion is for the time i / fps of the sound.

    basis: expression basis of its motion. fps: its rate. lookahead: seconds of sound after a
    frame's own time that it waits for; chunk: seconds of sound that it takes at once (0: none).
    smooths: its motion has been through ARTalk's smoother already, and does not go through it again.
    """

    basis: str
    fps: Fraction
    lookahead: float = 0.0
    chunk: float = 0.0
    smooths: bool = False

    @staticmethod
    def why_not() -> str:
        """Return what is missing here for this driver, in words; nothing is loaded to find out."""
        return ""

    @abstractmethod
    def open(self, options: Mapping[str, Any] | None = None) -> DriverStream:
        """Return the stream of a new speaker."""

    def step(self, work: Sequence[tuple[DriverStream, np.ndarray]]) -> list[Motion]:
        """Feed several streams in one call; override it where a batch is cheaper than its parts."""
        return [stream.feed(samples) for stream, samples in work]

    def warm_up(self) -> None:
        """Do now what the first frame would wait for."""


class FeatureStream(ABC):
    """Audio features of one speaker: rows [n, width] float32 at a fixed rate."""

    @abstractmethod
    def feed(self, samples: np.ndarray) -> np.ndarray:
        """Take sound [n] float32 at 16 kHz and return the rows that are now decided."""

    @abstractmethod
    def finish(self) -> np.ndarray:
        """Say that the sound has ended and return the rows that are left."""

    @abstractmethod
    def reset(self) -> None:
        """Forget everything."""

    def close(self) -> None:
        """Give back what the stream holds."""


class Features(ABC):
    """A source of audio features. lookahead: seconds, `inf` where only whole files will do.

    space: the name of what its rows mean; a network hears only the space that it was trained on. Empty: whatever the
    avatar's is.
    """

    rate: Fraction
    width: int
    lookahead: float = 0.0
    space: str = ""

    @abstractmethod
    def open(self) -> FeatureStream:
        """Return the stream of a new speaker."""


@dataclass(frozen=True)
class FeatureNeed:
    """Rows of audio features for each frame: `window` of them, those at r + stride * (k - before) for k from 0.

    r is the row that the frame's tick falls into; rows before the start and after the end of the sound are zero.
    kind: the plug-in's name; options: it is made with. before: None for half of the window. space: what the rows must
    mean (`Features.space`); empty where that does not matter.
    """

    kind: str
    window: int
    stride: int = 1
    before: int | None = None
    space: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def first(self) -> int:
        """The first row, counted from r."""
        return -self.stride * (self.window // 2 if self.before is None else self.before)

    @property
    def last(self) -> int:
        """The last row, counted from r."""
        return self.first + self.stride * (self.window - 1)


@dataclass(frozen=True)
class Needs:
    """What a renderer reads from its drives."""

    head: bool = True
    blink: bool = False
    head_pose: bool = False
    features: FeatureNeed | None = None


@dataclass(frozen=True)
class Drive:
    """What a renderer gets for a batch of T frames.

    ticks: [T] int64. head: FLAME parameters in the avatar's basis. cameras: T of them.
    features: [T, window, width] float32 where the renderer asked for them.
    """

    ticks: np.ndarray
    head: HeadState
    cameras: tuple[Camera, ...]
    background: Background
    features: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ticks)


@dataclass(frozen=True)
class RenderOptions:
    """What the caller asks of a render stream. More, by name, in `extra`."""

    width: int = 512
    height: int = 512
    transparent: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FacePoints:
    """Where the face's 68 landmarks (iBUG's order) are that were drawn in T frames.

    points: [T, 68, 3] float64, in the world of the drive's cameras, head turned as drawn. rest: [68, 3] the same of the
    neutral face, head unturned. metres: how long a world unit is. by: what was measured, `vertices` or `Gaussians`.
    """

    points: np.ndarray
    rest: np.ndarray
    metres: float
    by: str


def ignore_stage(stage: str) -> None:
    """Take the end of a stage that nobody times."""


class RenderStream:
    """One face: an avatar opened by a renderer, with its state.

    width, height: of its pictures. fps: its native rate, None where any will do. camera: the fixed camera of this
    avatar, None where it takes any. neutral: how a straight head is seen, for streams whose `camera` is another one's,
    a moving head's. features: the rows of audio features that it needs, where the avatar or the options
    decide that; else the renderer's `needs.features`. batch: how many frames it likes to get at once, where there are
    as many. in_flight: how many batches it works on at a time; 1 where `submit` returns only when the work is done.
    notes: what a user should know of what the pictures show, a line each.
    gaussian_count: how many Gaussians it draws, where it draws some and knows. rasterizer: the name of what draws them.
    lap: called with the name of each stage of a picture as it ends, by renderers that have stages; set it to time them.
    """

    width: int
    height: int
    fps: Fraction | None = None
    camera: Camera | None = None
    neutral: Camera | None = None
    features: FeatureNeed | None = None
    batch: int = 8
    notes: tuple[str, ...] = ()
    in_flight: int = 1
    gaussian_count: int | None = None
    rasterizer: str | None = None
    lap: Callable[[str], None] = staticmethod(ignore_stage)

    def face_points(self, drive: Drive) -> FacePoints | None:
        """Return where the landmarks are in a drive's pictures; None where the renderer does not know.

        For measurements: it draws nothing and changes nothing.
        """
        return None

    def head_boxes(self, drive: Drive) -> np.ndarray | None:
        """Return left, top, right and bottom [T, 4] of the head, in pixels of its pictures, where the renderer knows
        its place otherwise than by landmarks; else None."""
        return None

    def reset(self) -> None:
        """Forget the frames before."""

    def close(self) -> None:
        """Give back what the stream holds."""


class Pending(Protocol):
    """Work under way."""

    def result(self) -> list[Frames]:
        """Wait for the pictures, one batch for each piece of work."""
        ...


@dataclass(frozen=True)
class Done:
    """A Pending whose work is already done."""

    frames: list[Frames]

    def result(self) -> list[Frames]:
        """Return the pictures."""
        return self.frames


class Renderer(ABC):
    """A way to get pictures from head states."""

    needs: Needs = Needs()

    @abstractmethod
    def open(self, avatar: Avatar, options: RenderOptions) -> RenderStream:
        """Return the stream of a new face. Raises MarotteError where the avatar does not fit."""

    @abstractmethod
    def render(self, stream: RenderStream, drive: Drive) -> Frames:
        """Return the pictures of one batch of one stream."""

    def submit(self, work: Sequence[tuple[RenderStream, Drive]]) -> Pending:
        """Start work on several streams; override it where a batch is cheaper than its parts."""
        return Done([self.render(stream, drive) for stream, drive in work])

    def warm_up(self) -> None:
        """Do now what the first frame would wait for."""
