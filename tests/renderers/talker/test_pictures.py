"""Pictures of a GaussianTalker on the CPU: what moves it, what stands behind it, sizes."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from marotte.renderers.gaussian_talker import GaussianTalkerRenderer
from marotte.renderers.talker_poses import Lids
from marotte.renderers.talker_torsos import Torsos
from marotte.runtime.background import Background
from marotte.runtime.recording import Recording
from marotte.runtime.testing import check_renderer

WIDTH, HEIGHT, FRAMES = 48, 40, 12  # of the recording


@pytest.mark.parametrize("pose", ["recorded", "motion"])
def test_contract(avatar, pose):
    class Renderer(GaussianTalkerRenderer):
        def open(self, avatar, given):
            return super().open(avatar, replace(given, extra={"device": "cpu", "pose": pose}))

    check_renderer(Renderer(), avatar, size=(WIDTH, HEIGHT))


def test_streams_do_not_disturb_each_other(avatar, drive_of, options, opened, pixels):
    renderer, one = opened(avatar, pose="motion")
    other = renderer.open(avatar, options(device="cpu"))
    turns = np.outer(np.linspace(-0.2, 0.2, 6), (0.3, 1, 0))
    whole = pixels(avatar, drive_of(6, root=turns), pose="motion")
    parts = []
    for i in range(6):
        parts.append(renderer.render(one, drive_of(1, i, root=turns[i : i + 1])).pixels)
        renderer.render(other, drive_of(1, i, root=-turns[i : i + 1], seed=3))
    assert np.array_equal(np.concatenate(parts), whole)


def test_threads_do_not_change_pictures(avatar, torch, drive_of, pixels):
    usual = torch.get_num_threads()
    try:
        drawn = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            drawn.append(pixels(avatar, drive_of(5)))
            assert torch.get_num_threads() == threads
        assert np.array_equal(*drawn)
    finally:
        torch.set_num_threads(usual)


def test_head_weights_are_shared_while_shown(avatar, options, opened):
    renderer, one = opened(avatar)
    other = renderer.open(avatar, options((WIDTH * 2, HEIGHT * 2), device="cpu", pose="motion"))
    assert other.person is one.person
    assert renderer.open(avatar, options(device="cpu", precision="bfloat16")).person is not one.person


def test_sound_and_lids_and_time_show(avatar, drive_of, pixels):
    still = drive_of(1)
    base = pixels(avatar, still)
    assert not np.array_equal(base, pixels(avatar, replace(still, features=-still.features)))
    shut = replace(still, head=replace(still.head, eyelids=np.ones((1, 2), np.float32)))
    assert not np.array_equal(base, pixels(avatar, shut))
    assert not np.array_equal(base, pixels(avatar, replace(still, ticks=still.ticks + 1920)))
    turned = replace(still, head=replace(still.head, root=np.array([[0, 0.1, 0]], np.float32)))
    assert np.array_equal(base, pixels(avatar, turned)), "the recorded pose does not follow the motion"


def test_lids_are_the_avatars_own():
    recorded = np.concatenate([np.full(950, 0.1), np.full(20, 0.5), np.full(30, 0.8)])
    lids = Lids(recorded)
    assert lids.blinks_seen
    values = lids.values(np.array([[0, 0], [0.5, 0.5], [1, 0], [1, 1], [2, 2]], np.float32))
    np.testing.assert_allclose(values, [0.1, 0.45, 0.45, 0.8, 0.8])
    assert values.dtype == np.float64
    dull = Lids(np.linspace(0.05, 0.1, 100))
    assert not dull.blinks_seen
    assert 0.05 <= dull.values(np.ones((1, 2)))[0] <= 0.1


def test_notes_say_what_is_not_shown(avatar, opened):
    _, stream = opened(avatar)
    assert "expressions of the motion are not shown" in stream.notes[0]
    assert any("--pose motion" in line for line in stream.notes)
    _, driven = opened(avatar, pose="motion")
    assert not any("--pose motion" in line for line in driven.notes)


def test_torso_and_plain_picture_stand_behind(avatar, recording, drive_of, pixels):
    drive = drive_of(FRAMES)
    own = pixels(avatar, drive)
    free = np.r_[0:15, 33:WIDTH]  # of the last row, where no Gaussian reaches
    for i in range(FRAMES):
        wanted = np.floor(recording.behind(i)[-1, free] * 255 + 0.5)
        np.testing.assert_allclose(own[i, -1, free], wanted, atol=1)
    red = pixels(avatar, replace(drive, background=Background(colour=(1, 0, 0))))
    assert (red[:, 0, 0] == (255, 0, 0)).all() and np.array_equal(red[0, -1, 9:15], own[0, -1, 9:15])
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    over = pixels(avatar, replace(drive, background=Background(image=image)))
    assert np.array_equal(over[0, 0, :10], image[0, :10])
    clear = pixels(avatar, replace(drive, background=Background(transparent=True)))
    assert clear.shape[-1] == 4 and (clear[:, 0, 0, 3] == 0).all() and (clear[0, -1, 10:25, 3] == 255).all()
    # Straight alpha: over any picture it gives what was drawn over that.
    alpha = clear[..., 3:] / 255
    np.testing.assert_allclose(clear[..., :3] * alpha + image * (1 - alpha), over, atol=2)


def test_torsos_are_read_once_while_there_is_room(recording, monkeypatch):
    read = []
    real = Recording.torso
    monkeypatch.setattr(Recording, "torso", lambda self, i: read.append(i) or real(self, i))
    torsos = Torsos(recording, WIDTH, HEIGHT, kept=3 * WIDTH * HEIGHT * 4)
    for frame in (0, 1, 2, 1, 0, 2, 3, 2, 0):
        torsos.torso(frame)
    assert read == [0, 1, 2, 3, 0] or read == [0, 1, 2, 3]
    found = torsos.torsos([5, 6, 5, 7])
    assert sorted(found) == [5, 6, 7] and np.array_equal(found[6], real(recording, 6))


def test_a_recording_without_torsos_shows_the_plain_picture(recording):
    bare = replace(recording, has_torsos=False)
    torsos = Torsos(bare, WIDTH, HEIGHT)
    assert not torsos.torso(3).any() and torsos.torso(3) is torsos.torso(7)


def test_resampled_torsos_keep_their_edges(tmp_path):
    class Red(Recording):
        def torso(self, i):
            picture = np.zeros((40, 40, 4), np.uint8)
            picture[:] = (0, 255, 0, 0)  # green where nothing is to be seen
            picture[20:] = (255, 0, 0, 255)
            return picture

        def plain(self):
            return np.zeros((40, 40, 3), np.uint8)

    red = Red(tmp_path, (0,), (0,), np.zeros((1, 3)), np.zeros((1, 3)), (), np.zeros(1), 40, 40)
    small = Torsos(red, 15, 15).torso(0)
    seen = small[small[..., 3] > 8]
    assert (seen[:, 0] > 240).all() and (seen[:, 1] < 15).all()
    assert small[-1, 0, 3] == 255 and small[0, 0, 3] == 0 and len(np.unique(small[..., 3])) > 2


@pytest.mark.parametrize("factor", [0.5, 2])
def test_other_sizes_show_the_same(avatar, factor, drive_of, options, pixels):
    size = int(WIDTH * factor), int(HEIGHT * factor)
    renderer = GaussianTalkerRenderer()
    stream = renderer.open(avatar, options(size, device="cpu"))
    assert (stream.width, stream.height) == size == (stream.camera.width, stream.camera.height)
    other = renderer.render(stream, drive_of(2)).pixels
    native = pixels(avatar, drive_of(2))
    small, large = (native, other) if factor > 1 else (other, native)
    shrunk = small.shape[2], small.shape[1]
    means = [np.asarray(Image.fromarray(picture).resize(shrunk, Image.Resampling.BOX)) for picture in large]
    assert np.abs(np.stack(means).astype(int) - small).mean() < 6


def test_torsos_are_shared_while_shown(avatar, opened, options):
    renderer, one = opened(avatar)
    assert renderer.open(avatar, options(device="cpu")).torsos is one.torsos
    assert renderer.open(avatar, options((WIDTH * 2, HEIGHT * 2), device="cpu")).torsos is not one.torsos
