"""Benchmark cases of the SplattingAvatar renderer, from head states to bytes on the host: on the CPU, and on CUDA."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np

from marotte.errors import MarotteError
from marotte.models.flame_numba import HeadEvaluator
from marotte.models.splatting_avatar import SplattingAvatar
from marotte.renderers.devices import choose_device
from marotte.renderers.rasterizers.backends import BACKENDS, backend, why_not
from marotte.renderers.splatting_avatar import SplattingAvatarRenderer, SplattingStream
from marotte.runtime.avatar import Avatar, load_avatar
from marotte.runtime.background import Background
from marotte.runtime.bench import Case, Lap, Request, draw_all
from marotte.runtime.bridge import Bridge
from marotte.runtime.clock import frame_ticks
from marotte.runtime.contracts import Drive, RenderOptions, RenderStream
from marotte.runtime.motion import HEAD, JAW, Motion
from marotte.runtime.splats import avatar_head, avatar_splats

_AVATAR = "demo"
_GAUSSIANS = 100_000
_FPS = Fraction(25)
# Frames of one call on CUDA: so many that what waits at the ends does not count.
_BATCH, _BATCHES = 32, 8
_SINGLES = 64


def cases(request: Request) -> Iterator[Case]:
    """Yield `renderer/splatting-avatar/cpu` for each size, and on CUDA each rasterizer there, by batch and singly.

    Batches are submitted while others are under way, single frames one when the last has arrived. Nothing else waits
    for the device, so the wall time of a call is that of its frames.
    """
    for size in request.sizes:
        settings = {"avatar": _AVATAR, "gaussians": _GAUSSIANS, "size": size}
        yield Case("renderer/splatting-avatar/cpu", settings, _on_cpu(size))
        for rasterizer in _cuda_rasterizers():
            for batch, frames in ((_BATCH, _BATCH * _BATCHES), (1, _SINGLES)):
                yield Case(
                    "renderer/splatting-avatar/cuda",
                    {**settings, "rasterizer": rasterizer, "batch": batch},
                    _on_cuda(size, rasterizer, batch, frames),
                    frames=5,
                    frames_a_call=frames,
                )


def _cuda_rasterizers() -> list[str]:
    try:
        if choose_device("auto", "auto")[0] == "cpu":
            return []
    except MarotteError:
        return []
    return [name for name in BACKENDS if backend(name).module and not why_not(name)]


def _on_cpu(size: int) -> Callable[[], Callable[[Lap], dict[str, float]]]:
    def prepare() -> Callable[[Lap], dict[str, float]]:
        avatar, head, splats = _parts()
        renderer, stream = SplattingAvatarRenderer(), SplattingStream(head, splats, "auto", RenderOptions(size, size))
        drives = [_drive(avatar, size, frame, 1) for frame in range(25)]

        def frame(lap: Lap) -> dict[str, float]:
            stream.lap = lap
            drives.append(drives.pop(0))
            renderer.render(stream, drives[0])
            return {"pairs": stream.workspace.pairs}

        return frame

    return prepare


def _on_cuda(size: int, rasterizer: str, batch: int, frames: int) -> Callable[[], Callable[[Lap], None]]:
    def prepare() -> Callable[[Lap], None]:
        from marotte.renderers.splatting_torch import TorchAvatar, TorchStream, painter

        avatar, head, splats = _parts()
        renderer = SplattingAvatarRenderer()
        stream: RenderStream = TorchStream(
            TorchAvatar(head, splats, "cuda", painter(rasterizer)), RenderOptions(size, size)
        )
        drives = [_drive(avatar, size, first, batch) for first in range(0, frames, batch)]

        def call(lap: Lap) -> None:
            draw_all(renderer, stream, drives)

        return call

    return prepare


def _parts() -> tuple[Avatar, HeadEvaluator, SplattingAvatar]:
    """Return the demo avatar, its head, and its Gaussians made many by moving copies of them on their faces."""
    avatar = load_avatar(_AVATAR)
    model = avatar_head(avatar)
    splats, random = avatar_splats(avatar, model), np.random.default_rng(0)
    chosen = np.arange(_GAUSSIANS) % len(splats)
    # As much smaller as they are more, so that they cover the head as before.
    shrink = np.float32(np.log(_GAUSSIANS / len(splats)) / 2)
    many = replace(
        splats,
        face_ids=splats.face_ids[chosen],
        bary=((splats.bary[chosen] + random.dirichlet((1, 1, 1), _GAUSSIANS)) / 2).astype(np.float32),
        uvd=splats.uvd[chosen],
        rotations_wxyz=splats.rotations_wxyz[chosen],
        log_scales=splats.log_scales[chosen] - shrink,
        opacity_logits=splats.opacity_logits[chosen],
        sh=splats.sh[chosen],
    )
    return avatar, HeadEvaluator(model, scale=avatar.unit), many


def _drive(avatar: Avatar, size: int, first: int, frames: int) -> Drive:
    """Return frames of a head that talks and turns, from frame `first` of a film on."""
    time = (first + np.arange(frames)) / float(_FPS)
    codes = np.zeros((frames, 106), np.float32)
    codes[:, :52] = 0.2 + 0.2 * np.sin(time[:, None] * np.linspace(2, 9, 52))
    codes[:, JAW] = np.outer(0.15 + 0.15 * np.sin(17 * time), (1, 0, 0))
    codes[:, HEAD] = np.outer(np.sin(2 * time), (0.03, 0.15, 0))
    motion = Motion(codes, _FPS, avatar.basis)
    bridge = Bridge(avatar, avatar.framing("head").camera(size, size))
    ticks = frame_ticks(first, first + frames, _FPS)
    return Drive(ticks, bridge.head_state(motion), bridge.cameras(motion), Background())
