"""FLAME's landmarks: points on triangles, the contour that slides with the head, the eye re-selection.

An embedding names a face and three weights for each point. Source: reference/flame/SPEC.md, sections 3 and 4.
Functions work on numpy arrays and torch tensors alike (the array API).
"""

import math
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from marotte.errors import MarotteError
from marotte.models.rotations import rotvec_to_matrix

CONTOUR_ROWS, CONTOUR_POINTS = 79, 17

# Eye landmarks of the 70 that ARTalk's re-selection replaces, and the vertices whose mean replaces them.
# Its code forms four more points (36, 39, 42, 45) and drops them: a quirk, so they stay as they are.
_RESELECTED = {
    37: (2452, 2454),
    38: (2471, 2471),
    40: (2276, 2276),
    41: (2360, 2360),
    43: (1292, 1292),
    44: (1217, 1217),
    46: (999, 999),
    47: (827, 827),
}
_RESELECTION_NEEDS = 3836


@dataclass(frozen=True, eq=False)
class Embedding:
    """Points on a mesh: faces [..., N] indices, bary [..., N, 3] weights of each face's corners."""

    faces: Any
    bary: Any

    def points(self, vertices: Any, mesh_faces: Any) -> Any:
        """Return [B, N, 3], the points on vertices [B, V, 3] with faces [F, 3], in the vertices' unit.

        The embedding is [N] for all of the batch, or [B, N]. Weights are neither clamped nor renormalised.
        """
        xp = array_namespace(vertices, mesh_faces)
        batch, count = vertices.shape[:2]
        points = self.faces.shape[-1]
        corners = xp.reshape(xp.take(mesh_faces, xp.reshape(self.faces, (-1,)), axis=0), (-1, points, 3))
        first = xp.arange(batch, device=vertices.device, dtype=corners.dtype) * count
        flat = xp.reshape(corners + first[:, None, None], (-1,))
        picked = xp.take(xp.reshape(vertices, (batch * count, 3)), flat, axis=0)
        return xp.sum(xp.reshape(picked, (batch, points, 3, 3)) * self.bary[..., None], axis=-2)


@dataclass(frozen=True, eq=False)
class Landmarks:
    """The embeddings that a model came with; None for those it did not.

    static51: brows, nose, eyes, mouth; contour: [79, 17] jaw lines, one row for each degree of turn;
    full68: all 68 with a fixed jaw line; full70: 68 and two irises (ARTalk); mediapipe105: a part of mediapipe's
    mesh, with mediapipe_ids [105] naming which of its points they are.
    """

    static51: Embedding | None = None
    contour: Embedding | None = None
    full68: Embedding | None = None
    full70: Embedding | None = None
    mediapipe105: Embedding | None = None
    mediapipe_ids: np.ndarray | None = None

    def need(self, name: str) -> Embedding:
        """Return an embedding; raise MarotteError where the model has none."""
        embedding = getattr(self, name)
        if embedding is None:
            raise MarotteError(
                f"the head model has no landmarks {name!r}: load it with landmarks= naming the file that holds them"
            )
        return embedding

    def merged(self, other: "Landmarks") -> "Landmarks":
        """Return these with those of the other added; the other's win."""
        present = {f.name: v for f in fields(other) if (v := getattr(other, f.name)) is not None}
        return replace(self, **present)

    def contour_and_static(self, rows: Any) -> Embedding:
        """Return the [B, 68] embedding of 17 contour points of rows [B] followed by the 51 static points."""
        contour, static = self.need("contour"), self.need("static51")
        xp = array_namespace(rows)
        faces, bary = xp.take(contour.faces, rows, axis=0), xp.take(contour.bary, rows, axis=0)
        batch = rows.shape[0]
        all_static = xp.broadcast_to(static.faces, (batch, *static.faces.shape))
        weights = xp.broadcast_to(static.bary, (batch, *static.bary.shape))
        return Embedding(xp.concat([faces, all_static], axis=1), xp.concat([bary, weights], axis=1))


def contour_rows(full_pose: Any) -> Any:
    """Return the contour row [B] (int) for full poses [B, 15] as rotation vectors: variants A and I."""
    return _rows(_turn_degrees(head_rotation(rotvec_to_matrix(full_pose[:, :3]), rotvec_to_matrix(full_pose[:, 3:6]))))


def contour_rows_tracker(cameras: Any, root: Any, neck: Any) -> Any:
    """Return the contour row [B] (int) as metrical-tracker picks it.

    cameras: [B or 1, 3, 3], multiplied from the left; root, neck: [B, 3, 3]. The tracker takes the turn with the
    opposite sign of variants A and I: a quirk, for the same pose it picks the mirrored contour.
    """
    xp = array_namespace(cameras, root, neck)
    return _rows(-_turn_degrees(xp.matmul(cameras, head_rotation(root, neck))))


def head_rotation(root: Any, neck: Any) -> Any:
    """Return the rotation [B, 3, 3] of the skull from those of root and neck."""
    return array_namespace(root, neck).matmul(root, neck)


def reselect_eyes(points: Any, vertices: Any) -> Any:
    """Return the 70 landmarks [B, 70, 3] with eight eyelid points put on FLAME's own vertices [B, V, 3].

    Raises MarotteError for a mesh that has not FLAME's topology.
    """
    xp = array_namespace(points, vertices)
    if vertices.shape[1] < _RESELECTION_NEEDS:
        raise MarotteError(
            f"eye re-selection needs FLAME's own topology, the mesh has {vertices.shape[1]} vertices: "
            "take the landmarks without it"
        )
    columns = [points[:, i] for i in range(points.shape[1])]
    for point, (a, b) in _RESELECTED.items():
        columns[point] = (vertices[:, a] + vertices[:, b]) / 2
    return xp.stack(columns, axis=1)


def _turn_degrees(rotation: Any) -> Any:
    """Return the turn [B] about the vertical axis in degrees, of rotations [B, 3, 3]."""
    xp = array_namespace(rotation)
    level = xp.sqrt(rotation[:, 0, 0] ** 2 + rotation[:, 1, 0] ** 2)
    return xp.atan2(-rotation[:, 2, 0], level) * (180 / math.pi)


def _rows(degrees: Any) -> Any:
    """Return rows: 0..39 for 0..39 degrees, 40..78 for -1..-39; beyond, the last of each side."""
    xp = array_namespace(degrees)
    limited = xp.where(degrees > 39, xp.full_like(degrees, 39), degrees)
    whole = xp.astype(xp.round(limited), xp.int64)
    row = xp.where(whole < -39, xp.full_like(whole, CONTOUR_ROWS - 1), 39 - whole)
    return xp.where(whole >= 0, whole, row)
