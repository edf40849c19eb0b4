"""From what a rasterizer returns to bytes, with anything behind it: colour, picture, or nothing.

A rasterizer that drew on black gives colour C and transmittance T, and C + T * background is exactly what it would
have given on that background. Bytes are floor(255 x + 0.5) of the clamped value; the published code truncates.
"""

import numpy as np
from numba import njit

from marotte.runtime.background import Background


def to_pixels(colour: np.ndarray, transmittance: np.ndarray, background: Background, out: np.ndarray) -> None:
    """Write a picture drawn on black, colour [H, W, 3] and transmittance [H, W], into out [H, W, 3 or 4] uint8.

    Four channels are for a transparent background: straight alpha, which the transmittance is what is missing of.
    """
    colour, transmittance = _own(colour, np.float32), _own(transmittance, np.float32)
    if out.shape[2] == 4:
        _straight(colour, transmittance, out)
    elif background.image is not None:
        _over_picture(colour, transmittance, _own(background.image, np.uint8), out)
    else:
        _over_colour(colour, transmittance, np.array(background.colour, np.float32), out)


def _own(array: np.ndarray, dtype: type) -> np.ndarray:
    """Return the array in the one form that the kernels are compiled for: contiguous, and writable, as most are."""
    return np.require(array, dtype, ["C", "W"])


@njit(cache=True, nogil=True)
def _byte(value):
    # NaN fails the first comparison and gives 0: a byte of NaN is anything.
    return np.uint8(min(value, np.float32(1)) * np.float32(255) + np.float32(0.5)) if value > 0 else np.uint8(0)


@njit(cache=True, nogil=True)
def _over_colour(colour, transmittance, behind, out):
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            for c in range(3):
                out[y, x, c] = _byte(colour[y, x, c] + transmittance[y, x] * behind[c])


@njit(cache=True, nogil=True)
def _over_picture(colour, transmittance, behind, out):
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            for c in range(3):
                grey = np.float32(behind[y, x, c]) / np.float32(255)
                out[y, x, c] = _byte(colour[y, x, c] + transmittance[y, x] * grey)


@njit(cache=True, nogil=True)
def _straight(colour, transmittance, out):
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            alpha = np.float32(1) - transmittance[y, x]
            over = np.float32(1) / alpha if alpha > 0 else np.float32(0)
            for c in range(3):
                out[y, x, c] = _byte(colour[y, x, c] * over)
            out[y, x, 3] = _byte(alpha)
