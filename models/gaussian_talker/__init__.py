"""GaussianTalker: one filmed head of 3D Gaussians, moved by sound, blink and head pose (Cho et al. 2024).

`config`, `folder` and `windows` need no torch; the rest needs it, which `pip install 'marotte[gaussian-talker]'` brings
and which is imported when the network is first asked for.
"""

from typing import TYPE_CHECKING, Any

from marotte.errors import MarotteError
from marotte.models.gaussian_talker.config import TalkerConfig
from marotte.models.gaussian_talker.folder import ModelFolder, find_model, read_cfg_args

if TYPE_CHECKING:
    from marotte.models.gaussian_talker.camera import camera_token
    from marotte.models.gaussian_talker.gaussians import Canonical, Deformed, read_canonical, write_canonical
    from marotte.models.gaussian_talker.network import GaussianTalker, Prepared

__all__ = [
    "Canonical",
    "Deformed",
    "GaussianTalker",
    "ModelFolder",
    "Prepared",
    "TalkerConfig",
    "camera_token",
    "find_model",
    "read_canonical",
    "read_cfg_args",
    "write_canonical",
]
_MODULES = {
    "Canonical": "gaussians",
    "Deformed": "gaussians",
    "GaussianTalker": "network",
    "Prepared": "network",
    "camera_token": "camera",
    "read_canonical": "gaussians",
    "write_canonical": "gaussians",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    try:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        wanted = "pip install 'marotte[gaussian-talker]'"
        raise MarotteError(f"GaussianTalker needs torch, which is not installed: {wanted}") from None
