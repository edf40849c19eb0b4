"""Benchmark cases of splatting: the rasterizer and its slow twin, and the per-frame update of an avatar's Gaussians."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from marotte.models.splatting_avatar import SplattingAvatar
from marotte.models.splatting_numba import SplattingEvaluator
from marotte.renderers.rasterizers import rasterize
from marotte.renderers.rasterizers.cpu import Workspace
from marotte.renderers.rasterizers.published import PublishedSettings
from marotte.renderers.rasterizers.scenes import head_scene
from marotte.runtime.bench import Case, Lap, Request

# FLAME's mesh has so many vertices.
_VERTICES = 5023


def cases(request: Request) -> Iterator[Case]:
    """Yield `rasterizer/cpu` for each size and count, its slow twin for the smallest, and `update/cpu`."""
    for size in request.sizes:
        for count in request.gaussians:
            settings = {"gaussians": count, "size": size}
            yield Case("rasterizer/cpu", settings, _rasterizer(count, size))
    smallest = {"gaussians": min(request.gaussians), "size": min(request.sizes)}
    slow = _slow_twin(smallest["gaussians"], smallest["size"])
    yield Case("rasterizer/reference", smallest, slow, frames=1, twin_of="rasterizer/cpu")
    for count in request.gaussians:
        yield Case("update/cpu", {"gaussians": count, "vertices": _VERTICES}, _update(count))


def _rasterizer(count: int, size: int) -> Callable[[], Callable[[Lap], Mapping[str, float]]]:
    def prepare() -> Callable[[Lap], Mapping[str, float]]:
        gaussians, camera = head_scene(count, size=size)
        settings, workspace = PublishedSettings.from_camera(camera), Workspace()

        def frame(lap: Lap) -> Mapping[str, float]:
            workspace.render(gaussians, settings, np.ones(3, np.float32), clock=lap)
            return {"pairs": workspace.pairs}

        return frame

    return prepare


def _slow_twin(count: int, size: int) -> Callable[[], Callable[[Lap], None]]:
    def prepare() -> Callable[[Lap], None]:
        gaussians, camera = head_scene(count, size=size)

        def frame(lap: Lap) -> None:
            rasterize(gaussians, camera, np.ones(3, np.float32), backend="reference")

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
