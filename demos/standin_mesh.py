"""A mesh with fewer vertices, chosen among its own, so that whatever lies at vertices is kept by choosing rows."""

import heapq
from dataclasses import dataclass

import numpy as np

# A face whose normal would turn by more than this (its cosine) is not made.
_LEAST_TURN = 0.2


@dataclass(frozen=True)
class Thinned:
    """kept: [N] numbers of the old vertices, rising; faces: [F, 3] of the new numbers; onto: [V] the new number that
    each old vertex was joined to.
    """

    kept: np.ndarray
    faces: np.ndarray
    onto: np.ndarray


def thin(vertices: np.ndarray, faces: np.ndarray, count: int) -> Thinned:
    """Return a mesh of `count` vertices: again and again the shortest edge's one end is moved into the other.

    Edges stay manifold, borders stay where they are as far as their vertices do, and no face turns over. Raises
    ValueError where that cannot be.
    """
    points = vertices.astype(float).tolist()
    around: list[set[int]] = [set() for _ in points]  # faces of a vertex
    corners = [tuple(face) for face in faces.tolist()]
    for number, face in enumerate(corners):
        for vertex in face:
            around[vertex].add(number)
    onto = list(range(len(points)))
    alive = len(points)

    def beside(vertex: int) -> set[int]:
        return {other for number in around[vertex] for other in corners[number]} - {vertex}

    def length(a: int, b: int) -> float:
        (ax, ay, az), (bx, by, bz) = points[a], points[b]
        return (ax - bx) ** 2 + (ay - by) ** 2 + (az - bz) ** 2

    def joinable(a: int, b: int) -> bool:
        shared = around[a] & around[b]
        if not shared or len(beside(a) & beside(b)) != len(shared) or len(around[b]) < 3:
            return False
        border = any(len(around[b] & around[other]) == 1 for other in beside(b))
        if border and len(shared) != 1:
            return False
        return all(_upright(points, corners[number], b, a) for number in around[b] - shared)

    heap = [(length(a, b), a, b) for face in corners for a, b in zip(face, face[1:] + face[:1], strict=True)]
    heap += [(cost, b, a) for cost, a, b in heap]
    heapq.heapify(heap)
    while alive > count:
        if not heap:
            raise ValueError(f"the mesh cannot be brought below {alive} vertices")
        _, a, b = heapq.heappop(heap)
        if onto[a] != a or onto[b] != b or not joinable(a, b):
            continue
        for number in around[b]:
            face = corners[number]
            if a in face:
                for vertex in face:
                    if vertex != b:
                        around[vertex].discard(number)
            else:
                x, y, z = (a if vertex == b else vertex for vertex in face)
                corners[number] = (x, y, z)
                around[a].add(number)
        around[b] = set()
        onto[b] = a
        alive -= 1
        for other in beside(a):
            heapq.heappush(heap, (length(a, other), a, other))
            heapq.heappush(heap, (length(a, other), other, a))
    kept = np.array([vertex for vertex in range(len(points)) if onto[vertex] == vertex and around[vertex]])
    if len(kept) != count:
        raise ValueError(f"{count - len(kept)} vertices are on no face")
    new = np.full(len(points), -1)
    new[kept] = np.arange(count)
    left = sorted(set().union(*(around[vertex] for vertex in kept.tolist())))
    return Thinned(kept, new[np.array([corners[number] for number in left])], new[_roots(onto)])


def _upright(points: list[list[float]], face: tuple[int, ...], old: int, new: int) -> bool:
    before = _normal(*(points[vertex] for vertex in face))
    after = _normal(*(points[new if vertex == old else vertex] for vertex in face))
    return _dot(before, after) > _LEAST_TURN * (_dot(before, before) * _dot(after, after)) ** 0.5


def _dot(a: tuple[float, float, float], b: tuple[float, float, float]) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _normal(a: list[float], b: list[float], c: list[float]) -> tuple[float, float, float]:
    ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    vx, vy, vz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    return uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx


def _roots(onto: list[int]) -> np.ndarray:
    """Return for each vertex the one that it was joined to in the end."""
    roots = np.array(onto)
    while True:
        further = roots[roots]
        if np.array_equal(further, roots):
            return roots
        roots = further
