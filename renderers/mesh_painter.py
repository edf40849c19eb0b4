"""Paints a triangle head on the CPU: built once for a mesh, called for each frame."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from marotte.errors import MarotteError, unknown_name
from marotte.renderers.mesh_materials import MATERIALS, SURFACES, Lights, Material, srgb_to_linear
from marotte.renderers.mesh_patterns import IRIS, PLAIN, STRANDS
from marotte.renderers.mesh_raster import TILE, bin_faces, find_boxes, find_normals, new_frame, project
from marotte.renderers.mesh_shading import OPAQUE, VEIL, Mesh, draw_tiles
from marotte.runtime.frames import to_bytes

# Vertices closer than this are one point when normals are averaged, in the mesh's unit.
_WELD = 1e-6
# Nearer than this to the camera's plane nothing is drawn, in world units.
_NEAR = 1e-4


class Canvas:
    """A size and a background, for one stream of pictures.

    background: colour [3] or picture [height, width, 3], float 0..1 or uint8, sRGB; None leaves the
    picture transparent.
    """

    def __init__(self, width: int, height: int, background: np.ndarray | Sequence[float] | None = None):
        if width < 1 or height < 1:
            raise MarotteError(f"a picture of {width}x{height} pixels cannot be painted: both must be at least 1")
        self.width, self.height = width, height
        self.background = np.zeros((0, 0, 3), np.float32)
        self.blank = np.zeros((height, width, 4), np.uint8)
        if background is not None:
            colour = np.asarray(background)
            colour = colour.astype(np.float32) / np.float32(255 if colour.dtype == np.uint8 else 1)
            if colour.shape not in ((3,), (height, width, 3)):
                raise MarotteError(f"background {list(colour.shape)} fits neither [3] nor [{height}, {width}, 3]")
            self.background = np.array(np.broadcast_to(colour, (height, width, 3)), order="C")
            self.blank = to_bytes(self.background)

    @property
    def channels(self) -> int:
        """3, or 4 where the background is transparent."""
        return self.blank.shape[2]


@dataclass(frozen=True)
class Painting:
    """A picture before it is rounded: rgb [H,W,3] float32 sRGB, straight; alpha [H,W] float32, 0..1."""

    rgb: np.ndarray
    alpha: np.ndarray


class MeshPainter:
    """Draws one mesh in any pose. Keeps no state between frames, so threads may share it.

    faces: [F,3] vertex ids, counter-clockwise seen from outside.
    template: [V,3] the mesh at rest; vertices that coincide there share a normal.
    albedo: [V,3] uint8 sRGB or float linear; by default each material's own colour.
    occlusion: [V] uint8 (255 open) or float 0..1 (1 open); by default all open.
    materials: [F] ids into `material_names`; by default all skin.
    eye_local: [V,3] position relative to the eyeball's centre over its radius, z along the gaze, zero
        elsewhere; without it eyes are painted in their albedo.
    iris: sRGB 0..1; iris_radius: over the eyeball's.
    """

    def __init__(
        self,
        faces: np.ndarray,
        template: np.ndarray,
        *,
        albedo: np.ndarray | None = None,
        occlusion: np.ndarray | None = None,
        materials: np.ndarray | None = None,
        material_names: Sequence[str] = ("skin",),
        eye_local: np.ndarray | None = None,
        iris: tuple[float, float, float] = (0.36, 0.50, 0.56),
        iris_radius: float = 0.37,
        lights: Lights | None = None,
    ):
        faces = np.array(faces, np.int32, order="C")
        template = np.array(template, np.float32, order="C")
        vertices = len(template)
        if faces.size and not 0 <= faces.min() <= faces.max() < vertices:
            raise MarotteError(f"faces name vertices {faces.min()}..{faces.max()} of a mesh that has {vertices}")
        parts = np.zeros(len(faces), np.uint8) if materials is None else np.array(materials, np.uint8)
        names = [str(name) for name in material_names]
        for name in names:
            if name not in MATERIALS:
                raise unknown_name("material", name, MATERIALS)
        if parts.size and parts.max() >= len(names):
            raise MarotteError(f"faces name material {parts.max()} of {len(names)}: {', '.join(names)}")
        kinds = [MATERIALS[name] for name in names]
        self.lights = lights or Lights()
        self._two_sided = np.array([kind.two_sided for kind in kinds])[parts]
        opacities = np.array([kind.opacity for kind in kinds], np.float32)
        self._mesh = Mesh(
            faces=faces,
            parts=parts,
            layers=np.where(opacities < 1, VEIL, OPAQUE).astype(np.uint8)[parts],
            surface=_surface(faces, parts, kinds, albedo, occlusion, vertices),
            local=_local(faces, template, parts, names, eye_local),
            patterns=np.array([_pattern(name, eye_local is not None) for name in names], np.uint8),
            cover=_cover(faces, template, opacities[parts]),
            iris=srgb_to_linear(np.array(iris)).astype(np.float32),
            iris_radius=float(iris_radius),
        )
        self._first_face, self._face_of = _incidence(faces, template, parts, names)

    def paint(
        self,
        vertices: np.ndarray,
        R: np.ndarray,
        t: np.ndarray,
        K: np.ndarray,
        canvas: Canvas,
        out: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return the picture as uint8 [height, width, 3], or [height, width, 4] with straight alpha.

        vertices: [V,3] in the world. R [3,3], t [3]: world to camera, Xc = R X + t, OpenCV axes.
        K: [3,3] in pixels; the centre of pixel i lies at i + 0.5. out: written and returned if given.
        Triangles with a corner that is not finite or not in front of the camera are left out.
        """
        if out is None:
            out = np.empty_like(canvas.blank)
        out[...] = canvas.blank
        self._draw(vertices, R, t, K, canvas, out, np.zeros((0, 0, 4), np.float32))
        return out

    def paint_float(
        self,
        vertices: np.ndarray,
        R: np.ndarray,
        t: np.ndarray,
        K: np.ndarray,
        canvas: Canvas,
    ) -> Painting:
        """Return the head alone, before it is laid over the background; arguments as in `paint`."""
        floats = np.zeros((canvas.height, canvas.width, 4), np.float32)
        self._draw(vertices, R, t, K, canvas, canvas.blank, floats)
        return Painting(floats[:, :, :3], floats[:, :, 3])

    def _draw(
        self,
        vertices: np.ndarray,
        R: np.ndarray,
        t: np.ndarray,
        K: np.ndarray,
        canvas: Canvas,
        pixels: np.ndarray,
        floats: np.ndarray,
    ) -> None:
        mesh = self._mesh
        if vertices.shape != mesh.local.shape:
            raise MarotteError(f"vertices are {list(vertices.shape)} where the mesh has {list(mesh.local.shape)}")
        # Copies: read-only or transposed arrays are other types to numba, and would compile everything again.
        vertices = np.array(vertices, np.float32, order="C")
        R, t, K = (np.array(part, np.float64, order="C") for part in (R, t, K))
        frame = new_frame(len(vertices), len(mesh.faces))
        project(vertices, R, t, K, _NEAR, frame)
        find_normals(mesh.faces, self._first_face, self._face_of, frame)
        find_boxes(mesh.faces, self._two_sided, canvas.width, canvas.height, frame)
        columns, rows = -(-canvas.width // TILE), -(-canvas.height // TILE)
        first, members, common = bin_faces(frame.boxes, columns, rows)
        view = np.array([1 / K[0, 0], 1 / K[1, 1], K[0, 2], K[1, 2], K[0, 1] / (K[0, 0] * K[1, 1])], np.float32)
        lights = self.lights.seen_from(R)
        draw_tiles(mesh, frame, first, members, common, columns, view, lights, canvas.background, pixels, floats)


def _surface(
    faces: np.ndarray,
    parts: np.ndarray,
    kinds: Sequence[Material],
    albedo: np.ndarray | None,
    occlusion: np.ndarray | None,
    vertices: int,
) -> np.ndarray:
    """Return what `Mesh.surface` holds, [vertices, 8] float32.

    A vertex takes the mean of its faces' materials, so that gloss changes smoothly along the lips' rim.
    """
    table = np.array(
        [(*srgb_to_linear(np.array(m.albedo)), m.openness, m.scatter, m.specular, m.roughness, m.fibre) for m in kinds]
    )
    total = np.zeros((vertices, table.shape[1]))
    np.add.at(total, faces.ravel(), np.repeat(table[parts], 3, axis=0))
    uses = np.bincount(faces.ravel(), minlength=vertices)
    surface = total / np.maximum(uses, 1)[:, None]
    if albedo is not None:
        surface[:, :3] = srgb_to_linear(albedo / 255) if albedo.dtype == np.uint8 else albedo
    opened = 1.0 if occlusion is None else occlusion / (255 if occlusion.dtype == np.uint8 else 1)
    surface[:, 3] += (1 - surface[:, 3]) * opened
    return surface.astype(np.float32)


def _pattern(name: str, irises: bool) -> int:
    if name == "eye" and irises:
        return IRIS
    return STRANDS if name == "hair" else PLAIN


def _local(
    faces: np.ndarray, template: np.ndarray, parts: np.ndarray, names: Sequence[str], eye_local: np.ndarray | None
) -> np.ndarray:
    """Return what `Mesh.local` holds, [V, 3] float32."""
    local = np.zeros_like(template)
    hair = np.unique(faces[np.isin(parts, [i for i, name in enumerate(names) if name == "hair"])])
    if len(hair):
        local[hair] = template[hair] - (template[hair].min(axis=0) + template[hair].max(axis=0)) / 2
    if eye_local is not None:
        eyes = np.any(eye_local != 0, axis=1)
        local[eyes] = eye_local[eyes]
    return local


def _cover(faces: np.ndarray, template: np.ndarray, opacities: np.ndarray) -> np.ndarray:
    """Return what `Mesh.cover` holds, [V] float32: lashes fade from their roots to their tips.

    opacities: [F] of the faces' materials. Roots are where a veil comes nearest to the opaque faces.
    """
    cover = np.ones(len(template), np.float32)
    veil, solid = np.unique(faces[opacities < 1]), np.unique(faces[opacities == 1])
    if len(veil) == 0 or len(solid) == 0:
        return cover
    places, tips = template[solid].astype(np.float64), template[veil].astype(np.float64)
    nearest = solid[((places**2).sum(axis=1) - tips @ (2 * places.T)).argmin(axis=1)]
    reach = np.sqrt(((template[nearest] - template[veil]) ** 2).sum(axis=1))
    at = np.zeros(len(template))
    at[veil] = np.clip(reach / max(np.quantile(reach, 0.9), 1e-9), 0, 1)
    opacity = np.ones(len(template))
    opacity[faces[opacities < 1]] = opacities[opacities < 1, None]
    cover[:] = opacity * (1 - at**2)
    return cover


def _incidence(
    faces: np.ndarray, template: np.ndarray, parts: np.ndarray, names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return `(first [V + 1], face_of)`: the faces that make up the normal of each vertex.

    These are the faces at every vertex that coincides with it in the template on the same surface.
    """
    vertices = len(template)
    surfaces = [SURFACES.get(name, name) for name in names]
    labels = np.array([surfaces.index(surface) for surface in surfaces])
    where = np.zeros((vertices, 4), np.int64)
    where[:, :3] = np.round(np.nan_to_num(template) / _WELD)
    where[faces.ravel(), 3] = np.repeat(labels[parts], 3)
    _, group = np.unique(where, axis=0, return_inverse=True)
    group = group.reshape(vertices)
    corner_group = group[faces.ravel()]
    order = np.argsort(corner_group, kind="stable")
    start = np.searchsorted(corner_group[order], np.arange(vertices + 1))
    counts = start[group + 1] - start[group]
    first = np.concatenate([[0], np.cumsum(counts)])
    at = np.arange(first[-1]) - np.repeat(first[:-1] - start[group], counts)
    return first, (order[at] // 3).astype(np.int32)
