"""Benchmark cases of splatting: every rasterizer that is here, and the per-frame update of an avatar's Gaussians.

`rasterizer/...` draws synthetic heads of a few numbers of Gaussians, `splats/...` what a GAGAvatar draws: 180,255
Gaussians of 32 channels, given by covariances.

On CUDA a call draws many pictures and waits once, at its end: what counts there is how many come out.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np

from marotte.models.rotations import rotvec_to_matrix
from marotte.models.splatting_avatar import SplattingAvatar
from marotte.models.splatting_numba import SplattingEvaluator
from marotte.renderers.devices import why_no_cuda
from marotte.renderers.gaussians import Gaussians
from marotte.renderers.rasterizers import backends, first_use, rasterize, tensors
from marotte.renderers.rasterizers.cpu import Workspace
from marotte.renderers.rasterizers.published import PublishedSettings
from marotte.renderers.rasterizers.scenes import PLANE_POINTS, head_scene, plane_scene
from marotte.runtime.bench import Case, Lap, Request
from marotte.runtime.camera import Camera

# FLAME's mesh has so many vertices.
_VERTICES = 5023
# Pictures of one call on CUDA, and of one batch.
_PICTURES = 32
# Colours, and the features of a network that paints the picture.
_CHANNELS = (3, 32)

# Points along each side of a plane, pixels along each side of the picture: a GAGAvatar's, and what its slow twin draws
# in seconds. Of the small one points are as far apart in pixels as of the large one.
_PLANES = (PLANE_POINTS, 512)
_SMALL_PLANES = (74, 128)

_Prepare = Callable[[], Callable[[Lap], Mapping[str, float]]]
_Scene = Callable[[], tuple[Gaussians, Camera]]


def cases(request: Request) -> Iterator[Case]:
    """Yield `rasterizer/cpu` for each size and count, its slow twin for the smallest, `splats/cpu` and `update/cpu`.

    On a machine with a CUDA device also each rasterizer that can be used there, picture by picture, and ours in
    batches too.
    """
    on_device = not why_no_cuda(thorough=False)
    for size in request.sizes:
        for count in request.gaussians:
            settings = {"gaussians": count, "size": size}
            yield Case("rasterizer/cpu", settings, _on_cpu(partial(head_scene, count, size=size)))
            for channels in _CHANNELS if on_device else ():
                scene = partial(head_scene, count, size=size, channels=channels)
                yield from _on_cuda("rasterizer", {**settings, "channels": channels}, scene)
    smallest = {"gaussians": min(request.gaussians), "size": min(request.sizes)}
    slow = _slow_twin(partial(head_scene, smallest["gaussians"], size=smallest["size"]))
    yield Case("rasterizer/reference", smallest, slow, frames=1, twin_of="rasterizer/cpu")
    for points, size in (_PLANES, _SMALL_PLANES):
        settings = {"points": points, "size": size, "channels": max(_CHANNELS)}
        scene = partial(plane_scene, points, size=size, channels=max(_CHANNELS))
        yield Case("splats/cpu", settings, _on_cpu(scene))
        if (points, size) == _SMALL_PLANES:
            yield Case("splats/reference", settings, _slow_twin(scene), frames=1, twin_of="splats/cpu")
        elif on_device:
            yield from _on_cuda("splats", settings, scene)
    for count in request.gaussians:
        yield Case("update/cpu", {"gaussians": count, "vertices": _VERTICES}, _update(count))


def _on_cuda(kind: str, settings: Mapping[str, int], scene: _Scene) -> Iterator[Case]:
    for name in backends.on_cuda():
        yield Case(f"{kind}/{name}", {**settings, "batch": 1}, _singly(name, scene), frames_a_call=_PICTURES)
        if name == "triton":
            said = {**settings, "batch": _PICTURES}
            yield Case(f"{kind}/{name}", said, _in_batches(scene), frames_a_call=_PICTURES)


def _singly(name: str, scene: _Scene, device: str = "cuda") -> _Prepare:
    """Return the case of one picture after another by a rasterizer for CUDA devices."""

    def prepare() -> Callable[[Lap], Mapping[str, float]]:
        import torch

        gaussians, views = _turned(scene, device)
        channels = gaussians.channels
        background = torch.ones(channels, device=device)
        first_use.check(name, gaussians, gaussians.means.device)
        module = backends.load(name)
        facts = {"passes": module.passes(channels)} if hasattr(module, "passes") else {}

        def call(lap: Lap) -> Mapping[str, float]:
            for view in views:
                module.draw(gaussians, view, background, depth=False)
            torch.cuda.synchronize()
            return facts

        return call

    return prepare


def _in_batches(scene: _Scene, device: str = "cuda") -> _Prepare:
    """Return the case of all pictures in one batch by our rasterizer for CUDA devices."""

    def prepare() -> Callable[[Lap], Mapping[str, float]]:
        import torch

        from marotte.renderers.rasterizers.batch import GaussianBatch, Views
        from marotte.renderers.rasterizers.triton_backend import Workspace as DeviceWorkspace
        from marotte.renderers.rasterizers.triton_backend import draw_batch

        gaussians, views = _turned(scene, device)
        background, workspace = torch.ones(gaussians.channels, device=device), DeviceWorkspace()
        first_use.check("triton", gaussians, gaussians.means.device)
        # A face moves, so every picture has its own means and rotations; the rest is one avatar's.
        each = (len(views), 1, 1)
        batch = GaussianBatch(
            means=gaussians.means.repeat(each),
            opacities=gaussians.opacities,
            quats_wxyz=None if gaussians.quats_wxyz is None else gaussians.quats_wxyz.repeat(each),
            scales=gaussians.scales,
            covariances=gaussians.covariances,
            features=gaussians.features,
        )

        def call(lap: Lap) -> Mapping[str, float]:
            stacked = Views.stack(views, device)
            draw_batch(batch, stacked, background, workspace=workspace)
            while workspace.overflowed():
                draw_batch(batch, stacked, background, workspace=workspace)
            torch.cuda.synchronize()
            return {"pairs": workspace.ticket.pairs / len(views)} if workspace.ticket else {}

        return call

    return prepare


def _turned(scene: _Scene, device: str) -> tuple[Gaussians, list[PublishedSettings]]:
    """Return a scene on a torch device and views of it, turned step by step."""
    gaussians, camera = scene()
    turns = rotvec_to_matrix(np.outer(np.linspace(-0.2, 0.2, _PICTURES), (0, 1, 0)))
    views = [PublishedSettings.from_camera(camera.moved(turn, np.zeros(3))) for turn in turns]
    return tensors.as_tensors(gaussians, device), views


def _on_cpu(scene: _Scene) -> _Prepare:
    def prepare() -> Callable[[Lap], Mapping[str, float]]:
        gaussians, camera = scene()
        settings, workspace = PublishedSettings.from_camera(camera), Workspace()
        background = np.ones(gaussians.channels, np.float32)

        def frame(lap: Lap) -> Mapping[str, float]:
            workspace.render(gaussians, settings, background, clock=lap)
            return {"pairs": workspace.pairs}

        return frame

    return prepare


def _slow_twin(scene: _Scene) -> Callable[[], Callable[[Lap], None]]:
    def prepare() -> Callable[[Lap], None]:
        gaussians, camera = scene()

        def frame(lap: Lap) -> None:
            rasterize(gaussians, camera, np.ones(gaussians.channels, np.float32), backend="reference")

        return frame

    return prepare


def _update(count: int) -> Callable[[], Callable[[Lap], None]]:
    def prepare() -> Callable[[Lap], None]:
        avatar = _glued(count)
        evaluator = SplattingEvaluator(avatar)
        meshes = [avatar.canonical * np.float32(stretch) for stretch in (1.0, 1.05)]

        def frame(lap: Lap) -> None:
            meshes.reverse()
            evaluator.drive(meshes[0])

        return frame

    return prepare


def _glued(count: int) -> SplattingAvatar:
    """Return `count` Gaussians on a ball of FLAME's number of vertices."""
    from scipy.spatial import ConvexHull

    random = np.random.default_rng(0)
    ball = random.normal(size=(_VERTICES, 3))
    ball /= np.linalg.norm(ball, axis=1, keepdims=True)
    faces = ConvexHull(ball).simplices.astype(np.int32)
    rotations = random.normal(size=(count, 4))
    return SplattingAvatar(
        face_ids=random.integers(0, len(faces), count).astype(np.int32),
        bary=random.dirichlet((1, 1, 1), count).astype(np.float32),
        uvd=np.zeros((count, 3), np.float32),
        rotations_wxyz=(rotations / np.linalg.norm(rotations, axis=1, keepdims=True)).astype(np.float32),
        log_scales=np.full((count, 3), -5, np.float32),
        opacity_logits=np.zeros(count, np.float32),
        sh=np.zeros((count, 1, 3), np.float32),
        canonical=ball.astype(np.float32),
        faces=faces,
    )
