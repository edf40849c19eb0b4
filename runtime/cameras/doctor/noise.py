"""How noisy landmarks are, and which of them are outliers, without any camera file.

Each frame gets a projective camera of its own, u = (a X + a0) / (1 + g X): eleven numbers, which hold every pinhole
camera, right or wrong. What they leave is noise, detector bias and outliers.
"""

from typing import NamedTuple

import numpy as np

from marotte.runtime.cameras.doctor.setting import Landmarks

_FREE = 11
_ROUNDS = 10
# Points farther than this many sigmas are outliers: one in 3000 of Gaussian ones.
_CUT = 4.0


class Noise(NamedTuple):
    """sigma: pixels per coordinate, None where points are too few. keep: [F, P] bool, what is no outlier.

    common: the share of the variance that a point has in all frames alike, 0 to 1: a detector's or a model's bias.
    """

    sigma: float | None
    keep: np.ndarray
    common: float


def estimate_noise(landmarks: Landmarks) -> Noise:
    """Return what landmarks of any camera leave unexplained."""
    fitted = landmarks.seen.sum(axis=1) >= 7
    keep = landmarks.seen.copy()
    if not fitted.any() or _flatness(landmarks) < 1e-3:
        return Noise(None, keep, 0.0)
    points = landmarks.points3d - landmarks.points3d.mean(axis=0)
    points = points / np.sqrt((points**2).mean())
    homogeneous = np.concatenate([points, np.ones((len(points), 1))], axis=1)
    measured, seen = landmarks.points2d[fitted], landmarks.seen[fitted].astype(float)
    middle = (measured * seen[..., None]).sum(1, keepdims=True) / seen.sum(1)[:, None, None]
    measured = measured - middle
    parameters = np.zeros((len(measured), _FREE))
    weights, sigma = seen, 1.0
    for turn in range(_ROUNDS):
        error, jacobian = _linearised(parameters, homogeneous, measured)
        if turn:
            size = np.sqrt((error**2).sum(-1))
            inside = seen > 0
            # The median of a Rayleigh distribution is 1.1774 sigma; the free numbers make residuals smaller.
            free = 1 - _FREE / np.maximum(2 * seen.sum(1), _FREE + 1)
            sigma = float(np.median((size / np.sqrt(free)[:, None])[inside])) / 1.1774
            sigma = max(sigma, 1e-6)
            # First least absolute errors, which outliers hardly pull; then a cut.
            near = 1 / np.maximum(size / sigma, 1)
            weights = seen * (near if turn < 5 else (size < _CUT * 1.1 * sigma))
        curvature = np.einsum("fp,fpai,fpaj->fij", weights, jacobian, jacobian)
        curvature += np.eye(_FREE) * 1e-9 * np.trace(curvature, axis1=1, axis2=2)[:, None, None]
        curvature[:, 8:, 8:] += np.eye(3) * sigma**2
        slope = np.einsum("fp,fpai,fpa->fi", weights, jacobian, error)
        slope[:, 8:] -= parameters[:, 8:] * sigma**2
        if not turn:  # from nothing, the affine camera is one linear step
            parameters[:, :8] = np.linalg.solve(curvature[:, :8, :8], slope[:, :8, None])[..., 0]
        else:
            step = np.linalg.solve(curvature, slope[..., None])[..., 0]
            step[:, 8:] = np.clip(step[:, 8:], -0.1, 0.1)
            parameters += step
    error, _ = _linearised(parameters, homogeneous, measured)
    good = (seen > 0) & (np.sqrt((error**2).sum(-1)) < _CUT * sigma)
    keep[fitted] = good
    used = good.sum(1) >= 7
    spare = float((2 * good.sum(1) - _FREE)[used].sum())
    if spare < 10:
        return Noise(None, landmarks.seen, 0.0)
    error = np.where(good[..., None], error, 0)
    sigma = float(np.sqrt((error[used] ** 2).sum() / spare))
    return Noise(sigma, keep, _common(error[used], good[used], sigma))


def _common(error: np.ndarray, good: np.ndarray, sigma: float) -> float:
    """Return the intraclass correlation of errors [F, P, 2] of the same points."""
    frames = good.sum(0)
    often = frames >= 2
    if len(error) < 2 or often.sum() < 5:
        return 0.0
    # The mean of n independent errors has a variance of sigma^2 / n, less what the free numbers took.
    free = 1 - _FREE * len(error) / (2 * good.sum())
    means = error.sum(0)[often] / frames[often, None]
    ratio = float((means**2 * frames[often, None]).mean()) / (sigma**2 * free)
    if ratio < 1 + 3 / np.sqrt(often.sum()):
        return 0.0
    return min((ratio - 1) / (float(frames[often].mean()) - 1), 1.0)


def _linearised(parameters: np.ndarray, points: np.ndarray, measured: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return errors [F, P, 2] and how the model moves with its parameters [F, P, 2, 11]."""
    rows, bend = parameters[:, :8].reshape(-1, 2, 4), parameters[:, 8:]
    scale = 1 + bend @ points[:, :3].T
    scale = np.where(np.abs(scale) < 0.05, 0.05, scale)
    model = np.einsum("fai,pi->fpa", rows, points) / scale[..., None]
    jacobian = np.zeros((*model.shape, _FREE))
    jacobian[..., 0, :4] = jacobian[..., 1, 4:8] = points / scale[..., None]
    jacobian[..., 8:] = -model[..., None] * (points[:, :3] / scale[..., None])[:, :, None]
    return measured - model, jacobian


def _flatness(landmarks: Landmarks) -> float:
    """Return the smallest over the largest singular value of the points that are seen: 0 for points in a plane."""
    points = landmarks.points3d[landmarks.seen.any(axis=0)]
    values = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    return float(values[-1] / values[0]) if len(points) >= 4 and values[0] > 0 else 0.0
