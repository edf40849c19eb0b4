"""What identity, expression and pose make a head model's mesh: found by least squares from the mesh alone.

For fixed rotations FLAME's vertices are affine in identity and expression (the joints follow them linearly, and so do
the skinning transforms), so those columns of the Jacobian are exact; the fifteen numbers of the pose are differenced.
A canonical mesh comes with six decimals, which leaves next to nothing open: the residual says whether the head model
is the right one.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.models.flame import FlameModel
from marotte.models.flame_lbs import JOINTS, Posed, displace, joint_transforms, pose
from marotte.models.rotations import matrix_to_rotvec, rotvec_to_matrix

_STEPS = 30
# Radians by which the pose is differenced, in float64.
_NUDGE = 1e-6
# Of the normal equations' diagonal, and what stands for it where a column is zero: coefficients are of unit deviation.
_RIDGE, _FLOOR = 1e-12, 1e-12
# As many numbers of a mesh there must be for each that is looked for.
_LEAST_RATIO = 6
# A step that lessens the sum of squares by less than this part of it is the last.
_ENOUGH = 1e-7


@dataclass(frozen=True, eq=False)
class MeshFit:
    """What was found: shape [S], expression [E], full_pose [15]; distance: the worst vertex's, in the mesh's unit."""

    shape: np.ndarray
    expression: np.ndarray
    full_pose: np.ndarray
    distance: float


def fit_mesh(model: FlameModel, mesh: np.ndarray, unit: float, shape: np.ndarray | None = None) -> MeshFit:
    """Return identity, expression and pose that bring the head nearest to a mesh [V, 3].

    unit: mesh units per FLAME unit. shape: [S] where the identity is known and not to be looked for. Raises
    MarotteError where the mesh has too few vertices to say.
    """
    head = _precise(model, unit)
    known = 0 if shape is not None else head.shape_dirs.shape[-1]
    if shape is not None:
        head = head.baked(np.asarray(shape, np.float64), 1.0)
    directions = np.concatenate([head.shape_dirs, head.expression_dirs], axis=-1)
    count, width = len(head.v_template), directions.shape[-1]
    if 3 * count < _LEAST_RATIO * (width + 3 * JOINTS):
        raise MarotteError(
            f"a mesh of {count} vertices does not say the {width + 3 * JOINTS} numbers of a face: give --data or "
            "--identity and --data"
        )
    wanted = mesh.astype(np.float64)
    joint_columns = np.einsum("jv,vcl->ljc", head.joint_regressor, directions)
    values = np.concatenate([np.zeros(width), _stiff_pose(head, wanted)])
    vertices, transforms = _posed(head, directions, values)
    best, damping = float(((wanted - vertices) ** 2).sum()), 1e-6
    for _ in range(_STEPS):
        jacobian = _jacobian(head, directions, joint_columns, values, vertices, transforms)
        normal = jacobian.T @ jacobian
        right = jacobian.T @ (wanted - vertices).ravel()
        before = best
        while damping < 1e6:
            diagonal = np.diagonal(normal) * (_RIDGE + damping) + _FLOOR
            tried = values + np.linalg.solve(normal + np.diag(diagonal), right)
            vertices, transforms = _posed(head, directions, tried)
            squares = float(((wanted - vertices) ** 2).sum())
            if squares < best:
                values, best, damping = tried, squares, damping / 100
                break
            damping = max(damping, 1e-9) * 100
        if before - best < _ENOUGH * before:
            break
    vertices, _ = _posed(head, directions, values)
    return MeshFit(
        shape=np.asarray(values[:known] if shape is None else shape, np.float32),
        expression=values[known:width].astype(np.float32),
        full_pose=values[width:].astype(np.float32),
        distance=float(np.linalg.norm(wanted - vertices, axis=1).max()),
    )


def _precise(model: FlameModel, unit: float) -> FlameModel:
    """Return the head in float64 and in the mesh's unit, without what is not needed."""
    names = ("v_template", "shape_dirs", "expression_dirs", "pose_dirs")
    arrays: dict[str, Any] = {name: np.asarray(getattr(model, name), np.float64) * unit for name in names}
    arrays |= {name: np.asarray(getattr(model, name), np.float64) for name in ("joint_regressor", "skinning_weights")}
    return replace(model, **arrays, landmarks=None, masks={}, eyelid_fields=None, render={})


def _stiff_pose(head: FlameModel, mesh: np.ndarray) -> np.ndarray:
    """Return the pose [15] that turns the head at rest as a whole, about the root's joint, as the mesh is turned."""
    rest, there = (points - points.mean(axis=0) for points in (head.v_template, mesh))
    u, _, vt = np.linalg.svd(there.T @ rest)
    turn = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    return np.concatenate([matrix_to_rotvec(turn), np.zeros(3 * (JOINTS - 1))])


def _posed(head: FlameModel, directions: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return vertices [V, 3] and skinning transforms [5, 4, 4]."""
    width = directions.shape[-1]
    done = _poses(head, _shaped(head, directions, values[:width]), values[None, width:])
    return done.vertices[0], done.transforms[0]


def _shaped(head: FlameModel, directions: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """Return vertices [V, 3] before the pose."""
    shaped: np.ndarray = head.v_template + displace(directions, coefficients[None])[0]
    return shaped


def _poses(head: FlameModel, shaped: np.ndarray, poses: np.ndarray) -> Posed:
    """Return a shaped head [V, 3] in each of N poses [N, 15]."""
    return pose(
        np.broadcast_to(shaped, (len(poses), *shaped.shape)),
        rotvec_to_matrix(poses.reshape(-1, JOINTS, 3)),
        joint_regressor=head.joint_regressor,
        pose_dirs=head.pose_dirs,
        weights=head.skinning_weights,
        parents=head.parents,
    )


def _jacobian(
    head: FlameModel,
    directions: np.ndarray,
    joint_columns: np.ndarray,
    values: np.ndarray,
    vertices: np.ndarray,
    transforms: np.ndarray,
) -> np.ndarray:
    """Return [V * 3, width + 15]: how the vertices move with each number."""
    width = directions.shape[-1]
    rotations = rotvec_to_matrix(values[width:].reshape(1, JOINTS, 3))
    _, moved = joint_transforms(np.repeat(rotations, width, axis=0), joint_columns, head.parents)
    turns = np.tensordot(head.skinning_weights, transforms[:, :3, :3], axes=1)
    shifts = np.tensordot(head.skinning_weights, moved[:, :, :3, 3].transpose(1, 2, 0), axes=1)
    nudged = _poses(
        head, _shaped(head, directions, values[:width]), values[width:] + _NUDGE * np.eye(3 * JOINTS)
    ).vertices
    columns = np.empty((*vertices.shape, width + 3 * JOINTS))
    np.matmul(turns, directions, out=columns[..., :width])
    columns[..., :width] += shifts
    columns[..., width:] = np.moveaxis((nudged - vertices) / _NUDGE, 0, -1)
    return columns.reshape(-1, width + 3 * JOINTS)
