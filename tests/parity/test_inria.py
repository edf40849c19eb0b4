"""What packages of the family diff_gaussian_rasterization are asked to draw, and what is made of their pictures.

They are built from source for CUDA devices. Here modules of their names stand in, with their interface and its traps
(section 2 of the rasterizer reference), over our `cpu` rasterizer; one for each published variant.
"""

import sys
from collections import namedtuple
from dataclasses import replace
from importlib.machinery import ModuleSpec
from types import ModuleType

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.renderers.gaussians import Gaussians
from marotte.renderers.rasterizers import PublishedSettings, inria_backend, tensors
from marotte.renderers.rasterizers.cpu import Workspace
from marotte.renderers.rasterizers.first_use import small_scene
from marotte.renderers.rasterizers.reference import draw

torch = pytest.importorskip("torch", reason="no torch")

SCENES = pytest.mark.reference_files("rasterizer/*.npz", without="rect_unit*")
CLOSE = {"anisotropic": 2e-4, "feature32": 1e-4}
USUAL = 2e-5
FLIP = 1e-2

FIELDS = (
    "image_height image_width tanfovx tanfovy bg scale_modifier viewmatrix projmatrix sh_degree campos prefiltered "
    "debug"
)
PLAIN, WIDE = "diff_gaussian_rasterization", "diff_gaussian_rasterization_32d"


def stand_in(name, *, channels=3, picture_behind=False, returns="", fields=FIELDS, compiled_for=None):
    """A module of that name. returns: "", "depth" or "inverse depth", the third value of its pictures."""
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    module.calls = []
    form = namedtuple("GaussianRasterizationSettings", fields)

    class GaussianRasterizer(torch.nn.Module):
        def __init__(self, raster_settings):
            super().__init__()
            self.raster_settings = raster_settings

        def forward(
            self,
            means3D,
            means2D,
            opacities,
            shs=None,
            colors_precomp=None,
            scales=None,
            rotations=None,
            cov3D_precomp=None,
        ):
            s = self.raster_settings
            module.calls.append(s)
            count, size = len(means3D), (s.image_height, s.image_width)
            if (shs is None) == (colors_precomp is None):
                raise Exception("Please provide excatly one of either SHs or precomputed colors!")
            if shs is not None and channels != 3:
                raise Exception("For non-RGB, provide precomputed Gaussian colors!")
            if ((scales is None or rotations is None) == (cov3D_precomp is None)) or (
                (scales is None) != (rotations is None)
            ):
                raise Exception(
                    "Please provide exactly one of either scale/rotation pair or precomputed 3D covariance!"
                )
            shapes = {
                "means3D": (means3D, (count, 3)),
                "means2D": (means2D, (count, 3)),
                "opacities": (opacities, (count, 1)),
                "colors_precomp": (colors_precomp, (count, channels)),
                "scales": (scales, (count, 3)),
                "rotations": (rotations, (count, 4)),
                "cov3D_precomp": (cov3D_precomp, (count, 6)),
                "viewmatrix": (s.viewmatrix, (4, 4)),
                "projmatrix": (s.projmatrix, (4, 4)),
                "campos": (s.campos, (3,)),
            }
            for what, (value, shape) in shapes.items():
                assert value is None or (value.dtype == torch.float32 and value.is_contiguous()), what
                assert value is None or tuple(value.shape) == shape, what
                assert value is None or torch.isfinite(value).all(), what
            assert s.bg.dtype == torch.float32 and s.bg.is_contiguous()
            assert isinstance(s.tanfovx, float) and isinstance(s.sh_degree, int)
            assert s.prefiltered is False and s.debug is False and not getattr(s, "antialiasing", False)
            # Read without a look at its shape.
            read = s.bg.numpy().ravel()
            if picture_behind:
                behind = read[: channels * size[0] * size[1]].reshape(channels, *size).transpose(1, 2, 0)
            else:
                behind = read[:channels]
            optional = {"quats_wxyz": rotations, "scales": scales, "covariances": cov3D_precomp, "sh": shs}
            given = Gaussians(
                means=means3D.numpy(),
                opacities=opacities[:, 0].numpy(),
                features=None if colors_precomp is None else colors_precomp.numpy(),
                sh_degree=None if shs is None else s.sh_degree,
                **{what: None if value is None else value.numpy() for what, value in optional.items()},
            )
            settings = PublishedSettings(
                s.image_width,
                s.image_height,
                s.tanfovx,
                s.tanfovy,
                s.viewmatrix.numpy(),
                s.projmatrix.numpy(),
                s.campos.numpy(),
                s.scale_modifier,
            )
            raster = Workspace().render(given, settings, behind, depth=returns == "depth")
            color = torch.from_numpy(raster.color).permute(2, 0, 1).contiguous()
            if compiled_for:
                color = torch.zeros(compiled_for, *size)
            radii = torch.zeros(count, dtype=torch.int32)
            third = {"": (), "depth": (raster.depth,), "inverse depth": (1 - raster.transmittance,)}[returns]
            return color, radii, *(torch.from_numpy(value)[None] for value in third)

    module.GaussianRasterizationSettings, module.GaussianRasterizer = form, GaussianRasterizer
    return module


VARIANTS = {
    "published": lambda: [stand_in(PLAIN)],
    "wide": lambda: [stand_in(WIDE, channels=32)],
    "picture and depth": lambda: [stand_in(PLAIN, picture_behind=True, returns="depth")],
    "newest": lambda: [stand_in(PLAIN, returns="inverse depth", fields=f"{FIELDS} antialiasing")],
    "published and wide": lambda: [stand_in(PLAIN), stand_in(WIDE, channels=32)],
}


@pytest.fixture
def install(monkeypatch):
    """Make some of the modules, and none but them, be what Python finds."""

    def put(*modules):
        for name in inria_backend.MODULES:
            monkeypatch.delitem(sys.modules, name, raising=False)
        for module in modules:
            monkeypatch.setitem(sys.modules, module.__name__, module)
        return modules

    return put


def drawn(gaussians, settings, background, depth=True):
    raster = inria_backend.draw(tensors.as_tensors(gaussians, "cpu"), settings, background, depth=depth)
    return tensors.raster_to(raster, None)


def agree(ours, expected, close=USUAL, flip=FLIP):
    for name in ("color", "transmittance", "depth"):
        a, b = getattr(ours, name), getattr(expected, name)
        assert a.dtype == np.float32 and a.shape == b.shape and a.flags.c_contiguous
        error = np.abs(a - b) / max(1.0, np.abs(b).max())
        assert (error <= close).mean() >= 0.998, f"{name}: {np.quantile(error, 0.998)}"
        assert error.max() <= flip, f"{name}: {error.max()}"


@SCENES
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_published_pictures(reference_file, variant, install, published_scene):
    install(*VARIANTS[variant]())
    z, gaussians, settings, background = published_scene(reference_file)
    raster = drawn(gaussians, settings, background)
    close, flip = CLOSE.get(reference_file.stem, USUAL), 4e-2 if reference_file.stem == "feature32" else FLIP
    agree(raster, Workspace().render(gaussians, settings, background, depth=True), close, flip)
    error = np.abs(raster.color - z["out_color"].transpose(1, 2, 0)).max(axis=-1)
    assert (error <= close).mean() >= 0.998 and error.max() <= flip
    if "out_depth_map" in z:
        error = np.abs(raster.depth - z["out_depth_map"][0]) / max(1.0, z["out_depth_map"].max())
        assert (error <= close).mean() >= 0.998 and error.max() <= flip


KINDS = [
    (False, 3, 0, None),
    (True, 3, 0, None),
    (False, 3, 16, 3),
    (False, 3, 16, 1),
    (True, 3, 4, 1),
    (False, 32, 0, None),
    (False, 1, 0, None),
    (False, 7, 0, None),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("depth", [False, True])
def test_every_kind_of_gaussians_with_every_variant(kind, variant, depth, install):
    install(*VARIANTS[variant]())
    gaussians, camera, background = small_scene(*kind)
    settings = PublishedSettings.from_camera(camera)
    raster = drawn(gaussians, settings, background, depth)
    expected, _ = draw(gaussians, settings, background, depth=True)
    assert (raster.depth is not None) is depth
    agree(replace(raster, depth=raster.depth if depth else expected.depth), expected)


def test_the_package_that_needs_the_fewest_passes_is_used(install):
    plain, wide = install(stand_in(PLAIN), stand_in(WIDE, channels=32))
    for channels, depth, passes in (
        (2, False, (1, 0)),
        (3, False, (0, 1)),
        (31, False, (0, 1)),
        (31, True, (1, 1)),
        (32, False, (1, 1)),
    ):
        plain.calls.clear(), wide.calls.clear()
        gaussians, camera, background = small_scene(False, channels)
        drawn(gaussians, PublishedSettings.from_camera(camera), background, depth)
        assert (len(plain.calls), len(wide.calls)) == passes


def test_the_settings_are_the_published_ones(install):
    (plain,) = install(stand_in(PLAIN))
    gaussians, camera, background = small_scene(False, 3, 16, 2)
    settings = replace(PublishedSettings.from_camera(camera), scale_modifier=0.7)
    drawn(gaussians, settings, background)
    for call in plain.calls:
        assert (call.image_height, call.image_width, call.sh_degree) == (35, 49, 2)
        assert call.tanfovx == np.float32(49 / (2 * 55)) and call.tanfovy == np.float32(35 / (2 * 47))
        assert call.scale_modifier == 0.7
        np.testing.assert_array_equal(call.viewmatrix, settings.viewmatrix)
        np.testing.assert_array_equal(call.projmatrix, settings.projmatrix)
        np.testing.assert_array_equal(call.campos, settings.campos)
        point = np.append(gaussians.means[0], 1)
        np.testing.assert_allclose((point @ call.viewmatrix.numpy())[:3], camera.to_camera(point[:3]), atol=1e-5)


def test_what_is_not_finite_never_reaches_the_kernels(install):
    install(stand_in(PLAIN))
    gaussians, camera, background = small_scene()
    settings = PublishedSettings.from_camera(camera)
    means, features = gaussians.means.copy(), gaussians.features.copy()
    means[20, 1], features[21, 2] = np.nan, np.inf
    spoilt = replace(gaussians, means=means, features=features)
    kept = np.r_[:20, 22:60]
    names = ("means", "opacities", "quats_wxyz", "scales", "features")
    rest = Gaussians(**{name: getattr(gaussians, name)[kept] for name in names})
    agree(drawn(spoilt, settings, background), draw(rest, settings, background, depth=True)[0])


def test_zero_gaussians_are_zeros_and_call_nobody(install):
    (plain,) = install(stand_in(PLAIN))
    gaussians, camera, background = small_scene()
    names = ("means", "opacities", "quats_wxyz", "scales", "features")
    none = Gaussians(**{name: getattr(gaussians, name)[:0] for name in names})
    raster = drawn(none, PublishedSettings.from_camera(camera), background)
    assert not raster.color.any() and not raster.depth.any() and (raster.transmittance == 1).all()
    assert not plain.calls


def test_variants_that_are_not_known_are_refused_by_name(install):
    gaussians, camera, background = small_scene()
    settings = PublishedSettings.from_camera(camera)
    install(stand_in(PLAIN, fields=f"{FIELDS} tile_mask"))
    with pytest.raises(MarotteError, match="diff_gaussian_rasterization also want tile_mask"):
        drawn(gaussians, settings, background)
    install(stand_in(PLAIN, compiled_for=32))
    with pytest.raises(MarotteError, match=r"draws \[32, 35, 49\] where \[3, 35, 49\] was expected"):
        drawn(gaussians, settings, background)
