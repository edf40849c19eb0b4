"""How densely Gaussians lie where."""

import numpy as np
from bake_regions import collar_field
from scipy.spatial import cKDTree
from splat_head import Head, step, unit

# Millimetres between neighbours, up to one factor for all; faces of no such material get none.
SPACING = {"skin": 2.3, "lips": 0.72, "mouth": 2.5, "eye": 0.8, "teeth": 1.15, "tongue": 2.2, "hair": 3.4, "cloth": 4.6}
NONE = np.inf
# Of skin, near: the front of the face, the nose, the eyes, the mouth; of ears; of cloth at the neck; of irises.
FACE, NOSE, EYES, MOUTH, EARS, COLLAR, IRIS = 1.70, 1.30, 0.92, 0.90, 1.1, 1.5, 0.40
# Eyes turn by up to half a radian, so lids never show what lies farther back than this, in radii along the gaze.
EYE_BACK = -0.05


def spacing(head: Head) -> np.ndarray:
    """Distance [F] in metres that neighbours should have, up to one factor; NONE where nothing is drawn."""
    middle = head.points[head.faces].mean(1)
    wanted = np.array([SPACING.get(str(name), NONE) for name in head.material])
    for name, rule in (("skin", _skin), ("mouth", _mouth), ("teeth", _teeth), ("eye", _eye), ("cloth", _cloth)):
        own = head.material == name
        wanted[own] = rule(head, own, middle[own], wanted[own])
    # Behind the head less will do.
    behind = np.isin(head.material, ("hair", "skin"))
    wanted[behind] *= 1 + 0.5 * step(0.0, -0.06, middle[behind, 2])
    return wanted / 1000


def _skin(head: Head, own: np.ndarray, middle: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    _, y, z = middle.T
    front = step(0.02, 0.07, z) * step(-0.11, -0.09, y) * step(0.12, 0.09, y)
    wanted = wanted + (FACE - wanted) * front
    eyes = [np.linalg.norm(middle - centre - [0, 0, 0.012], axis=1) for centre in head.eye_centres]
    lips = head.points[head.model.masks["lips"]].mean(0)
    for distance, size, least in (
        (np.min(eyes, axis=0), 0.024, EYES),
        (np.linalg.norm((middle - lips) * [0.75, 1, 1], axis=1), 0.026, MOUTH),
        (np.linalg.norm(middle - [0, -0.008, 0.112], axis=1), 0.020, NOSE),
    ):
        share = step(1.5 * size, 0.8 * size, distance)
        wanted = np.minimum(wanted, wanted + (least - wanted) * share)
    ears = head.at_faces(head.mask("left_ear") | head.mask("right_ear"))[own]
    return np.where(ears > 0.5, EARS, wanted)


def _mouth(head: Head, own: np.ndarray, middle: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    z = middle[:, 2]
    return wanted * (1 + 1.2 * step(0.055, 0.035, z)) * (1 - 0.55 * step(0.085, 0.1, z))


def _teeth(head: Head, own: np.ndarray, middle: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    return wanted * (1 + 2.5 * step(0.085, 0.06, middle[:, 2]))


def _eye(head: Head, own: np.ndarray, middle: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    gaze = np.asarray(head.render["eye_local"], np.float64)[head.faces[own]].mean(1)
    out = np.hypot(gaze[:, 0], gaze[:, 1])
    ball = np.where((out < 0.46) & (gaze[:, 2] > 0), IRIS, wanted + 1.5 * step(0.8, 1.0, out))
    return np.where(gaze[:, 2] < EYE_BACK, NONE, ball)


def _cloth(head: Head, own: np.ndarray, middle: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    wanted = COLLAR + (wanted - COLLAR) * step(0.010, 0.020, from_neckline(head, middle))
    unseen = np.maximum(step(-0.05, -0.09, middle[:, 2]), step(-0.20, -0.24, middle[:, 1]))
    return wanted * (1 + 0.5 * unseen)


def neckline(head: Head) -> tuple[np.ndarray, np.ndarray]:
    """The upper rim of the shirt: sharp edges [E, 2] as vertices, and one of the two faces at each [E]."""
    edges = np.sort(head.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    _, name = np.unique(edges, axis=0, return_inverse=True)
    owner = np.repeat(np.arange(len(head.faces)), 3)
    order = np.argsort(name.reshape(-1), kind="stable")
    pair = np.flatnonzero(np.diff(name.reshape(-1)[order]) == 0)
    one, two = order[pair], order[pair + 1]
    corners = head.points[head.faces]
    normals = unit(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]))
    bend = (normals[owner[one]] * normals[owner[two]]).sum(1)
    high = (collar_field(head.plain)[edges[one]] > -0.005).all(1)
    rim = one[(head.material[owner[one]] == "cloth") & high & (bend > -0.8) & (bend < 0.75)]
    return edges[rim], owner[rim]


def from_neckline(head: Head, points: np.ndarray) -> np.ndarray:
    """Distance [N] in metres of points from the shirt's upper rim."""
    ends = head.points[neckline(head)[0]]
    share = np.linspace(0, 1, 6)[:, None, None]
    return cKDTree((ends[:, 0] * (1 - share) + ends[:, 1] * share).reshape(-1, 3)).query(points)[0]
