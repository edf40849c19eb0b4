"""Poses of a GaussianTalker: as recorded, and as driven."""

from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from marotte.models.rotations import rotvec_to_matrix
from marotte.renderers.talker_poses import DrivenTrack, RecordedTrack, there_and_back
from marotte.runtime.camera import FACING
from marotte.runtime.clock import frame_ticks
from marotte.runtime.recording import Recording, camera_of

WIDTH, HEIGHT, FRAMES = 48, 40, 12  # of the recording


def test_recorded_poses_go_by_ticks(recording, drive_of):
    track = RecordedTrack(recording)
    first = track.frames(frame_ticks(0, FRAMES, Fraction(25)))
    assert first.tolist() == list(range(FRAMES))
    for fps in (25, 30, 50, 60):
        ticks = frame_ticks(0, fps * 4, Fraction(fps))
        assert np.array_equal(track.frames(ticks), track.frames(ticks // 1920 * 1920)), "it steps each 1/25 s"
    poses = track.poses(drive_of(FRAMES * 5))
    assert all(np.array_equal(pose.camera.R, recording.cameras[pose.frame].R) for pose in poses)


@pytest.mark.parametrize("frames", [1, 2, 3, 11, 24, 500])
def test_a_loop_turns_gently(frames):
    loop = there_and_back(frames)
    steps = np.diff(np.append(loop, loop[0]))
    assert loop[0] == frames - 1 and set(loop) == set(range(frames))
    assert abs(steps).max() <= 1
    if frames < 24:
        return
    # Frames at the ends are held longest, and the farther from there, the shorter, until it is one step each.
    held = np.bincount(loop)
    assert held[0] == held[-1] == 7 and (held[8:-8] == 2).all()
    assert (np.diff(held[1:8]) <= 0).all() and (np.diff(held[-8:-1]) >= 0).all()


def wide_recording(frames=400) -> Recording:
    """A head that looked everywhere, around a pose that is not straight."""
    rng = np.random.default_rng(0)
    euler = rng.uniform(-0.5, 0.5, (frames, 3)).astype(np.float32) + np.float32([0.1, -0.05, 0.08])
    trans = rng.uniform(-1, 1, (frames, 3)).astype(np.float32) + np.float32([0, 0, -7])
    return SimpleNamespace(
        euler=euler,
        translation=trans,
        cameras=[camera_of(*pose, 1000.0, 512, 512) for pose in zip(euler, trans, strict=True)],
    )


TURNS = {"left": (0, 0.2, 0), "right": (0, -0.2, 0), "down": (0.2, 0, 0), "tilt": (0, 0, 0.2), "all": (0.1, -0.15, 0.1)}


@pytest.fixture(scope="module")
def demo():
    """The demo avatar's head: where its nose, crown, chin and ears are in the picture, of a root rotation."""
    from marotte.models.flame_numba import HeadEvaluator
    from marotte.runtime.avatar import load_avatar
    from marotte.runtime.splats import avatar_head

    shipped = load_avatar("demo")
    head = HeadEvaluator(avatar_head(shipped), scale=shipped.unit)
    camera = shipped.framing("head").camera(512, 512)

    def seen(root):
        pose = np.zeros((1, 15), np.float32)
        pose[0, :3] = root
        (vertices,) = head.vertices(np.zeros((1, 0), np.float32), pose)
        return camera.project(vertices[marks])

    (rest,) = head.vertices(np.zeros((1, 0), np.float32), np.zeros((1, 15), np.float32))
    face = rest[rest[:, 1] > np.median(rest[:, 1])]
    ends = [face[:, 2].argmax(), face[:, 1].argmax(), face[:, 0].argmax(), face[:, 0].argmin()]
    marks = np.flatnonzero(rest[:, 1] > np.median(rest[:, 1]))[ends]
    return seen, rest[marks]


@pytest.mark.parametrize("place", ["root", "neck"])
@pytest.mark.parametrize("turn", TURNS)
def test_driven_turns_are_those_of_the_demo_avatar(demo, turn, place, drive_of):
    """Points on the head go where the demo avatar's go, but for where the head as a whole goes."""
    seen, marks = demo
    rotvec = np.array([TURNS[turn]], np.float32)
    recording = wide_recording()
    recording.euler -= recording.euler.mean(axis=0)  # its mean pose looks straight ahead, as the demo head does
    track, ahead = DrivenTrack(recording), recording.cameras[0]
    rest = track.poses(drive_of(1, camera=ahead))[0].camera
    turned = track.poses(drive_of(1, camera=ahead, **({"root": rotvec} if place == "root" else {"neck": rotvec})))[
        0
    ].camera
    points = (marks - marks.mean(axis=0)) * 10
    ours = turned.project(points) - rest.project(points)
    theirs = seen(rotvec[0]) - seen(np.zeros(3))
    ours, theirs = (moved - moved.mean(axis=0) for moved in (ours, theirs))
    alike = (ours * theirs).sum() / np.linalg.norm(ours) / np.linalg.norm(theirs)
    assert alike > 0.97, (alike, ours, theirs)


def test_driven_turns_are_about_the_mean_pose(drive_of):
    recording = wide_recording()
    track, ahead = DrivenTrack(recording), recording.cameras[0]
    rest = track.poses(drive_of(1, camera=ahead))[0].camera
    np.testing.assert_allclose(rest.t, recording.translation.mean(axis=0) * (1, -1, -1), atol=1e-5)
    turn = rotvec_to_matrix(np.array([0.1, -0.15, 0.1]))
    turned = track.poses(drive_of(1, camera=ahead, root=[[0.1, -0.15, 0.1]]))[0].camera
    # In the tracker's axes, y up and z to the camera, it is the turn after the mean pose.
    np.testing.assert_allclose(FACING @ turned.R, turn @ FACING @ rest.R, atol=1e-6)


def test_a_driven_head_stays_where_it_was_seen(drive_of):
    recording = wide_recording()
    track, ahead = DrivenTrack(recording), recording.cameras[0]
    far = track.poses(drive_of(1, camera=ahead, root=[[1.0, -1.0, 0.6]], translation=np.full((1, 3), 9, np.float32)))[
        0
    ].camera
    high = np.percentile(recording.translation, 95, axis=0)
    np.testing.assert_allclose(far.t, np.array([high[0], -high[1], -high[2]]), atol=1e-5)
    centimetre = track.poses(drive_of(1, camera=ahead, translation=np.array([[0.01, 0.02, 0.03]], np.float32)))[
        0
    ].camera
    rest = track.poses(drive_of(1, camera=ahead))[0].camera
    np.testing.assert_allclose(centimetre.t - rest.t, (0.1, -0.2, -0.3), atol=1e-5)


def test_a_torso_is_kept_until_another_is_much_nearer(drive_of):
    recording = wide_recording(60)
    yaw = np.linspace(-0.4, 0.4, 60, dtype=np.float32)
    recording.euler, recording.translation = np.outer(yaw, (0, 1, 0)), np.tile(np.float32([0, 0, -7]), (60, 1))
    track, ahead = DrivenTrack(recording), recording.cameras[0]
    shaking = np.outer(np.sin(np.arange(50)) * 0.02, (1, 1, 1)) + np.array([0, 0.2, 0])
    frames = [pose.frame for pose in track.poses(drive_of(50, camera=ahead, root=shaking))]
    assert len(set(frames)) == 1
    sweep = np.outer(yaw, (0, 1, 0))
    track.reset()
    swept = [pose.frame for pose in track.poses(drive_of(60, camera=ahead, root=sweep))]
    # The recording's poses span 3.5 deviations, of which each change must gain a quarter.
    assert 8 < len(set(swept)) < 20 and len(set(swept)) == 1 + np.count_nonzero(np.diff(swept))
    assert (np.diff(swept) >= 0).all()
    track.reset()
    again = [pose.frame for i in range(60) for pose in track.poses(drive_of(1, i, camera=ahead, root=sweep[i : i + 1]))]
    assert again == swept


def test_turned_cameras_turn_a_driven_head(drive_of):
    """With `--head-rotation camera` the bridge turns the camera, by what the head would turn."""
    recording = wide_recording()
    turn = (0.1, -0.15, 0.1)
    track, ahead = DrivenTrack(recording), recording.cameras[0]
    wanted = track.poses(drive_of(1, camera=ahead, root=[turn]))[0].camera
    moved = ahead.moved(rotvec_to_matrix(np.array(turn)), np.zeros(3))
    track.reset()
    got = track.poses(drive_of(1, camera=moved))[0].camera
    np.testing.assert_allclose(got.R, wanted.R, atol=1e-6)
