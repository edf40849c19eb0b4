"""The demo talker's recording: how its head moved, and blinked, in eight seconds that no camera saw.

A sum of cosines whose periods are even parts of twice the length: played forth and back it has no corners.
"""

from dataclasses import dataclass, replace

import numpy as np
from talker_teacher import ORIGIN, SCALE, Teacher

from marotte.models.rotations import rotvec_to_matrix
from marotte.runtime.camera import Camera
from marotte.runtime.cameras.formats.gaussian_talker import opencv_to_gaussian_talker

FRAMES, SIDE = 200, 512
# Greatest pitch, yaw and roll, in radians, and of how many waves each is made.
REACH = np.deg2rad([2.5, 5.0, 2.0])
WAVES = 7
# Frames at which the lids begin to fall, and how far they are shut from then on.
BLINKS, SHUT = (32, 104, 171), (0.35, 0.9, 1.0, 0.8, 0.45, 0.15)
# AU45 of shut lids, as OpenFace counts it.
FULL_AU = 2.0


@dataclass(frozen=True)
class Track:
    """cameras: F of them, in head units; au45: [F] float32."""

    cameras: tuple[Camera, ...]
    au45: np.ndarray

    def tokens(self) -> np.ndarray:
        """Return what the network hears of the cameras: [F, 12] float32."""
        return np.array([[*camera.R.T.ravel(), *camera.t] for camera in self.cameras], np.float32)

    def poses(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the tracker's euler [F, 3] in radians and trans [F, 3] in head units, float32."""
        poses = [opencv_to_gaussian_talker(camera) for camera in self.cameras]
        euler, trans = zip(*poses, strict=True)
        return np.array(euler, np.float32), np.array(trans, np.float32)


def make_track(teacher: Teacher, seed: int = 5) -> Track:
    """Return the track of a head that turns about the teacher's neck before its camera."""
    rng = np.random.default_rng(seed)
    waves = np.arange(1, WAVES + 1)
    cosines = np.cos(np.pi * waves * np.arange(FRAMES)[:, None] / (FRAMES - 1))
    turns = cosines @ (rng.normal(size=(WAVES, 3)) / waves[:, None])
    turns = (turns - (turns.max(0) + turns.min(0)) / 2) / np.ptp(turns, axis=0) * 2 * REACH
    still = teacher.avatar.framing("head").camera(SIDE, SIDE)
    au45 = np.zeros(FRAMES, np.float32)
    for start in BLINKS:
        au45[start : start + len(SHUT)] = FULL_AU * np.array(SHUT)
    return Track(tuple(in_head(still.moved(turn, teacher.neck)) for turn in rotvec_to_matrix(turns)), au45)


def in_head(camera: Camera) -> Camera:
    """Return the camera [metres, the avatar's frame] in the head's own frame and units."""
    camera = camera.scaled(SCALE)
    return replace(camera, t=camera.t + camera.R @ (SCALE * np.array(ORIGIN)))
