"""Segment: what is heard and seen during one frame, in one piece, so that sound and picture cannot drift apart."""

from dataclasses import dataclass, field, replace

import numpy as np

from marotte.runtime.clock import TICK_RATE
from marotte.runtime.motion import Motion

# int16's largest value, for sound of -1 to 1.
_FULL = 32767
# Motion of one frame, and its feature window where the renderer hears for itself.
Frame = tuple[Motion, np.ndarray | None]


@dataclass(frozen=True, eq=False)
class Segment:
    """One frame of a turn, or of silence.

    turn: its name, empty for silence. generation: of the session when it was made; what carries an older one than the
    session's is dropped wherever it is. position: ticks of the turn before it. sound: [n] int16 mono at 48 kHz, as
    long as the frame. heard: [m] float32 at 16 kHz, the same sound, for idle life. motion: of one frame, at the
    display's rate, None in silence. features: [window, width] where the renderer hears for itself. born: when its
    sound came in, seconds of the session's clock. index: of the frame in its turn. beside: the same frame by the voices
    of faces beside the first, by name; None where one is late.
    """

    turn: str
    generation: int
    position: int
    sound: np.ndarray
    heard: np.ndarray
    motion: Motion | None = None
    features: np.ndarray | None = None
    born: float = 0.0
    index: int = 0
    beside: dict[str, Frame | None] = field(default_factory=dict)

    def by(self, name: str) -> "Segment":
        """Return the same moment by another voice: without motion where that one is late, as it came where it has none
        of its own."""
        if name not in self.beside:
            return self
        motion, features = self.beside[name] or (None, None)
        return replace(self, turn=self.turn if motion is not None else "", motion=motion, features=features)


@dataclass(frozen=True)
class Heard:
    """How much of a turn was played. position: ticks of its sound."""

    turn: str
    position: int

    @property
    def seconds(self) -> float:
        """The position in seconds."""
        return self.position / TICK_RATE


def to_int16(sound: np.ndarray) -> np.ndarray:
    """Return int16 of sound in -1 to 1, clipped."""
    return np.rint(np.clip(sound, -1, 1) * np.float32(_FULL)).astype(np.int16)


def to_float(pcm: np.ndarray) -> np.ndarray:
    """Return float32 in -1 to 1 of int16, or of floats, which stay as they are."""
    return pcm.astype(np.float32) / np.float32(_FULL + 1) if pcm.dtype == np.int16 else pcm.astype(np.float32)
