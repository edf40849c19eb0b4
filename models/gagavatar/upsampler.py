"""From a rendered picture of 32 channels to RGB: a U-Net whose every level steers a StyleGAN2 decoder.

Sizes below are the published ones.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor, nn

from marotte.models.gagavatar.config import GAGAvatarConfig
from marotte.models.gagavatar.stylegan import (
    ExactLinear,
    LeakyReLU,
    Level,
    StyleDecoder,
    leaky,
    level_pixels,
    resized,
)
from marotte.models.precision import keep_precision


class Steering(NamedTuple):
    """What the U-Net says of B pictures. code: [B, 512]; conditions: scale and shift [B, c, h, w] from 8 pixels up."""

    code: Tensor
    conditions: list[tuple[Tensor, Tensor]]


class ResidualBlock(Level):
    """Two convolutions with a resize between them, beside a resized and narrowed copy of the input."""

    def __init__(self, inputs: int, outputs: int, pixels: int, factor: float) -> None:
        super().__init__(pixels)
        self.factor = factor
        self.conv1 = nn.Conv2d(inputs, inputs, 3, padding=1)
        self.conv2 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, outputs, h, w], resized, of x [B, inputs, h, w]."""
        x = x.to(self.skip.weight.dtype)
        inner = leaky(self.conv2(resized(leaky(self.conv1(x)), self.factor)))
        # A quirk: the sum is neither activated nor divided by the root of 2.
        return self.skip(resized(x, self.factor)) + inner


class Condition(Level, nn.Sequential):
    """Two convolutions: what a level of the U-Net says to the decoder's."""

    def __init__(self, channels: int, pixels: int) -> None:
        super().__init__(pixels)
        self.append(nn.Conv2d(channels, channels, 3, padding=1))
        self.append(LeakyReLU())
        self.append(nn.Conv2d(channels, 2 * channels, 3, padding=1))


class ExactConv2d(nn.Conv2d):
    """A convolution whose numbers are never shortened."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "ExactConv2d":
        return super()._apply(keep_precision(fn), recurse)


class StyleUNet(nn.Module):
    """The published `upsampler`."""

    def __init__(self, config: GAGAvatarConfig) -> None:
        super().__init__()
        channels = config.unet_channels
        lowest = channels[0]
        self.conv_body_first = nn.Conv2d(config.channels, channels[-1], 1)
        pixels = level_pixels(len(channels))
        self.conv_body_down = nn.ModuleList(
            ResidualBlock(a, b, n // 2, 0.5)
            for n, (a, b) in zip(reversed(pixels), pairwise(reversed(channels)), strict=True)
        )
        self.final_conv = ExactConv2d(lowest, lowest, 3, padding=1)
        self.conv_body_up = nn.ModuleList(
            ResidualBlock(a, b, n, 2) for n, (a, b) in zip(pixels, pairwise(channels), strict=True)
        )
        # In the checkpoint for its names alone.
        self.toRGB = nn.ModuleList(nn.Conv2d(n, 3, 1) for n in channels[1:])
        self.final_linear = ExactLinear(lowest * 16, config.style_width)
        self.stylegan_decoder = StyleDecoder(config)
        self.condition_scale = nn.ModuleList(Condition(*each) for each in zip(channels[1:], pixels, strict=True))
        self.condition_shift = nn.ModuleList(Condition(*each) for each in zip(channels[1:], pixels, strict=True))

    def stored_noise(self) -> list[Tensor]:
        """Return the checkpoint's own noise, [1, 1, h, w] for each of the decoder's layers in their order."""
        return list(self.stylegan_decoder.noises.buffers())

    def forward(self, picture: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """Return RGB [B, 3, 512, 512], 0 to 1, of rendered pictures [B, 32, 512, 512]; noise: None for the stored."""
        return self.paint(self.steer(picture), noise)

    def steer(self, picture: Tensor) -> Steering:
        """Return what steers the decoder; no noise is in it."""
        x = leaky(self.conv_body_first(picture.to(self.conv_body_first.weight.dtype)))
        downs = []
        for block in self.conv_body_down:
            x = block(x)
            downs.append(x)
        x = leaky(self.final_conv(x))
        code = self.final_linear(x.flatten(1))
        conditions = []
        for block, scale, shift in zip(self.conv_body_up, self.condition_scale, self.condition_shift, strict=True):
            # A quirk: the first of these is added to the very map that it was made of.
            x = block(x + downs.pop())
            conditions.append((scale(x), shift(x)))
        return Steering(code, conditions)

    def paint(self, steering: Steering, noise: Sequence[Tensor] | None = None) -> Tensor:
        """Return the picture [B, 3, 512, 512], 0 to 1."""
        return self.stylegan_decoder(*steering, self.stored_noise() if noise is None else noise).sigmoid()
