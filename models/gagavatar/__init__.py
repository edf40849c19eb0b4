"""GAGAvatar: one photo to a head of 3D Gaussians, and their drawing to a sharp picture (Chu and Harada 2024).

`config` needs no library; the rest needs torch, which `pip install 'marotte[gagavatar]'` brings and which is imported
when the network is first asked for.
"""

from typing import TYPE_CHECKING, Any

from marotte.errors import MarotteError
from marotte.models.gagavatar.config import GAGAvatarConfig

if TYPE_CHECKING:
    from marotte.models.gagavatar.camera import RasterizerCamera, driven_transform, rasterizer_camera
    from marotte.models.gagavatar.decoder import Features
    from marotte.models.gagavatar.forehead import smooth_forehead
    from marotte.models.gagavatar.gaussians import Looks
    from marotte.models.gagavatar.network import GAGAvatar, Identity

__all__ = [
    "Features",
    "GAGAvatar",
    "GAGAvatarConfig",
    "Identity",
    "Looks",
    "RasterizerCamera",
    "driven_transform",
    "rasterizer_camera",
    "smooth_forehead",
]
_MODULES = {
    "Features": "decoder",
    "GAGAvatar": "network",
    "Identity": "network",
    "Looks": "gaussians",
    "RasterizerCamera": "camera",
    "driven_transform": "camera",
    "rasterizer_camera": "camera",
    "smooth_forehead": "forehead",
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
        raise MarotteError("GAGAvatar needs torch, which is not installed: pip install 'marotte[gagavatar]'") from None
