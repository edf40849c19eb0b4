"""Torch archives written without torch: read back by our own reader, and by torch where it is installed."""

import hashlib
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from marotte.errors import MarotteError
from marotte.models.safe_files import read_any, read_torch
from marotte.models.torch_writer import write_torch

DTYPES = ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u1", "?")
CONTENT = {
    "name": "häß",
    "count": 3,
    "large": -(2**40),
    "real": 0.5,
    "yes": True,
    "none": None,
    "list": [1, [2.5], {}],
    "tuple": (1, (2,), "two"),
    "nested": {"cam_0.jpg": {"matrix": np.arange(12, dtype=np.float32).reshape(3, 4), 7: "seven"}},
    "scalar": np.array(1.5, np.float32),
    "numpy number": np.float32(0.25),
    "empty": np.zeros((0, 3), np.float32),
    "every other": np.arange(10)[::2],
    "backwards": np.arange(3.0)[::-1],
    "one of backwards": np.arange(3.0)[::-1][:1],
    "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "big endian": np.arange(3, dtype=">f4"),
    "black": np.broadcast_to(np.float32(0), (3, 512, 512)),
    "rows": np.broadcast_to(np.arange(3.0), (4, 3)),
}


def compare(got, expected, of=np.asarray):
    if isinstance(expected, dict):
        assert list(got) == list(expected)
        for key in expected:
            compare(got[key], expected[key], of)
    elif isinstance(expected, list | tuple):
        assert type(got) is type(expected) and len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            compare(one, other, of)
    elif isinstance(expected, np.ndarray):
        array = of(got)
        assert array.dtype == expected.dtype.newbyteorder("=") and array.shape == expected.shape
        np.testing.assert_array_equal(array, expected)
    else:
        assert got == expected and (isinstance(expected, np.generic) or type(got) is type(expected))


@pytest.fixture
def file(tmp_path):
    return tmp_path / "file.pt"


def test_our_reader(file):
    write_torch(file, CONTENT)
    compare(read_torch(file), CONTENT)
    compare(read_any(file), CONTENT)


def test_torch(file):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    write_torch(file, CONTENT)
    compare(torch.load(file, weights_only=True), CONTENT, of=lambda tensor: tensor.numpy())


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(DTYPES).flatmap(
        lambda code: arrays.arrays(np.dtype(code), arrays.array_shapes(min_dims=0, min_side=0, max_dims=4))
    )
)
def test_arrays_of_every_type(tmp_path_factory, array):
    file = tmp_path_factory.mktemp("arrays") / "file.pt"
    write_torch(file, {"a": array, "turned": array.T})
    read = read_torch(file)
    for got, expected in ((read["a"], array), (read["turned"], array.T)):
        assert got.dtype == expected.dtype and got.shape == expected.shape
        np.testing.assert_array_equal(got, expected)


def test_the_form(file):
    write_torch(file, {"a": np.zeros(4, np.float32), "black": np.broadcast_to(np.float32(0), (3, 512, 512))})
    with zipfile.ZipFile(file) as archive:
        sizes = {info.filename: (info.file_size, info.compress_type) for info in archive.infolist()}
        assert archive.read("archive/version") == b"3\n" and archive.read("archive/byteorder") == b"little"
    assert sizes["archive/data/0"] == (16, zipfile.ZIP_STORED) and sizes["archive/data/1"] == (4, zipfile.ZIP_STORED)
    before = hashlib.sha256(file.read_bytes()).digest()
    write_torch(file, {"a": np.zeros(4, np.float32), "black": np.broadcast_to(np.float32(0), (3, 512, 512))})
    assert hashlib.sha256(file.read_bytes()).digest() == before


def test_functions_give_their_arrays_when_their_turn_comes(file):
    asked = []

    def picture(i):
        asked.append(i)
        return np.full(3, i)

    write_torch(file, [lambda i=i: picture(i) for i in range(3)])
    assert asked == [0, 1, 2]
    np.testing.assert_array_equal(np.array(read_torch(file)), [[0] * 3, [1] * 3, [2] * 3])


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"a": np.zeros(2, complex)}, "array of complex128 cannot be a tensor"),
        ({"a": np.array(["text"])}, "cannot be a tensor"),
        ({"a": np.array([{}], object)}, "cannot be a tensor"),
        ({"a": {1, 2}}, "a set cannot be written"),
    ],
)
def test_what_has_no_counterpart(file, content, match):
    with pytest.raises(MarotteError, match=match):
        write_torch(file, content)
    assert not list(file.parent.iterdir())
    with pytest.raises(MarotteError, match="cannot write"):
        write_torch(file.parent / "no folder" / "file.pt", {})
