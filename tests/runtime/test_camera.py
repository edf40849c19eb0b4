"""The camera's axioms: projection, crops that compose and invert, moved and scaled worlds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from marotte.errors import MarotteError
from marotte.runtime.affine import Affine2D, continuous_to_index, crop, index_to_continuous, pad, resize
from marotte.runtime.camera import FACING, Camera, facing_camera

numbers = st.floats(-200, 200, allow_nan=False)
scales = st.floats(0.1, 8)
affines = st.builds(Affine2D, scales, scales, numbers, numbers)
vectors = st.tuples(*[st.floats(-1, 1)] * 3).map(np.array)


@st.composite
def cameras(draw):
    turn = Rotation.from_rotvec(draw(vectors) * 3).as_matrix()
    fx, fy = draw(st.floats(100, 3000)), draw(st.floats(100, 3000))
    K = np.array([[fx, 0, draw(numbers)], [0, fy, draw(numbers)], [0, 0, 1]])
    return Camera(turn, draw(vectors) + np.array([0, 0, 5]), K, 640, 480)


def test_axes_and_pixels():
    camera = Camera(np.eye(3), np.zeros(3), np.array([[100, 0, 32], [0, 200, 24], [0, 0, 1]]), 64, 48)
    assert camera.project(np.array([0, 0, 2])).tolist() == [32, 24]
    assert camera.project(np.array([0.5, 0, 2])).tolist() == [57, 24]  # x is right
    assert camera.project(np.array([0, 0.1, 2])).tolist() == [32, 34]  # y is down


def test_facing_camera_shows_the_persons_left_at_the_pictures_right():
    camera = facing_camera((0, 0.1, 0), 1.0, 0.4, (512, 256))
    assert camera.project(np.array([0, 0.1, 0])) == pytest.approx([256, 128])
    right, _ = camera.project(np.array([0.05, 0.1, 0]))
    _, above = camera.project(np.array([0, 0.2, 0]))
    assert right > 256 and above < 128
    # The shorter side spans `height` at the target.
    assert camera.project(np.array([0, 0.3, 0]))[1] == pytest.approx(0)
    assert np.array_equal(FACING @ FACING.T, np.eye(3)) and np.linalg.det(FACING) == pytest.approx(1)


@given(cameras(), vectors)
def test_unproject_inverts_project(camera, point):
    depth = camera.to_camera(point)[2]
    back = camera.unproject(camera.project(point), depth)
    assert back == pytest.approx(point, abs=1e-6)


@given(cameras())
def test_centre_is_where_the_camera_is(camera):
    assert camera.to_camera(camera.centre) == pytest.approx(np.zeros(3), abs=1e-9)


@given(cameras(), affines, vectors)
def test_K_follows_the_image(camera, affine, point):
    moved = camera.through(affine, 10, 10, "crop")
    assert moved.project(point) == pytest.approx(affine.apply(camera.project(point)), rel=1e-6, abs=1e-6)


@given(cameras(), vectors, vectors, vectors)
def test_moved_camera_sees_what_a_moved_world_shows(camera, turn, pivot, point):
    rotation = Rotation.from_rotvec(turn).as_matrix()
    seen = camera.moved(rotation, pivot).to_camera(point)
    assert seen == pytest.approx(camera.to_camera(rotation @ (point - pivot) + pivot), abs=1e-9)


@given(cameras(), vectors, st.floats(0.1, 1000))
def test_scaled_world_gives_the_same_picture(camera, point, factor):
    scaled = camera.scaled(factor)
    assert scaled.unit == pytest.approx(factor)
    assert scaled.project(point * factor) == pytest.approx(camera.project(point), rel=1e-6, abs=1e-6)


@given(affines, affines, affines, st.tuples(numbers, numbers).map(np.array))
def test_affines_are_a_group(a, b, c, point):
    assert ((a @ b) @ c).apply(point) == pytest.approx((a @ (b @ c)).apply(point), rel=1e-6, abs=1e-6)
    assert (a @ b).apply(point) == pytest.approx(a.apply(b.apply(point)), rel=1e-6, abs=1e-6)
    assert a.inverse.apply(a.apply(point)) == pytest.approx(point, rel=1e-6, abs=1e-6)
    assert (a @ b).matrix == pytest.approx(a.matrix @ b.matrix, rel=1e-9, abs=1e-6)


def test_crop_pad_resize():
    chain = resize((600, 600), (512, 512)) @ pad(0, 23) @ crop(370, 1)
    assert chain.apply([370, 1]) == pytest.approx([0, 23 * 512 / 600])
    assert chain.apply([970, 578]) == pytest.approx([512, 512])
    assert continuous_to_index(index_to_continuous(np.array([3.0, 4.0]))).tolist() == [3, 4]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"R": np.diag([1.0, 1.0, -1.0])}, "not a rotation"),
        ({"R": np.eye(3) * 2}, "not a rotation"),
        ({"t": np.array([0, np.nan, 0])}, "finite"),
        ({"K": np.array([[1.0, 0.5, 0], [0, 1, 0], [0, 0, 1]])}, "fx, fy"),
        ({"K": np.array([[-1.0, 0, 0], [0, 1, 0], [0, 0, 1]])}, "fx, fy"),
        ({"width": 0}, "at least 1"),
    ],
)
def test_wrong_cameras_are_named(change, words):
    good = {"R": np.eye(3), "t": np.zeros(3), "K": np.eye(3), "width": 4, "height": 4}
    with pytest.raises(MarotteError, match=words):
        Camera(**{**good, **change})


def test_an_affine_that_cannot_be_inverted_is_refused():
    with pytest.raises(MarotteError, match="inverted"):
        Affine2D(scale_x=0)
