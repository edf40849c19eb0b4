"""The SplattingAvatar renderer through torch: its pictures against the CPU's, batches of streams, and which device.

Without CUDA the same code runs on CPU tensors; what rasterizes them there is the CPU's rasterizer, or our own in
Triton's interpreter for one small picture.
"""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.renderers import devices
from marotte.renderers.splatting_avatar import SplattingAvatarRenderer
from marotte.runtime.avatar import load_avatar
from marotte.runtime.background import Background
from marotte.runtime.bridge import Bridge
from marotte.runtime.clock import frame_ticks
from marotte.runtime.contracts import Drive, RenderOptions
from marotte.runtime.motion import Motion
from marotte.runtime.testing import check_renderer

SIZE = (72, 64)


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="torch is not installed")


@pytest.fixture(scope="module")
def avatar():
    return load_avatar("demo")


@pytest.fixture
def cuda(torch):
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")


class Counted:
    """Rasterizes on the CPU, counts the batches, and lets a batch overflow as often as it is told."""

    def __init__(self):
        self.batches, self.overflows = [], 0

    def __call__(self, batch, settings):
        import torch

        from marotte.renderers.rasterizers import Raster
        from marotte.renderers.rasterizers.cpu import Workspace
        from marotte.renderers.splatting_torch import picture_of

        self.batches.append(len(settings))
        pictures = []
        for index, view in enumerate(settings):
            one = picture_of(batch, index)
            given = {k: v.numpy() for k in one.__dataclass_fields__ if hasattr(v := getattr(one, k), "numpy")}
            pictures.append(Workspace().render(replace(one, **given), view))
        colour = torch.from_numpy(np.stack([p.color for p in pictures]))
        through = torch.from_numpy(np.stack([p.transmittance for p in pictures]))
        lost, self.overflows = self.overflows > 0, max(self.overflows - 1, 0)
        return Raster(colour * (not lost), through), Ticket(lost)


class Ticket:
    def __init__(self, lost):
        self._lost = lost

    def overflowed(self):
        return self._lost


@pytest.fixture
def paint(torch):
    return Counted()


@pytest.fixture
def on_torch(torch, paint):
    from marotte.renderers.splatting_torch import TorchAvatar

    return SplattingAvatarRenderer(lambda head, splats: TorchAvatar(head, splats, "cpu", paint))


def drive_of(avatar, frames=3, background=None, seed=0, size=SIZE):
    rng = np.random.default_rng(seed)
    codes = np.zeros((frames, 106), np.float32)
    codes[:, :52] = rng.uniform(0, 0.5, (frames, 52))
    codes[:, 100:103] = rng.normal(0, 0.15, (frames, 3))
    motion = Motion(codes, 25, avatar.basis)
    bridge = Bridge(avatar, avatar.framing("head").camera(*size))
    return Drive(
        frame_ticks(0, frames, 25), bridge.head_state(motion), bridge.cameras(motion), background or Background()
    )


def options(size=SIZE, **extra):
    return RenderOptions(*size, extra={"variant": "live", **extra})


BACKGROUNDS = {
    "colour": Background(colour=(1, 0.3, 0)),
    "image": Background(image=np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)),
    "transparent": Background(transparent=True),
}


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_bytes_as_on_the_cpu(avatar, on_torch, background):
    drive = drive_of(avatar, background=BACKGROUNDS[background])
    cpu = SplattingAvatarRenderer()
    expected = cpu.render(cpu.open(avatar, options(device="cpu")), drive)
    got = on_torch.render(on_torch.open(avatar, options()), drive)
    assert got.format == expected.format and np.array_equal(got.ticks, drive.ticks)
    off = np.abs(got.pixels.astype(int) - expected.pixels)
    # Meshes differ by rounding, so a splat's edge may fall on the other side of a pixel's threshold.
    assert (off > 1).mean() < 1e-3 and off.max() < 12


def test_bytes_by_themselves(torch):
    from marotte.renderers.cuda_frames import to_bytes
    from marotte.renderers.splat_pictures import to_pixels

    rng = np.random.default_rng(0)
    colour = rng.uniform(-0.2, 1.3, (SIZE[1], SIZE[0], 3)).astype(np.float32)
    through = rng.uniform(0, 1, colour.shape[:2]).astype(np.float32)
    through[:4], through[4:8] = 0, 1
    colour[8:12, :, :] = (np.arange(3) + 0.5) / 255
    colour[12, :3] = (np.nan, np.inf, -np.inf)
    for background in BACKGROUNDS.values():
        channels = 4 if background.transparent else 3
        expected = np.empty((*through.shape, channels), np.uint8)
        to_pixels(colour, through, background, expected)
        from marotte.renderers.cuda_frames import Behind

        out = torch.empty((1, *expected.shape), dtype=torch.uint8)
        behind = Behind(torch.device("cpu")).on_device(background)
        to_bytes(torch.from_numpy(colour)[None], torch.from_numpy(through)[None], behind, out)
        np.testing.assert_array_equal(out[0].numpy(), expected)


@pytest.mark.parametrize("settings", [{}, {"with_mesh_scaling": True, "colours_outside": True}], ids=str)
def test_nothing_waits_for_the_device(torch, avatar, settings):
    """What a CUDA graph may not hold, seen without CUDA: numbers read back, numbers carried over, sizes by content."""
    from torch.utils._python_dispatch import TorchDispatchMode

    from marotte.models.flame import FlameModel
    from marotte.renderers.cuda_frames import to_bytes
    from marotte.renderers.splatting_update import SplattingUpdate
    from marotte.runtime.splats import avatar_splats

    class Watch(TorchDispatchMode):
        names: set[str] = set()  # noqa: RUF012

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.names.add(func.name())
            given = [a for arg in args for a in (arg if isinstance(arg, list | tuple) else [arg])]
            # A tensor without dimensions is a number on the host, or one that is about to be read there.
            assert all(a.dim() for a in given if isinstance(a, torch.Tensor)), func
            return func(*args, **(kwargs or {}))

    model = FlameModel.load(avatar.head_path, n_expression=avatar.expressions, basis=avatar.basis)
    lids = np.zeros_like(model.v_template), np.zeros_like(model.v_template)
    splats = few(replace(avatar_splats(avatar, model, "live"), **settings))
    update = SplattingUpdate(replace(model, eyelid_fields=lids), 1.0, splats, torch.device("cpu"))
    drive = drive_of(avatar, 2)
    rows = torch.from_numpy(update.rows(drive.head, drive.cameras))
    watch, black = Watch(), torch.zeros(2, 5, 4, 3)
    # Not in inference mode, where composite operations are not taken apart before they are seen.
    with torch.no_grad(), watch:
        update.gaussians(rows)
        for channels, behind in ((3, torch.zeros(3)), (4, None)):
            to_bytes(black, black[..., 0], behind, torch.empty(2, 5, 4, channels, dtype=torch.uint8))
    unsafe = ("aten::_local_scalar_dense", "aten::nonzero", "aten::lift_fresh", "aten::masked_select", "aten::unique")
    assert len(watch.names) > 20 and not [name for name in watch.names if name.startswith(unsafe)]


def test_it_keeps_the_contract(avatar, on_torch):
    check_renderer(on_torch, avatar)


def test_streams_are_drawn_together(avatar, on_torch, paint):
    one, two = (on_torch.open(avatar, options()) for _ in range(2))
    other = on_torch.open(avatar, options(size=(40, 40)))
    assert one.avatar is two.avatar is other.avatar
    work = [
        (one, drive_of(avatar, 2, BACKGROUNDS["colour"], seed=1)),
        (other, drive_of(avatar, 1, seed=2, size=(40, 40))),
        (two, drive_of(avatar, 3, BACKGROUNDS["image"], seed=3)),
        (one, drive_of(avatar, 1, BACKGROUNDS["transparent"], seed=4)),
    ]
    together = on_torch.submit(work).result()
    assert sorted(paint.batches) == [1, 1, 5]
    for (stream, drive), frames in zip(work, together, strict=True):
        alone = on_torch.submit([(stream, drive)]).result()[0]
        assert np.array_equal(alone.pixels, frames.pixels) and np.array_equal(alone.ticks, frames.ticks)
    another = on_torch.open(avatar, RenderOptions(*SIZE))
    assert another.avatar is not one.avatar  # it shows another variant


def test_pictures_stay_as_they_are_when_more_are_under_way(avatar, on_torch):
    stream = on_torch.open(avatar, options())
    drives = [drive_of(avatar, 2, seed=seed) for seed in range(4)]
    alone = [on_torch.render(stream, drive).pixels.copy() for drive in drives]
    pending = [on_torch.submit([(stream, drive)]) for drive in drives]
    arrived = [work.result()[0].pixels for work in pending]
    for expected, got in zip(alone, arrived, strict=True):
        np.testing.assert_array_equal(got, expected)
    assert stream.in_flight > 1
    assert pending[0].result()[0].pixels is not None  # asking twice is harmless


def test_more_frames_than_a_batch(avatar, on_torch, paint):
    stream = on_torch.open(avatar, options(size=(16, 16)))
    stream.avatar.batch = 4
    drive = drive_of(avatar, 10, size=(16, 16))
    whole = on_torch.render(stream, drive).pixels
    assert paint.batches == [4, 4, 2]
    stream.avatar.batch = 16
    np.testing.assert_array_equal(on_torch.render(stream, drive).pixels, whole)


def test_what_overflowed_is_drawn_again(avatar, on_torch, paint):
    stream = on_torch.open(avatar, options())
    drive = drive_of(avatar, 2)
    expected = on_torch.render(stream, drive).pixels.copy()
    paint.overflows, paint.batches = 2, []
    np.testing.assert_array_equal(on_torch.render(stream, drive).pixels, expected)
    assert paint.batches == [2, 2, 2]


def test_motion_that_is_no_number(avatar, on_torch):
    drive = drive_of(avatar, 3)
    drive.head.root[1, 0] = np.nan
    pending = on_torch.submit([(on_torch.open(avatar, options()), drive)])
    with pytest.raises(MarotteError, match=f"the motion at tick {drive.ticks[1]} has NaN"):
        pending.result()


def test_cpu_and_torch_streams_in_one_call(avatar, on_torch):
    cpu = SplattingAvatarRenderer().open(avatar, options(device="cpu"))
    torch_stream, drive = on_torch.open(avatar, options()), drive_of(avatar, 1)
    one, two, three = on_torch.submit([(cpu, drive), (torch_stream, drive), (cpu, drive)]).result()
    np.testing.assert_array_equal(one.pixels, three.pixels)
    assert np.abs(one.pixels.astype(int) - two.pixels).mean() < 0.05


class TestDevice:
    def test_names(self):
        assert devices.choose_device("cpu", "auto") == ("cpu", "cpu")
        assert devices.choose_device("auto", "reference") == ("cpu", "reference")
        with pytest.raises(MarotteError, match="no device is called 'gpu'"):
            devices.choose_device("gpu", "auto")
        with pytest.raises(MarotteError, match="'triton' draws on device 'cuda', not on 'cpu': name one of cpu"):
            devices.choose_device("cpu", "triton")
        with pytest.raises(MarotteError, match="'reference' draws on device 'cpu', not on 'cuda': name one of triton"):
            devices.choose_device("cuda", "reference")

    @pytest.mark.parametrize(
        ("asked", "match"), [(("cuda", "auto"), "device 'cuda'"), (("auto", "triton"), "rasterizer 'triton'")]
    )
    def test_what_is_asked_for_and_not_there(self, monkeypatch, asked, match):
        monkeypatch.setattr(devices, "why_no_cuda", lambda thorough=True: "the cat sat on it")
        with pytest.raises(MarotteError, match=f"{match} cannot be used here: the cat sat on it; leave it out"):
            devices.choose_device(*asked)
        assert devices.choose_device("auto", "auto") == ("cpu", "cpu")

    def test_no_torch(self, monkeypatch):
        monkeypatch.setattr(devices, "find_spec", lambda name: None)
        assert "torch is not installed" in devices.why_no_cuda()

    def test_auto_imports_no_torch_without_a_driver(self):
        code = (
            "import sys; from marotte.renderers import devices; devices._DRIVER_FILES = ();"
            "assert devices.choose_device('auto', 'auto') == ('cpu', 'cpu'); assert 'torch' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

    def test_the_renderer_imports_no_torch_on_the_cpu(self):
        code = (
            "import sys; from marotte.renderers.splatting_avatar import SplattingAvatarRenderer as R;"
            "from marotte.runtime.avatar import load_avatar; from marotte.runtime.contracts import RenderOptions as O;"
            "R().open(load_avatar('demo'), O(8, 8, extra={'device': 'cpu'})); assert 'torch' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], check=True, timeout=120)

    def test_hidden_devices(self, monkeypatch, tmp_path):
        (tmp_path / "driver").touch()
        monkeypatch.setattr(devices, "_DRIVER_FILES", (str(tmp_path / "driver"),))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        assert devices._driver_traces()
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
        assert not devices._driver_traces()


INTERPRETED = """
import numpy as np
from test_splatting_torch import drive_of, few, options
from marotte.renderers.splatting_avatar import SplattingAvatarRenderer
from marotte.renderers.splatting_torch import TorchAvatar, painter
from marotte.runtime.avatar import load_avatar

avatar, size = load_avatar("demo"), (20, 18)
renderer = SplattingAvatarRenderer(lambda head, splats: TorchAvatar(head, few(splats), "cpu", painter("triton")))
drive = drive_of(avatar, 2, size=size)
np.save(OUT, renderer.render(renderer.open(avatar, options(size=size)), drive).pixels)
"""


def few(splats, step=200):
    """Return every so manieth Gaussian, larger, so that they still cover the head."""
    thinned = {
        name: getattr(splats, name)[::step]
        for name in ("face_ids", "bary", "uvd", "rotations_wxyz", "log_scales", "opacity_logits", "sh")
    }
    thinned["log_scales"] = thinned["log_scales"] + np.float32(2)
    return replace(splats, **thinned)


def test_end_to_end_in_the_interpreter(torch, tmp_path):
    pytest.importorskip("triton", reason="triton is not installed")
    out = tmp_path / "pictures.npy"
    code = INTERPRETED.replace("OUT", repr(str(out)))
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(Path(__file__).parent)}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300, env=environment)
    got = np.load(out)

    avatar, size = load_avatar("demo"), (20, 18)
    drive = drive_of(avatar, 2, size=size)
    renderer = SplattingAvatarRenderer()
    stream = renderer.open(avatar, options(size=size, device="cpu"))
    from marotte.models.splatting_numba import SplattingEvaluator

    stream.splats = SplattingEvaluator(few(stream.splats.avatar))
    expected = renderer.render(stream, drive).pixels
    assert expected.std() > 10
    off = np.abs(got.astype(int) - expected)
    assert (off > 1).mean() < 5e-3 and off.max() < 12


@pytest.mark.usefixtures("cuda")
class TestCuda:
    def test_it_keeps_the_contract(self, avatar):
        check_renderer(SplattingAvatarRenderer(), avatar)

    @pytest.mark.parametrize("background", BACKGROUNDS)
    def test_bytes_as_on_the_cpu(self, avatar, background):
        renderer, drive = SplattingAvatarRenderer(), drive_of(avatar, 5, BACKGROUNDS[background])
        expected = renderer.render(renderer.open(avatar, options(device="cpu")), drive).pixels
        got = renderer.render(renderer.open(avatar, options(rasterizer="triton")), drive).pixels
        off = np.abs(got.astype(int) - expected)
        assert (off > 1).mean() < 2e-3 and off.max() < 16

    def test_batches_in_flight_are_those_drawn_alone(self, avatar):
        renderer = SplattingAvatarRenderer()
        stream = renderer.open(avatar, options(device="cuda"))
        drives = [drive_of(avatar, frames, seed=frames) for frames in (1, 3, 32, 2, 17, 1)]
        alone = [renderer.render(stream, drive).pixels.copy() for drive in drives]
        pending = [renderer.submit([(stream, drive)]) for drive in drives for _ in range(2)]
        for index, work in enumerate(pending):
            np.testing.assert_array_equal(work.result()[0].pixels, alone[index // 2])
