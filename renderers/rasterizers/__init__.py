"""One file for each way to splat Gaussians, and the function that chooses."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from marotte.errors import MarotteError, unknown_name
from marotte.renderers.gaussians import Array, Gaussians, Raster
from marotte.renderers.rasterizers.published import PublishedSettings
from marotte.runtime.camera import Camera
from marotte.runtime.compiled import prepare

if TYPE_CHECKING:
    from marotte.renderers.rasterizers.cpu import Workspace

__all__ = ["BACKENDS", "Gaussians", "PublishedSettings", "Raster", "rasterize"]

# What each back end is called.
BACKENDS = ("cpu", "reference")


def rasterize(
    gaussians: Gaussians,
    camera: Camera,
    background: Array | None = None,
    backend: str = "auto",
    *,
    depth: bool = False,
    workspace: "Workspace | None" = None,
    clock: Callable[[str], None] | None = None,
) -> Raster:
    """Return the picture of N `gaussians` that `camera` sees, as the published rasterizer draws it.

    background: [C] or [H, W, C], linear with the colours; None is black. Zero Gaussians give zeros whatever
        the background, as published.
    backend: `cpu`, the compiled one; `reference`, the slow twin that defines the picture; `auto`, the fastest
        that draws arrays of this kind.
    depth: also return the depth map.
    workspace: of the `cpu` back end, to reuse memory from picture to picture; the Raster is then part of
        it and changes with the next picture.
    clock: called by the `cpu` back end with the name of each stage as it ends: prepare, sort, bin, blend.

    A Gaussian of which any number is not finite is not drawn, nor is one at or behind 0.2 world units
    in front of the camera. Opacities are used as they are: what is below 1/255 does not show, what is
    above 1 shows as a wider opaque core. Raises MarotteError for a background of another shape, a back end
    that is not known, and a picture or Gaussians too large for the memory.
    """
    if backend == "auto":
        if not isinstance(gaussians.means, np.ndarray):
            kind = type(gaussians.means)
            raise MarotteError(f"no rasterizer draws {kind.__module__}.{kind.__name__}: give numpy arrays")
        backend = "cpu"
    if backend not in BACKENDS:
        raise unknown_name("rasterizer", backend, ("auto", *BACKENDS))
    settings = PublishedSettings.from_camera(camera)
    if backend == "reference":
        from marotte.renderers.rasterizers.reference import draw

        return draw(gaussians, settings, background, depth=depth)[0]
    prepare()
    from marotte.renderers.rasterizers.cpu import Workspace

    return (workspace or Workspace()).render(gaussians, settings, background, depth=depth, clock=clock)
