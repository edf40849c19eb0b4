from fractions import Fraction

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from marotte.errors import MarotteError
from marotte.runtime import picture_metrics
from marotte.runtime.compare.pairs import HEAT_MOST, PairMeter, landmark_distance, ssim_bytes

FPS = Fraction(25)


@pytest.fixture(scope="module")
def picture():
    """Blobs of colour [96, 80, 3], with plain parts between them."""
    noise = gaussian_filter(np.random.default_rng(3).normal(size=(96, 80, 3)), (4, 4, 0))
    return np.clip(128 + 900 * noise, 0, 255).astype(np.uint8)


def one(a, b, **told):
    meter = PairMeter(FPS, **told)
    meter.add(a, b)
    return {name: values[0] for name, values in meter.tracks.items()}


def test_equal_pictures_are_exactly_equal(picture):
    for other in (picture, picture.copy()):
        found = one(picture, other, box=(10, 10, 40, 40))
        assert found == {"psnr": 100.0, "difference": 0.0, "ssim": 1.0, "psnr_head": 100.0}


def test_figures_are_those_of_picture_metrics(picture):
    other = np.roll(picture, 1, axis=1)
    a, b = picture / 255, other / 255
    found = one(picture, other, box=(10, 20, 50, 90))
    assert found["psnr"] == pytest.approx(picture_metrics.psnr(a, b), abs=1e-9)
    assert found["psnr_head"] == pytest.approx(picture_metrics.psnr(a[20:90, 10:50], b[20:90, 10:50]), abs=1e-9)
    assert found["difference"] == pytest.approx(abs(picture.astype(float) - other).mean(), abs=1e-12)
    assert found["ssim"] == pytest.approx(picture_metrics.ssim(a, b), abs=1e-4)


@pytest.mark.parametrize("kind", ["noise", "plain", "small", "contrast"])
def test_the_quick_ssim_is_the_slow_one(kind):
    rng = np.random.default_rng(1)
    a = {
        "noise": rng.integers(0, 256, (70, 41, 3)),
        "plain": np.full((40, 40, 3), 250),
        "small": rng.integers(0, 256, (3, 5, 3)),
        "contrast": 255 * rng.integers(0, 2, (33, 64, 3)),
    }[kind].astype(np.uint8)
    b = a.copy()
    b[1:3, 2:4] ^= 1
    b[::2] = np.clip(b[::2].astype(int) + rng.integers(-3, 4, b[::2].shape), 0, 255)
    assert ssim_bytes(a, b) == pytest.approx(picture_metrics.ssim(a / 255, b / 255), abs=1e-4)


def test_mirrors_and_views_are_taken_as_they_are(picture):
    mirrored = picture[:, ::-1]
    assert one(picture, mirrored) == one(picture, mirrored.copy())
    assert one(picture, mirrored)["psnr"] < 20
    assert one(picture[::-1], picture[::-1])["psnr"] == 100


def test_largest_difference():
    white, black = (np.full((600, 600, 3), value, np.uint8) for value in (255, 0))
    found = one(white, black)
    assert found["psnr"] == pytest.approx(0) and found["difference"] == 255


def test_slow_ones_come_five_times_a_second(picture):
    meter = PairMeter(FPS)
    for _ in range(11):
        meter.add(picture, np.roll(picture, 1, axis=0))
    assert list(np.flatnonzero(np.isfinite(meter.tracks["ssim"]))) == [0, 5, 10]
    assert np.isfinite(meter.tracks["psnr"]).all() and len(meter) == 11
    assert set(meter.tracks) == {"psnr", "difference", "ssim"}


def test_frames_that_are_not_there_are_nan(picture):
    meter = PairMeter(FPS, box=(np.nan,) * 4)
    meter.add(picture, None)
    meter.add(None, picture)
    assert all(np.isnan(values).all() and len(values) == 2 for values in meter.tracks.values())
    assert meter.worst() == []
    with pytest.raises(MarotteError, match="no two pictures"):
        meter.heatmap()
    meter.add(picture, 255 - picture)
    assert np.isfinite(meter.tracks["psnr"][2]) and np.isnan(meter.tracks["psnr_head"][2])


def test_two_sizes_are_refused(picture):
    with pytest.raises(MarotteError, match="align them"):
        PairMeter(FPS).add(picture, picture[1:])


def test_the_worst_moments_lie_apart(picture):
    meter = PairMeter(FPS)
    for frame in range(60):
        other = picture.copy()
        other[:, : {10: 30, 11: 40, 12: 20, 50: 10}.get(frame, 0)] ^= 16
        meter.add(picture, other)
    assert [worst.frame for worst in meter.worst()] == [11, 50]
    assert [worst.frame for worst in meter.worst(1)] == [11]
    assert meter.worst()[0].difference == pytest.approx(8)


def test_the_map_shows_where(picture):
    other = picture.copy()
    other[10:20, 30:50] ^= 64
    meter = PairMeter(FPS)
    meter.add(picture, other)
    meter.add(picture, picture)
    mean = meter.mean_difference()
    assert np.all(mean[10:20, 30:50] == 32) and mean.sum() == 32 * 200
    heat = meter.heatmap()
    assert heat.dtype == np.uint8 and heat.shape[1:] == (80, 3) and heat.shape[0] > 96
    # The scale is the same for all: 32 is its end, and where nothing differs is its beginning.
    assert len(np.unique(heat[10:20, 30:50].reshape(-1, 3), axis=0)) == 1
    assert heat[15, 40].sum() > 500 > 30 > heat[50, 5].sum()
    assert f"to {HEAT_MOST} of 255; 2.6 % of the picture" in meter.heat_words()
    same = PairMeter(FPS)
    same.add(picture, picture)
    assert same.heat_words() == "All 1 frames are equal." and not same.mean_difference().any()


def test_lpips_is_refused_in_a_line_where_it_is_not_there():
    pytest.importorskip("torch")
    try:
        import lpips  # noqa: F401
    except ImportError:
        with pytest.raises(MarotteError, match="marotte\\[lpips\\]"):
            PairMeter(FPS, lpips=True)
    else:
        pytest.skip("lpips is installed: its weights would be fetched")


def test_landmarks_apart():
    rng = np.random.default_rng(0)
    other = rng.normal(size=(4, 68, 2))
    other[:, 36:42] = (10, 5)
    other[:, 42:48] = (50, 5)
    own = other + np.array([3, 4])
    own[1, 5:] = np.nan
    own[2] = np.nan
    pixels, share = landmark_distance(own, other)
    np.testing.assert_allclose(pixels, [5, 5, np.nan, 5], rtol=1e-12)
    np.testing.assert_allclose(share, np.array([5, 5, np.nan, 5]) / 40, rtol=1e-12)
    assert landmark_distance(other, other)[0].tolist() == [0, 0, 0, 0]
    with pytest.raises(MarotteError):
        landmark_distance(own, other[1:])
