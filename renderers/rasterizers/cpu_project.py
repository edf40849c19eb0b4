"""From Gaussians to splats: where each lies on the screen, its conic, the pixels it can reach.

The published semantics (steps 1 to 9 of the rasterizer reference) in the published order of
evaluation and without fused multiply-adds, so that positions, conics and tiles agree with the slow
twin to the last bit. It is done for blocks of Gaussians: their numbers are laid out as columns, and
what is worked out from these takes no branch, so that the compiler makes vectors of it.
"""

from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic

from marotte.models.vector_code import call
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
X, Y, XX, XY, YY, OPACITY, HALF_HEIGHT, HALF_CHORD = range(8)
SHAPE = 8  # a row is half a cache line
# The key of a Gaussian that is not drawn; the bits of any finite depth are less.
UNSEEN = np.uint32(0xFFFFFFFF)

_ZERO, _HALF, _ONE, _TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
_SIDE = np.float32(TILE)
# Rounding in the conic and in the exponent grows with xx yy / det (they cancel in thin Gaussians), in
# the distance with the size of the picture; the box of the pixels reached is widened by that much.
_SLACK, _SLACK_THIN, SLACK_PIXELS = np.float32(1e-3), np.float32(2e-6), np.float32(0.02)
# Beyond so many pixels rounding takes more than that slack: there a splat's box is all that is known of it.
_FAR = np.float32(1e5)
_INFINITE = np.float32(np.inf)

# Gaussians in a block: their columns fit the first cache.
_BLOCK = 256
# Where its columns start: zero where the colour is finite, the mean, the opacity, the world covariance.
_ODD, _MEAN_X, _MEAN_Y, _MEAN_Z, _OPACITY, _XX, _XY, _XZ, _YY, _YZ, _ZZ = range(0, 11 * _BLOCK, _BLOCK)

# 2 log(1 + x) for x from 0 to 1, interpolated at Chebyshev's points; the first is more by 5.7e-5 than that gives, which
# is more than its error of 2.3e-5 and the rounding of the sum together.
_TWICE_LOG = tuple(map(np.float32, (8e-5, 1.9983328, -0.97939818, 0.56764637, -0.2599144, 0.05961753)))
_FRACTION, _BIAS = np.uint32(0x7FFFFF), np.float32(127)
_TWICE_LOG_2, _TWICE_LOG_255 = np.float32(2 * np.log(2)), np.float32(2 * np.log(255))


class Splats(NamedTuple):
    """N Gaussians on the screen.

    shapes: [N, 8] float32: position in pixels ((0, 0) is the centre of the first pixel); conic times
        (-1/2, -1, -1/2), so that its form is the exponent; opacity; of the ellipse in which alpha >= 1/255
        half its height and half its chord along x through the centre, both infinite where only the box holds.
    boxes: [N, 4] int32, first column, column after the last, first row, row after the last of the pixels
        that can be blended: the published tiles, cut to the ellipse in which alpha >= 1/255. All are 0 where
        nothing can be blended.
    keys: [N] uint32, the bits of camera z, UNSEEN where nothing can be blended.
    """

    shapes: np.ndarray
    boxes: np.ndarray
    keys: np.ndarray


def _root(typing_context: Any, number: Any) -> Any:
    """Return the square root of a float32. `np.sqrt` calls a function, of which the compiler makes no vectors."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return call(builder, "sqrt", *arguments)

    return types.float32(types.float32), emit


root: Any = intrinsic(_root)


@numba.njit(cache=True, nogil=True)
def _bits(number):
    return np.float32(number).view(np.uint32)


@numba.njit(cache=True, nogil=True)
def _row(column, x, y, z):
    """Return one coordinate of the point (x, y, z) through a transposed [4, 4] matrix, given that column of it."""
    return column[0] * x + column[1] * y + column[2] * z + column[3]


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
def _image_covariance(world, across, down, ahead, x, y, z, tan_x, tan_y, focal_x, focal_y):
    """Return (xx, xy, yy) in square pixels of a world covariance at the camera point (x, y, z).

    across, down, ahead: columns of the transposed view matrix.
    """
    xx, xy, xz, yy, yz, zz = world
    limit_x, limit_y = FRUSTUM_MARGIN * tan_x, FRUSTUM_MARGIN * tan_y
    x = min(limit_x, max(-limit_x, x / z)) * z
    y = min(limit_y, max(-limit_y, y / z)) * z
    # Rows of the Jacobian times the rotation to camera axes.
    j, k = focal_x / z, -(focal_x * x) / (z * z)
    a0, a1, a2 = across[0] * j + ahead[0] * k, across[1] * j + ahead[1] * k, across[2] * j + ahead[2] * k
    j, k = focal_y / z, -(focal_y * y) / (z * z)
    d0, d1, d2 = down[0] * j + ahead[0] * k, down[1] * j + ahead[1] * k, down[2] * j + ahead[2] * k
    e0, e1, e2 = a0 * xx + a1 * xy + a2 * xz, a0 * xy + a1 * yy + a2 * yz, a0 * xz + a1 * yz + a2 * zz
    f0, f1, f2 = d0 * xx + d1 * xy + d2 * xz, d0 * xy + d1 * yy + d2 * yz, d0 * xz + d1 * yz + d2 * zz
    return e0 * a0 + e1 * a1 + e2 * a2 + LOW_PASS, f0 * a0 + f1 * a1 + f2 * a2, f0 * d0 + f1 * d1 + f2 * d2 + LOW_PASS


@numba.njit(cache=True, nogil=True)
def _twice_log(number):
    """Return a little more than twice the natural logarithm of a positive finite number, by 1e-4 at most."""
    bits = _bits(number)
    exponent = np.float32(np.int32(bits >> np.uint32(23))) - _BIAS
    part = np.uint32((bits & _FRACTION) | _bits(_ONE)).view(np.float32) - _ONE
    total = _TWICE_LOG[5]
    for c in (4, 3, 2, 1, 0):
        total = total * part + _TWICE_LOG[c]
    return exponent * _TWICE_LOG_2 + total


@numba.njit(cache=True, nogil=True)
def _reach(position, radius, extent, size):
    """Return the pixels [first, last) of one axis: the published tiles cut to position +- extent and to the picture.

    An extent that is not a number cuts nothing.
    """
    tiles, limit = np.float32((size + TILE - 1) // TILE), np.float32(size)
    # Clamped before they are truncated: the numbers may be larger than any integer. What is compared with what is
    # not a number stays.
    first = np.int32(min(tiles, max(_ZERO, (position - radius) / _SIDE))) * TILE
    last = np.int32(min(tiles, max(_ZERO, (position + radius + _SIDE - _ONE) / _SIDE))) * TILE
    low = np.int32(np.ceil(min(limit, max(_ZERO, position - extent))))
    high = np.int32(np.floor(max(_ZERO, min(limit, position + extent + _ONE))))
    return np.int32(max(first, low)), np.int32(min(last, high))


@numba.njit(cache=True, nogil=True)
def _check(colours, block):
    """Write column _ODD: 0 for each row of colours [n, C], not a number where one of its numbers is not finite."""
    block[_ODD : _ODD + _BLOCK] = 0
    # Counted in whole numbers, whose sum the compiler may take in any order, many at once, and by index for that too.
    numbers, wrong = colours.ravel(), 0
    for k in range(len(numbers)):
        wrong += not abs(numbers[k]) < _INFINITE
    if wrong:
        for j in range(len(colours)):
            for number in colours[j]:
                block[_ODD + j] += _ZERO * number


@numba.njit(cache=True, nogil=True)
def _load(means, opacities, quats, scales, covariances, modifier, block):
    """Write the other columns, of means [3 n], opacities [n], and quats [4 n] and scales [3 n] or covariances [6 n]."""
    for j in range(len(opacities)):
        at = 3 * j
        block[_MEAN_X + j], block[_MEAN_Y + j], block[_MEAN_Z + j] = means[at], means[at + 1], means[at + 2]
        block[_OPACITY + j] = opacities[j]
    for j in range(len(covariances) // 6):
        at = 6 * j
        block[_XX + j], block[_XY + j], block[_XZ + j] = covariances[at], covariances[at + 1], covariances[at + 2]
        block[_YY + j], block[_YZ + j], block[_ZZ + j] = covariances[at + 3], covariances[at + 4], covariances[at + 5]
    for j in range(len(quats) // 4):
        at = 4 * j
        r, x, y, z = quats[at], quats[at + 1], quats[at + 2], quats[at + 3]
        at = 3 * j
        sx, sy, sz = modifier * scales[at], modifier * scales[at + 1], modifier * scales[at + 2]
        xx, xy, xz, yy, yz, zz = _world_covariance(r, x, y, z, sx, sy, sz)
        block[_XX + j], block[_XY + j], block[_XZ + j] = xx, xy, xz
        block[_YY + j], block[_YZ + j], block[_ZZ + j] = yy, yz, zz


@numba.njit(cache=True, nogil=True)
def _world(block, j):
    return block[_XX + j], block[_XY + j], block[_XZ + j], block[_YY + j], block[_YZ + j], block[_ZZ + j]


@numba.njit(cache=True, nogil=True)
def _column(matrix, i):
    return matrix[0, i], matrix[1, i], matrix[2, i], matrix[3, i]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _measure(block, view, projection, lens, width, height, shapes, boxes, keys):
    """Write shapes [8 n], boxes [4 n] and keys [n] of a block; shapes that are not seen are whatever comes out."""
    across, down, ahead = _column(view, 0), _column(view, 1), _column(view, 2)
    to_x, to_y, to_w = _column(projection, 0), _column(projection, 1), _column(projection, 3)
    tan_x, tan_y = lens[0], lens[1]
    focal_x, focal_y = np.float32(width) / (_TWO * tan_x), np.float32(height) / (_TWO * tan_y)
    nowhere = np.int32(0)
    for j in range(len(keys)):
        x, y, z, opacity = block[_MEAN_X + j], block[_MEAN_Y + j], block[_MEAN_Z + j], block[_OPACITY + j]
        depth = _row(ahead, x, y, z)
        inverse = _ONE / (_row(to_w, x, y, z) + W_EPSILON)
        nx, ny = _row(to_x, x, y, z) * inverse, _row(to_y, x, y, z) * inverse
        px = np.float32(((np.float64(nx) + 1.0) * width - 1.0) * 0.5)
        py = np.float32(((np.float64(ny) + 1.0) * height - 1.0) * 0.5)
        at_x, at_y = _row(across, x, y, z), _row(down, x, y, z)
        world = _world(block, j)
        xx, xy, yy = _image_covariance(world, across, down, ahead, at_x, at_y, depth, tan_x, tan_y, focal_x, focal_y)
        det = xx * yy - xy * xy
        middle = _HALF * (xx + yy)
        radius = np.ceil(RADIUS_SIGMAS * root(middle + root(max(EIGEN_FLOOR, middle * middle - det))))
        # Zero times any number is zero, and times what is not finite it is not a number.
        nothing = _ZERO * px + _ZERO * py + _ZERO * det + _ZERO * radius + block[_ODD + j]
        inverse = _ONE / det
        level = (_twice_log(opacity) + (_TWICE_LOG_255 + _SLACK)) * (_ONE + _SLACK_THIN * (xx * yy) * inverse)
        half_chord = root(level * (det / yy))
        half_width, half_height = root(level * xx), root(level * yy)
        # A negative determinant is drawn all over its tiles.
        extent_x = half_width + SLACK_PIXELS if det > _ZERO else radius + _SIDE
        extent_y = half_height + SLACK_PIXELS if det > _ZERO else radius + _SIDE
        tight = (det > _ZERO) & (extent_x < _FAR) & (extent_y < _FAR) & (abs(px) < _FAR) & (abs(py) < _FAR)
        left, right = _reach(px, radius, extent_x, width)
        top, bottom = _reach(py, radius, extent_y, height)
        # Written so that a depth or an opacity that is not a number is not seen.
        seen = (depth > NEAR) & (opacity >= ALPHA_MIN) & (opacity < _INFINITE) & (det != _ZERO) & (nothing == _ZERO)
        seen = seen & (left < right) & (top < bottom)
        row = SHAPE * j
        shapes[row + X], shapes[row + Y], shapes[row + OPACITY] = px, py, opacity
        shapes[row + XX], shapes[row + YY] = -_HALF * (yy * inverse), -_HALF * (xx * inverse)
        shapes[row + XY] = xy * inverse
        shapes[row + HALF_HEIGHT] = half_height if tight else _INFINITE
        shapes[row + HALF_CHORD] = half_chord if tight else _INFINITE
        row = 4 * j
        boxes[row], boxes[row + 1] = left if seen else nowhere, right if seen else nowhere
        boxes[row + 2], boxes[row + 3] = top if seen else nowhere, bottom if seen else nowhere
        keys[j] = _bits(depth) if seen else UNSEEN


@numba.njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def project(means, opacities, quats, scales, covariances, colours, view, projection, lens, width, height, splats):
    """Write `splats` of N Gaussians.

    quats [N, 4] and scales [N, 3], or covariances [N, 6]; what is not given has no rows. colours: [N, C],
    looked at only for numbers that are not finite. view, projection: transposed [4, 4]. lens: [3],
    tangents of half the fields of view and the factor of the scales. width, height: pixels.
    """
    # By name: numba takes arrays unpacked from a tuple for dead and drops what is written to them. Flat, because the
    # compiler does not know the length of a row, and that rows do not overlap.
    shapes, boxes, keys = splats.shapes.ravel(), splats.boxes.ravel(), splats.keys
    means, quats, scales, covariances = means.ravel(), quats.ravel(), scales.ravel(), covariances.ravel()
    count = len(opacities)
    for number in numba.prange((count + _BLOCK - 1) // _BLOCK):
        a, b = number * _BLOCK, min(count, number * _BLOCK + _BLOCK)
        block = np.empty(_ZZ + _BLOCK, np.float32)
        _check(colours[a:b], block)
        of_quats, of_scales, of_covariances = quats[4 * a : 4 * b], scales[3 * a : 3 * b], covariances[6 * a : 6 * b]
        _load(means[3 * a : 3 * b], opacities[a:b], of_quats, of_scales, of_covariances, lens[2], block)
        of_shapes, of_boxes = shapes[SHAPE * a : SHAPE * b], boxes[4 * a : 4 * b]
        _measure(block, view, projection, lens, width, height, of_shapes, of_boxes, keys[a:b])
