"""Gaussians on their way into an avatar: sheets that cover a surface and strands that lie on it."""

from dataclasses import dataclass, fields

import numpy as np
from splat_head import Head, Points, step, unit
from splat_place import REACH, rotations
from splat_regions import from_neckline

from marotte.models.splatting_avatar import SplattingAvatar

PARTS = ("skin", "lips", "mouth", "eye", "teeth", "tongue", "lashes", "hair", "cloth", "brows")
C0 = 0.28209479177387814  # of the first spherical harmonic
CLOTH_REACH = 0.68
FLAT = 0.10  # thickness of a sheet's Gaussians over their breadth


@dataclass(frozen=True, eq=False)
class Layer:
    """N Gaussians: on the surface, `lift` [N] metres off it along the normal.

    quats: [N, 4] (w, x, y, z); scales: [N, 3] standard deviations in metres; opacity: [N]; colour: [N, 3] sRGB 0..1;
    part: [N] indices of `PARTS`.
    """

    faces: np.ndarray
    bary: np.ndarray
    lift: np.ndarray
    quats: np.ndarray
    scales: np.ndarray
    opacity: np.ndarray
    colour: np.ndarray
    part: np.ndarray

    def __len__(self) -> int:
        return len(self.faces)


def joined(layers: list[Layer]) -> Layer:
    """All layers in one."""
    return Layer(*(np.concatenate([getattr(layer, f.name) for layer in layers]) for f in fields(Layer)))


def sheet(
    head: Head,
    where: Points,
    distance: np.ndarray,
    ellipses: tuple[np.ndarray, np.ndarray],
    colour: np.ndarray,
    opacity: np.ndarray,
    lift: np.ndarray,
) -> Layer:
    """Flat Gaussians that cover the surface between neighbours at a `distance` [N]."""
    axes, extents = ellipses[0][where.faces], ellipses[1][where.faces]
    cloth = head.material[where.faces] == "cloth"
    # Cloth does not stretch, and its outline shows far from the face.
    sizes = np.where(cloth, CLOTH_REACH, REACH)[:, None] * distance[:, None] * extents
    # Small ones along the shirt's edge do not reach far over it.
    edge = step(0.0, 0.004, from_neckline(head, head.at(head.points, where)))
    sizes = np.where(cloth[:, None], sizes * (0.55 + 0.45 * edge)[:, None], sizes)
    thin = FLAT * sizes.min(1, keepdims=True)
    part = np.array([PARTS.index(str(name)) for name in head.material[where.faces]])
    return Layer(
        where.faces,
        where.bary,
        lift,
        rotations(axes[:, 0], head.normals_at(where)),
        np.concatenate([sizes, thin], axis=1),
        opacity,
        colour,
        part,
    )


def strands(
    head: Head,
    where: Points,
    along: np.ndarray,
    sizes: np.ndarray,
    colour: np.ndarray,
    opacity: np.ndarray,
    lift: np.ndarray,
    part: str,
) -> Layer:
    """Long Gaussians along world directions [N, 3], which may leave the surface; sizes: [N, 2] along and across."""
    normal = head.normals_at(where)
    along = unit(along)
    across = unit(np.cross(normal, along))
    scales = np.stack([sizes[:, 0], sizes[:, 1], 0.6 * sizes[:, 1]], axis=1)
    return Layer(
        where.faces,
        where.bary,
        lift,
        rotations(along, np.cross(along, across)),
        scales,
        opacity,
        colour,
        np.full(len(where.faces), PARTS.index(part)),
    )


def as_avatar(head: Head, layer: Layer) -> SplattingAvatar:
    """The avatar that the Gaussians make on the head's own mesh.

    Scales do not follow the faces' areas: the published rule shrinks the Gaussians of a face that grows.
    """
    opacity = np.clip(layer.opacity, 0.002, 0.999)
    uvd = np.zeros((len(layer), 3), np.float32)
    uvd[:, 2] = layer.lift
    return SplattingAvatar(
        face_ids=layer.faces.astype(np.int32),
        bary=layer.bary.astype(np.float32),
        uvd=uvd,
        rotations_wxyz=layer.quats.astype(np.float32),
        log_scales=np.log(layer.scales).astype(np.float32),
        opacity_logits=np.log(opacity / (1 - opacity)).astype(np.float32),
        sh=((layer.colour - 0.5) / C0).astype(np.float32)[:, None, :],
        canonical=head.points.astype(np.float32),
        faces=head.faces.astype(np.int32),
        with_mesh_scaling=False,
    )
