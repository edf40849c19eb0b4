"""The nouns of a comparison: what an arm is, what it showed, and what was measured of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from marotte.runtime.motion import Motion

# What the figures are about, in the order in which a report shows them, with titles.
FAMILIES = {
    "reference": "Against the reference",
    "pair": "Against the first arm",
    "speech": "Lips and sound",
    "life": "Blinks and head",
    "steadiness": "Steadiness",
    "cost": "Cost",
}


@dataclass(frozen=True)
class Arm:
    """One thing to be compared: a driver, an avatar, a renderer and their options; or a film that exists already.

    video: the film's file; nothing is driven or drawn then. driver: None for the default; motion: a file that is played
    in its place. render: the other options of `marotte.render` that were asked for, by its names; driver_options,
    renderer_options: passed on by name.
    """

    name: str
    avatar: str = "demo"
    video: str = ""
    driver: str | None = None
    renderer: str | None = None
    motion: str | None = None
    render: Mapping[str, Any] = field(default_factory=dict)
    driver_options: Mapping[str, Any] = field(default_factory=dict)
    renderer_options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Take:
    """What one arm showed, on the comparison's clock: frame i is for the time i / fps; after it failed, NaN.

    asked: [T] opening of the lips in mm that the driver's own motion asks for, before the arm's options, on the arm's
        head or the demo's; None where no motion moves the lips (a film, a network that hears for
        itself). opening: [T] what is seen of it, in
        `opening_unit` (mm, or empty for a share of what the picture showed), measured as `opening_by` says
        (`vertices`, `Gaussians`, `landmarks in the picture`, `mouth in the picture`); all NaN where it cannot be known.
    asked_blink, blink: [T] 0 open to 1 shut, the same way; blink_by. asked_head, head: [T, 3] pitch, yaw and roll in
        degrees; head_by.
    landmarks: [T, 68, 2] pixels in the common picture, None where they are not known. lips: [T, 20, 3] mm, the mouth's
        landmarks with the head held still, None likewise.
    motion: what the driver made, at the driver's rate; None for a film. sound: [n] float32 at 16 kHz, of its own video
        from the video's first frame on, in which the lag is measured.
    frame_ms: [T] wall time of drawing a frame while the films were made. pairs: [T] of `psnr`, `ssim`, `lpips`,
        `difference` (mean absolute, 0 to 255) against the first arm, by name; references: the same against the
        reference. NaN at frames that were left out.
    """

    name: str
    fps: Fraction
    asked: np.ndarray | None
    opening: np.ndarray
    opening_unit: str
    opening_by: str
    blink: np.ndarray
    blink_by: str
    head: np.ndarray
    head_by: str
    sound: np.ndarray
    frame_ms: np.ndarray
    asked_blink: np.ndarray | None = None
    asked_head: np.ndarray | None = None
    landmarks: np.ndarray | None = None
    lips: np.ndarray | None = None
    motion: Motion | None = None
    pairs: Mapping[str, np.ndarray] = field(default_factory=dict)
    references: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.opening)


def not_known(by: str) -> str:
    """Return in words that an instrument, such as `Take.opening_by`, told nothing."""
    return by if by.startswith("not known") else f"not known ({by})" if by else "not known"


@dataclass(frozen=True)
class Definition:
    """A figure in words. better: `more`, `less`, or empty where neither is. instrument: what it is measured with;
    source: who defined it so."""

    key: str
    title: str
    family: str
    unit: str
    better: str
    definition: str
    instrument: str
    source: str


@dataclass(frozen=True)
class Value:
    """A figure of one arm, or the difference of one from the first arm, with its 95 % interval.

    None where it could not be measured; `note` says why, or how. count: of what it was taken over.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    count: int = 0
    note: str = ""

    @property
    def differs(self) -> bool | None:
        """Whether a difference's interval leaves 0 out; None where it has none. For differences only."""
        if self.value is None or self.low is None or self.high is None:
            return None
        return self.low > 0 or self.high < 0
