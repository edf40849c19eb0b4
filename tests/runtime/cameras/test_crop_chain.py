"""metrical-tracker's crop: boxes, the map, and the pixels."""

import io
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marotte.errors import MarotteError
from marotte.runtime.camera import FACING, Camera, facing_camera
from marotte.runtime.cameras import CameraTrack
from marotte.runtime.cameras.crop_chain import (
    box_alone,
    box_from_landmarks,
    crop_frame,
    read_bbox,
    resize_cubic,
    tracker_crop,
    whole_picture,
)

sizes = st.tuples(st.integers(60, 2000), st.integers(60, 2000))


@st.composite
def boxes(draw):
    """A video size and a box that has some part of it, maybe reaching out of it."""
    width, height = draw(sizes)
    left, top = draw(st.integers(-50, width - 3)), draw(st.integers(-50, height - 3))
    right = draw(st.integers(max(left, 0) + 1, width + 50))
    return (width, height), (left, right, top, draw(st.integers(max(top, 0) + 1, height + 50)))


def test_box_of_landmarks():
    # Centre 300, 250; half extents 50 and 80: 2.5 * 2 * 80 = 400 pixels.
    landmarks = np.array([[250.9, 170.2], [350.1, 330.7]])
    assert box_from_landmarks(landmarks, (1920, 1080)) == (100, 500, 50, 450)
    # Limited to 0..299 below, which is odd, so it loses its first row; and 0..319 across.
    assert box_from_landmarks(landmarks, (320, 300)) == (101, 319, 51, 299)
    assert box_from_landmarks(landmarks, (1920, 1080), 1.0) == (220, 380, 170, 330)


@given(sizes, st.lists(st.tuples(st.floats(0, 2000), st.floats(0, 2000)), min_size=2, max_size=9))
def test_boxes_of_landmarks_are_even_and_in_the_video(video, points):
    try:
        left, right, top, bottom = box_from_landmarks(np.array(points), video)
    except MarotteError:
        return
    assert 0 <= left < right <= video[0] - 1 and 0 <= top < bottom <= video[1] - 1
    assert (right - left) % 2 == 0 and (bottom - top) % 2 == 0
    crop = tracker_crop((left, right, top, bottom), video)
    # Even sides: the padding is exact, so the resize is the same both ways.
    assert crop.affine.scale_x == pytest.approx(crop.affine.scale_y, rel=1e-12)


@pytest.mark.parametrize("landmarks", [np.zeros((0, 2)), np.zeros((68, 3)), np.full((68, 2), np.nan), [[5, 5], [5, 5]]])
def test_landmarks_that_give_no_box(landmarks):
    with pytest.raises(MarotteError, match="landmarks"):
        box_from_landmarks(np.asarray(landmarks), (100, 100))


def test_the_worked_example():
    crop = tracker_crop((370, 1494, 1, 1079), (1920, 1080))
    assert crop.padding == (0, 23) and crop.size == (512, 512)
    K = np.array([[2339, 0, 267.387900355872], [0, 2339, 243.245551601423], [0, 0, 1]])
    camera = Camera(FACING, np.array([0, 0, 1.7]), K, 512, 512)
    video = CameraTrack((camera,), ("0",), crop=crop).to_video().cameras[0]
    np.testing.assert_allclose(video.K, [[5134.8359375, 0, 957], [0, 5134.8359375, 512], [0, 0, 1]], atol=1e-8)
    assert (video.width, video.height, video.space) == (1920, 1080, "video")


def test_boxes_made_by_hand():
    assert tracker_crop((-40, 700, -10, 500), (640, 480)).box == (0, 639, 0, 479)
    odd = tracker_crop((400, 1500, 100, 901), (1920, 1080))
    assert odd.padding == (0, 149) and odd.affine.scale_x != odd.affine.scale_y
    with pytest.raises(MarotteError, match="no part of a video of 100x80"):
        tracker_crop((200, 300, 0, 50), (100, 80))


@given(boxes(), st.sampled_from([256, 512, 768, 1024]), st.tuples(st.floats(0, 2000), st.floats(0, 2000)))
def test_the_map_is_undone_exactly_and_cameras_follow_it(given_, side, pixel):
    video, box = given_
    crop = tracker_crop(box, video, side)
    there = crop.affine.apply(np.array(pixel))
    np.testing.assert_allclose(crop.affine.inverse.apply(there), pixel, atol=1e-8)
    camera = facing_camera((0, 0, 0), 1.5, 0.4, video)
    track = CameraTrack((camera,), ("0",))
    cropped = track.through(crop.affine, *crop.size, "tracked")
    point = np.array([0.05, -0.08, 0.1])
    np.testing.assert_allclose(cropped.cameras[0].project(point), crop.affine.apply(camera.project(point)), atol=1e-8)
    again = type(track)(cropped.cameras, ("0",), crop=crop).to_video().cameras[0]
    np.testing.assert_allclose(again.K, camera.K, rtol=1e-12, atol=1e-8)


def test_other_branches():
    assert whole_picture((1920, 1080), (960, 540)).affine.matrix.tolist() == [[0.5, 0, 0], [0, 0.5, 0], [0, 0, 1]]
    alone = box_alone((370, 1494, 1, 1079), (1920, 1080))
    assert alone.size == (1124, 1078) and alone.affine.apply([370, 1]).tolist() == [0, 0]


# Pixels


def slow_cubic(image, size):
    """The definition, pixel by pixel in float64."""
    a = -0.75

    def kernel(x):
        x = abs(x)
        if x <= 1:
            return (a + 2) * x**3 - (a + 3) * x**2 + 1
        return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0

    def line(values, new):
        old = len(values)
        result = []
        for i in range(new):
            at = (i + 0.5) * old / new - 0.5
            taps = range(int(np.floor(at)) - 1, int(np.floor(at)) + 3)
            result.append(sum(values[min(max(k, 0), old - 1)] * kernel(at - k) for k in taps))
        return np.array(result)

    across = np.stack([line(row, size[0]) for row in image.astype(np.float64)])
    return np.stack([line(column, size[1]) for column in across.swapaxes(0, 1)], axis=1)


@pytest.mark.parametrize("size", [(31, 20), (9, 40), (24, 17)])
def test_the_resize_is_its_definition(size):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (17, 24, 3), dtype=np.uint8)
    exact = slow_cubic(image, size)
    np.testing.assert_allclose(resize_cubic(image.astype(np.float32), size), exact, atol=2e-3)
    # Bytes: weights in whole 1/2048, twice, and one rounding.
    assert np.abs(resize_cubic(image, size) - np.clip(exact, 0, 255)).max() < 1.0
    assert resize_cubic(image, size).dtype == np.uint8


def test_a_resize_to_the_same_size_changes_nothing_and_gives_a_copy():
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    same = resize_cubic(image, (4, 3))
    np.testing.assert_array_equal(same, image)
    assert not np.shares_memory(same, image)


def test_white_stays_white_and_black_stays_black():
    for value in (0, 255):
        assert (resize_cubic(np.full((50, 33), value, np.uint8), (71, 20)) == value).all()


def test_the_crop_cuts_and_pads():
    image = np.random.default_rng(1).integers(1, 256, (90, 160, 3), dtype=np.uint8)
    # As large as the box: nothing is resized.
    crop = tracker_crop((20, 100, 10, 50), (160, 90), 80)
    picture = crop_frame(image, crop)
    np.testing.assert_array_equal(picture[20:60], image[10:50, 20:100])
    assert picture.shape == (80, 80, 3) and not picture[:20].any() and not picture[60:].any()
    with pytest.raises(MarotteError, match="the frame is 90x160, the crop is of a video of 160x90"):
        crop_frame(image.swapaxes(0, 1), crop)


@settings(max_examples=20, deadline=None)
@given(boxes(), st.sampled_from([64, 128]))
def test_pixels_are_where_the_map_says(given_, side):
    """A ramp of columns keeps its value: the kernel is off by 0.05 px of the source, half a pixel would show."""
    video, box = given_
    crop = tracker_crop(box, video, side)
    ramp = np.broadcast_to(np.arange(video[0], dtype=np.float32), video[::-1])
    picture = crop_frame(ramp, crop)
    wanted = crop.affine.inverse.apply(np.stack(np.meshgrid(np.arange(side) + 0.5, np.arange(side) + 0.5), -1)) - 0.5
    left, right, top, bottom = crop.box
    x, y = wanted[..., 0], wanted[..., 1]
    inside = (x > left + 2) & (x < right - 4) & (y > top + 2) & (y < bottom - 4)
    assert np.abs(picture - x)[inside].max(initial=0) < 0.06


# bbox.pt


def torch_file(path, value, names=("archive/data.pkl",)):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, pickle.dumps(value, protocol=2))
        archive.writestr("archive/version", "3\n")
    path.write_bytes(stream.getvalue())
    return path


def test_a_box_is_read(tmp_path):
    assert read_bbox(torch_file(tmp_path / "bbox.pt", np.array([370, 1494, 1, 1079]))) == (370, 1494, 1, 1079)
    assert read_bbox(torch_file(tmp_path / "out.pt", np.array([-40, 700, -10, 500]))) == (-40, 700, -10, 500)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.zeros(3), "float64 \\[3\\]"),
        ({"a": 1}, "holds dict"),
        (np.array([5, 3, 0, 9]), "in order"),
        (np.array([0.5, 3, 0, 9]), "whole numbers"),
        (np.array([np.nan, 3, 0, 9]), "whole numbers"),
        (np.array(["a"] * 4), "is not a number"),
    ],
)
def test_what_is_no_box(tmp_path, value, words):
    with pytest.raises(MarotteError, match=words) as caught:
        read_bbox(torch_file(tmp_path / "bbox.pt", value))
    assert str(tmp_path / "bbox.pt") in str(caught.value)


class Runs:
    def __reduce__(self):
        return (open, ("stolen", "w"))


def test_a_box_that_would_run_something(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MarotteError, match="refused"):
        read_bbox(torch_file(tmp_path / "bbox.pt", Runs()))
    assert not (tmp_path / "stolen").exists()
