"""GAGAvatar: one photo to a head of 3D Gaussians, and their drawing to a sharp picture (Chu and Harada 2024).

`config` needs no library; the rest needs torch, which `pip install 'marotte[gagavatar]'` brings and which is imported
when the network is first asked for.
"""

from typing import TYPE_CHECKING, Any

from marotte.models.gagavatar.config import GAGAvatarConfig
from marotte.models.lazy import lazy_name

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
    return lazy_name(__name__, _MODULES, name, "GAGAvatar", "gagavatar")
