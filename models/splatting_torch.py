"""SplattingAvatar's Gaussians on a torch device, many frames at once. The readable twin is `splatting_avatar`.

No scatter: a vertex gathers from its faces, so the sums have one order and the result is the same every time. Few
kernels, and none that waits for the host, so that a CUDA graph can hold them. Faces and vertices are worked out in
float64 and rounded once, Gaussians in float32, in planes [B, N] that are read and written side by side.
"""

from typing import NamedTuple

import numpy as np
import torch

from marotte.errors import MarotteError
from marotte.models.spherical_harmonics import sh_basis
from marotte.models.splatting_avatar import (
    AREA_DAMPING,
    VECTOR_FLOOR,
    VERTEX_FLOOR,
    SplattingAvatar,
    matrix_to_face_quat_wxyz,
)

Planes = tuple[torch.Tensor, ...]


class TorchSplatted(NamedTuple):
    """Gaussians of B frames, float32 and contiguous.

    means: [B, N, 3]; quats_wxyz: [B, N, 4] unit; scales: [B, N, 3] standard deviations, [N, 3] where they do not
    follow the mesh; colours: [B, N, 3], at least 0, where the avatar wants them computed outside the rasterizer,
    else None.
    """

    means: torch.Tensor
    quats_wxyz: torch.Tensor
    scales: torch.Tensor
    colours: torch.Tensor | None


class TorchSplats:
    """One avatar on a torch device, ready to be driven many times; what `SplattingEvaluator` is on the CPU.

    avatar: a SplattingAvatar on numpy. `opacities` [N] and `sh` [N, K, 3] do not change with the mesh.
    """

    def __init__(self, avatar: SplattingAvatar, device: torch.device | str = "cpu") -> None:
        self.avatar = avatar

        def moved(array: np.ndarray, dtype: type = np.float32) -> torch.Tensor:
            return torch.from_numpy(np.array(array, dtype, order="C")).to(device)

        self.opacities, self.sh = moved(avatar.opacities), moved(avatar.sh)
        faces = np.asarray(avatar.faces)
        self._corners = [moved(faces[:, i], np.int64) for i in range(3)]
        self._at_vertex = [moved(column, np.int64) for column in np.asarray(avatar.incidence).T]
        self._face_ids = moved(avatar.face_ids, np.int64)
        self._corner_ids = [moved(faces[avatar.face_ids, i], np.int64) for i in range(3)]
        self._bary = [moved(avatar.bary[:, i]) for i in range(3)]
        self._rotations = tuple(moved(avatar.rotations_wxyz[:, i]) for i in range(4))
        self._uvd, self._away = moved(avatar.uvd), moved(avatar.uvd[:, 2])
        self._log_scales = moved(avatar.log_scales)
        self._scales = torch.exp(self._log_scales)
        self._frames, _, doubled = self._face_frames(moved(avatar.canonical, np.float64)[None])
        self._areas = doubled / 2

    def drive(self, vertices: torch.Tensor, camera_centres: torch.Tensor | None = None) -> TorchSplatted:
        """Return the Gaussians on posed meshes [B, V, 3].

        camera_centres: [B, 3] in the mesh's frame and unit, needed where the avatar's colours are computed here.
        Raises MarotteError where the meshes have another number of vertices.
        """
        avatar, frames, count = self.avatar, vertices.shape[0], len(self.avatar.canonical)
        if tuple(vertices.shape[1:]) != (count, 3):
            raise MarotteError(
                f"the meshes have shape {list(vertices.shape)}, but the avatar's canonical mesh has {count} vertices: "
                "drive it with the head model that it was trained on"
            )
        table, ratios = self._turn_mesh(vertices)
        base = table.index_select(2, self._corner_ids[0]) * self._bary[0]
        for ids, weight in zip(self._corner_ids[1:], self._bary[1:], strict=True):
            base = torch.addcmul(base, table.index_select(2, ids), weight)
        if avatar.xyz_as_uvd:
            normal = base[:, 3], base[:, 4], base[:, 5]
            away = self._away / _length(normal).clamp_min(VECTOR_FLOOR)
            means = torch.addcmul(base[:, :3], base[:, 3:6], away[:, None]).mT.contiguous()
        else:
            means = self._uvd.expand(frames, -1, -1).contiguous()
        quat = base[:, 6], base[:, 7], base[:, 8], base[:, 9]
        turned = _hamilton(quat, self._rotations)
        over = _length(turned).clamp_min(VECTOR_FLOOR).reciprocal()
        over = torch.where(turned[0] < 0, -over, over)
        quats = torch.stack([component * over for component in turned], dim=-1)
        scales = self._scales
        if avatar.with_mesh_scaling:
            # Inside the exponential: see the twin.
            scales = (self._log_scales * ratios.index_select(1, self._face_ids)[..., None]).exp_()
        colours = None
        if avatar.colours_outside:
            assert camera_centres is not None, "this avatar's colours depend on where the cameras are"
            colours = self._colours(means, quat, camera_centres)
        return TorchSplatted(means, quats, scales, colours)

    def _face_frames(self, vertices: torch.Tensor) -> tuple[Planes, torch.Tensor, torch.Tensor]:
        """Return the faces' axes, three of [B, F, 3], their normals [B, F, 3], and how long those are, [B, F, 1].

        The axes are across the first edge, outward (the twin's is inward: in a product of two frames the sign goes
        away), and along that edge. A normal is as long as twice the area.
        """
        a, b, c = (vertices.index_select(1, ids) for ids in self._corners)
        edge = b - a
        cross = torch.linalg.cross(edge, c - a)
        doubled = torch.linalg.vector_norm(cross, dim=-1, keepdim=True)
        normal = cross / doubled.clamp_min(VECTOR_FLOOR)
        across = _unit(torch.linalg.cross(edge, normal), VECTOR_FLOOR)
        return (across, normal, _unit(edge, VECTOR_FLOOR)), cross, doubled

    def _turn_mesh(self, vertices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the vertices' position, normal and quaternion, planes [B, 10, V], and the faces' ratios [B, F]."""
        vertices = vertices.double()
        frames, cross, doubled = self._face_frames(vertices)
        turns = frames[0][..., :, None] * self._frames[0][..., None, :]
        for axis, rest in zip(frames[1:], self._frames[1:], strict=True):
            turns = torch.addcmul(turns, axis[..., :, None], rest[..., None, :])
        quats = matrix_to_face_quat_wxyz(turns, self.avatar.positive_w)
        # A row of zeros past the last face is what fills the incidence table up.
        rows = torch.nn.functional.pad(torch.cat([cross, self._areas * quats], dim=-1), (0, 0, 0, 1))
        sums = rows.index_select(1, self._at_vertex[0])
        # Summed as they are, whatever their signs: see the twin.
        for faces in self._at_vertex[1:]:
            sums = sums + rows.index_select(1, faces)
        normals, vertex_quats = _unit(sums[..., :3], VERTEX_FLOOR), _unit(sums[..., 3:], VERTEX_FLOOR)
        table = torch.cat([vertices, normals, vertex_quats], dim=-1).mT.float().contiguous()
        ratios = (doubled / 2 + AREA_DAMPING) / (self._areas + AREA_DAMPING)
        return table, ratios[..., 0].float()

    def _colours(self, means: torch.Tensor, quat: Planes, camera_centres: torch.Tensor) -> torch.Tensor:
        """Return colours [B, N, 3]: the view's direction is turned back by the base quaternion, then looked up."""
        over = _length(quat).clamp_min(VECTOR_FLOOR).reciprocal()
        back = quat[0] * over, -quat[1] * over, -quat[2] * over, -quat[3] * over
        away = _unit(means - camera_centres[:, None], VECTOR_FLOOR)
        # d' = d + 2 (w g + v x g) with g = v x d, for the quaternion (w, v).
        axis = torch.stack(back[1:], dim=-1)
        across = torch.linalg.cross(axis, away)
        moved = torch.addcmul(torch.linalg.cross(axis, across), back[0][..., None], across)
        basis = sh_basis(torch.add(away, moved, alpha=2), self.sh.shape[1])
        colours = torch.full_like(means, 0.5)
        for k in range(self.sh.shape[1]):
            colours = torch.addcmul(colours, basis[..., k, None], self.sh[:, k])
        return colours.clamp_min(0)


def _length(planes: Planes) -> torch.Tensor:
    """Return the length of vectors whose components lie in planes of one shape."""
    total = planes[0] * planes[0]
    for plane in planes[1:]:
        total = torch.addcmul(total, plane, plane)
    return total.sqrt_()


def _unit(vectors: torch.Tensor, least: float) -> torch.Tensor:
    """Return vectors [..., C] over their length, which is taken as `least` where it is less."""
    return vectors / torch.linalg.vector_norm(vectors, dim=-1, keepdim=True).clamp_min(least)


def _hamilton(left: Planes, right: Planes) -> Planes:
    """Return the product of quaternions (w, x, y, z) in planes: by `right` first, then by `left`."""
    a, b, c, d = left
    e, f, g, h = right
    rows = (
        ((a, e, 1), (b, f, -1), (c, g, -1), (d, h, -1)),
        ((a, f, 1), (b, e, 1), (c, h, 1), (d, g, -1)),
        ((a, g, 1), (b, h, -1), (c, e, 1), (d, f, 1)),
        ((a, h, 1), (b, g, 1), (c, f, -1), (d, e, 1)),
    )
    out = []
    for (first, with_first, _), *others in rows:
        total = first * with_first
        for one, other, sign in others:
            total = torch.addcmul(total, one, other, value=sign)
        out.append(total)
    return tuple(out)
