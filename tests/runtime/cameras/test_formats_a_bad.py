"""metrical-tracker, INSTA, PyTorch3D and IMavatar files that are wrong: one line that names the file and the key."""

import json
import pickle
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.models.plain_files import packed_npz
from marotte.models.safe_files import read_npz, read_torch
from marotte.runtime.cameras import read_cameras, write_cameras
from marotte.runtime.cameras.formats.metrical import packed_torch


def broken(frame, key, value):
    """The frame with the entry `a.b` replaced, or without it where the value is None."""
    name, _, inner = key.partition(".")
    table = dict(frame)
    if inner:
        table[name] = broken(frame[name], inner, value)
    elif value is None:
        del table[name]
    else:
        table[name] = value
    return table


MIRROR = np.diag([1.0, 1, -1])[None].astype(np.float32)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("opencv", None, "lacks opencv"),
        ("opencv.R", None, "lacks opencv.R"),
        ("opencv.R", np.zeros((1, 3)), r"opencv.R has shape \[1, 3\]"),
        ("opencv.R", MIRROR, "determinant of -1"),
        ("opencv.R", np.zeros((1, 3, 3)), "not a rotation"),
        ("opencv.t", np.full((1, 3), np.nan), "opencv.t has a value that is NaN"),
        ("opencv.K", np.zeros((1, 3, 3)), "camera K must be"),
        ("camera.fl", np.full((1, 1), np.inf), "camera.fl has a value"),
        ("flame", None, "lacks flame"),
        ("flame.exp", "text", "flame.exp"),
        ("flame.jaw", np.zeros((1, 3)), r"flame.jaw has shape"),
        ("img_size", None, "lacks img_size"),
        ("img_size", np.array([512, 640]), "img_size is 640x512, the first frame's is 512x512"),
        ("img_size", np.array([0, 0]), "at least 1"),
    ],
)
def test_a_frame_that_is_wrong(head_track, tmp_path, key, value, words):
    write_cameras(head_track, tmp_path / "actor", "metrical")
    path = tmp_path / "actor" / "checkpoint" / "00011.frame"
    path.write_bytes(packed_torch(broken(read_torch(path), key, value)))
    with pytest.raises(MarotteError, match=words) as caught:
        read_cameras(tmp_path / "actor")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


class Runs:
    def __reduce__(self):
        return (open, ("stolen", "w"))


def test_a_frame_that_is_cut_off_or_would_run_something(head_track, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_cameras(head_track, tmp_path / "actor", "metrical")
    path = tmp_path / "actor" / "checkpoint" / "00011.frame"
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(MarotteError, match=r"00011\.frame is damaged"):
        read_cameras(tmp_path / "actor")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Runs(), protocol=2))
    with pytest.raises(MarotteError, match=r"00011\.frame .*refused"):
        read_cameras(tmp_path / "actor")
    assert not (tmp_path / "stolen").exists()
    with pytest.raises(MarotteError, match=r"no \.frame files"):
        read_cameras(tmp_path, "metrical")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"frames": []}, "no list of 'frames'"),
        ({"frames": None}, "no list of 'frames'"),
        ({"frames": [3]}, r"frames\[0\] is a int"),
        ({"frames": [{"file_path": "a.png"}]}, r"lacks frames\[0\]\.transform_matrix"),
        ({"frames": [{"transform_matrix": [[1, 2], [3, 4]]}]}, r"frames\[0\]\.transform_matrix has shape \[2, 2\]"),
        ({"frames": [{"transform_matrix": [[1, 2, 3, 4]] * 4}]}, r"frames\[0\]\.transform_matrix: the last row"),
        ({"frames": [{"transform_matrix": np.zeros((4, 4)).tolist()}]}, r"frames\[0\]\.transform_matrix"),
        ({"frames": [{"transform_matrix": np.diag([1.0, 1, -1, 1]).tolist()}]}, "determinant of -1"),
        ({"frames": [{"transform_matrix": np.diag([2.0, 2, 2, 1]).tolist()}]}, "not a rotation"),
        ({"frames": [{"transform_matrix": [[float("nan")] * 4] * 4}]}, r"transform_matrix has a value that is NaN"),
        ({"frames": [{"transform_matrix": np.eye(4).tolist(), "file_path": 3}]}, r"file_path is 3"),
        ({"x_fov": None, "fl_x": None, "camera_angle_x": None}, "lacks a focal length"),
        ({"x_fov": "wide"}, "x_fov is 'wide'"),
        ({"x_fov": None, "fl_x": None, "camera_angle_x": 12.5}, "degrees where radians are meant"),
        ({"x_fov": None, "fl_x": -3.0}, "fl_x is -3"),
        ({"w": 0.0}, "both must be at least 1"),
        ({"cx": [1, 2]}, "cx"),
        ({"marotte": 3}, "marotte is a int"),
        ({"marotte": {"crop": {"video": [3, 4]}}}, r"lacks marotte\.crop\.box"),
        ({"marotte": {"unit": -1}}, r"marotte\.unit is -1"),
    ],
)
def test_transforms_that_are_wrong(head_track, tmp_path, change, words):
    path = tmp_path / "transforms.json"
    write_cameras(replace(head_track, head=None), path, "insta")
    table = {**json.loads(path.read_text()), **change}
    path.write_text(json.dumps({key: value for key, value in table.items() if value is not None}))
    with pytest.raises(MarotteError, match=words) as caught:
        read_cameras(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_flame_files_of_insta_that_are_wrong(head_track, tmp_path):
    write_cameras(head_track, tmp_path / "scene", "insta")
    flame = tmp_path / "scene" / "flame"
    for kind, text, words in (
        ("exp", "0.1 nan", "NaN"),
        ("exp", "0.1 x", "no number"),
        ("exp", "", "is empty"),
        ("exp", "0.1", "different counts"),
        ("jaw", "1 2", "expected 6"),
        ("eyelids", "1", "left and right"),
    ):
        file = flame / kind / "00010.txt"
        whole = file.read_text()
        file.write_text(text)
        with pytest.raises(MarotteError, match=words) as caught:
            read_cameras(tmp_path / "scene" / "transforms.json")
        assert str(flame / kind) in str(caught.value)
        file.write_text(whole)
    (flame / "exp" / "00010.txt").unlink()
    with pytest.raises(MarotteError, match=r"00010\.txt is not there, though 3 other frames"):
        read_cameras(tmp_path / "scene" / "transforms.json")
    path = tmp_path / "scene" / "transforms.json"
    path.write_text(path.read_text().replace("flame/exp/", "../../flame/exp/"))
    with pytest.raises(MarotteError, match="leads out of"):
        read_cameras(path)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("R", None, "lacks R"),
        ("R", np.zeros((4, 3)), r"R has shape"),
        ("R", np.tile(np.diag([1.0, 1, -1]), (4, 1, 1)), "camera 0: .*determinant"),
        ("T", np.zeros((3, 3)), r"T has shape \[3, 3\]"),
        ("T", np.full((4, 3), np.nan), "T has a value that is NaN"),
        ("focal_length", np.zeros((4, 2)), "camera 0: camera K"),
        ("focal_length", np.zeros((4, 3)), r"focal_length has shape \[4, 3\]"),
        ("image_size", np.zeros((4, 2), int), "image_size is 0 somewhere"),
        ("names", np.array(["a"]), "names has 1 entries for 4"),
    ],
)
def test_pytorch3d_arrays_that_are_wrong(head_track, tmp_path, key, value, words):
    path = tmp_path / "cameras.npz"
    write_cameras(head_track, path, "pytorch3d")
    arrays = {**read_npz(path), key: value}
    path.write_bytes(packed_npz({name: array for name, array in arrays.items() if array is not None}))
    with pytest.raises(MarotteError, match=words) as caught:
        read_cameras(path, "pytorch3d")
    assert str(path) in str(caught.value)


def test_imavatar_pictures_that_are_no_pictures(head_track, tmp_path):
    write_cameras(replace(head_track, head=None), tmp_path / "flame_params.json", "imavatar")
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / "9.png").write_text("no picture")
    with pytest.raises(MarotteError, match=r"9\.png cannot be read"):
        read_cameras(tmp_path)
    assert len(read_cameras(tmp_path, size=(512, 512))) == 4
