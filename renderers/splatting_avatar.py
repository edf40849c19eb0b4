"""The SplattingAvatar renderer: Gaussians glued to a FLAME mesh, drawn by a rasterizer.

Draws avatars in the published layout, on any head model of the FLAME schema: FLAME's own, or the demo head.
Source: reference/splatting_avatar/SPEC.md.
"""

from pathlib import Path

import numpy as np

from marotte.errors import MarotteError, unknown_name
from marotte.models.flame import FlameModel
from marotte.models.flame_numba import HeadEvaluator
from marotte.models.safe_files import read_any
from marotte.models.splatting_avatar import SplattingAvatar
from marotte.models.splatting_numba import SplattingEvaluator
from marotte.renderers.gaussians import Gaussians
from marotte.renderers.rasterizers import BACKENDS, rasterize
from marotte.renderers.rasterizers.cpu import Workspace
from marotte.renderers.splat_pictures import to_pixels
from marotte.runtime.avatar import Avatar
from marotte.runtime.background import Background
from marotte.runtime.camera import Camera, facing_camera
from marotte.runtime.contracts import Drive, Renderer, RenderOptions, RenderStream
from marotte.runtime.frames import Frames
from marotte.runtime.splats import avatar_splats

_OPTIONS = ("rasterizer", "variant")
# A head's mesh and its canonical form differ by expression and rounding; a wrong unit is off by four.
_MOST_STRETCH = 2.0


class SplattingStream(RenderStream):
    """One face: its head's evaluator, its Gaussians' evaluator, and the memory that its pictures are drawn in."""

    def __init__(self, avatar: Avatar, options: RenderOptions) -> None:
        for key, what in (("head", "head model"), ("splats", "folder of Gaussians")):
            if not getattr(avatar, key):
                raise MarotteError(
                    f"avatar {avatar.name} names no {what}, so splatting-avatar cannot draw it: add {key} = ... to its "
                    "avatar.toml"
                )
        for name in options.extra:
            if name not in _OPTIONS:
                raise unknown_name("option of splatting-avatar", name, _OPTIONS)
        self.rasterizer = str(options.extra.get("rasterizer", "auto"))
        if self.rasterizer not in ("auto", *BACKENDS):
            raise unknown_name("rasterizer", self.rasterizer, ("auto", *BACKENDS))
        self.width, self.height = options.width, options.height
        head = FlameModel.load(avatar.head_path, n_expression=avatar.expressions, basis=avatar.basis)
        shape = _identity(avatar.path / avatar.shape) if avatar.shape else None
        self.head = HeadEvaluator(head, shape, avatar.unit)
        self.splats = SplattingEvaluator(avatar_splats(avatar, head, options.extra.get("variant")))
        self.workspace = Workspace()
        self._check_mesh(avatar)

    def vertices(self, drive: Drive) -> np.ndarray:
        """Return the driving mesh of each frame: [T, V, 3] in world units."""
        state = drive.head
        lids = state.eyelids if self.head.model.eyelid_fields is not None else None
        return self.head.vertices(state.expression, state.full_pose, lids, state.translation)

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

    def _check_mesh(self, avatar: Avatar) -> None:
        """Raise MarotteError where the Gaussians were glued to another mesh, or to it in another unit."""
        canonical, model = self.splats.avatar.canonical, self.head.model
        if len(canonical) != len(model.v_template):
            raise MarotteError(
                f"avatar {avatar.name}: its Gaussians lie on a mesh of {len(canonical)} vertices, its head model "
                f"{avatar.head_path} has {len(model.v_template)}: name the head model that it was trained on"
            )
        (neutral,) = self.head.vertices(np.zeros((1, 0), np.float32), np.zeros((1, 15), np.float32))
        faces = self.splats.avatar.faces
        stretch = _size(canonical, faces) / max(_size(neutral, faces), 1e-30)
        if not 1 / _MOST_STRETCH < stretch < _MOST_STRETCH:
            raise MarotteError(
                f"avatar {avatar.name} has unit = {avatar.unit:g}, but its Gaussians lie on a mesh {stretch:.3g} times "
                f"as large as its head model then is: set unit = {avatar.unit * stretch:.2g} (4 for IMavatar's FLAME)"
            )


class SplattingAvatarRenderer(Renderer):
    """Draws avatars that have a head model and Gaussians on it. Options: `rasterizer`, the name of a
    back end; `variant`, the name of another set of Gaussians in the avatar's `variants`."""

    def open(self, avatar: Avatar, options: RenderOptions) -> SplattingStream:
        """Return the stream of a new face. Raises MarotteError where the avatar's files do not fit together."""
        return SplattingStream(avatar, options)

    def render(self, stream: RenderStream, drive: Drive) -> Frames:
        """Return the pictures of a batch: rgb24, or rgba where the background is transparent."""
        assert isinstance(stream, SplattingStream)
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
            raster = rasterize(
                gaussians, camera, backend=stream.rasterizer, workspace=stream.workspace, clock=stream.lap
            )
            to_pixels(raster.color, raster.transmittance, drive.background, picture)
            stream.lap("bytes")
        return Frames(drive.ticks, pixels, "rgba" if channels == 4 else "rgb24")

    def warm_up(self) -> None:
        """Compile the kernels, or load them from numba's cache, on one triangle."""
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


def _identity(path: Path) -> np.ndarray:
    """Return the identity coefficients [S] in an npy, or in an npz under `shape` or alone."""
    content = read_any(path)
    if isinstance(content, dict):
        content = content.get("shape", next(iter(content.values())) if len(content) == 1 else None)
    if not isinstance(content, np.ndarray) or content.dtype.kind not in "iuf" or not np.isfinite(content).all():
        raise MarotteError(f"{path} holds no identity: it must be an npy of finite numbers, or an npz with 'shape'")
    return content.reshape(-1).astype(np.float32)


def _size(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Return the root of a mesh's area."""
    a, b, c = (vertices[faces[:, i]].astype(np.float64) for i in range(3))
    return float(np.sqrt(np.linalg.norm(np.cross(b - a, c - a), axis=-1).sum() / 2))
