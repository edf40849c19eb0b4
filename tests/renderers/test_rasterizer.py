"""The CPU rasterizer against its slow twin, and against everything that may be fed to it."""

import itertools
import subprocess
import sys
import threading
from dataclasses import replace

import numba
import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.renderers.gaussians import Gaussians
from marotte.renderers.rasterizers import PublishedSettings, rasterize
from marotte.renderers.rasterizers.cpu import _MAX_PAIRS, Workspace, warm_up
from marotte.renderers.rasterizers.cpu_order import sort_by_depth
from marotte.renderers.rasterizers.cpu_project import OPACITY, UNSEEN, XX, XY, YY, X, Y
from marotte.renderers.rasterizers.reference import _alphas, list_tiles, project
from marotte.renderers.rasterizers.scenes import head_scene
from marotte.runtime.affine import crop
from marotte.runtime.camera import Camera, facing_camera

# `exp` is a polynomial and sums are fused in the fast one: a few units in the last place of float32.
CLOSE = 3e-6


def random_scene(seed, count=None, channels=None):
    """Gaussians, camera and background, all kinds of them; most of the Gaussians are in the picture."""
    random = np.random.default_rng(seed)
    count = int(random.integers(1, 400)) if count is None else count
    width, height = (int(n) for n in random.integers(1, 75, 2))
    focal = random.uniform(0.6, 2.5) * max(width, height)
    centre = random.uniform(0.3, 0.7, 2) * (width, height)
    turn = np.linalg.qr(random.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    K = np.array([[focal, 0, centre[0]], [0, focal * random.uniform(0.9, 1.1), centre[1]], [0, 0, 1]])
    camera = Camera(turn, turn @ random.normal(0, 0.2, 3) + (0, 0, 2.5), K, width, height)

    scales = np.exp(random.normal(-3, 0.8, (count, 3))) * random.choice([1e-4, 1, 1], (count, 3))
    quats = random.normal(size=(count, 4))
    if seed % 3:
        quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    fields = {"quats_wxyz": quats, "scales": scales}
    if seed % 4 == 3:
        spread = random.normal(size=(count, 3, 3)) * scales[:, None]
        full = spread @ spread.transpose(0, 2, 1)
        fields = {"covariances": full[:, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]]}
    if channels is None and seed % 2:
        degree = int(random.integers(0, 4))
        fields |= {"sh": random.normal(0, 0.5, (count, 16, 3)), "sh_degree": degree}
        channels = 3
    else:
        channels = channels or int(random.choice([3, 32]))
        fields["features"] = random.normal(0.5, 0.5, (count, channels))
    means = random.normal(0, 0.6, (count, 3))
    means[random.random(count) < 0.2] = means[:1]  # equal depths
    gaussians = Gaussians(
        means=means.astype(np.float32),
        opacities=random.choice([1.0, 0.5, 0.02], count).astype(np.float32) * random.random(count).astype(np.float32),
        **{name: value if name == "sh_degree" else value.astype(np.float32) for name, value in fields.items()},
    )
    shape = (channels,) if seed % 5 else (height, width, channels)
    return gaussians, camera, random.random(shape).astype(np.float32)


def assert_agree(fast, slow, scale=1.0):
    for name in ("color", "transmittance", "depth"):
        ours, theirs = getattr(fast, name), getattr(slow, name)
        if theirs is None:
            assert ours is None
            continue
        assert ours.dtype == np.float32 and ours.shape == theirs.shape
        # One pixel may fall on the other side of a threshold; that moves it by a part of 1/255.
        error = np.abs(ours - theirs) / scale
        assert np.sort(error, axis=None)[-4:].max(initial=0) <= 1e-2
        assert (error <= CLOSE).mean() >= 1 - 4 / error.size, f"{name}: {error.max()}"


@pytest.mark.parametrize("seed", range(40))
def test_random_scenes_agree_with_the_twin(seed):
    gaussians, camera, background = random_scene(seed)
    depth = gaussians.channels == 3 and seed % 7 < 4
    fast = rasterize(gaussians, camera, background, depth=depth)
    slow = rasterize(gaussians, camera, background, "reference", depth=depth)
    assert_agree(fast, slow, scale=4.0)
    assert (slow.transmittance < 1).any() or len(gaussians) < 20


@pytest.mark.parametrize("seed", range(20))
def test_projection_agrees_with_the_twin_to_the_last_bit(seed):
    gaussians, camera, _ = random_scene(seed, count=300)
    settings = PublishedSettings.from_camera(camera)
    twin = project(gaussians, settings)
    splats, colours = Workspace()._project(gaussians, settings)
    seen = splats.keys != UNSEEN
    assert not (seen & ~twin.drawn).any()
    shapes = splats.shapes[seen]
    np.testing.assert_array_equal(shapes[:, [X, Y]], twin.positions[seen])
    np.testing.assert_array_equal(shapes[:, [XX, XY, YY]], twin.conics[seen] * np.float32([-0.5, -1, -0.5]))
    np.testing.assert_array_equal(splats.keys[seen].view(np.float32), twin.depths[seen])
    np.testing.assert_array_equal(shapes[:, OPACITY], twin.opacities[seen])
    np.testing.assert_array_equal(colours, twin.colours)


@pytest.mark.parametrize("seed", range(20))
def test_boxes_hold_every_pixel_that_is_blended(seed):
    gaussians, camera, _ = random_scene(seed, count=150)
    settings = PublishedSettings.from_camera(camera)
    twin = project(gaussians, settings)
    splats, _ = Workspace()._project(gaussians, settings)
    tiles = list_tiles(twin, settings)
    across = -(-settings.image_width // 16)
    for v in range(settings.image_height):
        for u in range(settings.image_width):
            ids = tiles[v // 16 * across + u // 16]
            ids = ids[_alphas(twin, ids, u, v) > 0]
            left, right, top, bottom = splats.boxes[ids].T
            assert (splats.keys[ids] != UNSEEN).all()
            assert ((left <= u) & (u < right) & (top <= v) & (v < bottom)).all()


def test_the_twin_defines_zero_gaussians():
    gaussians, camera, background = random_scene(2, count=0, channels=3)
    for backend in ("cpu", "reference"):
        raster = rasterize(gaussians, camera, background, backend, depth=True)
        assert not raster.color.any() and not raster.depth.any() and (raster.transmittance == 1).all()


def test_no_background_is_black():
    np.testing.assert_array_equal(rasterize(one(), AHEAD).color, rasterize(one(), AHEAD, np.zeros(3)).color)


def one(**changes):
    """One Gaussian in the middle, opaque and white, unless changed."""
    fields = {
        "means": np.zeros((1, 3)),
        "opacities": np.ones(1),
        "quats_wxyz": np.array([[1.0, 0, 0, 0]]),
        "scales": np.full((1, 3), 0.05),
        "features": np.ones((1, 3)),
    }
    return Gaussians(**(fields | changes))


AHEAD = facing_camera((0, 0, 0), 1.0, 0.5, (33, 33))


@pytest.mark.parametrize(
    ("name", "value", "at"),
    [
        case
        for name, numbers in {"means": 3, "opacities": 1, "quats_wxyz": 4, "scales": 3, "features": 3}.items()
        for case in itertools.product([name], [np.nan, np.inf, -np.inf], range(numbers))
    ],
)
def test_what_is_not_finite_is_not_drawn(name, value, at):
    bad = np.array(getattr(one(), name), np.float32)
    bad.reshape(-1)[at] = value
    for backend in ("cpu", "reference"):
        raster = rasterize(one(**{name: bad}), AHEAD, np.full(3, 0.25), backend, depth=True)
        assert (raster.color == 0.25).all() and (raster.transmittance == 1).all() and not raster.depth.any()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_covariances_and_harmonics_that_are_not_finite_are_not_drawn(value):
    covariances = np.array([[0.01, 0, 0, 0.01, 0, 0.01]])
    bad = [np.where(np.arange(6) == at, value, covariances) for at in range(6)]
    scenes = [one(quats_wxyz=None, scales=None, covariances=covariances) for covariances in bad]
    for gaussians in [*scenes, one(features=None, sh=np.full((1, 1, 3), value))]:
        for backend in ("cpu", "reference"):
            assert (rasterize(gaussians, AHEAD, backend=backend).transmittance == 1).all()


@pytest.mark.parametrize(
    "changes",
    [
        {"means": np.full((1, 3), 1e30)},
        {"means": np.array([[1e38, -1e38, 0]])},
        {"means": np.array([[0, 0, 1e300]])},
        {"scales": np.full((1, 3), 1e15)},
        {"scales": np.full((1, 3), 1e-30)},
        {"scales": np.full((1, 3), -0.05)},
        {"quats_wxyz": np.full((1, 4), 1e12)},
        {"quats_wxyz": np.zeros((1, 4))},
        {"opacities": np.array([-1.0])},
        {"opacities": np.array([1e30])},
        {"opacities": np.array([2.0])},
        {"features": np.full((1, 3), 3e38)},
        {"features": np.full((1, 3), -5)},
        {"means": np.array([[0, 0, 0.8]])},  # at the camera's near limit
        {"means": np.array([[0, 0, 1.0]])},  # in the camera
        {"means": np.array([[0, 0, 3.0]])},  # behind it
    ],
    ids=str,
)
def test_extreme_numbers_agree_with_the_twin(changes):
    gaussians = one(**changes)
    fast, slow = (rasterize(gaussians, AHEAD, np.full(3, 0.5), backend) for backend in ("cpu", "reference"))
    assert_agree(fast, slow, scale=max(1.0, float(np.abs(slow.color).max())))
    assert np.isfinite(fast.color).all()


@pytest.mark.parametrize(
    "covariance",
    [
        (0.01, 0.02, 0, 0.01, 0, 0.01),
        (0.02, 0, 0, -0.01, 0, 0),
        (-0.02, 0, 0, -0.02, 0, -0.02),
        (1e4, 1e4, 0, 1e4, 0, 1e4),
    ],
)
def test_covariances_that_are_none_agree_with_the_twin(covariance):
    # Not positive definite, or only just: the published code goes by the sign of the exponent alone.
    gaussians = one(quats_wxyz=None, scales=None, covariances=np.array([covariance]), opacities=np.array([0.7]))
    camera = replace(AHEAD, K=AHEAD.K + np.array([[0, 0, 0.3], [0, 0, -4.2], [0, 0, 0]]))
    assert_agree(rasterize(gaussians, camera), rasterize(gaussians, camera, backend="reference"))


def test_two_opaque_layers_let_a_hundredth_through():
    gaussians = one(
        means=np.array([[0, 0, 0.1], [0, 0, 0]]),
        opacities=np.ones(2),
        quats_wxyz=np.array([[1.0, 0, 0, 0]] * 2),
        scales=np.full((2, 3), 0.2),
        features=np.array([[1.0, 0, 0], [0, 1, 0]]),
    )
    raster = rasterize(gaussians, AHEAD, np.array([0, 0, 1.0]))
    np.testing.assert_allclose(raster.color[16, 16], [0.99, 0, 0.01], atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"opacities": np.ones(2)}, "opacities must be [1], got [2]"),
        ({"opacities": np.ones((1, 1))}, "opacities must be [1], got [1, 1]"),
        ({"features": np.ones((3, 3))}, "features must be [1, C], got [3, 3]"),
        ({"means": np.zeros((1, 4))}, "means must be [N, 3], got [1, 4]"),
        ({"scales": None}, "belong together"),
        ({"quats_wxyz": None, "scales": None}, "one of the two"),
        ({"covariances": np.zeros((1, 6))}, "one of the two"),
        ({"features": None}, "one of the two"),
        ({"sh": np.zeros((1, 1, 3))}, "one of the two"),
        ({"features": None, "sh": np.zeros((1, 25, 3))}, "25 coefficients"),
        ({"features": None, "sh": np.zeros((1, 25, 3)), "sh_degree": 4}, "sh_degree 4 is unknown"),
        ({"features": None, "sh": np.zeros((1, 4, 3)), "sh_degree": -1}, "sh_degree -1 is unknown"),
        ({"features": None, "sh": np.zeros((1, 4, 3)), "sh_degree": 2}, "needs 9 coefficients, sh has 4"),
        ({"features": np.array([["a", "b", "c"]])}, "must be numbers"),
    ],
)
def test_gaussians_that_disagree_are_refused(changes, words):
    with pytest.raises(MarotteError) as caught:
        one(**changes)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("background", [np.zeros(4), np.zeros((33, 33)), np.zeros((32, 33, 3)), np.array(["a"] * 3)])
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_backgrounds_of_another_shape_are_refused(background, backend):
    with pytest.raises(MarotteError, match=r"background is .* give numbers, \[3\] or \[33, 33, 3\]"):
        rasterize(one(), AHEAD, background, backend)


def test_back_ends_that_are_not_known_are_refused():
    with pytest.raises(MarotteError, match="no rasterizer is called 'cpuu': did you mean 'cpu'"):
        rasterize(one(), AHEAD, backend="cpuu")


def test_other_arrays_than_numpy_need_another_back_end():
    class Tensor:
        shape = (1, 3)

    with pytest.raises(MarotteError, match=r"no rasterizer draws .*Tensor: give numpy arrays"):
        rasterize(one(means=Tensor()), AHEAD)


def test_pictures_that_fit_no_memory_are_refused():
    with pytest.raises(MarotteError, match="100000x100000"):
        rasterize(one(), replace(AHEAD, width=100_000, height=100_000))


def test_lists_that_fit_no_memory_are_refused():
    size = 4096
    count = _MAX_PAIRS // (size // 32) ** 2 + 1
    gaussians = Gaussians(
        means=np.zeros((count, 3)),
        opacities=np.ones(count),
        quats_wxyz=np.tile([1.0, 0, 0, 0], (count, 1)),
        scales=np.full((count, 3), 10.0),
        features=np.ones((count, 3)),
    )
    with pytest.raises(MarotteError, match=f"{count} Gaussians touch"):
        rasterize(gaussians, facing_camera((0, 0, 0), 1.0, 0.5, (size, size)))


def test_one_pixel():
    camera = facing_camera((0, 0, 0), 1.0, 0.5, (1, 1))
    assert_agree(rasterize(one(), camera), rasterize(one(), camera, backend="reference"))


def test_an_8k_picture():
    camera = facing_camera((0, 0, 0), 1.0, 0.5, (7680, 4320))
    background = np.array([0.1, 0.2, 0.3], np.float32)
    large = rasterize(one(scales=np.full((1, 3), 0.002)), camera, background)
    assert large.color.shape == (4320, 7680, 3)
    assert (large.color[0, 0] == background).all() and (large.color[-1, -1] == background).all()
    # What a camera of the middle alone sees; its tiles begin where the large one's do.
    left, top = 3840 - 128, 2160 - 112
    crop_camera = camera.through(crop(left, top), 256, 224, "middle")
    middle = rasterize(one(scales=np.full((1, 3), 0.002)), crop_camera, background)
    np.testing.assert_allclose(large.color[top : top + 224, left : left + 256], middle.color, atol=2e-3)
    assert middle.color.max() > 0.9


@pytest.mark.parametrize("channels", [3, 32])
def test_the_number_of_threads_changes_nothing(monkeypatch, channels):
    gaussians, camera = head_scene(3000, size=200, channels=channels)
    whole = rasterize(gaussians, camera, np.full(channels, 0.5), depth=True)
    for threads in (1, numba.config.NUMBA_NUM_THREADS):
        numba.set_num_threads(threads)
        for workers in (1, 2, 3, 16, 100):
            monkeypatch.setattr(numba, "get_num_threads", lambda workers=workers: workers)
            raster = rasterize(gaussians, camera, np.full(channels, 0.5), depth=True)
            for name in ("color", "transmittance", "depth"):
                assert getattr(raster, name).tobytes() == getattr(whole, name).tobytes()
        monkeypatch.undo()


def test_several_threads_at_once():
    scenes = [random_scene(seed, channels=3) for seed in range(4)]
    expected = [rasterize(*scene).color for scene in scenes]
    faults = []

    def draw(scene, color):
        workspace = Workspace()
        for _ in range(20):
            gaussians, camera, background = scene
            again = rasterize(gaussians, camera, background, workspace=workspace).color
            if not np.array_equal(again, color):
                faults.append(scene)

    threads = [threading.Thread(target=draw, args=job) for job in zip(scenes, expected, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not faults and not any(thread.is_alive() for thread in threads)


def test_a_workspace_carries_nothing_from_picture_to_picture():
    workspace = Workspace()
    for seed in [*range(0, 24, 2), 3, 0]:
        gaussians, camera, background = random_scene(seed, channels=None if seed % 2 else 3)
        reused = rasterize(gaussians, camera, background, depth=True, workspace=workspace)
        fresh = rasterize(gaussians, camera, background, depth=True)
        for name in ("color", "transmittance", "depth"):
            np.testing.assert_array_equal(getattr(reused, name), getattr(fresh, name))


def test_a_workspace_allocates_once():
    workspace = Workspace()
    gaussians, camera = head_scene(500, size=64)
    first = rasterize(gaussians, camera, workspace=workspace).color
    rooms = {name: room.ctypes.data for name, room in workspace._rooms.items()}
    moved = replace(gaussians, means=gaussians.means * np.float32(1.001))
    second = rasterize(moved, camera, workspace=workspace).color
    assert {name: room.ctypes.data for name, room in workspace._rooms.items()} == rooms
    assert np.shares_memory(first, second)
    assert not np.shares_memory(rasterize(gaussians, camera).color, rasterize(gaussians, camera).color)


def test_a_workspace_serves_one_thread_at_a_time():
    workspace = Workspace()
    gaussians, camera = head_scene(100, size=32)
    settings = PublishedSettings.from_camera(camera)
    with pytest.raises(MarotteError, match="give each thread its own"):
        workspace.render(gaussians, settings, clock=lambda stage: workspace.render(gaussians, settings))
    assert workspace.render(gaussians, settings).color.any()


def test_the_clock_hears_every_stage():
    stages = []
    gaussians, camera = head_scene(100, size=32)
    Workspace().render(gaussians, PublishedSettings.from_camera(camera), clock=stages.append)
    assert stages == ["prepare", "sort", "bin", "blend"]


def test_one_compilation_serves_all_input():
    from marotte.renderers.rasterizers import cpu_blend, cpu_project

    warm_up((3,), sh=True)
    gaussians, camera, background = random_scene(2, channels=3)
    wide = replace(gaussians, means=np.asfortranarray(gaussians.means.astype(np.float64)))
    signatures = len(cpu_project.project.signatures), len(cpu_blend.blend.signatures)
    still = gaussians.features.copy()
    still.flags.writeable = False
    for variant in (gaussians, wide, replace(gaussians, features=still)):
        raster = rasterize(variant, camera, background)
        np.testing.assert_array_equal(raster.color, rasterize(gaussians, camera, background.tolist()).color)
    assert signatures == (len(cpu_project.project.signatures), len(cpu_blend.blend.signatures))


def test_arguments_are_left_as_they_were():
    gaussians, camera, background = random_scene(1)
    given = [gaussians.means, gaussians.opacities, gaussians.quats_wxyz, gaussians.scales, gaussians.sh, background]
    before = [array.copy() for array in given]
    rasterize(gaussians, camera, background, depth=True)
    for array, copy in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("seed", range(6))
def test_depths_are_sorted_stably(seed):
    random = np.random.default_rng(seed)
    depths = random.uniform(0.2, (0.3, 2, 1e6)[seed % 3], 3000).astype(np.float32)
    depths[::5] = depths[0]
    keys = depths.view(np.uint32).copy()
    keys[random.random(3000) < seed / 5] = UNSEEN
    order = sort_by_depth(keys, np.empty(3000, np.uint64), np.empty(3000, np.uint64)) & np.uint64(0xFFFFFFFF)
    expected = np.argsort(keys, kind="stable")
    np.testing.assert_array_equal(order, expected[keys[expected] != UNSEEN])


def pairs(count, size):
    gaussians, camera = head_scene(count, size=size)
    workspace = Workspace()
    rasterize(gaussians, camera, workspace=workspace)
    return workspace.pairs


def test_work_grows_no_faster_than_gaussians_and_pixels():
    # Timing is noise on shared cores: what is counted is pairs of tile and splat.
    assert pairs(4000, 256) <= 2 * pairs(2000, 256)
    assert pairs(8000, 256) <= 4 * pairs(2000, 256)
    assert pairs(2000, 512) <= 4 * pairs(2000, 256)


@pytest.mark.parametrize("count", [0, 1, 10, 3000])
def test_the_head_fills_the_picture_to_70_percent(count):
    gaussians, camera = head_scene(count, seed=1, size=300, channels=4)
    assert len(gaussians) == count and gaussians.channels == 4
    np.testing.assert_array_equal(gaussians.means, head_scene(count, seed=1, size=300, channels=4)[0].means)
    if count >= 3000:
        raster = rasterize(gaussians, camera)
        rows = np.flatnonzero((raster.transmittance < 0.5).any(axis=1))
        assert 0.68 * 300 <= len(rows) <= 0.73 * 300
        assert raster.transmittance[130:170, 130:170].max() < 0.02
        seen = camera.project(gaussians.means)
        assert 0.69 * 300 <= np.ptp(seen[:, 1]) <= 0.71 * 300


def test_importing_is_cheap():
    code = "import marotte.renderers.rasterizers, sys; print('numba' in sys.modules, 'torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False", "False"]
