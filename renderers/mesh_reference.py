"""The readable twin of the rasterizer: what every sample sees, by definition, one face after another."""

import numpy as np

from marotte.renderers.mesh_raster import SAMPLE_X, SAMPLE_Y, SAMPLES


def sample_scene(
    vertices: np.ndarray,
    faces: np.ndarray,
    R: np.ndarray,
    t: np.ndarray,
    K: np.ndarray,
    width: int,
    height: int,
    *,
    two_sided: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Return `(nearness, owner)`, each [height, width, SAMPLES]: 1 / z and face id, 0 and -1 where nothing is.

    vertices: [V,3], all in front of the camera Xc = R X + t; faces: [F,3]; K: [3,3] pixels. Faces are
    seen from where their corners run counter-clockwise, or from both sides.
    """
    at = vertices.astype(np.float64) @ R.T + t
    pixels = (at @ K.T)[:, :2] / at[:, 2:]
    corners = np.floor(pixels * 256 + 0.5).astype(np.int64)
    x = 256 * np.arange(width)[None, :, None] + np.array(SAMPLE_X) + np.zeros((height, 1, 1), np.int64)
    y = 256 * np.arange(height)[:, None, None] + np.array(SAMPLE_Y) + np.zeros((1, width, 1), np.int64)
    nearness = np.zeros((height, width, SAMPLES))
    owner = np.full((height, width, SAMPLES), -1)
    for face, ids in enumerate(faces):
        area = _side(corners[ids[0]], corners[ids[1]], *corners[ids[2]])
        if area == 0 or (area > 0 and not two_sided):
            continue
        # Rows run downwards, so that a face seen from outside turns the other way round.
        a, b, c = ids if area > 0 else ids[[0, 2, 1]]
        weights = [_side(corners[p], corners[q], x, y) for p, q in ((b, c), (c, a), (a, b))]
        owned = [_owned(corners[p], corners[q]) for p, q in ((b, c), (c, a), (a, b))]
        inside = np.all([(w > 0) | ((w == 0) & own) for w, own in zip(weights, owned, strict=True)], axis=0)
        here = sum(w / abs(area) / at[v, 2] for w, v in zip(weights, (a, b, c), strict=True))
        seen = inside & (here > nearness)
        nearness[seen] = here[seen]
        owner[seen] = face
    return nearness, owner


def _side(p: np.ndarray, q: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return on which side of the line from p to q the points (x, y) lie: positive on its right."""
    return (q[0] - p[0]) * (y - p[1]) - (q[1] - p[1]) * (x - p[0])


def _owned(p: np.ndarray, q: np.ndarray) -> bool:
    """Tell whether samples on the edge from p to q belong to the face on its right: left and top edges do."""
    return bool(q[1] < p[1] or (q[1] == p[1] and q[0] > p[0]))
