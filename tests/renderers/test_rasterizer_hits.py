"""Which blocks of a tile a splat reaches."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marotte.renderers.gaussians import Gaussians
from marotte.renderers.rasterizers.cpu import Workspace
from marotte.renderers.rasterizers.cpu_bins import TILE
from marotte.renderers.rasterizers.cpu_hits import ACROSS, BLOCKS, blocks_of, turn
from marotte.renderers.rasterizers.cpu_project import HALF_HEIGHT, OPACITY, UNSEEN, XX, XY, YY, X, Y
from marotte.renderers.rasterizers.published import PublishedSettings
from marotte.runtime.camera import facing_camera

SIZE = 128


def splats_of(covariances, means, opacities):
    """The splats of Gaussians, seen from the front by a camera of 128 x 128 pixels."""
    count = len(means)
    gaussians = Gaussians(
        means=np.asarray(means, np.float32),
        opacities=np.asarray(opacities, np.float32),
        covariances=np.asarray(covariances, np.float32),
        features=np.ones((count, 3), np.float32),
    )
    camera = facing_camera((0, 0, 0), 1.0, 0.4, (SIZE, SIZE))
    return Workspace()._project(gaussians, PublishedSettings.from_camera(camera))[0]


def reached(shape, box, left, top):
    """The blocks in which the exponent, in float64, gives an alpha of 1/255 or more at some pixel of the box."""
    across, down = np.meshgrid(np.arange(TILE) + left, np.arange(TILE) + top)
    dx, dy = np.float64(shape[X]) - across, np.float64(shape[Y]) - down
    power = np.float64(shape[XX]) * dx * dx + np.float64(shape[YY]) * dy * dy + np.float64(shape[XY]) * dx * dy
    shows = (power <= 0) & (shape[OPACITY] * np.exp(np.minimum(power, 0)) >= 1 / 255)
    shows &= (box[0] <= across) & (across < box[1]) & (box[2] <= down) & (down < box[3])
    blocks = shows.reshape(ACROSS, 4, ACROSS, 4).any((1, 3)).reshape(-1)
    return sum(1 << int(n) for n in np.flatnonzero(blocks))


def slanted(long, thin, angle):
    """A covariance [6] in the picture's plane: standard deviations along `angle` and across it."""
    c, s = np.cos(angle), np.sin(angle)
    turned = np.array([[c, -s], [s, c]]) @ np.diag([long**2, thin**2]) @ np.array([[c, s], [-s, c]])
    return [turned[0, 0], turned[0, 1], 0, turned[1, 1], 0, thin**2]


@settings(max_examples=300, deadline=None)
@given(
    long=st.floats(1e-3, 0.3),
    thin=st.floats(1e-5, 1),
    angle=st.floats(0, np.pi),
    at=st.tuples(st.floats(-0.2, 0.2), st.floats(-0.2, 0.2)),
    opacity=st.floats(0.004, 1),
)
def test_no_block_that_is_reached_is_left_out(long, thin, angle, at, opacity):
    splats = splats_of([slanted(long, long * thin, angle)], [[*at, 0]], [opacity])
    if splats.keys[0] == UNSEEN:
        return
    shape, box = splats.shapes[0], splats.boxes[0]
    for top in range(0, SIZE, TILE):
        for left in range(0, SIZE, TILE):
            if box[0] < left + TILE and box[1] > left and box[2] < top + TILE and box[3] > top:
                assert reached(shape, box, left, top) & ~int(blocks_of(shape, box, left, top)) == 0


@pytest.mark.parametrize("angle", [0.6, np.pi / 4, 2.4])
def test_empty_corners_of_the_box_are_left_out(angle):
    splats = splats_of([slanted(0.04, 0.001, angle)], [[0, 0, 0]], [0.9])
    shape, box = splats.shapes[0], splats.boxes[0]
    tiles = [(left, top) for left in (32, 64) for top in (32, 64)]
    kept = sum(int(blocks_of(shape, box, *tile)).bit_count() for tile in tiles)
    shape[HALF_HEIGHT] = np.inf
    boxed = sum(int(blocks_of(shape, box, *tile)).bit_count() for tile in tiles)
    needed = sum(reached(shape, box, *tile).bit_count() for tile in tiles)
    assert needed <= kept <= 1.3 * needed + 2 and kept < 0.6 * boxed


def test_where_only_the_box_holds_it_is_all_that_is_cut_to():
    splats = splats_of([slanted(3e4, 0.01, 0.7)], [[0, 0, 0]], [0.9])
    assert np.isinf(splats.shapes[0, HALF_HEIGHT])
    assert int(blocks_of(splats.shapes[0], splats.boxes[0], 32, 32)) == 2**BLOCKS - 1


def test_bits_are_turned_over():
    bits = np.random.default_rng(0).integers(0, 2**64, 64, np.uint64)
    matrix = (bits[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    turn(bits)
    np.testing.assert_array_equal((bits[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1), matrix.T)
