"""The motion VAE: chunks of normalised motion to codes and back (`basic_vae.` in a checkpoint).

Two quirks of the published network are kept: the softmax scale comes from the whole width, not from a head's, and the
feed-forward layers have no normalisation in front of them, nor the stacks one behind.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marotte.models.artalk.config import MOTION, ARTalkConfig


class SelfAttention(nn.Module):
    """Multi-head attention of a sequence [B, n, width] to itself, normalised in front."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = width**-0.5  # a quirk: not a head's width
        self.norm = nn.LayerNorm(width)
        self.to_qkv = nn.Linear(width, 3 * width, bias=False)
        self.to_out = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return [B, n, width]. mask: [1, 1, n, n], added to the scores."""
        q, k, v = self.to_qkv(self.norm(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        heads = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=self.scale)
        return self.to_out(heads.transpose(1, 2).flatten(2))


def _input_mapping(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.LeakyReLU(0.2))


def _layers(config: ARTalkConfig) -> nn.ModuleList:
    """Return attention and feed-forward layers by turns."""
    width, layers = config.vae_width, nn.ModuleList()
    for _ in range(config.vae_depth):
        hidden = int(1.5 * width)
        layers.append(SelfAttention(width, config.vae_heads))
        # A quirk: the only feed-forward layers here without a norm in front.
        layers.append(nn.Sequential(nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, width)))
    return layers


def _run(layers: nn.ModuleList, x: Tensor, mask: Tensor) -> Tensor:
    for attention, feed_forward in zip(layers[::2], layers[1::2], strict=True):
        x = x + attention(x, mask)
        x = x + feed_forward(x)
    return x


class Encoder(nn.Module):
    """Normalised motion with positions [B, n, 106] to features [B, n, C]."""

    def __init__(self, config: ARTalkConfig) -> None:
        super().__init__()
        self.inp_mapping = _input_mapping(MOTION, config.vae_width)
        self.code_mapping = nn.Linear(config.vae_width, config.code_dim)
        self.encoder_transformer = _layers(config)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the features; mask as in SelfAttention."""
        return self.code_mapping(_run(self.encoder_transformer, self.inp_mapping(x), mask))


class Decoder(nn.Module):
    """Features with positions [B, n, C] to normalised motion [B, n, 106]."""

    def __init__(self, config: ARTalkConfig) -> None:
        super().__init__()
        self.inp_mapping = _input_mapping(config.code_dim, config.vae_width)
        self.out_mapping = nn.Linear(config.vae_width, MOTION)
        self.decoder_transformer = _layers(config)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the normalised motion; mask as in SelfAttention."""
        return self.out_mapping(_run(self.decoder_transformer, self.inp_mapping(x), mask))


class MotionVAE(nn.Module):
    """Raw motion to features and back; T frames a chunk, C numbers a feature.

    The buffers motion_mean and motion_std are those of the checkpoint; without one they are 0 and 1.
    """

    enc_pos_embed: Tensor
    attn_mask: Tensor
    motion_mean: Tensor
    motion_std: Tensor

    def __init__(self, config: ARTalkConfig) -> None:
        super().__init__()
        frames = config.frames
        self.frames = frames
        # Positions are added to the inputs, at their own width, before they are mapped: a quirk.
        self.enc_pos_embed = nn.Parameter(torch.zeros(1, 2 * frames, MOTION))
        self.dec_pos_embed = nn.Parameter(torch.zeros(1, 2 * frames, config.code_dim))
        # The chunk before sees itself only; this chunk sees both.
        mask = torch.zeros(1, 1, 2 * frames, 2 * frames)
        mask[:, :, :frames, frames:] = -torch.inf
        self.register_buffer("attn_mask", mask)
        self.register_buffer("motion_mean", torch.zeros(MOTION))
        self.register_buffer("motion_std", torch.ones(MOTION))
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    def encode(self, motion: Tensor) -> Tensor:
        """Return the features [B, n, C] of raw motion [B, n, 106], n = T, or 2 T for a chunk and the one after it."""
        count = motion.shape[1]
        x = (motion - self.motion_mean) / self.motion_std + self.enc_pos_embed[:, :count]
        return self.encoder(x, self.attn_mask[:, :, :count, :count])

    def decode(self, features: Tensor) -> Tensor:
        """Return the raw motion [B, 2 T, 106] of features [B, 2 T, C]: the chunk before, then this chunk."""
        return self.decoder(features + self.dec_pos_embed, self.attn_mask) * self.motion_std + self.motion_mean
