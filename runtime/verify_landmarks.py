"""Where landmarks were seen, and how far from there the avatar's own landmarks are projected.

Sources, in this order: a file that is named; `flame_keypoints` in flame_params.json, in [-1, 1] of the picture;
metrical-tracker's `kpt/NNNNN.npy` beside the pictures, in pixels. IMavatar's preparation is known to write the
projected points of FLAME under `flame_keypoints`, others write detections there: what they are is told from how
exactly they agree.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from marotte.errors import MarotteError
from marotte.models.flame_landmarks import Embedding, Landmarks
from marotte.models.safe_files import read_any
from marotte.runtime.cameras.doctor.noise import estimate_noise
from marotte.runtime.cameras.doctor.readings import Reading
from marotte.runtime.cameras.doctor.setting import Landmarks as Points
from marotte.runtime.cameras.doctor.setting import Setting, read_landmarks
from marotte.runtime.tracked_frames import AvatarHead, TrackedFrames

# Of 68 points the first 17 are the jaw line, which slides with the view and is not the same point in two detectors.
_CONTOUR = 17
# The outer corners of the eyes among the 51 others; their distance is the measure that errors are given in.
_EYES_OF_51, _EYES_OF_68 = (19, 28), (36, 45)
# Where no such points are known: the outer corners' distance, in metres.
_TYPICAL = 0.09
# Points that agree this well, in pixels, were not detected in a picture but projected.
_EXACT = 0.05
# Off: farther than detectors are, in parts of the distance of the eyes; or than what free cameras leave.
_FAR, _SLACK, _SHARE = 0.12, 2.5, 0.02
# What free cameras leave of points that are not this head's at all, in parts of the distance of the eyes.
_STRANGE = 0.25
# The doctor looks at so many frames; the others' judges need no more either.
JUDGED = 24
_MEDIAPIPE = (468, 478)


@dataclass(frozen=True, eq=False)
class Measured:
    """Landmarks of T frames. points: [T, P, 3] the avatar's, in metres; pixels: [T, P, 2], NaN where not seen.

    source: where from, words.
    """

    points: np.ndarray
    pixels: np.ndarray
    source: str


@dataclass(frozen=True, eq=False)
class Reprojection:
    """errors: [T, P] pixels, NaN where not seen, infinite behind the camera. eyes: [T] pixels between the eyes.

    floor: the median error in pixels that a free projective camera for each frame leaves: noise, no camera's fault.
    """

    measured: Measured
    projected: np.ndarray
    errors: np.ndarray
    eyes: np.ndarray
    floor: float

    @property
    def frames(self) -> np.ndarray:
        """[T] the median error of each frame in pixels."""
        return _median(self.errors, axis=1)

    @property
    def median(self) -> float:
        """Median over all points, in pixels."""
        return float(_median(self.errors))

    @property
    def p95(self) -> float:
        """95th percentile over all points, in pixels."""
        seen = self.errors[~np.isnan(self.errors)]
        return float(np.percentile(seen, 95, method="nearest")) if len(seen) else float("nan")

    @property
    def eye_distance(self) -> float:
        """Median distance of the eyes in pixels."""
        return float(_median(self.eyes))

    @property
    def exact(self) -> bool:
        """Whether the measured points are projections of this very head, no detections."""
        return self.floor < _EXACT

    @property
    def strange(self) -> bool:
        """Whether no camera whatever puts the points where they were seen, so that they judge none."""
        return bool(self.floor > _STRANGE * max(self.eye_distance, 1e-6)) and bool(np.isfinite(self.floor))

    @property
    def off(self) -> bool:
        """Whether the cameras do not put the points where they were seen."""
        unit = max(self.eye_distance, 1e-6)
        return bool(self.median > _FAR * unit or self.median > _SLACK * self.floor + _SHARE * unit)


def measure(tracked: TrackedFrames, frames: Sequence[int], vertices: np.ndarray, file: Path | None) -> Measured | None:
    """Return the landmarks that were seen in some frames, None where there are none or the head has no embedding.

    vertices: [T, V, 3] of these frames, in the avatar's unit. file: an npz with points2d [N, P, 2] and, as for the
    doctor, points3d [P, 3] that stand still in FLAME's world; without points3d, or an npy, they are the head's own
    landmarks (51, 68, 70, 105, or mediapipe's 468 or 478). Raises MarotteError where a file that is named cannot be
    used.
    """
    if file is not None:
        return _named(tracked, frames, vertices, file)
    found = _keypoints(tracked, frames)
    if found is None:
        found = _tracker_files(tracked, frames)
    if found is None:
        return None
    pixels, source = found
    chosen = _chosen(tracked.head, pixels.shape[1])
    if chosen is None:
        return None
    embedding, columns = chosen
    return Measured(_points(tracked.head, embedding, vertices), pixels[:, columns], source)


def reproject(measured: Measured, reading: Reading) -> Reprojection:
    """Return how far the landmarks are off. reading: the cameras of these T frames, in metres."""
    at = np.einsum("tij,tpj->tpi", reading.R, measured.points) + reading.t[:, None]
    depth = at[..., 2:]
    safe = np.where(np.abs(depth) < 1e-9, 1e-9, depth)
    pixels = at[..., :2] / safe * reading.K[:, None, [0, 1], [0, 1]] + reading.K[:, None, :2, 2]
    errors = np.linalg.norm(pixels - measured.pixels, axis=-1)
    errors = np.where((depth[..., 0] <= 0) & np.isfinite(errors), np.inf, errors)
    return Reprojection(measured, pixels, errors, _eyes(measured, reading), _floor(measured))


def no_reason(head: AvatarHead) -> str:
    """Return why there are no landmarks, as a sentence."""
    if head.model.landmarks is None:
        return "the head model has no landmarks: put landmark_embedding.npy beside it, or `marotte assets add` it"
    return "the tracking has no landmarks that fit this head: give them with --landmarks"


def _named(tracked: TrackedFrames, frames: Sequence[int], vertices: np.ndarray, file: Path) -> Measured:
    content = read_any(file)
    if isinstance(content, dict) and "points3d" in content:
        given = read_landmarks(file, Setting(), tracked.head.unit)
        pixels = np.where(given.seen[..., None], given.points2d, np.nan)
        points = np.broadcast_to(given.points3d, (len(frames), *given.points3d.shape))
        return Measured(points, _rows(file, pixels, tracked, frames), f"{file.name}: points3d and points2d")
    array = content.get("points2d") if isinstance(content, dict) else content
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu" or array.ndim != 3 or array.shape[2] < 2:
        raise MarotteError(
            f"{file} needs points2d [frames, points, 2] in pixels, and points3d [points, 3] as the doctor"
        )
    chosen = _chosen(tracked.head, array.shape[1])
    if chosen is None:
        why = no_reason(tracked.head) if tracked.head.model.landmarks is None else "known are 51, 68, 70, 105, 468, 478"
        raise MarotteError(f"{file} has {array.shape[1]} points without points3d: {why}")
    embedding, columns = chosen
    pixels = _rows(file, array[..., :2].astype(np.float64), tracked, frames)[:, columns]
    return Measured(_points(tracked.head, embedding, vertices), pixels, f"{file.name}: {array.shape[1]} points")


def _rows(file: Path, pixels: np.ndarray, tracked: TrackedFrames, frames: Sequence[int]) -> np.ndarray:
    if len(pixels) != len(tracked):
        raise MarotteError(f"{file} has landmarks of {len(pixels)} frames, the tracking has {len(tracked)} frames")
    return pixels[np.asarray(frames)]


def _keypoints(tracked: TrackedFrames, frames: Sequence[int]) -> tuple[np.ndarray, str] | None:
    """Return `flame_keypoints` in pixels: [-1, 1] is the whole picture, 2 x / size - 1."""
    records = tracked.track.extra.get("frames") if tracked.track.format == "imavatar" else None
    if not records:
        return None
    found: list[np.ndarray] = []
    for frame in frames:
        try:
            points = np.array(records[frame].get("flame_keypoints"), np.float64)
        except (TypeError, ValueError):
            return None
        if points.ndim != 2 or points.shape[1] < 2 or (found and len(points) != len(found[0])):
            return None
        camera = tracked.cameras[frame]
        found.append((points[:, :2] + 1) / 2 * (camera.width, camera.height))
    return np.stack(found), "flame_keypoints of flame_params.json"


def _tracker_files(tracked: TrackedFrames, frames: Sequence[int]) -> tuple[np.ndarray, str] | None:
    """Return the points of `kpt/NNNNN.npy` beside the pictures."""
    paths = tracked.pictures.paths
    found = []
    for frame in frames if paths else ():
        name = Path("kpt") / f"{paths[frame].stem}.npy"
        file = next(
            (f for root in (paths[frame].parent, paths[frame].parent.parent) if (f := root / name).is_file()), None
        )
        array = None if file is None else read_any(file)
        if not isinstance(array, np.ndarray) or array.ndim != 2 or array.shape[1] < 2 or array.dtype.kind not in "fiu":
            return None
        camera = tracked.cameras[frame]
        size = (camera.width, camera.height) if np.nanmax(np.abs(array)) < 2 else (1, 1)
        found.append(array[:, :2].astype(np.float64) * size)
    if not found or len({len(points) for points in found}) > 1:
        return None
    return np.stack(found), "the tracker's kpt files"


def _chosen(head: AvatarHead, count: int) -> tuple[Embedding, np.ndarray] | None:
    """Return the embedding for so many points, without the jaw line, and which of the points these are."""
    marks = head.model.landmarks or Landmarks()
    if count == 51 and marks.static51 is not None:
        return marks.static51, np.arange(51)
    if count in (68, 70):
        rest = np.arange(_CONTOUR, 68)
        if marks.static51 is not None:
            return marks.static51, rest
        for embedding in (marks.full68, marks.full70):
            if embedding is not None:
                return _part(embedding, rest), rest
    if marks.mediapipe105 is not None:
        if count == 105:
            return marks.mediapipe105, np.arange(105)
        if count in _MEDIAPIPE and marks.mediapipe_ids is not None:
            return marks.mediapipe105, np.asarray(marks.mediapipe_ids)
    return None


def _part(embedding: Embedding, columns: np.ndarray) -> Embedding:
    faces, bary = np.asarray(embedding.faces), np.asarray(embedding.bary)
    faces, bary = faces.reshape(-1), bary.reshape(-1, 3)
    return Embedding(faces[columns], bary[columns])


def _points(head: AvatarHead, embedding: Embedding, vertices: np.ndarray) -> np.ndarray:
    """Return [T, P, 3] in metres."""
    points = np.asarray(embedding.points(vertices, head.model.faces), np.float64)
    return points / head.unit


def _eyes(measured: Measured, reading: Reading) -> np.ndarray:
    """Return [T] the pixels between the outer corners of the eyes as they were seen, else as they would be."""
    count = measured.pixels.shape[1]
    pair = {51: _EYES_OF_51, 68: _EYES_OF_68}.get(count)
    if pair is not None:
        seen = np.linalg.norm(measured.pixels[:, pair[0]] - measured.pixels[:, pair[1]], axis=-1)
        if np.isfinite(seen).any():
            return seen
    points = measured.points.reshape(-1, 3)
    spread = float(np.sqrt(np.var(points, axis=0).sum()))
    pixels = measured.pixels
    seen_spread = np.sqrt(np.nanvar(pixels, axis=1).sum(axis=-1))
    return seen_spread * _TYPICAL / max(spread, 1e-6)


def blocks(points: np.ndarray, pixels: np.ndarray) -> Points:
    """Return moving points [T, P, 3] with their pixels [T, P, 2] as the doctor's points, which stand still.

    Each frame has points of its own, T * P in all, seen in it alone.
    """
    count, each = points.shape[:2]
    points2d = np.zeros((count, count * each, 2))
    seen = np.zeros((count, count * each), bool)
    for row in range(count):
        own = slice(row * each, (row + 1) * each)
        seen[row, own] = np.isfinite(pixels[row]).all(axis=-1)
        points2d[row, own] = np.nan_to_num(pixels[row])
    return Points(points.reshape(-1, 3), points2d, seen)


def _floor(measured: Measured) -> float:
    """Return the median error when each frame has a free projective camera, infinite where points are too few."""
    left = []
    for row in np.unique(np.linspace(0, len(measured.points) - 1, JUDGED).round().astype(int)):
        sigma = estimate_noise(blocks(measured.points[[row]], measured.pixels[[row]])).sigma
        left += [] if sigma is None else [sigma]
    # The median of a Rayleigh distribution is 1.1774 sigma.
    return 1.1774 * float(np.median(left)) if left else float("inf")


def _median(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    """Return the median of what is not NaN, NaN where all is."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        result: np.ndarray = np.nanmedian(values, axis=axis)
    return result
