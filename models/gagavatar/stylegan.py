"""The upsampler's second half: a StyleGAN2 decoder (Karras et al. 2020) whose every level is conditioned.

Sizes below are the published ones. Where the weights are half precision, the style, the sums over channels that
normalise the weights, the growing picture and all of the smallest sizes stay float32: these cost little, and what is
off in them is off in all of the picture.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from marotte.models.gagavatar.config import GAGAvatarConfig
from marotte.models.precision import keep_precision

_EPSILON = 1e-8
_SLOPE = 0.2
_STYLE_LAYERS = 8
# A side of the first level's picture; each is twice as large as the one before.
_SMALLEST = 4
# Levels of so many pixels and fewer are never shortened.
_EXACT_PIXELS = 16


def normal(*shape: int, std: float = 1.0) -> Tensor:
    """Return normal numbers; on the meta device none, where drawing any would import torch's compiler (4 s)."""
    empty = torch.empty(shape)
    return empty if empty.is_meta else empty.normal_(std=std)


def leaky(x: Tensor) -> Tensor:
    """Return the leaky ReLU that the whole upsampler uses."""
    return functional.leaky_relu(x, _SLOPE)


def resized(x: Tensor, factor: float) -> Tensor:
    """Return x [B, C, h, w] larger or smaller, linearly: corners not aligned, no antialiasing, no blur (a quirk)."""
    return functional.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def level_pixels(levels: int) -> list[int]:
    """Return the sides of the pictures of so many levels, from the second on: 8, 16, ..."""
    return [_SMALLEST << i for i in range(1, levels)]


class LeakyReLU(nn.Module):
    """`leaky` as a module."""

    def forward(self, x: Tensor) -> Tensor:
        """Return `leaky` of x."""
        return leaky(x)


class ExactLinear(nn.Linear):
    """A linear map whose numbers are never shortened."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "ExactLinear":
        return super()._apply(keep_precision(fn), recurse)

    def forward(self, x: Tensor) -> Tensor:
        """Return the map of x [..., inputs], in the type of the weights."""
        return super().forward(x.to(self.weight.dtype))


class Level(nn.Module):
    """A part of the network that works at one size; at small ones its numbers are never shortened.

    pixels: a side of what it returns.
    """

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.exact = pixels <= _EXACT_PIXELS

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        return super()._apply(keep_precision(fn) if self.exact else fn, recurse)


class PixelNorm(nn.Module):
    """Divides a style by the root of its mean square."""

    def forward(self, x: Tensor) -> Tensor:
        """Return styles [B, width] of mean square 1."""
        return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + _EPSILON)


class ModulatedConv(nn.Module):
    """A convolution whose input channels are weighed by a style.

    The published code multiplies the weights and convolves each picture by itself. Here the input is multiplied, and
    the output divided by the length of the weights, which is the same and lets a batch share one convolution.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, style_width: int, demodulate: bool) -> None:
        super().__init__()
        self.demodulate = demodulate
        self.weight = nn.Parameter(normal(1, outputs, inputs, kernel, kernel, std=1 / math.sqrt(inputs * kernel**2)))
        # A quirk: no 1 is added to the modulation; the checkpoint's bias has it.
        self.modulation = ExactLinear(style_width, inputs)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Return [B, outputs, h, w] of x [B, inputs, h, w] in styles [B, width]; where demodulated, times root 2."""
        weight, modulation = self.weight[0], self.modulation(style)
        x = x.to(weight.dtype)
        padding = weight.shape[-1] // 2
        if not self.demodulate:
            return functional.conv2d(x * _spread(modulation, x), weight, padding=padding)
        # The largest factor is taken out and divided by again, so that half precision never overflows.
        largest = modulation.abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(modulation.dtype).tiny)
        lengths = weight.to(modulation.dtype).square().sum(dim=(2, 3))
        scale = largest * torch.rsqrt(modulation.square() @ lengths.T + _EPSILON)
        x = functional.conv2d(x * _spread(modulation / largest, x), weight, padding=padding)
        return x * _spread(scale * math.sqrt(2), x)


def _spread(factors: Tensor, x: Tensor) -> Tensor:
    """Return factors [B, C] as [B, C, 1, 1] in x's type."""
    return factors[:, :, None, None].to(x.dtype)


class StyleConv(Level):
    """A modulated convolution with noise, maybe at twice the size."""

    def __init__(self, inputs: int, outputs: int, style_width: int, pixels: int, enlarge: bool) -> None:
        super().__init__(pixels)
        self.enlarge = enlarge
        self.modulated_conv = ModulatedConv(inputs, outputs, 3, style_width, demodulate=True)
        self.weight = nn.Parameter(torch.zeros(1))
        self.bias = nn.Parameter(torch.zeros(1, outputs, 1, 1))

    def forward(self, x: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        """Return [B, outputs, h, w] of x, which is half as large where it is enlarged; noise: [1 or B, 1, h, w]."""
        x = self.modulated_conv(resized(x, 2) if self.enlarge else x, style)
        return leaky(x + self.weight * noise.to(x.dtype) + self.bias)


class ToRGB(Level):
    """Adds a level's colours to the picture so far: at every size as exactly as at the smallest."""

    def __init__(self, inputs: int, style_width: int) -> None:
        super().__init__(_SMALLEST)
        self.modulated_conv = ModulatedConv(inputs, 3, 1, style_width, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))

    def forward(self, x: Tensor, style: Tensor, picture: Tensor | None = None) -> Tensor:
        """Return colours [B, 3, h, w], float32, of x [B, inputs, h, w]; picture: the colours at half the size."""
        colours = self.modulated_conv(x, style) + self.bias
        return colours if picture is None else colours + resized(picture, 2)


class ConstantInput(Level):
    """What every picture starts from."""

    def __init__(self, channels: int) -> None:
        super().__init__(_SMALLEST)
        self.weight = nn.Parameter(normal(1, channels, _SMALLEST, _SMALLEST))

    def forward(self, batch: int) -> Tensor:
        """Return it [B, c, 4, 4] for so many pictures."""
        return self.weight.expand(batch, -1, -1, -1)


class Noises(nn.Module):
    """The checkpoint's own noise: noise0 at 4 pixels, then two at each larger size."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        for i in range(2 * levels - 1):
            size = 2 ** ((i + 5) // 2)
            self.register_buffer(f"noise{i}", normal(1, 1, size, size))


class StyleDecoder(nn.Module):
    """The published `stylegan_decoder`, with twice as many channels as the conditions have."""

    def __init__(self, config: GAGAvatarConfig) -> None:
        super().__init__()
        width, channels = config.style_width, [2 * n for n in config.unet_channels]
        mlp: list[nn.Module] = [PixelNorm()]
        for _ in range(_STYLE_LAYERS):
            mlp += [ExactLinear(width, width), LeakyReLU()]
        self.style_mlp = nn.Sequential(*mlp)
        self.constant_input = ConstantInput(channels[0])
        self.style_conv1 = StyleConv(channels[0], channels[0], width, _SMALLEST, enlarge=False)
        self.to_rgb1 = ToRGB(channels[0], width)
        self.style_convs = nn.ModuleList()
        for pixels, (inputs, outputs) in zip(level_pixels(len(channels)), pairwise(channels), strict=True):
            self.style_convs.append(StyleConv(inputs, outputs, width, pixels, enlarge=True))
            self.style_convs.append(StyleConv(outputs, outputs, width, pixels, enlarge=False))
        self.to_rgbs = nn.ModuleList(ToRGB(outputs, width) for outputs in channels[1:])
        self.noises = Noises(len(channels))

    def forward(self, code: Tensor, conditions: Sequence[tuple[Tensor, Tensor]], noise: Sequence[Tensor]) -> Tensor:
        """Return logits [B, 3, 512, 512] of style codes [B, 512].

        conditions: scale and shift of each level from 8 pixels up. noise: 15 of [1 or B, 1, h, w].
        """
        style = self.style_mlp(code)
        x = self.style_conv1(self.constant_input(len(code)), style, noise[0])
        picture = self.to_rgb1(x, style)
        for i, (scale, shift) in enumerate(conditions):
            x = self.style_convs[2 * i](x, style, noise[2 * i + 1])
            # A quirk: the condition acts between a level's two convolutions, not after both.
            x = self.style_convs[2 * i + 1](x * scale + shift, style, noise[2 * i + 2])
            picture = self.to_rgbs[i](x, style, picture)
        return picture
