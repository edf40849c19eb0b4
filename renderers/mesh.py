"""The mesh renderer: a smooth-shaded head on the CPU, to look at a motion with."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.models.flame import FlameModel
from marotte.models.flame_numba import HeadEvaluator
from marotte.renderers.face_marks import VertexMarks, posed
from marotte.renderers.mesh_painter import Canvas, MeshPainter
from marotte.runtime.avatar import Avatar
from marotte.runtime.background import Background
from marotte.runtime.camera import facing_camera
from marotte.runtime.contracts import Drive, FacePoints, Renderer, RenderOptions, RenderStream
from marotte.runtime.frames import Frames
from marotte.runtime.splats import avatar_person


class MeshStream(RenderStream):
    """One head: its evaluator, its painter and its canvas."""

    def __init__(self, avatar: Avatar, width: int, height: int) -> None:
        if not avatar.head:
            raise MarotteError(f"avatar {avatar.name} names no head model, so the mesh renderer cannot draw it")
        model = avatar_person(avatar)
        self.width, self.height = width, height
        self.model = model
        self.evaluator = HeadEvaluator(model, scale=avatar.unit)
        self.painter = MeshPainter(model.faces, model.v_template, **_look(model))
        self._canvas: tuple[Background, Canvas] | None = None

    def vertices(self, drive: Drive) -> np.ndarray:
        """Return the mesh of each frame: [T, V, 3] in world units."""
        return posed(self.evaluator, drive)

    def face_points(self, drive: Drive) -> FacePoints | None:
        """Return the landmarks on the vertices that are drawn."""
        return self._marks.points(self.vertices(drive))

    def head_boxes(self, drive: Drive) -> np.ndarray:
        """Return the boxes [T, 4] of the head's vertices, without the shoulders'."""
        return self._marks.boxes(self.vertices(drive), drive)

    @cached_property
    def _marks(self) -> VertexMarks:
        return VertexMarks(self.evaluator)

    def canvas(self, background: Background) -> Canvas:
        """Return the canvas of a background; the last one is kept."""
        if self._canvas is None or self._canvas[0] is not background:
            behind: np.ndarray | Sequence[float] | None = background.colour
            if background.image is not None:
                behind = background.image
            if background.transparent:
                behind = None
            self._canvas = background, Canvas(self.width, self.height, behind)
        return self._canvas[1]


class MeshRenderer(Renderer):
    """Draws any avatar that has a head model in the FLAME schema."""

    def open(self, avatar: Avatar, options: RenderOptions) -> MeshStream:
        """Return the stream of a new face. Raises MarotteError where the avatar has no head model."""
        for name in options.extra:
            raise MarotteError(f"the mesh renderer has no option {name!r}: leave it out")
        return MeshStream(avatar, options.width, options.height)

    def render(self, stream: RenderStream, drive: Drive) -> Frames:
        """Return the pictures of a batch: rgb24, or rgba where the background is transparent."""
        assert isinstance(stream, MeshStream)
        vertices = stream.vertices(drive)
        stream.lap("head")
        canvas = stream.canvas(drive.background)
        pixels = np.empty((len(drive), stream.height, stream.width, canvas.channels), np.uint8)
        for mesh, camera, picture in zip(vertices, drive.cameras, pixels, strict=True):
            stream.painter.paint(mesh, camera.R, camera.t, camera.K, canvas, out=picture)
        stream.lap("paint")
        return Frames(drive.ticks, pixels, "rgba" if canvas.channels == 4 else "rgb24")

    def warm_up(self) -> None:
        """Compile the kernels, or load them from numba's cache, on a head of one triangle."""
        triangle = np.array([[0, 0, 0], [0.1, 0, 0], [0, 0.1, 0]], np.float32)
        head = FlameModel(
            v_template=triangle,
            faces=np.array([[0, 1, 2]], np.int32),
            shape_dirs=np.zeros((3, 3, 0), np.float32),
            expression_dirs=np.zeros((3, 3, 1), np.float32),
            pose_dirs=np.zeros((3, 3, 36), np.float32),
            joint_regressor=np.full((5, 3), 1 / 3, np.float32),
            skinning_weights=np.full((3, 5), 0.2, np.float32),
            parents=(-1, 0, 1, 1, 1),
            basis="arkit52",
        )
        (posed,) = HeadEvaluator(head).vertices(np.zeros((1, 1), np.float32), np.zeros((1, 15), np.float32))
        camera = facing_camera((0, 0, 0), 1.0, 0.4, (16, 16))
        painter = MeshPainter(head.faces, triangle)
        for background in ((0.5, 0.5, 0.5), None):
            painter.paint(posed, camera.R, camera.t, camera.K, Canvas(16, 16, background))


_RENDER_KEYS = ("albedo", "occlusion", "materials", "material_names", "eye_local")
# FLAME's own masks that say what a face is made of; the rest is skin.
_MASKS = {"lips": "lips", "left_eyeball": "eye", "right_eyeball": "eye"}


def _look(model: FlameModel) -> dict[str, Any]:
    """Return what the head model says of its colours and materials, else what its masks say."""
    if "materials" in model.render:
        return {name: model.render[name] for name in _RENDER_KEYS if name in model.render}
    names = ["skin", *sorted(set(_MASKS.values()))]
    materials = np.zeros(len(model.faces), np.uint8)
    for mask, material in _MASKS.items():
        if mask in model.masks:
            inside = np.isin(model.faces, model.masks[mask]).all(axis=1)
            materials[inside] = names.index(material)
    return {"materials": materials, "material_names": names}
