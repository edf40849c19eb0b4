"""Where a GaussianTalker's head is in its pictures, found out without disturbing them."""

from dataclasses import replace

import numpy as np
import pytest

from marotte.renderers.gaussian_talker import GaussianTalkerRenderer
from marotte.renderers.splatting_avatar import SplattingAvatarRenderer
from marotte.runtime.avatar import load_avatar
from marotte.runtime.background import Background
from marotte.runtime.compare.views import candidate, choose_views, similarities


def turning(frames):
    root = np.zeros((frames, 3), np.float32)
    root[:, 1] = np.linspace(-0.2, 0.2, frames)
    return root


@pytest.mark.parametrize("pose", ["recorded", "motion"])
def test_pictures_are_the_same_whether_measured_or_not(avatar, drive_of, opened, pose):
    renderer, stream = opened(avatar, pose=pose)
    first, second = drive_of(4, root=turning(4)), drive_of(4, start=4, root=turning(4)[::-1])
    expected = [renderer.render(stream, each).pixels for each in (first, second)]
    _, measured = opened(avatar, renderer, pose=pose)
    found = []
    for drive, pixels in zip((first, second), expected, strict=True):
        boxes = measured.head_boxes(drive)
        measured.head_boxes(second)
        assert np.array_equal(renderer.render(measured, drive).pixels, pixels)
        assert np.array_equal(measured.head_boxes(drive), boxes)
        found.append(boxes)
    assert measured.face_points(first) is None
    assert np.ptp(np.concatenate(found)[:, 0]) > 0.2, "the head moves"


def test_the_box_is_the_heads(avatar, drive_of, opened):
    renderer, stream = opened(avatar)
    drive = drive_of(3, background=Background(transparent=True))
    torsos = [stream.torsos.torso(frame)[..., 3] for frame in range(3)]
    alpha = renderer.render(stream, drive).pixels[..., 3]
    for box, picture, torso in zip(stream.head_boxes(drive), alpha, torsos, strict=True):
        columns = np.flatnonzero(((picture > 200) & (torso == 0)).any(axis=0))
        assert abs(box[0] - columns[0]) < 6 and abs(box[2] - columns[-1]) < 6


def test_without_sound_the_head_is_silent(avatar, drive_of, opened):
    _, stream = opened(avatar)
    drive = drive_of(2)
    silent = replace(drive, features=np.zeros_like(drive.features))
    assert np.array_equal(stream.head_boxes(replace(drive, features=None)), stream.head_boxes(silent))


def test_a_device_says_the_same(avatar, drive_of, options, opened):
    renderer = GaussianTalkerRenderer(lambda batch, settings: pytest.fail("it drew"))
    stream, (_, plain) = renderer.open(avatar, options()), opened(avatar)
    drive = drive_of(3)
    assert np.allclose(stream.head_boxes(drive), plain.head_boxes(drive), atol=1e-3)
    assert stream.gaussian_count == plain.gaussian_count == 300


def test_the_neutral_camera_is_the_middle_of_the_recording(avatar, recording, opened):
    _, stream = opened(avatar)
    cameras = recording.cameras
    assert np.allclose(stream.neutral.t, np.mean([camera.t for camera in cameras], axis=0), atol=1e-6)
    assert np.allclose(stream.neutral.R, np.mean([camera.R for camera in cameras], axis=0), atol=0.03)
    assert not np.allclose(stream.neutral.R, stream.camera.R, atol=0.03)


@pytest.mark.parametrize("pose", ["recorded", "motion"])
def test_another_avatar_takes_its_camera(avatar, opened, options, pose):
    _, talker = opened(avatar, pose=pose)
    demo = load_avatar("demo")
    splats = SplattingAvatarRenderer().open(demo, options((96, 96), device="cpu", variant="live"))
    arms = [
        candidate("splats", splats, demo, demo.framing("head").camera(96, 96)),
        candidate("talker", talker, avatar, talker.camera),
    ]
    taken, own = choose_views(arms)
    camera = taken.camera
    assert (taken.rule, own.rule, own.camera) == ("taken", "own", None) and "boxes" in taken.words
    assert (camera.width, camera.height) == (talker.width, talker.height)
    assert np.array_equal(camera.R, talker.neutral.R) and np.array_equal(camera.K, talker.camera.K)
    a, b = taken.seen.box.reshape(2, 2), own.seen.box.reshape(2, 2)
    assert np.allclose(a.mean(axis=0), b.mean(axis=0), atol=0.1)
    assert np.prod(np.ptp(a, axis=0)) == pytest.approx(np.prod(np.ptp(b, axis=0)), rel=0.01)
    assert not similarities([taken.seen, own.seen])[1].applied
