"""Which recorded frame, camera and eyelids each picture of a GaussianTalker has. numpy only.

The head of such an avatar stands still and the camera moves; torso and neck are pictures that were recorded with the
camera of their frame. So a pose is a camera, and the recorded frame whose torso stands behind it.
"""

from typing import NamedTuple, Protocol

import numpy as np

from marotte.models.rotations import rotvec_to_matrix
from marotte.runtime.camera import Camera
from marotte.runtime.cameras.formats.gaussian_talker import euler_to_matrix, matrix_to_euler
from marotte.runtime.clock import TICK_RATE
from marotte.runtime.contracts import Drive
from marotte.runtime.recording import FPS, Recording, camera_of

# Over so many frames the head comes to rest, or to speed, where the recording turns back: 0.4 s.
_EASE = 10
# What a driven head may do: these percentiles of what the recorded one did, component by component.
_RANGE = (5, 95)
# In deviations of the recorded poses: so much nearer must another torso be before it takes the place of the last.
_MARGIN = 0.25
# Blink values of AU45 / 2 as recorded: open lids, as most frames have them, and shut ones, which few do; and how far
# apart these are at least in a recording with blinks.
_OPEN, _SHUT, _LEAST_BLINK = 10, 99, 0.2


class Pose(NamedTuple):
    """frame: recorded frame whose torso is shown; camera: of the recording's picture size."""

    frame: int
    camera: Camera


class Track(Protocol):
    """Poses of the frames of one stream, in their order."""

    def poses(self, drive: Drive) -> list[Pose]:
        """Return the pose of each frame of a batch."""
        ...

    def reset(self) -> None:
        """Forget the frames before."""
        ...


class RecordedTrack:
    """The recording's own poses, one each 1/25 s, by ticks alone: forth to its end, back to its start, and so on.

    The first time the recording runs as it was filmed, to its last frame. From there on the head slows down before each
    end and starts gently after it (see `there_and_back`). Frames are repeated for that, not blended: each has a torso
    of its own.
    """

    def __init__(self, recording: Recording) -> None:
        self._known = [Pose(*each) for each in enumerate(recording.cameras)]
        self._cycle = there_and_back(len(self._known))

    def poses(self, drive: Drive) -> list[Pose]:
        """Return the pose of each frame of a batch."""
        return [self.pose(frame) for frame in self.frames(drive.ticks)]

    def pose(self, frame: int) -> Pose:
        """Return the pose of a recorded frame."""
        return self._known[frame]

    def frames(self, ticks: np.ndarray) -> np.ndarray:
        """Return the recorded frame of each tick, [T]."""
        steps = np.asarray(ticks, np.int64) * FPS // TICK_RATE
        last = len(self._known) - 1
        return np.where(steps < last, steps, self._cycle[(steps - last) % len(self._cycle)])

    def reset(self) -> None:
        """Do nothing: there is no memory."""


class DrivenTrack:
    """Poses that follow the motion: its head rotation and translation, from the recording's mean pose on. Cameras that
    are not the first frame's, as where head rotation goes to the camera, turn the head too.

    Each of the tracker's three angles and three lengths stays within the 5th and 95th percentile of the recorded ones,
    since nothing is known beyond them. Translation in metres becomes world units by the cameras' `unit`. Behind it
    stands the torso of the nearest recorded pose, by angles and lengths in deviations of the recorded ones; another
    takes its place only where it is nearer by a margin, or torsos would flicker.
    """

    def __init__(self, recording: Recording) -> None:
        self._recorded = np.concatenate([recording.euler, recording.translation], axis=1).astype(np.float64)
        self._mean = self._recorded.mean(axis=0)
        self._low, self._high = np.percentile(self._recorded, _RANGE, axis=0)
        deviation = self._recorded.std(axis=0)
        # What never changed in the recording tells no torso from another.
        self._weights = np.divide(1, deviation, out=np.zeros(6), where=deviation > 1e-9)
        self._camera = recording.cameras[0]
        self._frame: int | None = None

    def poses(self, drive: Drive) -> list[Pose]:
        """Return the pose of each frame of a batch, which follows on the one before."""
        head = drive.head
        turns = rotvec_to_matrix(head.root.astype(np.float64)) @ rotvec_to_matrix(head.neck.astype(np.float64))
        ahead = self._camera.R
        for turn, camera in zip(turns, drive.cameras, strict=True):
            if not np.array_equal(camera.R, ahead):
                turn[:] = ahead.T @ camera.R @ turn
        moved = head.translation.astype(np.float64) * self._camera.unit
        return [self._pose(*each) for each in zip(turns, moved, strict=True)]

    def reset(self) -> None:
        """Forget which torso was shown."""
        self._frame = None

    def _pose(self, turn: np.ndarray, moved: np.ndarray) -> Pose:
        """Return the pose of a head turned and moved in the tracker's axes, x right, y up, z to the camera: FLAME's,
        seen from the front."""
        euler = matrix_to_euler(turn @ euler_to_matrix(self._mean[:3]))
        wanted = np.clip(np.concatenate([euler, self._mean[3:] + moved]), self._low, self._high).astype(np.float32)
        away = np.linalg.norm((self._recorded - wanted) * self._weights, axis=1)
        nearest = int(np.argmin(away))
        if self._frame is None or away[nearest] < away[self._frame] - _MARGIN:
            self._frame = nearest
        like = self._camera
        return Pose(self._frame, camera_of(wanted[:3], wanted[3:], like.K[0, 0], like.width, like.height))


def there_and_back(frames: int) -> np.ndarray:
    """Return the frames of a whole loop that starts at the last of `frames`, goes back to the first, and forth again.

    Speed grows evenly over 0.4 s from rest to one frame a step and falls as evenly at the other end, half of it spent
    on each side of a turn. Shorter recordings start to slow down when they have come to speed. A recording of one frame
    is a loop of one.
    """
    way = frames - 1
    if way == 0:
        return np.zeros(1, np.int64)
    ease = min(_EASE, way)
    steps = np.arange(way + ease)  # from rest to rest takes longer than at full speed by half of each easing
    before_end = way + ease - steps
    gone = np.select(
        [steps < ease, before_end < ease],
        [steps**2 / (2 * ease), way - before_end**2 / (2 * ease)],
        steps - ease / 2,
    )
    back = np.floor(way - gone + 0.5).astype(np.int64)
    return np.concatenate([back, way - back])


class Lids:
    """From lids, 0 open to 1 shut, to the avatar's own blink value, within what its recording holds.

    blinks: [F] recorded values, 0 to 1. `blinks_seen` tells whether any of them is a blink; without, lids move within
    the little that there is.
    """

    def __init__(self, blinks: np.ndarray) -> None:
        self.open, self.shut = (float(value) for value in np.percentile(blinks, (_OPEN, _SHUT)))
        self.blinks_seen = self.shut - self.open >= _LEAST_BLINK

    def values(self, lids: np.ndarray) -> np.ndarray:
        """Return the blink values [T] float64 of lids [T, 2], left and right: one number for both, their mean."""
        shut = np.clip(np.asarray(lids, np.float64).mean(axis=1), 0, 1)
        return self.open + shut * (self.shut - self.open)
