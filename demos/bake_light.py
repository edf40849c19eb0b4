"""Ambient occlusion from many depth maps of a densely sampled surface, and front views of a mesh."""

import numpy as np
from bake_mesh import vertex_normals

DIRECTIONS = 240
CELL = 0.0012  # metres of a depth map's pixel
BIAS = 0.0025  # metres by which a vertex may lie below the surface seen


def occlusion(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Cosine-weighted share [V] of the hemisphere over each vertex that is open, 1 where nothing hides it."""
    normals = vertex_normals(points, triangles)
    surface = _samples(points, triangles, 0.7 * CELL)
    lifted = points + 0.0008 * normals
    index = np.arange(DIRECTIONS) + 0.5
    height, around = 1 - 2 * index / DIRECTIONS, np.pi * (1 + 5**0.5) * index
    flat = np.sqrt(1 - height**2)
    directions = np.stack([flat * np.cos(around), height, flat * np.sin(around)], axis=1)
    seen, total = np.zeros(len(points)), np.zeros(len(points))
    for direction in directions:
        facing = np.maximum(normals @ direction, 0)
        side = np.cross(direction, [0.0, 0.0, 1.0] if abs(direction[2]) < 0.9 else [1.0, 0.0, 0.0])
        side /= np.linalg.norm(side)
        frame = np.stack([side, np.cross(direction, side), direction])
        cloud, query = surface @ frame.T, lifted @ frame.T
        low = np.minimum(cloud.min(0), query.min(0))[:2]
        size = (np.maximum(cloud.max(0), query.max(0))[:2] - low) // CELL + 1
        width = int(size[0])
        cells = ((cloud[:, :2] - low) // CELL) @ [1, width]
        top = np.full(width * int(size[1]), -np.inf)
        np.maximum.at(top, cells.astype(int), cloud[:, 2])
        free = query[:, 2] + BIAS >= top[(((query[:, :2] - low) // CELL) @ [1, width]).astype(int)]
        seen += facing * free
        total += facing
    return seen / np.maximum(total, 1e-9)


def _samples(points: np.ndarray, triangles: np.ndarray, spacing: float) -> np.ndarray:
    """Points spread over all triangles, about one per square of the spacing."""
    a, b, c = (points[triangles[:, i]] for i in range(3))
    area = 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1)
    counts = np.ceil(area / spacing**2).astype(int)
    of = np.repeat(np.arange(len(triangles)), counts)
    rank = np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts)
    u, v = (0.5 + 0.7548776662 * rank) % 1, (0.5 + 0.5698402910 * rank) % 1
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    return a[of] + u[:, None] * (b - a)[of] + v[:, None] * (c - a)[of]


class FrontView:
    """What an orthographic camera in front of the face sees: per pixel the front triangle and its depth."""

    def __init__(self, points: np.ndarray, triangles: np.ndarray, low: tuple, high: tuple, step: float):
        self.points, self.triangles, self.low, self.step = points, triangles, np.array(low), step
        width, height = (int(n) for n in np.ceil((np.array(high) - self.low) / step))
        self.depth = np.full((height, width), -np.inf)
        self.face = np.full((height, width), -1)
        pixel = (points[:, :2] - self.low) / step - 0.5
        corners = pixel[triangles]
        least = np.maximum(np.ceil(corners.min(1)), 0).astype(int)
        most = np.minimum(np.floor(corners.max(1)), [width - 1, height - 1]).astype(int)
        for i in np.flatnonzero((least <= most).all(1)):
            xs, ys = np.arange(least[i, 0], most[i, 0] + 1), np.arange(least[i, 1], most[i, 1] + 1)
            weights = _barycentric(corners[i], xs[None, :], ys[:, None])
            if weights is None:
                continue
            z = sum(w * points[triangles[i, j], 2] for j, w in enumerate(weights))
            window = np.s_[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1]
            front = (np.minimum.reduce(weights) >= -1e-9) & (z > self.depth[window])
            self.depth[window] = np.where(front, z, self.depth[window])
            self.face[window] = np.where(front, i, self.face[window])

    def hit(self, x: float, y: float) -> tuple[int, np.ndarray]:
        """The front triangle at a position and the barycentric weights there."""
        column, row = (int(n) for n in np.floor((np.array([x, y]) - self.low) / self.step))
        face = int(self.face[row, column])
        if face < 0:
            raise ValueError(f"nothing is seen at {x}, {y}")
        weights = _barycentric(self.points[self.triangles[face], :2], np.float64(x), np.float64(y))
        weights = np.clip(np.array(weights), 0, None)
        return face, weights / weights.sum()

    def position(self, column: float, row: float) -> np.ndarray:
        """x and y of a pixel's centre."""
        return self.low + (np.array([column, row]) + 0.5) * self.step


def _barycentric(corners: np.ndarray, x, y):
    (ax, ay), (bx, by), (cx, cy) = corners[:, :2]
    area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
    if abs(area) < 1e-14:
        return None
    u = ((bx - x) * (cy - y) - (cx - x) * (by - y)) / area
    v = ((cx - x) * (ay - y) - (ax - x) * (cy - y)) / area
    return u, v, 1 - u - v
