"""Two motions compared: the figures are those of a slow, literal reading of their definitions."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.models.flame import FlameModel
from marotte.runtime.arkit import SLOT
from marotte.runtime.avatar import load_avatar
from marotte.runtime.motion import Motion
from marotte.runtime.motion_compare import DEFINITIONS, Comparison, compare, correlation, describe, lag_frames
from marotte.runtime.motion_head import MeasuredHead

FPS = Fraction(25)


def speech(frames: int = 120, late: float = 0.0, fps: float = 25.0) -> np.ndarray:
    """A jaw [frames] that opens and shuts as in speech, `late` seconds late."""
    seconds = np.arange(frames) / fps - late
    tones = ((1.1, 0.3), (2.3, 1.7), (3.9, 2.2), (0.6, 0.1))
    return 0.12 + 0.025 * sum(np.sin(2 * np.pi * f * seconds + phase) for f, phase in tones)


def moving(seed: int = 0, *, late: float = 0.0, frames: int = 120, fps: Fraction = FPS) -> Motion:
    random = np.random.default_rng(seed)
    codes = np.zeros((frames, 106), np.float32)
    for name in ("browInnerUp", "browDownLeft", "mouthPucker", "mouthSmileLeft"):
        codes[:, SLOT[name]] = random.uniform(0, 1, frames)
    codes[:, 103] = speech(frames, late, float(fps))
    codes[:, 100:103] = random.uniform(-0.3, 0.3, (frames, 3))
    return Motion(codes, fps, "arkit52")


@pytest.fixture(scope="module")
def demo() -> MeasuredHead:
    return MeasuredHead.load("demo")


@pytest.fixture(scope="module")
def model() -> FlameModel:
    return FlameModel.load(load_avatar("demo").head_path)


def posed(model: FlameModel, motion: Motion) -> np.ndarray:
    """All vertices [T, V, 3] in mm, by the readable form of the model; the head is still."""
    pose = np.zeros((len(motion), 6), np.float32)
    pose[:, 3:] = motion.jaw
    return model.artalk(np.zeros((1, 0), np.float32), motion.expression, pose).astype(np.float64) * 1000


def test_the_figures_are_their_definitions(demo, model):
    first, second = moving(0), moving(1)
    found = compare(first, second, demo)
    a, b = posed(model, first), posed(model, second)
    lips = model.masks["lips"]
    distance = np.sqrt(((a[:, lips] - b[:, lips]) ** 2).sum(axis=-1))
    assert found.lip_vertex_error_mm2 == pytest.approx((distance.max(axis=1) ** 2).mean(), rel=1e-4)
    assert found.lip_vertex_distance_mm == pytest.approx(distance.max(axis=1).mean(), rel=1e-4)
    assert found.lip_vertex_mean_mm == pytest.approx(distance.mean(), rel=1e-4)

    masks = [model.masks[f"{part}_{side}"] for part in ("brow", "lids") for side in ("left", "right")]
    upper = np.setdiff1d(
        np.concatenate(masks), np.concatenate([model.masks[f"{s}_eyeball"] for s in ("left", "right")])
    )
    neutral = posed(model, Motion(np.zeros((1, 106)), FPS, "arkit52"))[0, upper]
    dynamics = [np.linalg.norm(v[:, upper] - neutral, axis=-1).std(axis=0).mean() for v in (a, b)]
    assert found.upper_face_dynamics_mm == pytest.approx(dynamics, rel=1e-4)
    assert found.upper_face_deviation_mm == pytest.approx(dynamics[1] - dynamics[0], abs=1e-5)

    points = [model.landmarks3d(v.astype(np.float32)) for v in (a, b)]
    gaps = [
        np.maximum(np.max([p[:, up, 1] - p[:, low, 1] for up, low in ((61, 67), (62, 66), (63, 65))], axis=0), 0)
        for p in points
    ]
    assert found.mouth_opening_difference_mm == pytest.approx(np.abs(gaps[0] - gaps[1]).mean(), rel=1e-3)
    assert found.opening_correlation == pytest.approx(np.corrcoef(*gaps)[0, 1], abs=1e-4)
    bend = np.linalg.norm(np.diff(a[:, lips], n=2, axis=0), axis=-1).mean()
    assert found.jitter_lips_mm[0] == pytest.approx(bend, rel=1e-3)


def test_the_dimensions():
    codes = np.zeros((50, 106), np.float32)
    codes[:, 3] = np.linspace(0, 1, 50)
    other = codes.copy()
    other[:, 3] *= -0.5
    other[10, 105] = np.deg2rad(5)
    found = compare(Motion(codes, FPS, "flame2020"), Motion(other, FPS, "flame2020"))
    assert len(found.dimensions) == 106
    row = found.dimensions[3]
    assert (row["name"], row["correlation"]) == ("expression 3", pytest.approx(-1))
    assert (row["mean"], row["largest"]) == (pytest.approx(0.75), pytest.approx(1.5))
    turned = found.dimensions[105]
    assert turned["largest"] == pytest.approx(5) and turned["mean"] == pytest.approx(0.1)
    assert (turned["unit"], turned["correlation"]) == ("degrees", None)
    assert found.jaw_mean_degrees == pytest.approx(0.1 / 3) and found.expression_mean == pytest.approx(0.0075)


def test_a_motion_against_itself(demo):
    found = compare(moving(), moving(), demo)
    assert found.lip_vertex_error_mm2 == found.upper_face_deviation_mm == found.mouth_opening_difference_mm == 0
    assert found.opening_correlation == pytest.approx(1) and found.lag_ms == pytest.approx(0, abs=1e-6)
    assert found.notes == () and found.jitter_lips_mm[0] == found.jitter_lips_mm[1] > 0


def test_head_motion_and_extras_do_not_count_on_the_head(demo):
    first = moving()
    codes = first.codes.copy()
    codes[:, 100:103] += 0.5
    eyes = np.full((len(first), 6), 0.3)
    second = replace(first, codes=codes, eyes=eyes, eyelids=np.ones((len(first), 2)))
    found = compare(first, second, demo)
    assert found.lip_vertex_error_mm2 == found.upper_face_deviation_mm == 0
    assert found.head_mean_degrees == pytest.approx(np.rad2deg(0.5), rel=1e-4)


def test_the_stiller_face_has_the_deviation_above_zero(demo):
    loud = moving()
    codes = loud.codes.copy()
    codes[:, :100] *= 0.5
    found = compare(replace(loud, codes=codes), loud, demo)
    assert found.upper_face_deviation_mm > 0
    assert compare(loud, replace(loud, codes=codes), demo).upper_face_deviation_mm == -found.upper_face_deviation_mm


def test_batches_do_not_change_the_figures(demo, monkeypatch):
    whole = compare(moving(0), moving(1), demo)
    monkeypatch.setattr("marotte.runtime.motion_head._BATCH", 7)
    parts = compare(moving(0), moving(1), demo)
    for name in ("lip_vertex_error_mm2", "upper_face_dynamics_mm", "mouth_opening_difference_mm", "jitter_lips_mm"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name), rel=1e-5)


# --- lag ---


@pytest.mark.parametrize("late", [-0.31, -0.087, -0.01, 0.0, 0.013, 0.04, 0.25])
def test_the_lag_is_finer_than_a_frame(late):
    found = compare(moving(late=late), moving())
    assert found.lag_ms == pytest.approx(late * 1000, abs=3)
    assert found.opening_by == "jaw rotation"


def test_the_lag_through_the_lips(demo):
    found = compare(moving(late=0.1), moving(), demo)
    assert found.opening_by == "lips' gap" and found.lag_ms == pytest.approx(100, abs=12)


@pytest.mark.parametrize("track", [np.full(60, 0.3), np.zeros(60), -speech(60), np.arange(60.0)])
def test_where_no_lag_can_be_told(track):
    """Still tracks, one that does the opposite within the window, and one whose best shift is at the end of it."""
    assert lag_frames(track, speech(60) if track[1] != 1 else np.roll(track, 40), 1) is None


def test_too_few_frames_tell_no_lag():
    assert lag_frames(speech(12), speech(12), 5) is None


def test_no_correlation_with_what_is_still():
    assert correlation(np.full(60, np.float64(np.float32(0.1))), speech(60)) is None
    assert correlation(0.1 + 1e-9 * speech(60), speech(60)) is None
    assert correlation(speech(60), -2 * speech(60)) == pytest.approx(-1)


# --- rates, lengths, bases ---


def test_another_rate_is_brought_to_the_first(demo):
    found = compare(
        moving(fps=Fraction(25)), Motion(moving(frames=240, fps=Fraction(50)).codes, Fraction(50), "arkit52")
    )
    assert "the second motion was brought from 50 to 25 fps" in found.notes
    jaw = found.dimensions[103]
    assert found.frames == 120 and jaw["largest"] < 0.05 and found.lag_ms == pytest.approx(0, abs=2)


def test_the_common_part_is_compared():
    long, short = moving(), moving()[:77]
    found = compare(long, short)
    assert found.frames == 77 and found.jaw_mean_degrees == 0
    assert found.notes[0] == "compared over the 77 frames that both have; the first motion has 43 more"
    with pytest.raises(MarotteError, match="has no frames"):
        compare(long, short[:0])
    single = compare(long[:1], short)
    assert single.lag_ms is None and single.jitter_jaw_degrees == (0, 0)


def test_bases_do_not_mix(demo):
    flame = Motion(moving().codes, FPS, "flame2020")
    with pytest.raises(MarotteError, match=r"first motion is in arkit52, the second in flame2020.*one basis"):
        compare(moving(), flame)
    with pytest.raises(MarotteError, match=r"motions are in flame2020, the head demo is in arkit52"):
        compare(flame, flame, demo)


def test_an_avatar_is_measured_with_its_own_shape(tmp_path, model, demo):
    head_file = load_avatar("demo").path / "head.npz"
    told = 'name = "one"\nrenderer = "mesh"\nbasis = "arkit52"\nshape = "shape.npy"\n'
    (tmp_path / "avatar.toml").write_text(told + f"head = {str(head_file)!r}\n")
    np.save(tmp_path / "shape.npy", np.full(8, 1.5, np.float32))
    head = MeasuredHead.load(tmp_path)
    assert np.abs(head.rest.lips - demo.rest.lips).max() > 0.1
    assert compare(moving(0), moving(1), head).lip_vertex_error_mm2 > 0


# --- regions ---


def test_regions_by_landmarks_are_near_those_by_masks(model):
    plain = MeasuredHead(replace(model, masks={}), "plain")
    assert "lip landmarks (48 to 67)" in plain.lips_by and "brow landmarks (17 to 26)" in plain.upper_by
    lips = plain.rest.lips[0]
    mask = model.v_template[model.masks["lips"]].astype(np.float64) * 1000
    # What was found is on the lips or within the reach around them, and reaches both corners of the mouth.
    nearest = np.sqrt(((lips[:, None] - mask) ** 2).sum(axis=-1)).min(axis=1)
    assert nearest.max() < 10 and np.ptp(lips[:, 0]) > 0.9 * np.ptp(mask[:, 0])
    eyes = model.landmarks.full68.points(model.v_template[None], model.faces)[0, 36:48, 1] * 1000
    assert plain.rest.upper[0][:, 1].min() > eyes.min() and len(plain.rest.upper[0]) > 50
    found = compare(moving(0), moving(1), plain)
    assert found.lip_vertex_error_mm2 > 0 and found.upper_face_deviation_mm is not None


def test_what_a_head_has_not_is_named(model):
    bare = MeasuredHead(replace(model, masks={}, landmarks=None), "bare")
    found = compare(moving(0), moving(1), bare)
    assert any("bare has neither masks nor landmarks for lips and an upper face" in note for note in found.notes)
    assert found.lip_vertex_error_mm2 is None and found.mouth_opening_difference_mm is None
    assert found.opening_by == "jaw rotation" and found.lag_ms is not None
    assert describe(found)
    only = MeasuredHead(replace(model, landmarks=None), "masks")
    found = compare(moving(0), moving(1), only)
    assert found.lip_vertex_error_mm2 > 0 and found.mouth_opening_difference_mm is None


def test_every_figure_is_defined():
    fields = {name for name in Comparison.__dataclass_fields__ if name not in ("frames", "fps", "basis", "notes")}
    told = {name.removesuffix("_mm2").removesuffix("_mm").removesuffix("_degrees") for name in fields}
    for name in told - {"lips_by", "upper_by", "opening_by"}:
        stem = "dimensions" if name in ("expression_mean", "head_mean", "jaw_mean") else name
        stem = "jitter" if stem.startswith("jitter") else stem
        assert stem in DEFINITIONS
