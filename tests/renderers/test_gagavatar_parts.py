"""Around GAGAvatar's network: the forehead at any rate, the matte, sizes, backgrounds, the mark."""

from contextlib import contextmanager, nullcontext

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.runtime.background import Background
from marotte.runtime.bridge import Bridge
from marotte.runtime.clock import frame_ticks
from marotte.runtime.contracts import Drive
from marotte.runtime.motion import Motion

torch = pytest.importorskip("torch", reason="GAGAvatar needs torch")
from PIL import Image  # noqa: E402

from marotte.models.gagavatar import smooth_forehead  # noqa: E402
from marotte.models.gagavatar.forehead import FOREHEAD  # noqa: E402
from marotte.renderers.gagavatar_forehead import ForeheadStream  # noqa: E402
from marotte.renderers.gagavatar_graphs import Graphs  # noqa: E402
from marotte.renderers.gagavatar_picture import Mark, finish, fitted, matte  # noqa: E402

INDEX = torch.tensor(FOREHEAD)


def walk(frames, fps, seed=0):
    """Ticks, and vertices that go along straight lines between points at 25 Hz."""
    ticks = frame_ticks(0, frames, fps)
    points = np.random.default_rng(seed).normal(size=(100, 1, 3)).cumsum(axis=0)
    at = ticks / 1920
    low = at.astype(int)
    share = (at - low)[:, None, None]
    where = points[low] * (1 - share) + points[low + 1] * share
    return ticks, torch.from_numpy(np.broadcast_to(where, (frames, 5023, 3)).astype(np.float32))


def test_forehead_at_25_is_the_published_one():
    ticks, vertices = walk(30, 25)
    want, _ = smooth_forehead(vertices)
    assert (ForeheadStream()(ticks, vertices) == want).all()
    # Wherever the stream begins.
    assert (ForeheadStream()(ticks + 777, vertices) == want).all()


@pytest.mark.parametrize("fps", [50, 75, 100])
def test_forehead_at_multiples_of_25(fps):
    want, _ = smooth_forehead(walk(20, 25)[1])
    ticks, vertices = walk(20 * fps // 25, fps)
    got = ForeheadStream()(ticks, vertices)
    assert (got[:: fps // 25] == want).all()
    # Between two of them, the first's state and a share of the way to the current places.
    state, current = want[7][INDEX], vertices[7 * fps // 25 + 1][INDEX]
    assert (got[7 * fps // 25 + 1][INDEX] - (state + 0.02 * 25 / fps * (current - state))).abs().max() <= 1e-5
    others = np.setdiff1d(np.arange(5023), FOREHEAD)
    assert (got[:, others] == vertices[:, others]).all()


@pytest.mark.parametrize("fps", [12.5, 5])
def test_forehead_at_lower_rates(fps):
    """As at 25 fps, if the face goes straight from frame to frame."""
    step = int(25 / fps)
    ticks, vertices = frame_ticks(0, 40, 25), walk(40 // step + 1, 25)[1]
    share, low = torch.arange(40) / step % 1, torch.arange(40) // step
    straight = torch.lerp(vertices[low], vertices[low + 1], share[:, None, None])
    want, _ = smooth_forehead(straight)
    got = ForeheadStream()(ticks[::step], straight[::step])
    assert (got - want[::step]).abs().max() <= 1e-5


def test_forehead_frame_by_frame_and_anew():
    ticks, vertices = walk(23, 30)
    forehead = ForeheadStream()
    whole = forehead(ticks, vertices)
    forehead.reset()
    parts = [forehead(ticks[low:high], vertices[low:high]) for low, high in ((0, 1), (1, 9), (9, 23))]
    assert (torch.cat(parts) == whole).all()
    # An earlier tick is another clip.
    assert (forehead(ticks, vertices) == whole).all()
    assert (forehead(ticks[3:4], vertices[3:4]) == vertices[3:4]).all()
    # After a long gap the state is all but there.
    late = forehead(ticks[:1] + 48000 * 60, vertices[:1])
    assert (late - vertices[:1]).abs().max() <= 1e-1


def disc(size, radius, soft):
    """A disc's coverage [size, size] that ends within `soft` pixels."""
    y, x = np.mgrid[:size, :size] + 0.5
    away = np.hypot(x - size / 2, y - size / 2)
    return np.clip((radius - away) / soft + 0.5, 0, 1)


@pytest.mark.parametrize("colour", [(0.8, 0.6, 0.5), (0.25, 0.15, 0.1), (1.0, 1.0, 1.0)])
@pytest.mark.parametrize("grown", [-2, 0, 2])
def test_no_fringe_where_the_network_paints_another_outline(colour, grown):
    """The picture's outline is sharp and not where the rasterizer's is: the new background meets the picture's."""
    painted, coverage = disc(512, 120 + grown, 1.5), disc(512, 120, 6)
    picture = torch.from_numpy(painted * np.array(colour)[:, None, None]).float()[None]
    through = torch.from_numpy(1 - coverage).float()[None]
    seen, alpha = matte(picture, through)
    for behind in (0.0, 0.5, 1.0):
        got = (seen + (1 - alpha) * behind)[0].numpy()
        want = painted * np.array(colour)[:, None, None] + (1 - painted) * behind
        naive = picture[0].numpy() + (1 - coverage) * behind
        assert np.abs(got - want).max() <= 0.08
        if behind == 1.0:
            assert np.abs(got - want).mean() <= 0.15 * np.abs(naive - want).mean()
    assert (alpha[0, 0, 256, 256] == 1) and alpha[0, 0, 20, 20] == 0 and not seen[0, :, 20, 20].any()
    assert (seen <= alpha + 1e-6).all() and alpha.min() >= 0 and alpha.max() <= 1


def test_dark_hair_stands_by_its_coverage():
    coverage = disc(512, 120, 6)
    picture = torch.from_numpy(np.broadcast_to(0.01 * coverage, (3, 512, 512)).copy()).float()[None]
    _, alpha = matte(picture, torch.from_numpy(1 - coverage).float()[None])
    assert np.abs(alpha[0, 0].numpy() - coverage).max() <= 0.35 and alpha[0, 0, 256, 200:300].min() > 0.99


def test_own_background_is_the_picture_itself():
    picture = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    out = torch.empty(2, 24, 24, 3, dtype=torch.uint8)
    finish(picture, torch.rand(2, 24, 24), torch.zeros(3), True, None, out)
    assert (out == (picture.permute(0, 2, 3, 1) * 255 + 0.5).byte()).all()


def test_sizes_and_backgrounds():
    coverage = disc(64, 20, 2)
    picture = torch.from_numpy(np.broadcast_to(0.7 * coverage, (3, 64, 64)).copy()).float()[None]
    through = torch.from_numpy(1 - coverage).float()[None]
    red = torch.tensor([1.0, 0.0, 0.0])
    image = torch.rand(30, 100, 3, generator=torch.Generator().manual_seed(0))
    for height, width in ((64, 64), (30, 100), (200, 120)):
        out = torch.empty(1, height, width, 3, dtype=torch.uint8)
        finish(picture, through, red, False, None, out)
        assert (out[0, height // 2, width // 2].int() - 179).abs().max() <= 1 and out[0, 0, 0].tolist() == [255, 0, 0]
        clear = torch.empty(1, height, width, 4, dtype=torch.uint8)
        finish(picture, through, None, False, None, clear)
        assert (clear[0, height // 2, width // 2].int() - torch.tensor([179, 179, 179, 255])).abs().max() <= 1
        assert clear[0, 0, 0, 3] == 0
        finish(picture, through, red, True, None, out)
        assert out[0, 0, 0].tolist() == [0, 0, 0]
    out = torch.empty(1, 30, 100, 3, dtype=torch.uint8)
    finish(picture, through, image, False, None, out)
    assert (out[0, :, :30] == (image[:, :30] * 255 + 0.5).byte()).all()


def test_resizing_keeps_what_is_even():
    even = torch.full((1, 4, 64, 64), 0.3)
    for width, height in ((7, 7), (500, 500), (64, 64), (90, 40)):
        got = fitted(even, width, height)
        assert got.shape == (1, 4, height, width)
        side = min(width, height)
        left = (width - side) // 2
        assert (got[..., left : left + side] - 0.3).abs().max() <= 1e-6
        assert got[..., :left].abs().sum() == 0


def test_mark(tmp_path):
    rgba = np.zeros((681, 2131, 4), np.uint8)
    rgba[:, :, 0], rgba[:, :1000, 3] = 255, 255
    Image.fromarray(rgba).save(tmp_path / "mark.png")
    mark = Mark.read(tmp_path / "mark.png", 512, 512, torch.device("cpu"))
    colour, through = torch.full((2, 3, 512, 512), 0.5), torch.full((2, 1, 512, 512), 0.5)
    mark.put(colour, through)
    assert np.abs(colour[:, :, 470, 300].numpy() - (0.9, 0.1, 0.1)).max() <= 1e-6
    assert through[0, 0, 470, 300] == pytest.approx(0.1, abs=1e-6)
    assert (colour[:, :, :430] == 0.5).all() and (colour[..., :256] == 0.5).all() and (colour[..., 400:] == 0.5).all()
    assert colour[0, 0, 430, 256] == pytest.approx(0.9)  # 82 rows of 256 pixels
    small, behind = torch.zeros(1, 3, 128, 200), torch.ones(1, 1, 128, 200)
    Mark.read(tmp_path / "mark.png", 200, 128, torch.device("cpu")).put(small, behind)
    assert small[0, 0].nonzero().min(dim=0)[0].tolist() == [108, 136]
    (tmp_path / "mark.png").write_bytes(b"no picture")
    with pytest.raises(MarotteError, match=r"watermark .*mark.png is not a picture that can be read"):
        Mark.read(tmp_path / "mark.png", 512, 512, torch.device("cpu"))


def test_all_of_it_in_the_renderer(gagavatar, tmp_path):
    Image.fromarray(np.full((10, 40, 4), 255, np.uint8)).save(tmp_path / "mark.png")
    person, renderer = gagavatar.people[0], gagavatar.renderer
    motion = Motion(np.zeros((1, 106), np.float32), 25, "flame2020")
    picture = np.random.default_rng(0).integers(0, 256, (48, 70, 3), dtype=np.uint8)
    seen = []
    for background in (Background(own=True), Background(), Background(image=picture), Background(transparent=True)):
        for extra in ({}, {"watermark": tmp_path / "mark.png"}):
            stream = renderer.open(person, gagavatar.options((70, 48), **extra))
            bridge = Bridge(person, stream.camera)
            drive = Drive(frame_ticks(0, 1, 25), bridge.head_state(motion), bridge.cameras(motion), background)
            frames = renderer.render(stream, drive)
            assert frames.format == ("rgba" if background.transparent else "rgb24")
            seen.append(frames.pixels[0])
            assert (frames.pixels[0, 46, 68, :3] >= 0.8 * 255).all() or not extra
    assert (seen[4][:, :11] == picture[:, :11]).all() and not seen[0][:, :11].any() and not seen[6][:, :11].any()
    for plain, marked in zip(seen[::2], seen[1::2], strict=True):
        assert (plain[:42] == marked[:42]).all() and (plain[42:, 46:] != marked[42:, 46:]).any()


def test_memory_that_ends_while_a_graph_is_recorded(monkeypatch):
    """What ends the recording fails too then; the caller must see why, to draw fewer at once."""

    class Stream:
        def wait_stream(self, other):
            pass

    @contextmanager
    def recording(graph, **given):
        try:
            yield
        except torch.cuda.OutOfMemoryError:
            raise RuntimeError("the capture was invalidated") from None

    for name, fake in {
        "graph_pool_handle": lambda: 0,
        "current_stream": lambda device: Stream(),
        "Stream": lambda device: Stream(),
        "stream": nullcontext,
        "CUDAGraph": object,
        "graph": recording,
    }.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    calls = []

    def function(pictures, noise):
        calls.append(len(pictures))
        if len(calls) == 3:  # the first two are for warmth
            raise torch.cuda.OutOfMemoryError("full")
        return pictures

    with pytest.raises(torch.cuda.OutOfMemoryError, match="full"):
        Graphs(function, torch.device("cpu"))(torch.zeros(3, 32, 4, 4), None)
    assert calls == [4, 4, 4]
