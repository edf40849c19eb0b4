"""Benchmark cases of the GaussianTalker renderer, from feature windows to bytes on the host: on the CPU, and on CUDA.

The network has the published size and seeded weights, and moves the Gaussians of a made-up head a little: what it costs
depends on neither.
"""

from collections.abc import Callable, Iterator
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from marotte.errors import MarotteError
from marotte.renderers.devices import choose_device
from marotte.renderers.gaussian_talker import CpuStream, DeviceStream, GaussianTalkerRenderer
from marotte.renderers.rasterizers.scenes import head_scene
from marotte.runtime.avatar import NO_BASIS, Avatar
from marotte.runtime.background import Background
from marotte.runtime.bench import Case, Lap, Request, draw_all
from marotte.runtime.clock import frame_ticks
from marotte.runtime.contracts import Drive, RenderOptions
from marotte.runtime.head import HeadState
from marotte.runtime.recording import FPS, Recording, camera_of
from marotte.runtime.talker_features import PHONES

if TYPE_CHECKING:
    import torch

    from marotte.renderers.talker_person import Person

_GAUSSIANS = 20_000
_FRAMES = 100  # of the recording
_TOGETHER = 8  # frames of a session's batch on the CPU
_SINGLES, _BATCH, _BATCHES = 32, 32, 8
_PRECISIONS = ("float32", "bfloat16")
# Decimetres a metre; how far away the head is; how much its network moves it.
_UNIT, _DISTANCE, _MOVES = 10.0, 10.0, 0.01
_AVATAR = Avatar("bench", Path(), "gaussian-talker", NO_BASIS, features=PHONES)


class StillRecording(Recording):
    """A recording whose torso is one picture in memory."""

    def torso(self, i: int) -> np.ndarray:
        """Return a torso's share of a picture, opaque."""
        picture = np.zeros((self.height, self.width, 4), np.uint8)
        picture[self.height * 3 // 4 :, self.width // 4 : -self.width // 4] = (60, 80, 100, 255)
        return picture

    def plain(self) -> np.ndarray:
        """Return a grey picture."""
        return np.full((self.height, self.width, 3), 128, np.uint8)


def cases(request: Request) -> Iterator[Case]:
    """Yield `renderer/gaussian-talker/cpu` for each size and precision, and on CUDA the same in batches and singly."""
    if not find_spec("torch"):
        return
    try:
        device, rasterizer = choose_device("auto", "auto")
    except MarotteError:
        device, rasterizer = "cpu", "auto"
    for size in request.sizes:
        for precision in _PRECISIONS:
            settings = {"gaussians": _GAUSSIANS, "size": size, "precision": precision}
            yield Case(
                "renderer/gaussian-talker/cpu", settings, _on_cpu(size, precision), frames=5, frames_a_call=_TOGETHER
            )
            if device == "cpu":
                continue
            for batch, frames in ((_BATCH, _BATCH * _BATCHES), (1, _SINGLES)):
                yield Case(
                    "renderer/gaussian-talker/cuda",
                    {**settings, "rasterizer": rasterizer, "batch": batch},
                    _on_cuda(size, precision, rasterizer, batch, frames),
                    frames=5,
                    frames_a_call=frames,
                )


def _on_cpu(size: int, precision: str) -> Callable[[], Callable[[Lap], dict[str, float]]]:
    def prepare() -> Callable[[Lap], dict[str, float]]:
        import torch

        renderer = GaussianTalkerRenderer()
        stream = CpuStream(
            made_up_person(size, torch.device("cpu"), precision), "auto", _AVATAR, RenderOptions(size, size), "recorded"
        )
        drive = _drive(stream, 0, _TOGETHER)

        def call(lap: Lap) -> dict[str, float]:
            stream.lap = lap
            renderer.render(stream, drive)
            return {"pairs": stream.workspace.pairs}

        return call

    return prepare


def _on_cuda(
    size: int, precision: str, rasterizer: str, batch: int, frames: int
) -> Callable[[], Callable[[Lap], None]]:
    def prepare() -> Callable[[Lap], None]:
        from marotte.renderers.splatting_torch import painter
        from marotte.renderers.talker_torch import DeviceTalker

        renderer = GaussianTalkerRenderer()
        talker = DeviceTalker(lambda device: made_up_person(size, device, precision), "cuda", painter(rasterizer))
        stream = DeviceStream(talker, _AVATAR, RenderOptions(size, size), "recorded")
        drives = [_drive(stream, first, batch) for first in range(0, frames, batch)]

        def call(lap: Lap) -> None:
            draw_all(renderer, stream, drives)

        return call

    return prepare


def made_up_person(size: int, device: "torch.device", precision: str, count: int = _GAUSSIANS) -> "Person":
    """Return a head of the published network's size in a recording of size x size pixels."""
    import torch

    from marotte.models.gaussian_talker import Canonical, GaussianTalker
    from marotte.renderers.talker_person import Person

    gaussians, camera = head_scene(count, size=size)
    assert gaussians.features is not None and gaussians.scales is not None
    random = np.random.default_rng(0)
    sh = random.normal(0, 0.05, (count, 16, 3)).astype(np.float32)
    sh[:, 0] = (gaussians.features - 0.5) / 0.28209479
    opacities = np.clip(gaussians.opacities, 1e-3, 1 - 1e-3)
    arrays = (
        gaussians.means * np.float32(_UNIT),
        np.log(gaussians.scales * np.float32(_UNIT)),
        gaussians.quats_wxyz,
        np.log(opacities / (1 - opacities)),
        sh,
    )
    canonical = Canonical(*(torch.from_numpy(array) for array in arrays))
    torch.manual_seed(0)
    network = GaussianTalker()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "_deform.3." in name:
                parameter.mul_(_MOVES)
    time = np.arange(_FRAMES) / FPS
    euler = np.outer(np.sin(2 * time), (0.05, 0.15, 0.03)).astype(np.float32)
    translation = np.tile(np.array([0, 0, -_DISTANCE], np.float32), (_FRAMES, 1))
    recording = StillRecording(
        path=Path(),
        ids=tuple(range(_FRAMES)),
        sounds=tuple(range(_FRAMES)),
        euler=euler,
        translation=translation,
        cameras=tuple(camera_of(*pose, camera.K[0, 0], size, size) for pose in zip(euler, translation, strict=True)),
        blinks=np.clip(np.sin(3 * time) * 4 - 3, 0, 1),
        width=size,
        height=size,
    )
    return Person(network.to(device), canonical, recording, precision)


def _drive(stream: CpuStream | DeviceStream, first: int, frames: int) -> Drive:
    """Return frames of a head that hears noise and blinks, from frame `first` of a film on."""
    time = (first + np.arange(frames)) / FPS
    zero = np.zeros((frames, 3), np.float32)
    head = HeadState(
        shape=np.zeros(0, np.float32),
        expression=np.zeros((frames, 0), np.float32),
        root=zero,
        neck=zero,
        jaw=zero,
        eyes=np.zeros((frames, 6), np.float32),
        eyelids=np.repeat(np.clip(4 * np.sin(3 * time) - 3, 0, 1)[:, None], 2, axis=1).astype(np.float32),
        translation=zero,
    )
    features = np.random.default_rng(first).normal(0, 1, (frames, 8, 464)).astype(np.float32)
    ticks = frame_ticks(first, first + frames, Fraction(FPS))
    assert stream.camera is not None
    return Drive(ticks, head, (stream.camera,) * frames, Background(own=True), features)
