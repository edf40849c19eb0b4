"""Our Triton rasterizer against the pictures of the published kernels: reference/rasterizer/SPEC.md, section 10.

In Triton's interpreter on the CPU, and on a CUDA device where there is one.
"""

import importlib.util
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

# Scenes of so many Gaussians are interpreted in blocks of these sizes, those of fewer in the real ones: the interpreter
# takes about as long for a large block as for a small one.
MANY, WIDE, DEEP = 4000, 2048, 64

SCENES = pytest.mark.reference_files("rasterizer/*.npz", without="rect_unit*")


def published():
    """The module that the CPU rasterizer is compared by."""
    spec = importlib.util.spec_from_file_location("published", Path(__file__).with_name("test_rasterizer.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def interpreted_in_large_blocks(device, count):
    """While this is open, blocks of a scene of `count` Gaussians are large where they are interpreted."""
    from marotte.renderers.rasterizers import triton_bins, triton_blend, triton_project

    stack = ExitStack()
    if device == "cpu" and count >= MANY:
        stack.enter_context(patch.object(triton_project, "_BLOCK", WIDE))
        stack.enter_context(patch.object(triton_bins, "_BLOCK", WIDE))
        stack.enter_context(patch.object(triton_blend, "BLOCK", DEEP))
    return stack


def check_scene(device, file):
    from marotte.renderers.rasterizers.tensors import as_tensors, raster_to, to_tensor
    from marotte.renderers.rasterizers.triton_backend import draw

    theirs, file = published(), Path(file)
    stored, *_ = theirs.scene(file)
    for degree, color in theirs.pictures(stored):
        _, gaussians, settings, background = theirs.scene(file, degree)
        depth = degree is None
        with interpreted_in_large_blocks(device, len(gaussians.means)):
            raster = draw(as_tensors(gaussians, device), settings, to_tensor(background, device), depth=depth)
        theirs.agree(raster_to(raster, None), color, stored, file)


def check_projection(device, file):
    """Hold depths, positions, rectangles and what is drawn to the published lists, tile by tile."""
    import numpy as np

    from marotte.renderers.rasterizers.batch import GaussianBatch, Views
    from marotte.renderers.rasterizers.tensors import to_tensor
    from marotte.renderers.rasterizers.triton_bins import list_pairs, sort_and_count
    from marotte.renderers.rasterizers.triton_project import colours_of, put_on_screen

    z, gaussians, settings, _ = published().scene(Path(file))
    one = {name: getattr(gaussians, name) for name in ("quats_wxyz", "scales", "covariances", "features", "sh")}
    one = {name: None if value is None else to_tensor(value, device) for name, value in one.items()}
    if one["quats_wxyz"] is not None:
        one["quats_wxyz"] = one["quats_wxyz"][None]
    means, opacities = to_tensor(gaussians.means, device)[None], to_tensor(gaussians.opacities, device)
    batch = GaussianBatch(means, opacities, sh_degree=gaussians.sh_degree, **one)
    views = Views.stack([settings], device)

    def room(name, size, dtype):
        return torch.empty(size, dtype=dtype, device=device)

    features, usable = colours_of(batch, views, room)
    with interpreted_in_large_blocks(device, len(gaussians.means)):
        screen = put_on_screen(batch, views, usable, room)
    rows, hits = screen.rows.view(-1, 8).cpu().numpy(), screen.hits.cpu().numpy()
    seen = z["out_radii"] > 0
    assert not hits[~seen].any()
    np.testing.assert_array_equal(rows[seen, 6], z["out_depths"][seen])
    np.testing.assert_array_equal(rows[seen, :2], z["out_means2D"][seen])
    if "out_rgb" in z:
        np.testing.assert_allclose(features[0].cpu().numpy()[seen], z["out_rgb"][seen], atol=1e-6)

    # Of the published pairs those that the ellipse meets, in the published order.
    order, ends = sort_and_count(screen)
    grid = (-(-settings.image_width // 16), -(-settings.image_height // 16))
    capacity = max(int(ends[-1]), 1)
    with interpreted_in_large_blocks(device, len(gaussians.means)):
        ids, starts = (n.cpu().numpy() for n in list_pairs(screen, order, ends, 1, grid, capacity, room))
    left = 0
    for tile in range(grid[0] * grid[1]):
        own = ids[starts[tile] : starts[tile + 1]]
        published_list = z["out_point_list"][z["out_tile_ids"] == tile]
        places = {int(gaussian): place for place, gaussian in enumerate(published_list)}
        assert (np.diff([places[int(gaussian)] for gaussian in own]) > 0).all()
        left += len(published_list) - len(own)
    assert left > 0 or int(z["out_num_rendered"]) < 100


@SCENES
def test_pictures_of_the_published_inputs(on_triton, reference_file):
    on_triton("check_scene", str(reference_file))


@SCENES
def test_lists_are_the_published_ones_without_what_the_ellipses_miss(on_triton, reference_file):
    on_triton("check_projection", str(reference_file))
