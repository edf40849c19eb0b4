"""What is painted by rule on eyes and hair, and the layout of the batches that shading works on."""

import numba
import numpy as np

PLAIN, IRIS, STRANDS = 0, 1, 2
BATCH = 256
# Where the rows of a batch begin: normal, direction to the surface point over its depth, surface, opacity.
ROWS = 14
NX, NY, NZ, VX, VY, RED, GREEN, BLUE, OPEN, SCATTER, SPECULAR, ROUGH, FIBRE, COVER = (
    np.uint64(row * BATCH) for row in range(ROWS)
)


@numba.njit(cache=True, nogil=True)
def _step(low, high, x):
    """Return 0 below low, 1 above high, smooth between."""
    x = min(max((x - low) / (high - low), np.float32(0)), np.float32(1))
    return x * x * (3 - 2 * x)


@numba.njit(cache=True, nogil=True)
def _wave(x):
    """Return a triangle wave of period 1 between -1 and 1."""
    return np.float32(4) * abs(x - np.floor(x) - np.float32(0.5)) - np.float32(1)


@numba.njit(cache=True, nogil=True)
def paint_eye(batch, at, x, y, z, catch, iris, iris_radius):
    """Colour entry `at` of the batch as the eyeball at (x, y, z), its place over the radius.

    catch: [3] camera-space normal where the key lamp is mirrored; iris: linear colour [3];
    iris_radius: over the eyeball's. Lid shadow and mirrored lamp follow the normal, not the ball, so
    that they stay put when the eye turns.
    """
    nx, ny, nz = batch[NX + at], batch[NY + at], batch[NZ + at]
    length = np.sqrt(x * x + y * y + z * z) + np.float32(1e-6)
    out = np.sqrt(x * x + y * y) / length
    r = out / iris_radius
    angle = np.arctan2(y, x)
    ball = np.float32(1) if z < 0 else _step(0.95, 1.05, r)
    # Strands and a lighter ring around the pupil; the limbus and the pupil's rim are soft.
    strands = 0.88 + 0.08 * np.sin(23 * angle) * np.sin(9 * angle + 2) + 0.05 * np.sin(41 * angle + 5 * r)
    ring = 0.72 + 0.75 * (1 - _step(0.40, 0.80, r))
    limbus = 1 - 0.75 * _step(0.74, 1.0, r)
    pupil = _step(0.36, 0.45, r)
    # The light that enters from above gathers in the lower half of the iris.
    gathered = 1.0 - 0.5 * y / (length * iris_radius)
    lit = strands * ring * limbus * pupil * gathered
    veins = 0.12 * _step(0.5, 0.95, out)
    shadow = 1 - 0.65 * _step(0.10, 0.5, -ny)
    away = (nx - catch[0]) ** 2 + (ny - catch[1]) ** 2 + (nz - catch[2]) ** 2
    mirrored = 2.2 * (1 - _step(0.060, 0.105, np.sqrt(away)))
    for c in range(3):
        row = RED + np.uint64(c * BATCH)
        white = batch[row + at] * (1 - veins * (0.3 if c == 0 else 1.0))
        batch[row + at] = (ball * white + (1 - ball) * (0.006 + iris[c] * lit)) * shadow + mirrored
    batch[SPECULAR + at] *= shadow


@numba.njit(cache=True, nogil=True)
def paint_hair(batch, at, x, z):
    """Comb entry `at` of the batch: strands run down from the crown; (x, z) is the place around it."""
    angle = np.arctan2(x, z) * np.float32(0.5 / np.pi)
    fine = _wave(angle * np.float32(133)) * np.float32(0.5) + _wave(angle * np.float32(217)) * np.float32(0.5)
    fine *= batch[FIBRE + at]
    for c in range(3):
        batch[RED + np.uint64(c * BATCH) + at] *= np.float32(1) + np.float32(0.12) * fine
    batch[SPECULAR + at] *= np.float32(1) + np.float32(0.5) * fine
