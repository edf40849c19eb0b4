"""What gsplat is asked to draw, through gsplat's own `rasterization`, projection and harmonics on the CPU.

Its kernels need a CUDA device. Here its PyTorch functions stand in for them where it has such, and for the rest (the
lists of tiles and the blending) our slow twin, fed with gsplat's own numbers: section 6 of the rasterizer reference.
"""

from dataclasses import replace

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.renderers.gaussians import Gaussians
from marotte.renderers.rasterizers import PublishedSettings, gsplat_backend, reference, tensors
from marotte.renderers.rasterizers.backends import backend
from marotte.renderers.rasterizers.first_use import small_scene
from marotte.renderers.rasterizers.reference import Projected, composite, draw, list_tiles, project

torch = pytest.importorskip("torch", reason="no torch")
gsplat = pytest.importorskip("gsplat", reason="no gsplat")

SCENES = pytest.mark.reference_files("rasterizer/*.npz", without="rect_unit*")
# Of section 6, and what float32 adds to it (thin splats, features of unit variance): colour at 99.8 % of the pixels.
CLOSE = {"anisotropic": 2e-4, "feature32": 1e-4}
USUAL = 2e-5
FLIP = 1e-2


@pytest.fixture(scope="module")
def twin_of():
    """A function that gives what the slow twin draws of a scene's file, with depth, drawn once."""
    made = {}

    def get(file, gaussians, settings, background):
        if file not in made:
            made[file], _ = draw(gaussians, settings, background, depth=True)
        return made[file]

    return get


@pytest.fixture
def recorded(monkeypatch):
    """Put gsplat's PyTorch functions and the slow twin's blending under `gsplat.rasterization`; hold its numbers.

    `recorded["settings"]` and `["published"]` are set by `drawn`: the view, and what the twin projects.
    """
    from gsplat import rendering
    from gsplat.cuda import _torch_impl

    record = {}
    # The version whose rules for alpha are the published ones.
    monkeypatch.setattr(gsplat, "__version__", "1.6.0")

    def projection(means, covars, quats, scales, viewmats, Ks, width, height, **options):
        assert quats is None and scales is None and covars.shape == (len(means), 6)
        assert all(array.is_contiguous() for array in (means, covars, viewmats, Ks))
        xx, xy, xz, yy, yz, zz = covars.unbind(dim=1)
        full = torch.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], dim=1).reshape(-1, 3, 3)
        # The kernels keep what lies at the near plane, the PyTorch function drops it.
        near = float(np.nextafter(np.float32(options["near_plane"]), np.float32(0)))
        numbers = _torch_impl._fully_fused_projection(
            means, full, viewmats, Ks, width, height, options["eps2d"], near, options["far_plane"]
        )
        record.update(means2d=numbers[1][0], depths=numbers[2][0], conics=numbers[3][0], colours=[])
        record["kept"] = (numbers[0][0] > 0).all(dim=1).numpy()
        return numbers

    def tiles(*arguments, **options):
        return None, None, None

    def blended(means2d, conics, colors, opacities, width, height, *arguments, **options):
        published, settings = record["published"], record["settings"]
        record["colours"].append(colors[0].numpy())
        # Its pixel centres are at i + 0.5.
        numbers = Projected(
            record["kept"],
            means2d[0].numpy() - np.float32(0.5),
            record["depths"].numpy(),
            conics[0].numpy(),
            published.radii,
            published.rects,
            colors[0].numpy(),
            opacities[0].numpy(),
        )
        lists = [ids[record["kept"][ids]] for ids in list_tiles(published, settings)]
        raster, _ = composite(numbers, lists, settings, np.zeros(colors.shape[2]))
        light = torch.from_numpy(raster.transmittance)[None, ..., None]
        return torch.from_numpy(raster.color)[None], 1 - light

    monkeypatch.setattr(rendering, "fully_fused_projection", projection)
    monkeypatch.setattr(rendering, "isect_tiles", tiles)
    monkeypatch.setattr(
        rendering, "isect_offset_encode", lambda ids, images, width, height: torch.zeros(images, height, width)
    )
    monkeypatch.setattr(rendering, "rasterize_to_pixels", blended)
    monkeypatch.setattr(
        rendering,
        "spherical_harmonics",
        lambda degree, directions, coefficients, masks=None: _torch_impl._spherical_harmonics(
            degree, directions, coefficients.expand(*directions.shape[:-1], *coefficients.shape[-2:])
        ),
    )
    return record


def drawn(record, gaussians, settings, background, depth=True):
    record.update(settings=settings, published=project(gaussians, settings))
    raster = gsplat_backend.draw(tensors.as_tensors(gaussians, "cpu"), settings, background, depth=depth)
    return tensors.raster_to(raster, None)


def agree(ours, expected, close=USUAL, flip=FLIP):
    for name in ("color", "transmittance", "depth"):
        a, b = getattr(ours, name), getattr(expected, name)
        assert a.dtype == np.float32 and a.shape == b.shape
        scale = max(1.0, np.abs(b).max())
        error = np.abs(a - b) / scale
        assert (error <= close).mean() >= 0.998, f"{name}: {np.quantile(error, 0.998)}"
        assert error.max() <= flip, f"{name}: {error.max()}"


@SCENES
def test_what_gsplat_is_given_makes_the_published_picture(reference_file, recorded, published_scene, twin_of):
    z, gaussians, settings, background = published_scene(reference_file)
    raster = drawn(recorded, gaussians, settings, background)
    published, colours = recorded["published"], np.concatenate(recorded["colours"], axis=1)
    seen = published.drawn & recorded["kept"]
    assert np.abs(recorded["means2d"].numpy() - 0.5 - published.positions)[seen].max() <= 2e-4
    np.testing.assert_allclose(recorded["depths"].numpy()[seen], published.depths[seen], rtol=2e-6)
    conics, expected = recorded["conics"].numpy()[seen], published.conics[seen]
    error = np.abs(conics - expected) / np.abs(expected).max(axis=1, keepdims=True)
    assert np.quantile(error, 0.999) <= 2e-4
    np.testing.assert_allclose(colours[seen, :-1], published.colours[seen], atol=1e-5)

    expected = twin_of(reference_file, gaussians, settings, background)
    stem = reference_file.stem
    agree(raster, expected, CLOSE.get(stem, USUAL), 4e-2 if stem == "feature32" else FLIP)
    error = np.abs(raster.color - z["out_color"].transpose(1, 2, 0)).max(axis=-1)
    assert (error <= CLOSE.get(stem, USUAL)).mean() >= 0.998


KINDS = [
    (False, 3, 0, None),
    (True, 3, 0, None),
    (False, 3, 16, 3),
    (False, 3, 16, 1),
    (True, 3, 4, 1),
    (False, 32, 0, None),
]


@pytest.mark.parametrize("kind", KINDS)
def test_the_scene_of_the_first_use(kind, recorded):
    gaussians, camera, background = small_scene(*kind)
    settings = PublishedSettings.from_camera(camera)
    agree(drawn(recorded, gaussians, settings, background), draw(gaussians, settings, background, depth=True)[0])


@SCENES
def test_the_cap_of_1_5_is_within_its_bound(reference_file, recorded, monkeypatch, published_scene, twin_of):
    _, gaussians, settings, background = published_scene(reference_file)
    monkeypatch.setattr(gsplat, "__version__", "1.5.3")
    expected = twin_of(reference_file, gaussians, settings, background)
    monkeypatch.setattr(reference, "ALPHA_MAX", np.float32(0.999))
    raster = drawn(recorded, gaussians, settings, background, depth=False)
    limit = backend("gsplat").deviation
    assert np.abs(raster.transmittance - expected.transmittance).max() <= limit
    assert np.abs(raster.color - expected.color).max() <= limit * max(1.0, np.ptp(expected.color))


def test_opacities_are_left_alone_where_the_cap_is_published_or_does_not_matter(monkeypatch):
    gaussians, camera, _ = small_scene()
    opacities = np.linspace(0, 1, 60, dtype=np.float32)
    opacities[:2] = 1.5, 40
    given = tensors.as_tensors(replace(gaussians, opacities=opacities), "cpu")
    settings = PublishedSettings.from_camera(camera)
    for version, expected in (
        ("1.5.3", np.where(np.arange(60) < 2, opacities, np.minimum(opacities, np.float32(0.99)))),
        ("1.6.0", opacities),
        ("2.0.1", opacities),
    ):
        monkeypatch.setattr(gsplat, "__version__", version)
        np.testing.assert_array_equal(gsplat_backend.converted(given, settings)["opacities"].numpy(), expected)


def test_the_clamp_of_an_offcentre_camera_is_the_published_one(recorded, monkeypatch):
    gaussians, camera, background = small_scene()
    settings = PublishedSettings.from_camera(camera)
    drawn(recorded, gaussians, settings, background)
    seen = recorded["published"].drawn & recorded["kept"]
    expected = recorded["published"].conics[seen]
    np.testing.assert_allclose(recorded["conics"].numpy()[seen], expected, rtol=1e-3, atol=2e-5)
    monkeypatch.setattr(gsplat_backend, "_CENTRED", np.inf)
    drawn(recorded, gaussians, settings, background)
    error = np.abs(recorded["conics"].numpy()[seen] - expected).max(axis=1) / np.abs(expected).max(axis=1)
    assert (error > 0.05).sum() >= 2, "no splat of the scene lies where the two clamps differ"


@pytest.mark.parametrize("shape", ["none", "colour", "picture"])
@pytest.mark.parametrize("depth", [False, True])
def test_backgrounds_lie_behind_what_is_drawn(shape, depth, recorded):
    gaussians, camera, picture = small_scene()
    settings = PublishedSettings.from_camera(camera)
    background = {"none": None, "colour": picture[0, 0], "picture": torch.from_numpy(picture)}[shape]
    raster = drawn(recorded, gaussians, settings, background, depth=depth)
    expected, _ = draw(gaussians, settings, background, depth=True)
    assert np.abs(raster.color - expected.color).max() <= 1e-4
    assert (raster.depth is not None) is depth


def test_what_is_not_finite_is_not_drawn(recorded):
    gaussians, camera, background = small_scene()
    settings = PublishedSettings.from_camera(camera)
    spoilt = {
        name: np.where(np.arange(60).reshape(-1, *[1] * (array.ndim - 1)) == 20 + at, bad, array)
        for at, (name, bad) in enumerate(
            {"means": np.nan, "scales": 3e30, "quats_wxyz": np.inf, "opacities": np.nan, "features": -np.inf}.items()
        )
        for array in [getattr(gaussians, name)]
    }
    whole = replace(gaussians, **spoilt)
    kept = np.r_[:20, 25:60]
    rest = Gaussians(**{name: getattr(gaussians, name)[kept] for name in spoilt})
    raster = drawn(recorded, whole, settings, background)
    assert np.isfinite(raster.color).all()
    agree(raster, draw(rest, settings, background, depth=True)[0])


def test_zero_gaussians_are_zeros_and_call_nobody():
    gaussians, camera, background = small_scene()
    settings = PublishedSettings.from_camera(camera)
    names = ("means", "opacities", "quats_wxyz", "scales", "features")
    none = Gaussians(**{name: torch.from_numpy(getattr(gaussians, name)[:0]) for name in names})
    raster = gsplat_backend.draw(none, settings, background, depth=True)
    assert not raster.color.any() and not raster.depth.any() and (raster.transmittance == 1).all()


def test_what_gsplat_cannot_hold_is_refused_by_name():
    gaussians, camera, _ = small_scene(False, 3, 4, 1)
    settings = PublishedSettings.from_camera(camera)
    given = tensors.as_tensors(gaussians, "cpu")
    with pytest.raises(MarotteError, match="gsplat draws pinhole cameras, and projmatrix is not that of tanfovx"):
        gsplat_backend.draw(given, replace(settings, tanfovx=settings.tanfovx * 1.1))
    with pytest.raises(MarotteError, match=r"gsplat takes the direction .* campos"):
        gsplat_backend.draw(given, replace(settings, campos=settings.campos + 1))
    with pytest.raises(MarotteError, match=r"background is .* give numbers, \[3\]"):
        gsplat_backend.draw(given, settings, torch.zeros(4))


@pytest.mark.parametrize("distance", [1.0, 30.0, 1000.0])
def test_the_pinhole_comes_back_from_the_settings(distance):
    _, camera, _ = small_scene()
    camera = replace(camera, t=camera.t * distance)
    view, K = gsplat_backend.pinhole_of(PublishedSettings.from_camera(camera))
    np.testing.assert_allclose(view[:3, :3], camera.R, atol=1e-6)
    np.testing.assert_allclose(K, camera.K, atol=1e-3)
