"""The face's regions, by distance to its landmarks, on any head."""

import numpy as np

from marotte.runtime.transfer.landmarks import BROWS, EYE_CORNERS, EYES, INNER_LIPS, NOSE, OUTER_LIPS, chain

# How much each region counts in the fit, and how far it reaches from its landmarks, in widths between the eyes' outer
# corners (about 9 cm). The others share what is left of the face, up to the last distance from any landmark.
WEIGHTS = {"lips": 8.0, "lids": 4.0, "brows": 2.0, "nose": 1.0, "cheeks": 2.0, "chin": 2.0, "forehead": 1.0}
_REACH = {"lips": 0.07, "lids": 0.08, "brows": 0.10, "nose": 0.16}
_FACE = 0.45


def regions(vertices: np.ndarray, points: dict[int, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the indices of the vertices [V, 3] of each region, by name; points: the landmarks by number."""
    from scipy.spatial import cKDTree

    width = np.linalg.norm(points[EYE_CORNERS[0]] - points[EYE_CORNERS[1]])
    rows = {
        "lips": [chain(points, OUTER_LIPS, 4, closed=True), chain(points, INNER_LIPS, 4, closed=True)],
        "lids": [chain(points, eye, 4, closed=True) for eye in EYES],
        "brows": [chain(points, brow, 4, closed=False) for brow in BROWS],
        "nose": [chain(points, part, 4, closed=False) for part in NOSE],
    }
    apart = {name: cKDTree(np.concatenate(parts)).query(vertices)[0] / width for name, parts in rows.items()}
    share = np.stack([apart[name] / reach for name, reach in _REACH.items()])
    inside, nearest = share.min(axis=0) < 1, share.argmin(axis=0)
    found = {name: np.flatnonzero(inside & (nearest == k)) for k, name in enumerate(_REACH)}
    mouth, brows = (np.concatenate(rows[name]).mean(axis=0) for name in ("lips", "brows"))
    up = (brows - mouth) / np.linalg.norm(brows - mouth)
    height = (vertices - mouth) @ up / np.linalg.norm(brows - mouth)
    rest = ~inside & (np.stack(list(apart.values())).min(axis=0) < _FACE)
    found["cheeks"] = np.flatnonzero(rest & (height >= -0.1) & (height < 0.9))
    found["chin"] = np.flatnonzero(rest & (height < -0.1))
    found["forehead"] = np.flatnonzero(rest & (height >= 0.9))
    return found
