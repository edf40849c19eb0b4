"""From motion to one avatar's conventions."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.runtime.arkit import ACTIONS, JAW_OPEN, SLOT, jaw_rotation, look_weights
from marotte.runtime.avatar import Avatar
from marotte.runtime.bridge import Bridge, MotionOptions, condition
from marotte.runtime.camera import facing_camera
from marotte.runtime.motion import Motion

AVATAR = Avatar(name="test", path=Path("."), renderer="mesh", basis="arkit52")
CAMERA = facing_camera((0, 0, 0), 1.0, 0.4, (64, 64))


def motion(basis: str = "arkit52", frames: int = 3, **extras) -> Motion:
    codes = np.random.default_rng(0).random((frames, 106)).astype(np.float32) * 0.3
    codes[:, len(ACTIONS) : 100] = 0
    return Motion(codes, Fraction(25), basis, **extras)


def test_options_off_change_nothing():
    assert condition(one := motion(), MotionOptions()) is one


def test_jaw_pitch_keeps_only_opening():
    out = condition(motion(), MotionOptions(jaw="pitch"))
    assert not out.codes[:, 104:106].any() and np.array_equal(out.codes[:, :104], motion().codes[:, :104])


def test_head_motion_scales_everything_that_moves_the_head():
    given = motion(neck=np.ones((3, 3)), translation=np.ones((3, 3)))
    half = condition(given, MotionOptions(head_motion=0.5))
    assert np.allclose(half.head, given.head / 2)
    assert np.allclose(half.neck, 0.5) and np.allclose(half.translation, 0.5)
    still = condition(given, MotionOptions(fix_pose=True))
    assert not still.head.any() and np.array_equal(still.expression, given.expression)


def test_expressiveness_keeps_actions_between_0_and_1():
    out = condition(motion(), MotionOptions(expressiveness=3))
    assert out.expression.max() <= 1 and np.allclose(out.jaw, motion().jaw * 3)
    assert condition(motion("flame2020"), MotionOptions(expressiveness=3)).expression.max() > 0.8
    assert not condition(motion(), MotionOptions(expressiveness=0)).expression.any()


@pytest.mark.parametrize("wrong", [{"jaw": "yaw"}, {"head_motion": 1.1}, {"head_motion": -1}, {"expressiveness": 9}])
def test_wrong_options_are_named(wrong):
    with pytest.raises(MarotteError):
        MotionOptions(**wrong)


def test_head_rotation_goes_where_the_avatar_says():
    given = motion(neck=np.full((3, 3), 0.1))
    for place in ("root", "neck", "camera"):
        bridge = Bridge(replace(AVATAR, head_rotation=place), CAMERA)
        state, cameras = bridge.head_state(given), bridge.cameras(given)
        assert np.array_equal(state.root, given.head if place == "root" else np.zeros((3, 3)))
        assert np.allclose(state.neck, 0.1 + (given.head if place == "neck" else 0))
        assert (cameras[0] is CAMERA) == (place != "camera")
    assert np.array_equal(Bridge(AVATAR, CAMERA, head_rotation="root").head_state(given).root, given.head)
    with pytest.raises(MarotteError, match="head rotation 'hips'"):
        Bridge(AVATAR, CAMERA, head_rotation="hips")


def test_full_pose_is_in_flames_order():
    given = motion(eyes=np.arange(18, dtype=np.float32).reshape(3, 6))
    pose = Bridge(AVATAR, CAMERA).head_state(given).full_pose
    assert np.array_equal(pose[:, 3:6], given.head)  # neck
    assert np.array_equal(pose[:, 6:9], given.jaw)
    assert np.array_equal(pose[:, 9:15], given.eyes)


def test_lids_follow_blinks_and_gaze_in_arkit():
    lids = np.array([[0, 0], [1, 0.25], [0, 0]])
    look = np.zeros((3, 6), np.float32)
    look[2] = np.deg2rad([15, 0, 0, 15, 0, 0])  # both eyes down by half the range
    state = Bridge(AVATAR, CAMERA).head_state(Motion(np.zeros((3, 106)), 25, "arkit52", eyelids=lids, eyes=look))
    assert state.expression[1, SLOT["eyeBlinkLeft"]] == 1 and state.expression[1, SLOT["eyeBlinkRight"]] == 0.25
    assert state.expression[2, SLOT["eyeLookDownLeft"]] == pytest.approx(0.5)
    assert state.expression[2, SLOT["eyeLookUpLeft"]] == 0


def test_look_weights_know_left_from_right():
    to_the_left = np.deg2rad([[0, 30, 0, 0, 30, 0]])
    weights = look_weights(to_the_left)[0]
    assert weights[SLOT["eyeLookOutLeft"]] == pytest.approx(1) and weights[SLOT["eyeLookInRight"]] == pytest.approx(1)
    assert weights[SLOT["eyeLookInLeft"]] == weights[SLOT["eyeLookOutRight"]] == 0


def test_jaw_actions_are_a_rotation():
    assert np.allclose(jaw_rotation(np.array([0.5]), np.array([0.0]), np.array([0.0])), JAW_OPEN / 2)
    assert JAW_OPEN[0] > 0  # opens about +x


def test_a_foreign_basis_is_refused_with_what_would_mend_it():
    bridge = Bridge(AVATAR, CAMERA)
    with pytest.raises(MarotteError, match="flame2020, avatar test has arkit52") as error:
        bridge.head_state(motion("flame2020"))
    assert "FLAME_with_eye.pt" in str(error.value) and "--basis-approx jaw+head" in str(error.value)


def test_the_approximation_is_labelled():
    bridge = Bridge(AVATAR, CAMERA, basis_approx="jaw+head")
    state = bridge.head_state(motion("flame2020"))
    assert not state.expression.any() and state.jaw.any() and state.neck.any()
    assert bridge.approximations("flame2020") == ("flame2020 on arkit52: jaw+head",)
    assert bridge.approximations("arkit52") == ()
    with pytest.raises(MarotteError, match="unknown"):
        Bridge(AVATAR, CAMERA, basis_approx="magic")
