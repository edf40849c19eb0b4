"""Playback: motion that is already there, from a file or an array, in step with the sound."""

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.clock import frame_count
from marotte.runtime.contracts import SAMPLE_RATE, Driver, DriverStream, refuse_options
from marotte.runtime.motion import Motion, empty
from marotte.runtime.motion_files import read_motion


class Playback(Driver):
    """Plays a motion: a `Motion`, or a file (.npz, .npy, ARTalk's .pt, Live Link Face's .csv).

    basis, fps: for files that do not say them. Motion that ends before the sound comes to rest
    (see `marotte.runtime.retime`); what is longer than the sound is not played.
    """

    def __init__(
        self,
        motion: Motion | str | Path | None = None,
        *,
        basis: str | None = None,
        fps: str | float | Fraction | None = None,
    ) -> None:
        if motion is None:
            raise MarotteError("the driver 'playback' plays a motion file: name it with --motion FILE")
        self.motion = motion if isinstance(motion, Motion) else read_motion(motion, basis=basis, fps=fps).motion
        self.basis, self.fps = self.motion.basis, self.motion.fps

    def open(self, options: Mapping[str, Any] | None = None) -> "PlaybackStream":
        """Return a stream that starts at the motion's first frame. It has no options."""
        refuse_options("playback", options)
        return PlaybackStream(self.motion)


class PlaybackStream(DriverStream):
    """Gives out each frame once the sound has reached it."""

    def __init__(self, motion: Motion) -> None:
        self._motion = motion
        self.reset()

    def reset(self) -> None:
        """Go back to the first frame."""
        self._samples = 0
        self._given = 0

    def feed(self, samples: np.ndarray) -> Motion:
        """Return the frames that start within the sound so far."""
        self._samples += len(samples)
        start, self._given = self._given, frame_count(Fraction(self._samples, SAMPLE_RATE), self._motion.fps)
        return self._motion[start : self._given]

    def finish(self) -> Motion:
        """Return nothing: every frame of the sound has been given out."""
        return empty(self._motion.fps, self._motion.basis)
