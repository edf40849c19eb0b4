"""Bad camera files of the 3DGS family, GaussianTalker, GAGAvatar, FaceLift and MAMMAL: one line naming file and key."""

import json
import pickle

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from marotte.errors import MarotteError
from marotte.models.safe_files import read_pickle, read_torch
from marotte.models.torch_writer import write_torch
from marotte.runtime.camera import Camera
from marotte.runtime.cameras import CameraTrack, read_cameras, write_cameras
from marotte.runtime.cameras.formats.gagavatar import FOCAL

FILES = {
    "3dgs": "cameras.json",
    "splatting-avatar": "cameras.npz",
    "gaussian-talker": "person",
    "gagavatar": "tracked.pt",
    "facelift": "opencv_cameras.json",
    "mammal": "new_cam.pkl",
}


def rig(count=3, size=(512, 512)):
    """Cameras that every format can hold."""
    rng = np.random.default_rng(3)
    K = np.array([[FOCAL, 0, size[0] / 2], [0, FOCAL, size[1] / 2], [0, 0, 1]])
    turns = Rotation.from_rotvec(rng.normal(0, 0.2, (count, 3))).as_matrix()
    made = tuple(Camera(R, rng.normal((0, 0, 2), 0.1), K, *size) for R in turns)
    return CameraTrack(made, tuple(f"cam{i}" for i in range(count)))


class Evil:
    def __reduce__(self):
        return print, ("ran",)


def write_json(path, content):
    path.write_text(json.dumps(content))


def good(format, folder):
    """Return (file to change, content, how to write it, what to read)."""
    path = folder / FILES[format]
    write_cameras(rig(), path, format, allow_loss=True)
    if format == "gaussian-talker":
        return path / "track_params.pt", dict(read_torch(path / "track_params.pt")), write_torch, path
    if format == "gagavatar":
        return path, {name: dict(entry) for name, entry in read_torch(path).items()}, write_torch, path
    if format == "splatting-avatar":
        return path, dict(np.load(path)), lambda p, arrays: np.savez(p, **arrays), path
    if format == "mammal":
        return path, read_pickle(path), lambda p, content: p.write_bytes(pickle.dumps(content)), path
    return path, json.loads(path.read_text()), write_json, path


REFLECTED = np.diag([1.0, 1.0, -1.0])
BAD = [
    ("3dgs", [1, "rotation"], None, r"cameras.json lacks \[1\].rotation"),
    ("3dgs", [1, "rotation"], REFLECTED.tolist(), r"cameras.json: \[1\]: camera R is not a rotation"),
    ("3dgs", [1, "position"], [0, 0], r"\[1\].position has shape \[2\], expected \[3\]"),
    ("3dgs", [1, "fx"], float("nan"), r"\[1\].fx has a value that is NaN"),
    ("3dgs", [1, "fx"], "long", r"\[1\].fx is 'long', not an array of numbers"),
    ("3dgs", [1, "width"], 12.5, r"\[1\].width is 12.5, expected a whole number"),
    ("3dgs", [1], 7, r"\[1\] is a int, expected a table"),
    ("3dgs", [], [], "cameras.json holds an empty list"),
    ("3dgs", [], {"rotation": 1}, "cameras.json holds a dict, expected a list"),
    ("facelift", ["frames"], [], "frames is not a list of cameras, or is empty"),
    ("facelift", ["frames"], None, "opencv_cameras.json lacks frames"),
    ("facelift", ["frames", 2, "w2c"], None, r"opencv_cameras.json lacks frames\[2\].w2c"),
    ("facelift", ["frames", 2, "w2c"], np.eye(4)[:3].tolist(), r"frames\[2\].w2c has shape \[3, 4\]"),
    ("facelift", ["frames", 2, "w2c"], (2 * np.eye(4)).tolist(), r"frames\[2\].w2c has the last row"),
    ("facelift", ["frames", 2, "w2c"], np.diag([1.0, 1, -1, 1]).tolist(), r"frames\[2\]: camera R is not a rotation"),
    ("facelift", ["frames", 2, "fx"], -1, r"frames\[2\]: camera K must be"),
    ("facelift", ["frames", 2, "cx"], [1, 2], r"frames\[2\].cx has shape \[2\]"),
    ("facelift", ["frames", 2, "w"], 0, r"frames\[2\].w is 0, expected a whole number of at least 1"),
    ("facelift", ["frames", 2], [], r"frames\[2\] is a list"),
    ("mammal", [1, "K"], None, r"new_cam.pkl lacks \[1\].K: it holds R, T"),
    ("mammal", [1, "R"], REFLECTED, r"new_cam.pkl: \[1\]: camera R is not a rotation"),
    ("mammal", [1, "R"], np.eye(4), r"\[1\].R has shape \[4, 4\]"),
    ("mammal", [1, "T"], np.array([0, np.inf, 0]), r"\[1\].T has a value that is NaN"),
    ("mammal", [1, "T"], np.zeros(2), r"\[1\].T has shape \[2\]"),
    ("mammal", [1, "K"], np.array([[1, 0.5, 0], [0, 1, 0], [0, 0, 1]]), r"\[1\]: camera K must be"),
    ("mammal", [1], None, r"\[1\] is a NoneType, expected a table with K"),
    ("mammal", [], [], "new_cam.pkl holds no camera"),
    ("mammal", [], 3, "new_cam.pkl holds a int"),
    ("mammal", [], {"K": 1, "R": 2, "T": Evil()}, "new_cam.pkl asks to run builtins.print"),
    ("splatting-avatar", ["intr"], None, "cameras.npz lacks intr"),
    ("splatting-avatar", ["R_stored"], np.zeros((3, 3, 3)), "cameras.npz: camera 0: camera R is not a rotation"),
    ("splatting-avatar", ["R_stored"], np.zeros((0, 3, 3)), "R_stored has no camera"),
    ("splatting-avatar", ["T_stored"], np.zeros((2, 3)), r"T_stored has shape \[2, 3\], expected \[3, 3\]"),
    ("splatting-avatar", ["wh"], np.zeros((3, 2)), "camera image is 0x0"),
    ("splatting-avatar", ["names"], np.array(["a"]), r"names has shape \[1\], expected \[3\]"),
    ("gaussian-talker", ["euler"], None, "track_params.pt lacks euler"),
    ("gaussian-talker", ["euler"], np.full((3, 3), np.nan, np.float32), "track_params.pt: euler has a value that"),
    ("gaussian-talker", ["euler"], np.zeros((0, 3)), "euler has no frame"),
    ("gaussian-talker", ["trans"], np.zeros((2, 3)), r"trans has shape \[2, 3\], expected \[3, 3\]"),
    ("gaussian-talker", ["focal"], np.zeros(2), r"focal has shape \[2\]"),
    ("gaussian-talker", ["exp"], np.zeros((1, 79)), r"exp has shape \[1, 79\], expected one row for each frame"),
    ("gaussian-talker", [], [1], "its content is a list, expected a table with euler"),
    ("gagavatar", ["cam1.jpg", "transform_matrix"], None, "tracked.pt lacks cam1.jpg.transform_matrix"),
    ("gagavatar", ["cam1.jpg", "transform_matrix"], np.eye(4), r"transform_matrix has shape \[4, 4\]"),
    ("gagavatar", ["cam1.jpg", "transform_matrix"], np.eye(4)[:3] * -1, "cam1.jpg.transform_matrix: camera R is not"),
    ("gagavatar", ["cam1.jpg", "expcode"], np.zeros(50), r"cam1.jpg.expcode has shape \[50\], expected \[100\]"),
    ("gagavatar", ["cam1.jpg", "bbox"], np.full(4, np.nan), "cam1.jpg.bbox has a value that is NaN"),
    ("gagavatar", ["cam1.jpg"], 3, "cam1.jpg is a int, expected a table"),
    ("gagavatar", [], {}, "tracked.pt holds nothing"),
]  # fmt: skip


@pytest.mark.parametrize(("format", "keys", "value", "match"), BAD)
def test_bad_files_are_one_line_naming_file_and_key(tmp_path, capsys, format, keys, value, match):
    file, content, write, path = good(format, tmp_path)
    if not keys:
        content = value
    else:
        table = content
        for key in keys[:-1]:
            table = table[key]
        if value is None and isinstance(table, dict):
            del table[keys[-1]]
        else:
            table[keys[-1]] = value
    write(file, content)
    with pytest.raises(MarotteError, match=match) as caught:
        read_cameras(path, format)
    assert "\n" not in str(caught.value) and file.name in str(caught.value)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda table: table.pop("frames"), "transforms_train.json lacks frames"),
        (lambda table: table.update(frames={}), "frames is a dict, expected a list"),
        (lambda table: table.pop("focal_len"), "transforms_train.json lacks focal_len"),
        (
            lambda table: table["frames"][0].update(img_id=99),
            "img_id 99 is not in track_params.pt, which has 12 frames",
        ),
        (lambda table: table["frames"][0].update(img_id=11), r"transforms_val.json: frames\[1\].img_id 11 comes twice"),
        (lambda table: table["frames"][0].update(img_id=0.5), r"frames\[0\].img_id is 0.5"),
        (lambda table: table["frames"][0].update(transform_matrix=[[1]]), r"transform_matrix has shape \[1, 1\]"),
        (lambda table: table.update(focal_len=-1), "camera K must be"),
        (lambda table: table.update(marotte=3), "marotte is a int"),
    ],
)
def test_bad_json_of_gaussian_talker(tmp_path, change, match):
    write_cameras(rig(12), tmp_path / "person", "gaussian-talker", allow_loss=True)
    for name in ("transforms_val.json", "transforms_train.json"):
        table = json.loads((tmp_path / "person" / name).read_text())
        if name == "transforms_train.json":
            change(table)
        (tmp_path / "person" / name).write_text(json.dumps(table))
    with pytest.raises(MarotteError, match=match):
        read_cameras(tmp_path / "person", "gaussian-talker")


def test_mixed_sizes_and_hostile_torch_files(tmp_path, capsys):
    mixed = CameraTrack((rig().cameras[0], rig(size=(64, 48)).cameras[0]), ("0", "1"))
    with pytest.raises(MarotteError, match="several sizes"):
        write_cameras(mixed, tmp_path / "person", "gaussian-talker", allow_loss=True)
    assert not list(tmp_path.iterdir())
    for name, keys in (
        ("tracked.pt", ("transform_matrix", "expcode")),
        ("track_params.pt", ("euler", "trans", "focal")),
    ):
        (tmp_path / name).write_bytes(pickle.dumps({**dict.fromkeys(keys), "evil": Evil()}, 2))
        with pytest.raises(MarotteError, match=rf"{name} asks to run \w+\.print"):
            read_cameras(tmp_path / name, size=(512, 512))
    assert capsys.readouterr().out == ""
