"""Where face and head are that a renderer draws, by the head's vertices or by the Gaussians that are glued to it."""

from dataclasses import replace
from typing import Any

import numpy as np

from marotte.models.flame_numba import HeadEvaluator
from marotte.models.splatting_avatar import SplattingAvatar
from marotte.models.splatting_numba import SplattingEvaluator
from marotte.runtime.camera import Camera
from marotte.runtime.contracts import Drive, FacePoints
from marotte.runtime.face_marks import COUNT, FaceMarks, rest_vertices

# Opacity of Gaussians that are seen for themselves. Of these, so many carry a landmark, no further from it than so
# many metres along the mesh.
SEEN = 0.5
_CARRIERS, _REACH = 8, 0.012
# What follows the neck by less is shoulders, chest and the neck's lower end.
_OF_HEAD = 0.97
# Parts of a hundred of the head's points beyond which single ones are strays.
_LOW, _HIGH = 0.5, 99.5


class VertexMarks:
    """What is known of a head whose vertices are drawn. head: with the identity in it, in world units."""

    def __init__(self, head: HeadEvaluator) -> None:
        self._head, self._marks = head, FaceMarks.of(head.model)
        rest = rest_vertices(head)
        self._rest = self._marks.points(rest[None])[0] if self._marks else None
        self._of_head = _follows(head, np.arange(len(rest)))

    def points(self, vertices: np.ndarray) -> FacePoints | None:
        """Return the landmarks on vertices [T, V, 3]; None where the head model has none of the face."""
        if self._marks is None or self._rest is None:
            return None
        return FacePoints(self._marks.points(vertices), self._rest, 1 / self._head.scale, "vertices")

    def boxes(self, vertices: np.ndarray, drive: Drive) -> np.ndarray:
        """Return the boxes [T, 4] of the head as `RenderStream.head_boxes` does, without what is below it."""
        return np.array(
            [box_of(each[self._of_head], camera) for each, camera in zip(vertices, drive.cameras, strict=True)]
        )


class GaussianMarks:
    """What is known of a head whose Gaussians are drawn.

    A landmark at rest is held by the nearest opaque Gaussians, near along the mesh: what lies across the slit of the
    mouth or of the lids is not, and teeth and eyeballs, which are pieces of their own, are not at all. Each of them
    carries it as a rigid body, by its own centre and turn; where it is in a frame is their mean. So a head that moves
    as a whole carries its landmarks exactly, and what happens to the Gaussians shows, whatever the mesh does. A
    landmark without such Gaussians is NaN.
    """

    def __init__(self, head: HeadEvaluator, splats: SplattingAvatar) -> None:
        self._head, self._evaluator = head, SplattingEvaluator(splats)
        rest = rest_vertices(head)
        means = self._evaluator.drive(rest, np.zeros(3)).means.astype(np.float64)
        opaque = splats.opacities >= SEEN
        self._of_head = np.flatnonzero(opaque & _follows(head, splats.faces[splats.face_ids]))
        marks = FaceMarks.of(head.model)
        self._carried: _Carried | None = None
        if marks is not None:
            landmarks = marks.points(rest[None])[0]
            near = _Near(rest, splats, marks, landmarks, _REACH * head.scale)
            self._carried = _Carried(splats, landmarks, near.carriers(means, np.flatnonzero(opaque)), rest)

    def points(self, vertices: np.ndarray) -> FacePoints | None:
        """Return the landmarks on the Gaussians of meshes [T, V, 3]; None where the head model has none of the face."""
        if self._carried is None:
            return None
        points = np.array([self._carried.points(mesh) for mesh in vertices]).reshape(-1, COUNT, 3)
        return FacePoints(points, self._carried.rest, 1 / self._head.scale, "Gaussians")

    def boxes(self, vertices: np.ndarray, drive: Drive) -> np.ndarray:
        """Return the boxes [T, 4] of the head as `RenderStream.head_boxes` does, without what is below it."""
        boxes = np.full((len(drive), 4), np.nan)
        for box, mesh, camera in zip(boxes, vertices, drive.cameras, strict=True):
            means = self._evaluator.drive(mesh, camera.centre).means
            box[:] = box_of(means[self._of_head], camera)
        return boxes


class _Carried:
    """Landmarks, carried by Gaussians: rest [68, 3]; owners [C]: whose carrier each chosen Gaussian is."""

    def __init__(self, splats: SplattingAvatar, rest: np.ndarray, carriers: list[np.ndarray], mesh: np.ndarray) -> None:
        self._owners = np.repeat(np.arange(COUNT), [len(each) for each in carriers])
        self._counts = np.bincount(self._owners, minlength=COUNT)[:, None]
        self.rest = np.where(self._counts > 0, rest, np.nan)
        chosen = np.concatenate([*carriers, np.zeros(0, np.int64)]).astype(np.int64)
        # An avatar has one Gaussian at least.
        self._driven = SplattingEvaluator(_part(splats, chosen)) if len(chosen) else None
        means, quats = self._pose(mesh)
        self._arms = _turned(quats * (1, -1, -1, -1), rest[self._owners] - means)

    def points(self, mesh: np.ndarray) -> np.ndarray:
        """Return the landmarks [68, 3] on a mesh [V, 3]."""
        means, quats = self._pose(mesh)
        places = means + _turned(quats, self._arms)
        sums = np.stack([np.bincount(self._owners, places[:, axis], COUNT) for axis in range(3)], axis=1)
        return np.divide(sums, self._counts, out=np.full((COUNT, 3), np.nan), where=self._counts > 0)

    def _pose(self, mesh: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self._driven is None:
            return np.zeros((0, 3)), np.zeros((0, 4))
        splats = self._driven.drive(mesh)
        return splats.means.astype(np.float64), splats.quats_wxyz.astype(np.float64)


class _Near:
    """Distances from landmarks along a mesh, up to `reach`."""

    def __init__(
        self, rest: np.ndarray, splats: SplattingAvatar, marks: FaceMarks, landmarks: np.ndarray, reach: float
    ) -> None:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import dijkstra

        self._landmarks, self._reach = landmarks, reach
        self._corners = splats.faces[splats.face_ids]
        self._rest = rest.astype(np.float64)
        ends = np.concatenate([splats.faces[:, [i, (i + 1) % 3]] for i in range(3)]).astype(np.int64)
        edges = np.stack(np.divmod(np.unique(ends.min(axis=1) * len(rest) + ends.max(axis=1)), len(rest)), axis=1)
        # Landmarks are nodes too, after the vertices, tied to the corners of their triangles.
        first = COUNT - len(marks.corners)
        nodes = len(rest) + np.arange(first, COUNT)
        edges = np.concatenate([edges, np.stack([marks.corners.ravel(), nodes.repeat(3)], axis=1)])
        places = np.concatenate([self._rest, landmarks])
        # A length of 0 would be no edge at all in a sparse matrix.
        length = np.maximum(np.linalg.norm(places[edges[:, 0]] - places[edges[:, 1]], axis=1), 1e-12)
        graph = coo_array((length, (edges[:, 0], edges[:, 1])), shape=(len(places), len(places))).tocsr()
        self._along = np.full((COUNT, len(rest)), np.inf)
        self._along[first:] = dijkstra(graph, directed=False, indices=nodes, limit=reach)[:, : len(rest)]
        self._own = np.full((COUNT, 3), -1)
        self._own[first:] = np.sort(marks.corners, axis=1)

    def carriers(self, means: np.ndarray, candidates: np.ndarray) -> list[np.ndarray]:
        """Return for each landmark which of the candidates [C], indices of Gaussians at means [N, 3], carry it."""
        triangles, places = self._corners[candidates], means[candidates]
        # From a corner straight to the Gaussian; on the landmark's own triangle, straight from the landmark.
        last = np.ascontiguousarray(np.linalg.norm(self._rest[triangles] - places[:, None], axis=2).T)
        corners, same = (np.ascontiguousarray(each.T) for each in (triangles, np.sort(triangles, axis=1)))
        found = []
        for landmark, along, own in zip(self._landmarks, self._along, self._own, strict=True):
            distance = np.minimum.reduce([along[corner] + part for corner, part in zip(corners, last, strict=True)])
            here = np.flatnonzero(np.logical_and.reduce([corner == one for corner, one in zip(same, own, strict=True)]))
            distance[here] = np.linalg.norm(places[here] - landmark, axis=1)
            near = np.flatnonzero(distance <= self._reach)
            found.append(candidates[near[np.argsort(distance[near], kind="stable")[:_CARRIERS]]])
        return found


def posed(head: HeadEvaluator, drive: Drive) -> np.ndarray:
    """Return the mesh of each frame of a drive: [T, V, 3] in world units."""
    state = drive.head
    lids = state.eyelids if head.model.eyelid_fields is not None else None
    return head.vertices(state.expression, state.full_pose, lids, state.translation)


def box_of(points: np.ndarray, camera: Camera) -> np.ndarray:
    """Return left, top, right and bottom [4] of what a camera sees of points [N, 3], without strays; NaN for none."""
    ahead = points[camera.to_camera(points)[:, 2] > 0]
    if not len(ahead):
        return np.full(4, np.nan)
    low, high = np.percentile(camera.project(ahead), (_LOW, _HIGH), axis=0)
    return np.concatenate([low, high])


def _follows(head: HeadEvaluator, vertices: np.ndarray) -> np.ndarray:
    """Return which vertices [N], or triangles of them [N, 3], are the head's own: they follow the neck."""
    still = head.model.skinning_weights[:, 0][vertices]
    return np.asarray((still if still.ndim == 1 else still.mean(axis=1)) <= 1 - _OF_HEAD)


def _turned(quats_wxyz: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return vectors [N, 3] turned by unit quaternions [N, 4]."""
    axis = quats_wxyz[:, 1:]
    across = np.cross(axis, vectors)
    return vectors + 2 * (quats_wxyz[:, :1] * across + np.cross(axis, across))


def _part(splats: SplattingAvatar, chosen: np.ndarray) -> SplattingAvatar:
    """Return some of the Gaussians, without what only their colours need."""
    names = ("face_ids", "bary", "uvd", "rotations_wxyz", "log_scales", "opacity_logits")
    parts: dict[str, Any] = {name: np.ascontiguousarray(getattr(splats, name)[chosen]) for name in names}
    return replace(splats, **parts, sh=np.ascontiguousarray(splats.sh[chosen][:, :1]), colours_outside=False)
