"""Smooth warps of space through pairs of points: a similarity, and what is left over spread smoothly."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# Smoothing of the spline at points that are exact, and at loose ones: in units of |r|^3 at the points' mean distance
# from their middle.
_EXACT, _LOOSE = 1e-4, 0.3


@dataclass(frozen=True, eq=False)
class Similarity:
    """x to scale * R x + t; rms: how far it misses the points it was fitted to, in the target's unit."""

    scale: float
    R: np.ndarray
    t: np.ndarray
    rms: float

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Return points [..., 3] moved."""
        return self.scale * points @ self.R.T + self.t


def similarity(source: np.ndarray, target: np.ndarray) -> Similarity:
    """Return the similarity that takes points [N, 3] closest to points [N, 3], after Umeyama (1991)."""
    middle, aim = source.mean(axis=0), target.mean(axis=0)
    a, b = source - middle, target - aim
    u, lengths, vt = np.linalg.svd(b.T @ a)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    R = (u * sign) @ vt
    scale = float((lengths * sign).sum() / (a**2).sum())
    t = aim - scale * R @ middle
    missed = scale * source @ R.T + t - target
    return Similarity(scale, R, t, float(np.sqrt((missed**2).sum(axis=1).mean())))


def warp(source: np.ndarray, target: np.ndarray, loose: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return the smooth map of points [N, 3] that takes source points [M, 3] to target points [M, 3].

    A similarity, and a triharmonic spline (|r|^3, smooth at the points too) of what it leaves. Points where loose [M]
    is true are only drawn towards their targets. Pairs that all but coincide are merged, so that lips that touch on
    one head and part on the other do not fold space.
    """
    from scipy.interpolate import RBFInterpolator

    rigid = similarity(source[~loose], target[~loose])
    size = np.linalg.norm(source - source.mean(axis=0), axis=1).mean()
    kept, aims, slack = _merged(source / size, (target - rigid(source)) / size, loose)
    rest = RBFInterpolator(kept, aims, kernel="cubic", degree=1, smoothing=np.where(slack, _LOOSE, _EXACT))

    def moved(points: np.ndarray) -> np.ndarray:
        return rigid(points) + size * rest(points.reshape(-1, 3) / size).reshape(points.shape)

    return moved


def _merged(points: np.ndarray, values: np.ndarray, loose: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return points, values and looseness with groups closer than 0.06 replaced by their means."""
    from scipy.cluster.hierarchy import fcluster, linkage

    group = fcluster(linkage(points, "average"), 0.06, "distance") - 1
    size = np.bincount(group)
    means = [np.stack([np.bincount(group, c) / size for c in array.T], axis=1) for array in (points, values)]
    return means[0], means[1], np.bincount(group, loose) > 0.5 * size
