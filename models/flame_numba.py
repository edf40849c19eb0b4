"""FLAME on the CPU, fast: one person's head, frame after frame. The readable twin is `flame_lbs`.

The identity is baked in once; columns that are zero everywhere are dropped, and so are columns that are zero in a
block of vertices or in a frame; vertices are skinned by the few joints that have weight there. A block of
vertices goes through all steps while it lies in the cache.
"""

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from marotte.errors import MarotteError
from marotte.models.flame_lbs import JOINTS, joint_transforms, pose_feature
from marotte.models.rotations import rotvec_to_matrix

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
        # [K, V * 3]: a column's displacements lie in a row, so that one coefficient is one pass over memory.
        flat = np.concatenate(directions, axis=-1).reshape(count * 3, -1).T * np.float32(scale)
        self._directions = np.ascontiguousarray(flat, np.float32)
        self._template = np.ascontiguousarray(model.v_template * np.float32(scale), np.float32)
        starts = np.arange(0, count * 3, _BLOCK * 3)
        self._active = np.logical_or.reduceat(self._directions != 0, starts, axis=1).T.copy()
        self._bones = _sparse(model.skinning_weights)
        # Joints are linear in the expression too: [5, 3] at rest, and how far each column moves them.
        regressor = model.joint_regressor.astype(np.float64) * scale
        self._joints = regressor @ model.v_template
        self._joint_dirs = np.einsum("jv,vck->kjc", regressor, model.expression_dirs[..., self.columns])
        lids = np.zeros((0, count, 3)) if model.eyelid_fields is None else np.stack(model.eyelid_fields)
        self._lids = np.ascontiguousarray(lids * scale, np.float32)

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
        given = np.zeros((frames, known), np.float32)
        if expression.shape[-1] > known:
            raise MarotteError(f"{expression.shape[-1]} expression coefficients are given, the head model has {known}")
        given[:, : expression.shape[-1]] = expression
        lids = _checked("eyelids", eyelids, (frames, 2))
        moved = _checked("translation", translation, (frames, 3)) * np.float32(self.scale)
        if not len(self._lids):
            if lids.any():
                raise MarotteError("the head model has no eyelid fields: load it with eyelids=(left file, right file)")
            lids = lids[:, :0]
        rotations = rotvec_to_matrix(_checked("full_pose", full_pose, (frames, 3 * JOINTS)).reshape(-1, JOINTS, 3))
        used = given[:, self.columns]
        joints = self._joints + np.tensordot(used, self._joint_dirs, axes=1)
        _, transforms = joint_transforms(rotations, joints.astype(np.float32), self.model.parents)
        coefficients = np.concatenate([used, pose_feature(rotations)[:, self._features]], axis=1)
        out = np.empty((frames, len(self._template), 3), np.float32)
        _evaluate(
            self._template,
            self._directions,
            self._active,
            np.ascontiguousarray(coefficients),
            np.ascontiguousarray(transforms[:, :, :3]),
            *self._bones,
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
    return np.ascontiguousarray(array, np.float32)


def _sparse(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (starts [V + 1], joints, weights): vertex v has the entries from starts[v] to starts[v + 1]."""
    vertex, joint = np.nonzero(weights)
    starts = np.searchsorted(vertex, np.arange(len(weights) + 1)).astype(np.int32)
    return starts, joint.astype(np.int32), np.ascontiguousarray(weights[vertex, joint], np.float32)


@njit(cache=True, nogil=True, fastmath={"contract"})
def _evaluate(
    template, directions, active, coefficients, transforms, starts, joints, weights, lid_fields, lids, moved, out
):
    # One thread: at about a third of a millisecond a frame, waking others costs more than they would save.
    frames, count = out.shape[:2]
    rest = template.reshape(-1)
    place = np.empty(3 * _BLOCK, np.float32)
    mix = np.empty((3, 4), np.float32)
    for block in range(active.shape[0]):
        first = block * _BLOCK
        last = min(first + _BLOCK, count)
        low, size = 3 * first, 3 * (last - first)
        for t in range(frames):
            for i in range(size):
                place[i] = rest[low + i]
            for k in range(directions.shape[0]):
                factor = coefficients[t, k]
                if factor != 0 and active[block, k]:
                    row = directions[k, low : low + size]
                    for i in range(size):
                        place[i] += factor * row[i]
            for v in range(first, last):
                start, end = starts[v], starts[v + 1]
                for a in range(3):
                    for b in range(4):
                        mix[a, b] = 0
                for e in range(start, end):
                    w, j = weights[e], joints[e]
                    for a in range(3):
                        for b in range(4):
                            mix[a, b] += w * transforms[t, j, a, b]
                x, y, z = place[3 * (v - first)], place[3 * (v - first) + 1], place[3 * (v - first) + 2]
                for a in range(3):
                    total = mix[a, 0] * x + mix[a, 1] * y + mix[a, 2] * z + mix[a, 3] + moved[t, a]
                    for side in range(lids.shape[1]):
                        total += lids[t, side] * lid_fields[side, v, a]
                    out[t, v, a] = total
