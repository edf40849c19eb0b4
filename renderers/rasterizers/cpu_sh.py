"""Colours from spherical harmonics, in the published order of evaluation (section 4 of the rasterizer reference)."""

import numba
import numpy as np

from marotte.renderers.rasterizers.rules import SH0, SH1, SH2, SH3, SH_OFFSET

_ZERO, _TWO, _THREE, _FOUR = np.float32(0), np.float32(2), np.float32(3), np.float32(4)


@numba.njit(cache=True, nogil=True)
def _colour(total):
    """Return the colour of a sum of harmonics. What is not a number stays so, and is not drawn."""
    total += SH_OFFSET
    return _ZERO if total < _ZERO else total


@numba.njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def evaluate_sh(means, coefficients, degree, centre, colours):
    """Write `colours` [N, 3] of coefficients [N, K, 3] of degree 0 to 3, seen from `centre` [3]."""
    if degree == 0:
        # The same from everywhere, and sooner done than a second thread is woken.
        for i in range(len(means)):
            for c in range(3):
                colours[i, c] = _colour(SH0 * coefficients[i, 0, c])
        return
    for i in numba.prange(len(means)):
        x, y, z = means[i, 0] - centre[0], means[i, 1] - centre[1], means[i, 2] - centre[2]
        length = np.sqrt(x * x + y * y + z * z)
        x, y, z = x / length, y / length, z / length
        xx, yy, zz = x * x, y * y, z * z
        for c in range(3):
            sh = coefficients[i, :, c]
            total = SH0 * sh[0] - SH1 * y * sh[1] + SH1 * z * sh[2] - SH1 * x * sh[3]
            if degree > 1:
                total += SH2[0] * (x * y) * sh[4]
                total += SH2[1] * (y * z) * sh[5]
                total += SH2[2] * (_TWO * zz - xx - yy) * sh[6]
                total += SH2[3] * (x * z) * sh[7]
                total += SH2[4] * (xx - yy) * sh[8]
            if degree > 2:
                total += SH3[0] * y * (_THREE * xx - yy) * sh[9]
                total += SH3[1] * (x * y) * z * sh[10]
                total += SH3[2] * y * (_FOUR * zz - xx - yy) * sh[11]
                total += SH3[3] * z * (_TWO * zz - _THREE * xx - _THREE * yy) * sh[12]
                total += SH3[4] * x * (_FOUR * zz - xx - yy) * sh[13]
                total += SH3[5] * z * (xx - yy) * sh[14]
                total += SH3[6] * x * (xx - _THREE * yy) * sh[15]
            colours[i, c] = _colour(total)
