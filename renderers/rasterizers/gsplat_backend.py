"""gsplat behind our `draw`: the conversions of the rasterizer reference, sections 6 and 7.

What gsplat does otherwise is undone before it draws, so that its picture is the published one:

- its pixel centres lie at i + 0.5, as a `Camera`'s do, so the published half pixel is not subtracted;
- it normalises quaternions, the published code does not: it always gets covariances. Whether all are unit is known
  on the device only, and asking would wait for it; a few elementwise products do not;
- it clamps the Jacobian about the picture's middle, the published code about the optical axis. Where the two are not
  the same, covariances are sheared so that its Jacobian of them is the published one, which is exact;
- it keeps what lies at the near plane: the plane is the next number after 0.2;
- a background may be a picture: it draws over black, and the background is put behind what it let through.

What cannot be undone is bounded. Up to version 1.5.3 alpha is capped at 0.999, not at 0.99, so that opaque layers stop
a pixel before the published code does: up to 10 % of the range of colours in single pixels. The cap acts at each
pixel, which no opacity makes up for, but opacities that never reach it come near: those above 0.99 become 0.99, alpha
is then less than published by 0.0099 at most, and no pixel stops early. Gaussians are cut at 3.33 standard deviations,
not at rounded tiles (single pixels by less than 1 %, 5e-6 on average), and covariances whose projection has a negative
determinant are left out.
"""

import os
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.renderers.gaussians import Array, Gaussians, Raster
from marotte.renderers.rasterizers import tensors
from marotte.renderers.rasterizers.published import PublishedSettings
from marotte.renderers.rasterizers.rules import ALPHA_MAX, FRUSTUM_MARGIN, LOW_PASS, NEAR

# Since this version there is `gsplat.rasterization`, with covariances.
_OLDEST = (1, 0)
# Since this version alpha is capped as published.
_CAPPED = (1, 6)
_NEAR = float(np.nextafter(NEAR, np.float32(1)))
# The published code knows no far plane.
_FAR = float(np.finfo(np.float32).max)
# Principal points nearer to the middle than this, in pixels, are in the middle: settings round them by as much.
_CENTRED = 1e-3
_BUILD = "python -c 'import gsplat.cuda._backend'"


def why_not() -> str:
    """Return "" where gsplat is installed and built and torch has a CUDA device, else why not. Builds nothing."""
    if reason := tensors.no_cuda():
        return reason
    found = find_spec("gsplat")
    if found is None or not found.submodule_search_locations:
        return "gsplat is not installed: pip install 'marotte[gsplat]'"
    try:
        installed = version("gsplat")
    except PackageNotFoundError:
        installed = ""
    if installed and _release(installed) < _OLDEST:
        return f"gsplat {installed} is too old: pip install --upgrade gsplat"
    if not is_built(Path(next(iter(found.submodule_search_locations)))):
        return f"gsplat's CUDA code is not compiled yet: run `{_BUILD}` once, which takes nvcc and some minutes"
    return ""


def is_built(package: Path) -> bool:
    """Tell whether gsplat's extension is compiled: in its package, or in torch's folder of extensions."""
    return any(
        any(package.rglob(f"*{suffix}")) or any(extensions_folder().glob(f"gsplat*/gsplat*{suffix}"))
        for suffix in (".so", ".pyd")
    )


def extensions_folder() -> Path:
    """Return where torch keeps the extensions that it compiles, for this Python and this CUDA."""
    import torch
    from torch.utils.cpp_extension import get_default_build_root

    if told := os.environ.get("TORCH_EXTENSIONS_DIR"):
        return Path(told)
    cuda = "cpu" if torch.version.cuda is None else "cu" + torch.version.cuda.replace(".", "")
    python = f"py{sys.version_info.major}{sys.version_info.minor}{sys.abiflags}"
    return Path(get_default_build_root()) / f"{python}_{cuda}"


def _release(said: str) -> tuple[int, ...]:
    """Return the first two numbers of a version."""
    return tuple(int(number) for number in re.findall(r"\d+", said)[:2])


def draw(
    gaussians: Gaussians, settings: PublishedSettings, background: Array | None = None, *, depth: bool = False
) -> Raster:
    """Return the picture of `gaussians`, torch tensors, on their device.

    background: [C] or [H, W, C]; None is black. Raises MarotteError for a background of another shape and for
    settings that no pinhole camera has.
    """
    device = gaussians.means.device
    with tensors.working_on(device):
        picture = tensors.behind(background, settings, gaussians.channels, device)
        if len(gaussians) == 0:
            return tensors.nothing(settings, gaussians.channels, depth, device)
        import gsplat

        arguments = converted(gaussians, settings)
        drawn, alphas, _ = gsplat.rasterization(**arguments, render_mode="RGB+D" if depth else "RGB")
        colours = drawn[0, ..., : gaussians.channels]
        return tensors.over(colours, 1 - alphas[0, ..., 0], picture, drawn[0, ..., -1] if depth else None)


def converted(gaussians: Gaussians, settings: PublishedSettings) -> dict[str, Any]:
    """Return the arguments of `gsplat.rasterization` for one picture over black."""
    import gsplat
    import torch

    view, intrinsics = pinhole_of(settings)
    if gaussians.sh is not None and not np.allclose(settings.campos, -view[:3, :3].T @ view[:3, 3], atol=1e-3):
        raise MarotteError(
            f"gsplat takes the direction of spherical harmonics from the camera, and campos {settings.campos.tolist()} "
            "is not where it is: give campos = -R^T t, or use another rasterizer"
        )
    viewmat, K = tensors.upload([view, intrinsics], gaussians.means.device)
    # Scales that are finite may have a covariance that is not.
    gaussians = tensors.only_finite(tensors.with_covariances(gaussians, settings.scale_modifier))
    assert gaussians.covariances is not None
    xx, xy, xz, yy, yz, zz = gaussians.covariances.unbind(dim=1)
    covariances = torch.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], dim=1).reshape(-1, 3, 3)
    opacities = gaussians.opacities
    if _release(gsplat.__version__) < _CAPPED:
        # Those above 1 have a core that is opaque whatever the cap.
        opacities = torch.where((opacities > float(ALPHA_MAX)) & (opacities <= 1), float(ALPHA_MAX), opacities)
    middle = (settings.image_width / 2, settings.image_height / 2)
    if np.abs(intrinsics[:2, 2] - middle).max() > _CENTRED:
        covariances = _sheared(covariances, gaussians.means, viewmat, intrinsics, settings)
    return {
        "means": gaussians.means,
        "quats": None,
        "scales": None,
        "opacities": opacities,
        "colors": gaussians.features if gaussians.sh is None else gaussians.sh,
        "sh_degree": gaussians.sh_degree if gaussians.sh is not None else None,
        "covars": covariances,
        "viewmats": viewmat[None],
        "Ks": K[None],
        "width": settings.image_width,
        "height": settings.image_height,
        "near_plane": _NEAR,
        "far_plane": _FAR,
        "eps2d": float(LOW_PASS),
        "packed": False,
        "rasterize_mode": "classic",
    }


def pinhole_of(settings: PublishedSettings) -> tuple[np.ndarray, np.ndarray]:
    """Return world to camera [4, 4] and K [3, 3], pixels from the picture's corner, float64.

    Raises MarotteError where the projection is no pinhole's, or has another focal length than the fields of view.
    """
    width, height = settings.image_width, settings.image_height
    view = settings.viewmatrix.T.astype(np.float64)
    clip = settings.projmatrix.T.astype(np.float64) @ np.linalg.inv(view)
    fx, fy = width / (2 * float(settings.tanfovx)), height / (2 * float(settings.tanfovy))
    cx, cy = (clip[0, 2] + 1) * width / 2, (clip[1, 2] + 1) * height / 2
    expected = np.array(
        [[2 * fx / width, 0, clip[0, 2], 0], [0, 2 * fy / height, clip[1, 2], 0], clip[2], [0, 0, 1, 0]]
    )
    rounding = 1e-4 * np.abs(expected[:2]).max() * max(1.0, float(np.abs(view[:3, 3]).max()))
    if not np.abs(clip - expected).max() <= rounding:
        raise MarotteError(
            f"gsplat draws pinhole cameras, and projmatrix is not that of tanfovx {settings.tanfovx:g} and tanfovy "
            f"{settings.tanfovy:g}: give both of one camera, or use another rasterizer"
        )
    return view, np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


def _sheared(covariances: Any, means: Any, viewmat: Any, K: np.ndarray, settings: PublishedSettings) -> Any:
    """Return covariances [N, 3, 3] of which gsplat's Jacobian makes what the published one makes of the given ones.

    The third column of a Jacobian is -f/z times the clamped slope. So J_gsplat (I + d e_z^T) = J_published with
    d = (slope of gsplat - slope published, the same of y, 0), and d is nil for what is well inside the picture.
    """
    import torch

    x, y, z = ((means[:, None, :] * viewmat[:3, :3]).sum(dim=2) + viewmat[:3, 3]).unbind(dim=1)
    shifts = []
    for slope, axis, tangent, size in (
        (x / z, 0, settings.tanfovx, settings.image_width),
        (y / z, 1, settings.tanfovy, settings.image_height),
    ):
        margin = (float(FRUSTUM_MARGIN) - 1) * tangent
        low, high = -K[axis, 2] / K[axis, axis] - margin, (size - K[axis, 2]) / K[axis, axis] + margin
        limit = float(FRUSTUM_MARGIN) * tangent
        shift = slope.clamp(low, high) - slope.clamp(-limit, limit)
        # What is at the camera is not drawn, whatever its slope.
        shifts.append(torch.where(z > _NEAR, shift, 0.0))
    across, down, forward = viewmat[0, :3], viewmat[1, :3], viewmat[2, :3]
    shift = shifts[0][:, None] * across + shifts[1][:, None] * down
    toward = (covariances * forward).sum(dim=2)
    mixed = shift[:, :, None] * toward[:, None, :]
    return (
        covariances
        + mixed
        + mixed.transpose(1, 2)
        + (toward * forward).sum(dim=1)[:, None, None] * (shift[:, :, None] * shift[:, None, :])
    )
