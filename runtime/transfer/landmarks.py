"""Landmarks that two heads have in common: the 68 of the face, whatever embedding a head has them in."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from marotte.errors import MarotteError
from marotte.models.flame import FlameModel
from marotte.models.flame_landmarks import Embedding, Landmarks

# Of the 68, by number: the face's parts, and which lip or lid each point of the mouth and the eyes is on.
BROWS = (range(17, 22), range(22, 27))
NOSE = (range(27, 31), range(31, 36))
EYES = (range(36, 42), range(42, 48))
OUTER_LIPS, INNER_LIPS = range(48, 60), range(60, 68)
EYE_CORNERS, MOUTH_CORNERS = (36, 45), (48, 54)
_NEEDED = {*EYE_CORNERS, 39, 42, 40, 47, *MOUTH_CORNERS, 60, 64, 62, 66, 19, 24, 30, 33}
# How far in front of a landmark, in widths of all of them, the head may still be: inner lips lie behind outer ones.
_HIDDEN = 0.08
INSIDE = range(17, 68)  # all but the jaw line, whose place is a matter of taste

# The seams that open and shut, as chains of an upper and a lower edge from corner to corner. Left is the person's.
SEAMS = {
    "lips": ((60, 61, 62, 63, 64), (60, 67, 66, 65, 64)),
    "left lid": ((42, 43, 44, 45), (42, 47, 46, 45)),
    "right lid": ((36, 37, 38, 39), (36, 41, 40, 39)),
}

# Mediapipe's points that are closest in meaning to landmarks 17 to 67, in their order.
_MEDIAPIPE = (
    *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300),
    *(168, 197, 5, 4, 98, 97, 2, 326, 327),
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181),
    *(78, 81, 13, 311, 308, 402, 14, 178),
)


@dataclass(frozen=True, eq=False)
class Marks:
    """Points of the face on a head's mesh: numbers [N] among the 68, ascending, and where they lie."""

    numbers: np.ndarray
    embedding: Embedding

    def points(self, vertices: np.ndarray, faces: np.ndarray) -> dict[int, np.ndarray]:
        """Return the points [3] by number, on vertices [V, 3]."""
        found = self.embedding.points(vertices[None], faces)[0].astype(np.float64)
        return dict(zip(self.numbers.tolist(), found, strict=True))

    def only(self, numbers: np.ndarray) -> "Marks":
        """Return those of these numbers."""
        kept = np.isin(self.numbers, numbers)
        return Marks(self.numbers[kept], Embedding(self.embedding.faces[kept], self.embedding.bary[kept]))


def face_marks(model: FlameModel) -> Marks:
    """Return a head's landmarks, from the first embedding that will do.

    Landmarks that the face itself hides, seen from the front, are misplaced and left out. Raises MarotteError where
    there are none, or where one that is indispensable is not on the face.
    """
    found = model.landmarks or Landmarks()
    whole = found.full68 or found.full70
    if whole is not None:
        marks = Marks(np.arange(68), Embedding(whole.faces[:68], whole.bary[:68]))
    elif found.static51 is not None:
        marks = Marks(np.arange(17, 68), found.static51)
    elif found.mediapipe105 is not None and found.mediapipe_ids is not None:
        ids = found.mediapipe_ids.tolist()
        rows = [ids.index(point) for point in _MEDIAPIPE if point in ids]
        numbers = np.array([n for n, point in enumerate(_MEDIAPIPE, 17) if point in ids], np.int64)
        marks = Marks(numbers, Embedding(found.mediapipe105.faces[rows], found.mediapipe105.bary[rows]))
    else:
        raise MarotteError(
            f"the {model.basis} head has no landmarks of the face: put landmark_embedding.npy or "
            "mediapipe_landmark_embedding.npz beside its file"
        )
    marks = marks.only(marks.numbers[_seen(model, marks)])
    if missing := sorted(_NEEDED - set(marks.numbers.tolist())):
        raise MarotteError(
            f"landmarks {', '.join(map(str, missing))} of the {model.basis} head are not on its face: get "
            "landmark_embedding.npy of this very mesh"
        )
    return marks


def _seen(model: FlameModel, marks: Marks) -> np.ndarray:
    """Return which landmarks [N] lie on the head as seen from the front, give or take a lip's thickness."""
    points = np.array(list(marks.points(model.v_template, model.faces).values()))
    corners = np.asarray(model.v_template, np.float64)[model.faces]
    first, second, third = np.ascontiguousarray(corners[..., :2].transpose(1, 2, 0))  # [2, F] each
    low = np.minimum(np.minimum(first, second), third)
    high = np.maximum(np.maximum(first, second), third)
    width = np.ptp(points[:, 0])
    seen = np.ones(len(points), bool)
    for row, point in enumerate(points):
        near = np.flatnonzero((low[0] <= point[0]) & (point[0] <= high[0]))
        near = near[(low[1, near] <= point[1]) & (point[1] <= high[1, near])]
        a, b, c = corners[near].transpose(1, 0, 2)
        area = _cross(b - a, c - a)
        area = np.where(area == 0, np.inf, area)
        v, w = _cross(point - a, c - a) / area, _cross(b - a, point - a) / area
        depth = (a + v[:, None] * (b - a) + w[:, None] * (c - a))[(v >= 0) & (w >= 0) & (v + w <= 1), 2]
        seen[row] = depth.max(initial=-np.inf) - point[2] < _HIDDEN * width
    return seen


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def chain(points: dict[int, np.ndarray], numbers: Iterable[int], parts: int, *, closed: bool) -> np.ndarray:
    """Return [M, 3], the points in a row with each way between two neighbours cut in so many parts, ends included.

    Numbers that have no point are passed over.
    """
    there = [points[n] for n in numbers if n in points]
    row = np.array(there + there[:1] if closed else there)
    share = np.arange(parts)[:, None] / parts
    between = [a + share * (b - a) for a, b in pairwise(row)]
    return np.concatenate([*between, row[-1:]])
