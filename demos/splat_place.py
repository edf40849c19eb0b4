"""Where Gaussians lie on the head's surface, how many, and how large they must be.

Points are spread so that each has about the same room, weighted by a density: candidates stratified over the faces,
then a few rounds of Lloyd's algorithm. Distance is measured over several poses at once (see `splat_head.APART`): a lid
that folds away at rest gets as many points as it shows when shut, and lips that touch are not taken for one.
"""

import numpy as np
from scipy.spatial import cKDTree
from splat_head import APART, Head, Points, unit

from marotte.models.rotations import matrix_to_quat_wxyz
from marotte.models.splatting_avatar import SplattingAvatar

CANDIDATES = 14  # for each point
ROUNDS = 5
PART_GAP = 0.5  # metres between parts, in distances: cells do not reach over
REACH = 0.80  # standard deviation over the distance between neighbours
MOST_STRETCH = 3.5


def spread(head: Head, density: np.ndarray, count: int, rounds: int = ROUNDS) -> tuple[Points, np.ndarray]:
    """`count` points for a density [F] of points per area, up to a factor, and the distance between neighbours [N]."""
    apart = np.concatenate(list(head.posed(APART)), axis=1) / np.sqrt(len(APART))
    corners = apart[head.faces]
    one, two = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    # Gram's determinant: the area in a space of any dimension.
    gram = (one**2).sum(1) * (two**2).sum(1) - (one * two).sum(1) ** 2
    weight = density * np.sqrt(np.maximum(gram, 0)) / 2
    candidates = _stratified(weight, count * CANDIDATES if rounds else count)
    parts = np.unique(head.material, return_inverse=True)[1]
    # Skin, lips and lining are one surface; hair and skin too.
    surface = np.isin(head.material, ("skin", "lips", "mouth", "hair"))
    parts = np.where(surface, 0, parts + 1)[candidates.faces]
    place = np.concatenate([head.at(apart, candidates), PART_GAP * parts[:, None]], axis=1)
    order = _coherent(head, candidates)
    chosen = order[((np.arange(count) + 0.5) * len(order) / count).astype(int)]
    for _ in range(rounds):
        _, cell = cKDTree(place[chosen]).query(place, workers=2)
        size = np.maximum(np.bincount(cell, minlength=count), 1)
        middle = np.stack([np.bincount(cell, column, count) for column in place.T], axis=1) / size[:, None]
        away = ((place - middle[cell]) ** 2).sum(1)
        by_cell = np.lexsort((away, cell))
        first = np.searchsorted(cell[by_cell], np.arange(count))
        filled = np.bincount(cell, minlength=count) > 0
        chosen = np.where(filled, by_cell[np.minimum(first, len(by_cell) - 1)], chosen)
    points = candidates.taken(chosen)
    per_area = density[points.faces] * count / weight.sum()
    return points, 1.07 / np.sqrt(per_area)


def _stratified(weight: np.ndarray, count: int) -> Points:
    """About `count` points, on each face as many as its weight [F] is due, at low-discrepancy places."""
    ends = np.cumsum(weight) * (count / weight.sum())
    counts = np.diff(np.round(ends).astype(int), prepend=0)
    faces = np.repeat(np.arange(len(weight)), counts)
    rank = np.arange(len(faces)) - np.repeat(np.cumsum(counts) - counts, counts)
    # Another start on each face, or neighbours would all begin at the same corner.
    u = (0.5 + 0.7548776662 * rank + 0.6180339887 * faces) % 1
    v = (0.5 + 0.5698402910 * rank + 0.3819660113 * (faces % 977)) % 1
    over = u + v > 1
    u, v = np.where(over, 1 - u, u), np.where(over, 1 - v, v)
    return Points(faces, np.stack([1 - u - v, u, v], axis=1))


def _coherent(head: Head, where: Points) -> np.ndarray:
    """Indices [N] that visit the points along a curve through space, so that every n-th of them is a fair sample."""
    grid = np.floor((head.at(head.points, where) - head.points.min(0)) / 0.0012).astype(np.int64)
    code = np.zeros(len(grid), np.int64)
    for bit in range(10):
        for axis in range(3):
            code |= ((grid[:, axis] >> bit) & 1) << (3 * bit + axis)
    return np.argsort(code, kind="stable")


def face_ellipses(head: Head) -> tuple[np.ndarray, np.ndarray]:
    """What a Gaussian on each face must cover, for a spacing of 1: axes [F, 2, 3] at rest and extents [F, 2].

    The extents are the greatest over all poses, seen in the frame that the avatar turns along with the mesh.
    """
    turning = _turning(head)
    rest = _tangents(head.points, head.faces)
    at_rest = np.linalg.inv(np.einsum("fac,fkc->fak", rest, _edges(head.points, head.faces)))
    metric = 0.0
    for vertices in head.posed(APART):
        jacobian = np.einsum("fkc,fka->fca", _edges(vertices, head.faces), at_rest)
        metric = metric + np.einsum("fca,fcb->fab", jacobian, jacobian) / len(APART)
    spacing = np.linalg.inv(metric + 1e-3 * np.eye(2))
    shapes = []
    for vertices in head.stretches:
        turn = turning(vertices)
        # Columns: the rest tangents where the face's turn takes them; rows of `jacobian` are world axes.
        jacobian = np.einsum("fkc,fka->fca", _edges(vertices, head.faces), at_rest)
        local = np.einsum("fac,fdc,fdb->fab", rest, turn, jacobian)
        shapes.append(local @ spacing @ np.swapaxes(local, 1, 2))
    shapes = np.array(shapes)
    trace = np.trace(shapes, axis1=2, axis2=3)[:, :, None, None]
    _, axes = np.linalg.eigh((shapes * trace**2).sum(0))
    extents = np.sqrt(np.maximum(np.einsum("fak,pfab,fbk->pfk", axes, shapes, axes), 0))
    # What a single pose tears apart beyond this would blur the face in all others.
    most = MOST_STRETCH * np.maximum(extents[0], 0.3)
    return np.einsum("fak,fac->fkc", axes, rest), np.minimum(extents.max(0), most)


def _edges(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Two edges of each face: [F, 2, 3]."""
    return vertices[faces[:, 1:]] - vertices[faces[:, :1]]


def _tangents(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Two unit vectors in the plane of each face, at right angles: [F, 2, 3]."""
    one, two = np.moveaxis(_edges(vertices, faces), 1, 0)
    normal = unit(np.cross(one, two))
    along = unit(one)
    return np.stack([along, np.cross(normal, along)], axis=1)


def _turning(head: Head):
    """A function from posed vertices [V, 3] to the turn [F, 3, 3] of a Gaussian in the middle of each face."""
    count = len(head.faces)
    avatar = on_mesh(head, Points(np.arange(count), np.full((count, 3), 1 / 3)))

    def turn(vertices: np.ndarray) -> np.ndarray:
        w, x, y, z = avatar.drive(vertices.astype(np.float32)).quats_wxyz.astype(np.float64).T
        return np.stack(
            [
                np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], axis=1),
                np.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], axis=1),
                np.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], axis=1),
            ],
            axis=1,
        )

    return turn


def on_mesh(head: Head, where: Points) -> SplattingAvatar:
    """Gaussians of no look at points, to see how the mesh turns them."""
    count = len(where.faces)
    return SplattingAvatar(
        face_ids=where.faces.astype(np.int32),
        bary=where.bary.astype(np.float32),
        uvd=np.zeros((count, 3), np.float32),
        rotations_wxyz=np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1)),
        log_scales=np.full((count, 3), -7, np.float32),
        opacity_logits=np.zeros(count, np.float32),
        sh=np.zeros((count, 1, 3), np.float32),
        canonical=head.points.astype(np.float32),
        faces=head.faces.astype(np.int32),
        with_mesh_scaling=False,
    )


def rotations(first: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Quaternions [N, 4] (w, x, y, z) of frames: `first` [N, 3] as nearly as it may be, then across, then `normal`."""
    normal = unit(normal)
    first = unit(first - normal * (first * normal).sum(1, keepdims=True))
    return matrix_to_quat_wxyz(np.stack([first, np.cross(normal, first), normal], axis=2))
