"""Kernels on two pictures [H, W, 3] uint8: their difference, and their structural similarity in single precision."""

import numpy as np
from numba import njit

_WINDOW, _SIGMA = 11, 1.5
_REACH = _WINDOW // 2
_C1, _C2 = np.float32(0.01**2), np.float32(0.03**2)
_TAPS = np.exp(-((np.arange(_WINDOW) - _REACH) ** 2) / (2 * _SIGMA**2))
_WEIGHTS = (_TAPS / _TAPS.sum()).astype(np.float32)


@njit(cache=True, nogil=True)
def difference_into(
    a: np.ndarray, b: np.ndarray, heat: np.ndarray, top: int, bottom: int, left: int, right: int
) -> tuple[np.int64, np.int64, np.int64]:
    """Add each pixel's absolute difference, summed over its channels, to heat [H, W] uint32; return the sums of all
    absolute differences, of all squared ones, and of the squared ones within rows and columns of a box."""
    height, width, _ = a.shape
    whole, squares, inside = np.int64(0), np.int64(0), np.int64(0)
    for row in range(height):
        row_whole, row_squares = np.int64(0), np.int64(0)
        for column in range(width):
            red = np.int32(a[row, column, 0]) - np.int32(b[row, column, 0])
            green = np.int32(a[row, column, 1]) - np.int32(b[row, column, 1])
            blue = np.int32(a[row, column, 2]) - np.int32(b[row, column, 2])
            absolute = abs(red) + abs(green) + abs(blue)
            heat[row, column] += np.uint32(absolute)
            row_whole += absolute
            row_squares += red * red + green * green + blue * blue
        whole += row_whole
        squares += row_squares
        if top <= row < bottom:
            for column in range(left, right):
                for channel in range(3):
                    apart = np.int64(a[row, column, channel]) - np.int64(b[row, column, channel])
                    inside += apart * apart
    return whole, squares, inside


@njit(cache=True, nogil=True, fastmath=True)
def similarity_sum(a: np.ndarray, b: np.ndarray) -> float:
    """Return the sum over pixels and channels of the structural similarity, as `picture_metrics.ssim` defines it."""
    height, width, channels = a.shape
    across = width * channels
    flat_a, flat_b = a.reshape(height, across), b.reshape(height, across)
    pad = _REACH * channels
    # Blurred down the columns, with zeros beside them: means, squares and product.
    down = np.zeros((5, across + 2 * pad), np.float32)
    blurred = np.empty((5, across), np.float32)
    total = 0.0
    for row in range(height):
        down[:] = 0
        for tap in range(_WINDOW):
            at = row + tap - _REACH
            if at < 0 or at >= height:
                continue
            weight = _WEIGHTS[tap]
            row_a, row_b = flat_a[at], flat_b[at]
            for column in range(across):
                one = np.float32(row_a[column]) * np.float32(1 / 255)
                other = np.float32(row_b[column]) * np.float32(1 / 255)
                down[0, pad + column] += weight * one
                down[1, pad + column] += weight * other
                down[2, pad + column] += weight * one * one
                down[3, pad + column] += weight * other * other
                down[4, pad + column] += weight * one * other
        for each in range(5):
            for column in range(across):
                value = np.float32(0)
                for tap in range(_WINDOW):
                    value += _WEIGHTS[tap] * down[each, column + tap * channels]
                blurred[each, column] = value
        row_total = 0.0
        for column in range(across):
            mean_a, mean_b = blurred[0, column], blurred[1, column]
            light = (2 * mean_a * mean_b + _C1) / (mean_a * mean_a + mean_b * mean_b + _C1)
            spread = blurred[2, column] - mean_a * mean_a + blurred[3, column] - mean_b * mean_b
            row_total += light * (2 * (blurred[4, column] - mean_a * mean_b) + _C2) / (spread + _C2)
        total += row_total
    return total
