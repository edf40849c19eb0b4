"""The one product that the viseme network is made of, compiled, in an order of sums that never changes.

A matrix library may sum in another order for one row than for a hundred; here a row's result depends on that row
alone, so that speech fed in packets gives the bits of speech fed at once.
"""

import numpy as np
from numba import njit

# Rows that share one pass over the weights: their sums stay in the first-level cache.
_ROWS = 8


@njit(cache=True, nogil=True)
def dense(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Return x @ weight + bias: [T, O] float32 from [T, I], [I, O] and [O]. Zeros in x cost nothing."""
    rows, inner = x.shape
    outer = weight.shape[1]
    out = np.empty((rows, outer), np.float32)
    for first in range(0, rows, _ROWS):
        last = min(first + _ROWS, rows)
        for row in range(first, last):
            for column in range(outer):
                out[row, column] = bias[column]
        for index in range(inner):
            for row in range(first, last):
                factor = x[row, index]
                if factor != 0:
                    for column in range(outer):
                        out[row, column] += factor * weight[index, column]
    return out
