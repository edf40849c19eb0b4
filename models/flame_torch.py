"""FLAME on a torch device, many frames at once: one person's head. The readable twin is `flame_lbs`.

Few kernels, and none that waits for the host or allocates by what the data says, so that a CUDA graph can hold them.
Worked out in float64 and rounded once: a matrix product adds in another order for another number of frames, and
this keeps the order from showing in the result.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch

from marotte.errors import MarotteError
from marotte.models.flame_lbs import JOINTS, joint_transforms, pose_feature
from marotte.models.rotations import rotvec_to_matrix

if TYPE_CHECKING:
    from marotte.models.flame import FlameModel


class TorchHead:
    """One person's head on a torch device, ready to be posed many times; what `HeadEvaluator` is on the CPU.

    model: a FlameModel on numpy; shape: [S] or [1, S] identity coefficients, None for none; scale: output units a
    FLAME unit.
    """

    def __init__(
        self,
        model: "FlameModel",
        shape: np.ndarray | None = None,
        scale: float = 1.0,
        device: torch.device | str = "cpu",
    ) -> None:
        if shape is not None:
            model = model.baked(np.asarray(shape, np.float32), 1.0)
        self.expressions = int(model.expression_dirs.shape[-1])
        self.has_eyelids = model.eyelid_fields is not None
        self.scale = scale
        self._parents = model.parents
        columns = np.flatnonzero(np.any(model.expression_dirs != 0, axis=(0, 1)))
        features = np.flatnonzero(np.any(model.pose_dirs != 0, axis=(0, 1)))
        count = len(model.v_template)
        chosen = [model.expression_dirs[..., columns], model.pose_dirs[..., features]]
        flat = np.concatenate(chosen, axis=-1).reshape(count * 3, -1).T
        regressor = model.joint_regressor.astype(np.float64) * scale
        # Joints are linear in the expression too.
        joint_dirs = np.einsum("jv,vck->kjc", regressor, model.expression_dirs[..., columns])
        lids = np.zeros((0, count, 3)) if model.eyelid_fields is None else np.stack(model.eyelid_fields)

        def moved(array: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(np.ascontiguousarray(array, np.float64)).to(device)

        self._columns, self._features = torch.from_numpy(columns).to(device), torch.from_numpy(features).to(device)
        self._template = moved(model.v_template.astype(np.float64).reshape(1, -1) * scale)
        self._directions = moved(flat.astype(np.float64) * scale)
        self._weights = moved(model.skinning_weights)
        self._joints = moved((regressor @ model.v_template).reshape(1, -1))
        self._joint_dirs = moved(joint_dirs.reshape(-1, JOINTS * 3))
        self._lids = moved(lids.astype(np.float64) * scale)

    def vertices(
        self,
        expression: torch.Tensor,
        full_pose: torch.Tensor,
        eyelids: torch.Tensor | None = None,
        translation: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return posed vertices [B, V, 3] float32, `scale` output units a FLAME unit.

        expression: [B, E] for all of the model's E slots; full_pose: [B, 15] rotation vectors in radians of root,
        neck, jaw, two eyes; eyelids: [B, 2] left, right, 0 open, 1 shut, for a model that has them; translation:
        [B, 3] in FLAME units, scaled too, comes last. All on the model's device; None is zero.
        """
        if expression.shape[-1] != self.expressions:
            raise MarotteError(f"{expression.shape[-1]} expression coefficients are given, expected {self.expressions}")
        if eyelids is not None and not self.has_eyelids:
            raise MarotteError("the head model has no eyelid fields: load it with eyelids=(left file, right file)")
        frames = expression.shape[0]
        rotations = rotvec_to_matrix(full_pose.double().reshape(frames, JOINTS, 3))
        used = expression.double().index_select(1, self._columns)
        joints = torch.addmm(self._joints, used, self._joint_dirs).reshape(frames, JOINTS, 3)
        _, transforms = joint_transforms(rotations, joints, self._parents)
        coefficients = torch.cat([used, pose_feature(rotations).index_select(1, self._features)], dim=1)
        shaped = torch.addmm(self._template, coefficients, self._directions).reshape(frames, -1, 3)
        mixed = torch.matmul(self._weights, transforms[:, :, :3].reshape(frames, JOINTS, 12))
        mixed = mixed.reshape(frames, -1, 3, 4)
        out = mixed[..., 3]
        for axis in range(3):
            out = torch.addcmul(out, mixed[..., axis], shaped[..., axis : axis + 1])
        if eyelids is not None:
            for side in range(2):
                out = torch.addcmul(out, eyelids[:, side, None, None].double(), self._lids[side])
        if translation is not None:
            out = torch.add(out, translation[:, None].double(), alpha=self.scale)
        return out.float()
