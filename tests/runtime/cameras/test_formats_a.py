"""metrical-tracker, INSTA, NeRF, PyTorch3D and IMavatar: there and back, what axes mean, what is refused."""

import json
import zipfile
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.spatial.transform import Rotation

from marotte.errors import MarotteError, MarotteWarning
from marotte.models.plain_files import packed_npz
from marotte.models.safe_files import read_torch
from marotte.runtime.camera import Camera, facing_camera
from marotte.runtime.cameras import CameraTrack, read_cameras, write_cameras
from marotte.runtime.cameras.formats.metrical import metrical_to_opencv, opencv_to_metrical, packed_torch
from marotte.runtime.cameras.formats.pytorch3d import opencv_to_pytorch3d, pytorch3d_to_opencv
from marotte.runtime.cameras.formats.transforms import (
    insta_to_opencv,
    nerf_to_opencv,
    opencv_to_insta,
    opencv_to_nerf,
)

numbers = st.floats(-1, 1)
vectors = st.tuples(numbers, numbers, numbers).map(np.array)
POINTS = np.random.default_rng(3).normal(0, 0.1, (30, 3))
FILES = {
    "metrical": "out",
    "insta": "insta",
    "nerf": "nerf.json",
    "imavatar": "flame_params.json",
    "pytorch3d": "out.npz",
}
# Pixels between a camera and the same through a file: of float32 and of text.
FLOAT32, TEXT = 2e-2, 1e-8


@st.composite
def cameras(draw, width=512, height=512):
    turn = Rotation.from_rotvec(draw(vectors) * 3).as_matrix()
    fx, fy = draw(st.floats(200, 3000)), draw(st.floats(200, 3000))
    K = np.array([[fx, 0, width / 2 + 80 * draw(numbers)], [0, fy, height / 2 + 80 * draw(numbers)], [0, 0, 1]])
    return Camera(turn, draw(vectors) * 0.2 + np.array([0, 0, 2]), K, width, height)


def close(camera, other, atol=1e-9):
    for name in ("R", "t", "K"):
        np.testing.assert_allclose(getattr(camera, name), getattr(other, name), atol=atol, rtol=atol, err_msg=name)


@given(cameras(), cameras())
def test_matrices_there_and_back_and_composed(camera, other):
    for there, back in ((opencv_to_insta, insta_to_opencv), (opencv_to_nerf, nerf_to_opencv)):
        R, t = back(there(camera))
        np.testing.assert_allclose(R, camera.R, atol=1e-12)
        np.testing.assert_allclose(t, camera.t, atol=1e-12)
        # From camera to world and from world to the other is from camera to the other.
        matrix = np.linalg.inv(there(other)) @ there(camera)
        point = np.array([0.1, -0.2, 0.3, 1])
        through_world = np.linalg.inv(there(other)) @ (there(camera) @ point)
        np.testing.assert_allclose(matrix @ point, through_world, atol=1e-12)
        # A rotation stays one: no axis is lost to a mirror.
        assert np.linalg.det(there(camera)[:3, :3]) == pytest.approx(1)


@given(cameras(640, 360))
def test_pytorch3d_there_and_back(camera):
    R, T, focal, centre = opencv_to_pytorch3d(camera)
    assert np.linalg.det(R) == pytest.approx(1)
    close(pytorch3d_to_opencv(R, T, focal, centre, 640, 360), camera)
    # In pixels the principal point counts to the right and down, from the corner.
    pixels = np.diag(camera.K)[:2], camera.K[:2, 2]
    close(pytorch3d_to_opencv(R, T, *pixels, 640, 360, in_ndc=False), camera)
    # Row vectors, x left, y up: the projection by PyTorch3D's own rule.
    view = POINTS @ R + T
    ndc = focal * view[:, :2] / view[:, 2:] + centre
    np.testing.assert_allclose(np.array([320, 180]) - 180 * ndc, camera.project(POINTS), rtol=1e-9, atol=1e-7)


@given(cameras())
def test_the_trackers_blocks_are_one_camera(camera):
    square = replace(camera, K=np.array([[900, 0, camera.K[0, 2]], [0, 900, camera.K[1, 2]], [0, 0, 1]]))
    block, opencv = opencv_to_metrical(square)
    assert {name: value.shape for name, value in block.items()} == {
        "R": (1, 6),
        "t": (1, 3),
        "fl": (1, 1),
        "pp": (1, 2),
    }
    close(metrical_to_opencv(block, 512, 512), square, 1e-5)
    np.testing.assert_allclose(opencv["K"][0], square.K, rtol=1e-6)


def test_axes():
    """A camera at the world's origin that looks along its z: what is right and below for it, in each convention."""
    camera = Camera(np.eye(3), np.zeros(3), np.array([[100, 0, 32], [0, 100, 32], [0, 0, 1.0]]), 64, 64)
    right, below = np.array([0.1, 0, 1, 1]), np.array([0, 0.1, 1, 1])
    in_nerf = np.linalg.inv(opencv_to_nerf(camera))
    assert (in_nerf @ right).tolist() == [0.1, 0, -1, 1] and (in_nerf @ below).tolist() == [0, -0.1, -1, 1]
    assert np.linalg.inv(opencv_to_insta(camera)).tolist() == np.eye(4).tolist()
    R, T, _, _ = opencv_to_pytorch3d(camera)
    assert (right[:3] @ R + T).tolist() == [-0.1, 0, 1] and (below[:3] @ R + T).tolist() == [0, -0.1, 1]


def test_the_trackers_start():
    block, _ = opencv_to_metrical(facing_camera((0, 0, 0), 1.0, 0.5, (512, 512)))
    np.testing.assert_allclose(block["R"], [[-1, 0, 0, 0, 1, 0]], atol=1e-7)
    np.testing.assert_allclose(block["t"], [[0, 0, 1]], atol=1e-7)


# Through files


@pytest.mark.filterwarnings("ignore::marotte.errors.MarotteWarning")
@pytest.mark.parametrize("last", FILES)
@pytest.mark.parametrize("first", FILES)
def test_what_a_file_holds_goes_through_any_two_formats(head_track, tmp_path, first, last):
    (tmp_path / "a").mkdir()
    write_cameras(head_track, tmp_path / "a" / FILES[first], first, allow_loss=True)
    once = read_cameras(tmp_path / "a" / FILES[first], video=(1920, 1080))
    write_cameras(once, tmp_path / FILES[last], last, allow_loss=True)
    twice = read_cameras(tmp_path / FILES[last], video=(1920, 1080))
    tolerance = FLOAT32 if {"metrical"} & {first, last} else TEXT
    for camera, again in zip(head_track.cameras, twice.cameras, strict=True):
        np.testing.assert_allclose(again.project(POINTS * twice.unit), camera.project(POINTS), atol=tolerance)
    assert twice.crop == head_track.crop
    if "nerf" not in (first, last):  # which has no place for a head
        for name in ("shape", "expression", "jaw", "eyes", "eyelids"):
            given_, got = getattr(head_track.head, name), getattr(twice.head, name)
            np.testing.assert_allclose(got, given_, atol=1e-6, err_msg=name)
        assert len(twice.motion(Fraction(25))) == 4


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(cameras(), min_size=1, max_size=3), st.sampled_from(sorted(FILES)), st.sampled_from([1.0, 4.0, 10.0]))
def test_any_cameras_through_a_file(tmp_path_factory, given_, name, unit):
    # INSTA and IMavatar have one K for all frames, the tracker's other block one focal length.
    one = tuple(replace(camera, K=given_[0].K) for camera in given_) if name in ("insta", "imavatar") else tuple(given_)
    track = CameraTrack(one, tuple(str(i) for i in range(len(one)))).scaled(unit)
    path = tmp_path_factory.mktemp("any") / FILES[name]
    losses = write_cameras(track, path, name, allow_loss=True)
    again = read_cameras(path)
    assert all(loss.startswith(("principal point", "fy")) for loss in losses)
    for camera, back in zip(track.cameras, again.cameras, strict=True):
        wanted = camera.scaled(1 / unit)
        close(back.scaled(1 / again.unit), wanted, 1e-6 if name == "metrical" else 1e-10)


def test_insta_fields_agree_and_parts_are_written(head_track, tmp_path):
    write_cameras(head_track, tmp_path / "scene", "insta")
    table = json.loads((tmp_path / "scene" / "transforms.json").read_text())
    assert list(table) == sorted(table) and all(type(table[key]) is float for key in ("w", "h", "cx", "fl_x"))
    assert table["fl_x"] == pytest.approx(table["w"] / 2 / np.tan(table["camera_angle_x"] / 2))
    assert table["y_fov"] == pytest.approx(np.degrees(table["camera_angle_y"])) and table["integer_depth_scale"] == 1e-3
    frame = table["frames"][0]
    assert frame["file_path"] == "images/00009.png" and frame["exp_path"] == "flame/exp/00009.txt"
    counts = {
        name: len(json.loads((tmp_path / "scene" / f"transforms_{name}.json").read_text())["frames"])
        for name in ("train", "test", "val")
    }
    assert counts == {"train": 3, "test": 1, "val": 4}
    # Without the main file the parts are read, each frame once.
    (tmp_path / "scene" / "transforms.json").unlink()
    assert sorted(read_cameras(tmp_path / "scene").names) == list(head_track.names)


def test_insta_focal_length_by_the_published_order(head_track, tmp_path):
    path = tmp_path / "transforms.json"
    write_cameras(replace(head_track, head=None), path, "insta")
    table = json.loads(path.read_text())

    def fx(**change):
        kept = {key: value for key, value in {**table, **change}.items() if value is not None}
        path.write_text(json.dumps(kept))
        return read_cameras(path, "insta").cameras[0].K[0, 0]

    # The fields of a file of three opinions: SPEC, section 11.
    opinions = {"x_fov": 12.50106, "fl_x": 2339.0, "camera_angle_x": 0.109396}
    assert fx(**opinions) == pytest.approx(2337.32, abs=0.01)
    assert fx(**{**opinions, "x_fov": None}) == 2339
    assert fx(**{**opinions, "x_fov": None, "fl_x": None}) == pytest.approx(4675.59, abs=0.02)
    # A frame's own keys overrule the top.
    own = [{**frame, "fl_x": 1234.0, "fl_y": 1235.0} for frame in table["frames"]]
    assert fx(**opinions, frames=own) == 1234


def test_insta_angles_follow_resized_pictures(head_track, tmp_path):
    write_cameras(replace(head_track, head=None), tmp_path / "transforms.json", "insta")
    (tmp_path / "images").mkdir()
    Image.new("RGB", (256, 256)).save(tmp_path / "images" / "00009.png")
    small = read_cameras(tmp_path / "transforms.json")
    np.testing.assert_allclose(small.cameras[0].K[:2], head_track.cameras[0].K[:2] / 2, rtol=1e-12)
    assert (small.cameras[0].width, small.cameras[0].height) == (256, 256)
    assert "says 512x512, the pictures are 256x256" in " ".join(small.notes)
    assert read_cameras(tmp_path, size=(512, 512)).cameras[0].width == 512


def test_a_blender_file_with_nothing_but_its_angle(tmp_path):
    matrix = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 4], [0, 0, 0, 1]]
    table = {"camera_angle_x": 0.6911, "frames": [{"file_path": "./train/r_0", "transform_matrix": matrix}]}
    (tmp_path / "transforms_train.json").write_text(json.dumps(table))
    with pytest.raises(MarotteError, match=r"lacks w and h.*--size"):
        read_cameras(tmp_path)
    (camera,) = read_cameras(tmp_path, size=(800, 600)).cameras
    assert camera.K[0, 0] == camera.K[1, 1] == pytest.approx(400 / np.tan(0.6911 / 2))
    assert camera.project(np.zeros(3)).tolist() == [400, 300] and camera.t.tolist() == [0, 0, 4]
    assert camera.project(np.array([0, 0.1, 0]))[1] < 300  # up in the world is up in the picture
    (tmp_path / "train").mkdir()
    Image.new("RGB", (80, 60)).save(tmp_path / "train" / "r_0.png")
    assert read_cameras(tmp_path).cameras[0].width == 80


def test_nerf_frames_may_have_their_own_lens_and_size(tmp_path):
    near = facing_camera((0, 0, 0), 1.0, 0.5, (640, 480))
    far = facing_camera((0, 0, 0), 2.0, 0.3, (320, 320))
    track = CameraTrack((near, far), ("a", "b"), images=("images/a.png", "images/b.png"))
    assert write_cameras(track, tmp_path / "nerf.json", "nerf") == []
    again = read_cameras(tmp_path / "nerf.json")
    for camera, back in zip(track.cameras, again.cameras, strict=True):
        close(back, camera)
        assert (back.width, back.height) == (camera.width, camera.height)
    assert again.images == track.images and again.names == ("a", "b")


def test_losses_name_what_and_how_much(head_track, tmp_path):
    zoomed = replace(head_track.cameras[1], K=np.diag([1.01, 1, 1]) @ head_track.cameras[1].K)
    own = replace(head_track, cameras=(head_track.cameras[0], zoomed, *head_track.cameras[2:]))
    turned = replace(head_track, head=replace(head_track.head, root=np.full((4, 3), 0.1, np.float32)))
    cases = [
        (own, "insta", r"each frame's own focal length and principal point: up to \d+"),
        (own, "imavatar", "each frame's own focal length"),
        (own, "metrical", "fy: 0.99% from fx in the block camera"),
        (turned, "insta", r"FLAME's root rotation: up to 9\.92 degrees"),
        (turned, "metrical", "FLAME's root rotation"),
        (replace(head_track, crop=replace(head_track.crop, padding=(3, 3))), "metrical", "not one of the tracker's"),
    ]
    for given_, name, words in cases:
        with pytest.raises(MarotteError, match=words):
            write_cameras(given_, tmp_path / "out", name)
    left = tuple(replace(c, K=c.K - np.array([[0, 0, 300], [0, 0, 0], [0, 0, 0]])) for c in head_track.cameras)
    with pytest.raises(MarotteError, match="sign of the principal point: -33 px"):
        write_cameras(replace(head_track, cameras=left), tmp_path / "out", "imavatar")
    wide = tuple(replace(c, width=640) for c in head_track.cameras)
    with pytest.raises(MarotteError, match="picture's shape: 640x512"):
        write_cameras(replace(head_track, cameras=wide), tmp_path / "out", "imavatar")


@pytest.mark.parametrize("name", ["metrical", "insta", "imavatar"])
def test_pictures_of_several_sizes_are_refused_where_there_is_one_for_all(head_track, tmp_path, name):
    mixed = replace(
        head_track, cameras=(replace(head_track.cameras[0], width=640), *head_track.cameras[1:]), head=None, crop=None
    )
    with pytest.raises(MarotteError, match="512x512, 640x512"):
        write_cameras(mixed, tmp_path / "out", name, allow_loss=True)
    assert not list(tmp_path.iterdir())


def test_imavatar_says_what_its_readers_will_not_see(head_track, tmp_path):
    path = tmp_path / "flame_params.json"
    with pytest.warns(MarotteWarning, match=r"50 expression and 100 shape.*expression \(up to 0\.\d+\), shape"):
        write_cameras(head_track, path, "imavatar")
    table = json.loads(path.read_text())
    frame = table["frames"][0]
    assert (len(frame["expression"]), len(frame["pose"]), len(table["shape_params"])) == (50, 15, 100)
    assert frame["file_path"] == "./image/9" and np.shape(frame["world_mat"]) == (3, 4) and table["intrinsics"][0] < 0


def test_imavatar_moves_the_camera_by_flames_translation(head_track, tmp_path):
    shift = np.array([0.02, -0.01, 0.03], np.float32)
    few = replace(head_track.head, shape=head_track.head.shape[:100], expression=head_track.head.expression[:, :50])
    moved = replace(few, translation=np.tile(shift, (4, 1)), eyelids=np.zeros((4, 2), np.float32))
    write_cameras(replace(head_track, head=moved), tmp_path / "flame_params.json", "imavatar")
    again = read_cameras(tmp_path / "flame_params.json")
    assert not again.head.translation.any()
    for camera, back in zip(head_track.cameras, again.cameras, strict=True):
        np.testing.assert_allclose(back.project(POINTS * 4), camera.project(POINTS + shift), atol=1e-4)


def test_imavatar_intrinsics_in_pixels(head_track, tmp_path):
    path = tmp_path / "flame_params.json"
    write_cameras(replace(head_track, head=None), path, "imavatar")
    table = json.loads(path.read_text())
    table["intrinsics"] = (np.array(table["intrinsics"]) * 512).tolist()
    path.write_text(json.dumps(table))
    again = read_cameras(path)
    np.testing.assert_allclose(again.cameras[0].K, head_track.cameras[0].K, rtol=1e-12)
    assert "pixels at 512" in again.notes[0]


def test_pytorch3d_takes_what_its_constructor_takes(tmp_path):
    camera = facing_camera((0, 0, 0), 1.0, 0.5, (640, 480))
    R, T, focal, _ = opencv_to_pytorch3d(camera)
    (tmp_path / "c.npz").write_bytes(
        packed_npz({"R": R, "T": T, "focal_length": focal[:1], "image_size": [[480, 640]]})
    )
    close(read_cameras(tmp_path / "c.npz").cameras[0], camera)
    both = {"R": [R, R], "T": [T, T], "focal_length": [900.0, 950.0], "principal_point": [[320.0, 240.0]]}
    (tmp_path / "d.npz").write_bytes(
        packed_npz({name: np.array(value) for name, value in both.items()} | {"in_ndc": np.array(False)})
    )
    with pytest.raises(MarotteError, match="lacks image_size"):
        read_cameras(tmp_path / "d.npz", "pytorch3d")
    two = read_cameras(tmp_path / "d.npz", "pytorch3d", size=(640, 480)).cameras
    assert [c.K[1, 1] for c in two] == [900, 950] and two[1].K[0, 2] == 320


# The tracker's folder


def test_frames_are_in_the_order_of_their_numbers_and_of_any_number(head_track, tmp_path):
    named = replace(head_track, names=("00002", "00010", "00100", "12345"))
    write_cameras(named, tmp_path / "actor", "metrical")
    names = sorted(file.name for file in (tmp_path / "actor" / "checkpoint").iterdir())
    assert names == ["00002.frame", "00010.frame", "00100.frame", "12345.frame"]
    (tmp_path / "actor" / "checkpoint" / "00002.frame").rename(tmp_path / "actor" / "checkpoint" / "2.frame")
    assert read_cameras(tmp_path / "actor").names == named.names
    one = read_cameras(tmp_path / "actor" / "checkpoint" / "00100.frame", video=(1920, 1080))
    assert one.names == ("00100",) and one.crop == head_track.crop


def test_the_box_is_found_where_the_tracker_leaves_it(head_track, tmp_path):
    (tmp_path / "output").mkdir()
    write_cameras(head_track, tmp_path / "output" / "actor", "metrical")
    place = tmp_path / "input" / "actor"
    place.mkdir(parents=True)
    (tmp_path / "output" / "actor" / "bbox.pt").rename(place / "bbox.pt")
    unknown = read_cameras(tmp_path / "output" / "actor")
    assert unknown.crop is None and "--video" in unknown.notes[0]
    (place / "source").mkdir()
    Image.new("RGB", (1920, 1080)).save(place / "source" / "00001.png")
    assert read_cameras(tmp_path / "output" / "actor").crop == head_track.crop
    (place / "bbox.pt").rename(tmp_path / "elsewhere.pt")
    lost = read_cameras(tmp_path / "output" / "actor", video=(1920, 1080))
    assert lost.crop is None and "--bbox" in lost.notes[0]
    given_ = read_cameras(tmp_path / "output" / "actor", video=(1920, 1080), bbox=tmp_path / "elsewhere.pt")
    assert given_.crop == head_track.crop


def test_frames_are_what_torch_and_both_numpys_read(head_track, tmp_path):
    write_cameras(head_track, tmp_path / "actor", "metrical")
    path = tmp_path / "actor" / "checkpoint" / "00009.frame"
    with zipfile.ZipFile(path) as archive:
        data = archive.read("archive/data.pkl")
        assert archive.read("archive/byteorder") == b"little" and archive.read("archive/version") == b"3\n"
    assert data[:2] == b"\x80\x02" and b"cnumpy.core.multiarray\n" in data and b"numpy._core" not in data
    frame = read_torch(path)
    assert frame["img_size"].tolist() == [512, 512] and frame["frame_id"] == "00009"
    assert {name: array.shape for name, array in frame["flame"].items()} == {
        "exp": (1, 100),
        "shape": (1, 300),
        "tex": (1, 140),
        "sh": (1, 9, 3),
        "eyes": (1, 12),
        "eyelids": (1, 2),
        "jaw": (1, 6),
    }
    torch = pytest.importorskip("torch", reason="torch is not installed, so it cannot read what we wrote")
    np.testing.assert_array_equal(torch.load(path, weights_only=False)["opencv"]["K"], frame["opencv"]["K"])


def test_blocks_that_differ_are_a_note(head_track, tmp_path):
    write_cameras(head_track, tmp_path / "actor", "metrical")
    path = tmp_path / "actor" / "checkpoint" / "00010.frame"
    frame = read_torch(path)
    path.write_bytes(packed_torch({**frame, "opencv": {**frame["opencv"], "R": head_track.cameras[0].R[None].copy()}}))
    again = read_cameras(tmp_path / "actor", video=(1920, 1080))
    assert any("00010.frame: opencv.R and the block camera differ by" in note for note in again.notes)
    np.testing.assert_allclose(again.cameras[1].R, head_track.cameras[0].R)  # `opencv` is what counts
