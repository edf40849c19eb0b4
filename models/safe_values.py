"""What a pickle of this field may be made of: numbers, numpy arrays, torch tensors, chumpy and scipy stubs.

Each allowed name stands for a function of this file that makes data out of data; neither numpy's, torch's nor
anyone else's constructors are handed what a file says. Arrays are read-only views of bytes that are there.

Source of the names: reference/flame/SPEC.md 5.1 and cameras/SPEC.md 4.1; `_frombuffer` is how numpy writes
arrays in pickle protocol 5.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

_SCALARS = (str, int, float, bool, bytes, type(None))
_ARRAY_TYPES = re.compile(r"(f[248]|[iu][1248]|b1)")
_DEEPEST = 100
_MOST_AXES = 32


class Refusal(Exception):
    """The file asks for something that is not data. The text goes after the file's name."""


class Damage(Exception):
    """The file is not what it says it is. The text goes after "is damaged: "."""


class Work(Protocol):
    """What a builder needs of the machine that reads the pickle."""

    nested: Callable[[bytes], Any] | None

    def spend(self, amount: int) -> None:
        """Count work that copies."""


class Name(NamedTuple):
    """A (module, name) pair of the allow-list: a symbol, never the thing itself."""

    module: str
    name: str


@dataclass(eq=False)
class DtypeStub:
    """What the file says of a numpy dtype."""

    code: str
    order: str = "<"

    def dtype(self) -> np.dtype:
        """Return the plain numeric dtype that is meant, or raise Damage."""
        if not _ARRAY_TYPES.fullmatch(self.code):
            raise Damage(f"numpy dtype {self.code!r} is not a number")
        return np.dtype(f"{self.order}{self.code}")


@dataclass(eq=False)
class ArrayStub:
    """A numpy array whose state has not come yet; `value` is None until then."""

    value: Any = None


@dataclass(eq=False)
class Stub:
    """An object of another library: its name and its state, with no behaviour."""

    name: Name
    state: dict = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class SparseColumns:
    """A scipy `csc_matrix` as data: column c has `values[starts[c]:starts[c+1]]` at `rows[...]`."""

    shape: tuple[int, int]
    values: np.ndarray
    rows: np.ndarray
    starts: np.ndarray

    def dense(self) -> np.ndarray:
        """Return [rows, columns] float64; equal entries add up, as scipy has it. Raises Damage on bad indices."""
        rows, columns = self.shape
        counts = np.diff(self.starts)
        if (
            len(self.starts) != columns + 1
            or (counts < 0).any()
            or self.starts[0] != 0
            or self.starts[-1] != len(self.rows)
            or len(self.rows) != len(self.values)
            or (len(self.rows) and not 0 <= self.rows.min() <= self.rows.max() < rows)
        ):
            raise Damage("the sparse matrix has indices outside its shape")
        out = np.zeros(self.shape)
        np.add.at(out, (self.rows, np.repeat(np.arange(columns), counts)), self.values)
        return out


@dataclass(eq=False)
class TensorStub:
    """A torch tensor: a view of a storage whose bytes may come later in the file."""

    storage: Any
    offset: int
    shape: tuple
    strides: tuple


def _sizes(value: Any, what: str) -> tuple[int, ...]:
    if type(value) is not tuple or len(value) > _MOST_AXES or any(type(n) is not int or n < 0 for n in value):
        raise Damage(f"{what} {str(value)[:60]} is not a tuple of sizes")
    return value


def count(shape: tuple[int, ...]) -> int:
    """Return the number of elements of a shape, exactly."""
    total = 1
    for n in shape:
        total *= n
    return total


def array_from(raw: bytes, dtype: np.dtype, shape: tuple[int, ...], order: Any = "C") -> np.ndarray:
    """Return the read-only array of these bytes, without a copy where the byte order allows it.

    raw: as many bytes as `shape` of `dtype` takes, or Damage is raised; nothing is reserved before that is known.
    """
    if count(shape) * dtype.itemsize != len(raw):
        raise Damage(f"an array of shape {list(shape)} and type {dtype.name} has {len(raw)} bytes")
    if dtype.kind == "b":
        # A byte other than 0 and 1 in a numpy bool is undefined, so it is made one.
        flat = np.frombuffer(raw, np.uint8) != 0
    else:
        flat = np.frombuffer(raw, dtype).astype(dtype.newbyteorder("="), copy=False)
    array = flat.reshape(shape, order=order)
    array.flags.writeable = False
    return array


def _raw(work: Work, value: Any) -> bytes:
    """Return the bytes that a pickle means: Python 2 wrote them as a string, read here as latin-1."""
    if type(value) is str:
        work.spend(len(value))
        return value.encode("latin-1")
    if type(value) is not bytes:
        raise Damage(f"a {type(value).__name__} stands where bytes should")
    return value


def _reconstruct(work: Work, kind: Name, shape: Any, code: Any) -> ArrayStub:
    if kind != ("numpy", "ndarray"):
        raise Refusal(f"asks numpy to build a {kind if isinstance(kind, Name) else type(kind).__name__}")
    return ArrayStub()


def array_state(work: Work, stub: ArrayStub, state: Any) -> None:
    """Fill an array stub from numpy's own state: (version, shape, dtype, is_fortran, raw)."""
    _, shape, dtype, fortran, raw = state
    shape = _sizes(shape, "shape")
    if not isinstance(dtype, DtypeStub):
        raise Damage("an array has no dtype")
    if dtype.code in ("O", "O4", "O8"):
        # The objects are data of this same file, already vetted; the bytes of pointers are never taken.
        if type(raw) is not list or len(raw) != count(shape):
            raise Damage(f"an object array of shape {list(shape)} has no such list of objects")
        work.spend(len(raw))
        objects = np.empty(len(raw), object)
        for i, item in enumerate(raw):
            objects[i] = item
        stub.value = objects.reshape(shape, order="F" if fortran else "C")
        return
    raw = _raw(work, raw)
    work.spend(len(raw))
    stub.value = array_from(raw, dtype.dtype(), shape, "F" if fortran else "C")


def _from_buffer(work: Work, raw: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    if not isinstance(dtype, DtypeStub) or order not in ("C", "F"):
        raise Damage("an array has no dtype or no order")
    work.spend(len(raw))
    return array_from(_raw(work, raw), dtype.dtype(), _sizes(shape, "shape"), order)


def _scalar(work: Work, dtype: Any, raw: Any) -> Any:
    if not isinstance(dtype, DtypeStub):
        raise Damage("a numpy scalar has no dtype")
    return array_from(_raw(work, raw), dtype.dtype(), ())[()]


def _dtype(work: Work, code: Any, align: Any = False, copy: Any = True) -> DtypeStub:
    if type(code) is not str:
        raise Damage("a numpy dtype has no type code")
    return DtypeStub(code)


def _encode(work: Work, text: Any, codec: Any = "latin1") -> bytes:
    if type(text) is not str or codec not in ("latin1", "latin-1"):
        raise Refusal(f"asks to encode with {str(codec)[:40]!r}")
    return _raw(work, text)


def _set(work: Work, items: Any = ()) -> set:
    if type(items) not in (list, tuple):
        raise Damage("a set is not made of a list")
    work.spend(len(items))
    return {key(item) for item in items}


def _ordered_dict(work: Work, pairs: Any = ()) -> dict:
    if type(pairs) not in (list, tuple):
        raise Damage("an OrderedDict is not made of a list of pairs")
    work.spend(len(pairs))
    return {key(k): v for k, v in pairs}


def _tensor(work: Work, storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> TensorStub:
    if type(offset) is not int or offset < 0:
        raise Damage("a tensor starts before its storage")
    return TensorStub(storage, offset, _sizes(shape, "tensor size"), _sizes(strides, "tensor strides"))


def _parameter(work: Work, tensor: Any, *rest: Any) -> Any:
    return tensor


def _size(work: Work, sizes: Any = ()) -> tuple:
    return _sizes(tuple(sizes) if type(sizes) is list else sizes, "torch.Size")


def _nested(work: Work, raw: Any) -> Any:
    if work.nested is None:
        raise Refusal("asks to load an archive inside an archive inside it")
    raw = _raw(work, raw)
    work.spend(len(raw))
    return work.nested(raw)


# What REDUCE may do, by the exact pair: each is a function of this file that makes data out of data.
BUILDERS: dict[tuple[str, str], Callable] = {
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): lambda work: b"",  # how Python 3 writes empty bytes in protocol 2
    ("__builtin__", "set"): _set,
    ("builtins", "set"): _set,
    ("collections", "OrderedDict"): _ordered_dict,
    ("torch", "Size"): _size,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch.storage", "_load_from_bytes"): _nested,
}
for _core in ("numpy.core", "numpy._core"):  # the name before numpy 2, and since
    BUILDERS[f"{_core}.multiarray", "_reconstruct"] = _reconstruct
    BUILDERS[f"{_core}.multiarray", "scalar"] = _scalar
    BUILDERS[f"{_core}.numeric", "_frombuffer"] = _from_buffer

# Element types of torch's storages; bfloat16 is the upper half of a float32.
TORCH_STORAGES = {
    ("torch", "DoubleStorage"): "f8",
    ("torch", "FloatStorage"): "f4",
    ("torch", "HalfStorage"): "f2",
    ("torch", "BFloat16Storage"): "bfloat16",
    ("torch", "LongStorage"): "i8",
    ("torch", "IntStorage"): "i4",
    ("torch", "ShortStorage"): "i2",
    ("torch", "CharStorage"): "i1",
    ("torch", "ByteStorage"): "u1",
    ("torch", "BoolStorage"): "b1",
}

STUBS = {
    ("chumpy.ch", "Ch"),
    ("chumpy.reordering", "Select"),
    ("scipy.sparse.csc", "csc_matrix"),
    ("scipy.sparse._csc", "csc_matrix"),
}
ALLOWED = {*BUILDERS, *TORCH_STORAGES, *STUBS, ("numpy", "ndarray")}


def key(value: Any) -> Any:
    """Return a dict key or set member if hashing it is cheap and runs nothing; else raise Damage."""
    if type(value) in _SCALARS or (
        # Shared tuples in tuples would be hashed again at every mention, so only flat ones pass.
        type(value) is tuple and len(value) <= _MOST_AXES and all(type(v) in _SCALARS for v in value)
    ):
        return value
    raise Damage(f"a {type(value).__name__} is used as a key")


def _select(state: dict) -> np.ndarray:
    """Return the value of a chumpy `Select`: entries of the flattened array, in a shape of their own."""
    source, picks = np.ravel(state["a"]), np.ravel(state["idxs"])
    shape = state.get("preferred_shape")
    if picks.dtype.kind not in "iu" or (len(picks) and not 0 <= picks.min() <= picks.max() < len(source)):
        raise Damage("a chumpy Select points outside its array")
    return source[picks] if shape is None else source[picks].reshape(shape)


def _sparse(state: dict) -> SparseColumns:
    shape = _sizes(tuple(int(n) for n in state["_shape"]), "sparse shape")
    if len(shape) != 2:
        raise Damage(f"a sparse matrix has shape {list(shape)}")
    return SparseColumns((shape[0], shape[1]), *(np.ravel(state[name]) for name in ("data", "indices", "indptr")))


class Settler:
    """Turns what a machine has read into plain Python and numpy, once every byte of the file is known."""

    def __init__(self, work: Work) -> None:
        self.work = work
        # By identity, so that what is shared in the file stays shared and is never worked out twice.
        self.done: dict[int, Any] = {}
        self.open: set[int] = set()

    def settle(self, value: Any, depth: int = 0) -> Any:
        """Return the value without stubs; raise Damage for cycles and for nesting beyond what data has."""
        if type(value) in _SCALARS or isinstance(value, np.generic):
            return value
        if id(value) in self.done:
            return self.done[id(value)]
        if depth > _DEEPEST or id(value) in self.open:
            raise Damage("it is nested in itself or too deeply")
        self.open.add(id(value))
        self.done[id(value)] = self._settled(value, depth + 1)
        return self.done[id(value)]

    def _settled(self, value: Any, depth: int) -> Any:
        if type(value) is dict:
            return {k: self.settle(v, depth) for k, v in value.items()}
        if type(value) is list:
            return [self.settle(v, depth) for v in value]
        if type(value) is tuple:
            return tuple([self.settle(v, depth) for v in value])
        if isinstance(value, TensorStub):
            return value.storage.tensor(value)
        if isinstance(value, ArrayStub):
            return self.settle(value.value, depth) if value.value is not None else self._unfinished("an array")
        if isinstance(value, np.ndarray):
            return self._objects(value, depth) if value.dtype.hasobject else value
        if isinstance(value, Stub):
            return self._stub(value, depth)
        if type(value) is set:
            return value
        return self._unfinished(f"a {type(value).__name__}")

    def _objects(self, value: np.ndarray, depth: int) -> np.ndarray:
        objects = np.empty(value.size, object)
        for i, item in enumerate(value.ravel()):
            objects[i] = self.settle(item, depth)
        return objects.reshape(value.shape)

    def _stub(self, stub: Stub, depth: int) -> Any:
        needed = {"Ch": ("x",), "Select": ("a", "idxs"), "csc_matrix": ("_shape", "data", "indices", "indptr")}
        for name in needed[stub.name.name]:
            if name not in stub.state:
                self._unfinished(".".join(stub.name))
        state = {
            n: self.settle(stub.state[n], depth)
            for n in (*needed[stub.name.name], "preferred_shape")
            if n in stub.state
        }
        if stub.name.name == "Ch":
            return state["x"]
        if stub.name.name == "csc_matrix":
            return _sparse(state)
        self.work.spend(8 * np.size(state["idxs"]) + 8 * np.size(state["a"]))
        return _select(state)

    def _unfinished(self, what: str) -> Any:
        raise Damage(f"{what} stands in it without a value")
