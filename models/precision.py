"""What stays exact: float32 products on CUDA, and the small parts of a model that is shortened."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


@contextmanager
def full_float32(device: torch.device) -> Iterator[None]:
    """Turn TF32 off for as long as the block runs, where the device is a GPU.

    The switch belongs to the process: the first of several blocks, in whatever threads, turns it, and the last puts it
    back. TF32 keeps 10 bits of the factors' fractions, which can move a logit across its tie; torch's convolutions use
    it unless told otherwise.
    """
    if device.type != "cuda":
        yield
        return
    with _SWITCHING:
        if not _INSIDE:
            _BACK.append(_turn_off())
        _INSIDE.append(None)
    try:
        yield
    finally:
        with _SWITCHING:
            _INSIDE.pop()
            if not _INSIDE:
                _BACK.pop()()


_SWITCHING = threading.Lock()
_INSIDE: list[None] = []  # one a block that runs
_BACK: list[Callable[[], None]] = []  # how the switch is put back


def _turn_off() -> Callable[[], None]:
    """Turn TF32 off; return what puts it back."""
    matmul: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn
    try:
        older = matmul.allow_tf32, cudnn.allow_tf32
    except RuntimeError:  # whoever set it used the newer names, which the older refuse to read
        newer = matmul.fp32_precision, cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision
        older = None
    # Set by the older names, which keep the newer in step; the other way round, torch may refuse to multiply.
    matmul.allow_tf32 = cudnn.allow_tf32 = False

    def put_back() -> None:
        if older:
            matmul.allow_tf32, cudnn.allow_tf32 = older
        else:
            matmul.fp32_precision, cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision = newer

    return put_back


def keep_precision(convert: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return `convert` (what `Module.to` and the like apply) without what would shorten floating numbers."""

    def converted(tensor: Tensor) -> Tensor:
        result = convert(tensor)
        shorter = result.is_floating_point() and result.dtype.itemsize < tensor.dtype.itemsize
        return tensor.to(result.device) if shorter else result

    return converted
