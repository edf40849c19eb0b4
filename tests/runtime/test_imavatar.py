"""IMavatar's flame_params.json: cameras there and back, what is read, what is refused."""

import json

import numpy as np
import pytest
from PIL import Image

from marotte.errors import MarotteError
from marotte.models.rotations import rotvec_to_matrix
from marotte.runtime.camera import Camera, facing_camera
from marotte.runtime.imavatar import imavatar_to_opencv, opencv_to_3dgs, opencv_to_imavatar, read_imavatar


def cameras():
    rng = np.random.default_rng(0)
    for unit in (1.0, 4.0, 5.0):
        K = np.array([[900.0, 0, 250], [0, 870, 300], [0, 0, 1]])
        turn = rotvec_to_matrix(rng.normal(0, 1, 3))
        yield Camera(R=turn, t=rng.normal((0, 0, 3), 1), K=K, width=512, height=640, unit=unit)


def test_there_and_back():
    for camera in cameras():
        again = imavatar_to_opencv(*opencv_to_imavatar(camera), camera.width, camera.height).scaled(camera.unit / 4)
        for name in ("R", "t", "K"):
            np.testing.assert_allclose(getattr(again, name), getattr(camera, name), atol=1e-12, err_msg=name)
        assert (again.width, again.height, again.unit) == (camera.width, camera.height, camera.unit)


def test_a_camera_in_front_is_written_as_its_papers_have_it():
    world_mat, intrinsics = opencv_to_imavatar(facing_camera((0, 0, 0), 1.0, 0.5, (512, 512)))
    np.testing.assert_allclose(world_mat, [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, -4]], atol=1e-15)
    np.testing.assert_allclose(intrinsics, [-2, 2, 0.5, 0.5])


def test_up_and_nearer_in_the_world_are_up_and_nearer_in_the_picture():
    camera = imavatar_to_opencv([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, -4]], [-2, 2, 0.5, 0.5], 100, 80)
    points = np.array([[0, 0, 0], [0, 0.1, 0], [0.1, 0, 0], [0, 0, 1]])
    pixels, depths = camera.project(points), camera.to_camera(points)[:, 2]
    assert pixels[0].tolist() == [50, 40] and pixels[1, 1] < 40 and pixels[2, 0] > 50 and depths[3] < depths[0]


def test_signs_of_intrinsics_do_not_count():
    world_mat, _ = opencv_to_imavatar(next(cameras()))
    one = imavatar_to_opencv(world_mat, [-1.5, 1.6, 0.4, 0.6], 100, 80)
    other = imavatar_to_opencv(world_mat, [1.5, -1.6, -0.4, -0.6], 100, 80)
    np.testing.assert_array_equal(one.K, other.K)
    np.testing.assert_allclose(one.K, [[150, 0, 40], [0, 128, 48], [0, 0, 1]])


def test_the_3dgs_matrices_project_as_the_camera_does():
    points = np.random.default_rng(1).normal(0, 0.3, (20, 3))
    for camera in cameras():
        given = opencv_to_3dgs(camera)
        clip = np.concatenate([points, np.ones((20, 1))], axis=1) @ given.full_projection
        size = np.array([camera.width, camera.height])
        at = ((clip[:, :2] / clip[:, 3:] + 1) * size - 1) / 2  # the rasterizer's pixels, counted from their centres
        np.testing.assert_allclose(at + 0.5, camera.project(points), atol=2e-3)
        np.testing.assert_allclose(given.view @ given.projection, given.full_projection, atol=1e-5)
        np.testing.assert_allclose([*given.centre, 1] @ given.view, [0, 0, 0, 1], atol=1e-5)
        np.testing.assert_allclose(size / 2 / given.tan_half_fov, [900, 870])


def table(frames=4):
    rng = np.random.default_rng(2)
    return {
        "intrinsics": [-2.0, 2.0, 0.5, 0.5],
        "shape_params": rng.normal(size=100).tolist(),
        "frames": [
            {
                "file_path": f"./image/{i + 1}",
                "world_mat": [[1, 0, 0, 0.01 * i], [0, 1, 0, 0], [0, 0, 1, -4]],
                "expression": rng.normal(size=50).tolist(),
                "pose": rng.normal(size=15).tolist(),
                "bbox": [0, 0, 1, 1],
            }
            for i in range(frames)
        ],
    }


@pytest.fixture
def folder(tmp_path):
    def write(content):
        (tmp_path / "flame_params.json").write_text(json.dumps(content))
        return tmp_path

    return write


def test_what_is_read(folder):
    content = table()
    track = read_imavatar(folder(content), size=(64, 48))
    assert len(track) == 4 and [camera.width for camera in track.cameras] == [64] * 4
    assert (track.shape.shape, track.expression.shape, track.full_pose.shape) == ((100,), (4, 50), (4, 15))
    assert track.expression.dtype == track.full_pose.dtype == track.shape.dtype == np.float32
    np.testing.assert_array_equal(track.full_pose[2], np.float32(content["frames"][2]["pose"]))
    assert track.cameras[3].t[0] == pytest.approx(0.03) and track.cameras[0].unit == 4
    same = read_imavatar(folder(content) / "flame_params.json", size=(64, 48))
    np.testing.assert_array_equal(same.expression, track.expression)


@pytest.mark.parametrize(("count", "train"), [(-1, 3), (3, 3), (-350, 0), (0, 0), (350, 4)])
def test_the_split(folder, count, train):
    parts = read_imavatar(folder(table()), size=(64, 48)).split(count)
    assert [len(part) for part in parts] == [train, 4 - train]
    assert all(len(part.expression) == len(part.full_pose) == len(part.images) == len(part) for part in parts)


def test_sizes_come_from_the_pictures(folder):
    place = folder(table(3))
    (place / "images").mkdir()
    (place / "image").mkdir()
    for path, size in (("images/1", (64, 48)), ("image/2", (32, 48)), ("images/3", (64, 50))):
        Image.new("RGBA", size).save(place / f"{path}.png")
    track = read_imavatar(place)
    assert [path.parent.name for path in track.images] == ["images", "image", "images"]
    assert [(camera.width, camera.height) for camera in track.cameras] == [(64, 48), (32, 48), (64, 50)]
    halves = read_imavatar(place, resolution=4).cameras
    assert [(camera.width, camera.height) for camera in halves] == [(16, 12), (8, 12), (16, 12)]
    for whole, half in zip(track.cameras, halves, strict=True):
        one, other = opencv_to_3dgs(whole), opencv_to_3dgs(half)
        np.testing.assert_allclose(one.full_projection, other.full_projection, atol=1e-6)
        np.testing.assert_allclose(one.fov, other.fov)


def change(path, value):
    def act(content):
        at = content
        for key in path[:-1]:
            at = at[key]
        if value is None:
            del at[path[-1]]
        else:
            at[path[-1]] = value

    return act


@pytest.mark.parametrize(
    ("act", "match"),
    [
        (change(["frames"], None), "no list of 'frames'"),
        (change(["frames"], []), "no list of 'frames'"),
        (change(["frames"], [1]), "no list of 'frames'"),
        (change(["intrinsics"], None), "lacks intrinsics"),
        (change(["intrinsics"], [1, 2, 3]), "intrinsics has 3 numbers, expected 4"),
        (change(["intrinsics"], [0, 2, 0.5, 0.5]), r"frames\[0\]: camera K"),
        (change(["shape_params"], ["a"]), "shape_params has something that is no number"),
        (change(["frames", 1, "pose"], [0.0] * 14), r"frames\[1\].pose has 14 numbers, expected 15"),
        (change(["frames", 1, "pose"], [float("nan")] * 15), r"frames\[1\].pose has a number that is NaN"),
        (change(["frames", 1, "pose"], [1e39] * 15), r"frames\[1\].pose has a number that is NaN, infinite or too"),
        (change(["frames", 1, "expression"], [0.0] * 49), r"frames\[1\] has 49 expression coefficients, the first has"),
        (change(["frames", 1, "expression"], [[0], [0, 1]]), "no number"),
        (change(["frames", 2, "world_mat"], [[1, 0, 0, 0]] * 3), r"frames\[2\]: camera R is not a rotation"),
        (change(["frames", 2, "world_mat"], [[1, 0, 0]] * 3), r"world_mat has 9 numbers, expected 12"),
        (change(["frames", 2, "file_path"], None), r"frames\[2\].file_path is None"),
        (change(["frames", 2, "file_path"], 3), r"frames\[2\].file_path is 3"),
    ],
)
def test_bad_files_are_one_clear_line(folder, act, match):
    content = table()
    act(content)
    with pytest.raises(MarotteError, match=match) as caught:
        read_imavatar(folder(content), size=(64, 48))
    assert "\n" not in str(caught.value) and "flame_params.json" in str(caught.value)


def test_pictures_that_cannot_be_read(folder):
    place = folder(table(1))
    with pytest.raises(MarotteError, match=r"images/1.png is not there"):
        read_imavatar(place)
    (place / "images").mkdir()
    (place / "images" / "1.png").write_bytes(b"not a picture")
    with pytest.raises(MarotteError, match=r"images/1.png cannot be read"):
        read_imavatar(place)
    with pytest.raises(MarotteError, match="resolution 3"):
        read_imavatar(place, resolution=3)
    with pytest.raises(MarotteError, match="too small for resolution 8"):
        read_imavatar(place, size=(3, 3), resolution=8)


def test_what_the_form_cannot_hold():
    camera = next(cameras())
    left = Camera(R=camera.R, t=camera.t, K=camera.K - [[0, 0, 300], [0, 0, 0], [0, 0, 0]], width=512, height=640)
    with pytest.raises(MarotteError, match=r"principal point \(-50, 300\)"):
        opencv_to_imavatar(left)
    with pytest.raises(MarotteError, match="3x4 world_mat"):
        imavatar_to_opencv(np.eye(4), [1, 1, 0, 0], 4, 4)
