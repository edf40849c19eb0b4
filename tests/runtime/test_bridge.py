"""From motion to one avatar's conventions."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.runtime.arkit import ACTIONS, JAW_OPEN, SLOT, jaw_rotation, look_weights
from marotte.runtime.avatar import NO_BASIS, Avatar
from marotte.runtime.bridge import Bridge, MotionOptions, condition, expression_level, expression_match
from marotte.runtime.camera import facing_camera
from marotte.runtime.motion import Motion
from marotte.runtime.transfer.transfer import Blink, Residual, Transfer

AVATAR = Avatar(name="test", path=Path("."), renderer="mesh", basis="arkit52")
CAMERA = facing_camera((0, 0, 0), 1.0, 0.4, (64, 64))


FLAME = replace(AVATAR, basis="flame2020", expressions=50)


@pytest.fixture
def transfer() -> Transfer:
    """ARKit's actions are FLAME's first coefficients, doubled; the jaw opens half as far again."""
    expression = np.zeros((50, 100))
    expression[:50, :50] = 2 * np.eye(50)
    return Transfer(
        source="arkit52",
        target="flame2020",
        method="3 landmarks",
        expression=expression,
        jaw=np.zeros((3, 100)),
        jaw_gain=1.5,
        own_lids=False,
        lids=np.zeros((2, 0)),
        bounds=None,
        residuals=(Residual("lips", 0.123, 0.5, 1.0),),
    )


@pytest.fixture
def blink() -> Blink:
    """Coefficients 10 and 11 are the lids."""
    columns = np.zeros((2, 50))
    columns[[0, 1], [10, 11]] = 3.0
    return Blink(columns, columns / 9, "3 landmarks")


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


def test_a_transfer_is_used_for_its_basis_and_labelled(transfer):
    bridge, given = Bridge(FLAME, CAMERA, transfer=transfer), motion()
    state = bridge.head_state(given)
    slots = [SLOT["mouthFunnel"], SLOT["browInnerUp"]]
    assert np.allclose(state.expression[:, slots], 2 * given.expression[:, slots], rtol=1e-6)
    assert np.allclose(state.jaw[:, 0], 1.5 * given.jaw[:, 0]) and np.array_equal(state.jaw[:, 1:], given.jaw[:, 1:])
    assert np.array_equal(state.neck, given.head)
    (label,) = bridge.approximations("arkit52")
    assert label.startswith("arkit52 on flame2020 through 3 landmarks: unexplained lips 12 %")
    own = motion("flame2020")
    assert np.array_equal(bridge.head_state(own).expression, own.expression[:, :50])
    assert bridge.approximations("flame2020") == ()
    with pytest.raises(MarotteError, match="flame2023, avatar test has flame2020"):
        bridge.check("flame2023")


def test_what_is_asked_for_goes_before_a_transfer(transfer):
    bridge = Bridge(FLAME, CAMERA, transfer=transfer, basis_approx="jaw+head")
    assert not bridge.head_state(motion()).expression.any()
    assert bridge.approximations("arkit52") == ("arkit52 on flame2020: jaw+head",)


def test_a_transfer_to_another_basis_is_refused(transfer):
    with pytest.raises(MarotteError, match="to flame2020 is not for avatar test, in arkit52"):
        Bridge(AVATAR, CAMERA, transfer=transfer)


def test_the_error_says_why_no_transfer_was_found():
    with pytest.raises(MarotteError) as error:
        Bridge(AVATAR, CAMERA, no_transfer="the cellar is empty").check("flame2020")
    assert "--flame FILE" in str(error.value) and "(the cellar is empty)" in str(error.value)


def test_blinks_show_as_expression_on_a_head_without_lids(blink, transfer):
    lids = np.array([[0, 0], [1, 0.5], [0, 0]], np.float32)
    still = Motion(np.zeros((3, 106)), 25, "flame2020", eyelids=lids)
    plain, blinking = Bridge(FLAME, CAMERA), Bridge(FLAME, CAMERA, blink=blink)
    assert not plain.head_state(still).expression.any() and np.array_equal(plain.head_state(still).eyelids, lids)
    state = blinking.head_state(still)
    assert np.allclose(state.expression[:, [10, 11]], 3 * lids) and not state.eyelids.any()
    assert blinking.approximations("flame2020") == ("blinks as expression: arkit52 on flame2020 through 3 landmarks",)
    shut = Motion(np.eye(106, dtype=np.float32)[[10]] * 3, 25, "flame2020", eyelids=lids[1:2])
    assert np.allclose(blinking.head_state(shut).expression[0, [10, 11]], [3, 1.5])  # the left one was shut already
    both = Bridge(FLAME, CAMERA, blink=blink, transfer=transfer)
    assert len(both.approximations("arkit52")) == 1  # the transfer's own blinks


def test_expression_is_matched_within_reason():
    loud = motion("flame2020")
    assert expression_level(loud, 50) == pytest.approx(np.abs(loud.codes[:, :50]).mean())
    assert expression_level(loud[:0]) == 0
    gain, line = expression_match(0.478, 0.564)
    assert gain == pytest.approx(0.564 / 0.478) and "0.478 against 0.564" in line and "kept" not in line
    assert expression_match(0.1, 0.5)[0] == 2 and "not times 5.00" in expression_match(0.1, 0.5)[1]
    assert expression_match(0.5, 0.1)[0] == 0.5
    assert expression_match(0.5, 0)[0] == 1 and expression_match(0, 0.5)[0] == 1


def test_expression_gain_acts_on_the_avatars_basis_and_is_labelled(transfer):
    bridge = Bridge(FLAME, CAMERA, transfer=transfer, expression_gain=1.5)
    given, own = motion(), motion("flame2020")
    slot = SLOT["mouthFunnel"]
    assert np.allclose(bridge.head_state(given).expression[:, slot], 3 * given.expression[:, slot])
    assert np.allclose(bridge.head_state(own).expression, 1.5 * own.expression[:, :50])
    assert np.array_equal(bridge.head_state(own).jaw, own.jaw)
    assert bridge.approximations("flame2020") == ("expression times 1.50",)
    # A blink that shuts the lids would draw them over the cheeks.
    lids, shut = SLOT["eyeBlinkLeft"], motion(eyelids=np.ones((3, 2), np.float32))
    assert np.allclose(bridge.head_state(shut).expression[:, lids], 2)
    strong = Motion(np.full((1, 106), 0.9), 25, "arkit52")
    assert Bridge(AVATAR, CAMERA, expression_gain=2).head_state(strong).expression[:, : len(ACTIONS)].max() == 1
    with pytest.raises(MarotteError, match="expression gain 3 is not between"):
        Bridge(AVATAR, CAMERA, expression_gain=3)


# --- avatars that read no expressions ---------------------------------------------------------------------------------

DEAF = replace(AVATAR, basis=NO_BASIS, expressions=0, head_rotation="root")


@pytest.fixture
def to_actions(transfer) -> Transfer:
    """FLAME's first coefficients are ARKit's actions."""
    return replace(transfer, source="flame2020", target="arkit52", expression=np.eye(52, 100))


def test_lids_of_an_avatar_without_a_basis():
    codes = np.zeros((3, 106), np.float32)
    codes[1, SLOT["eyeBlinkLeft"]] = 0.7
    lids = np.array([[0, 0], [0.5, 0.5], [1, 0.2]])
    state = Bridge(DEAF, CAMERA).head_state(Motion(codes, 25, "arkit52", eyelids=lids))
    assert np.allclose(state.eyelids, [[0, 0], [0.7, 0.5], [1, 0.2]]) and state.expression.shape == (3, 0)
    flame = Bridge(DEAF, CAMERA)
    flame.check("flame2020")
    assert np.allclose(flame.head_state(Motion(codes, 25, "flame2020", eyelids=lids)).eyelids, lids)
    assert flame.approximations("flame2020") == ()


def test_blinks_in_flame_shut_the_lids_through_a_transfer(to_actions):
    bridge = Bridge(DEAF, CAMERA, transfer=to_actions)
    codes = np.zeros((2, 106), np.float32)
    codes[0, SLOT["eyeBlinkRight"]] = 0.9
    codes[0, SLOT["jawForward"]] = 0.4
    lids = np.array([[0.3, 0], [0, 0]])
    state = bridge.head_state(Motion(codes, 25, "flame2020", eyelids=lids))
    assert np.allclose(state.eyelids, [[0.3, 0.9], [0, 0]]) and state.expression.shape == (2, 0)
    assert bridge.approximations("flame2020") == ("blinks in flame2020 as arkit52's through 3 landmarks",)
    assert bridge.approximations("arkit52") == ()
    with pytest.raises(MarotteError, match="a transfer to flame2020 is not for avatar test"):
        Bridge(DEAF, CAMERA, transfer=replace(to_actions, source="arkit52", target="flame2020"))
