"""The rasterizers against the pictures of the published kernels: reference/rasterizer/SPEC.md, section 10."""

import json

import numpy as np
import pytest

from marotte.renderers.gaussians import Gaussians
from marotte.renderers.rasterizers import PublishedSettings, rasterize
from marotte.renderers.rasterizers.cpu import Workspace
from marotte.renderers.rasterizers.reference import draw, list_tiles, project, tile_rects
from marotte.runtime.camera import Camera

SCENES = pytest.mark.reference_files("rasterizer/*.npz", without="rect_unit*")
# Of the SPEC: colour within the first on 99.8 % of the pixels, within the second everywhere.
TOLERANCES = {"anisotropic": (2e-4, 1e-2), "feature32": (1e-4, 4e-2)}
USUAL = (2e-5, 1e-2)
MEAN = 1e-5


def scene(file, degree=None):
    """The stored arrays, the Gaussians, the settings and the background [C] or [H, W, C]."""
    z = dict(np.load(file))
    gaussians = Gaussians(
        means=z["means3D"],
        opacities=z["opacities"][:, 0],
        quats_wxyz=z.get("rotations"),
        scales=z.get("scales"),
        covariances=z.get("cov3D_precomp"),
        features=z.get("colors_precomp"),
        sh=z.get("shs"),
        sh_degree=int(z["sh_degree"]) if degree is None else degree,
    )
    settings = PublishedSettings(
        image_width=int(z["width"]),
        image_height=int(z["height"]),
        tanfovx=float(z["tanfovx"]),
        tanfovy=float(z["tanfovy"]),
        viewmatrix=z["viewmatrix"],
        projmatrix=z["projmatrix"],
        campos=z["campos"],
        scale_modifier=float(z["scale_modifier"]),
    )
    background = z["bg"] if z["bg"].ndim == 1 else z["bg"].transpose(1, 2, 0)
    return z, gaussians, settings, background


def camera_of(z):
    fx, fy, cx, cy = z["cam_K"]
    K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    return Camera(z["cam_R"], z["cam_t"], K, int(z["width"]), int(z["height"]))


def pictures(z):
    """The stored pictures: of the scene's own degree (None), and of others where there are."""
    yield None, z["out_color"]
    for name in z:
        if name.startswith("out_color_deg"):
            yield int(name.removeprefix("out_color_deg")), z[name]


def agree(raster, color, z, file):
    close, flip = TOLERANCES.get(file.stem, USUAL)
    error = np.abs(raster.color - color.transpose(1, 2, 0))
    assert (error.max(axis=-1) <= close).mean() >= 0.998
    assert error.max() <= flip
    assert error.mean() < MEAN
    light = np.abs(raster.transmittance - z["out_final_T"])
    assert (light <= close).mean() >= 0.998 and light.max() <= flip
    if raster.depth is not None and "out_depth_map" in z:
        # Depth is several units where colour is one.
        error = np.abs(raster.depth - z["out_depth_map"][0]) / max(1.0, z["out_depth_map"].max())
        assert (error <= close).mean() >= 0.998 and error.max() <= flip


@SCENES
def test_pictures_of_the_published_inputs(reference_file):
    workspace = Workspace()
    stored = dict(np.load(reference_file))
    for degree, color in pictures(stored):
        z, gaussians, settings, background = scene(reference_file, degree)
        agree(workspace.render(gaussians, settings, background), color, z, reference_file)
        agree(workspace.render(gaussians, settings, background, depth=True), color, z, reference_file)


@SCENES
def test_pictures_through_a_camera(reference_file):
    z, gaussians, settings, background = scene(reference_file)
    if gaussians.scales is not None:
        scaled = gaussians.scales * np.float32(settings.scale_modifier)
        fields = {name: getattr(gaussians, name) for name in ("means", "opacities", "features", "sh", "sh_degree")}
        gaussians = Gaussians(**fields, quats_wxyz=gaussians.quats_wxyz, scales=scaled)
    agree(rasterize(gaussians, camera_of(z), background, depth=True), z["out_color"], z, reference_file)


@SCENES
def test_settings_of_a_camera(reference_file):
    z, _, settings, _ = scene(reference_file)
    made = PublishedSettings.from_camera(camera_of(z))
    np.testing.assert_allclose(made.viewmatrix, settings.viewmatrix, rtol=0, atol=1e-6)
    # The row of z is free.
    kept = [0, 1, 3]
    np.testing.assert_allclose(made.projmatrix[:, kept], settings.projmatrix[:, kept], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(made.campos, settings.campos, rtol=0, atol=2e-6)
    assert made.tanfovx == pytest.approx(settings.tanfovx, rel=1e-6)
    assert made.tanfovy == pytest.approx(settings.tanfovy, rel=1e-6)


@SCENES
def test_the_twin_to_the_last_bit(reference_file):
    z, gaussians, settings, _ = scene(reference_file)
    projected = project(gaussians, settings)
    seen = z["out_radii"] > 0
    np.testing.assert_array_equal(projected.drawn, seen)
    np.testing.assert_array_equal(projected.radii[seen], z["out_radii"][seen])
    np.testing.assert_array_equal(projected.rects[seen], z["out_rect"][seen])
    np.testing.assert_array_equal(projected.positions[seen], z["out_means2D"][seen])
    np.testing.assert_array_equal(projected.depths[seen], z["out_depths"][seen])
    if "out_conic_opacity" in z:
        np.testing.assert_array_equal(projected.conics[seen], z["out_conic_opacity"][seen, :3])
    if "out_rgb" in z:
        np.testing.assert_array_equal(projected.colours[seen], z["out_rgb"][seen])
    tiles = list_tiles(projected, settings)
    np.testing.assert_array_equal(np.concatenate(tiles), z["out_point_list"])
    np.testing.assert_array_equal(np.repeat(np.arange(len(tiles)), [len(t) for t in tiles]), z["out_tile_ids"])


@SCENES
def test_the_pictures_of_the_twin(reference_file):
    z, gaussians, settings, background = scene(reference_file)
    raster, last = draw(gaussians, settings, background, depth=True)
    agree(raster, z["out_color"], z, reference_file)
    assert (last == z["out_n_contrib"]).mean() >= 0.998


@pytest.mark.reference_files("rasterizer/rect_unit*.npz")
def test_tile_rectangles(reference_file):
    z = np.load(reference_file)
    rects = tile_rects(z["xy"], z["radius"].astype(np.float32), tuple(z["grid"]))
    np.testing.assert_array_equal(rects, z["rect"])


@pytest.mark.reference_files("rasterizer/manifest.json")
def test_every_scene_of_the_manifest_is_here(reference_file):
    for name in json.loads(reference_file.read_text())["files"]:
        assert (reference_file.parent / name).is_file()
