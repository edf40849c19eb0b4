"""One file for each way to splat Gaussians, and the function that chooses."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from marotte.errors import MarotteError, unknown_name
from marotte.renderers.gaussians import Array, Gaussians, Raster
from marotte.renderers.rasterizers import backends, tensors
from marotte.renderers.rasterizers.backends import BACKENDS
from marotte.renderers.rasterizers.published import PublishedSettings
from marotte.runtime.camera import Camera
from marotte.runtime.compiled import prepare

if TYPE_CHECKING:
    from marotte.renderers.rasterizers.cpu import Workspace

__all__ = ["BACKENDS", "Gaussians", "PublishedSettings", "Raster", "rasterize"]


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

    Numpy arrays give numpy arrays; torch tensors give tensors on their device, without gradients, wherever they
    were drawn.

    background: [C] or [H, W, C], linear with the colours; None is black. Zero Gaussians give zeros whatever
        the background, as published.
    backend: one of `BACKENDS`, or `auto`: `cpu` for numpy arrays and for tensors on the CPU; for those on a CUDA
        device `gsplat` where it is built, else `triton`. What the others need and how near they come is in
        docs/rasterizers.md; `reference` is the slow twin that defines the picture. A rasterizer of another device
        than the Gaussians' takes them there and brings the picture back.
    depth: also return the depth map.
    workspace: of the `cpu` back end, to reuse memory from picture to picture; the Raster is then part of
        it and changes with the next picture.
    clock: called by the `cpu` back end with the name of each stage as it ends: prepare, sort, bin, blend.

    A Gaussian of which any number is not finite is not drawn, nor is one at or behind 0.2 world units
    in front of the camera. Opacities are used as they are: what is below 1/255 does not show, what is
    above 1 shows as a wider opaque core. Raises MarotteError for a background of another shape, a back end
    that is not known, is not available here or draws another picture than it should (seen at its first use on a
    device), for Gaussians on several devices, and for a picture or Gaussians too large for the memory.
    """
    if backend not in ("auto", *BACKENDS):
        raise unknown_name("rasterizer", backend, ("auto", *BACKENDS))
    home = tensors.device_of(gaussians)
    if backend == "auto":
        if home is None and not isinstance(gaussians.means, np.ndarray):
            kind = type(gaussians.means)
            raise MarotteError(
                f"no rasterizer draws {kind.__module__}.{kind.__name__}: give numpy arrays or torch tensors"
            )
        backend = backends.choose(home)
    settings = PublishedSettings.from_camera(camera)
    if backends.backend(backend).module:
        return _on_device(backend, gaussians, settings, background, home, depth=depth)
    raster = _on_cpu(backend, gaussians, settings, background, depth=depth, workspace=workspace, clock=clock)
    return raster if home is None else tensors.raster_to(raster, home)


def _on_cpu(
    name: str,
    gaussians: Gaussians,
    settings: PublishedSettings,
    background: Array | None,
    *,
    depth: bool,
    workspace: "Workspace | None",
    clock: Callable[[str], None] | None,
) -> Raster:
    """Return a picture as numpy arrays, of arrays or of tensors from anywhere."""
    gaussians, background = tensors.as_numpy(gaussians), tensors.to_numpy(background)
    if name == "reference":
        from marotte.renderers.rasterizers.reference import draw

        return draw(gaussians, settings, background, depth=depth)[0]
    prepare()
    from marotte.renderers.rasterizers.cpu import Workspace

    return (workspace or Workspace()).render(gaussians, settings, background, depth=depth, clock=clock)


def _on_device(
    name: str, gaussians: Gaussians, settings: PublishedSettings, background: Array | None, home: Any, *, depth: bool
) -> Raster:
    """Return a picture that a rasterizer for CUDA devices draws, where the Gaussians came from: `home`."""
    from marotte.renderers.rasterizers import first_use

    backends.check(name)
    device = backends.place(name, home)
    gaussians = tensors.as_tensors(gaussians, device)
    behind = tensors.behind(background, settings, gaussians.channels, device)
    first_use.check(name, gaussians, device, depth=depth)
    raster = backends.load(name).draw(gaussians, settings, behind, depth=depth)
    return raster if device == home else tensors.raster_to(raster, home)
