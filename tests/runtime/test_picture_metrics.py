"""PSNR, SSIM and LPIPS against what their definitions say."""

import builtins
import sys
import types

import numpy as np
import pytest
from scipy.signal import convolve2d

from marotte.errors import MarotteError
from marotte.runtime.picture_metrics import Lpips, psnr, ssim


@pytest.fixture
def pair():
    random = np.random.default_rng(0)
    truth = np.clip(random.random((37, 29, 3)).cumsum(axis=1) / 15, 0, 1)
    return np.clip(truth + random.normal(0, 0.08, truth.shape), 0, 1), truth


def test_psnr_of_a_known_error():
    truth = np.full((8, 6, 3), 0.5)
    assert psnr(truth + 0.1, truth) == pytest.approx(20)
    assert psnr(truth, truth) == 100
    half = truth.copy()
    half[:4] += 0.1
    assert psnr(half, truth) == pytest.approx(20 + 10 * np.log10(2))


def test_psnr_within_a_mask():
    truth, picture = np.zeros((4, 4, 3)), np.zeros((4, 4, 3))
    picture[0, 0] = 0.1
    mask = np.zeros((4, 4), bool)
    assert np.isnan(psnr(picture, truth, mask))
    mask[0, 0] = True
    assert psnr(picture, truth, mask) == pytest.approx(20)


def straightforward_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """The definition: a window of 11 x 11, every mean a plain two-dimensional convolution with zeros beyond."""
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    window /= window.sum()
    values = []
    for x, y in zip(np.moveaxis(a, -1, 0), np.moveaxis(b, -1, 0), strict=True):
        mean = {
            key: convolve2d(array, window, mode="same")
            for key, array in {"x": x, "y": y, "xx": x * x, "yy": y * y, "xy": x * y}.items()
        }
        cross = mean["x"] * mean["y"]
        squares = mean["x"] ** 2 + mean["y"] ** 2
        above = (2 * cross + 1e-4) * (2 * (mean["xy"] - cross) + 9e-4)
        below = (squares + 1e-4) * (mean["xx"] + mean["yy"] - squares + 9e-4)
        values.append((above / below).mean())
    return float(np.mean(values))


def test_ssim_is_the_definition(pair):
    assert ssim(*pair) == pytest.approx(straightforward_ssim(*pair), abs=1e-12)
    assert ssim(pair[1], pair[1]) == pytest.approx(1)
    assert ssim(*pair) < 0.95


def test_lpips_gets_what_the_package_wants(monkeypatch):
    torch = pytest.importorskip("torch")

    class Stand(torch.nn.Module):
        def __init__(self, net, verbose):
            super().__init__()
            assert net == "vgg" and not verbose

        def forward(self, a, b):
            assert a.shape == b.shape == (1, 3, 64, 80) and a.dtype == torch.float32
            return (a - b).abs().amax().reshape(1, 1, 1, 1)

    monkeypatch.setitem(sys.modules, "lpips", types.SimpleNamespace(LPIPS=Stand))
    lpips = Lpips("vgg")
    assert lpips(np.ones((64, 80, 3)), np.zeros((64, 80, 3))) == 2  # from -1 to 1, as published
    with pytest.raises(MarotteError, match="these are 80x32"):
        lpips(np.ones((32, 80, 3)), np.zeros((32, 80, 3)))


def test_lpips_says_what_it_lacks(monkeypatch):
    own = builtins.__import__

    def without(name, *rest, **named):
        if name == "lpips":
            raise ImportError(name="lpips")
        return own(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MarotteError, match=r"needs the package lpips: pip install 'marotte\[lpips\]'"):
        Lpips()
    with pytest.raises(MarotteError, match="did you mean 'vgg'"):
        Lpips("vg")
