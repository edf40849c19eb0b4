"""The table of rasterizers: what each is called, where it draws, and whether it can be used here.

The module of a rasterizer for CUDA devices has two functions: `why_not() -> str`, cheap, "" where it can draw, else
one line that says why not and what mends it; and `draw(gaussians, settings, background, *, depth) -> Raster` for
torch tensors on its device. A new one is such a module and a row here.
"""

import os
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from marotte.errors import MarotteError


@dataclass(frozen=True)
class Backend:
    """One rasterizer.

    module: of `why_not` and `draw`; "" for those that draw numpy arrays on the CPU and are always there.
    deviation: from the published picture that its own rules make, as a share of the range of colours; what its
        first use on a device is held to at nearly all pixels.
    """

    name: str
    module: str = ""
    deviation: float = 1e-3


_PACKAGE = "marotte.renderers.rasterizers"
_TABLE = {
    backend.name: backend
    for backend in (
        Backend("cpu"),
        Backend("reference"),
        Backend("triton", f"{_PACKAGE}.triton_backend"),
        # Up to 1.5.3 alpha is less than published by up to 0.0099 where opacities are above 0.99.
        Backend("gsplat", f"{_PACKAGE}.gsplat_backend", deviation=1.2e-2),
        Backend("diff_gaussian_rasterization", f"{_PACKAGE}.inria_backend"),
    )
}
BACKENDS = tuple(_TABLE)
# What draws the tensors of a CUDA device where nobody names one: the first that is there.
_PREFERRED = ("gsplat", "triton")


def backend(name: str) -> Backend:
    """Return the row of a rasterizer."""
    return _TABLE[name]


def load(name: str) -> Any:
    """Return the module of a rasterizer for CUDA devices."""
    return import_module(_TABLE[name].module)


@cache
def why_not(name: str) -> str:
    """Return "" where a rasterizer can draw here, else one line that says why not and what mends it.

    Compiles nothing. What it said first it says until the process ends.
    """
    return str(load(name).why_not()) if _TABLE[name].module else ""


def available() -> tuple[str, ...]:
    """Return the names of the rasterizers that can draw here."""
    return tuple(name for name in BACKENDS if not why_not(name))


def on_cuda() -> tuple[str, ...]:
    """Return the names of those of them that draw on CUDA devices."""
    return tuple(name for name in available() if _TABLE[name].module)


def check(name: str) -> None:
    """Raise MarotteError where a rasterizer cannot draw here."""
    if reason := why_not(name):
        raise MarotteError(f"rasterizer {name} cannot be used here: {reason}; here are {', '.join(available())}")


def choose(device: Any) -> str:
    """Return the rasterizer for tensors on a torch device, for numpy arrays where it is None.

    Raises MarotteError where none draws there.
    """
    if device is None or device.type == "cpu":
        return "cpu"
    if device.type != "cuda":
        raise MarotteError(f"no rasterizer draws tensors on {device}: bring them to a CUDA device or to the CPU")
    for name in _PREFERRED:
        if not why_not(name):
            return name
    reasons = "; ".join(f"{name}: {why_not(name)}" for name in _PREFERRED)
    raise MarotteError(f"no rasterizer draws tensors on {device} here ({reasons}); backend='cpu' fetches them")


def place(name: str, device: Any) -> Any:
    """Return the torch device on which a rasterizer draws what comes from `device`, None being numpy's."""
    import torch

    home = torch.device("cpu") if device is None else device
    if not _TABLE[name].module:
        return torch.device("cpu")
    if home.type == "cuda" or (name == "triton" and os.environ.get("TRITON_INTERPRET") == "1"):
        return home
    return torch.device("cuda", torch.cuda.current_device())
