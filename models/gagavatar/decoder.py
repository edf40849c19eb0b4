"""From a picture to a map of features and one vector: DINOv2 and a decoder that fuses its levels.

The decoder is that of dense prediction transformers (Ranftl et al. 2021) with the picture itself joined to each level.
Sizes below are the published ones.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from marotte.models.gagavatar.config import GAGAvatarConfig
from marotte.models.gagavatar.dinov2 import DINOv2

# ImageNet's mean and deviation of red, green and blue, which DINOv2 was trained with.
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)


class Features(NamedTuple):
    """What is seen in B pictures. map: [B, 256, 296, 296]; vector: [B, 768]."""

    map: Tensor
    vector: Tensor


class ResidualConvUnit(nn.Module):
    """Two convolutions that are added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, c, h, w] of maps of that shape."""
        # A quirk: what is added to is the input before its activation.
        return x + self.conv2(self.conv1(x.relu()).relu())


class Fusion(nn.Module):
    """Joins a level with what came from the coarser ones, and enlarges."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # The coarsest level has nothing to join: there resConfUnit1 is in the checkpoint for its name alone.
        self.resConfUnit1 = ResidualConvUnit(channels)
        self.resConfUnit2 = ResidualConvUnit(channels)
        self.out_conv = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, level: Tensor | None, size: int) -> Tensor:
        """Return [B, c, size, size] of a map x [B, c, h, w] and a level of that shape, or none."""
        if level is not None:
            x = x + self.resConfUnit1(level)
        # A quirk: here corners are aligned, in every other resizing they are not.
        x = functional.interpolate(self.resConfUnit2(x), size=(size, size), mode="bilinear", align_corners=True)
        return self.out_conv(x)


class PictureEncoder(nn.Module):
    """The published `base_model`."""

    def __init__(self, config: GAGAvatarConfig) -> None:
        super().__init__()
        self.grid, self.image_size = config.vit_grid, config.image_size
        width, levels = config.features, config.decoder_channels
        self.dino_model = DINOv2(config)
        self.projects = nn.ModuleList(nn.Conv2d(config.vit_width, channels, 1) for channels in levels)
        self.resize_layers = nn.ModuleList(
            [
                nn.ConvTranspose2d(levels[0], levels[0], kernel_size=4, stride=4),
                nn.ConvTranspose2d(levels[1], levels[1], kernel_size=2, stride=2),
                nn.Identity(),
                nn.Conv2d(levels[3], levels[3], kernel_size=3, stride=2, padding=1),
            ]
        )
        self.layer_rn = nn.ModuleList(nn.Conv2d(n + 3, width, 3, padding=1, bias=False) for n in levels)
        self.refinenet = nn.ModuleList(Fusion(width) for _ in levels)
        self.output_conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, image: Tensor) -> Features:
        """Return the features of square pictures [B, 3, h, w], RGB 0 to 1."""
        image = _resized(image, (self.image_size, self.image_size))
        mean, deviation = (image.new_tensor(values)[:, None, None] for values in (_MEAN, _DEVIATION))
        image = (image - mean) / deviation
        tokens = self.dino_model(image)
        # A quirk: the class token is gone by now, so this is the top left patch of the picture. It was trained so.
        vector = tokens[-1][:, 0]
        levels = []
        for i, x in enumerate(tokens):
            x = self.projects[i](x.transpose(1, 2).unflatten(2, (self.grid, self.grid)))
            x = self.resize_layers[i](x)
            # A quirk: the picture's channels come first, and it is made small with antialiasing.
            levels.append(self.layer_rn[i](torch.cat([_resized(image, x.shape[-2:]), x], dim=1)))
        x = self.refinenet[0](levels[3], None, levels[2].shape[-1])
        x = self.refinenet[1](x, levels[2], levels[1].shape[-1])
        x = self.refinenet[2](x, levels[1], levels[0].shape[-1])
        x = self.refinenet[3](x, levels[0], 2 * levels[0].shape[-1])
        return Features(self.output_conv(x), vector)


def _resized(image: Tensor, size: tuple[int, ...]) -> Tensor:
    return functional.interpolate(image, size=list(size), mode="bilinear", align_corners=False, antialias=True)
