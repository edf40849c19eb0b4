"""What a frame is made of for the network: what is heard, how far the eyes are shut, and where the camera stands."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from marotte.models.gaussian_talker.config import AUDIO_CODE, CLASSES, EYE_CODE, WINDOWS

_SLOPE = 0.02
_WAVELENGTHS = 10000.0


class AudioNet(nn.Module):
    """One window of logits to a code of 32 numbers."""

    def __init__(self) -> None:
        super().__init__()
        channels = (CLASSES, 32, 32, 64, 64)
        self.encoder_conv = _convolutions(channels, stride=2)
        self.encoder_fc1 = nn.Sequential(nn.Linear(64, 64), nn.LeakyReLU(_SLOPE), nn.Linear(64, AUDIO_CODE))

    def forward(self, windows: Tensor) -> Tensor:
        """Return the codes [..., 32] of windows [..., 29, 16]."""
        x = self.encoder_conv(windows.flatten(0, -3))[..., 0]
        return self.encoder_fc1(x).unflatten(0, windows.shape[:-2])


class AudioAttention(nn.Module):
    """How much each of a frame's eight windows counts."""

    def __init__(self) -> None:
        super().__init__()
        self.attentionConvNet = _convolutions((AUDIO_CODE, 16, 8, 4, 2, 1), stride=1)
        self.attentionNet = nn.Sequential(nn.Linear(WINDOWS, WINDOWS), nn.Softmax(dim=1))

    def weights(self, codes: Tensor) -> Tensor:
        """Return the weights [B, 8], together 1, of codes [B, 8, 32]."""
        return self.attentionNet(self.attentionConvNet(codes.transpose(1, 2))[:, 0])

    def forward(self, codes: Tensor) -> Tensor:
        """Return the weighted sums [B, 32] of codes [B, 8, 32]."""
        return (self.weights(codes)[..., None] * codes).sum(dim=1)


class Mlp(nn.Module):
    """Two layers without biases."""

    def __init__(self, given: int, hidden: int, out: int) -> None:
        super().__init__()
        self.net = nn.ModuleList([nn.Linear(given, hidden, bias=False), nn.Linear(hidden, out, bias=False)])

    def forward(self, x: Tensor) -> Tensor:
        """Return [..., out] of [..., given]."""
        return self.net[1](functional.relu(self.net[0](x)))


def eye_encoding(eye: Tensor) -> Tensor:
    """Return the codes [..., 32] float32 of how far eyes [...] are shut, 0 open to 1 shut, float64.

    Sines and cosines of the value times its frequencies (not divided by them, as is usual). The frequencies are
    rounded to float32, the products and their sines are not: a rounded value would be off by up to 3e-4.
    """
    steps = torch.arange(EYE_CODE // 2, device=eye.device, dtype=torch.float64)
    frequencies = torch.pow(_WAVELENGTHS, steps / (EYE_CODE // 2)).float().double()
    angles = eye.double()[..., None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2).float()


def _convolutions(channels: tuple[int, ...], stride: int) -> nn.Sequential:
    """Return convolutions from each number of channels to the next, an activation after every one."""
    layers: list[nn.Module] = []
    for given, out in pairwise(channels):
        layers += [nn.Conv1d(given, out, 3, stride, padding=1), nn.LeakyReLU(_SLOPE)]
    return nn.Sequential(*layers)
