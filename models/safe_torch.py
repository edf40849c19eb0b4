"""Torch archives as numpy arrays, without torch: the zip form of `torch.save` and the older one.

A tensor is a view (offset, sizes, strides) of a storage. In the zip form storage k is the member `data/k`; in
the older form (before torch 1.6, and still inside the pickles of single tensors) five pickles are followed by
the storages, each led by its number of elements. Source: torch/serialization.py, as of torch 2.
"""

import io
import os
import re
import sys
import zipfile
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, BinaryIO

import numpy as np

from marotte.models.safe_pickle import Machine
from marotte.models.safe_values import TORCH_STORAGES, Damage, Name, Refusal, Settler, TensorStub, array_from, count

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_START = b"\x80\x02\x8a\x0a" + LEGACY_MAGIC.to_bytes(10, "little")
_LEGACY_PROTOCOL = 1001
# An expanded tensor (stride 0) may have more elements than its storage, but not so many that a copy hurts.
_MOST_EXPANDED = 1 << 20


class Storage:
    """A run of elements of one type; its bytes are filled in once they are found in the file.

    load: returns the bytes when a tensor first needs them, where they are not to be read before.
    """

    def __init__(self, kind: Any, elements: Any) -> None:
        if type(kind) is not Name or kind not in TORCH_STORAGES:
            raise Damage("a tensor's storage has no element type")
        if type(elements) is not int or elements < 0:
            raise Damage(f"a storage of {str(elements)[:40]} elements")
        self.code, self.elements = TORCH_STORAGES[kind], elements
        self.flat: np.ndarray | None = None
        self.load: Callable[[], bytes] | None = None

    @property
    def itemsize(self) -> int:
        """Bytes an element."""
        return 2 if self.code == "bfloat16" else np.dtype(self.code).itemsize

    def fill(self, raw: bytes) -> None:
        """Take the bytes; raise Damage where their number is not the declared one."""
        if len(raw) != self.elements * self.itemsize:
            raise Damage(f"a storage of {self.elements} {self.code} elements has {len(raw)} bytes")
        if self.code == "bfloat16":
            halves = array_from(raw, np.dtype("u2"), (self.elements,))
            self.flat = (halves.astype(np.uint32) << 16).view(np.float32)
        else:
            self.flat = array_from(raw, np.dtype(self.code), (self.elements,))

    def tensor(self, stub: TensorStub) -> np.ndarray:
        """Return the read-only view that a tensor is of this storage."""
        if self.flat is None:
            if self.load is None:
                raise Damage("the bytes of a storage are missing")
            self.fill(self.load())
            assert self.flat is not None
        shape, strides, total = stub.shape, stub.strides, count(stub.shape)
        if len(shape) != len(strides):
            raise Damage(f"a tensor has {len(shape)} sizes and {len(strides)} strides")
        last = stub.offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        if (total and last >= self.elements) or total > max(self.elements, _MOST_EXPANDED):
            raise Damage(f"a tensor of shape {list(shape)} reaches beyond its storage of {self.elements} elements")
        if not total:
            return np.empty(shape, self.flat.dtype)
        steps = [step * self.flat.itemsize for step in strides]
        return np.lib.stride_tricks.as_strided(self.flat[stub.offset :], shape, steps, writeable=False)


def _storage_of(entry: Any, known: dict[str, Storage]) -> tuple[str, Storage]:
    """Return (key, storage) of a persistent id: ("storage", type, key, location, elements[, view])."""
    if type(entry) is not tuple or len(entry) not in (5, 6) or entry[0] != "storage" or type(entry[2]) is not str:
        raise Damage("a reference to a storage is not in torch's form")
    if len(entry) == 6 and entry[5] is not None:
        raise Damage("a storage is a part of another; save it again with a newer torch")
    name = entry[2]
    if name not in known:
        known[name] = Storage(entry[1], entry[4])
    elif known[name].code != TORCH_STORAGES.get(entry[1]) or known[name].elements != entry[4]:
        raise Damage(f"storage {name[:40]} is declared twice, differently")
    return name, known[name]


def read_legacy(data: bytes, *, inner: bool = False) -> Any:
    """Return what the older `torch.save` wrote; where `inner`, unsettled, as part of a larger pickle."""
    storages: dict[str, Storage] = {}
    at = 0
    parts = []
    for _ in range(5):  # magic, protocol, system, the object, the keys of its storages
        machine = Machine(data, at, lambda entry: _storage_of(entry, storages)[1], None if inner else nested)
        parts.append(machine.run())
        at = machine.at
    magic, protocol, system, value, keys = parts
    if magic != LEGACY_MAGIC or protocol != _LEGACY_PROTOCOL or type(keys) is not list:
        raise Damage("it is no torch archive")
    if type(system) is not dict or system.get("little_endian") is not True:
        raise Damage("it was written on a big-endian machine")
    if sorted(map(str, keys)) != sorted(storages):
        raise Damage("its storages are not those that its tensors name")
    for name in keys:
        storage = storages[name]
        start, size = at + 8, storage.elements * storage.itemsize
        if int.from_bytes(data[at:start], "little") != storage.elements:
            raise Damage(f"storage {name} declares another size than its tensors do")
        storage.fill(data[start : start + size])
        at = start + size
    return value if inner else Settler(machine).settle(value)


def nested(data: bytes) -> Any:
    """Return the storage that `torch.storage._load_from_bytes` stands for, read by the same rules, one level deep."""
    if not data.startswith(LEGACY_START):
        Machine(data).run()  # for its refusal, which names what the inner pickle asks for
        raise Refusal("hides a pickle in a tensor that is no torch archive")
    value = read_legacy(data, inner=True)
    if not isinstance(value, Storage):
        raise Damage("an archive in it is not one storage")
    return value


class ZipMembers:
    """The plainly stored members of a zip that lies in memory, or in an open file."""

    def __init__(self, data: bytes | BinaryIO) -> None:
        file = io.BytesIO(data) if isinstance(data, bytes) else data
        self.archive = zipfile.ZipFile(file)
        # Members may overlap, so the file's size bounds what is read in all.
        self.budget = file.seek(0, os.SEEK_END)

    def root(self) -> str | None:
        """Return the folder that holds `data.pkl`, or None where there is none."""
        roots = [n.removesuffix("data.pkl") for n in self.archive.namelist() if re.fullmatch("[^/]+/data.pkl", n)]
        return roots[0] if len(roots) == 1 else None

    def read(self, name: str) -> bytes:
        """Return the bytes of a member."""
        try:
            info = self.archive.getinfo(name)
        except KeyError:
            raise Damage(f"its member {name[:80]!r} is missing") from None
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise Damage(f"its member {name!r} is compressed, which torch never does: save it again with torch.save")
        self.budget -= info.file_size
        if self.budget < 0:
            raise Damage(f"its member {name!r} declares more bytes than the file has")
        return self.archive.read(info)


def read_zip(data: bytes | BinaryIO, keys: Collection[str] | None = None) -> Any:
    """Return what `torch.save` wrote as a zip: plain Python with numpy arrays for tensors.

    keys: of the dict that the archive holds, those that are wanted; the bytes of no other tensor are read then.
    """
    members = ZipMembers(data)
    root = members.root()
    if root is None:
        raise Damage("it is a zip without a data.pkl, so not from torch.save")
    if f"{root}byteorder" in members.archive.namelist() and members.read(f"{root}byteorder") != b"little":
        raise Damage("it was written on a big-endian machine")
    storages: dict[str, Storage] = {}

    def storage(entry: Any) -> Storage:
        name, found = _storage_of(entry, storages)
        if keys is not None:
            found.load = partial(members.read, f"{root}data/{name}")
        elif found.flat is None:
            found.fill(members.read(f"{root}data/{name}"))
        return found

    machine = Machine(members.read(f"{root}data.pkl"), 0, storage, nested)
    return Settler(machine).settle(picked(machine.run(), keys))


def picked(value: Any, keys: Collection[str] | None) -> Any:
    """Return the wanted entries of a dict; all of a value where `keys` is None. Raises Damage where it is no dict."""
    if keys is None:
        return value
    if type(value) is not dict:
        raise Damage(f"it holds a {type(value).__name__}, not a dict of tensors")
    return {key: item for key, item in value.items() if key in keys}


assert sys.byteorder == "little", "Marotte reads files on little-endian machines only"
