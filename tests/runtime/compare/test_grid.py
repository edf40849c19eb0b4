"""The grid: every picture in its own place, unscaled where it fits, names above them, and why one ended."""

import numpy as np
import pytest

from marotte.runtime.compare.grid import Grid


@pytest.mark.parametrize("count", range(1, 10))
def test_places_do_not_meet_and_fit_an_encoder(count):
    grid = Grid([f"arm{index}" for index in range(count)], ["words"] * count, (512, 512))
    assert grid.width % 2 == 0 and grid.height % 2 == 0 and grid.width <= 1920
    seen = np.zeros((grid.height, grid.width), int)
    for cell in grid.cells:
        assert cell.width % 2 == 0 and cell.height % 2 == 0
        seen[cell.y : cell.y + cell.height, cell.x : cell.x + cell.width] += 1
    assert seen.max() == 1 and seen.sum() == count * grid.cells[0].width * grid.cells[0].height


def test_pictures_keep_every_bit():
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (64, 48, 3)).astype(np.uint8) for _ in range(2)]
    grid = Grid(["a", "b"], ["", "a text that is far too long for a picture as narrow as this one"], (48, 64))
    whole = grid.picture(pictures)
    for cell, picture in zip(grid.cells, pictures, strict=True):
        assert np.array_equal(whole[cell.y : cell.y + 64, cell.x : cell.x + 48], picture)
    again = grid.picture(pictures[::-1])
    assert np.array_equal(again[:32], whole[:32]) and (whole[:32] != whole[0, 0]).any()


def test_many_are_made_smaller():
    grid = Grid([f"a{index}" for index in range(8)], [""] * 8, (640, 480))
    whole = grid.picture([np.full((480, 640, 3), 10 * index, np.uint8) for index in range(8)])
    for index, cell in enumerate(grid.cells):
        assert (cell.width, cell.height) == (480, 360)
        assert (whole[cell.y : cell.y + 360, cell.x : cell.x + 480] == 10 * index).all()


def test_an_arm_that_ended_is_dark_and_says_why():
    grid = Grid(["a", "b"], ["", ""], (256, 256))
    picture = np.full((256, 256, 3), 200, np.uint8)
    before = grid.picture([picture, None])
    grid.end("b", "its driver failed after 1.2 s: " + "word " * 80)
    after = grid.picture([picture, None])
    assert np.array_equal(before[:, :256], after[:, :256]) and after[32:, 256:].max() > before[32:, 256:].max()
    assert after[32:, 256:].mean() < 60
