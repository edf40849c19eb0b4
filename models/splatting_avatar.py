"""SplattingAvatar as a value: Gaussians glued to a triangle mesh, and how they follow it, once, readable.

For numpy arrays and torch tensors alike (the array API), in the precision of the vertices that are handed over. No
scatter: what a vertex gets from its faces is gathered through an incidence table and summed. N is the number of
Gaussians, V of vertices, F of faces. Frame and unit are the mesh's: FLAME's axes (x to the person's left, y up, z
to the front), 4 units a metre for published avatars. Quaternions are w, x, y, z.

Source: reference/splatting_avatar/SPEC.md, section 3, bug for bug; the fast CPU form is `splatting_numba`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace

from marotte.errors import MarotteError
from marotte.models.spherical_harmonics import DEGREE_OF, sh_colours

# Square units of the mesh. FLAME's faces are near 2e-4 at 4 units a metre, so it is no mere guard against zero.
AREA_DAMPING = 1e-4
# The published floors of lengths in divisions: of sums over a vertex's faces, and of single vectors.
VERTEX_FLOOR, VECTOR_FLOOR = 1e-6, 1e-12
# Of the largest component of a face's quaternion, in the published conversion from a matrix.
QUAT_FLOOR = 0.1
# Faces at one vertex that the incidence table takes; FLAME's most is near ten.
_MOST_FACES_AT_VERTEX = 1024


class Rest(NamedTuple):
    """The canonical mesh's face frames [F, 3, 3], axes in columns, and face areas [F]."""

    frames: Any
    areas: Any


class Driven(NamedTuple):
    """The avatar on one posed mesh, with what led to it.

    vertex_normals: [V, 3]; face_turns: [F, 3, 3] from the canonical mesh to the posed one; face_quats_wxyz: [F, 4];
    vertex_quats_wxyz: [V, 4] unit where faces agree; area_ratios: [F] damped, posed by canonical; base_points and
    base_normals: [N, 3] on the mesh; base_quats_wxyz: [N, 4], not normalised; means: [N, 3]; quats_wxyz: [N, 4]
    unit, w >= 0; scales: [N, 3] standard deviations.
    """

    vertex_normals: Any
    face_turns: Any
    face_quats_wxyz: Any
    vertex_quats_wxyz: Any
    area_ratios: Any
    base_points: Any
    base_normals: Any
    base_quats_wxyz: Any
    means: Any
    quats_wxyz: Any
    scales: Any


@dataclass(frozen=True, eq=False)
class SplattingAvatar:
    """N Gaussians on a mesh of V vertices and F faces; floats are float32, indices int32.

    face_ids: [N] the face that each sits on; bary: [N, 3] its weights there, as stored: not clamped, not made to sum
    to 1; uvd: [N, 3] published `_xyz`: the offset along the normal in its last column, training's residue in the
    others, or the very centres where `xyz_as_uvd` is off; rotations_wxyz: [N, 4] any length and sign; log_scales:
    [N, 3]; opacity_logits: [N]; sh: [N, K, 3], K = 1, 4, 9 or 16 coefficients a channel; canonical: [V, 3];
    faces: [F, 3]; xyz_as_uvd: the centres follow the mesh; with_mesh_scaling: the scales follow the faces' areas;
    colours_outside: published `convert_SHs_python`: colours are computed here, turned with the mesh, not by the
    rasterizer; positive_w: face quaternions have w >= 0, as pytorch3d has it since 0.7.6; off, their largest
    component is positive, for avatars trained with an older one.

    Raises MarotteError where shapes, counts or indices disagree or a number is not finite.
    """

    face_ids: Any
    bary: Any
    uvd: Any
    rotations_wxyz: Any
    log_scales: Any
    opacity_logits: Any
    sh: Any
    canonical: Any
    faces: Any
    xyz_as_uvd: bool = True
    with_mesh_scaling: bool = True
    colours_outside: bool = False
    positive_w: bool = True

    def __post_init__(self) -> None:
        count, corners = self.face_ids.shape[0], self.faces.shape[0]
        coefficients = self.sh.shape[1] if len(self.sh.shape) == 3 else 0
        if coefficients not in DEGREE_OF:
            raise MarotteError(
                f"splatting avatar has {coefficients} colour coefficients a channel: expected 1, 4, 9 or 16 "
                "(SH degree 0, 1, 2 or 3)"
            )
        expected: dict[str, Sequence[int]] = {
            "face_ids": (count,),
            "bary": (count, 3),
            "uvd": (count, 3),
            "rotations_wxyz": (count, 4),
            "log_scales": (count, 3),
            "opacity_logits": (count,),
            "sh": (count, coefficients, 3),
            "canonical": (self.canonical.shape[0], 3),
            "faces": (corners, 3),
        }
        for name, shape in expected.items():
            array = getattr(self, name)
            if tuple(array.shape) != tuple(shape):
                raise MarotteError(
                    f"splatting avatar {name} has shape {list(array.shape)}, expected {list(shape)}: it belongs to "
                    "another avatar"
                )
            xp = array_namespace(array)
            if xp.isdtype(array.dtype, "real floating") and not bool(xp.all(xp.isfinite(array))):
                raise MarotteError(
                    f"splatting avatar {name} has {_not_finite(array)} numbers that are NaN or infinite: "
                    "its training went wrong or the file is damaged; export it again"
                )
        if not count:
            raise MarotteError("splatting avatar has no Gaussians: export it again")
        _in_range("face_ids", self.face_ids, corners, "faces")
        _in_range("faces", self.faces, self.canonical.shape[0], "vertices")

    def __len__(self) -> int:
        return self.face_ids.shape[0]

    @property
    def sh_degree(self) -> int:
        """Degree of the colours: 0 does not depend on the view."""
        return DEGREE_OF[self.sh.shape[1]]

    @cached_property
    def opacities(self) -> Any:
        """[N] in 0..1."""
        xp = array_namespace(self.opacity_logits)
        # By |x|, so that no exponential overflows.
        small = xp.exp(-xp.abs(self.opacity_logits))
        return xp.where(self.opacity_logits < 0, small, xp.ones_like(small)) / (1 + small)

    @cached_property
    def rest(self) -> Rest:
        """Frames and areas of the canonical mesh's faces; they do not change with the pose."""
        xp = array_namespace(self.canonical)
        edge, cross = _edge_and_cross(xp, self.canonical, self.faces)
        return Rest(_frames(xp, edge, cross), _length(xp, cross) / 2)

    @cached_property
    def incidence(self) -> Any:
        """[V, D] int32: the faces at each vertex; F, one past the last, fills the rows up."""
        table = _incidence(np.asarray(_on_host(self.faces)), self.canonical.shape[0])
        return array_namespace(self.faces).asarray(table, device=self.faces.device)

    def like(self, array: Any) -> "SplattingAvatar":
        """Return this avatar with its arrays in the library, and on the device, of `array` (a torch tensor, say)."""
        xp = array_namespace(array)
        moved = {
            f.name: xp.asarray(np.array(value), device=array.device)
            for f in fields(self)
            if not isinstance(value := getattr(self, f.name), bool)
        }
        return replace(self, **moved)

    def drive(self, vertices: Any) -> Driven:
        """Return the avatar on a posed mesh [V, 3]; opacities and colour coefficients do not change with it.

        Raises MarotteError where the mesh has another number of vertices.
        """
        check_mesh(vertices, self.canonical.shape[0])
        xp = array_namespace(vertices)
        edge, cross = _edge_and_cross(xp, vertices, self.faces)
        # The cross product is as long as twice the area, so larger faces weigh more.
        vertex_normals = unit(xp, self._summed(xp, cross), VERTEX_FLOOR)
        turns = xp.matmul(_frames(xp, edge, cross), xp.astype(self.rest.frames, vertices.dtype).mT)
        face_quats = matrix_to_face_quat_wxyz(turns, self.positive_w)
        # A quirk: neighbours' quaternions are summed as they are. Where the sign rule splits them, near half a turn
        # from the canonical mesh, they cancel, and the rotations there are poor. Trained avatars expect it.
        weights = self.rest.areas[:, None]
        vertex_quats = unit(xp, self._summed(xp, weights * face_quats), VERTEX_FLOOR)
        # The damping weighs small faces' ratios towards 1.
        ratios = (_length(xp, cross) / 2 + AREA_DAMPING) / (self.rest.areas + AREA_DAMPING)

        corners = take(xp, self.faces, self.face_ids)
        base_points = self._blended(xp, vertices, corners)
        base_normals = unit(xp, self._blended(xp, vertex_normals, corners), VECTOR_FLOOR)
        base_quats = self._blended(xp, vertex_quats, corners)
        # A quirk: the first two columns of uvd are residue and unused. Without uvd the centres do not follow the
        # mesh at all, while rotations and scales still do.
        means = base_points + self.uvd[:, 2:] * base_normals if self.xyz_as_uvd else self.uvd
        turned = hamilton_product(base_quats, self.rotations_wxyz)
        quats = unit(xp, xp.where(turned[:, :1] < 0, -turned, turned), VECTOR_FLOOR)
        # A quirk: the area's ratio is inside the exponential, so a face that grows makes its Gaussians smaller
        # (log scales are mostly negative). Trained avatars expect it.
        ratio = take(xp, ratios, self.face_ids)[:, None]
        scales = xp.exp(self.log_scales * ratio if self.with_mesh_scaling else self.log_scales)
        return Driven(
            vertex_normals,
            turns,
            face_quats,
            vertex_quats,
            ratios,
            base_points,
            base_normals,
            base_quats,
            means,
            quats,
            scales,
        )

    def colours(self, driven: Driven, camera_centre: Any, turned: bool = True) -> Any:
        """Return the colours [N, 3] seen from a camera centre [3], at least 0, for `colours_outside`.

        The view's direction is turned back with the mesh, by the base quaternion alone, before the harmonics are
        evaluated. turned: off, as in the published model's second method, which rendering does not use.
        """
        xp = array_namespace(driven.means)
        away = unit(xp, driven.means - camera_centre, VECTOR_FLOOR)
        if turned:
            away = rotate_back(unit(xp, driven.base_quats_wxyz, VECTOR_FLOOR), away)
        return sh_colours(self.sh, away)

    def _summed(self, xp: Any, per_face: Any) -> Any:
        """Return [V, C]: for each vertex the sum of its faces' rows [F, C]."""
        rows = xp.concat([per_face, xp.zeros_like(per_face[:1])], axis=0)
        return xp.sum(take(xp, rows, self.incidence), axis=1)

    def _blended(self, xp: Any, per_vertex: Any, corners: Any) -> Any:
        """Return [N, C]: rows [V, C] of the Gaussians' corners [N, 3], weighted."""
        return xp.sum(take(xp, per_vertex, corners) * self.bary[:, :, None], axis=1)


def matrix_to_face_quat_wxyz(matrices: Any, positive_w: bool = True) -> Any:
    """Return quaternions [..., 4] (w, x, y, z) of rotation matrices [..., 3, 3], pytorch3d's way.

    Not `rotations.matrix_to_quat_wxyz`: the result is not normalised, the divisor is floored at 2 * 0.1, and the
    sign rule depends on the version: w >= 0 since 0.7.6, before that the largest component was positive.
    """
    xp = array_namespace(matrices)
    m = [[matrices[..., i, j] for j in range(3)] for i in range(3)]
    squares = (
        1 + m[0][0] + m[1][1] + m[2][2],
        1 + m[0][0] - m[1][1] - m[2][2],
        1 - m[0][0] + m[1][1] - m[2][2],
        1 - m[0][0] - m[1][1] + m[2][2],
    )
    doubled = [xp.sqrt(xp.where(square > 0, square, xp.zeros_like(square))) for square in squares]
    a, b, c = m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1]
    xy, xz, yz = m[1][0] + m[0][1], m[0][2] + m[2][0], m[1][2] + m[2][1]
    # Each row is the quaternion times twice its own component of `doubled`; the largest one is taken, the first
    # on ties.
    rows = ((None, a, b, c), (a, None, xy, xz), (b, xy, None, yz), (c, xz, yz, None))
    best, size = None, doubled[0]
    for i, row in enumerate(rows):
        candidate = xp.stack([doubled[i] ** 2 if entry is None else entry for entry in row], axis=-1)
        larger = doubled[i] > size
        best = candidate if best is None else xp.where(larger[..., None], candidate, best)
        size = xp.where(larger, doubled[i], size)
    quats = best / (2 * xp.where(size < QUAT_FLOOR, xp.full_like(size, QUAT_FLOOR), size))[..., None]
    return xp.where(quats[..., :1] < 0, -quats, quats) if positive_w else quats


def hamilton_product(left_wxyz: Any, right_wxyz: Any) -> Any:
    """Return the quaternions [..., 4] that turn by `right` first, then by `left`."""
    xp = array_namespace(left_wxyz, right_wxyz)
    a, b, c, d = (left_wxyz[..., i] for i in range(4))
    e, f, g, h = (right_wxyz[..., i] for i in range(4))
    return xp.stack(
        [
            a * e - b * f - c * g - d * h,
            a * f + b * e + c * h - d * g,
            a * g - b * h + c * e + d * f,
            a * h + b * g - c * f + d * e,
        ],
        axis=-1,
    )


def rotate_back(quats_wxyz: Any, vectors: Any) -> Any:
    """Return vectors [..., 3] turned by the inverse of unit quaternions [..., 4]."""
    xp = array_namespace(quats_wxyz, vectors)
    zero = xp.zeros_like(vectors[..., :1])
    sign = xp.asarray([1.0, -1.0, -1.0, -1.0], dtype=quats_wxyz.dtype, device=quats_wxyz.device)
    there = hamilton_product(quats_wxyz * sign, xp.concat([zero, vectors], axis=-1))
    return hamilton_product(there, quats_wxyz)[..., 1:]


def unit(xp: Any, vectors: Any, least: float) -> Any:
    """Return vectors [..., C] over their length, which is taken as `least` where it is less."""
    length = xp.linalg.vector_norm(vectors, axis=-1)[..., None]
    return vectors / xp.where(length < least, xp.full_like(length, least), length)


def take(xp: Any, rows: Any, indices: Any) -> Any:
    """Return rows [R, ...] at indices of any shape: [*indices.shape, ...]."""
    flat = xp.take(rows, xp.reshape(indices, (-1,)), axis=0)
    return xp.reshape(flat, (*indices.shape, *rows.shape[1:]))


def check_mesh(vertices: Any, count: int) -> None:
    """Raise MarotteError where a mesh is not of `count` vertices [V, 3]."""
    if tuple(vertices.shape) != (count, 3):
        raise MarotteError(
            f"the mesh has shape {list(vertices.shape)}, but the avatar's canonical mesh has {count} vertices: "
            "drive it with the head model that it was trained on"
        )


def _edge_and_cross(xp: Any, vertices: Any, faces: Any) -> tuple[Any, Any]:
    """Return the first edge [F, 3] and the outward normal [F, 3], as long as twice the area, of each face."""
    # The axis of every product is named: the published code leaves it out and so goes wrong for exactly 3 faces.
    corners = take(xp, vertices, faces)
    edge, other = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return edge, xp.linalg.cross(edge, other, axis=-1)


def _frames(xp: Any, edge: Any, cross: Any) -> Any:
    """Return a frame [F, 3, 3] on each face, axes in columns: across its first edge, inward, along that edge.

    Edges of no length or faces of no area give zero columns, and a turn that is no rotation.
    """
    normal = unit(xp, cross, VECTOR_FLOOR)
    across = unit(xp, xp.linalg.cross(edge, normal, axis=-1), VECTOR_FLOOR)
    return xp.stack([across, -normal, unit(xp, edge, VECTOR_FLOOR)], axis=-1)


def _length(xp: Any, vectors: Any) -> Any:
    return xp.linalg.vector_norm(vectors, axis=-1)


def _incidence(faces: np.ndarray, count: int) -> np.ndarray:
    """Return [V, D] int32, the faces [F, 3] at each of `count` vertices, filled up with F."""
    corners = faces.reshape(-1)
    order = np.argsort(corners, kind="stable")
    valence = np.bincount(corners, minlength=count)
    width = int(valence.max(initial=1))
    if width > _MOST_FACES_AT_VERTEX:
        raise MarotteError(
            f"vertex {int(valence.argmax())} of the canonical mesh belongs to {width} faces, at most "
            f"{_MOST_FACES_AT_VERTEX} are taken here: drive it with splatting_numba, or mend the mesh"
        )
    table = np.full((count, width), len(faces), np.int32)
    column = np.arange(len(corners)) - np.repeat(np.cumsum(valence) - valence, valence)
    table[corners[order], column] = order // 3
    return table


def _on_host(array: Any) -> Any:
    return array.cpu() if hasattr(array, "cpu") else array


def _not_finite(array: Any) -> int:
    xp = array_namespace(array)
    return int(xp.sum(xp.astype(~xp.isfinite(array), xp.int64)))


def _in_range(name: str, indices: Any, count: int, what: str) -> None:
    if 0 in indices.shape:
        return
    xp = array_namespace(indices)
    low, high = int(xp.min(indices)), int(xp.max(indices))
    if low < 0 or high >= count:
        raise MarotteError(
            f"splatting avatar {name} names {low} to {high}, but there are {count} {what}: it belongs to another mesh"
        )
