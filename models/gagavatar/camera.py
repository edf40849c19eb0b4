"""Where the camera stands: PyTorch3D's [R | t] for row vectors, and what a splatting rasterizer is given of it.

`x_view = x_world R + t`; view axes are x left, y up, z into the scene. World units are FLAME's metres times 5. The
lens is always the same: 12 in NDC, centred. Everything takes B cameras and keeps the tensors' type.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from marotte.models.gagavatar.config import FOCAL_NDC
from marotte.models.rotations import rotvec_to_quat_wxyz

# Tangent of half the angle of view, both ways.
TAN_HALF_FOV = 1 / FOCAL_NDC
_NEAR, _FAR = 0.01, 100.0
# The encoding of a direction: sine and cosine at so many octaves for each axis, and the direction.
_OCTAVES = 4
DIRECTION_WIDTH = 3 * (2 * _OCTAVES + 1)


class RasterizerCamera(NamedTuple):
    """B cameras in the layout of the published rasterizer: matrices act on row vectors.

    view, projection: [B, 4, 4], of world to view (x right, y down) and of world to clip. position: [B, 3].
    """

    view: Tensor
    projection: Tensor
    position: Tensor


def head_rotation(rotvec: Tensor) -> Tensor:
    """Return R [B, 3, 3] of the camera that turns around a still head, of head rotations [B, 3] in radians."""
    w, x, y, z = rotvec_to_quat_wxyz(rotvec * rotvec.new_tensor([-1.0, 1.0, -1.0])).unbind(-1)
    # Not 2, so that the rounding of the quaternion's length does not show.
    two = 2 / (w * w + x * x + y * y + z * z)
    turn = torch.stack(
        [
            *(1 - two * (y * y + z * z), two * (x * y - w * z), two * (x * z + w * y)),
            *(two * (x * y + w * z), 1 - two * (x * x + z * z), two * (y * z - w * x)),
            *(two * (x * z - w * y), two * (y * z + w * x), 1 - two * (x * x + y * y)),
        ],
        dim=-1,
    ).unflatten(-1, (3, 3))
    # The inverse of turn times the camera that faces the head.
    return turn.transpose(-1, -2) * rotvec.new_tensor([[-1.0], [1.0], [-1.0]])


def driven_transform(rotvec: Tensor, translation: Tensor) -> Tensor:
    """Return [R | t] [B, 3, 4] of head rotations [B, 3] in radians.

    translation: [B, 3] or [3], the last column of the identity's own transform. Its rotation is not used: a quirk.
    The published code flips signs in the caller's rotations; here nothing is changed in place.
    """
    rotation = head_rotation(rotvec)
    return torch.cat([rotation, translation.expand(len(rotation), 3)[..., None]], dim=-1)


def rasterizer_camera(transform: Tensor) -> RasterizerCamera:
    """Return what the rasterizer is given of transforms [B, 3, 4]; with it goes TAN_HALF_FOV both ways."""
    # A quirk of notation: the axes are turned to x right, y down by negating columns, the translation's row included.
    axes = transform.new_tensor([-1.0, -1.0, 1.0])
    view = torch.zeros(len(transform), 4, 4, dtype=transform.dtype, device=transform.device)
    view[:, :3, :3] = transform[:, :, :3] * axes
    view[:, 3, :3] = transform[:, :, 3] * axes
    view[:, 3, 3] = 1
    x, y, depth, one = view.unbind(dim=-1)
    clip_depth = (depth - _NEAR * one) * (_FAR / (_FAR - _NEAR))
    projection = torch.stack([FOCAL_NDC * x, FOCAL_NDC * y, clip_depth, depth], dim=-1)
    # A quirk: the position is t itself, not the camera's centre. No colour depends on it.
    return RasterizerCamera(view, projection, transform[:, :, 3].clone())


def plane_points(transform: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return the points [B, size x size, 3] of the image plane through the world's origin, and its normals [B, 3].

    Points are row by row from the top left as the camera sees them; the normal is the camera's direction of view. A
    quirk: the outermost points lie at the very edge of the picture, not at the centres of its outermost pixels.
    """
    rotation, translation = transform[:, :, :3], transform[:, :, 3]
    centre = -(rotation * translation[:, None]).sum(dim=-1)
    normal = rotation[:, :, 2]
    distance = (centre * normal).sum(dim=-1).abs()
    edge = torch.linspace(1, -1, size, dtype=transform.dtype, device=transform.device) / FOCAL_NDC
    down, across = torch.meshgrid(edge, edge, indexing="ij")
    right, up, ahead = rotation[:, None].unbind(dim=-1)
    rays = across.reshape(-1, 1) * right + down.reshape(-1, 1) * up + ahead
    return centre[:, None] + distance[:, None, None] * rays, normal


def encode_direction(direction: Tensor) -> Tensor:
    """Return the encoding [B, 27] of directions [B, 3]: 12 sines (4 octaves of x, of y, of z), 12 cosines, x, y, z."""
    octaves = 2.0 ** torch.arange(_OCTAVES, dtype=direction.dtype, device=direction.device)
    angles = (direction[..., None] * octaves).flatten(-2)
    # A quirk: cosines are sines of a shifted angle, in the tensor's own precision.
    return torch.cat([angles.sin(), (angles + math.pi / 2).sin(), direction], dim=-1)
