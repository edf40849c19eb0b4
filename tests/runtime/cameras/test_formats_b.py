"""Cameras of the 3DGS family, GaussianTalker, GAGAvatar, FaceLift and MAMMAL: there and back, and what is refused."""

import json
import pickle
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.spatial.transform import Rotation

from marotte.errors import MarotteError
from marotte.models.safe_files import read_pickle, read_torch
from marotte.models.torch_writer import write_torch
from marotte.runtime.camera import Camera
from marotte.runtime.cameras import CameraTrack, Crop, read_cameras, write_cameras
from marotte.runtime.cameras.face_codes import head_state
from marotte.runtime.cameras.formats.facelift import facelift_to_opencv, opencv_to_facelift, turntable
from marotte.runtime.cameras.formats.gagavatar import FOCAL, gagavatar_to_opencv, opencv_to_gagavatar
from marotte.runtime.cameras.formats.gaussian_splatting import (
    inria_to_opencv,
    opencv_to_inria,
    opencv_to_viewer,
    viewer_to_opencv,
)
from marotte.runtime.cameras.formats.gaussian_talker import gaussian_talker_to_opencv, opencv_to_gaussian_talker
from marotte.runtime.cameras.formats.mammal import mammal_to_opencv, normalised, opencv_to_mammal, write_mammal

FILES = {
    "3dgs": "cameras.json",
    "splatting-avatar": "cameras.npz",
    "gaussian-talker": "person",
    "gagavatar": "tracked.pt",
    "facelift": "opencv_cameras.json",
    "mammal": "new_cam.pkl",
}
CENTRED, ONE_FOCAL = {"3dgs", "gaussian-talker", "gagavatar"}, {"gaussian-talker", "gagavatar"}
vectors = st.tuples(*[st.floats(-1, 1)] * 3).map(np.array)
quarters = st.sampled_from([0.0, 0.5, -0.5, 1.0, 1e-9, 0.3])


@st.composite
def cameras(draw, format="facelift", unit=None):
    """A camera that the format can hold; turns by whole quarters, where angles lock, are among them."""
    if draw(st.booleans()):
        R = Rotation.from_rotvec(draw(vectors) * np.pi).as_matrix()
    else:
        R = Rotation.from_euler("xyz", [np.pi * draw(quarters) for _ in range(3)]).as_matrix()
    fx, fy, cx, cy = (draw(st.floats(50, 4000)) for _ in range(4))
    width, height = (512, 512) if format == "gagavatar" else (640, 480)
    fx = fy = FOCAL if format == "gagavatar" else fx
    fy = fx if format in ONE_FOCAL else fy
    cx, cy = (width / 2, height / 2) if format in CENTRED else (cx - 1000, cy - 1000)
    K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    t = draw(vectors) + np.array([0, 0, 3])
    return Camera(R, t, K, width, height, unit=unit or draw(st.sampled_from([1.0, 4.0, 5.0, 10.0, 1000.0])))


def same(got, expected, atol=1e-9):
    got = got.scaled(expected.unit / got.unit)
    np.testing.assert_allclose(got.R, expected.R, atol=atol)
    np.testing.assert_allclose(got.t, expected.t, atol=4 * atol * max(1.0, expected.unit))
    np.testing.assert_allclose(got.K, expected.K, rtol=atol, atol=1e-3 * atol)
    assert (got.width, got.height) == (expected.width, expected.height)


@given(cameras())
def test_facelift_there_and_back(camera):
    same(facelift_to_opencv(opencv_to_facelift(camera), camera.unit), camera, 1e-15)


@given(cameras())
def test_mammal_there_and_back(camera):
    same(mammal_to_opencv(opencv_to_mammal(camera), (camera.width, camera.height)), camera, 1e-14)


@given(cameras("3dgs"))
def test_3dgs_there_and_back(camera):
    same(inria_to_opencv(opencv_to_inria(camera)), replace(camera, unit=1.0), 1e-11)
    same(viewer_to_opencv(opencv_to_viewer(camera), camera.unit), camera, 1e-12)


@given(cameras("gaussian-talker"))
def test_gaussian_talker_there_and_back(camera):
    R, t = gaussian_talker_to_opencv(*opencv_to_gaussian_talker(camera))
    same(replace(camera, R=R, t=t, unit=10.0), camera, 1e-8)


@given(cameras("gagavatar"))
def test_gagavatar_there_and_back(camera):
    same(gagavatar_to_opencv(opencv_to_gagavatar(camera)), camera, 1e-6)


@pytest.mark.parametrize("format", FILES)
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_through_a_file(tmp_path_factory, format, data):
    first = data.draw(cameras(format))
    more = st.lists(cameras(format, unit=first.unit), max_size=2)
    rig = [first] + [replace(camera, K=first.K) for camera in data.draw(more)]
    track = CameraTrack(tuple(rig), tuple(str(i) for i in range(len(rig))))
    path = tmp_path_factory.mktemp("files") / FILES[format]
    write_cameras(track, path, format, allow_loss=True)
    again = read_cameras(path, size=(640, 480) if format == "mammal" else None)
    assert again.format == format and len(again) == len(rig)
    for got, expected in zip(again.cameras, rig, strict=True):
        points = np.random.default_rng(0).normal(0, 0.2, (20, 3)) * expected.unit
        same(got, expected, 1e-6 if format in ONE_FOCAL else 1e-9)
        if expected.to_camera(points)[:, 2].min() > expected.unit:  # in front, where pixels mean something
            seen = got.scaled(expected.unit / got.unit).project(points)
            close = 0.02 if format in ONE_FOCAL else 1e-7
            np.testing.assert_allclose(seen, expected.project(points), atol=close)


def rig(count=3, size=(512, 512), focal=(800.0, 800.0), **fields):
    rng = np.random.default_rng(3)
    K = np.array([[focal[0], 0, size[0] / 2], [0, focal[1], size[1] / 2], [0, 0, 1]])
    turns = Rotation.from_rotvec(rng.normal(0, 0.2, (count, 3))).as_matrix()
    made = tuple(Camera(R, rng.normal((0, 0, 2), 0.1), K, *size) for R in turns)
    return CameraTrack(made, tuple(f"cam{i}" for i in range(count)), **fields)


@pytest.mark.parametrize("format", ["3dgs", "splatting-avatar", "gaussian-talker", "facelift"])
def test_the_crop_and_the_rate_go_along(tmp_path, format):
    crop = Crop((1920, 1080), (370, 1494, 1, 1079), (0, 23), (512, 512))
    write_cameras(rig(crop=crop), tmp_path / FILES[format], format, allow_loss=True)
    again = read_cameras(tmp_path / FILES[format], fps=25)
    assert again.crop == crop and again.fps == Fraction(25)
    assert again.to_video().cameras[0].K[0, 0] == pytest.approx(800 * 1124 / 512)


@pytest.mark.parametrize("format", ["gagavatar", "mammal"])
def test_a_crop_that_is_lost_is_named(tmp_path, format):
    crop = Crop((1920, 1080), (370, 1494, 1, 1079), (0, 23), (512, 512))
    with pytest.raises(MarotteError, match="crop box: columns 370 to 1494, rows 1 to 1079 of 1920x1080"):
        write_cameras(rig(crop=crop), tmp_path / FILES[format], format)
    assert not list(tmp_path.iterdir())


def test_what_3dgs_writes_is_inrias_file(tmp_path):
    write_cameras(rig(2, size=(64, 48)), tmp_path / "cameras.json", "3dgs")
    items = json.loads((tmp_path / "cameras.json").read_text())
    assert list(items[1]) == ["id", "img_name", "width", "height", "position", "rotation", "fy", "fx"]
    assert (items[1]["id"], items[1]["img_name"], items[1]["width"], items[1]["fx"]) == (1, "cam1", 64, 800.0)
    camera = rig(2).cameras[1]
    np.testing.assert_allclose(items[1]["position"], -camera.R.T @ camera.t, atol=1e-15)
    np.testing.assert_allclose(items[1]["rotation"], camera.R.T)


@pytest.mark.parametrize(("count", "train"), [(1, 0), (2, 1), (11, 10), (12, 10), (22, 20)])
def test_gaussian_talkers_split(tmp_path, count, train):
    write_cameras(rig(count), tmp_path / "person", "gaussian-talker", allow_loss=True)
    files = [tmp_path / "person" / f"transforms_{part}.json" for part in ("train", "val")]
    lengths = [len(json.loads(file.read_text())["frames"]) for file in files]
    assert lengths == [train, count - train]
    assert read_cameras(tmp_path / "person").names == tuple(map(str, range(count)))


def test_what_gaussian_talker_is_given_for_a_face(tmp_path):
    lost = write_cameras(rig(4, head=head_state(4)), tmp_path / "person", "gaussian-talker", allow_loss=True)
    assert [line.partition(":")[0] for line in lost] == [
        "FLAME's parameters", "BFM identity, expression and vertices"
    ]  # fmt: skip
    params = read_torch(tmp_path / "person" / "track_params.pt")
    shapes = {key: array.shape for key, array in params.items()}
    assert shapes == {
        "id": (1, 100), "exp": (4, 79), "euler": (4, 3), "trans": (4, 3), "focal": (1,), "vertices": (4, 8, 3)
    }  # fmt: skip
    assert all(array.dtype == np.float32 for array in params.values()) and not params["exp"].any()
    box = params["vertices"].mean(axis=0)
    assert box.min(axis=0).tolist() == [-2.5] * 3 and box.max(axis=0).tolist() == [2.5] * 3
    # What came with a person goes back.
    params = {**params, "exp": np.ones((4, 79), np.float32), "vertices": np.ones((4, 5, 3), np.float32)}
    write_torch(tmp_path / "person" / "track_params.pt", params)
    assert write_cameras(read_cameras(tmp_path / "person"), tmp_path / "copy", "gaussian-talker") == []
    copy = read_torch(tmp_path / "copy" / "track_params.pt")
    assert copy["exp"].all() and copy["vertices"].shape == (4, 5, 3)


def test_gaussian_talkers_json_counts_and_what_disagrees_is_noted(tmp_path):
    write_cameras(rig(12), tmp_path / "person", "gaussian-talker", allow_loss=True)
    train = tmp_path / "person" / "transforms_train.json"
    table = json.loads(train.read_text())
    table["focal_len"], table["frames"] = 900.0, table["frames"][::-1][:5]
    table["frames"][0]["transform_matrix"][0][3] += 0.5
    train.write_text(json.dumps(table))
    track = read_cameras(tmp_path / "person")
    assert track.names == ("5", "6", "7", "8", "9", "10", "11") and track.cameras[0].K[0, 0] == 900
    same(track.cameras[0], replace(rig(12).cameras[5], K=track.cameras[0].K), 1e-6)
    assert "focal is 800" in track.notes[0] and "frame 9: by 0.5" in track.notes[1]
    for name in ("transforms_train.json", "transforms_val.json"):
        (tmp_path / "person" / name).unlink()
    alone = tmp_path / "person" / "track_params.pt"
    with pytest.raises(MarotteError, match="give the size of the pictures"):
        read_cameras(alone)
    assert len(read_cameras(alone, size=(512, 512))) == 12


def test_gagavatars_entries(tmp_path):
    head = head_state(3, shape=np.ones(100), expression=np.full((3, 120), 2), jaw=np.full((3, 3), 0.1))
    head = replace(head, neck=np.full((3, 3), 0.2, np.float32))
    images = ("a/0.png", "a/1.png", "a/2.png")
    (tmp_path / "a").mkdir()
    Image.new("RGB", (512, 512), (255, 0, 51)).save(tmp_path / "a" / "0.png")
    Image.new("RGB", (256, 512)).save(tmp_path / "a" / "1.png")
    track = rig(focal=(FOCAL, FOCAL), head=head, images=images, root=tmp_path)
    lost = write_cameras(track, tmp_path / "tracked.pt", "gagavatar", allow_loss=True)
    assert [line.partition(":")[0] for line in lost] == ["FLAME's expression", "FLAME's neck rotation", "pictures"]
    assert lost[0] == "FLAME's expression: coefficients beyond 100, up to 2"
    entries = read_torch(tmp_path / "tracked.pt")
    assert list(entries) == ["0.png", "1.png", "2.png"]
    shapes = {key: array.shape for key, array in entries["0.png"].items()}
    assert shapes == {
        "bbox": (4,), "shapecode": (300,), "expcode": (100,), "posecode": (6,), "eyecode": (6,),
        "transform_matrix": (3, 4), "image": (3, 512, 512),
    }  # fmt: skip
    assert all(array.dtype == np.float32 for entry in entries.values() for array in entry.values())
    np.testing.assert_allclose(entries["0.png"]["image"][:, 7, 9], [1, 0, 0.2])
    assert not entries["1.png"]["image"].any() and not entries["2.png"]["image"].any()
    assert entries["0.png"]["shapecode"].sum() == 100 and entries["0.png"]["expcode"].tolist() == [2] * 100
    np.testing.assert_allclose(entries["0.png"]["posecode"], [0, 0, 0, 0.1, 0.1, 0.1])
    assert (tmp_path / "tracked.pt").stat().st_size < 3 * 512 * 512 * 4 + 20_000  # black is one number
    with pytest.raises(MarotteError, match=r"two frames are called 0\.png"):
        write_cameras(
            replace(track, images=("b/0.png", "a/0.png", "1")), tmp_path / "x.pt", "gagavatar", allow_loss=True
        )


def test_gagavatar_reads_pickled_arrays_too(tmp_path):
    write_cameras(rig(focal=(FOCAL, FOCAL)), tmp_path / "tracked.pt", "gagavatar", allow_loss=True)
    (tmp_path / "tracked.pkl").write_bytes(pickle.dumps(read_torch(tmp_path / "tracked.pt")))
    one, other = read_cameras(tmp_path / "tracked.pt"), read_cameras(tmp_path / "tracked.pkl")
    assert one.names == other.names == ("cam0.jpg", "cam1.jpg", "cam2.jpg")
    np.testing.assert_array_equal(one.cameras[2].t, other.cameras[2].t)
    assert one.notes == ()
    entries = {name: dict(entry) for name, entry in read_torch(tmp_path / "tracked.pt").items()}
    entries["cam1.jpg"]["shapecode"] = np.full(300, 3, np.float32)
    write_torch(tmp_path / "tracked.pt", entries)
    several = read_cameras(tmp_path / "tracked.pt")
    assert "differs between entries by up to 3" in several.notes[0] and several.head.shape[0] == 1
    write_cameras(several, tmp_path / "again.pt", "gagavatar")
    assert read_torch(tmp_path / "again.pt")["cam1.jpg"]["shapecode"][0] == 3


def test_facelifts_two_variants(tmp_path):
    path = tmp_path / "opencv_cameras.json"
    write_cameras(rig(), path, "facelift")
    assert read_cameras(path).images == ("images/cam0.png", "images/cam1.png", "images/cam2.png")
    table = json.loads(path.read_text())
    for i, frame in enumerate(table["frames"]):
        del frame["file_path"]
        frame |= {"blender_camera_name": f"Camera_{i}", "blender_camera_location": [0, 0, i]}
    path.write_text(json.dumps(table))
    track = read_cameras(path)
    assert track.names == ("Camera_0", "Camera_1", "Camera_2") and track.images == ()
    write_cameras(track, path, "facelift")
    again = json.loads(path.read_text())["frames"][2]
    assert again["blender_camera_location"] == [0, 0, 2] and "file_path" not in again


def test_turntables_that_are_none():
    with pytest.raises(MarotteError, match="0 views"):
        turntable(num_views=0)
    with pytest.raises(MarotteError, match="180 degrees"):
        turntable(hfov=180)
    wide = turntable(width=400, height=300).cameras[0]
    assert wide.K[0, 0] == wide.K[1, 1] == pytest.approx(200 / np.tan(np.deg2rad(25)))  # from the width alone


@pytest.mark.parametrize(("container", "key"), [("list", 0), ("int", 0), ("str", "0")])
def test_mammals_containers(tmp_path, container, key):
    path = tmp_path / "new_cam.pkl"
    write_mammal(rig(12), path, container)
    content = read_pickle(path)
    assert isinstance(content, list if container == "list" else dict) and content[key]["T"].shape == (3,)
    if container == "str":
        path.write_bytes(pickle.dumps({name: content[name] for name in sorted(content)}, 2))  # "10" before "2"
    track = read_cameras(path)
    assert track.names == tuple(map(str, range(12))) and "1152x1024 is taken" in track.notes[0]
    same(replace(track.cameras[10], width=512, height=512), rig(12).cameras[10])
    write_cameras(track, path, "mammal")
    again = read_pickle(path)
    assert type(again) is type(content) and len(again) == 12 and again[key]["T"].shape == (3,)


def test_mammals_columns_and_normalising(tmp_path):
    items = [{**opencv_to_mammal(camera), "T": opencv_to_mammal(camera)["T"][:, None]} for camera in rig().cameras]
    (tmp_path / "new_cam.pkl").write_bytes(pickle.dumps(items))
    track = read_cameras(tmp_path / "new_cam.pkl", size=(512, 512))
    same(track.cameras[1], rig().cameras[1])
    at_origin = replace(track, cameras=tuple(replace(camera, t=np.zeros(3)) for camera in track.cameras))
    with pytest.raises(MarotteError, match="mean distance of 0"):
        normalised(at_origin)
