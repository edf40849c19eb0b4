"""The skin of a head: the part of its mesh that the face is on, and the points of it that are closest to others."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from marotte.models.flame import FlameModel
from marotte.models.flame_landmarks import Embedding, Landmarks
from marotte.models.flame_lbs import JOINTS
from marotte.models.rotations import rotvec_to_matrix

# Triangles whose middles are closest, among which the closest point is looked for.
_CANDIDATES = 12


@dataclass(frozen=True, eq=False)
class Skin:
    """Triangles of a head in one pose: vertices [V, 3] of the whole head, metres, float64; faces [F, 3] of its skin
    alone, with their numbers [F] in the head's own list; normals [V, 3], zero off the skin."""

    vertices: np.ndarray
    faces: np.ndarray
    numbers: np.ndarray
    normals: np.ndarray

    def closest(self, points: np.ndarray, normals: np.ndarray) -> tuple[Embedding, np.ndarray, np.ndarray]:
        """Return the closest points on triangles that face the same way (within 75 degrees), or on any if none does.

        points: [N, 3], normals: [N, 3] of unit length. Returns where they lie (faces numbered as the head's own),
        their distances [N], and the cosines [N] between the normals.
        """
        corners, facing, middles = self._triangles
        _, near = middles.query(points, k=_CANDIDATES)
        bary = _closest_in_triangles(points[:, None], corners[near])
        apart = np.linalg.norm(np.einsum("nkc,nkcx->nkx", bary, corners[near]) - points[:, None], axis=-1)
        cosine = np.einsum("nkx,nx->nk", facing[near], normals)
        best = np.where(cosine > np.cos(np.deg2rad(75)), apart, apart + 1e3).argmin(axis=1)
        row = np.arange(len(points))
        found = Embedding(self.numbers[near[row, best]], bary[row, best])
        return found, apart[row, best], cosine[row, best]

    @cached_property
    def _triangles(self) -> tuple[np.ndarray, np.ndarray, Any]:
        """Return their corners [F, 3, 3], the way that they face [F, 3], and a tree of their middles."""
        from scipy.spatial import cKDTree

        corners = self.vertices[self.faces]
        facing = _unit(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]))
        return corners, facing, cKDTree(corners.mean(axis=1))


def skin(model: FlameModel, jaw: float = 0.0) -> Skin:
    """Return a head's skin with its jaw open by so many radians: what hangs together with the landmarks' triangles.

    Eyeballs, teeth, tongue and lashes are pieces of their own. Where there are no landmarks the largest piece counts.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(model.v_template)
    ends = model.faces[:, [0, 1, 2]], model.faces[:, [1, 2, 0]]
    edges = coo_array((np.ones(ends[0].size), (ends[0].ravel(), ends[1].ravel())), shape=(count, count))
    _, piece = connected_components(edges, directed=False)
    found = model.landmarks or Landmarks()
    marks = found.static51 or found.full68 or found.full70 or found.mediapipe105
    marked = model.faces if marks is None else model.faces[marks.faces]
    kept = piece[model.faces[:, 0]] == np.bincount(piece[marked[:, 0]]).argmax()
    vertices, faces = posed(model, np.array([jaw]))[0], model.faces[kept]
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    flat = np.cross(b - a, c - a)
    normals = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], flat)
    return Skin(vertices, faces, np.flatnonzero(kept), _unit(normals))


def posed(model: FlameModel, openings: np.ndarray) -> np.ndarray:
    """Return vertices [N, V, 3] float64, the jaw open by each of N angles about x in radians."""
    rotvecs = np.zeros((len(openings), JOINTS, 3), np.float32)
    rotvecs[:, 2, 0] = openings
    return np.asarray(model.posed(rotvec_to_matrix(rotvecs)).vertices, np.float64)


def _closest_in_triangles(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Return barycentric weights [..., 3] of the point of each triangle [..., 3, 3] that is closest to [..., 3]."""
    a, b, c = np.moveaxis(corners, -2, 0)
    ab, ac, ap = b - a, c - a, points - a
    d00, d01, d11 = _dot(ab, ab), _dot(ab, ac), _dot(ac, ac)
    d20, d21 = _dot(ap, ab), _dot(ap, ac)
    area = np.maximum(d00 * d11 - d01 * d01, 1e-30)
    v, w = (d11 * d20 - d01 * d21) / area, (d00 * d21 - d01 * d20) / area
    inside = np.stack([1 - v - w, v, w], axis=-1)
    best = inside
    nearest = np.where((inside >= 0).all(axis=-1), -1.0, np.inf)
    for i, j in ((0, 1), (1, 2), (2, 0)):
        start, way = corners[..., i, :], corners[..., j, :] - corners[..., i, :]
        share = np.clip(_dot(points - start, way) / np.maximum(_dot(way, way), 1e-30), 0, 1)
        apart = np.linalg.norm(start + share[..., None] * way - points, axis=-1)
        on_edge = np.zeros_like(inside)
        on_edge[..., i], on_edge[..., j] = 1 - share, share
        best = np.where((apart < nearest)[..., None], on_edge, best)
        nearest = np.minimum(apart, nearest)
    return best


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("...x,...x->...", a, b)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
