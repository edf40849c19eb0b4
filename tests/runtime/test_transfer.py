"""Motion of one basis on a head of another: a stand-in for FLAME whose truth is known (demos/published_folder.py)."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.models.flame import FlameModel
from marotte.models.flame_numba import HeadEvaluator
from marotte.runtime.arkit import ACTIONS, JAW_OPEN, LOOK_RANGE, SLOT, eye_rotations, look_weights
from marotte.runtime.avatar import SHIPPED
from marotte.runtime.motion import HEAD, JAW, Motion
from marotte.runtime.offline import drive
from marotte.runtime.transfer.solve import solve

SPEECH = Path(__file__).resolve().parents[2] / "demos" / "speech.wav"
# Rows of the 68 landmarks: pairs of the inner lips, and of each lid, left first.
UPPER, LOWER = [61, 62, 63], [67, 66, 65]
LIDS = ((43, 47), (38, 40))
CLOSED = 0.05  # of the gap at full jaw opening, as everywhere
BLINKS = [SLOT["eyeBlinkLeft"], SLOT["eyeBlinkRight"]]


@pytest.fixture(scope="module")
def demo():
    return FlameModel.load(SHIPPED / "demo" / "head.npz")


@pytest.fixture(scope="module")
def flames(published):
    """The stand-in for FLAME 2020 and that for 2023, with 50 coefficients."""
    folder = published / "flame"
    return {
        basis: FlameModel.load(
            folder / name, n_shape=0, n_expression=50, basis=basis, landmarks=folder / "landmark_embedding.npy"
        )
        for basis, name in (("flame2020", "generic_model.pkl"), ("flame2023", "flame2023.pkl"))
    }


@pytest.fixture(scope="module")
def there(demo, flames):
    return solve(demo, flames["flame2020"])


@pytest.fixture(scope="module")
def back(demo, flames):
    return solve(flames["flame2020"], demo)


@pytest.fixture(scope="module")
def speech():
    motion = drive(SPEECH, duration=6)
    codes = motion.codes.copy()
    codes[:, HEAD] = 0
    return replace(motion, codes=codes)


class Face:
    """A head with landmarks, measured in metres."""

    def __init__(self, model):
        self.model, self.head = model, HeadEvaluator(model)
        self.full = self.gap(motion(model.basis, {}, jaw=JAW_OPEN))[0]

    def points(self, moved):
        pose = np.zeros((len(moved), 15), np.float32)
        pose[:, 6:9] = moved.jaw
        vertices = self.head.vertices(moved.expression[:, : self.model.expression_dirs.shape[-1]], pose)
        return self.model.landmarks.full68.points(vertices, self.model.faces).astype(np.float64)

    def gap(self, moved):
        points = self.points(moved)
        return np.maximum(points[:, UPPER, 1] - points[:, LOWER, 1], 0).max(axis=1)

    def lids(self, moved):
        points = self.points(moved)
        return np.stack([np.linalg.norm(points[:, a] - points[:, b], axis=-1) for a, b in LIDS], axis=1)


def motion(basis, weights, *, jaw=(0, 0, 0), **extras):
    codes = np.zeros((1, 106), np.float32)
    for name, weight in weights.items():
        codes[:, SLOT[name]] = weight
    codes[:, JAW] = jaw
    return Motion(codes, Fraction(25), basis, **extras)


def other_person(model):
    """The head on another face: stretched, bent and shifted, all that moves with it."""

    def bent(x):
        wide = 1.08 * x[:, 0] * (1 + 0.8 * (x[:, 1] + 0.02))
        tall = 1.03 * x[:, 1] + 0.003 * np.cos(40 * x[:, 2])
        return np.stack([wide, tall, 0.96 * x[:, 2] + 0.15 * x[:, 1] ** 2 + 0.01], axis=1)

    rest = model.v_template.astype(np.float64)
    steps = 1e-5 * np.eye(3)
    slope = np.stack([(bent(rest + step) - bent(rest - step)) / 2e-5 for step in steps], axis=2)
    carried = {
        name: np.einsum("vij,vjk->vik", slope, getattr(model, name)) for name in ("expression_dirs", "pose_dirs")
    }
    return replace(
        model,
        v_template=bent(rest).astype(np.float32),
        **{name: field.astype(np.float32) for name, field in carried.items()},
    )


def test_two_bases_of_one_mesh_agree_to_rounding_where_one_spans_the_other(flames):
    transfer = solve(flames["flame2020"], flames["flame2023"])
    assert transfer.residual().unexplained < 1e-8 and transfer.residual().largest_mm < 1e-3
    assert transfer.jaw_gain == pytest.approx(1, abs=1e-3) and np.abs(transfer.jaw).max() < 1e-5
    codes = np.random.default_rng(0).normal(size=(4, 106)).astype(np.float32) * 0.5
    codes[:, 50:100] = codes[:, 100:103] = 0
    given = Motion(codes, 25, "flame2020")
    before, after = (Face(flames[b]).points(m) for b, m in (("flame2020", given), ("flame2023", transfer.apply(given))))
    assert np.abs(before - after).max() < 2e-5


def test_one_mesh_without_landmarks_is_solved_all_over(flames):
    bare = [replace(flames[basis], landmarks=None) for basis in ("flame2020", "flame2023")]
    transfer = solve(*bare)
    assert transfer.residual().unexplained < 1e-8 and transfer.residual("face").rms_mm < 1e-3


def test_what_the_target_cannot_do_is_said(flames):
    few = replace(flames["flame2023"], expression_dirs=flames["flame2023"].expression_dirs[..., :5])
    transfer = solve(flames["flame2020"], few)
    assert 0.05 < transfer.residual().unexplained < 1 and transfer.residual("lids").largest_mm > 0.5


def test_arkit_moves_flame_as_it_moves_the_demo_head(there):
    assert there.residual("lips").unexplained < 0.005 and there.residual("lids").unexplained < 0.01
    assert there.residual().unexplained < 0.005 and there.residual("lips").rms_mm < 0.2
    assert there.jaw_gain == pytest.approx(1, abs=0.05)


def test_speech_survives(demo, flames, there, speech):
    ours, theirs = Face(demo), Face(flames["flame2020"])
    moved = there.apply(speech)
    gap, other = ours.gap(speech), theirs.gap(moved)
    assert np.corrcoef(gap, other)[0, 1] > 0.995
    assert other.max() == pytest.approx(gap.max(), rel=0.1)
    closed = gap / ours.full < CLOSED
    assert closed.sum() > 20 and (other[closed] / theirs.full < 1.1 * CLOSED).all()


def test_speech_survives_on_another_persons_face(demo, flames, speech):
    person = other_person(flames["flame2020"])
    transfer = solve(demo, person)
    assert transfer.residual("lips").unexplained < 0.01 and transfer.residual().unexplained < 0.01
    ours, theirs = Face(demo), Face(person)
    gap, other = ours.gap(speech), theirs.gap(transfer.apply(speech))
    assert np.corrcoef(gap, other)[0, 1] > 0.995
    closed = gap / ours.full < CLOSED
    assert (other[closed] / theirs.full < 1.1 * CLOSED).all()
    blink = transfer.apply(motion("arkit52", {}, eyelids=np.ones((1, 2))))
    rest = motion("flame2020", {})
    assert (1 - theirs.lids(blink) / theirs.lids(rest) > 0.65).all()


def test_blinks_shut_flames_lids_as_far_as_the_demo_heads(demo, flames, there):
    ours, theirs = Face(demo), Face(flames["flame2020"])
    shut = motion("arkit52", {"eyeBlinkLeft": 1, "eyeBlinkRight": 1})
    share = 1 - ours.lids(shut) / ours.lids(motion("arkit52", {}))
    other = 1 - theirs.lids(there.apply(shut)) / theirs.lids(motion("flame2020", {}))
    assert (other > 0.9 * share).all() and (share > 0.7).all()


def test_there_and_back_again(demo, there, back, speech):
    home = back.apply(there.apply(speech))
    face = Face(demo)
    before, after = face.points(speech)[:, 17:], face.points(home)[:, 17:]
    moves = np.linalg.norm(before - before[:1], axis=-1)
    assert np.sqrt((np.linalg.norm(after - before, axis=-1) ** 2).mean()) < 0.1 * np.sqrt((moves**2).mean())
    closed = face.gap(speech) / face.full < CLOSED
    assert (face.gap(home)[closed] / face.full < 1.1 * CLOSED).all()
    assert np.abs(home.jaw - speech.jaw).max() < 0.01


def test_weights_stay_between_0_and_1_and_are_better_for_it(demo, flames, back):
    random = np.random.default_rng(1)
    codes = np.zeros((30, 106), np.float32)
    codes[:, :40] = random.normal(size=(30, 40))
    given = Motion(codes, 25, "flame2020")
    weights = back.apply(given).expression[:, : len(ACTIONS)]
    assert weights.min() >= 0 and weights.max() <= 1 + 1e-6
    assert not weights[:, [k for k, name in enumerate(ACTIONS) if name.startswith(("eyeLook", "tongue"))]].any()
    assert not weights[:, [SLOT[name] for name in ("jawOpen", "jawLeft", "jawRight")]].any()
    wanted = Face(flames["flame2020"]).points(given)
    clamped = replace(back, bounds=None).apply(given)
    cut = clamped.codes.copy()
    cut[:, :100] = cut[:, :100].clip(0, 1)
    face = Face(demo)
    missed = [
        np.linalg.norm(face.points(m) - wanted, axis=-1).mean()
        for m in (back.apply(given), replace(clamped, codes=cut))
    ]
    assert missed[0] < 0.95 * missed[1]


@pytest.mark.parametrize("way", ["there", "back"])
def test_a_frame_does_not_depend_on_its_company(way, there, back, speech):
    transfer, given = (there, speech) if way == "there" else (back, there.apply(speech))
    whole = transfer.apply(given)
    for part in (slice(7, 8), slice(20, 33)):
        alone = transfer.apply(given[part])
        assert np.array_equal(alone.codes, whole.codes[part])


def test_lids_are_handed_over_as_such_where_the_head_has_them(demo, flames):
    field = np.zeros_like(demo.v_template)
    head = flames["flame2020"]
    transfer = solve(demo, replace(head, eyelid_fields=(field, field)))
    lids = np.array([[0.2, 0.9]], np.float32)
    out = transfer.apply(motion("arkit52", {"eyeBlinkLeft": 0.5, "eyeBlinkRight": 0.5}, eyelids=lids))
    assert np.allclose(out.eyelids, [[0.5, 0.9]]) and not out.expression.any()
    with pytest.raises(MarotteError, match="how lids shut"):
        transfer.blink()


def test_eyelids_and_gaze_reach_a_head_that_has_only_expression(there):
    lids = np.array([[0.2, 0.9]], np.float32)
    out = there.apply(motion("arkit52", {"eyeBlinkLeft": 0.5, "eyeBlinkRight": 0.5}, eyelids=lids))
    same = there.apply(motion("arkit52", {"eyeBlinkLeft": 0.5, "eyeBlinkRight": 0.9}))
    assert out.eyelids is None and np.array_equal(out.codes, same.codes)
    looks = there.apply(motion("arkit52", {"eyeLookDownLeft": 0.5, "eyeLookDownRight": 0.5}))
    assert np.allclose(looks.eyes[0, [0, 3]], LOOK_RANGE / 2) and not looks.eyes[0, [1, 2, 4, 5]].any()
    assert np.array_equal(looks.codes, there.apply(motion("arkit52", {}, eyes=looks.eyes)).codes)


def test_look_actions_are_eye_rotations_and_back():
    eyes = np.random.default_rng(2).uniform(-0.5, 0.5, (5, 6)).astype(np.float32)
    eyes[:, [2, 5]] = 0
    assert np.allclose(eye_rotations(look_weights(eyes)), eyes, atol=1e-6)


def test_a_blink_adds_what_is_missing_and_no_more(there):
    blink = there.blink()
    random = np.random.default_rng(3)
    face = random.normal(size=(1, 50)).astype(np.float32) * 0.1
    full = blink.added(np.zeros((1, 50), np.float32), np.ones((1, 2)))
    assert np.allclose(blink.shut @ full[0], 1, atol=1e-3)
    assert np.array_equal(blink.added(face, np.zeros((1, 2))), face)
    assert np.allclose(blink.added(full, np.ones((1, 2))), full, atol=1e-3)  # they are shut
    half = 0.5 * blink.columns.sum(axis=0, keepdims=True).astype(np.float32)
    assert np.allclose(blink.added(half, np.full((1, 2), 0.3)), half, atol=1e-3)
    wide = (-0.4 * blink.columns.sum(axis=0, keepdims=True)).astype(np.float32)
    assert np.allclose(blink.shut @ blink.added(wide, np.ones((1, 2)))[0], 1, atol=1e-3)


def test_mouth_close_shuts_an_open_jaw_and_never_bites(there, flames):
    out = there.apply(motion("arkit52", {"mouthClose": 1}))
    assert out.jaw[0, 0] >= 0


def test_a_foreign_motion_is_refused(there):
    with pytest.raises(MarotteError, match="from arkit52 cannot take motion in flame2023"):
        there.apply(motion("flame2023", {}))


def test_the_label_names_bases_method_and_residual(there, flames):
    label, *lines = there.describe()
    assert label.startswith("arkit52 on flame2020 through 68 landmarks: unexplained lips ") and "jaw opening" in label
    assert len(lines) == len(there.residuals) and lines[0].startswith("lips: ") and "mm RMS" in lines[0]
