"""Lips measured on a head model."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.models.flame import FlameModel
from marotte.models.flame_landmarks import Embedding, Landmarks
from marotte.models.flame_numba import HeadEvaluator
from marotte.runtime.arkit import JAW_OPEN, SLOT
from marotte.runtime.avatar import load_avatar
from marotte.runtime.lipsync.lips import Lips, lip_track
from marotte.runtime.motion import Motion


def motion(*faces: dict[str, float], fps: Fraction = Fraction(50), basis: str = "arkit52") -> Motion:
    """One frame for each face: actions by name, and `jaw` as a share of full opening."""
    codes = np.zeros((len(faces), 106), np.float32)
    for code, face in zip(codes, faces, strict=True):
        for name, weight in face.items():
            if name == "jaw":
                code[103:106] = JAW_OPEN * weight
            else:
                code[SLOT[name]] = weight
    return Motion(codes, fps, basis)


def pair(name: str, weight: float) -> dict[str, float]:
    return {name + "Left": weight, name + "Right": weight}


def random_motion(frames: int = 30) -> Motion:
    rng = np.random.default_rng(0)
    codes = np.zeros((frames, 106), np.float32)
    codes[:, :52] = rng.random((frames, 52)) * 0.4
    codes[:, 103] = rng.random(frames) * 0.4
    return Motion(codes, Fraction(50), "arkit52")


def test_the_gap_goes_from_rest_to_full_opening():
    track = lip_track(motion({}, {"jaw": 0.25}, {"jaw": 0.5}, {"jaw": 1.0}, fps=Fraction(25)))
    assert track.gap[0] < 0.05
    assert track.gap[3] == pytest.approx(1)
    assert (np.diff(track.gap) > 0.15).all()
    assert track.fps == 25 and track.seconds.tolist() == [0, 0.04, 0.08, 0.12] and len(track) == 4


def test_lips_that_meet_over_an_open_jaw_are_closed():
    track = lip_track(motion({"jaw": 0.4}, {"jaw": 0.4, "mouthClose": 0.4}, {"mouthClose": 0.5}, pair("mouthPress", 1)))
    assert track.gap[0] > 0.3
    assert (track.gap[1:] < 0.05).all() and (track.gap >= 0).all()


def test_rounded_lips_are_told_from_spread_ones():
    faces = [{}, {"mouthPucker": 1}, {"mouthFunnel": 1}, pair("mouthSmile", 1), pair("mouthStretch", 1)]
    track = lip_track(motion(*faces))
    assert track.rounding[0] == pytest.approx(0, abs=1e-6) and track.width[0] == pytest.approx(1)
    assert (track.rounding[1:3] > 0.1).all() and (track.rounding[3:] < -0.1).all()
    assert (track.width[1:3] < 1).all() and (track.width[3:] > 1).all()


def test_where_the_head_is_does_not_count():
    still = random_motion()
    rng = np.random.default_rng(1)
    codes = still.codes.copy()
    codes[:, 100:103] = rng.normal(0, 0.3, (30, 3))
    moved = replace(
        still,
        codes=codes,
        neck=rng.normal(0, 0.2, (30, 3)),
        translation=rng.normal(0, 0.1, (30, 3)),
        eyelids=rng.random((30, 2)),
    )
    for name in ("gap", "width", "rounding"):
        assert np.array_equal(getattr(lip_track(moved), name), getattr(lip_track(still), name))


def test_the_small_head_moves_as_the_whole_one():
    avatar, moving = load_avatar("demo"), random_motion()
    model = FlameModel.load(avatar.head_path)
    pose = np.zeros((31, 15), np.float32)
    pose[:30, 6:9] = moving.jaw
    pose[30, 6:9] = JAW_OPEN
    expression = np.concatenate([moving.expression, np.zeros((1, 100), np.float32)])
    points = model.landmarks3d(HeadEvaluator(model).vertices(expression, pose)).astype(float)
    gap = np.maximum(points[:, 61:64, 1] - points[:, [67, 66, 65], 1], 0).max(1)
    # float32 in another order of vertices
    assert Lips(avatar).track(moving).gap == pytest.approx(gap[:30] / gap[30], abs=1e-5)


@pytest.mark.parametrize("name", ["demo-basil", "demo-imara"])
def test_other_faces_have_lips_of_their_own(name):
    faces = motion({}, {"jaw": 1}, {"mouthPucker": 1})
    track, demo = lip_track(faces, name), lip_track(faces)
    assert track.gap[0] < 0.06 and track.gap[1] == pytest.approx(1) and track.rounding[2] > 0.1
    assert abs(track.rounding[2] - demo.rounding[2]) > 1e-4


def test_a_motion_of_no_frames_has_no_lips():
    assert len(lip_track(random_motion()[:0])) == 0


@pytest.fixture
def made(tmp_path):
    """Makes an avatar of the demo head with other landmarks."""

    def make(landmarks: Landmarks | None):
        demo = load_avatar("demo")
        head = FlameModel.load(demo.head_path)
        replace(head, landmarks=landmarks and landmarks.merged(Landmarks())).save(tmp_path / "head.npz")
        return replace(demo, path=tmp_path, name="made", files={})

    return make


def test_the_landmarks_without_a_jaw_line_do_as_well(made):
    whole = FlameModel.load(load_avatar("demo").head_path).landmarks.full68
    avatar = made(Landmarks(static51=Embedding(whole.faces[17:], whole.bary[17:])))
    moving = random_motion()
    assert Lips(avatar).track(moving).gap == pytest.approx(lip_track(moving).gap, abs=2e-3)  # directions in float16


def test_a_head_without_a_mouth_is_refused(made):
    with pytest.raises(MarotteError, match="landmarks"):
        Lips(made(None))
    with pytest.raises(MarotteError, match="no head model"):
        Lips(replace(load_avatar("demo"), head=""))


def test_motion_of_another_basis_is_refused():
    with pytest.raises(MarotteError, match="flame2020"):
        lip_track(motion({}, basis="flame2020"))
