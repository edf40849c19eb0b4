"""A GaussianTalker in batches, as on a device: CPU tensors here, rasterized by the CPU's rasterizer."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from marotte.errors import MarotteError, MarotteWarning
from marotte.renderers.gaussian_talker import GaussianTalkerRenderer
from marotte.renderers.talker_torsos import Torsos, put_under
from marotte.runtime.background import Background
from marotte.runtime.recording import read_recording

WIDTH, HEIGHT, FRAMES = 48, 40, 12  # of the recording


class Painter:
    """Rasterizes on the CPU; fails for want of memory above so many pictures, and lets batches overflow."""

    def __init__(self, most=99, overflows=0):
        self.batches, self.most, self.overflows = [], most, overflows

    def __call__(self, batch, settings):
        import torch

        from marotte.renderers.rasterizers import Raster
        from marotte.renderers.rasterizers.cpu import Workspace
        from marotte.renderers.splatting_torch import picture_of

        self.batches.append(len(settings))
        if len(settings) > self.most:
            raise torch.cuda.OutOfMemoryError("no room")
        pictures = []
        for index, view in enumerate(settings):
            one = picture_of(batch, index)
            given = {k: v.numpy() for k in one.__dataclass_fields__ if hasattr(v := getattr(one, k), "numpy")}
            pictures.append(Workspace().render(replace(one, **given), view))
        lost = self.overflows > 0
        self.overflows = max(self.overflows - 1, 0)
        colour = torch.from_numpy(np.stack([picture.color for picture in pictures]))
        through = torch.from_numpy(np.stack([picture.transmittance for picture in pictures]))
        return Raster(colour * (not lost), through), SimpleNamespace(overflowed=lambda: lost)


BACKGROUNDS = {
    "own": Background(own=True),
    "colour": Background(colour=(1, 0.3, 0)),
    "image": Background(image=np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)),
    "transparent": Background(transparent=True),
}


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_batches_give_the_bytes_of_the_cpu(avatar, background, drive_of, options, pixels):
    drive = drive_of(7, background=BACKGROUNDS[background])
    renderer = GaussianTalkerRenderer(Painter(overflows=1))
    frames = renderer.render(renderer.open(avatar, options()), drive)
    expected = pixels(avatar, drive)
    assert np.array_equal(frames.ticks, drive.ticks)
    off = np.abs(frames.pixels.astype(int) - expected)
    # Sums of a batch are in another order, so a splat's edge may fall on the other side of a pixel's threshold.
    assert (off > 1).mean() < 1e-3 and off.max() < 12


def test_streams_of_one_head_are_drawn_together(avatar, drive_of, options, opened):
    paint = Painter()
    renderer = GaussianTalkerRenderer(paint)
    one, other = renderer.open(avatar, options()), renderer.open(avatar, options(pose="motion"))
    clear = renderer.open(avatar, options())
    _, here = opened(avatar)
    turns = np.outer(np.linspace(0, 0.1, 3), (0, 1, 0))
    work = [
        (one, drive_of(2, background=BACKGROUNDS["colour"])),
        (clear, drive_of(3, background=BACKGROUNDS["transparent"])),
        (here, drive_of(1)),
        (other, drive_of(3, root=turns)),
    ]
    done = renderer.submit(work).result()
    assert sorted(paint.batches) == [3, 5]
    assert [len(frames) for frames in done] == [2, 3, 1, 3] and done[1].format == "rgba"
    for (stream, drive), frames in zip(work, done, strict=True):
        stream.reset()
        off = np.abs(renderer.render(stream, drive).pixels.astype(int) - frames.pixels)
        assert (off > 1).mean() < 1e-3


def test_too_little_memory_makes_batches_smaller(avatar, drive_of, options, pixels):
    paint = Painter(most=2)
    renderer = GaussianTalkerRenderer(paint)
    stream = renderer.open(avatar, options())
    with pytest.warns(MarotteWarning, match="no memory for 4 frames of 300 Gaussians at once: drawing 2"):
        frames = renderer.render(stream, drive_of(7))
    assert paint.batches == [7, 4, 2, 2, 2, 1]
    off = np.abs(frames.pixels.astype(int) - pixels(avatar, drive_of(7)))
    assert (off > 1).mean() < 1e-3
    paint.most = 0
    with (
        pytest.warns(MarotteWarning, match="drawing 1,"),
        pytest.raises(MarotteError, match="no memory for one frame of 300"),
    ):
        renderer.render(stream, drive_of(7))


def test_torsos_under_a_picture_alike(torch):
    from marotte.renderers.talker_torch import put_under as put_under_torch

    rng = np.random.default_rng(0)
    colour = rng.uniform(0, 1, (2, 20, 30, 3)).astype(np.float32)
    through = rng.uniform(0, 1, (2, 20, 30)).astype(np.float32)
    torsos = rng.integers(0, 256, (2, 20, 30, 4), dtype=np.uint8)
    got = put_under_torch(*map(torch.from_numpy, (colour, through, torsos)))
    for i in range(2):
        put_under(colour[i], through[i], torsos[i])
    np.testing.assert_allclose(got[0], colour, rtol=1e-6)
    np.testing.assert_allclose(got[1], through, rtol=1e-6)


def test_torsos_on_the_device_are_not_read_again(avatar, monkeypatch, drive_of, options):
    renderer = GaussianTalkerRenderer(Painter())
    stream = renderer.open(avatar, options())
    wanted = renderer.render(stream, drive_of(5)).pixels
    monkeypatch.setattr(Torsos, "torso", lambda *_: pytest.fail("read again"))
    assert np.array_equal(renderer.render(stream, drive_of(5)).pixels, wanted)


def test_clear_torsos_lie_on_the_device_once(avatar, torch, drive_of, options):
    renderer = GaussianTalkerRenderer(Painter())
    stream = renderer.open(avatar, options())
    stream.torsos = Torsos(replace(read_recording(avatar.path / "data"), has_torsos=False), WIDTH, HEIGHT)
    piece = stream.piece(drive_of(5))
    assert len(set(piece.frames)) == 5
    with torch.inference_mode():
        shown = {id(stream.talker._on_device(piece.torsos, frame, {})) for frame in piece.frames}
    assert len(shown) == 1
