"""Motion on disk: what was written comes back, ARTalk's tensors read, and the rest is refused by name."""

import io
import json
import pickle
import zipfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marotte.errors import MarotteError, MarotteWarning
from marotte.runtime.motion import BASES, EXTRAS, Motion
from marotte.runtime.motion_files import FORMAT, read_motion, save_motion
from marotte.runtime.motion_report import describe, plot

CODES = np.random.default_rng(0).standard_normal((7, 106)).astype(np.float32)


# --- our own .npz ---


@given(
    frames=st.integers(0, 9),
    fps=st.fractions(1, 240, max_denominator=1001),
    basis=st.sampled_from(BASES),
    extras=st.sets(st.sampled_from(sorted(EXTRAS))),
    seed=st.integers(0, 99),
    about=st.dictionaries(st.text(), st.text() | st.integers(), max_size=3),
)
@settings(max_examples=40, deadline=None)
def test_what_is_saved_comes_back(tmp_path_factory, frames, fps, basis, extras, seed, about):
    random = np.random.default_rng(seed)
    values = {name: random.standard_normal((frames, EXTRAS[name])).astype(np.float32) for name in extras}
    motion = Motion(random.standard_normal((frames, 106)), fps, basis, **values)
    path = tmp_path_factory.mktemp("motion") / "m.npz"
    save_motion(path, motion, about)
    read = read_motion(path)
    assert (read.motion.fps, read.motion.basis, read.about) == (fps, basis, about)
    assert np.array_equal(read.motion.codes, motion.codes)
    assert read.motion.extras.keys() == values.keys()
    for name, array in values.items():
        assert np.array_equal(read.motion.extras[name], array)
    assert [file.name for file in path.parent.iterdir()] == ["m.npz"]


def test_what_a_file_says_cannot_be_overruled(tmp_path):
    save_motion(path := tmp_path / "m.npz", Motion(CODES, Fraction(30), "arkit52"))
    assert read_motion(path, basis="arkit52", fps="30").motion.basis == "arkit52"
    with pytest.raises(MarotteError, match=r"m\.npz says that its basis is arkit52, which flame2020 cannot overrule"):
        read_motion(path, basis="flame2020")
    with pytest.raises(MarotteError, match="frame rate is 30, which 25 cannot overrule"):
        read_motion(path, fps=25)


HEADER = {"format": FORMAT, "basis": "arkit52", "fps": "25/1", "about": {}}


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("{", r"m\.npz is damaged"),
        ("[]", r"m\.npz is damaged"),
        (json.dumps({"format": FORMAT}), "damaged .it lacks 'basis'.*marotte drive"),
        (json.dumps(HEADER | {"fps": "1/0"}), r"m\.npz is damaged"),
        (json.dumps(HEADER | {"fps": "0"}), r"m\.npz: motion frame rate 0 is not above 0"),
        (json.dumps(HEADER | {"about": 3}), r"m\.npz is damaged"),
        (json.dumps(HEADER | {"basis": "flame1999"}), r"m\.npz: motion basis 'flame1999' is unknown"),
        (json.dumps(HEADER | {"format": "marotte-motion-2"}), "format 'marotte-motion-2'.*update marotte"),
        # What a newer format says, and in which words, is not known here.
        (json.dumps({"format": "marotte-motion-9"}), "format 'marotte-motion-9'.*update marotte"),
    ],
)
def test_headers_that_cannot_be_used(tmp_path, header, words):
    np.savez(path := tmp_path / "m.npz", header=np.array(header), codes=CODES)
    with pytest.raises(MarotteError, match=words):
        read_motion(path)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({}, "damaged .it lacks 'codes'"),
        ({"codes": CODES[:, :105]}, r"m\.npz: motion codes has shape \[7, 105\]"),
        ({"codes": np.array(["a", "b"])}, r"m\.npz: "),
        ({"codes": CODES, "eyes": np.zeros((3, 6))}, r"m\.npz: motion eyes has shape \[3, 6\], expected \[7, 6\]"),
        ({"codes": np.full((7, 106), np.inf)}, r"m\.npz: .*not finite at frame 0"),
    ],
)
def test_arrays_that_are_no_motion(tmp_path, arrays, words):
    np.savez(path := tmp_path / "m.npz", header=np.array(json.dumps(HEADER)), **arrays)
    with pytest.raises(MarotteError, match=words):
        read_motion(path)


def test_a_foreign_npz(tmp_path):
    np.savez(path := tmp_path / "m.npz", codes=CODES)
    read = read_motion(path)
    assert np.array_equal(read.motion.codes, CODES) and read.about["assumed basis"] == "flame2020"
    np.savez(path, weights=CODES, names=CODES)
    with pytest.raises(MarotteError, match=r"m\.npz is no motion: it has no array `codes`, only weights, names"):
        read_motion(path)
    np.savez(path)
    with pytest.raises(MarotteError, match=r"m\.npz"):
        read_motion(path)
    path.write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(MarotteError, match=r"m\.npz is damaged"):
        read_motion(path)


def test_files_that_cannot_be_written(tmp_path):
    motion = Motion(CODES, Fraction(25), "arkit52")
    (tmp_path / "file").touch()
    (tmp_path / "folder.npz").mkdir()
    for name, words in [
        ("m.npy", r"must end in \.npz"),
        ("missing/m.npz", "there is no folder"),
        ("file/m.npz", "there is no folder"),
        ("folder.npz", "is a folder"),
        ("/proc/m.npz", "cannot write /proc/m.npz"),
    ]:
        with pytest.raises(MarotteError, match=words):
            save_motion(tmp_path / name, motion)
    with pytest.raises(TypeError, match="JSON"):
        save_motion(tmp_path / "m.npz", motion, {"about": object()})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.npz"]


# --- bare arrays ---


@pytest.mark.parametrize("dtype", ["<f4", "<f8", "<f2", ">f4", "<i4"])
@pytest.mark.parametrize("batch", [False, True])
def test_npy(tmp_path, dtype, batch):
    array = (CODES * 10).astype(dtype)
    np.save(path := tmp_path / "m.npy", array[None] if batch else array)
    read = read_motion(path)
    assert np.array_equal(read.motion.codes, array.astype(np.float32))
    assert (read.motion.basis, read.motion.fps) == ("flame2020", 25)
    assert read.about == {"assumed basis": "flame2020", "assumed fps": "25"}
    told = read_motion(path, basis="flame2023", fps="30000/1001")
    assert (told.motion.basis, told.motion.fps, told.about) == ("flame2023", Fraction(30000, 1001), {})


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((7, 103)), r"float64 \[7, 103\], not motion \[frames, 106\]"),
        (np.zeros(106), r"\[106\]"),
        (np.zeros((2, 7, 106)), r"\[2, 7, 106\]"),
        (np.zeros((7, 106), bool), "bool"),
        (np.zeros((7, 106), complex), "complex128"),
        (np.full((7, 106), "0.1"), "<U3"),
        (np.full((7, 106), np.nan), "not finite at frame 0: repair"),
        (np.array({"jaw": 1}), "not a plain .npy array"),
    ],
)
def test_arrays_that_are_none(tmp_path, array, words):
    np.save(path := tmp_path / "m.npy", array)
    with pytest.raises(MarotteError, match=words) as caught:
        read_motion(path)
    assert str(path) in str(caught.value)


def test_a_pickle_in_an_npy_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "sprung",)

    np.save(path := tmp_path / "m.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    with pytest.raises(MarotteError, match="not a plain"):
        read_motion(path)
    (tmp_path / "m.pt").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(MarotteError, match=r"m\.pt"):
        read_motion(tmp_path / "m.pt")
    assert not (tmp_path / "sprung").exists()


def test_names_that_say_nothing(tmp_path):
    (tmp_path / "m.txt").touch()
    with pytest.raises(MarotteError, match=r"ends in '\.txt'; known are \.npz, \.npy, \.pt, \.csv"):
        read_motion(tmp_path / "m.txt")
    with pytest.raises(MarotteError, match=r"no motion file .*missing\.npz"):
        read_motion(tmp_path / "missing.npz")
    with pytest.raises(MarotteError, match="holds no cameras in a format that is known"):
        read_motion(tmp_path)
    for name in ("m.npy", "m.pt", "m.npz"):
        (tmp_path / name).touch()
        with pytest.raises(MarotteError, match=name):
            read_motion(tmp_path / name)


# --- ARTalk's .pt, put together by hand since torch is not needed here ---

KINDS = {"<f4": "FloatStorage", "<f8": "DoubleStorage", "<f2": "HalfStorage"}


def plain(value) -> bytes:
    """The instructions that push plain data (protocol 2)."""
    return pickle.dumps(value, 2)[2:-1]


def torch_file(path: Path, storage: np.ndarray, offset: int, shape: tuple, strides: tuple, *, listed=False) -> Path:
    """What `torch.save` writes for a view into a storage, or for a list of it."""
    kind = KINDS[storage.dtype.str]
    stored = b"(" + plain("storage") + f"ctorch\n{kind}\n".encode()
    stored += plain("0") + plain("cpu") + plain(storage.size) + b"tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + stored + plain(offset) + plain(shape) + plain(strides)
    tensor += plain(False) + b"ccollections\nOrderedDict\n)R" + b"tR"
    if listed:
        tensor = b"](" + tensor + b"e"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("motion/data.pkl", b"\x80\x02" + tensor + b".")
        archive.writestr("motion/byteorder", "little")
        archive.writestr("motion/data/0", storage.tobytes())
        archive.writestr("motion/version", "3\n")
    path.write_bytes(out.getvalue())
    return path


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("batch", [False, True])
def test_torch_tensors(tmp_path, dtype, batch):
    storage = CODES.astype(dtype)
    shape, strides = ((1, 7, 106), (742, 106, 1)) if batch else ((7, 106), (106, 1))
    path = torch_file(tmp_path / "m.pt", storage.ravel(), 0, shape, strides)
    assert np.array_equal(read_motion(path).motion.codes, storage.astype(np.float32))
    assert read_motion(path).about["assumed basis"] == "flame2020"


def test_torch_views(tmp_path):
    """ARTalk's own code slices the warm-up off its tensors, so what is saved begins inside a storage."""
    cut = torch_file(tmp_path / "cut.pt", CODES.ravel(), 2 * 106, (1, 4, 106), (742, 106, 1))
    assert np.array_equal(read_motion(cut).motion.codes, CODES[2:6])
    halved = torch_file(tmp_path / "halved.pt", CODES.ravel(), 106, (3, 106), (212, 1))
    assert np.array_equal(read_motion(halved).motion.codes, CODES[1:7:2])
    turned = torch_file(tmp_path / "turned.pt", np.ascontiguousarray(CODES.T).ravel(), 0, (7, 106), (1, 7))
    assert np.array_equal(read_motion(turned).motion.codes, CODES)


def test_torch_files_that_are_no_motion(tmp_path):
    wide = torch_file(tmp_path / "wide.pt", CODES.ravel(), 0, (14, 53), (53, 1))
    with pytest.raises(MarotteError, match=r"wide\.pt holds float32 \[14, 53\]"):
        read_motion(wide)
    listed = torch_file(tmp_path / "list.pt", CODES.ravel(), 0, (7, 106), (106, 1), listed=True)
    with pytest.raises(MarotteError, match=r"list\.pt holds a list, not one tensor \[T, 106\]"):
        read_motion(listed)
    beyond = torch_file(tmp_path / "beyond.pt", CODES.ravel(), 106, (7, 106), (106, 1))
    with pytest.raises(MarotteError, match=r"beyond\.pt is damaged"):
        read_motion(beyond)


def test_artalks_tensor_is_written(tmp_path, recwarn):
    save_motion(path := tmp_path / "m.pt", Motion(CODES, Fraction(25), "flame2020"), {"driver": "artalk"})
    read = read_motion(path)
    assert np.array_equal(read.motion.codes, CODES) and read.motion.basis == "flame2020" and not recwarn.list
    save_motion(path, Motion(CODES[:0], Fraction(25), "flame2020"))
    assert len(read_motion(path).motion) == 0
    torch = pytest.importorskip("torch")
    save_motion(path, Motion(CODES, Fraction(25), "flame2020"))
    tensor = torch.load(path, weights_only=True)
    assert tensor.dtype == torch.float32 and tensor.shape == (7, 106) and np.array_equal(tensor.numpy(), CODES)


def test_a_tensor_says_what_it_leaves_out(tmp_path):
    motion = Motion(CODES, Fraction(30), "flame2023", eyes=CODES[:, :6], neck=CODES[:, :3])
    with pytest.warns(
        MarotteWarning, match=r"m\.pt holds.*left out: eyes, neck, its rate .*--fps 30.*--basis flame2023"
    ):
        save_motion(path := tmp_path / "m.pt", motion)
    read = read_motion(path, basis="flame2023", fps=30).motion
    assert np.array_equal(read.codes, CODES) and (read.fps, read.basis) == (30, "flame2023")


def test_a_tensor_is_of_flames_basis(tmp_path):
    with pytest.raises(MarotteError, match=r"m\.pt cannot hold arkit52.*write \.npz"):
        save_motion(tmp_path / "m.pt", Motion(CODES, Fraction(25), "arkit52"))
    with pytest.raises(MarotteError, match=r"nowhere.*m\.pt: there is no folder"):
        save_motion(tmp_path / "nowhere" / "m.pt", Motion(CODES, Fraction(25), "flame2020"))
    assert list(tmp_path.iterdir()) == []


# --- what the file's owner is told ---


def test_the_report_says_what_moves(tmp_path):
    codes = np.zeros((5, 106))
    codes[:, 24] = np.linspace(0, 1, 5)
    codes[:, 103] = np.deg2rad([0, 5, 10, 15, 20])
    save_motion(path := tmp_path / "m.npz", Motion(codes, Fraction(25), "arkit52", eyes=np.zeros((5, 6))), {"by": "me"})
    lines = describe(read_motion(path))
    assert lines[0] == "5 frames, 0.20 s at 25 fps, basis arkit52"
    assert lines[1:3] == ["by: me", "with eyes"] and lines[3].startswith("2 of 106 dimensions move")
    smile, jaw = lines[5:]
    assert smile.split() == ["mouthSmileRight", "0.000", "0.500", "1.000", "0.000"]
    assert jaw.split() == ["jaw", "x", "0.000", "10.000", "20.000", "0.000", "degrees"]
    np.save(bare := tmp_path / "m.npy", np.zeros((0, 106)))
    assert describe(read_motion(bare)) == [
        "0 frames, 0.00 s at 25 fps, basis flame2020",
        "assumed basis: flame2020",
        "assumed fps: 25",
    ]


def test_a_plot_is_whole_or_absent(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    def full_disk(self, path, **options):
        Path(path).write_text("half")
        raise OSError(28, "No space left on device")

    motion = Motion(CODES, Fraction(25), "flame2020", eyes=CODES[:, :6])
    plot(motion, tmp_path / "m.svg")
    assert "mean" not in (tmp_path / "m.svg").read_text()[:5]
    monkeypatch.setattr(Figure, "savefig", full_disk)
    with pytest.raises(MarotteError, match=r"cannot write .*m\.png: No space left"):
        plot(motion, tmp_path / "m.png")
    with pytest.raises(MarotteError, match=r"use \.png, \.svg or \.pdf"):
        plot(motion, tmp_path / "m.jpeg")
    assert [path.name for path in tmp_path.iterdir()] == ["m.svg"]
