"""How alike two pictures are: PSNR, SSIM and LPIPS, as papers on rendered heads report them.

Pictures are float [H, W, 3] RGB in 0..1. Sources: Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from
error visibility to structural similarity", 2004; Zhang et al., "The unreasonable effectiveness of deep features as a
perceptual metric", 2018.
"""

from pathlib import Path
from typing import Any

import numpy as np

from marotte.errors import MarotteError, unknown_name

# Of two pictures that are the same, where the true value is infinite: half a step of 16 bits off everywhere.
_MOST_PSNR = 100.0
_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2
NETWORKS = ("alex", "vgg")
# The networks were trained on pictures at least this wide.
_LEAST_SIDE = 64


def psnr(picture: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Return -10 log10 of the mean squared error over pixels and channels, in dB; at most 100, for equal pictures.

    mask: [H, W] bool, which pixels count; NaN where none does.
    """
    error = np.square(np.asarray(picture, np.float64) - truth)
    if mask is not None:
        error = error[mask]
    if not error.size:
        return float("nan")
    return float(min(-10 * np.log10(max(error.mean(), 1e-300)), _MOST_PSNR))


def ssim(picture: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean structural similarity, 1 for equal pictures.

    As published: means, variances and covariance under a Gaussian window of 11 x 11 and sigma 1.5 (not corrected for
    bias), K1 = 0.01, K2 = 0.03, range 1, each channel by itself, the mean over all pixels and channels. Beyond the
    border is zero, as in the code that 3D Gaussian splatting is evaluated with.
    """
    a, b = np.asarray(picture, np.float64), np.asarray(truth, np.float64)
    mean_a, mean_b = _blurred(a), _blurred(b)
    variance_a, variance_b = _blurred(a * a) - mean_a**2, _blurred(b * b) - mean_b**2
    covariance = _blurred(a * b) - mean_a * mean_b
    light = (2 * mean_a * mean_b + _C1) / (mean_a**2 + mean_b**2 + _C1)
    structure = (2 * covariance + _C2) / (variance_a + variance_b + _C2)
    return float((light * structure).mean())


def _blurred(picture: np.ndarray) -> np.ndarray:
    from scipy.ndimage import correlate1d

    offsets = np.arange(_WINDOW) - _WINDOW // 2
    weights = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    weights /= weights.sum()
    once: np.ndarray = correlate1d(picture, weights, axis=0, mode="constant")
    twice: np.ndarray = correlate1d(once, weights, axis=1, mode="constant")
    return twice


class Lpips:
    """LPIPS by the package `lpips`, on the CPU. network: `alex`, its default, or `vgg`.

    The package fetches the network's own weights (alex 233 MB, vgg 528 MB) at first use, and keeps them in torch's
    cache. Raises MarotteError where it is not installed or its weights cannot be had.
    """

    def __init__(self, network: str = "alex") -> None:
        if network not in NETWORKS:
            raise unknown_name("LPIPS network", network, NETWORKS)
        try:
            import lpips
            import torch
        except ImportError as error:
            raise MarotteError(
                f"LPIPS needs the package {error.name}: pip install 'marotte[lpips]' (at first use it downloads "
                "weights), or leave --lpips out"
            ) from None
        self._torch: Any = torch
        try:
            self._model = lpips.LPIPS(net=network, verbose=False).eval()
        except (OSError, RuntimeError) as error:
            cache = Path(torch.hub.get_dir()) / "checkpoints"
            raise MarotteError(
                f"LPIPS could not get the weights of {network} ({error}): put them into {cache}, or leave --lpips out"
            ) from None

    def __call__(self, picture: np.ndarray, truth: np.ndarray) -> float:
        """Return the distance, 0 for equal pictures. Raises MarotteError for pictures too small for the network."""
        if min(picture.shape[:2]) < _LEAST_SIDE:
            height, width = picture.shape[:2]
            raise MarotteError(f"LPIPS needs pictures of {_LEAST_SIDE} pixels at least, these are {width}x{height}")
        with self._torch.no_grad():
            return float(self._model(self._tensor(picture), self._tensor(truth)).item())

    def _tensor(self, picture: np.ndarray) -> Any:
        values = np.ascontiguousarray(np.moveaxis(np.asarray(picture, np.float32) * 2 - 1, -1, 0))
        return self._torch.from_numpy(values)[None]
