"""What the rasterizers of CUDA devices share: moving to and from torch, and what the published code leaves open.

torch is imported only by functions that are given tensors or make them.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.models.spherical_harmonics import sh_colours
from marotte.renderers.gaussians import Array, Gaussians, Raster
from marotte.renderers.rasterizers.published import PublishedSettings

FIELDS = ("means", "opacities", "quats_wxyz", "scales", "covariances", "features", "sh")


def no_cuda() -> str:
    """Return "" where torch can use a CUDA device, else one line that says why not and what mends it."""
    if find_spec("torch") is None:
        return "torch is not installed: pip install 'marotte[cuda]'"
    import torch

    if not torch.cuda.is_available():
        return (
            f"torch {torch.__version__} sees no CUDA device: it needs an NVIDIA GPU and its driver (`nvidia-smi` "
            "lists it), and a torch for CUDA (pip install --force-reinstall torch)"
        )
    return ""


def is_tensor(array: Array) -> bool:
    """Tell whether an array is a torch tensor, without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def device_of(gaussians: Gaussians) -> Any:
    """Return the torch device that the Gaussians are on, None where they are not tensors.

    Raises MarotteError where some are tensors and others are not, or lie on several devices.
    """
    given = {name: value for name in FIELDS if (value := getattr(gaussians, name)) is not None}
    places = {name: str(value.device) if is_tensor(value) else "" for name, value in given.items()}
    for name, place in places.items():
        if place != places["means"]:
            said = [f"a tensor on {where}" if where else "no tensor" for where in (place, places["means"])]
            raise MarotteError(f"{name} is {said[0]} and means is {said[1]}: bring them to one device")
    return gaussians.means.device if places["means"] else None


def to_tensor(array: Array, device: Any) -> Any:
    """Return an array as a contiguous float32 tensor without gradient on a device; a copy only where one is needed."""
    import torch

    if not is_tensor(array):
        array = torch.from_numpy(np.require(array, np.float32, ["C", "W"]))
    return array.detach().to(device, torch.float32).contiguous()


def to_numpy(array: Array) -> np.ndarray:
    """Return a tensor as a float32 numpy array, without a copy where it is one on the CPU; others as they are."""
    return array.detach().cpu().float().numpy() if is_tensor(array) else array


def as_tensors(gaussians: Gaussians, device: Any) -> Gaussians:
    """Return the Gaussians as `to_tensor` gives them."""
    return _each(gaussians, lambda array: to_tensor(array, device))


def as_numpy(gaussians: Gaussians) -> Gaussians:
    """Return the Gaussians as `to_numpy` gives them."""
    return _each(gaussians, to_numpy) if is_tensor(gaussians.means) else gaussians


def raster_to(raster: Raster, device: Any) -> Raster:
    """Return a picture on a torch device; as numpy arrays for None."""
    parts = (raster.color, raster.transmittance, raster.depth)
    move = to_numpy if device is None else lambda array: to_tensor(array, device)
    return Raster(*(None if part is None else move(part) for part in parts))


def only_finite(gaussians: Gaussians) -> Gaussians:
    """Return tensors of which every number is finite: a Gaussian of which one was not has the opacity 0.

    Such a Gaussian is not drawn; kernels that were not written for NaN see none. Nothing waits for the device.
    """
    import torch

    sound = torch.isfinite(gaussians.opacities)
    for name in FIELDS:
        value = getattr(gaussians, name)
        if value is not None:
            sound = sound & torch.isfinite(value).reshape(len(gaussians), -1).all(dim=1)
    cleaned = _each(gaussians, lambda array: torch.nan_to_num(array, nan=0.0, posinf=0.0, neginf=0.0))
    return replace(cleaned, opacities=torch.where(sound, cleaned.opacities, 0.0))


def with_covariances(gaussians: Gaussians, scale_modifier: float) -> Gaussians:
    """Return tensors whose shape is given by covariances [N, 6]; quaternions are used as they are, unit or not."""
    import torch

    if gaussians.covariances is not None:
        return gaussians
    assert gaussians.quats_wxyz is not None and gaussians.scales is not None
    w, x, y, z = gaussians.quats_wxyz.unbind(dim=1)
    rows = [
        1 - 2 * (y * y + z * z),
        2 * (x * y - w * z),
        2 * (x * z + w * y),
        2 * (x * y + w * z),
        1 - 2 * (x * x + z * z),
        2 * (y * z - w * x),
        2 * (x * z - w * y),
        2 * (y * z + w * x),
        1 - 2 * (x * x + y * y),
    ]
    spread = torch.stack(rows, dim=1).reshape(-1, 3, 3) * (gaussians.scales * scale_modifier)[:, None, :]
    a, b, c = spread.unbind(dim=1)
    # Summed, not multiplied as matrices, which TensorFloat-32 would round to ten bits.
    entries = [(first * second).sum(dim=1) for first, second in ((a, a), (a, b), (a, c), (b, b), (b, c), (c, c))]
    return replace(gaussians, quats_wxyz=None, scales=None, covariances=torch.stack(entries, dim=1))


def harmonic_colours(gaussians: Gaussians, centre: Any) -> Any:
    """Return colours [N, 3] of the Gaussians' spherical harmonics seen from `centre` [3]."""
    import torch

    assert gaussians.sh is not None and gaussians.sh_degree is not None
    away = gaussians.means - centre
    directions = away / torch.linalg.vector_norm(away, dim=1, keepdim=True)
    return sh_colours(gaussians.sh[:, : (gaussians.sh_degree + 1) ** 2], directions)


def upload(arrays: list[np.ndarray], device: Any) -> list[Any]:
    """Return float32 tensors of the arrays' shapes on a device: one transfer, which is not waited for."""
    import torch

    packed = torch.from_numpy(np.concatenate([np.asarray(array, np.float32).ravel() for array in arrays]))
    if torch.device(device).type == "cuda":
        packed = packed.pin_memory()
    parts = packed.to(device, non_blocking=True).split([array.size for array in arrays])
    return [part.reshape(array.shape) for part, array in zip(parts, arrays, strict=True)]


def behind(given: Array | None, settings: PublishedSettings, channels: int, device: Any) -> Any:
    """Return a background [C] or [H, W, C] as a tensor of that shape, None where it is None, which is black.

    Raises MarotteError for one of another shape.
    """
    if given is None:
        return None
    if not is_tensor(given):
        return to_tensor(settings.background(given, channels), device)
    # What checks the shape wants an array, and none of its values.
    settings.background(np.broadcast_to(np.float32(0), tuple(given.shape)), channels)
    return to_tensor(given, device)


def over(colours: Any, transmittance: Any, background: Any, depth: Any) -> Raster:
    """Return the picture of `colours` [H, W, C], drawn over black, with the background behind them."""
    if background is not None:
        colours = colours + transmittance[..., None] * background
    return Raster(colours.contiguous(), transmittance.contiguous(), None if depth is None else depth.contiguous())


def nothing(settings: PublishedSettings, channels: int, depth: bool, device: Any) -> Raster:
    """Return the picture of zero Gaussians: zeros, not the background, as published."""
    import torch

    size = (settings.image_height, settings.image_width)
    zeros = torch.zeros(size, device=device) if depth else None
    return Raster(torch.zeros((*size, channels), device=device), torch.ones(size, device=device), zeros)


@contextmanager
def working_on(device: Any) -> Iterator[None]:
    """Make a torch device the current one, without recording gradients: published kernels run on the current one."""
    import torch

    with torch.no_grad():
        if torch.device(device).type != "cuda":
            yield
            return
        with torch.cuda.device(device):
            yield


def _each(gaussians: Gaussians, change: Any) -> Gaussians:
    given = {name: value for name in FIELDS if (value := getattr(gaussians, name)) is not None}
    return replace(gaussians, **{name: change(value) for name, value in given.items()})
