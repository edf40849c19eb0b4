"""From what a rasterizer returns to bytes, with anything behind it: colour, picture, or nothing.

A rasterizer that drew on black gives colour C and transmittance T, and C + T * background is exactly what it would
have given on that background. Bytes are floor(255 x + 0.5) of the clamped value; the published code truncates.
"""

import numpy as np
from numba import njit

from marotte.runtime.background import Background


def to_pixels(colour: np.ndarray, transmittance: np.ndarray, background: Background, out: np.ndarray) -> None:
    """Write a picture drawn on black, colour [H, W, 3] and transmittance [H, W], into out [H, W, 3 or 4] uint8.

    out is contiguous. Four channels are for a transparent background: straight alpha, which the transmittance is
    what is missing of.
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


# Straight down flat arrays, without a branch and each channel written out, which the compiler turns into many at once.


@njit(cache=True, nogil=True)
def _byte(value):
    # NaN fails the first comparison and gives 0: a byte of NaN is anything.
    value = value if value > np.float32(0) else np.float32(0)
    value = value if value < np.float32(1) else np.float32(1)
    return np.uint8(np.int32(value * np.float32(255) + np.float32(0.5)))


@njit(cache=True, nogil=True)
def _over_colour(colour, transmittance, behind, out):
    light, through, pixels = colour.reshape(-1), transmittance.reshape(-1), out.reshape(-1)
    red, green, blue = behind[0], behind[1], behind[2]
    for n in range(len(through)):
        t = through[n]
        pixels[3 * n] = _byte(light[3 * n] + t * red)
        pixels[3 * n + 1] = _byte(light[3 * n + 1] + t * green)
        pixels[3 * n + 2] = _byte(light[3 * n + 2] + t * blue)


@njit(cache=True, nogil=True, error_model="numpy")
def _over_picture(colour, transmittance, behind, out):
    light, through, pixels = colour.reshape(-1), transmittance.reshape(-1), out.reshape(-1)
    picture, full = behind.reshape(-1), np.float32(255)
    for n in range(len(through)):
        t = through[n]
        pixels[3 * n] = _byte(light[3 * n] + t * (np.float32(picture[3 * n]) / full))
        pixels[3 * n + 1] = _byte(light[3 * n + 1] + t * (np.float32(picture[3 * n + 1]) / full))
        pixels[3 * n + 2] = _byte(light[3 * n + 2] + t * (np.float32(picture[3 * n + 2]) / full))


@njit(cache=True, nogil=True, error_model="numpy")
def _straight(colour, transmittance, out):
    light, through, pixels = colour.reshape(-1), transmittance.reshape(-1), out.reshape(-1)
    for n in range(len(through)):
        alpha = np.float32(1) - through[n]
        over = np.float32(1) / alpha if alpha > 0 else np.float32(0)
        pixels[4 * n] = _byte(light[3 * n] * over)
        pixels[4 * n + 1] = _byte(light[3 * n + 1] * over)
        pixels[4 * n + 2] = _byte(light[3 * n + 2] * over)
        pixels[4 * n + 3] = _byte(alpha)
