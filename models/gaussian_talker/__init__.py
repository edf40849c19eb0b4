"""GaussianTalker: one filmed head of 3D Gaussians, moved by sound, blink and head pose (Cho et al. 2024).

`config`, `folder` and `windows` need no torch; the rest needs it, which `pip install 'marotte[gaussian-talker]'` brings
and which is imported when the network is first asked for.
"""

from typing import TYPE_CHECKING, Any

from marotte.models.gaussian_talker.config import TalkerConfig
from marotte.models.gaussian_talker.folder import ModelFolder, find_model, read_cfg_args
from marotte.models.lazy import lazy_name

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
    return lazy_name(__name__, _MODULES, name, "GaussianTalker", "gaussian-talker")
