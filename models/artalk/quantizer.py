"""Binary spherical quantisation at several time scales, coarse to fine; it has no parameters.

Source: Zhao et al. 2024 (BSQ), on the residuals of Tian et al. 2024 (next-scale prediction), in time. A bit b of C
stands for the value (2 b - 1) / sqrt(C). Decisions are always made in float32, whatever the networks around it use.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from marotte.models.artalk.resize import area, linear


class Quantizer:
    """patch_nums: tokens at each scale, the last of which is the full length T; L is their sum. code_dim: C."""

    def __init__(self, patch_nums: Sequence[int], code_dim: int) -> None:
        self.patch_nums = tuple(patch_nums)
        self.length = self.patch_nums[-1]
        self.unit = code_dim**-0.5

    def encode(self, features: Tensor) -> Tensor:
        """Return the bits, bool [B, L, C], of features [B, T, C].

        What each scale leaves over goes to the next. The features are not normalised, though the codes taken from
        them have length 1: a quirk of the published code. A mean of exactly zero is bit 0.
        """
        residual, levels = features.float(), []
        for count in self.patch_nums:
            bits = area(residual, count) > 0  # normalising each token first, as published, changes no sign
            residual = residual - linear(self.values(bits), self.length)
            levels.append(bits)
        return torch.cat(levels, dim=1)

    def values(self, bits: Tensor) -> Tensor:
        """Return what bits stand for, float32 of the same shape."""
        return (bits.float() * 2 - 1) * self.unit

    def decode(self, bits: Tensor) -> Tensor:
        """Return the features [B, T, C] that all levels of bits [B, L, C] add up to."""
        *_, total = self._sums(bits)
        return total

    def next_inputs(self, bits: Tensor) -> Tensor:
        """Return what a transformer is given for the scales after the first: [B, L - first, C].

        For each but the last scale, the sum up to it, averaged to the length of the next. Bits of the coarsest
        scales alone, [B, n, C], give the pieces that follow from them.
        """
        following = self.patch_nums[1:]
        return torch.cat([area(total, n) for total, n in zip(self._sums(bits), following, strict=False)], dim=1)

    def add_level(self, total: Tensor | None, bits: Tensor) -> Tensor:
        """Return the running sum [B, T, C] with one level's bits [B, n, C] added."""
        values = linear(self.values(bits), self.length)
        return values if total is None else total + values

    def _sums(self, bits: Tensor) -> Iterator[Tensor]:
        total, start = None, 0
        for count in self.patch_nums:
            if start == bits.shape[1]:
                return
            total = self.add_level(total, bits[:, start : start + count])
            yield total
            start += count
