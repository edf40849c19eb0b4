"""The blocks of the autoregressive transformer (`attn_blocks.`, `cond_logits_head.` in a checkpoint).

Each token is modulated by the sound at its place and time scale (adaptive layer norm, Peebles and Xie 2023), and
attends to the history, the tokens of coarser scales and those of its own. Keys and values of what came before are
kept, so every token passes a block once.

The stream of tokens stays in float32 where the products run in a shorter type.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marotte.models.artalk.config import WIDTH

# Of L2-normalised queries and keys (Liu et al. 2022): the largest factor of a query.
_MOST_SCALE = math.log(100)

# Keys and values of one block, each [B, heads, n, 64]; the keys have length 1.
KeysValues = tuple[Tensor, Tensor]


def _typed(layer: nn.Module, x: Tensor) -> Tensor:
    """Return layer(x), computed in the type of its weights and returned in that of x."""
    return layer(x.to(next(layer.parameters()).dtype)).to(x.dtype)


def _normed(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


class Attention(nn.Module):
    """Attention with queries and keys of length 1 and a learned factor for each head."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale_mul_1H11 = nn.Parameter(torch.full((1, heads, 1, 1), math.log(4.0)))
        self.query = nn.Linear(WIDTH, WIDTH)
        self.key = nn.Linear(WIDTH, WIDTH, bias=False)
        self.value = nn.Linear(WIDTH, WIDTH)
        self.proj = nn.Linear(WIDTH, WIDTH)

    def keys_values(self, x: Tensor) -> KeysValues:
        """Return the keys and values of tokens [B, n, 768]."""
        x = x.to(self.key.weight.dtype)
        return self._unit(self._split(self.key(x))), self._split(self.value(x))

    def forward(self, x: Tensor, past: KeysValues) -> tuple[Tensor, KeysValues]:
        """Return what tokens [B, n, 768] attend to in `past` and each other, and `past` with them behind it."""
        keys, values = (torch.cat(pair, dim=2) for pair in zip(past, self.keys_values(x), strict=True))
        factor = self.scale_mul_1H11.clamp(max=_MOST_SCALE).exp()
        queries = self._unit(self._split(self.query(x.to(self.query.weight.dtype))), factor)
        heads = F.scaled_dot_product_attention(queries, keys, values, scale=1.0)
        return self.proj(heads.transpose(1, 2).flatten(2)).to(x.dtype), (keys, values)

    def _split(self, x: Tensor) -> Tensor:
        """[B, n, 768] to [B, heads, n, 64]."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    @staticmethod
    def _unit(x: Tensor, factor: Tensor | float = 1.0) -> Tensor:
        """Bring each row to length 1, then times a factor, in float32 at least."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        return (F.normalize(wide, dim=-1) * factor).to(x.dtype)


class Block(nn.Module):
    """Attention and a feed-forward layer, both modulated by the sound."""

    def __init__(self, heads: int, audio_width: int) -> None:
        super().__init__()
        self.attn = Attention(heads)
        self.ffn = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(approximate="tanh"), nn.Linear(4 * WIDTH, WIDTH))
        self.ada_lin = nn.Sequential(nn.SiLU(), nn.Linear(audio_width, 6 * WIDTH))

    def modulation(self, audio: Tensor) -> Tensor:
        """Return what sound [B, n, audio width] does to the tokens: [B, n, 6, 768].

        In the published order: both gammas, both scales, both shifts; each first for the attention.
        """
        return _typed(self.ada_lin, audio).unflatten(-1, (6, WIDTH))

    def forward(self, x: Tensor, modulation: Tensor, past: KeysValues) -> tuple[Tensor, KeysValues]:
        """Return tokens [B, n, 768] after this block, and `past` with their keys and values behind it."""
        gamma1, gamma2, scale1, scale2, shift1, shift2 = modulation.unbind(2)
        attended, past = self.attn(_normed(x) * (1 + scale1) + shift1, past)
        x = x + gamma1 * attended
        spread = _typed(self.ffn, _normed(x) * (1 + scale2) + shift2)
        return x + gamma2 * spread, past


class ModulatedNorm(nn.Module):
    """The normalisation in front of the logits; in the published order scale, then shift, and no gamma."""

    def __init__(self, audio_width: int) -> None:
        super().__init__()
        self.ada_lin = nn.Sequential(nn.SiLU(), nn.Linear(audio_width, 2 * WIDTH))

    def forward(self, x: Tensor, audio: Tensor) -> Tensor:
        """Return [B, n, 768] of tokens of that shape and the sound [B, n, audio width] at each."""
        scale, shift = self.ada_lin(audio).unflatten(-1, (2, WIDTH)).unbind(2)
        return _normed(x) * (1 + scale) + shift
