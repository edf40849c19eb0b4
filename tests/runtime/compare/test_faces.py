"""Opening, blink and head of landmarks in space: what must not change them, and what must."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marotte.models.flame_numba import HeadEvaluator
from marotte.models.rotations import rotvec_to_matrix
from marotte.runtime.arkit import JAW_OPEN, SLOT
from marotte.runtime.avatar import load_avatar
from marotte.runtime.camera import facing_camera
from marotte.runtime.compare.faces import (
    STILL,
    FaceTracks,
    asked_tracks,
    at_times,
    face_tracks,
    head_angles,
    laid_on,
)
from marotte.runtime.contracts import FacePoints
from marotte.runtime.face_marks import FaceMarks, rest_vertices
from marotte.runtime.lipsync.lips import lip_track
from marotte.runtime.motion import Motion
from marotte.runtime.session import SessionOptions
from marotte.runtime.splats import avatar_head

turns = st.tuples(*(st.floats(-0.6, 0.6) for _ in range(3))).map(np.array)
shifts = st.tuples(*(st.floats(-0.5, 0.5) for _ in range(3))).map(np.array)


@pytest.fixture(scope="module")
def head():
    return HeadEvaluator(avatar_head(load_avatar("demo")))


@pytest.fixture(scope="module")
def rest(head):
    return FaceMarks.of(head.model).points(rest_vertices(head)[None])[0]


@pytest.fixture(scope="module")
def spoken(head):
    """Four faces [4, 68, 3]: at rest, the jaw down, lids shut, and all of it."""
    codes = np.zeros((4, 100), np.float32)
    codes[2:, [SLOT["eyeBlinkLeft"], SLOT["eyeBlinkRight"]]] = 1
    codes[3, SLOT["mouthPucker"]] = 0.5
    pose = np.zeros((4, 15), np.float32)
    pose[[1, 3], 6] = 0.5 * JAW_OPEN[0]
    return FaceMarks.of(head.model).points(head.vertices(codes, pose))


def seen(points, rest, metres=1.0):
    return face_tracks(FacePoints(points, rest, metres, "vertices"))


def test_a_face_says_what_it_does(spoken, rest):
    tracks = seen(spoken, rest)
    assert 0 <= tracks.opening[0] < 1 and 14 < tracks.opening[1] < 22 and tracks.opening[2] < 1
    assert np.allclose(tracks.blink, (0, 0, 1, 1), atol=0.02)
    assert np.abs(tracks.head).max() < 0.2
    assert tracks.lips.shape == (4, 20, 3) and np.allclose(tracks.lips[0], rest[48:] * 1000)


@settings(max_examples=30, deadline=None)
@given(turn=turns, shift=shifts)
def test_where_the_head_is_does_not_count(spoken, rest, turn, shift):
    still, moved = seen(spoken, rest), seen(spoken @ rotvec_to_matrix(turn).T + shift, rest)
    for name in ("opening", "blink", "lips"):
        assert np.allclose(getattr(moved, name), getattr(still, name), atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(turn=turns, shift=shifts)
def test_the_turn_is_found(rest, turn, shift):
    wanted = rotvec_to_matrix(turn)
    found, moved = laid_on((rest[STILL, :] @ wanted.T + shift)[None], rest[STILL, :])
    assert np.allclose(found[0].T, wanted, atol=1e-9) and np.linalg.det(found[0]) == pytest.approx(1)
    assert np.allclose(found[0] @ shift + moved[0], 0, atol=1e-9)
    assert np.allclose(seen((rest @ wanted.T + shift)[None], rest).head, head_angles(wanted[None]), atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(noise=st.integers(0, 2**31), turn=turns)
def test_no_other_turn_brings_points_closer(rest, noise, turn):
    rng = np.random.default_rng(noise)
    target = rest[STILL, :]
    points = (target + rng.normal(0, 0.004, target.shape)) @ rotvec_to_matrix(turn).T
    (best,), (shift,) = laid_on(points[None], target)
    least = np.square(points @ best.T + shift - target).sum()
    for _ in range(5):
        other = rotvec_to_matrix(rng.normal(0, 0.05, 3)) @ best
        left = points @ other.T
        left += target.mean(axis=0) - left.mean(axis=0)
        assert np.square(left - target).sum() >= least - 1e-12


@pytest.mark.parametrize(
    ("turn", "angles"),
    [((0.3, 0, 0), (17.19, 0, 0)), ((0, 0.3, 0), (0, 17.19, 0)), ((0, 0, 0.3), (0, 0, 17.19))],
)
def test_angles_are_right_handed(rest, turn, angles):
    turned = rest @ rotvec_to_matrix(np.array(turn)).T
    assert np.allclose(seen(turned[None], rest).head[0], angles, atol=0.01)
    # Down, to the person's left, and with the crown to the person's right.
    nose = turned[30] - turned[27] - (rest[30] - rest[27])
    crown = turned[27] - turned[8] - (rest[27] - rest[8])
    assert {0: crown[2] > 0, 1: nose[0] > 0, 2: crown[0] < 0}[int(np.argmax(turn))]


def test_a_mirrored_face_opens_as_far_and_turns_the_other_way(spoken, rest):
    turned = spoken @ rotvec_to_matrix(np.array([0.1, 0.3, 0.05])).T
    mirror = np.diag([-1.0, 1.0, 1.0])
    plain, other = seen(turned, rest), seen(turned @ mirror, rest @ mirror)
    assert np.allclose(other.opening, plain.opening) and np.allclose(other.blink, plain.blink)
    assert np.allclose(other.head, plain.head * (1, -1, -1))


def test_units_are_the_worlds(spoken, rest):
    plain, large = seen(spoken, rest), seen(spoken * 4, rest * 4, metres=0.25)
    assert np.allclose(plain.opening, large.opening) and np.allclose(plain.lips, large.lips)


def test_lips_that_cross_are_shut_and_lids_that_cross_too(rest):
    crossed = rest.copy()
    crossed[[61, 62, 63], 1] -= 0.01
    crossed[[37, 38, 43, 44], 1] -= 0.05
    tracks = seen(crossed[None], rest)
    assert tracks.opening[0] == 0 and tracks.blink[0] == 1


def test_a_camera_that_turns_counts(rest):
    straight = facing_camera((0, 0, 0), 1.0, 0.4, (64, 64))
    turn = rotvec_to_matrix(np.array([0.1, 0.2, -0.1]))
    points = FacePoints(rest[None], rest, 1.0, "vertices")
    found = face_tracks(points, [straight.moved(turn, np.zeros(3))], straight)
    assert np.allclose(found.head, head_angles(turn[None])) and np.allclose(face_tracks(points).head, 0, atol=1e-6)
    assert found.opening == face_tracks(points).opening


def test_what_is_not_known_is_not_made_up(spoken, rest):
    gone = spoken.copy()
    gone[1, 30] = np.nan
    tracks = seen(gone, rest)
    for name in ("opening", "blink", "head", "lips"):
        known = np.isfinite(getattr(tracks, name)).reshape(4, -1)
        assert not known[1].any() and known[[0, 2, 3]].all()
    without = rest.copy()
    without[:17] = np.nan
    assert np.allclose(seen(spoken, without).opening, seen(spoken, rest).opening, atol=0.1)
    without[[27, 28, 29, 30, 36]] = np.nan
    assert np.isnan(seen(spoken, without).opening).all()
    shut = rest.copy()
    shut[[37, 38]] = shut[[41, 40]]
    assert np.isnan(seen(spoken, shut).blink).all() and np.isfinite(seen(spoken, shut).opening).all()


def test_one_pair_that_is_known_is_enough(spoken, rest):
    some = spoken.copy()
    some[:, [61, 65]] = np.nan
    assert np.isfinite(seen(some, rest).opening).all()
    some[:, 62] = np.nan
    assert np.isnan(seen(some, rest).opening).all()


def test_batches_join(spoken, rest):
    whole = seen(spoken, rest)
    joined = FaceTracks.joined([seen(spoken[:1], rest), seen(spoken[1:1], rest), seen(spoken[1:], rest)])
    assert len(joined) == 4
    for name in ("opening", "blink", "head", "lips"):
        assert np.array_equal(getattr(joined, name), getattr(whole, name))
    assert len(FaceTracks.unknown(3)) == 3 and np.isnan(FaceTracks.unknown(3).lips).all()


def talking(frames=40, basis="arkit52", **tracks) -> Motion:
    rng = np.random.default_rng(0)
    codes = np.zeros((frames, 106), np.float32)
    codes[:, [SLOT["mouthClose"], SLOT["mouthFunnel"]]] = rng.random((frames, 2)) * 0.3
    codes[:, 100:103] = rng.normal(0, 0.1, (frames, 3))
    codes[:, 103] = rng.random(frames) * 0.4
    return Motion(codes, Fraction(50), basis, **tracks)


def test_what_is_asked_is_what_lips_measure():
    motion, avatar = talking(), load_avatar("demo")
    asked = asked_tracks(motion, avatar)
    assert asked.words == "on the head of demo"
    ends = np.zeros((2, 106), np.float32)
    ends[1, 103] = JAW_OPEN[0]
    full = asked_tracks(Motion(ends, Fraction(1), "arkit52"), avatar).opening[1]
    # There the head is held still by its joints, here by its face.
    assert np.allclose(asked.opening / full, lip_track(motion).gap, atol=0.01)
    assert np.allclose(asked.head, head_angles(rotvec_to_matrix(motion.head.astype(float))))
    lids = np.linspace(0, 1, 40)
    blinking = talking(eyelids=np.stack([lids, lids], axis=1))
    assert np.corrcoef(asked_tracks(blinking, avatar).blink, lids)[0, 1] > 0.98


def test_what_conditions_a_motion_does_not_count():
    motion, avatar = talking(), load_avatar("demo-basil")
    plain = asked_tracks(motion, avatar)
    loud = asked_tracks(motion, avatar, SessionOptions(expression_gain=2.0, head_rotation="root"))
    assert np.array_equal(plain.opening, loud.opening) and np.array_equal(plain.head, loud.head)
    assert not np.array_equal(plain.opening, asked_tracks(motion, load_avatar("demo")).opening)


def test_without_a_head_the_demos_speaks():
    motion = talking()
    asked = asked_tracks(motion, load_avatar("demo-talker"))
    assert asked.words == "on the head of demo"
    assert np.array_equal(asked.opening, asked_tracks(motion, load_avatar("demo")).opening)


def test_expressions_that_reach_no_head_ask_for_nothing_known():
    motion = talking(basis="flame2020")
    asked = asked_tracks(motion, load_avatar("demo"))
    assert np.isnan(asked.opening).all() and np.isnan(asked.blink).all() and "flame2020" in asked.words
    assert np.isfinite(asked.head).all()
    jaw = asked_tracks(motion, load_avatar("demo"), SessionOptions(basis_approx="jaw+head"))
    assert jaw.opening.max() > 10 and "jaw+head" in jaw.words


def test_a_motion_of_no_frames_asks_for_nothing():
    asked = asked_tracks(talking(0), load_avatar("demo"))
    assert asked.opening.shape == (0,) and asked.head.shape == (0, 3)


def test_tracks_come_to_another_rate_by_time():
    assert at_times(np.arange(5.0), Fraction(50), Fraction(25), 4).tolist() == [0, 2, 4, 4]
    assert at_times(np.arange(3.0), Fraction(25), Fraction(50), 6).tolist() == [0, 0.5, 1, 1.5, 2, 2]
    same = np.random.default_rng(0).normal(size=(7, 3))
    same[3] = np.nan
    assert np.array_equal(at_times(same, Fraction(30), Fraction(30), 7), same, equal_nan=True)
    assert at_times(np.array([4.0]), Fraction(1), Fraction(25), 3).tolist() == [4, 4, 4]
    assert np.isnan(at_times(np.zeros((0, 3)), Fraction(1), Fraction(25), 2)).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60))
def test_a_line_stays_a_line(fps, wanted):
    line = np.arange(3 * fps) / fps
    frames = 2 * wanted
    assert np.allclose(at_times(line, Fraction(fps), Fraction(wanted), frames), np.arange(frames) / wanted)


@pytest.mark.parametrize(
    "actions",
    [("eyeBlinkLeft", "eyeBlinkRight"), ("eyeSquintLeft",), ("noseSneerLeft", "noseSneerRight"), ("mouthFunnel",)],
)
def test_what_a_face_does_does_not_turn_its_head(head, rest, actions):
    codes = np.zeros((1, 100), np.float32)
    codes[:, [SLOT[action] for action in actions]] = 1
    points = FaceMarks.of(head.model).points(head.vertices(codes, np.zeros((1, 15), np.float32)))
    assert np.abs(seen(points, rest).head).max() < 0.15
