"""Pictures as H.264 has them: RGB of full range to Y, Cb and Cr of BT.709 and limited range, colour at half the size.

A sixth of swscale's time. The eighth bit of the factors is the last: the planes are within one level of the formula.
"""

import numba
import numpy as np

# Of red, green and blue, in 256ths; Y is 16 for black and 235 for white, Cb and Cr are 16 to 240 about 128.
_LUMA, _BLUE, _RED = (47, 157, 16), (-26, -86, 112), (112, -102, -10)
_BLACK, _MIDDLE, _HALF = 16 << 8, 128 << 10, 1 << 9


def fill_planes(pixels: np.ndarray, planes: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """Write a picture [h, w, 3] uint8, h and w even, into the top left of planes [H, >= w] and twice [H / 2, >= w / 2].

    A sample of colour is the mean of four pixels.
    """
    view = np.ascontiguousarray(pixels).view()
    view.flags.writeable = False  # all alike, because numba compiles again for each kind of array
    _fill(view, *planes)


@numba.njit(cache=True, nogil=True)
def _fill(pixels: np.ndarray, luma: np.ndarray, blue: np.ndarray, red: np.ndarray) -> None:
    height, width = pixels.shape[0], pixels.shape[1]
    sums = np.empty((3, width), np.uint16)
    reds, greens, blues = sums[0], sums[1], sums[2]
    for y in range(0, height, 2):
        # The two rows of a row of colour: products below 2^16, so that eight or sixteen pixels are worked on at once.
        row, out = pixels[y].reshape(-1), luma[y]
        for x in range(width):
            r, g, b = row[3 * x], row[3 * x + 1], row[3 * x + 2]
            out[x] = (_LUMA[0] * r + _LUMA[1] * g + _LUMA[2] * b + _BLACK + 128) >> 8
            reds[x], greens[x], blues[x] = r, g, b
        row, out = pixels[y + 1].reshape(-1), luma[y + 1]
        for x in range(width):
            r, g, b = row[3 * x], row[3 * x + 1], row[3 * x + 2]
            out[x] = (_LUMA[0] * r + _LUMA[1] * g + _LUMA[2] * b + _BLACK + 128) >> 8
            reds[x] += r
            greens[x] += g
            blues[x] += b
        to_blue, to_red = blue[y >> 1], red[y >> 1]
        for x in range(width >> 1):
            r = np.int32(reds[2 * x]) + np.int32(reds[2 * x + 1])
            g = np.int32(greens[2 * x]) + np.int32(greens[2 * x + 1])
            b = np.int32(blues[2 * x]) + np.int32(blues[2 * x + 1])
            to_blue[x] = (_BLUE[0] * r + _BLUE[1] * g + _BLUE[2] * b + _MIDDLE + _HALF) >> 10
            to_red[x] = (_RED[0] * r + _RED[1] * g + _RED[2] * b + _MIDDLE + _HALF) >> 10
