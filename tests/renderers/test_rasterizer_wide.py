"""The CPU rasterizer with any number of channels: many, as products of matrices, against the slow twin and few."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from marotte.renderers.rasterizers import rasterize
from marotte.renderers.rasterizers.scenes import plane_scene


@pytest.fixture(scope="module")
def cpu_tests():
    """The module that the CPU rasterizer is tested by: its random scenes, and how near is near."""
    spec = importlib.util.spec_from_file_location("cpu_tests", Path(__file__).with_name("test_rasterizer.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("channels", [1, 7])
def test_any_number_of_channels(cpu_tests, channels):
    gaussians, camera, background = cpu_tests.random_scene(2, channels=channels)
    fast, slow = (rasterize(gaussians, camera, background, name) for name in ("cpu", "reference"))
    cpu_tests.assert_agree(fast, slow, 4.0)


@pytest.mark.parametrize(("channels", "depth"), [(16, False), (11, True), (33, False)])
def test_many_channels_agree_with_the_twin(cpu_tests, channels, depth):
    # From 12 on they are blended as products of matrices, whole vectors of 16 at a time.
    for seed in (2, 4, 10):
        gaussians, camera, background = cpu_tests.random_scene(seed, channels=channels)
        fast, slow = (rasterize(gaussians, camera, background, name, depth=depth) for name in ("cpu", "reference"))
        cpu_tests.assert_agree(fast, slow, 4.0)


def test_many_channels_are_those_of_few_to_the_last_bit():
    gaussians, camera = plane_scene(40, size=70)
    background = np.random.default_rng(0).random(32).astype(np.float32)
    whole = rasterize(gaussians, camera, background)
    assert (whole.transmittance < 1e-2).mean() > 0.5
    for first in range(0, 32, 4):
        few = slice(first, first + 4)
        part = rasterize(replace(gaussians, features=gaussians.features[:, few]), camera, background[few])
        assert part.color.tobytes() == np.ascontiguousarray(whole.color[:, :, few]).tobytes()
        assert part.transmittance.tobytes() == whole.transmittance.tobytes()


def test_a_list_longer_than_a_chunk_goes_on_where_it_was(cpu_tests):
    # Two thousand faint layers, in one tile, in no order.
    count = 2000
    random = np.random.default_rng(1)
    gaussians = cpu_tests.one(
        means=np.column_stack([random.normal(0, 0.05, (count, 2)), random.normal(0, 0.1, count)]),
        opacities=np.full(count, 0.02),
        quats_wxyz=np.tile([1.0, 0, 0, 0], (count, 1)),
        scales=np.full((count, 3), 0.03),
        features=random.normal(size=(count, 32)),
    )
    fast, slow = (rasterize(gaussians, cpu_tests.AHEAD, backend=backend) for backend in ("cpu", "reference"))
    cpu_tests.assert_agree(fast, slow, scale=4.0)


@pytest.mark.parametrize("points", [1, 20])
def test_the_planes_fill_the_picture(points):
    gaussians, camera = plane_scene(points, size=60, channels=4)
    assert len(gaussians) == 2 * points**2 + round(5023 * (points / 296) ** 2) and gaussians.channels == 4
    if points == 20:
        inside = rasterize(gaussians, camera).transmittance[5:-5, 5:-5]
        assert inside.mean() < 0.1
