"""LiveSettings: what a live session is opened with."""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from marotte.errors import MarotteError
from marotte.runtime.background import Background
from marotte.runtime.clock import as_fps


@dataclass(frozen=True)
class LiveSettings:
    """What a session is opened with. driver_options, renderer_options: passed on by name. counter: paints each frame's
    number into the picture, for measurements. bitrate: the most, bits a second."""

    avatar: str = "demo"
    driver: str = "viseme"
    width: int = 512
    height: int = 512
    fps: Fraction = Fraction(30)
    background: str | Background | None = None
    framing: str = "head"
    expressiveness: float = 1.0
    head_motion: float = 1.0
    idle: float = 1.0
    seed: int = 0
    flame: str | None = None
    driver_options: dict[str, Any] = field(default_factory=dict)
    renderer_options: dict[str, Any] = field(default_factory=dict)
    counter: bool = False
    bitrate: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "fps", as_fps(self.fps))
        if self.fps > 60:
            raise MarotteError(f"{float(self.fps):g} frames a second are more than live pictures have: give 1 to 60")
