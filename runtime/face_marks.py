"""The face's 68 landmarks on a head model's mesh, in iBUG's order, for whoever measures what was posed."""

from dataclasses import dataclass

import numpy as np

from marotte.models.flame import FlameModel
from marotte.models.flame_landmarks import Landmarks
from marotte.models.flame_numba import HeadEvaluator

COUNT, JAW_LINE = 68, 17


@dataclass(frozen=True, eq=False)
class FaceMarks:
    """Landmarks as points on triangles.

    corners: [n, 3] vertices and weights: [n, 3] of theirs, of the last n of the 68: where a model leaves out the jaw
    line, n is 51, and the first 17 are NaN wherever points are asked for.
    """

    corners: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, model: FlameModel) -> "FaceMarks | None":
        """Return a model's landmarks; None where it has none of the face."""
        marks = model.landmarks or Landmarks()
        # The 70 are the 68 and two irises.
        found = marks.full68 or marks.full70 or marks.static51
        if found is None:
            return None
        return cls(model.faces[np.asarray(found.faces)[:COUNT]], np.asarray(found.bary, np.float64)[:COUNT])

    def points(self, vertices: np.ndarray) -> np.ndarray:
        """Return the landmarks [T, 68, 3] float64 on vertices [T, V, 3], in their unit."""
        out = np.full((len(vertices), COUNT, 3), np.nan)
        # Weights are taken as they are, as the models' own code does.
        out[:, COUNT - len(self.corners) :] = (vertices[:, self.corners] * self.weights[..., None]).sum(axis=2)
        return out


def rest_vertices(head: HeadEvaluator) -> np.ndarray:
    """Return the neutral head [V, 3], unturned."""
    return head.vertices(np.zeros((1, 0), np.float32), np.zeros((1, 15), np.float32))[0]
