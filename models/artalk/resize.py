"""The two ways in which ARTalk brings a sequence [B, n, C] to another length."""

from torch import Tensor
from torch.nn import functional as F


def area(x: Tensor, length: int) -> Tensor:
    """Average: output i is the mean of inputs floor(i n/m) to ceil((i+1) n/m) - 1, so windows may overlap.

    x: [B, n, C]. Returns [B, length, C].
    """
    if x.shape[1] == length:
        return x
    return F.adaptive_avg_pool1d(x.transpose(1, 2), length).transpose(1, 2)


def linear(x: Tensor, length: int) -> Tensor:
    """Interpolate with half-pixel centres, clamped at both ends; from one value it is a constant.

    x: [B, n, C]. Returns [B, length, C].
    """
    if x.shape[1] == length:
        return x
    return F.interpolate(x.transpose(1, 2), size=length, mode="linear", align_corners=False).transpose(1, 2)
