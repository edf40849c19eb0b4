"""From Gaussians to splats: where each lies on the screen, its conic, the pixels it can reach.

The published semantics (steps 1 to 9 of the rasterizer reference) in the published order of
evaluation and without fused multiply-adds, so that positions, conics and tiles agree with the slow
twin to the last bit.
"""

from typing import NamedTuple

import numba
import numpy as np

from marotte.renderers.rasterizers.rules import (
    ALPHA_MIN,
    EIGEN_FLOOR,
    FRUSTUM_MARGIN,
    LOW_PASS,
    NEAR,
    RADIUS_SIGMAS,
    TILE,
    W_EPSILON,
)

# Columns of `Splats.shapes`.
X, Y, XX, XY, YY, OPACITY, DEPTH = range(7)
SHAPE = 8  # one more, so that a row is half a cache line
# The key of a Gaussian that is not drawn; the bits of any finite depth are less.
UNSEEN = np.uint32(0xFFFFFFFF)

_ZERO, _HALF, _ONE, _TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
_SIDE, _ALPHA_STEPS = np.float32(TILE), np.float32(255)
# Rounding in the conic and in the exponent grows with xx yy / det (they cancel in thin Gaussians), in
# the distance with the size of the picture; the box of the pixels reached is widened by that much.
_SLACK, _SLACK_THIN, _SLACK_PIXELS = np.float32(1e-3), np.float32(2e-6), np.float32(0.02)


class Splats(NamedTuple):
    """N Gaussians on the screen.

    shapes: [N, 8] float32: position in pixels ((0, 0) is the centre of the first pixel); conic times
        (-1/2, -1, -1/2), so that its form is the exponent; opacity; camera z; one spare.
    boxes: [N, 4] int32, first column, column after the last, first row, row after the last of the pixels
        that can be blended: the published tiles, cut to the ellipse in which alpha >= 1/255.
    keys: [N] uint32, the bits of camera z, UNSEEN where nothing can be blended.
    """

    shapes: np.ndarray
    boxes: np.ndarray
    keys: np.ndarray


@numba.njit(cache=True, nogil=True)
def all_finite(row):
    """Tell whether all of the numbers are finite."""
    # Counted in whole numbers, whose sum the compiler may take in any order, many at once.
    wrong = 0
    for c in range(len(row)):
        wrong += not abs(row[c]) < np.float32(np.inf)
    return wrong == 0


@numba.njit(cache=True, nogil=True)
def _bits(number):
    return np.float32(number).view(np.uint32)


@numba.njit(cache=True, nogil=True)
def _row(matrix, i, x, y, z):
    """Return element i of the point (x, y, z) through a transposed [4, 4] matrix."""
    return matrix[0, i] * x + matrix[1, i] * y + matrix[2, i] * z + matrix[3, i]


@numba.njit(cache=True, nogil=True)
def _world_covariance(r, x, y, z, sx, sy, sz):
    """Return (xx, xy, xz, yy, yz, zz) of the raw quaternion (r, x, y, z) and the standard deviations."""
    ax, ay, az = (_ONE - _TWO * (y * y + z * z)) * sx, (_TWO * (x * y - r * z)) * sy, (_TWO * (x * z + r * y)) * sz
    bx, by, bz = (_TWO * (x * y + r * z)) * sx, (_ONE - _TWO * (x * x + z * z)) * sy, (_TWO * (y * z - r * x)) * sz
    cx, cy, cz = (_TWO * (x * z - r * y)) * sx, (_TWO * (y * z + r * x)) * sy, (_ONE - _TWO * (x * x + y * y)) * sz
    return (
        ax * ax + ay * ay + az * az,
        ax * bx + ay * by + az * bz,
        ax * cx + ay * cy + az * cz,
        bx * bx + by * by + bz * bz,
        bx * cx + by * cy + bz * cz,
        cx * cx + cy * cy + cz * cz,
    )


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _image_covariance(world, view, x, y, z, tan_x, tan_y, focal_x, focal_y):
    """Return (xx, xy, yy) in square pixels of a world covariance at the camera point (x, y, z)."""
    xx, xy, xz, yy, yz, zz = world
    limit_x, limit_y = FRUSTUM_MARGIN * tan_x, FRUSTUM_MARGIN * tan_y
    x = min(limit_x, max(-limit_x, x / z)) * z
    y = min(limit_y, max(-limit_y, y / z)) * z
    # Rows of the Jacobian times the rotation to camera axes.
    j, k = focal_x / z, -(focal_x * x) / (z * z)
    a0, a1, a2 = (
        view[0, 0] * j + view[0, 2] * k,
        view[1, 0] * j + view[1, 2] * k,
        view[2, 0] * j + view[2, 2] * k,
    )
    j, k = focal_y / z, -(focal_y * y) / (z * z)
    d0, d1, d2 = (
        view[0, 1] * j + view[0, 2] * k,
        view[1, 1] * j + view[1, 2] * k,
        view[2, 1] * j + view[2, 2] * k,
    )
    e0, e1, e2 = a0 * xx + a1 * xy + a2 * xz, a0 * xy + a1 * yy + a2 * yz, a0 * xz + a1 * yz + a2 * zz
    f0, f1, f2 = d0 * xx + d1 * xy + d2 * xz, d0 * xy + d1 * yy + d2 * yz, d0 * xz + d1 * yz + d2 * zz
    return e0 * a0 + e1 * a1 + e2 * a2 + LOW_PASS, f0 * a0 + f1 * a1 + f2 * a2, f0 * d0 + f1 * d1 + f2 * d2 + LOW_PASS


@numba.njit(cache=True, nogil=True)
def _reach(position, radius, extent, size):
    """Return the pixels [first, last) of one axis: the published tiles cut to position +- extent and to the picture."""
    tiles = np.float32((size + TILE - 1) // TILE)
    # Clamped before they are truncated: the numbers may be larger than any integer.
    first = TILE * int(min(max((position - radius) / _SIDE, _ZERO), tiles))
    last = TILE * int(min(max((position + radius + _SIDE - _ONE) / _SIDE, _ZERO), tiles))
    limit = np.float32(size)
    low = int(np.ceil(min(max(position - extent, _ZERO), limit)))
    high = int(np.floor(min(max(position + extent + _ONE, _ZERO), limit)))
    return max(first, low), min(last, high)


@numba.njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def project(means, opacities, quats, scales, covariances, colours, view, projection, lens, width, height, splats):
    """Write `splats` of N Gaussians.

    quats [N, 4] and scales [N, 3], or covariances [N, 6]; what is not given has no rows. colours: [N, C],
    looked at only for numbers that are not finite. view, projection: transposed [4, 4]. lens: [3],
    tangents of half the fields of view and the factor of the scales. width, height: pixels.
    """
    # By name: numba takes arrays unpacked from a tuple for dead and drops what is written to them.
    shapes, boxes, keys = splats.shapes, splats.boxes, splats.keys
    given = len(covariances) > 0
    tan_x, tan_y, modifier = lens[0], lens[1], lens[2]
    focal_x, focal_y = np.float32(width) / (_TWO * tan_x), np.float32(height) / (_TWO * tan_y)
    for i in numba.prange(len(means)):
        keys[i] = UNSEEN
        x, y, z = means[i, 0], means[i, 1], means[i, 2]
        opacity = opacities[i]
        depth = _row(view, 2, x, y, z)
        # Written so that a depth or an opacity that is not a number leaves here too.
        if not (depth > NEAR and opacity >= ALPHA_MIN and opacity < np.inf):
            continue
        inverse = _ONE / (_row(projection, 3, x, y, z) + W_EPSILON)
        nx, ny = _row(projection, 0, x, y, z) * inverse, _row(projection, 1, x, y, z) * inverse
        px = np.float32(((np.float64(nx) + 1.0) * width - 1.0) * 0.5)
        py = np.float32(((np.float64(ny) + 1.0) * height - 1.0) * 0.5)
        if given:
            c = covariances[i]
            world = (c[0], c[1], c[2], c[3], c[4], c[5])
        else:
            q, s = quats[i], scales[i]
            world = _world_covariance(q[0], q[1], q[2], q[3], modifier * s[0], modifier * s[1], modifier * s[2])
        at_x, at_y = _row(view, 0, x, y, z), _row(view, 1, x, y, z)
        xx, xy, yy = _image_covariance(world, view, at_x, at_y, depth, tan_x, tan_y, focal_x, focal_y)
        det = xx * yy - xy * xy
        middle = _HALF * (xx + yy)
        radius = np.ceil(RADIUS_SIGMAS * np.sqrt(middle + np.sqrt(max(EIGEN_FLOOR, middle * middle - det))))
        # Zero times any number is zero, and times what is not finite it is not a number.
        nothing = _ZERO * px + _ZERO * py + _ZERO * det + _ZERO * radius
        if det == _ZERO or nothing != _ZERO or not all_finite(colours[i]):
            continue
        level = (_TWO * np.log(_ALPHA_STEPS * opacity) + _SLACK) * (_ONE + _SLACK_THIN * (xx * yy) / det)
        # A negative determinant is drawn all over its tiles.
        extent_x = np.sqrt(level * xx) + _SLACK_PIXELS if det > _ZERO else radius + _SIDE
        extent_y = np.sqrt(level * yy) + _SLACK_PIXELS if det > _ZERO else radius + _SIDE
        left, right = _reach(px, radius, extent_x, width)
        top, bottom = _reach(py, radius, extent_y, height)
        if left >= right or top >= bottom:
            continue
        inverse = _ONE / det
        shapes[i, X], shapes[i, Y] = px, py
        shapes[i, XX], shapes[i, XY], shapes[i, YY] = -_HALF * (yy * inverse), xy * inverse, -_HALF * (xx * inverse)
        shapes[i, OPACITY], shapes[i, DEPTH] = opacity, depth
        boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3] = left, right, top, bottom
        keys[i] = _bits(depth)
