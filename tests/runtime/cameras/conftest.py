"""The tracked head that the tests of camera formats share."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from marotte.runtime.camera import facing_camera
from marotte.runtime.cameras.crop_chain import tracker_crop
from marotte.runtime.cameras.track import CameraTrack
from marotte.runtime.head import HeadState


def head(count, seed=0):
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return rng.normal(0, 0.2, shape).astype(np.float32)

    zero = np.zeros((count, 3), np.float32)
    return HeadState(
        shape=draw(300),
        expression=draw(count, 100),
        root=zero,
        neck=zero,
        jaw=draw(count, 3),
        eyes=draw(count, 6),
        eyelids=np.abs(draw(count, 2)),
        translation=zero,
    )


@pytest.fixture
def head_track():
    """Four cameras about a head, cut from a video, with the head's FLAME parameters."""
    camera = facing_camera((0, 0, 0), 1.6, 0.4, (512, 512))
    K = camera.K + np.array([[0, 0, 11], [0, 0, -13], [0, 0, 0]])
    turns = Rotation.from_rotvec(np.random.default_rng(5).normal(0, 0.2, (4, 3))).as_matrix()
    crop = tracker_crop((370, 1494, 1, 1079), (1920, 1080))
    return CameraTrack(
        tuple(replace(camera, R=camera.R @ turn, K=K) for turn in turns),
        tuple(f"{i:05d}" for i in range(9, 13)),
        head=head(4),
        crop=crop,
    )
