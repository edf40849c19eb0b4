"""DINOv2's vision transformer (Oquab et al. 2023), at the one picture size that its positions were trained for.

Names are those of the published checkpoint. Sizes below are those of ViT-B/14 at 518 x 518 pixels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from marotte.models.gagavatar.config import GAGAvatarConfig

_EPSILON = 1e-6
# A block's hidden layer is so many times as wide as the block.
_EXPANSION = 4
# Outputs of the last blocks that are given back.
_TAKEN = 4


class LayerScale(nn.Module):
    """A factor for each channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Return x [..., width] times the factors."""
        return x * self.gamma


class Attention(nn.Module):
    """Self-attention in which every token sees all; rows of `qkv` are all queries, then keys, then values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, tokens, width] of tokens of that shape."""
        queries, keys, values = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(queries, keys, values)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two linear maps with the exact GELU between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, _EXPANSION * width)
        self.fc2 = nn.Linear(_EXPANSION * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, tokens, width] of tokens of that shape."""
        return self.fc2(functional.gelu(self.fc1(x)))


class Block(nn.Module):
    """A transformer block that normalises before each part and scales what the part adds."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=_EPSILON)
        self.attn = Attention(width, heads)
        self.ls1 = LayerScale(width)
        self.norm2 = nn.LayerNorm(width, eps=_EPSILON)
        self.mlp = Mlp(width)
        self.ls2 = LayerScale(width)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, tokens, width] of tokens of that shape."""
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class PatchEmbed(nn.Module):
    """Tokens [B, 1369, 768] of pictures [B, 3, 518, 518], row by row."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=patch, stride=patch)

    def forward(self, image: Tensor) -> Tensor:
        """Return the tokens, not yet with positions."""
        return self.proj(image).flatten(2).transpose(1, 2)


class DINOv2(nn.Module):
    """The transformer, without registers."""

    def __init__(self, config: GAGAvatarConfig) -> None:
        super().__init__()
        width = config.vit_width
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + config.vit_grid**2, width))
        # In the checkpoint for its name alone: only training hides tokens.
        self.mask_token = nn.Parameter(torch.zeros(1, width))
        self.patch_embed = PatchEmbed(width, config.vit_patch)
        self.blocks = nn.ModuleList(Block(width, config.vit_heads) for _ in range(config.vit_depth))
        self.norm = nn.LayerNorm(width, eps=_EPSILON)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the patch tokens [B, 1369, 768] after each of the last four blocks, of normalised pictures.

        All four pass the same last norm; the class token is dropped.
        """
        patches = self.patch_embed(image)
        x = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1) + self.pos_embed
        taken = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i >= len(self.blocks) - _TAKEN:
                taken.append(self.norm(x)[:, 1:])
        return taken
