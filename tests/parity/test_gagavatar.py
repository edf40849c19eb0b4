"""The whole GAGAvatar network, full size, against the published code (reference/gagavatar/SPEC.md).

The files have no seed in them: MAROTTE_REFERENCE_SEED, or a `seed<n>` in their names, says it. The network and what it
saw are shared with test_gagavatar_renderer.py.
"""

import json
from contextlib import contextmanager
from copy import deepcopy

import numpy as np
import pytest

from marotte.models.gagavatar import GAGAvatarConfig

torch = pytest.importorskip("torch", reason="GAGAvatar needs torch")
camera = pytest.importorskip("marotte.models.gagavatar.camera")
gagavatar = pytest.importorskip("marotte.models.gagavatar.network")
from marotte.models.gagavatar.forehead import FOREHEAD, smooth_forehead  # noqa: E402
from marotte.models.gagavatar.gaussians import HeadGenerator, Looks, PlaneGenerator  # noqa: E402

# The bounds of section 12; what it measured between machines is at most a sixth of them.
LOOSE, USUAL, PICTURE = 1e-4, 2e-5, 1e-5
# What a file has samples of that no submodule gives.
RESULTS = {"input", "output", "output_zero_noise", "output_random_cpu_manual_seed_0"}


@pytest.fixture(scope="session")
def manifest(reference):
    return json.loads((reference / "gagavatar" / "manifest.json").read_text())


@contextmanager
def compared(module, prefix, arrays, limit_of):
    """While the block runs, hold what submodules give, and are given, against the samples that a fixture has of them.

    Names in the fixture: `prefix` and the submodule's; `.input` behind it for what it is given, `#k` for its k-th call.
    limit_of: a function of the name. Nothing is kept, so the check costs no memory.
    """
    wanted = {name for name in sampled(arrays) if name.startswith(prefix)}
    seen, calls, handles = set(), {}, []

    def watch(name):
        def hook(_, given, result):
            calls[name] = calls.get(name, -1) + 1
            for stage, value in {name: result, f"{name}#{calls[name]}": result, f"{name}.input": given[0]}.items():
                if stage in wanted:
                    compare(arrays, stage, value, limit_of(stage))
                    seen.add(stage)

        return hook

    for short, part in module.named_modules():
        handles.append(part.register_forward_hook(watch(prefix + short)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    assert seen == wanted - RESULTS, wanted - RESULTS - seen


def sampled(arrays):
    """The names of the tensors that a fixture has samples of."""
    return [key.removesuffix(".samples") for key in arrays if key.endswith(".samples")]


def compare(arrays, name, value, limit):
    """Hold a tensor against the samples, shape and statistics of a fixture."""
    value = value.detach().numpy()
    assert list(value.shape) == arrays[f"{name}.shape"].tolist(), name
    off = np.abs(value.ravel()[:: int(arrays[f"{name}.stride"])] - arrays[f"{name}.samples"]).max()
    assert off <= limit, (name, off)
    assert_statistics(value, arrays[f"{name}.stats"], limit, name)


def assert_statistics(value, statistics, limit, name):
    """Hold all of a tensor against [sum, mean, deviation, least, most]."""
    wide = value.astype(np.float64)
    mean = wide.mean()
    off = wide - mean
    got = np.array([mean, mean, np.sqrt(np.vdot(off, off) / wide.size), value.min(), value.max()])
    assert np.abs(got - statistics / [wide.size, 1, 1, 1, 1]).max() <= limit, name


def read(file):
    with np.load(file) as arrays:
        return dict(arrays)


def test_entries_are_the_published_ones(manifest):
    with torch.device("meta"):
        ours = gagavatar.GAGAvatar()
    parameters = {name for name, _ in ours.named_parameters()}
    got = {name: (list(x.shape), str(x.dtype), name in parameters) for name, x in ours.state_dict().items()}
    wanted = {
        entry["name"]: (entry["shape"], f"torch.{entry['dtype']}", entry["kind"] == "parameter")
        for entry in manifest["entries"]
    }
    assert got == wanted
    assert GAGAvatarConfig().gaussians == 180255 and GAGAvatarConfig().picture_size == 512


@pytest.mark.reference_files("gagavatar/generators*.npz")
def test_generators(reference_file, gagavatar_fill, reference_seed_of):
    arrays, seed, config = read(reference_file), reference_seed_of(reference_file), GAGAvatarConfig()
    direction = camera.encode_direction(torch.from_numpy(arrays["dirs"]))
    assert np.abs(direction.numpy() - arrays["direnc"]).max() <= USUAL
    made = {}
    with torch.no_grad():
        head = gagavatar_fill(HeadGenerator(config), "gs_generator_g.", seed)
        made["g"] = head(torch.from_numpy(arrays["linear_input"]), direction)
        for name in ("l0", "l1"):
            plane = gagavatar_fill(PlaneGenerator(config), f"gs_generator_{name}.", seed)
            made[name], distance = plane(torch.from_numpy(arrays["conv_input"]), direction)
            assert np.abs(distance.numpy() - arrays[f"{name}.positions"]).max() <= USUAL
    for name, looks in made.items():
        assert np.abs(looks.features.numpy() - arrays[f"{name}.colors"]).max() <= LOOSE
        assert np.abs(looks.opacities.numpy() - arrays[f"{name}.opacities"][..., 0]).max() <= USUAL
        assert np.abs(looks.scales.numpy() - arrays[f"{name}.scales"]).max() <= USUAL
        assert np.abs(looks.quats_wxyz.numpy() - arrays[f"{name}.rotations"]).max() <= LOOSE


@pytest.mark.reference_files("gagavatar/camera*.npz")
def test_cameras(reference_file):
    arrays = read(reference_file)
    rotvec = torch.from_numpy(arrays["emoca_rotation"])
    # The helper's own distance, which the frame builder replaces.
    driven = camera.driven_transform(rotvec, torch.tensor([0.0, 0.0, 5000 / 512]))
    assert (rotvec.numpy() == arrays["emoca_rotation"]).all()
    assert np.abs(driven.numpy() - arrays["emoca_transform"]).max() <= 1e-6
    transform = torch.from_numpy(arrays["cam_matrix"])
    view, projection, position = camera.rasterizer_camera(transform)
    assert (view.numpy() == arrays["viewmatrix"]).all()
    assert (position.numpy() == arrays["campos"]).all()
    assert np.abs(projection.numpy() - arrays["projmatrix"]).max() <= USUAL
    points, normal = camera.plane_points(transform, GAGAvatarConfig().plane_size)
    assert np.abs(normal.numpy() - arrays["plane_dirs"]).max() <= USUAL
    assert np.abs(points[:, ::41].numpy() - arrays["plane_points_every_41"]).max() <= USUAL
    row = arrays["plane_points_first_row"]
    assert np.abs(points[: len(row), : row.shape[1]].numpy() - row).max() <= USUAL
    for got, statistics in zip(points.numpy(), arrays["plane_points_stats"], strict=True):
        assert_statistics(got, statistics, USUAL, "plane_points")
    assert np.abs(camera.encode_direction(normal).numpy() - arrays["direnc"]).max() <= USUAL


@pytest.mark.reference_files("gagavatar/dino_decoder*.npz")
def test_every_stage_of_the_encoder(reference_file, gagavatar_photo, gagavatar_seen, gagavatar_network):
    arrays, network = read(reference_file), gagavatar_network(reference_file)
    image = gagavatar_photo(reference_file)
    resized = torch.nn.functional.interpolate(image, 518, mode="bilinear", antialias=True)
    compare(arrays, "f_image", resized, 1e-6)
    with compared(network.base_model, "base_model.", arrays, lambda name: USUAL if ".dino_model." in name else LOOSE):
        features = gagavatar_seen[reference_file] = network.encode(image)
    assert np.abs(features.vector.numpy() - arrays["out_global"]).max() <= USUAL
    found = features.map[0].numpy()
    assert np.abs(found[:4, 0] - arrays["out.row0_channels0_3"]).max() <= LOOSE
    assert np.abs(found[:, 148, 148] - arrays["out.center"]).max() <= LOOSE


@pytest.mark.reference_files("gagavatar/frame*.npz")
def test_frames(reference_file, gagavatar_photo, gagavatar_seen, gagavatar_network):
    arrays, network = read(reference_file), gagavatar_network(reference_file)
    picture = reference_file.with_name(reference_file.name.replace("frame", "dino_decoder", 1))
    features = gagavatar_seen.get(picture) or network.encode(gagavatar_photo(picture))
    source = torch.from_numpy(arrays["transform_matrix"])[None]
    planes, plane_means = network.plane_gaussians(features, source)
    drawn = Looks.join([network.head_looks(features, source), planes])
    smoothed, _ = smooth_forehead(torch.from_numpy(arrays["meshes"]))
    means = gagavatar.Identity(drawn, plane_means).means(smoothed[-1:])
    index = arrays["forehead_indices"]
    assert sorted(FOREHEAD) == sorted(index.tolist())
    assert np.abs(smoothed.numpy()[:, index] - arrays["t_points_forehead"]).max() <= USUAL
    assert np.abs(smoothed[-1].numpy() - arrays["t_points_last"]).max() <= USUAL

    driven = camera.driven_transform(torch.from_numpy(arrays["motions"])[:, 100:103], source[0, :, 3])
    assert np.abs(driven.numpy() - arrays["t_transform"]).max() <= USUAL
    view, projection, position = camera.rasterizer_camera(driven[-1:])
    for got, name in ((view, "viewmatrix"), (projection, "projmatrix"), (position, "campos")):
        assert np.abs(got[0].numpy() - arrays[f"raster.{name}"]).max() <= USUAL
    assert np.abs(arrays["raster.tanfov"] - camera.TAN_HALF_FOV).max() <= 1e-9
    assert arrays["raster.size"].tolist() == [network.config.picture_size] * 2

    values = {
        "means3D": (means, USUAL),
        "colors_precomp": (drawn.features, LOOSE),
        "opacities": (drawn.opacities[..., None], USUAL),
        "scales": (drawn.scales, USUAL),
        "rotations": (drawn.quats_wxyz, LOOSE),
    }
    head, plane = network.config.vertices, network.config.plane_size**2
    parts = {"": slice(None), "_g": slice(head), "_l0": slice(head, head + plane), "_l1": slice(head + plane, None)}
    for name, (value, limit) in values.items():
        whole = value[0].numpy()
        off = np.abs(whole[arrays["gaussian_index"]] - arrays[f"raster.{name}"]).max()
        assert off <= limit, (name, off)
        for part, rows in parts.items():
            statistics = arrays.get(f"raster.{name}.stats{part}")
            if statistics is not None:
                assert_statistics(whole[rows], statistics, limit, name + part)


@pytest.fixture
def drawn_picture(seeded_array, reference_seed_of):
    """A function that gives the picture [1, 32, 512, 512] that an upsampler file is made with."""

    def repeated(x, times):
        return x.repeat(times, axis=1).repeat(times, axis=2)

    def get(file):
        seed = reference_seed_of(file)
        coarse, middle, fine = (seeded_array(f"fixture.raster_{n}", (32, n, n), seed) for n in (16, 64, 512))
        image = repeated(np.float32(16) * coarse, 32) + np.float32(0.5) * repeated(np.float32(64) * middle, 8)
        return torch.from_numpy(image + np.float32(0.125) * (np.float32(512) * fine))[None]

    return get


@pytest.fixture(scope="module")
def painted():
    """What the upsampler made of the picture of upsampler files, by their paths."""
    return {}


@pytest.mark.reference_files("gagavatar/upsampler*.npz")
def test_every_stage_of_the_upsampler(reference_file, gagavatar_network, drawn_picture, painted):
    arrays, network = read(reference_file), gagavatar_network(reference_file)
    picture = drawn_picture(reference_file)
    compare(arrays, "input", picture, 1e-9)

    with compared(network.upsampler, "", arrays, lambda name: USUAL):
        output = painted[reference_file] = network.upsample(picture)
    compare(arrays, "output", output, PICTURE)
    assert np.abs(output[0, :, 256].numpy() - arrays["output.row256"]).max() <= PICTURE

    zero = [torch.zeros_like(noise) for noise in network.stored_noise()]
    drawn = network.random_noise(torch.Generator().manual_seed(0))
    with torch.no_grad():
        # Noise plays no part in what the U-Net says, so that is worked out once.
        steering = network.upsampler.steer(picture)
        compare(arrays, "output_zero_noise", network.upsampler.paint(steering, zero), PICTURE)
        random = network.upsampler.paint(steering, drawn)
    compare(arrays, "output_random_cpu_manual_seed_0", random, PICTURE)


@pytest.mark.reference_files("gagavatar/upsampler*.npz")
def test_bfloat16_is_as_near_as_it_must_be(reference_file, gagavatar_network, drawn_picture, painted):
    """float16, which the CPU is slow with, has three bits more."""
    network, picture = gagavatar_network(reference_file), drawn_picture(reference_file)
    short = deepcopy(network.upsampler).to(torch.bfloat16)
    with torch.no_grad():
        exact = painted[reference_file] if reference_file in painted else network.upsample(picture)
        off = short(picture) - exact
    assert off.abs().mean() < 2e-3 and off.square().mean() < 10**-4.5
