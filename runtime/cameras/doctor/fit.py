"""Reprojection of a reading, and the least-squares fits of what a reading may have wrong by a number."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from marotte.runtime.cameras.doctor.readings import Reading

# Share of the points that must lie in front of the camera.
FRONT = 0.995
# However many points there are, sigma is not known better than this.
_LEEWAY = 0.02


@dataclass(frozen=True, eq=False)
class Sample:
    """Measured points for the F cameras of a reading.

    points: [P, 3] metres. measured: [F, P, 2] pixels. seen: [F, P] bool. sigma: pixels per coordinate. common: the
    share of the variance that a point has in all frames alike.
    """

    points: np.ndarray
    measured: np.ndarray
    seen: np.ndarray
    sigma: float
    common: float = 0.0

    @cached_property
    def redundancy(self) -> float:
        """How many coordinates say as much as one that is independent of all others."""
        return 1 + (int(self.seen.any(axis=1).sum()) - 1) * self.common

    @cached_property
    def count(self) -> int:
        """Coordinates that are compared."""
        return 2 * int(self.seen.sum())

    @cached_property
    def limit(self) -> float:
        """The RMS in pixels that chance allows a right reading."""
        return self.sigma * (1 + max(3 / np.sqrt(2 * max(self.count, 1)), _LEEWAY))


class Score(NamedTuple):
    """rms: pixels per coordinate; front: share of points before the camera; chi2: of independent coordinates.

    chi2 is infinite where too few points are in front, an axis is mirrored, or a focal length is negative.
    """

    rms: float
    front: float
    chi2: float


def camera_points(reading: Reading, points: np.ndarray) -> np.ndarray:
    """Return [F, P, 3] in camera axes."""
    return np.matmul(points, np.swapaxes(reading.R, 1, 2)) + reading.t[:, None]


def project(reading: Reading, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels [F, P, 2] and depths [F, P]."""
    at = camera_points(reading, points)
    depth = at[..., 2]
    safe = np.where(np.abs(depth) < 1e-9, 1e-9, depth)
    pixels = at[..., :2] / safe[..., None]
    pixels *= np.diagonal(reading.K, axis1=1, axis2=2)[:, None, :2]
    pixels += reading.K[:, None, :2, 2]
    return pixels, depth


def score(reading: Reading, sample: Sample) -> Score:
    """Return how well a reading explains a sample."""
    pixels, depth = project(reading, sample.points)
    error = np.where(sample.seen[..., None], pixels - sample.measured, 0).ravel()
    total = float(error @ error)
    front = float(2 * np.count_nonzero((depth > 0) & sample.seen) / max(sample.count, 1))
    good = front >= FRONT and np.diagonal(reading.K, axis1=1, axis2=2)[:, :2].min() > 0 and np.isfinite(total)
    good = good and np.linalg.det(reading.R).min() > 0
    chi2 = total / sample.sigma**2 / sample.redundancy if good else np.inf
    return Score(np.sqrt(total / max(sample.count, 1)), front, chi2)


def fit_shift(reading: Reading, sample: Sample, each: bool) -> tuple[Reading, np.ndarray]:
    """Move the principal point. Returns the reading and the shifts [F, 2]; one for all frames unless `each`."""
    pixels, _ = project(reading, sample.points)
    shift = _mean(sample.measured - pixels, sample.seen, each)
    return _with_lens(reading, np.ones((len(reading), 1)), shift), shift


def fit_focal(reading: Reading, sample: Sample, each: bool, *, shift: bool) -> tuple[Reading, np.ndarray]:
    """Scale the focal length, and move the principal point where `shift`. Returns factors and shifts [F, 3]."""
    pixels, _ = project(reading, sample.points)
    ray = pixels - reading.K[:, None, :2, 2]
    goal = sample.measured - reading.K[:, None, :2, 2]
    ray_mean, goal_mean = (_mean(values, sample.seen, each) if shift else np.zeros(2) for values in (ray, goal))
    seen = sample.seen[..., None]
    a, b = (
        np.where(seen, values - np.reshape(mean, (-1, 1, 2)), 0)
        for values, mean in ((ray, ray_mean), (goal, goal_mean))
    )
    axes = (1, 2) if each else (0, 1, 2)
    factor = (a * b).sum(axes) / np.maximum((a * a).sum(axes), 1e-12)
    factor = np.broadcast_to(np.reshape(factor, (-1, 1)), (len(reading), 1))
    moved = np.broadcast_to(goal_mean, (len(reading), 2)) - factor * ray_mean
    return _with_lens(reading, factor, moved), np.concatenate([factor, moved], axis=1)


def fit_resolution(reading: Reading, sample: Sample, *, square: bool) -> tuple[Reading, np.ndarray]:
    """Scale all pixel coordinates from the corner. Returns the factors [1, 2]; the same for both axes if `square`."""
    pixels, _ = project(reading, sample.points)
    seen = sample.seen[..., None]
    a, b = np.where(seen, pixels, 0), np.where(seen, sample.measured, 0)
    axes = (0, 1, 2) if square else (0, 1)
    factors = np.broadcast_to((a * b).sum(axes) / np.maximum((a * a).sum(axes), 1e-12), (2,))
    return scaled_lens(reading, factors), factors[None]


def scaled_lens(reading: Reading, factors: np.ndarray) -> Reading:
    """Return the reading for pictures of `factors` [2] times as many pixels."""
    return replace(reading, K=reading.K * np.array([*factors, 1.0])[:, None], angles=None)


def fit_distance(reading: Reading, sample: Sample, each: bool) -> tuple[Reading, np.ndarray]:
    """Scale the translation. Returns the factors [F, 1]; one for all frames unless `each`."""
    turned = np.matmul(sample.points, np.swapaxes(reading.R, 1, 2))
    focal = reading.K[:, None, [0, 1], [0, 1]]
    ray = (sample.measured - reading.K[:, None, :2, 2]) / focal
    t = reading.t[:, None]
    seen = sample.seen[..., None]
    axes = (1, 2) if each else (0, 1, 2)
    shape = (-1, 1, 1)
    # The equation ray (z + k t_z) = x + k t_x is linear in k; then three steps of Gauss and Newton on the pixels.
    a = np.where(seen, focal * (ray * t[..., 2:] - t[..., :2]), 0)
    b = np.where(seen, focal * (turned[..., :2] - ray * turned[..., 2:]), 0)
    k = np.reshape((a * b).sum(axes) / np.maximum((a * a).sum(axes), 1e-12), shape)
    for _ in range(3):
        at = turned + k * t
        depth = np.where(np.abs(at[..., 2:]) < 1e-9, 1e-9, at[..., 2:])
        error = np.where(seen, focal * (ray - at[..., :2] / depth), 0)
        slope = np.where(seen, focal * (t[..., :2] * depth - t[..., 2:] * at[..., :2]) / depth**2, 0)
        step = (slope * error).sum(axes) / np.maximum((slope * slope).sum(axes), 1e-12)
        k = np.where(np.abs(np.reshape(step, shape)) < 0.5 * np.abs(k), k + np.reshape(step, shape), k)
    factors = np.broadcast_to(np.reshape(k, (-1, 1)), (len(reading), 1))
    return replace(reading, t=reading.t * factors), np.array(factors)


def _with_lens(reading: Reading, factor: np.ndarray, shift: np.ndarray) -> Reading:
    K = reading.K.copy()
    K[:, 0, 0] *= factor[:, 0]
    K[:, 1, 1] *= factor[:, 0]
    K[:, :2, 2] += shift
    return replace(reading, K=K, angles=None)


def _mean(values: np.ndarray, seen: np.ndarray, each: bool) -> np.ndarray:
    """Return the mean [F, 2] of [F, P, 2] over what is seen, of each frame or of all."""
    weights = seen[..., None].astype(float)
    axes = 1 if each else (0, 1)
    mean = (values * weights).sum(axes) / np.maximum(weights.sum(axes), 1)
    return np.broadcast_to(mean, (len(values), 2))
