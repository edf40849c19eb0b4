"""The stages before blending, one at a time: projection in blocks, and the lists of the tiles."""

from dataclasses import replace

import numpy as np
import pytest

from marotte.renderers.gaussians import Gaussians
from marotte.renderers.rasterizers import PublishedSettings, rasterize
from marotte.renderers.rasterizers.cpu import Workspace
from marotte.renderers.rasterizers.cpu_bins import TILE, count_members, fill_lists
from marotte.renderers.rasterizers.cpu_project import UNSEEN, _twice_log
from marotte.renderers.rasterizers.reference import project
from marotte.renderers.rasterizers.scenes import head_scene
from marotte.runtime.camera import facing_camera


def splats(gaussians, camera):
    return Workspace()._project(gaussians, PublishedSettings.from_camera(camera))[0]


@pytest.mark.parametrize("count", [1, 255, 256, 257, 600])
@pytest.mark.parametrize("channels", [3, 17])
def test_a_number_that_is_not_finite_hides_its_gaussian_alone(count, channels):
    gaussians, camera = head_scene(count, size=200, channels=channels)
    whole = splats(gaussians, camera)
    bad = {name: getattr(gaussians, name).copy() for name in ("means", "opacities", "quats_wxyz", "scales", "features")}
    hidden = np.zeros(count, bool)
    for row, (values, number) in enumerate((v, n) for v in bad.values() for n in (np.nan, np.inf, -np.inf)):
        row = (row * 41) % count
        values.reshape(count, -1)[row, -1], hidden[row] = number, True
    part = splats(replace(gaussians, **bad), camera)
    np.testing.assert_array_equal(part.keys, np.where(hidden, UNSEEN, whole.keys))
    seen = part.keys != UNSEEN
    assert seen.any() == (count > 1) and not part.boxes[~seen].any()
    np.testing.assert_array_equal(part.shapes[seen], whole.shapes[seen])
    np.testing.assert_array_equal(part.boxes[seen], whole.boxes[seen])


def test_projection_writes_over_all_that_was_there():
    gaussians, camera = head_scene(300, size=100)
    settings = PublishedSettings.from_camera(camera)
    workspace = Workspace()
    away = replace(gaussians, opacities=np.where(np.arange(300) % 3, gaussians.opacities, np.float32(0)))
    workspace._project(gaussians, settings)
    again, fresh = workspace._project(away, settings)[0], splats(away, camera)
    np.testing.assert_array_equal(again.keys, fresh.keys)
    np.testing.assert_array_equal(again.boxes, fresh.boxes)
    assert (again.keys[::3] == UNSEEN).all() and (again.keys != UNSEEN).any()


def test_an_inverted_covariance_is_drawn_at_its_centre():
    # Both of its variances are negative on the screen, its determinant is not: no ellipse tells how far it reaches.
    camera = facing_camera((0, 0, 0), 1.0, 0.5, (33, 33))
    settings = PublishedSettings.from_camera(camera)
    variance = -0.4 * (2 * settings.tanfovx / 33) ** 2
    gaussians = Gaussians(
        means=np.zeros((1, 3)),
        opacities=np.ones(1),
        covariances=np.array([[variance, 0, 0, variance, 0, 0]]),
        features=np.ones((1, 3)),
    )
    assert (project(gaussians, settings).conics[0, [0, 2]] < 0).all()
    slow = rasterize(gaussians, camera, backend="reference").color
    assert slow[16, 16, 0] == np.float32(0.99) and np.count_nonzero(slow) == 3
    np.testing.assert_array_equal(rasterize(gaussians, camera).color, slow)


def test_the_logarithm_is_never_too_small():
    wide, near_one = np.exp(np.linspace(np.log(1 / 255), 88.7, 30_000)), np.linspace(0.999, 1.001, 2000)
    numbers = np.concatenate([wide, near_one]).astype(np.float32)
    excess = np.array([_twice_log(number) for number in numbers]) - 2 * np.log(numbers.astype(np.float64))
    assert excess.min() > 0 and excess.max() < 1e-4


@pytest.mark.parametrize("seed", range(8))
def test_lists_hold_every_splat_of_a_tile_in_order(seed):
    random = np.random.default_rng(seed)
    width, height = (int(n) for n in random.integers(1, 300, 2))
    count = int(random.integers(1, 200))
    low = random.integers(0, (width, height), (count, 2))
    high = np.minimum(low + random.integers(1, (10, 100, 300)[seed % 3], (count, 2)), (width, height))
    boxes = np.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1]], axis=1).astype(np.int32)
    boxes[random.random(count) < 0.2] = 0
    ids = random.permutation(np.flatnonzero(boxes.any(axis=1)))
    order = ids.astype(np.uint64) | (np.arange(len(ids), dtype=np.uint64) << np.uint64(32))
    columns, rows = -(-width // TILE), -(-height // TILE)

    first = np.full(columns * rows + 1, -1, np.int64)
    total = count_members(boxes, columns, first)
    members = np.full(total, -1, np.int32)
    fill_lists(order, boxes, columns, first, members)

    assert first[0] == 0 and first[-1] == total
    left, right, top, bottom = boxes[ids].T
    for tile in range(columns * rows):
        x, y = tile % columns * TILE, tile // columns * TILE
        touching = (left < x + TILE) & (right > x) & (top < y + TILE) & (bottom > y)
        np.testing.assert_array_equal(members[first[tile] : first[tile + 1]], ids[touching])
