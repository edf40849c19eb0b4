"""Rows of 8 at once, against numpy."""

import numpy as np
from numba import njit

from marotte.models.vector_rows import add_row, blend_rows, column_blocks, transpose


@njit
def turned(source, at, stride, target, to, step):
    transpose(source, at, stride, target, to, step)


@njit
def added(sums, to, rows, at):
    add_row(sums, to, rows, at)


@njit
def blended(target, to, rows, places, weights):
    blend_rows(target, to, rows, places, weights)


def test_rows_become_columns():
    rows, target = np.arange(200, dtype=np.float32).reshape(10, 20), np.full((9, 11), -1, np.float32)
    expected = target.copy()
    expected[1:, 2:10] = rows[1:9, 3:11].T
    turned(rows, 23, 20, target, 13, 11)
    np.testing.assert_array_equal(target, expected)


def test_rows_are_summed():
    rng = np.random.default_rng(0)
    rows, sums = rng.normal(size=(5, 12)).astype(np.float32), rng.normal(size=30).astype(np.float32)
    expected = sums.copy()
    expected[7:15] += rows[2, 3:11]
    added(sums, 7, rows, 27)
    np.testing.assert_array_equal(sums, expected)


def test_rows_are_blended():
    rng = np.random.default_rng(0)
    rows, target = rng.normal(size=(5, 12)).astype(np.float32), np.full(20, -1, np.float32)
    weights = rng.normal(size=3).astype(np.float32)
    expected = target.copy()
    expected[4:16] = weights @ rows[[3, 0, 4]]
    blended(target, 4, rows, (36, 0, 48), tuple(weights))
    np.testing.assert_allclose(target, expected, rtol=0, atol=1e-6)


def test_blocks_of_rows_lie_column_after_column():
    rows = np.arange(2 * 5 * 3).reshape(2, 5, 3)
    blocks = column_blocks(rows, 4)
    assert blocks.shape == (2, 2, 12) and blocks.dtype == np.float32
    np.testing.assert_array_equal(blocks[1, 0], rows[1, :4].T.ravel())
    np.testing.assert_array_equal(blocks[0, 1].reshape(3, 4), [[12, 0, 0, 0], [13, 0, 0, 0], [14, 0, 0, 0]])
