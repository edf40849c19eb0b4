"""What a frame is on its way from the clock to its packet: a moment that is due, a shot to be drawn, a picture."""

from dataclasses import dataclass

import numpy as np

from marotte.runtime.contracts import Drive
from marotte.runtime.live.segment import Segment


@dataclass(frozen=True, eq=False)
class Moment:
    """A frame that is due. tick: of the session, where its sound begins; due: seconds of the clock."""

    segment: Segment
    tick: int
    due: float


@dataclass(frozen=True, eq=False)
class Shot:
    """A frame to be drawn. born, due: when its sound came in, and when it was to be shown."""

    drive: Drive
    generation: int
    born: float
    due: float
    speech: bool


@dataclass(frozen=True, eq=False)
class Drawn:
    """A shot's picture [h, w, 3] uint8, that is there since `at`."""

    shot: Shot
    pixels: np.ndarray
    at: float
