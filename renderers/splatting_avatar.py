"""The SplattingAvatar renderer: Gaussians glued to a FLAME mesh, drawn by a rasterizer.

Draws avatars in the published layout, on any head model of the FLAME schema: FLAME's own, or the demo head. This
file is the renderer and the CPU's way to draw; CUDA's is `splatting_torch`. Source:
reference/splatting_avatar/SPEC.md.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, cast
from weakref import WeakValueDictionary

import numpy as np

from marotte.errors import MarotteError, unknown_name
from marotte.models.flame_numba import HeadEvaluator
from marotte.models.splatting_avatar import SplattingAvatar
from marotte.models.splatting_numba import SplattingEvaluator
from marotte.renderers.devices import choose_device
from marotte.renderers.face_marks import GaussianMarks, posed
from marotte.renderers.gaussians import Gaussians
from marotte.renderers.rasterizers import rasterize
from marotte.renderers.rasterizers.cpu import Workspace
from marotte.renderers.splat_pictures import to_pixels
from marotte.runtime.avatar import Avatar
from marotte.runtime.background import Background
from marotte.runtime.camera import Camera, facing_camera
from marotte.runtime.contracts import Drive, FacePoints, Pending, Renderer, RenderOptions, RenderStream
from marotte.runtime.frames import Frames
from marotte.runtime.splats import avatar_head, avatar_identity, avatar_splats

if TYPE_CHECKING:
    from marotte.renderers.splatting_torch import TorchAvatar, TorchStream

_OPTIONS = ("device", "rasterizer", "variant")
# A head's mesh and its canonical form differ by expression and rounding; a wrong unit is off by four.
_MOST_STRETCH = 2.0


class SplattingStream(RenderStream):
    """One face on the CPU: its head's evaluator, its Gaussians' evaluator, and the memory that its pictures are drawn
    in."""

    def __init__(self, head: HeadEvaluator, splats: SplattingAvatar, rasterizer: str, options: RenderOptions) -> None:
        self.width, self.height = options.width, options.height
        self.rasterizer: str = rasterizer
        self.head, self.splats = head, SplattingEvaluator(splats)
        self.gaussian_count = len(splats)
        self.workspace = Workspace()

    def vertices(self, drive: Drive) -> np.ndarray:
        """Return the driving mesh of each frame: [T, V, 3] in world units."""
        return posed(self.head, drive)

    def face_points(self, drive: Drive) -> FacePoints | None:
        """Return the landmarks, carried by the Gaussians that are drawn."""
        return self._marks.points(self.vertices(drive))

    def head_boxes(self, drive: Drive) -> np.ndarray:
        """Return the boxes [T, 4] of the opaque Gaussians of the head, without those of neck and shoulders."""
        return self._marks.boxes(self.vertices(drive), drive)

    @cached_property
    def _marks(self) -> GaussianMarks:
        return GaussianMarks(self.head, self.splats.avatar)

    def gaussians(self, mesh: np.ndarray, camera: Camera) -> Gaussians:
        """Return what the rasterizer gets for a driving mesh [V, 3]."""
        splats, source = self.splats.drive(mesh, camera.centre), self.splats
        outside = splats.colours is not None
        return Gaussians(
            means=splats.means,
            quats_wxyz=splats.quats_wxyz,
            scales=splats.scales,
            opacities=source.opacities,
            features=splats.colours,
            sh=None if outside else source.sh,
            sh_degree=None if outside else source.avatar.sh_degree,
        )


class SplattingAvatarRenderer(Renderer):
    """Draws avatars that have a head model and Gaussians on it.

    Options: `device`, one of auto, cpu, cuda; `rasterizer`, the name of a back end, which may imply the device;
    `variant`, the name of another set of Gaussians in the avatar's `variants`.
    """

    def __init__(self, torch_avatar: "Callable[[HeadEvaluator, SplattingAvatar], TorchAvatar] | None" = None) -> None:
        """Take what makes the device's form of an avatar, for tests of that form without the device."""
        self._torch_avatar = torch_avatar
        # By what distinguishes them, for as long as a stream shows them.
        self._shared: WeakValueDictionary[tuple, TorchAvatar] = WeakValueDictionary()

    def open(self, avatar: Avatar, options: RenderOptions) -> RenderStream:
        """Return the stream of a new face. Raises MarotteError where the avatar's files do not fit together."""
        for key, what in (("head", "head model"), ("splats", "folder of Gaussians")):
            if not getattr(avatar, key):
                raise MarotteError(
                    f"avatar {avatar.name} names no {what}, so splatting-avatar cannot draw it: add {key} = ... to its "
                    "avatar.toml"
                )
        for name in options.extra:
            if name not in _OPTIONS:
                raise unknown_name("option of splatting-avatar", name, _OPTIONS)
        device, rasterizer = choose_device(
            str(options.extra.get("device", "auto")), str(options.extra.get("rasterizer", "auto"))
        )
        variant = options.extra.get("variant")
        if device == "cpu" and not self._torch_avatar:
            return SplattingStream(*_parts(avatar, variant), rasterizer, options)
        from marotte.renderers.splatting_torch import TorchAvatar, TorchStream, painter

        files = avatar.path, avatar.head, avatar.shape, avatar.splats, variant
        kind = *files, avatar.basis, avatar.expressions, avatar.unit, rasterizer
        shared = self._shared.get(kind)
        if shared is None:
            head, splats = _parts(avatar, variant)
            if self._torch_avatar:
                shared = self._torch_avatar(head, splats)
            else:
                shared = TorchAvatar(head, splats, device, painter(rasterizer))
            self._shared[kind] = shared
        stream = TorchStream(shared, options)
        stream.rasterizer = rasterizer
        return stream

    def render(self, stream: RenderStream, drive: Drive) -> Frames:
        """Return the pictures of a batch: rgb24, or rgba where the background is transparent."""
        if isinstance(stream, SplattingStream):
            return _render(stream, drive)
        return self.submit([(stream, drive)]).result()[0]

    def submit(self, work: Sequence[tuple[RenderStream, Drive]]) -> Pending:
        """Start work on several streams. On CUDA it returns at once, and streams that share an avatar and a size are
        drawn together."""
        together: dict[tuple, list[int]] = {}
        parts: list[tuple[Sequence[int], Pending | None]] = []
        for index, (stream, drive) in enumerate(work):
            if isinstance(stream, SplattingStream):
                parts.append(([index], None))
            else:
                on_torch = cast("TorchStream", stream)
                kind = id(on_torch.avatar), stream.width, stream.height, drive.background.transparent
                together.setdefault(kind, []).append(index)
        for indices in together.values():
            pieces = [(cast("TorchStream", work[i][0]), work[i][1]) for i in indices]
            parts.append((indices, pieces[0][0].avatar.submit(pieces)))
        done: list[Frames | None] = [None] * len(work)
        # The device is at work by now; what the CPU draws, it draws here.
        for places, pending in parts:
            if pending is None:
                (index,) = places
                done[index] = self.render(*work[index])
        return _Pending(parts, done)

    def warm_up(self) -> None:
        """Compile the kernels, or load them from their caches, on one triangle: the CPU's, and CUDA's where it is."""
        camera = facing_camera((0, 0, 0), 1.0, 0.4, (16, 16))
        triangle = np.array([[0, 0, 0], [0.1, 0, 0], [0, 0.1, 0]], np.float32)
        avatar = SplattingAvatar(
            face_ids=np.zeros(1, np.int32),
            bary=np.full((1, 3), 1 / 3, np.float32),
            uvd=np.zeros((1, 3), np.float32),
            rotations_wxyz=np.array([[1, 0, 0, 0]], np.float32),
            log_scales=np.full((1, 3), -4, np.float32),
            opacity_logits=np.zeros(1, np.float32),
            sh=np.zeros((1, 1, 3), np.float32),
            canonical=triangle,
            faces=np.array([[0, 1, 2]], np.int32),
        )
        source = SplattingEvaluator(avatar)
        splats = source.drive(triangle)
        gaussians = Gaussians(
            means=splats.means,
            quats_wxyz=splats.quats_wxyz,
            scales=splats.scales,
            opacities=source.opacities,
            sh=source.sh,
            sh_degree=0,
        )
        raster = rasterize(gaussians, camera)
        for background in (
            Background(),
            Background(image=np.zeros((16, 16, 3), np.uint8)),
            Background(transparent=True),
        ):
            picture = np.empty((16, 16, 4 if background.transparent else 3), np.uint8)
            to_pixels(raster.color, raster.transmittance, background, picture)
        device, rasterizer = choose_device("auto", "auto")
        if device == "cuda":
            from marotte.renderers.splatting_torch import warm_up

            warm_up(avatar, camera, rasterizer)


@dataclass(frozen=True)
class _Pending:
    """Work under way, in parts, each with the places of its pieces; `done` is what is there already."""

    parts: list[tuple[Sequence[int], Pending | None]]
    done: list[Frames | None]

    def result(self) -> list[Frames]:
        """Wait for the pictures, one batch for each piece of work."""
        for indices, pending in self.parts:
            if pending is not None:
                for index, frames in zip(indices, pending.result(), strict=True):
                    self.done[index] = frames
        return cast("list[Frames]", self.done)


def _render(stream: SplattingStream, drive: Drive) -> Frames:
    """Draw a batch on the CPU."""
    vertices = stream.vertices(drive)
    if not np.isfinite(vertices).all():
        tick = drive.ticks[np.argwhere(~np.isfinite(vertices))[0, 0]]
        raise MarotteError(f"the motion at tick {tick} has NaN or infinite values: mend what drives the head")
    stream.lap("head")
    channels = 4 if drive.background.transparent else 3
    pixels = np.empty((len(drive), stream.height, stream.width, channels), np.uint8)
    for mesh, camera, picture in zip(vertices, drive.cameras, pixels, strict=True):
        gaussians = stream.gaussians(mesh, camera)
        stream.lap("update")
        raster = rasterize(gaussians, camera, backend=stream.rasterizer, workspace=stream.workspace, clock=stream.lap)
        to_pixels(raster.color, raster.transmittance, drive.background, picture)
        stream.lap("bytes")
    return Frames(drive.ticks, pixels, "rgba" if channels == 4 else "rgb24")


def _parts(avatar: Avatar, variant: str | None) -> tuple[HeadEvaluator, SplattingAvatar]:
    """Return an avatar's head, with its identity, and the Gaussians on it.

    Raises MarotteError where the Gaussians were glued to another mesh, or to it in another unit.
    """
    model = avatar_head(avatar)
    head, splats = HeadEvaluator(model, avatar_identity(avatar), avatar.unit), avatar_splats(avatar, model, variant)
    if len(splats.canonical) != len(model.v_template):
        raise MarotteError(
            f"avatar {avatar.name}: its Gaussians lie on a mesh of {len(splats.canonical)} vertices, its head model "
            f"{avatar.head_path} has {len(model.v_template)}: name the head model that it was trained on"
        )
    (neutral,) = head.vertices(np.zeros((1, 0), np.float32), np.zeros((1, 15), np.float32))
    stretch = _size(splats.canonical, splats.faces) / max(_size(neutral, splats.faces), 1e-30)
    if not 1 / _MOST_STRETCH < stretch < _MOST_STRETCH:
        raise MarotteError(
            f"avatar {avatar.name} has unit = {avatar.unit:g}, but its Gaussians lie on a mesh {stretch:.3g} times "
            f"as large as its head model then is: set unit = {avatar.unit * stretch:.2g} (4 for IMavatar's FLAME)"
        )
    return head, splats


def _size(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Return the root of a mesh's area."""
    a, b, c = (vertices[faces[:, i]].astype(np.float64) for i in range(3))
    return float(np.sqrt(np.linalg.norm(np.cross(b - a, c - a), axis=-1).sum() / 2))
