"""FLAME's computation, once, readable: shape, joints, pose offsets, linear blend skinning.

For numpy arrays and torch tensors alike (the array API). Frame: FLAME's (x to the person's left, y up, z to the
front), metres unless the model was scaled. B is the batch, V the vertices. Joints: 0 root, 1 neck, 2 jaw,
3 and 4 the eyeballs. Source: reference/flame/SPEC.md, section 2; the fast CPU form is `flame_numba`.
"""

from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace

JOINTS = 5


@dataclass(frozen=True, eq=False)
class Posed:
    """A posed head and what led to it.

    shaped: [B, V, 3] template with identity and expression; joints: [B, 5, 3] before, joints_posed: [B, 5, 3]
    after the pose; rotations: [B, 5, 3, 3]; pose_feature: [B, 36]; pose_offsets: [B, V, 3];
    transforms: [B, 5, 4, 4] from the shaped head to the posed one, one for each joint; vertices: [B, V, 3].
    """

    shaped: Any
    joints: Any
    rotations: Any
    pose_feature: Any
    pose_offsets: Any
    joints_posed: Any
    transforms: Any
    vertices: Any


def displace(directions: Any, coefficients: Any) -> Any:
    """Return [B, V, 3], the sum of directions [V, 3, K] weighted by coefficients [B, K]."""
    xp = array_namespace(directions, coefficients)
    vertices, axes, width = directions.shape
    flat = xp.reshape(directions, (vertices * axes, width))
    return xp.reshape(xp.matmul(coefficients, flat.T), (coefficients.shape[0], vertices, axes))


def pose_feature(rotations: Any) -> Any:
    """Return [B, 36]: how far the rotations [B, 5, 3, 3] are from none, row by row, without the root's."""
    xp = array_namespace(rotations)
    identity = xp.eye(3, dtype=rotations.dtype, device=rotations.device)
    return xp.reshape(rotations[:, 1:] - identity, (rotations.shape[0], 9 * (JOINTS - 1)))


def joint_transforms(rotations: Any, joints: Any, parents: tuple[int, ...]) -> tuple[Any, Any]:
    """Return the posed joints [B, 5, 3] and the skinning transforms [B, 5, 4, 4].

    rotations: [B, 5, 3, 3], each in its parent's frame; joints: [B, 5, 3] before the pose;
    parents: each joint's parent, the root's is -1. The root turns about joint 0, not about the origin.
    """
    xp = array_namespace(rotations, joints)
    turned, placed = [rotations[:, 0]], [joints[:, 0]]
    for joint in range(1, JOINTS):
        parent = parents[joint]
        bone = joints[:, joint] - joints[:, parent]
        turned.append(xp.matmul(turned[parent], rotations[:, joint]))
        placed.append(placed[parent] + _turn(xp, turned[parent], bone))
    chain, joints_posed = xp.stack(turned, axis=1), xp.stack(placed, axis=1)
    shift = joints_posed - _turn(xp, chain, joints)
    last = xp.zeros_like(rotations[..., :1, :])
    corner = xp.ones_like(rotations[..., :1, :1])
    upper = xp.concat([chain, shift[..., None]], axis=-1)
    return joints_posed, xp.concat([upper, xp.concat([last, corner], axis=-1)], axis=-2)


def skin(vertices: Any, transforms: Any, weights: Any) -> Any:
    """Return [B, V, 3], the vertices [B, V, 3] moved by transforms [B, 5, 4, 4] mixed by weights [V, 5]."""
    xp = array_namespace(vertices, transforms, weights)
    batch, joints = transforms.shape[:2]
    mixed = xp.matmul(weights, xp.reshape(transforms[..., :3, :], (batch, joints, 12)))
    mixed = xp.reshape(mixed, (batch, weights.shape[0], 3, 4))
    return _turn(xp, mixed[..., :3], vertices) + mixed[..., 3]


def pose(
    shaped: Any, rotations: Any, *, joint_regressor: Any, pose_dirs: Any, weights: Any, parents: tuple[int, ...]
) -> Posed:
    """Pose shaped heads.

    shaped: [B, V, 3]; rotations: [B, 5, 3, 3]; joint_regressor: [5, V]; pose_dirs: [V, 3, 36]; weights: [V, 5].
    The joints follow the expression as well as the identity, as the published code has it.
    """
    xp = array_namespace(shaped, rotations)
    joints = xp.matmul(joint_regressor, shaped)
    feature = pose_feature(rotations)
    offsets = displace(pose_dirs, feature)
    joints_posed, transforms = joint_transforms(rotations, joints, parents)
    vertices = skin(shaped + offsets, transforms, weights)
    return Posed(shaped, joints, rotations, feature, offsets, joints_posed, transforms, vertices)


def _turn(xp: Any, matrices: Any, vectors: Any) -> Any:
    """Return matrices [..., 3, 3] times column vectors [..., 3]."""
    return xp.matmul(matrices, vectors[..., None])[..., 0]
