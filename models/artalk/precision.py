"""What stays exact: float32 products on CUDA, and the small parts of a model that is shortened."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


@contextmanager
def full_float32(device: torch.device) -> Iterator[None]:
    """Turn TF32 off for as long as the block runs, where the device is a GPU.

    The switch belongs to the process and is put back behind the block. TF32 keeps 10 bits of the factors' fractions,
    which can move a logit across its tie; torch's convolutions use it unless told otherwise.
    """
    if device.type != "cuda":
        yield
        return
    matmul: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn
    try:
        older = matmul.allow_tf32, cudnn.allow_tf32
    except RuntimeError:  # whoever set it used the newer names, which the older refuse to read
        newer = matmul.fp32_precision, cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision
        older = None
    # Set by the older names, which keep the newer in step; the other way round, torch may refuse to multiply.
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    try:
        yield
    finally:
        if older:
            matmul.allow_tf32, cudnn.allow_tf32 = older
        else:
            matmul.fp32_precision, cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision = newer


def keep_precision(convert: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return `convert` (what `Module.to` and the like apply) without what would shorten floating numbers."""

    def converted(tensor: Tensor) -> Tensor:
        result = convert(tensor)
        shorter = result.is_floating_point() and result.dtype.itemsize < tensor.dtype.itemsize
        return tensor.to(result.device) if shorter else result

    return converted
