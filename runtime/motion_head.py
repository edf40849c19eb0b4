"""A head model to measure motion on: its lips, its upper face and its mouth, frame by frame.

The head is held still: rotation and translation of the head, eyes, lids and idle life do not count, only the
expression and the jaw. Vertices are in millimetres; x to the person's left, y up, z to the front.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from marotte.errors import MarotteError
from marotte.models.flame import FlameModel
from marotte.models.flame_files import read_landmarks, read_masks
from marotte.models.flame_landmarks import Embedding, Landmarks
from marotte.models.flame_numba import HeadEvaluator
from marotte.runtime.avatar import load_avatar
from marotte.runtime.motion import Motion
from marotte.runtime.splats import avatar_person

# Frames that are posed at once: 11 MB for each 3500 vertices.
_BATCH = 256
_MM = 1000.0

# The 68 landmarks of the face: brows, eyes, outer and inner lips. Inner lips: upper and lower of three pairs.
_BROWS, _EYES, _LIPS = slice(17, 27), slice(36, 48), slice(48, 68)
_OUTER_MIDDLES, _INNER_MIDDLES = (51, 57), (62, 66)
_INNER_UPPER, _INNER_LOWER = (61, 62, 63), (67, 66, 65)

# Regions by the names of masks: FLAME_masks.pkl's, and those of our own heads.
_LIP_MASKS = ("lips",)
_UPPER_MASKS = ("forehead", "eye_region", "brow_left", "brow_right", "lids_left", "lids_right")
_EYEBALLS = ("left_eyeball", "right_eyeball")


@dataclass(frozen=True)
class Posed:
    """Some frames: lips [T, L, 3] and upper [T, U, 3] in mm, gap [T] between the inner lips in mm, None without
    landmarks. What a head has no region for has no vertices.
    """

    lips: np.ndarray
    upper: np.ndarray
    gap: np.ndarray | None


class MeasuredHead:
    """A head and its regions. lips_by, upper_by: how they were chosen, in words; empty where there is no such region.

    rest: the neutral head, one frame.
    """

    def __init__(self, model: FlameModel, name: str) -> None:
        self.name, self.basis = name, model.basis
        self._evaluator = HeadEvaluator(model)
        marks = _face68(model.landmarks or Landmarks())
        self._marks, self._faces = marks, model.faces
        self._lips, self.lips_by = _lips(model, marks)
        self._upper, self.upper_by = _upper(model, marks)
        self.rest = next(self.frames(np.zeros((1, 106), np.float32)))

    @classmethod
    def load(
        cls,
        name: str | Path,
        *,
        landmarks: str | Path | None = None,
        masks: str | Path | None = None,
    ) -> "MeasuredHead":
        """Return the head of an avatar, by name or folder, or of a FLAME file or one of our own heads.

        landmarks, masks: landmark_embedding.npy and FLAME_masks.pkl, for files that lack them. Raises MarotteError.
        """
        if Path(name).is_file():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # `check` names the basis where it matters
                return cls(FlameModel.load(name, landmarks=landmarks, masks=masks), Path(name).name)
        avatar = load_avatar(name)
        if not avatar.head:
            raise MarotteError(f"avatar {avatar.name} names no head model to measure on: give the model's file")
        model = avatar_person(avatar)
        if landmarks is not None:
            model = replace(model, landmarks=read_landmarks(landmarks))
        if masks is not None:
            model = replace(model, masks=read_masks(masks))
        return cls(model, avatar.name)

    def check(self, motion: Motion) -> None:
        """Raise MarotteError where a motion's expressions are not this head's."""
        if motion.basis != self.basis:
            raise MarotteError(
                f"the motions are in {motion.basis}, the head {self.name} is in {self.basis}: give a head of their "
                "basis (a FLAME file counts as flame2023 if 2023 is in its name, else as flame2020)"
            )

    def frames(self, codes: np.ndarray) -> Iterator[Posed]:
        """Yield the frames of codes [T, 106] in batches."""
        known = self._evaluator.model.expression_dirs.shape[-1]
        for start in range(0, len(codes), _BATCH):
            rows = codes[start : start + _BATCH]
            pose = np.zeros((len(rows), 15), np.float32)
            pose[:, 6:9] = rows[:, 103:106]
            vertices = self._evaluator.vertices(np.ascontiguousarray(rows[:, : min(known, 100)]), pose)
            gap = None
            if self._marks is not None:
                points = self._marks.points(vertices, self._faces).astype(np.float64) * _MM
                gap = np.maximum(points[:, _INNER_UPPER, 1] - points[:, _INNER_LOWER, 1], 0).max(axis=1)
            lips, upper = (vertices[:, part].astype(np.float64) * _MM for part in (self._lips, self._upper))
            yield Posed(lips, upper, gap)


def _face68(marks: Landmarks) -> Embedding | None:
    """Return the face's 68 landmarks in whatever form a head has them; the jaw line may be wrong, nobody needs it."""
    if marks.full68 is not None:
        return marks.full68
    if marks.full70 is not None:
        return Embedding(marks.full70.faces[:68], marks.full70.bary[:68])
    if marks.static51 is not None:
        jaw = [0] * 17
        faces, bary = marks.static51.faces, marks.static51.bary
        return Embedding(np.concatenate([faces[jaw], faces]), np.concatenate([bary[jaw], bary]))
    return None


def _lips(model: FlameModel, marks: Embedding | None) -> tuple[np.ndarray, str]:
    if indices := _masked(model, _LIP_MASKS):
        return np.array(indices), f"mask `lips`, {len(indices)} vertices"
    if marks is None:
        return np.zeros(0, int), ""
    points = _rest_points(model, marks)
    thickness = np.linalg.norm(points[_OUTER_MIDDLES, :] - points[_INNER_MIDDLES, :], axis=-1).mean()
    found = _near(model, marks.faces[_LIPS], thickness / 2)
    return found, f"{len(found)} vertices within half a lip's height of the lip landmarks (48 to 67), along the mesh"


def _upper(model: FlameModel, marks: Embedding | None) -> tuple[np.ndarray, str]:
    if indices := _masked(model, _UPPER_MASKS):
        names = ", ".join(name for name in _UPPER_MASKS if name in model.masks)
        return np.array(indices), f"masks {names} without eyeballs, {len(indices)} vertices"
    if marks is None:
        return np.zeros(0, int), ""
    points = _rest_points(model, marks)
    reach = abs(points[_BROWS, 1].mean() - points[_EYES, 1].mean()) / 2
    found = _near(model, marks.faces[_BROWS], reach)
    return found, (
        f"{len(found)} vertices within half the height between brows and eyes of the brow landmarks (17 to 26), "
        "along the mesh"
    )


def _masked(model: FlameModel, names: tuple[str, ...]) -> list[int]:
    chosen = {int(i) for name in names for i in model.masks.get(name, ())}
    return sorted(chosen - {int(i) for name in _EYEBALLS for i in model.masks.get(name, ())})


def _rest_points(model: FlameModel, marks: Embedding) -> np.ndarray:
    return np.asarray(marks.points(model.v_template[None], model.faces)[0], np.float64)


def _near(model: FlameModel, faces: np.ndarray, reach: float) -> np.ndarray:
    """Return the vertices of these faces and those within `reach` (metres) of them along the mesh's edges."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import dijkstra

    edges = np.unique(np.sort(np.concatenate([model.faces[:, [i, (i + 1) % 3]] for i in range(3)]), axis=1), axis=0)
    length = np.linalg.norm(model.v_template[edges[:, 0]] - model.v_template[edges[:, 1]], axis=1)
    count = len(model.v_template)
    # A length of 0 would be no edge at all in a sparse matrix.
    graph = coo_array((np.maximum(length, 1e-12), (edges[:, 0], edges[:, 1])), shape=(count, count)).tocsr()
    seeds = np.unique(model.faces[faces])
    distance = dijkstra(graph, directed=False, indices=seeds, limit=float(reach), min_only=True)
    return np.flatnonzero(np.isfinite(distance))
