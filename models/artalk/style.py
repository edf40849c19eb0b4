"""The style encoder: a clip of motion to one vector (`style_encoder.` in a checkpoint)."""

import math

import torch
from torch import Tensor, nn

from marotte.models.artalk.config import MOTION, STYLE_POSITIONS, STYLE_WIDTH


class PositionTable(nn.Module):
    """The sinusoids of Vaswani et al. 2017, as the buffer `pe` [1, 600, 128]."""

    pe: Tensor

    def __init__(self) -> None:
        super().__init__()
        position = torch.arange(STYLE_POSITIONS, dtype=torch.float32)[:, None]
        rate = torch.exp(torch.arange(0, STYLE_WIDTH, 2, dtype=torch.float32) * (-math.log(10000.0) / STYLE_WIDTH))
        angle = position * rate
        self.register_buffer("pe", torch.stack([angle.sin(), angle.cos()], dim=-1).reshape(1, STYLE_POSITIONS, -1))

    def forward(self, x: Tensor) -> Tensor:
        """Add positions to x [B, n, 128], n < 600.

        A quirk, kept for parity: every frame gets the one row of number n, so the encoder knows no order of frames.
        """
        return x + self.pe[:, x.shape[1]]


class MotionTransformer(nn.Module):
    """Normalised motion to features, a frame each."""

    def __init__(self) -> None:
        super().__init__()
        self.motion_proj = nn.Linear(MOTION, STYLE_WIDTH)
        layer = nn.TransformerEncoderLayer(
            STYLE_WIDTH, nhead=4, dim_feedforward=512, dropout=0.0, activation="gelu", batch_first=True
        )
        self.transformer = nn.TransformerEncoder(layer, num_layers=4, enable_nested_tensor=False)


class StyleEncoder(nn.Module):
    """Raw motion [B, n, 106] to [B, 128]. The buffers are those of the checkpoint; without one, 0 and 1."""

    motion_mean: Tensor
    motion_std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("motion_mean", torch.zeros(MOTION))
        self.register_buffer("motion_std", torch.ones(MOTION))
        self.PE = PositionTable()
        self.encoder = MotionTransformer()

    def forward(self, motion: Tensor) -> Tensor:
        """Return the mean over the frames of what the transformer makes of them."""
        x = self.encoder.motion_proj((motion - self.motion_mean) / self.motion_std)
        return self.encoder.transformer(self.PE(x)).mean(dim=1)
