"""Torch archives written without torch: what `torch.load(weights_only=True)` and `safe_files.read_torch` read.

The zip form of `torch.save`: `archive/data.pkl` is a pickle (protocol 2) in which each tensor is a call of
`torch._utils._rebuild_tensor_v2` on a storage that it names, and `archive/data/k` are the bytes of storage k.
Source: torch/serialization.py, as of torch 2.
"""

import math
import pickle
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.models.plain_files import written_whole
from marotte.models.safe_values import TORCH_STORAGES

_STORAGES = {code: storage for (_, storage), code in TORCH_STORAGES.items()}
_REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
_NO_HOOKS = b"ccollections\nOrderedDict\n)R"
# One date for all, so that the bytes depend on the content alone.
_DATE = (1980, 1, 1, 0, 0, 0)


def write_torch(path: Path, content: Any) -> None:
    """Write dicts, lists and tuples of numbers, text and numpy arrays, which become tensors of the same type.

    A function without arguments stands for the array that it returns: it is called when its turn comes, so that only
    one such array is in memory at a time. Broadcast arrays (stride 0) stay as small as they are. Raises MarotteError
    where a type has no counterpart in torch, or the file cannot be written.
    """
    with written_whole(path) as part, zipfile.ZipFile(part, "w") as archive:

        def put(name: str, data: bytes) -> None:
            archive.writestr(zipfile.ZipInfo(f"archive/{name}", _DATE), data)

        count = 0

        def store(data: bytes) -> str:
            nonlocal count
            put(f"data/{count}", data)
            count += 1
            return str(count - 1)

        program = b"\x80\x02" + b"".join(_pushed(content, store)) + b"."
        put("data.pkl", program)
        put("byteorder", b"little")
        put("version", b"3\n")


def _pushed(value: Any, store: Callable[[bytes], str]) -> Iterator[bytes]:
    """Yield the instructions that push a value; `store` keeps a storage's bytes and returns its name."""
    if callable(value):
        value = value()
    if isinstance(value, np.ndarray):
        yield _tensor(value, store)
    elif isinstance(value, np.generic):
        yield _plain(value.item())
    elif value is None or type(value) in (bool, int, float, str):
        yield _plain(value)
    elif isinstance(value, Mapping):
        yield b"}("
        for key, item in value.items():
            yield _plain(key)
            yield from _pushed(item, store)
        yield b"u"
    elif isinstance(value, list | tuple):
        first, last = (b"](", b"e") if isinstance(value, list) else (b"(", b"t")
        yield first
        for item in value:
            yield from _pushed(item, store)
        yield last
    else:
        raise MarotteError(f"a {type(value).__name__} cannot be written into a torch file: give arrays, numbers, text")


def _plain(value: Any) -> bytes:
    """Return the instructions that push a number, text, or a flat tuple of them."""
    return pickle.dumps(value, 2)[2:-1]


def _tensor(array: np.ndarray, store: Callable[[bytes], str]) -> bytes:
    """Return the instructions that push a tensor."""
    code = array.dtype.newbyteorder("=").str[1:]
    if code not in _STORAGES:
        raise MarotteError(f"an array of {array.dtype} cannot be a tensor: use {', '.join(sorted(_STORAGES))}")
    spread = tuple(step == 0 and size > 1 for step, size in zip(array.strides, array.shape, strict=True))
    base = np.asarray(array[tuple(slice(0, 1) if s else slice(None) for s in spread)], f"<{code}", order="C")
    strides = [0 if s else math.prod(base.shape[i + 1 :]) for i, s in enumerate(spread)]
    storage = b"(" + _plain("storage") + f"ctorch\n{_STORAGES[code]}\n".encode()
    storage += _plain(store(base.tobytes())) + _plain("cpu") + _plain(base.size) + b"tQ"
    view = _plain(0) + _plain(array.shape) + _plain(tuple(strides)) + _plain(False)
    return _REBUILD + b"(" + storage + view + _NO_HOOKS + b"tR"
