"""FLAME as a value: arrays in, posed vertices and landmarks out, in the three variants that are in use.

Variant A ("artalk"; ARTalk, GAGAvatar), I ("imavatar"; IMavatar, SplattingAvatar), T ("tracker";
metrical-tracker). They differ in pose input, scale and landmarks; the computation is `flame_lbs`'s.
Frame: x to the person's left, y up, z to the front; metres before scaling. Source: reference/flame/SPEC.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace

from marotte.errors import MarotteError
from marotte.models import flame_files
from marotte.models.flame_landmarks import Embedding, Landmarks, contour_rows, contour_rows_tracker, reselect_eyes
from marotte.models.flame_lbs import JOINTS, Posed, displace, pose
from marotte.models.rotations import rotvec_to_matrix, sixd_to_matrix

POSE_FEATURES = 36


class Tracked(NamedTuple):
    """What metrical-tracker's FLAME returns: vertices [B, V, 3], landmarks68 and landmarks105, in metres."""

    vertices: Any
    landmarks68: Any
    landmarks105: Any


@dataclass(frozen=True, eq=False)
class FlameModel:
    """A head with FLAME's five joints (root, neck, jaw, two eyeballs), float32.

    v_template: [V, 3]; faces: [F, 3] int32; shape_dirs: [V, 3, S] and expression_dirs: [V, 3, E], displacement for
    a coefficient of 1; pose_dirs: [V, 3, 36], displacement for a pose feature of 1; joint_regressor: [5, V];
    skinning_weights: [V, 5]; parents: each joint's parent, the root's is -1; basis: the expression space
    ("flame2020", "flame2023", "arkit52"); landmarks: what embeddings there are; masks: vertex indices by name;
    eyelid_fields: (left, right), each [V, 3], displacement of a shut lid, added after the pose;
    render: whatever else a renderer needs of this head, by name.

    Raises MarotteError where an array's shape or index does not fit the others.
    """

    v_template: Any
    faces: Any
    shape_dirs: Any
    expression_dirs: Any
    pose_dirs: Any
    joint_regressor: Any
    skinning_weights: Any
    parents: tuple[int, ...]
    basis: str
    landmarks: Landmarks | None = None
    masks: dict[str, np.ndarray] = field(default_factory=dict)
    eyelid_fields: tuple[Any, Any] | None = None
    render: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count = self.v_template.shape[0]
        expected = {
            "v_template": (count, 3),
            "faces": (self.faces.shape[0], 3),
            "shape_dirs": (count, 3, self.shape_dirs.shape[-1]),
            "expression_dirs": (count, 3, self.expression_dirs.shape[-1]),
            "pose_dirs": (count, 3, POSE_FEATURES),
            "joint_regressor": (JOINTS, count),
            "skinning_weights": (count, JOINTS),
        }
        for name, shape in expected.items():
            _expect(name, getattr(self, name), shape)
        for side in self.eyelid_fields or ():
            _expect("eyelid field", side, (count, 3))
        if len(self.parents) != JOINTS or any(not -1 < p < j for j, p in enumerate(self.parents) if j):
            raise MarotteError(f"head model has joint parents {self.parents}: expected FLAME's, (-1, 0, 1, 1, 1)")
        _in_range("faces", self.faces, count, "vertices")
        for name, indices in self.masks.items():
            _in_range(f"mask {name!r}", indices, count, "vertices")
        for name, embedding in self._embeddings().items():
            _in_range(f"landmarks {name!r}", embedding.faces, self.faces.shape[0], "faces")

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        n_shape: int = 300,
        n_expression: int = 100,
        basis: str | None = None,
        landmarks: str | Path | Sequence[str | Path] | None = None,
        masks: str | Path | None = None,
        eyelids: tuple[str | Path, str | Path] | None = None,
    ) -> "FlameModel":
        """Read a head: generic_model.pkl, flame2023.pkl, FLAME_with_eye.pt, or our own `.npz`, told by content.

        n_shape, n_expression: how many coefficients to keep of FLAME's 300 and 100 (our own format has its own
        numbers). basis: the expression space; where it is None and the file does not say, it is guessed from the
        file's name ("2023" in it: flame2023, else flame2020) with a UserWarning. landmarks: one or more of
        landmark_embedding.npy and mediapipe_landmark_embedding.npz. masks: FLAME_masks.pkl. eyelids: the files of
        the left and the right lid. Nothing in these files is run; MarotteError where one cannot be used.
        """
        extra = [landmarks] if isinstance(landmarks, str | Path) else list(landmarks or ())
        return cls(**flame_files.read_head(path, n_shape, n_expression, basis, extra, masks, eyelids))

    def save(self, path: str | Path, *, exact: bool = False) -> None:
        """Write our own head format, compressed. Directions are float16 (relative error up to 5e-4) unless `exact`."""
        columns = {f.name: getattr(self, f.name) for f in fields(self)}
        flame_files.write_head(path, columns, self._embeddings(), np.float32 if exact else np.float16)

    def like(self, array: Any) -> "FlameModel":
        """Return this model with its arrays in the library, and on the device, of `array` (a torch tensor, say)."""
        xp = array_namespace(array)

        def moved(value: Any) -> Any:
            return xp.asarray(np.array(value), device=array.device)

        names = [f.name for f in fields(self)][:7]  # v_template to skinning_weights
        embeddings: dict[str, Any] = {
            name: Embedding(moved(e.faces), moved(e.bary)) for name, e in self._embeddings().items()
        }
        marks = self.landmarks and replace(self.landmarks, **embeddings)
        lids = self.eyelid_fields and (moved(self.eyelid_fields[0]), moved(self.eyelid_fields[1]))
        return replace(self, **{n: moved(getattr(self, n)) for n in names}, landmarks=marks, eyelid_fields=lids)

    def baked(self, shape: Any, factor: float = 4.0) -> "FlameModel":
        """Return the head of one person: identity [S] or [1, S] added once, everything times `factor`.

        Variant I: 4 is IMavatar's factor; it is in the directions too, so joints and pose offsets follow it. The
        result has no identity left (S = 0): whoever embeds Gaussians on it must not add the shape again.
        """
        directions = self.shape_dirs * factor
        template = self.v_template[None] * factor + _displaced(directions, shape, "shape")
        lids = self.eyelid_fields and (self.eyelid_fields[0] * factor, self.eyelid_fields[1] * factor)
        return replace(
            self,
            v_template=template[0],
            shape_dirs=directions[..., :0],
            expression_dirs=self.expression_dirs * factor,
            pose_dirs=self.pose_dirs * factor,
            eyelid_fields=lids,
        )

    def posed(self, rotations: Any, shape: Any = None, expression: Any = None) -> Posed:
        """Return the posed head with its intermediates, in the model's unit.

        rotations: [B, 5, 3, 3], each joint in its parent's frame; shape: [S], [1, S] or [B, S]; expression:
        [B, E]; None is zero. Fewer coefficients than the model has are taken as its first.
        """
        xp = array_namespace(rotations)
        shaped = xp.broadcast_to(self.v_template, (rotations.shape[0], *self.v_template.shape))
        if shape is not None:
            shaped = shaped + _displaced(self.shape_dirs, shape, "shape")
        if expression is not None:
            shaped = shaped + _displaced(self.expression_dirs, expression, "expression")
        return pose(
            shaped,
            rotations,
            joint_regressor=self.joint_regressor,
            pose_dirs=self.pose_dirs,
            weights=self.skinning_weights,
            parents=self.parents,
        )

    def artalk(self, shape: Any, expression: Any = None, pose: Any = None, eyes: Any = None, scale: float = 1.0) -> Any:
        """Return vertices [B, V, 3] of variant A, times `scale` (ARTalk 1, GAGAvatar 5).

        shape: [B, S]; expression: [B, E]; pose: [B, 6] rotation vectors of root and jaw, or [B, 3] of the jaw alone
        (ARTalk only); eyes: [B, 6]. The neck never turns. None is zero; the published code fails for a missing
        expression, by a misspelt attribute.
        """
        given = [a for a in (shape, expression, pose, eyes) if a is not None]
        batch = max(a.shape[0] for a in given)
        rotvecs = _zeros_like(shape, (batch, 5, 3))
        xp = array_namespace(shape)
        root, neck, jaw, eyeballs = rotvecs[:, :1], rotvecs[:, 1:2], rotvecs[:, 2:3], rotvecs[:, 3:]
        if pose is not None:
            root = root if pose.shape[-1] == 3 else root + pose[:, None, :3]
            jaw = jaw + pose[:, None, -3:]
        if eyes is not None:
            eyeballs = eyeballs + xp.reshape(eyes, (-1, 2, 3))
        rotations = rotvec_to_matrix(xp.concat([root, neck, jaw, eyeballs], axis=1))
        return self.posed(rotations, shape, expression).vertices * scale

    def imavatar(self, expression: Any, full_pose: Any) -> Posed:
        """Return the posed head of variant I, for a model made by `baked`.

        expression: [B, E or more], columns past E are dropped, as published; full_pose: [B, 15] rotation vectors of
        root, neck, jaw and the two eyes. `transforms` and `pose_feature` are what the published call returns too.
        """
        xp = array_namespace(expression, full_pose)
        rotations = rotvec_to_matrix(xp.reshape(full_pose, (-1, JOINTS, 3)))
        return self.posed(rotations, None, expression[:, : self.expression_dirs.shape[-1]])

    def tracker(
        self,
        shape: Any,
        cameras: Any,
        *,
        root: Any = None,
        neck: Any = None,
        jaw: Any = None,
        eyes: Any = None,
        expression: Any = None,
        eyelids: Any = None,
        translation: Any = None,
    ) -> Tracked:
        """Return vertices, 68 and 105 landmarks of variant T.

        shape: [B, S]; cameras: [B or 1, 3, 3], which only choose the contour points; root, neck, jaw: [B, 6] and
        eyes: [B, 12], 6D rotations, None is none; expression: [B, E]; eyelids: [B, 2] left, right;
        translation: [B, 3]. Raises MarotteError where the model lacks eyelids or landmarks that are needed.
        """
        xp = array_namespace(shape)
        batch = shape.shape[0]
        zeros = _zeros_like(shape, (batch, 6))
        still = xp.concat([zeros[:, :1] + 1, zeros[:, :3], zeros[:, :1] + 1, zeros[:, :1]], axis=1)
        parts = [still if part is None else part for part in (root, neck, jaw)]
        both_eyes = xp.concat([still, still], axis=1) if eyes is None else eyes
        sixd = xp.reshape(xp.concat([*parts, both_eyes], axis=1), (batch, JOINTS, 6))
        rotations = sixd_to_matrix(sixd)
        vertices = self.posed(rotations, shape, expression).vertices
        if eyelids is not None:
            # Added after the pose, so the lids' directions do not turn with the head: a quirk of the published code.
            left, right = self._eyelids()
            vertices = vertices + eyelids[:, 1, None, None] * right + eyelids[:, 0, None, None] * left
        rows = contour_rows_tracker(cameras, rotations[:, 0], rotations[:, 1])
        # Landmarks are taken before the translation, which is then added to all three.
        points68, points105 = self.landmarks68(vertices, rows), self.dense105(vertices)
        if translation is None:
            return Tracked(vertices, points68, points105)
        moved = translation[:, None]
        return Tracked(vertices + moved, points68 + moved, points105 + moved)

    def lmks70(self, vertices: Any) -> Any:
        """Return ARTalk's 70 landmarks [B, 70, 3] of vertices [B, V, 3], in their unit.

        The published default call computes the eye re-selection and returns the points without it: a quirk kept here.
        """
        return self._marks().need("full70").points(vertices, self.faces)

    def lmks70_reselected(self, vertices: Any) -> Any:
        """Return the 70 landmarks with the eyelid points on FLAME's own vertices.

        The published call gives these only with the argument it spells `verts_sclae`, and then scales by that
        instead of by `scale`: hand over vertices at the scale that is wanted.
        """
        return reselect_eyes(self.lmks70(vertices), vertices)

    def dense105(self, vertices: Any) -> Any:
        """Return the 105 mediapipe landmarks [B, 105, 3] of vertices [B, V, 3], in their unit."""
        return self._marks().need("mediapipe105").points(vertices, self.faces)

    def landmarks68(self, vertices: Any, rows: Any) -> Any:
        """Return [B, 68, 3]: 17 contour points of rows [B] first, then the 51 static points."""
        return self._marks().contour_and_static(rows).points(vertices, self.faces)

    def landmarks2d(self, vertices: Any, full_pose: Any) -> Any:
        """Return variant I's [B, 68, 3] with the contour that full_pose [B, 15] (rotation vectors) selects."""
        return self.landmarks68(vertices, contour_rows(full_pose))

    def landmarks3d(self, vertices: Any) -> Any:
        """Return variant I's [B, 68, 3] with the fixed contour."""
        return self._marks().need("full68").points(vertices, self.faces)

    def _marks(self) -> Landmarks:
        return self.landmarks or Landmarks()

    def _eyelids(self) -> tuple[Any, Any]:
        if self.eyelid_fields is None:
            raise MarotteError("the head model has no eyelid fields: load it with eyelids=(left file, right file)")
        return self.eyelid_fields

    def _embeddings(self) -> dict[str, Embedding]:
        """Return the embeddings that are present, by field name."""
        marks = self._marks()
        return {f.name: e for f in fields(marks) if isinstance(e := getattr(marks, f.name), Embedding)}


def _expect(name: str, array: Any, shape: tuple[int, ...]) -> None:
    if tuple(array.shape) != shape:
        raise MarotteError(f"head model {name} has shape {list(array.shape)}, expected {list(shape)}")


def _in_range(name: str, indices: Any, count: int, what: str) -> None:
    if 0 in indices.shape:
        return
    low, high = int(indices.min()), int(indices.max())
    if low < 0 or high >= count:
        raise MarotteError(
            f"head model {name} names {low} to {high}, but there are {count} {what}: it belongs to another mesh"
        )


def _zeros_like(array: Any, shape: tuple[int, ...]) -> Any:
    return array_namespace(array).zeros(shape, dtype=array.dtype, device=array.device)


def _displaced(directions: Any, coefficients: Any, what: str) -> Any:
    """Return [B or 1, V, 3] for coefficients [K], [1, K] or [B, K] with K up to the number of directions."""
    rows = coefficients[None] if coefficients.ndim == 1 else coefficients
    width, known = rows.shape[-1], directions.shape[-1]
    if width > known:
        raise MarotteError(f"{width} {what} coefficients are given, the head model has {known}: drop the others")
    return displace(directions[..., :width], rows)
