"""FLAME on the CPU, fast: one person's head, frame after frame. The readable twin is `flame_lbs`.

The identity is baked in once; columns that are zero everywhere are dropped, and so are columns that are zero in a
block of vertices or in a frame, and joints without weight there. A block of vertices goes through all steps while it
lies in the cache: first all x, then all y, then all z, so that the compiler works on many vertices at once.
"""

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from marotte.errors import MarotteError
from marotte.models.flame_lbs import JOINTS
from marotte.models.vector_rows import column_blocks

if TYPE_CHECKING:
    from marotte.models.flame import FlameModel

# Vertices in a block: 3 KB of positions and, with 90 columns, 276 KB of directions, which fits a core's L2 cache.
_BLOCK = 256


class HeadEvaluator:
    """One person's head, ready to be posed many times.

    model: a FlameModel on numpy; shape: [S] or [1, S] identity coefficients, None for none; scale: output units a
    FLAME unit. `columns` are the expression slots that do anything. Calls from several threads are safe; a call
    runs on the calling thread and lets go of the GIL.
    """

    def __init__(self, model: "FlameModel", shape: np.ndarray | None = None, scale: float = 1.0) -> None:
        if shape is not None:
            model = model.baked(np.asarray(shape, np.float32), 1.0)
        self.model, self.scale = model, scale
        self.columns = np.flatnonzero(np.any(model.expression_dirs != 0, axis=(0, 1)))
        self._features = np.flatnonzero(np.any(model.pose_dirs != 0, axis=(0, 1)))
        count = len(model.v_template)
        directions = [model.expression_dirs[..., self.columns], model.pose_dirs[..., self._features]]
        # [blocks, K, 3 * _BLOCK]: a column's displacements lie in a row, so that one coefficient is one pass.
        together = np.concatenate(directions, axis=-1) * np.float32(scale)
        self._directions = column_blocks(together.transpose(2, 0, 1), _BLOCK).transpose(1, 0, 2).copy()
        self._active = np.any(self._directions != 0, axis=-1)
        (self._template,) = column_blocks(model.v_template[None] * np.float32(scale), _BLOCK)
        # [blocks, 5, _BLOCK]
        self._weights = column_blocks(model.skinning_weights.T[..., None], _BLOCK).transpose(1, 0, 2).copy()
        self._weighs = np.any(self._weights != 0, axis=-1)
        # Joints are linear in the expression too: [5, 3] at rest, and how far each column moves them.
        regressor = model.joint_regressor.astype(np.float64) * scale
        self._joints = regressor @ model.v_template
        self._joint_dirs = np.einsum("jv,vck->kjc", regressor, model.expression_dirs[..., self.columns])
        self._parents = np.array(model.parents, np.int64)
        lids = np.zeros((0, count, 3)) if model.eyelid_fields is None else np.stack(model.eyelid_fields)
        self._lids = column_blocks(lids * scale, _BLOCK)

    def vertices(
        self,
        expression: np.ndarray,
        full_pose: np.ndarray,
        eyelids: np.ndarray | None = None,
        translation: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return posed vertices [T, V, 3] float32, `scale` output units a FLAME unit.

        expression: [T, E] for the model's E slots, or its first ones; full_pose: [T, 15] rotation vectors in radians
        of root, neck, jaw, two eyes; eyelids: [T, 2] left, right, 0 open, 1 shut; translation: [T, 3] in FLAME
        units (metres), so it is scaled too; it comes last. Raises MarotteError where a shape does not fit, or
        lids are to be shut that the model has not.
        """
        frames, known = len(expression), self.model.expression_dirs.shape[-1]
        if expression.shape[-1] > known:
            raise MarotteError(f"{expression.shape[-1]} expression coefficients are given, the head model has {known}")
        lids = _checked("eyelids", eyelids, (frames, 2))
        moved = _checked("translation", translation, (frames, 3)) * np.float32(self.scale)
        if not len(self._lids):
            if lids.any():
                raise MarotteError("the head model has no eyelid fields: load it with eyelids=(left file, right file)")
            lids = lids[:, :0]
        coefficients = np.empty((frames, self._directions.shape[1]), np.float32)
        transforms = np.empty((frames, JOINTS, 3, 4), np.float32)
        _pose(
            np.require(expression, np.float32, ["C", "W"]),
            self.columns,
            _checked("full_pose", full_pose, (frames, 3 * JOINTS)),
            self._features,
            self._joints,
            self._joint_dirs,
            self._parents,
            coefficients,
            transforms,
        )
        out = np.empty((frames, len(self.model.v_template), 3), np.float32)
        _evaluate(
            self._template,
            self._directions,
            self._active,
            coefficients,
            transforms,
            self._weights,
            self._weighs,
            self._lids,
            np.ascontiguousarray(lids),
            moved,
            out,
        )
        return out


def _checked(name: str, array: np.ndarray | None, shape: tuple[int, int]) -> np.ndarray:
    """Return the array as float32, zeros for None; raise MarotteError where its shape is another."""
    if array is None:
        return np.zeros(shape, np.float32)
    if array.shape != shape:
        raise MarotteError(f"{name} has shape {list(array.shape)}, expected {list(shape)}: one row for each frame")
    return np.require(array, np.float32, ["C", "W"])


@njit(cache=True, nogil=True)
def _pose(expression, columns, pose, features, rest, directions, parents, coefficients, transforms):
    """Write `coefficients` [T, K], of the expression and of the pose, and the joints' skinning transforms [T, 5, 3, 4].

    rest: [5, 3] joints of the neutral face; directions: [K, 5, 3], how far each of `columns` moves them.
    """
    turns, chain = np.empty((JOINTS, 3, 3)), np.empty((JOINTS, 3, 3))
    joints, placed = np.empty((JOINTS, 3)), np.empty((JOINTS, 3))
    for t in range(len(expression)):
        joints[:] = rest
        for c in range(len(columns)):
            value = expression[t, columns[c]] if columns[c] < expression.shape[1] else np.float32(0)
            coefficients[t, c] = value
            if value != 0:
                joints += value * directions[c]
        for j in range(JOINTS):
            _rodrigues(pose[t, 3 * j : 3 * j + 3], turns[j])
        chain[0], placed[0] = turns[0], joints[0]
        for j in range(1, JOINTS):
            parent = parents[j]
            for a in range(3):
                placed[j, a] = placed[parent, a]
                for b in range(3):
                    placed[j, a] += chain[parent, a, b] * (joints[j, b] - joints[parent, b])
                    chain[j, a, b] = 0
                    for c in range(3):
                        chain[j, a, b] += chain[parent, a, c] * turns[j, c, b]
        for j in range(JOINTS):
            for a in range(3):
                shift = placed[j, a]
                for b in range(3):
                    transforms[t, j, a, b] = chain[j, a, b]
                    shift -= chain[j, a, b] * joints[j, b]
                transforms[t, j, a, 3] = shift
        for c in range(len(features)):
            joint, entry = 1 + features[c] // 9, features[c] % 9
            a, b = entry // 3, entry % 3
            coefficients[t, len(columns) + c] = turns[joint, a, b] - np.float64(a == b)


@njit(cache=True, nogil=True)
def _rodrigues(rotvec, matrix):
    """Write the matrix [3, 3] of a rotation vector [3], with the quirk of `rotations.rotvec_to_matrix`."""
    angle = np.sqrt((rotvec[0] + 1e-8) ** 2 + (rotvec[1] + 1e-8) ** 2 + (rotvec[2] + 1e-8) ** 2)
    over = 1 / angle if angle > 0 else 0.0
    x, y, z = rotvec[0] * over, rotvec[1] * over, rotvec[2] * over
    sin, rest = np.sin(angle), 1 - np.cos(angle)
    # The diagonal is of the cross product's matrix squared: the axis is not quite a unit vector.
    matrix[0, 0], matrix[0, 1], matrix[0, 2] = (
        1 - rest * (y * y + z * z),
        rest * x * y - sin * z,
        rest * x * z + sin * y,
    )
    matrix[1, 0], matrix[1, 1], matrix[1, 2] = (
        rest * x * y + sin * z,
        1 - rest * (x * x + z * z),
        rest * y * z - sin * x,
    )
    matrix[2, 0], matrix[2, 1], matrix[2, 2] = (
        rest * x * z - sin * y,
        rest * y * z + sin * x,
        1 - rest * (x * x + y * y),
    )


@njit(cache=True, nogil=True, fastmath={"contract"})
def _evaluate(template, directions, active, coefficients, transforms, weights, weighs, lid_fields, lids, moved, out):
    # One thread: at about a tenth of a millisecond a frame, waking others costs more than they would save.
    frames, count = out.shape[:2]
    b = _BLOCK
    # Before and after skinning; parts of one array, so that the compiler knows that they lie apart.
    s = np.empty(6 * _BLOCK, np.float32)
    for block in range(len(active)):
        first = block * b
        size = min(b, count - first)
        for t in range(frames):
            for i in range(3 * b):
                s[i] = template[block, i]
            for k in range(active.shape[1]):
                factor = coefficients[t, k]
                if factor != 0 and active[block, k]:
                    row = directions[block, k]
                    for i in range(3 * b):
                        s[i] += factor * row[i]
            for i in range(3 * b, 6 * b):
                s[i] = 0
            for j in range(JOINTS):
                if weighs[block, j]:
                    _skin(s, transforms[t, j], weights[block, j])
            for side in range(len(lid_fields)):
                factor = lids[t, side]
                if factor != 0:
                    row = lid_fields[side, block]
                    for i in range(3 * b):
                        s[3 * b + i] += factor * row[i]
            x, y, z = moved[t, 0], moved[t, 1], moved[t, 2]
            for n in range(size):
                out[t, first + n, 0] = s[3 * b + n] + x
                out[t, first + n, 1] = s[4 * b + n] + y
                out[t, first + n, 2] = s[5 * b + n] + z


@njit(cache=True, nogil=True, fastmath={"contract"})
def _skin(s, matrix, weights):
    """Add to a block's places after skinning those before it, moved by a joint's matrix [3, 4], times its weights."""
    b = _BLOCK
    a0, a1, a2, a3 = matrix[0, 0], matrix[0, 1], matrix[0, 2], matrix[0, 3]
    b0, b1, b2, b3 = matrix[1, 0], matrix[1, 1], matrix[1, 2], matrix[1, 3]
    c0, c1, c2, c3 = matrix[2, 0], matrix[2, 1], matrix[2, 2], matrix[2, 3]
    for n in range(b):
        w, x, y, z = weights[n], s[n], s[b + n], s[2 * b + n]
        s[3 * b + n] += w * (a0 * x + a1 * y + a2 * z + a3)
        s[4 * b + n] += w * (b0 * x + b1 * y + b2 * z + b3)
        s[5 * b + n] += w * (c0 * x + c1 * y + c2 * z + c3)
