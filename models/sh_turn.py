"""Spherical harmonics turned with what they colour: coefficients of the colour seen on the turned thing."""

import numpy as np

from marotte.models.spherical_harmonics import sh_basis
from marotte.models.splatting_avatar import rotate_back

# A turn keeps each band, so values in more directions than there are coefficients give them exactly.
_DIRECTIONS = 48
_AT_ONCE = 4096


def turn_sh(sh: np.ndarray, quats_wxyz: np.ndarray) -> np.ndarray:
    """Return the coefficients [N, K, 3] of harmonics [N, K, 3] turned by unit quaternions [N, 4].

    Seen along d, the result is what `sh` is along the direction that the turn takes to d.
    """
    count = sh.shape[1]
    if count == 1:
        return sh
    directions = _spread(_DIRECTIONS)
    solve = np.linalg.pinv(sh_basis(directions, count))
    turned = np.empty_like(sh)
    for start in range(0, len(sh), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        quats = quats_wxyz[part, None].astype(np.float64)
        back = rotate_back(
            np.repeat(quats, _DIRECTIONS, axis=1), np.broadcast_to(directions, (len(quats), *directions.shape))
        )
        turned[part] = solve @ (sh_basis(back, count) @ sh[part].astype(np.float64))
    return turned


def _spread(count: int) -> np.ndarray:
    """Return directions [count, 3] spread evenly over the sphere, on a Fibonacci spiral."""
    index = np.arange(count) + 0.5
    z = 1 - 2 * index / count
    turn = index * np.pi * (3 - np.sqrt(5))
    ring = np.sqrt(1 - z * z)
    return np.stack([ring * np.cos(turn), ring * np.sin(turn), z], axis=1)
