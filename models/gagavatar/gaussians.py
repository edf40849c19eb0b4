"""Gaussians as the network makes them, and the two small networks that do.

Sizes below are the published ones. Quaternions and scales are for a rasterizer that takes them as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from marotte.models.gagavatar.camera import DIRECTION_WIDTH
from marotte.models.gagavatar.config import GAGAvatarConfig

_LARGEST_SCALE = 0.05
# Of a Gaussian's features, the first are a rough colour.
_RGB = 3


@dataclass(frozen=True, eq=False)
class Looks:
    """N Gaussians of B identities without their places.

    features: [B, N, 32]. opacities: [B, N]. scales: [B, N, 3], world units. quats_wxyz: [B, N, 4], to be used as they
    are: those of a head are not of unit length (a quirk), and normalising them changes the picture.
    """

    features: Tensor
    opacities: Tensor
    scales: Tensor
    quats_wxyz: Tensor

    @staticmethod
    def join(parts: Sequence["Looks"]) -> "Looks":
        """Return the Gaussians of all parts, in this order."""
        return Looks(
            torch.cat([part.features for part in parts], dim=1),
            torch.cat([part.opacities for part in parts], dim=1),
            torch.cat([part.scales for part in parts], dim=1),
            torch.cat([part.quats_wxyz for part in parts], dim=1),
        )


class HeadGenerator(nn.Module):
    """The looks of the head's Gaussians, one a vertex."""

    def __init__(self, config: GAGAvatarConfig) -> None:
        super().__init__()
        width, hidden = config.features, config.hidden
        layers: list[nn.Module] = [nn.Linear(width + config.vit_width, width)]
        for _ in range(3):
            layers += [nn.ReLU(), nn.Linear(width, width)]
        # A quirk: no activation after the last of them.
        self.feature_layers = nn.Sequential(*layers)

        def branch(out: int) -> nn.Sequential:
            return nn.Sequential(nn.Linear(width + DIRECTION_WIDTH, hidden), nn.ReLU(), nn.Linear(hidden, out))

        self.color_layers = branch(config.channels)
        self.opacity_layers = branch(1)
        self.scale_layers = branch(3)
        self.rotation_layers = branch(4)

    def forward(self, x: Tensor, direction: Tensor) -> Looks:
        """Return the looks of vertices with features x [B, V, 1024], seen along encoded directions [B, 27]."""
        x = self.feature_layers(x)
        x = torch.cat([x, direction[:, None].expand(-1, x.shape[1], -1)], dim=2)
        colour = self.color_layers(x)
        return Looks(
            torch.cat([colour[..., :_RGB].sigmoid(), colour[..., _RGB:]], dim=-1),
            self.opacity_layers(x).sigmoid()[..., 0],
            self.scale_layers(x).sigmoid() * _LARGEST_SCALE,
            # A quirk: each of the four components is normalised over all vertices, so no quaternion is of unit length.
            functional.normalize(self.rotation_layers(x), dim=1),
        )


class PlaneGenerator(nn.Module):
    """The looks of an image plane's Gaussians, one a pixel of the map, and how far each is off the plane."""

    def __init__(self, config: GAGAvatarConfig) -> None:
        super().__init__()
        hidden = config.hidden
        outputs = (config.channels, 1, 3, 4, 1)
        self.outputs = outputs
        self.gaussian_conv = nn.Sequential(
            nn.Conv2d(config.features + DIRECTION_WIDTH, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, sum(outputs), 1),
        )

    def forward(self, x: Tensor, direction: Tensor) -> tuple[Looks, Tensor]:
        """Return the looks of a map [B, 256, h, w], row by row, and distances [B, h w, 1] in 0 to 1 world units."""
        directions = direction[:, :, None, None].expand(-1, -1, *x.shape[2:])
        x = self.gaussian_conv(torch.cat([x, directions], dim=1))
        colour, opacity, scale, quat_wxyz, distance = x.split(self.outputs, dim=1)
        # A quirk: the sigmoid, meant for the first three channels, acts on the map's first three columns.
        colour = torch.cat([colour[..., :_RGB].sigmoid(), colour[..., _RGB:]], dim=-1)
        looks = Looks(
            _rows(colour),
            _rows(opacity.sigmoid())[..., 0],
            _rows(scale.sigmoid() * _LARGEST_SCALE),
            _rows(functional.normalize(quat_wxyz, dim=1)),
        )
        return looks, _rows(distance.sigmoid())


def _rows(x: Tensor) -> Tensor:
    """Return [B, h w, C] of [B, C, h, w], row by row."""
    return x.flatten(2).transpose(1, 2).contiguous()
