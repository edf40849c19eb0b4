"""FLAME parameters of MICA, DECA and EMOCA: what is read, from what, and what is refused."""

import pickle

import numpy as np
import pytest
from scipy.io import savemat

from marotte.errors import MarotteError
from marotte.models.torch_writer import write_torch
from marotte.runtime.cameras.face_codes import read_codes, read_face_codes

RNG = np.random.default_rng(0)
CODES = {
    "shape": np.tile(RNG.normal(size=100), (4, 1)),
    "exp": RNG.normal(size=(4, 50)),
    "pose": RNG.normal(size=(4, 6)),
    "cam": RNG.normal(size=(4, 3)),
}
FRAME = {key: rows[2] for key, rows in CODES.items()}
WRITERS = {
    ".npz": lambda path, codes: np.savez(path, **codes),
    ".mat": lambda path, codes: savemat(path, codes),
    ".pkl": lambda path, codes: path.write_bytes(pickle.dumps(codes)),
    ".npy": lambda path, codes: np.save(path, np.array(codes, object), allow_pickle=True),
    ".pt": write_torch,
}


def check(head, rows):
    np.testing.assert_allclose(head.shape, CODES["shape"][0], rtol=1e-6)
    np.testing.assert_array_equal(head.expression, CODES["exp"][rows].astype(np.float32))
    np.testing.assert_array_equal(head.root, CODES["pose"][rows, :3].astype(np.float32))
    np.testing.assert_array_equal(head.jaw, CODES["pose"][rows, 3:].astype(np.float32))
    assert not head.neck.any() and not head.eyes.any() and head.eyes.shape == (len(head), 6)
    assert all(getattr(head, name).dtype == np.float32 for name in ("shape", "expression", "root", "jaw", "eyelids"))


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_sequence_and_a_frame_in_each_kind_of_file(tmp_path, suffix):
    path = tmp_path / f"codes{suffix}"
    WRITERS[suffix](path, {**CODES, "images": np.zeros((4, 3, 2, 2))})
    codes = read_face_codes(path)
    check(codes.head, [0, 1, 2, 3])
    np.testing.assert_array_equal(codes.cam, CODES["cam"].astype(np.float32))
    assert codes.names == ("codes/0", "codes/1", "codes/2", "codes/3") and codes.shape_spread == pytest.approx(0)
    WRITERS[suffix](path, FRAME)
    check(read_codes(path), [2])
    assert read_face_codes(path).names == ("codes",)


def test_a_folder_in_the_order_of_the_numbers(tmp_path):
    for i, number in enumerate((1, 2, 10, 100)):
        np.savez(tmp_path / f"frame{number}.npz", **{key: rows[i : i + 1] for key, rows in CODES.items()})
    codes = read_face_codes(tmp_path)
    assert codes.names == ("frame1", "frame2", "frame10", "frame100")
    check(codes.head, [0, 1, 2, 3])


def test_emocas_folders(tmp_path):
    for i in range(4):
        (tmp_path / f"{i:06d}_00").mkdir()
        for key, rows in CODES.items():
            np.save(tmp_path / f"{i:06d}_00" / f"{key}.npy", rows[i])
    check(read_codes(tmp_path), [0, 1, 2, 3])
    check(read_codes(tmp_path / "000002_00"), [2])


def test_other_names_and_one_shape_for_all(tmp_path):
    codes = {"shapecode": CODES["shape"][:1], "expcode": CODES["exp"][:, None], "posecode": CODES["pose"]}
    np.savez(tmp_path / "codes.npz", **codes)
    check(read_codes(tmp_path / "codes.npz"), [0, 1, 2, 3])


def test_shapes_that_differ_are_averaged_and_said(tmp_path):
    np.savez(tmp_path / "codes.npz", shape=np.array([[1.0, 2], [3, 2]]), exp=np.zeros((2, 50)))
    codes = read_face_codes(tmp_path / "codes.npz")
    assert codes.head.shape.tolist() == [2, 2] and codes.shape_spread == 1 and codes.cam is None


@pytest.mark.parametrize("shape", [(300,), (1, 300)])
def test_micas_identity(tmp_path, shape):
    identity = RNG.normal(size=shape).astype(np.float32)
    np.save(tmp_path / "identity.npy", identity)
    head = read_codes(tmp_path / "identity.npy")
    np.testing.assert_array_equal(head.shape, identity.ravel())
    assert len(head) == 1 and not head.expression.any()


class Evil:
    def __reduce__(self):
        return print, ("ran",)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"shape": None, "exp": None}, "lacks shape and exp: it holds pose, cam"),
        ({"pose": np.zeros((4, 5))}, r"pose has shape \[4, 5\], expected \[frames, 6\]"),
        ({"cam": np.zeros((4, 4))}, r"cam has shape \[4, 4\], expected \[frames, 3\]"),
        ({"exp": np.zeros((4, 101))}, r"exp has shape \[4, 101\], expected \[frames, at most 100\]"),
        ({"exp": np.zeros((4, 2, 50))}, r"exp has shape \[4, 2, 50\]"),
        ({"exp": np.zeros((0, 50))}, r"exp has shape \[0, 50\]"),
        ({"exp": np.full((4, 50), np.nan)}, "exp has a value that is NaN or infinite"),
        ({"exp": np.array(["a"] * 4)}, "exp is not an array of numbers"),
        ({"pose": np.zeros((3, 6))}, "pose has 3 frames, other keys have 4"),
    ],
)
def test_bad_codes_are_one_line_naming_file_and_key(tmp_path, change, match):
    content = {key: value for key, value in {**CODES, **change}.items() if value is not None}
    np.savez(tmp_path / "codes.npz", **content)
    with pytest.raises(MarotteError, match=match) as caught:
        read_codes(tmp_path / "codes.npz")
    assert "codes.npz" in str(caught.value) and "\n" not in str(caught.value)


def test_bad_files(tmp_path, capsys):
    def refused(name, match):
        with pytest.raises(MarotteError, match=match) as caught:
            read_codes(tmp_path / name)
        assert "\n" not in str(caught.value)

    (tmp_path / "empty").mkdir()
    refused("empty", "empty has no codes")
    refused("none.npz", "none.npz: No such file")
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps({"exp": Evil()}))
    refused("evil.pkl", "evil.pkl asks to run builtins.print")
    (tmp_path / "v73.mat").write_bytes(b"MATLAB 7.3 MAT-file" + bytes(200))
    refused("v73.mat", "v73.mat is a MATLAB 7.3 file")
    (tmp_path / "torn.mat").write_bytes(b"MATLAB 5.0" + bytes(200))
    refused("torn.mat", "torn.mat is no MATLAB 5 file")
    np.save(tmp_path / "short.npy", np.zeros(10))
    refused("short.npy", r"short.npy holds an array \[10\], expected MICA's identity")
    (tmp_path / "list.pkl").write_bytes(pickle.dumps([1]))
    refused("list.pkl", "list.pkl holds a list")
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    np.savez(mixed / "1.npz", **FRAME)
    np.savez(mixed / "2.npz", exp=FRAME["exp"])
    refused("mixed", "mixed: 2 has no shape, other frames have")
    np.savez(mixed / "2.npz", **{**FRAME, "exp": np.zeros(100)})
    refused("mixed", "frames have exp of 50 and 100 numbers")
    assert capsys.readouterr().out == ""
