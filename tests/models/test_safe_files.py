"""The safe reader: what it reads, what it refuses, and that damage never gets further than an error."""

import contextlib
import io
import os
import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from marotte.errors import MarotteError
from marotte.models.safe_files import read_any, read_npy_object, read_npz, read_pickle, read_torch
from marotte.models.safe_torch import LEGACY_MAGIC
from marotte.models.safe_values import SparseColumns

# --- pickles put together by hand, since torch, chumpy and old scipy are not here to write them ---


def part(value):
    """The instructions that push plain data (protocol 2)."""
    return pickle.dumps(value, 2)[2:-1]


def name(module, attribute):
    return f"c{module}\n{attribute}\n".encode()


def tup(*parts):
    return b"(" + b"".join(parts) + b"t"


def call(function, *arguments):
    return function + tup(*arguments) + b"R"


def whole(*parts):
    return b"\x80\x02" + b"".join(parts) + b"."


def stub(module, attribute, state):
    """An object made without a call, then given a state: {key: instructions}."""
    items = b"".join(part(key) + value for key, value in state.items())
    return name(module, attribute) + b")\x81}(" + items + b"ub"


def persistent(kind, key, elements):
    return tup(part("storage"), name("torch", kind), part(key), part("cpu"), part(elements)) + b"Q"


def tensor(kind, key, elements, offset, shape, strides):
    storage = persistent(kind, key, elements)
    hooks = call(name("collections", "OrderedDict"))
    rebuild = name("torch._utils", "_rebuild_tensor_v2")
    return call(rebuild, storage, part(offset), part(shape), part(strides), part(False), hooks)


def torch_zip(content, storages, compression=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        archive.writestr("a/data.pkl", whole(content))
        archive.writestr("a/byteorder", "little")
        for key, raw in storages.items():
            archive.writestr(f"a/data/{key}", raw)
    return out.getvalue()


def legacy(content, storages):
    """The form of torch before 1.6; storages: key -> (elements, raw)."""
    head = b"".join(pickle.dumps(v, 2) for v in (LEGACY_MAGIC, 1001, {"little_endian": True}))
    body = whole(content) + pickle.dumps(list(storages), 2)
    return head + body + b"".join(n.to_bytes(8, "little") + raw for n, raw in storages.values())


def legacy_persistent(kind, key, elements):
    return tup(part("storage"), name("torch", kind), part(key), part("cpu"), part(elements), part(None)) + b"Q"


@pytest.fixture
def file(tmp_path):
    """Write bytes into a file and return its path."""

    def write(data, suffix=".bin"):
        path = tmp_path / f"file{suffix}"
        path.write_bytes(data)
        return path

    return write


FLOATS = np.arange(12, dtype=np.float32)


# --- what is read ---


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_of_every_protocol(file, protocol):
    value = {
        "text": "häß",
        "number": 3, "large": 2**70, "negative": -5, "real": 0.5, "none": None, "yes": True, "raw": b"\x00\xff",
        "empty": b"", "list": [1, [2, (3,)], {}], "tuple": (1, 2, 3, 4), "set": {1, "a"}, 7: "seven", (0, "x"): "pair",
        "array": np.arange(6.0).reshape(2, 3), "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "big": np.arange(3, dtype=">i4"), "flags": np.array([True, False]), "none_of": np.zeros((0, 3), np.float32),
        "scalar": np.float32(1.5), "whole": np.int64(-3), "ordered": OrderedDict(b=1, a=2), "zero": np.array(4.0),
        "objects": np.array([{"a": 1}, [1, 2]], dtype=object), "long": "x" * 70000,
    }  # fmt: skip
    read = read_pickle(file(pickle.dumps(value, protocol)))
    assert list(read) == list(value)
    for key, expected in value.items():
        got = read[key]
        if isinstance(expected, np.ndarray):
            assert got.shape == expected.shape and got.dtype == expected.dtype.newbyteorder("=")
            np.testing.assert_array_equal(got, expected)
        else:
            assert got == expected and type(got) is (dict if key == "ordered" else type(expected))
    assert read_any(file(pickle.dumps(value, protocol))).keys() == value.keys()


def test_what_is_shared_stays_shared(file):
    array = np.arange(3)
    read = read_pickle(file(pickle.dumps([array, array, (array,)], 2)))
    assert read[0] is read[1] is read[2][0]


def test_python_2_strings_and_long_numbers(file):
    read = read_pickle(file(b"\x80\x02}(U\x03a\xe9bI4294967295\nU\x01bI01\nu."))
    assert read == {"aéb": 4294967295, "b": True}


def test_chumpy_and_sparse_without_either(file):
    def array(value):
        return pickle.dumps(np.asarray(value), 2)[2:-1]

    dirty = call(name("__builtin__", "set"), b"]")
    base = stub("chumpy.ch", "Ch", {"x": array(np.arange(6.0).reshape(2, 3)), "_dirty_vars": dirty})
    picked = stub("chumpy.reordering", "Select", {"a": base, "idxs": array([5, 0]), "preferred_shape": part((2, 1))})
    sparse = stub(
        "scipy.sparse.csc",
        "csc_matrix",
        {"_shape": part((2, 3)), "data": array([1.0, 2.0]), "indices": array([1, 0]), "indptr": array([0, 1, 1, 2])},
    )
    read = read_pickle(file(whole(b"](", base, picked, sparse, b"e")))
    np.testing.assert_array_equal(read[0], np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(read[1], [[5.0], [0.0]])
    assert isinstance(read[2], SparseColumns)
    np.testing.assert_array_equal(read[2].dense(), [[0, 0, 2], [1, 0, 0]])


def test_tensors_are_views_of_their_storage(file):
    content = (
        b"]("
        + b"".join(
            tensor("FloatStorage", "0", 12, *view)
            for view in (
                (0, (3, 4), (4, 1)),
                (1, (4, 2), (1, 4)),
                (5, (), ()),
                (2, (3, 2), (0, 1)),
                (0, (0, 3), (3, 1)),
            )
        )
        + b"e"
    )
    read = read_torch(file(torch_zip(content, {"0": FLOATS.tobytes()})))
    np.testing.assert_array_equal(read[0], FLOATS.reshape(3, 4))
    np.testing.assert_array_equal(read[1], [[1, 5], [2, 6], [3, 7], [4, 8]])
    assert read[2] == 5 and read[2].shape == ()
    np.testing.assert_array_equal(read[3], [[2, 3]] * 3)
    assert read[4].shape == (0, 3)
    assert not read[0].flags.writeable


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("Double", "f8"), ("Float", "f4"), ("Half", "f2"), ("Long", "i8"), ("Int", "i4"), ("Short", "i2"), ("Char", "i1"),
     ("Byte", "u1"), ("Bool", "b1")],
)  # fmt: skip
def test_types_of_tensors(file, kind, dtype):
    value = np.array([0, 1, 1, 0]).astype(dtype)
    content = tensor(f"{kind}Storage", "0", 4, 0, (2, 2), (2, 1))
    read = read_any(file(torch_zip(content, {"0": value.tobytes()})))
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, value.reshape(2, 2))


def test_bfloat16_parameters_and_sizes(file):
    raw = (FLOATS.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    parameter = call(
        name("torch._utils", "_rebuild_parameter"), tensor("BFloat16Storage", "0", 12, 0, (12,), (1,)), b"\x88", b"N"
    )
    read = read_torch(file(torch_zip(tup(parameter, call(name("torch", "Size"), part((2, 3)))), {"0": raw})))
    np.testing.assert_array_equal(read[0], FLOATS)
    assert read[1] == (2, 3)


def test_the_older_torch_form(file):
    storage = legacy_persistent("FloatStorage", "77", 12)
    rebuild = name("torch._utils", "_rebuild_tensor_v2")
    content = call(rebuild, storage, part(0), part((3, 4)), part((4, 1)), part(False), part(None))
    path = file(legacy(content, {"77": (12, FLOATS.tobytes())}))
    for read in (read_torch, read_any):
        np.testing.assert_array_equal(read(path), FLOATS.reshape(3, 4))


def test_objects_in_npy_and_a_tensor_inside(file):
    inner = legacy(legacy_persistent("FloatStorage", "0", 12), {"0": (12, FLOATS.tobytes())})
    raw = b"B" + len(inner).to_bytes(4, "little") + inner
    storage = call(name("torch.storage", "_load_from_bytes"), raw)
    rebuild = name("torch._utils", "_rebuild_tensor_v2")
    content = b"}(" + part("t") + call(rebuild, storage, part(0), part((12,)), part((1,)), part(False), b"N") + b"u"
    array = call(name("numpy.core.multiarray", "_reconstruct"), name("numpy", "ndarray"), part((0,)), part("b"))
    objects = call(name("numpy", "dtype"), part("O8"), part(0), part(1))
    state = tup(part(1), part(()), objects, part(False), b"](" + content + b"e")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": ()})
    read = read_npy_object(file(header.getvalue() + whole(array, state, b"b")))
    np.testing.assert_array_equal(read["t"], FLOATS)


def test_plain_npy_and_npz(file, tmp_path):
    np.save(tmp_path / "a.npy", np.asfortranarray(FLOATS.reshape(3, 4)))
    np.testing.assert_array_equal(read_npy_object(tmp_path / "a.npy"), FLOATS.reshape(3, 4))
    np.savez_compressed(tmp_path / "a.npz", x=FLOATS, name=np.array("head"), none=np.zeros((0, 3)))
    read = read_any(tmp_path / "a.npz")
    np.testing.assert_array_equal(read["x"], FLOATS)
    assert str(read["name"]) == "head" and read["none"].shape == (0, 3)


def test_nothing_heavy_is_imported():
    code = "import sys, marotte.models.flame; print({'torch', 'scipy', 'chumpy', 'numba'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


# --- what is refused ---


class Marker:
    """Unpickled without care, this makes a directory."""

    def __reduce__(self):
        return os.mkdir, ("marker",)


NDARRAY = name("numpy", "ndarray")
RECONSTRUCT = name("numpy.core.multiarray", "_reconstruct")
F8 = call(name("numpy", "dtype"), part("f8"), part(0), part(1))


def array_of(shape, dtype, raw):
    return call(RECONSTRUCT, NDARRAY, part((0,)), part("b")) + tup(part(1), shape, dtype, part(False), raw) + b"b"


HOSTILE = {
    "a call": (pickle.dumps(Marker(), 2), f"asks to run {os.name}.mkdir"),
    "a call, newer": (pickle.dumps([1, Marker()], 4), f"asks to run {os.name}.mkdir"),
    "a dotted name": (whole(call(name("collections", "OrderedDict.fromkeys"), part("a"))), "OrderedDict.fromkeys"),
    "a longer module": (whole(name("numpy.core.multiarray.evil", "_reconstruct")), "multiarray.evil"),
    "a neighbour": (whole(name("torch", "load")), "torch.load"),
    "getattr": (whole(name("builtins", "getattr")), "builtins.getattr"),
    "numpy's own loader": (whole(name("numpy", "load")), "numpy.load"),
    "a class called": (whole(call(NDARRAY, part((10**12,)))), "asks to call numpy.ndarray"),
    "a class made": (whole(NDARRAY, b")\x81"), "asks to make an object of numpy.ndarray"),
    "another class rebuilt": (
        whole(call(RECONSTRUCT, name("chumpy.ch", "Ch"), part((0,)), part("b"))),
        "asks numpy to build",
    ),
    "another codec": (whole(call(name("_codecs", "encode"), part("a"), part("zip"))), "asks to encode"),
    "the copyreg table": (whole(b"\x82\x01"), "instruction"),
    "an old instance": (whole(b"(iposix\nsystem\n"), "instruction"),
    "data outside": (whole(part("x"), b"Q"), "refers to data outside"),
    "an inner pickle": (
        whole(call(name("torch.storage", "_load_from_bytes"), b"C\x11" + b"\x80\x02cposix\nsystem\n.")),
        "asks to run posix.system",
    ),
    "copies without end": (
        whole(b"](", part("x" * 30000), b"q\x010", b"".join(
            call(name("_codecs", "encode"), b"h\x01") for _ in range(2000)
        ), b"e"),
        "far more copies",
    ),
}  # fmt: skip

DAMAGED = {
    "text": b"hello, this is text",
    "nothing": b"",
    "protocol 0": b"(dp0\n.",
    "no stop": b"\x80\x02}",
    "a huge memo index": whole(b"Nr\xff\xff\xff\x7f", b"j\xff\xff\xff\x7e"),
    "more bytes than there are": whole(b"\x8e" + (2**60).to_bytes(8, "little")),
    "a huge shape": whole(array_of(part((2**40, 2**20)), F8, b"U\x08" + bytes(8))),
    "a huge empty shape": whole(array_of(part((2**62, 2**62)), F8, b"U\x00")),
    "a negative shape": whole(array_of(part((-1,)), F8, b"U\x08" + bytes(8))),
    "pointers from bytes": whole(
        array_of(part((1,)), call(name("numpy", "dtype"), part("O8"), part(0), part(1)), b"U\x08" + b"A" * 8)
    ),
    "a structured dtype": whole(call(name("numpy", "dtype"), part("V8"), part(0), part(1)), b"\x85"),
    "an unfinished array": whole(call(RECONSTRUCT, NDARRAY, part((0,)), part("b"))),
    "a list as key": whole(b"}]Ns"),
    "nested tuples as key": whole(b"}", b"N\x85" * 50, b"Ns"),
    "a list in itself": whole(b"]q\x00h\x00a"),
    "deep nesting": whole(b"]" * 5000, b"a" * 4999),
    "a stub in itself": whole(name("chumpy.ch", "Ch"), b")\x81q\x07}", part("x"), b"h\x07sb"),
    "an empty stack": whole(b"0"),
    "a name left over": whole(NDARRAY),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_pickles_are_refused_by_name(case, file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data, words = HOSTILE[case]
    for suffix in ("", "zip"):
        path = file(torch_zip(data[2:-1], {}) if suffix and case != "data outside" else data)
        with pytest.raises(MarotteError, match="refused") as caught:
            read_any(path)
        assert words in str(caught.value) and str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["file.bin"]


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_pickles_are_named_so(case, file):
    with pytest.raises(MarotteError, match="is damaged"):
        read_any(file(DAMAGED[case]))


@pytest.mark.parametrize(
    ("view", "elements", "raw"),
    [
        ((0, (13,), (1,)), 12, FLOATS.tobytes()),
        ((8, (3, 4), (4, 1)), 12, FLOATS.tobytes()),
        ((0, (2**40,), (0,)), 12, FLOATS.tobytes()),
        ((0, (2, 2), (1,)), 12, FLOATS.tobytes()),
        ((0, (2,), (-1,)), 12, FLOATS.tobytes()),
        ((-1, (2,), (1,)), 12, FLOATS.tobytes()),
        ((0, (12,), (1,)), 12, FLOATS.tobytes()[:-4]),
        ((0, (12,), (1,)), 11, FLOATS.tobytes()),
        ((0, (12,), (1,)), 2**50, FLOATS.tobytes()),
    ],
)
def test_tensors_beyond_their_storage(file, view, elements, raw):
    with pytest.raises(MarotteError, match="is damaged"):
        read_any(file(torch_zip(tensor("FloatStorage", "0", elements, *view), {"0": raw})))


def test_archives_that_lie(file):
    content = tensor("FloatStorage", "0", 12, 0, (12,), (1,))
    good = torch_zip(content, {"0": FLOATS.tobytes()})
    squeezed = torch_zip(content, {"0": FLOATS.tobytes()}, zipfile.ZIP_DEFLATED)
    size = (48).to_bytes(4, "little") * 2
    huge = (0xFFFFFFF0).to_bytes(4, "little")
    lying = good.replace(size, huge * 2)
    assert lying != good
    for data in (squeezed, lying, torch_zip(content, {}), good[: len(good) // 2], good[:-10]):
        with pytest.raises(MarotteError, match="is damaged"):
            read_torch(file(data))


def test_npz_that_lie(file, tmp_path):
    np.savez(tmp_path / "objects.npz", x=np.array([Marker()], dtype=object))
    with pytest.raises(MarotteError, match="'x'; refused"):
        read_npz(tmp_path / "objects.npz")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (2**40,)})
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("x.npy", header.getvalue() + bytes(8))
    with pytest.raises(MarotteError, match="is damaged"):
        read_npz(file(out.getvalue()))
    with pytest.raises(MarotteError, match="is damaged"):
        read_npy_object(file(header.getvalue() + bytes(8)))


def test_windows_line_ends_are_named(file):
    data = pickle.dumps({"face": np.arange(9)}, 2).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    with pytest.raises(MarotteError, match=r"Windows line endings.*binary mode"):
        read_pickle(file(data))


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(MarotteError, match="cannot read"):
        read_any(tmp_path / "none.pkl")
    with pytest.raises(MarotteError, match="cannot read"):
        read_any(tmp_path)


def _samples():
    value = {"a": np.arange(5.0), "b": [1, "x", (2.5, None)], "c": OrderedDict(k=np.float32(1))}
    npz, npy = io.BytesIO(), io.BytesIO()
    np.savez_compressed(npz, a=np.arange(5), b=np.ones((2, 3)))
    np.save(npy, np.array([value], dtype=object))
    content = b"](" + tensor("FloatStorage", "0", 12, 0, (3, 4), (4, 1)) + part("text") + b"e"
    old = legacy(legacy_persistent("FloatStorage", "0", 12), {"0": (12, FLOATS.tobytes())})
    hostile = pickle.dumps([np.arange(3), Marker()], 2)
    pickles = [pickle.dumps(value, protocol) for protocol in (2, 3, 4, 5)]
    return [*pickles, npz.getvalue(), npy.getvalue(), torch_zip(content, {"0": FLOATS.tobytes()}), old, hostile]


SAMPLES = _samples()


@settings(max_examples=400, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(SAMPLES) - 1), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6),
       st.integers(0, 10**6))  # fmt: skip
@example(0, [], 0)
def test_damage_never_gets_further_than_an_error(tmp_path, monkeypatch, which, flips, cut):
    monkeypatch.chdir(tmp_path)
    data = bytearray(SAMPLES[which])
    for place, byte in flips:
        data[place % len(data)] = byte
    if cut % 3 == 0:
        del data[cut % len(data) :]
    path = tmp_path / "flipped"
    path.write_bytes(data)
    for read in (read_any, read_pickle, read_torch, read_npy_object, read_npz):
        with contextlib.suppress(MarotteError):
            read(path)
    assert not (tmp_path / "marker").exists()


# --- against torch itself, where there is one ---


def test_what_torch_writes(tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    value = {
        "base": base,
        "view": base[1:, ::2].T,
        "wide": torch.ones(1).expand(5, 5),
        "half": base.to(torch.bfloat16),
        "flags": base > 3,
        "parameter": torch.nn.Parameter(base.double()),
        "size": base.shape,
        "state": torch.nn.Linear(2, 3).state_dict(),
        "scalar": torch.tensor(3),
    }
    for new in (True, False):
        torch.save(value, tmp_path / "t.pt", _use_new_zipfile_serialization=new)
        read = read_any(tmp_path / "t.pt")
        assert read["size"] == (4, 6)
        for key in set(value) - {"size", "state"}:
            np.testing.assert_array_equal(read[key], value[key].detach().to(torch.float64).numpy())
        for key, entry in value["state"].items():
            np.testing.assert_array_equal(read["state"][key], entry.numpy())
    (tmp_path / "t.pkl").write_bytes(pickle.dumps([base], 2))
    np.testing.assert_array_equal(read_pickle(tmp_path / "t.pkl")[0], base.numpy())
