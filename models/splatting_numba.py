"""SplattingAvatar's Gaussians on the CPU, fast, frame after frame. The readable twin is `splatting_avatar`.

One thread: faces, then vertices, then Gaussians, in blocks. What is gathered by index lies in rows; a block's rows are
turned into columns, down which the arithmetic runs without a branch, so that the compiler works on many at once.
Faces' edges and normals are worked out in float64, which keeps thin faces exact; all else is float32.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numba import njit

from marotte.models.spherical_harmonics import C0, C1, C2, C3
from marotte.models.splatting_avatar import (
    AREA_DAMPING,
    QUAT_FLOOR,
    VECTOR_FLOOR,
    VERTEX_FLOOR,
    SplattingAvatar,
    check_mesh,
)
from marotte.models.vector_rows import LANES, add_row, blend_rows, column_blocks, transpose

# Faces, vertices or Gaussians in a block; its columns of 1 KB lie in a core's first cache. A block's rows and columns
# are parts of one array: the compiler then knows that writing some leaves the others as they are.
_BLOCK = 256
# A face's row: normal 0:3, as long as twice the area; area times quaternion 3:7; one unused.
_FACE = LANES
# A vertex's row: normal 0:3, quaternion 3:7, position 7:10, and two unused. The first are its faces' sums before.
_VERTEX = 12
# exp(p) = 2^n exp(r) with p = n ln 2 + r. Adding 1.5 * 2^23 rounds to a whole number and leaves it in the lowest bits;
# ln 2 is cut in two, the first part short, so that n times it is exact.
_LOG2_E, _ROUND = np.float32(1 / np.log(2)), np.float32(12582912)
_LN2_HIGH, _LN2_LOW = np.float32(355 / 512), np.float32(np.log(2) - 355 / 512)
# exp(r) = 1 + r + r^2 times this for |r| <= ln(2) / 2: of least relative error (3e-9) among such.
_POLYNOMIAL = tuple(np.float32(c) for c in (0.00138146, 0.00836872, 0.04166839, 0.16666521, 0.49999993))
_POWER_MIN, _POWER_MAX = np.float32(-87), np.float32(88)


class Splats(NamedTuple):
    """Gaussians of one frame, float32.

    means: [N, 3]; quats_wxyz: [N, 4] unit; scales: [N, 3] standard deviations; colours: [N, 3], at least 0, where
    the avatar wants them computed outside the rasterizer, else None.
    """

    means: np.ndarray
    quats_wxyz: np.ndarray
    scales: np.ndarray
    colours: np.ndarray | None


class SplattingEvaluator:
    """One avatar, ready to be driven many times.

    avatar: a SplattingAvatar on numpy. Calls from several threads are safe; a call runs on the calling thread and
    lets go of the GIL.
    """

    def __init__(self, avatar: SplattingAvatar) -> None:
        self.avatar = avatar
        self.opacities, self.sh = _own(avatar.opacities), _own(avatar.sh)
        faces, places = _own(avatar.faces, np.uint32), _own(avatar.face_ids, np.uint32)
        self._faces = faces
        frames, areas = replace(avatar, canonical=avatar.canonical.astype(np.float64)).rest
        # The second and the third axis, which give the first, and the area.
        self._rest = column_blocks(np.concatenate([frames.mT[:, 1:].reshape(-1, 6), areas[:, None]], axis=1), _BLOCK)
        self._glue = (
            places,
            faces[places] * np.uint32(_VERTEX),
            _own(avatar.bary),
            _own(avatar.uvd[:, 2]),
            _own(avatar.uvd[: 0 if avatar.xyz_as_uvd else len(avatar)]),
            column_blocks(avatar.rotations_wxyz, _BLOCK),
            _own(avatar.log_scales),
        )

    def drive(self, vertices: np.ndarray, camera_centre: np.ndarray | None = None) -> Splats:
        """Return the Gaussians on a posed mesh [V, 3]; `opacities` and `sh` do not change with it.

        camera_centre: [3] in the mesh's frame and unit, needed where the avatar's colours are computed here. Raises
        MarotteError where the mesh has another number of vertices.
        """
        avatar, count = self.avatar, len(self.avatar)
        check_mesh(vertices, len(avatar.canonical))
        mesh = _own(vertices)
        table = np.zeros((-(-len(mesh) // _BLOCK) * _BLOCK, _VERTEX), np.float32)
        ratios = np.empty(len(self._faces), np.float32)
        _turn_faces(mesh, self._faces, self._rest, avatar.positive_w, table, ratios)
        _join_vertices(mesh, table)
        means, quats = np.empty((count, 3), np.float32), np.empty((count, 4), np.float32)
        scales = np.empty((count, 3), np.float32)
        colours = np.empty((count if avatar.colours_outside else 0, 3), np.float32)
        centre = np.zeros(3, np.float32)
        if avatar.colours_outside:
            assert camera_centre is not None, "this avatar's colours depend on where the camera is"
            centre[:] = camera_centre
        _place(
            table,
            ratios,
            *self._glue,
            avatar.with_mesh_scaling,
            self.sh,
            centre,
            means,
            quats,
            scales,
            colours,
        )
        return Splats(means, quats, scales, colours if avatar.colours_outside else None)


def _own(array: np.ndarray, dtype: type = np.float32) -> np.ndarray:
    """Return the array in the one form that the kernels are compiled for: contiguous, and writable, as most are."""
    return np.require(array, dtype, ["C", "W"])


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _turn_faces(vertices, faces, rest, positive_w, table, ratios):
    """Add the faces' rows to their vertices' in `table` [., 12], and write their areas' `ratios` [F].

    rest: [blocks, 7 * _BLOCK], of the canonical mesh: second and third axis of the frames, areas.
    """
    floor, one, half, zero = np.float32(VECTOR_FLOOR), np.float32(1), np.float32(0.5), np.float32(0)
    least, damping = np.float32(QUAT_FLOOR), np.float32(AREA_DAMPING)
    negative = zero if positive_w else np.float32(-np.inf)
    b = _BLOCK
    # Corners in columns, rows in columns, rows.
    s = np.empty((9 + 2 * _FACE) * _BLOCK, np.float32)
    for block in range(len(rest)):
        first = block * b
        size = min(b, len(faces) - first)
        known = rest[block]
        for n in range(size):
            for c in range(3):
                v = faces[first + n, c]
                for e in range(3):
                    s[(3 * c + e) * b + n] = vertices[v, e]
        for n in range(size):
            ax, ay, az = np.float64(s[n]), np.float64(s[b + n]), np.float64(s[2 * b + n])
            dx, dy, dz = s[3 * b + n] - ax, s[4 * b + n] - ay, s[5 * b + n] - az
            ex, ey, ez = s[6 * b + n] - ax, s[7 * b + n] - ay, s[8 * b + n] - az
            nx, ny = np.float32(dy * ez - dz * ey), np.float32(dz * ex - dx * ez)
            nz = np.float32(dx * ey - dy * ex)
            doubled = np.sqrt(nx * nx + ny * ny + nz * nz)
            over = one / (doubled if doubled > floor else floor)
            # The posed frame's axes p, q, r: across the first edge, inwards, along it.
            qx, qy, qz = -nx * over, -ny * over, -nz * over
            rx, ry, rz = np.float32(dx), np.float32(dy), np.float32(dz)
            length = np.sqrt(rx * rx + ry * ry + rz * rz)
            over = one / (length if length > floor else floor)
            rx, ry, rz = rx * over, ry * over, rz * over
            px, py, pz = rz * qy - ry * qz, rx * qz - rz * qx, ry * qx - rx * qy
            q0, q1, q2 = known[n], known[b + n], known[2 * b + n]
            r0, r1, r2 = known[3 * b + n], known[4 * b + n], known[5 * b + n]
            p0, p1, p2 = r2 * q1 - r1 * q2, r0 * q2 - r2 * q0, r1 * q0 - r0 * q1
            m00, m01, m02 = px * p0 + qx * q0 + rx * r0, px * p1 + qx * q1 + rx * r1, px * p2 + qx * q2 + rx * r2
            m10, m11, m12 = py * p0 + qy * q0 + ry * r0, py * p1 + qy * q1 + ry * r1, py * p2 + qy * q2 + ry * r2
            m20, m21, m22 = pz * p0 + qz * q0 + rz * r0, pz * p1 + qz * q1 + rz * r1, pz * p2 + qz * q2 + rz * r2
            # The largest component's square, times four, decides the row; the first wins on ties.
            sw, sx = one + m00 + m11 + m22, one + m00 - m11 - m22
            sy, sz = one - m00 + m11 - m22, one - m00 - m11 + m22
            wx, wy, wz = m21 - m12, m02 - m20, m10 - m01
            xy, xz, yz = m10 + m01, m02 + m20, m12 + m21
            with_w, with_y = sw >= sx, sy >= sz
            one_square, other_square = sw if with_w else sx, sy if with_y else sz
            left = one_square >= other_square
            w = (sw if with_w else wx) if left else (wy if with_y else wz)
            x = (wx if with_w else sx) if left else (xy if with_y else xz)
            y = (wy if with_w else xy) if left else (sy if with_y else yz)
            z = (wz if with_w else xz) if left else (yz if with_y else sz)
            square = one_square if left else other_square
            root = np.sqrt(square if square > zero else zero)
            area = known[6 * b + n]
            weight = area * half / (root if root > least else least)
            weight = -weight if w < negative else weight
            s[9 * b + n], s[10 * b + n], s[11 * b + n] = nx, ny, nz
            s[12 * b + n], s[13 * b + n], s[14 * b + n], s[15 * b + n] = w * weight, x * weight, y * weight, z * weight
            ratios[first + n] = (doubled * half + damping) / (area + damping)
        for n in range(0, size, LANES):
            transpose(s, 9 * b + n, b, s, 17 * b + _FACE * n, _FACE)
        # Summed as they are, whatever their signs: see the twin.
        for n in range(size):
            for c in range(3):
                add_row(table, _VERTEX * faces[first + n, c], s, 17 * b + _FACE * n)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _join_vertices(vertices, table):
    """Make of the sums in `table` [., 12] the rows of the vertices."""
    floor, one = np.float32(VERTEX_FLOOR), np.float32(1)
    b = _BLOCK
    s = np.empty(LANES * _BLOCK, np.float32)
    for first in range(0, len(vertices), b):
        size = min(b, len(vertices) - first)
        for n in range(0, size, LANES):
            transpose(table, (first + n) * _VERTEX, _VERTEX, s, n, b)
        for n in range(size):
            nx, ny, nz = s[n], s[b + n], s[2 * b + n]
            length = np.sqrt(nx * nx + ny * ny + nz * nz)
            over = one / (length if length > floor else floor)
            s[n], s[b + n], s[2 * b + n] = nx * over, ny * over, nz * over
            w, x, y, z = s[3 * b + n], s[4 * b + n], s[5 * b + n], s[6 * b + n]
            length = np.sqrt(w * w + x * x + y * y + z * z)
            over = one / (length if length > floor else floor)
            s[3 * b + n], s[4 * b + n], s[5 * b + n], s[6 * b + n] = w * over, x * over, y * over, z * over
        for n in range(0, size, LANES):
            transpose(s, n, b, table, (first + n) * _VERTEX, _VERTEX)
        for n in range(size):
            for e in range(3):
                table[first + n, 7 + e] = vertices[first + n, e]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _place(
    table,
    ratios,
    face_ids,
    corners,
    bary,
    offsets,
    fixed,
    rotations,
    log_scales,
    with_mesh_scaling,
    sh,
    centre,
    means,
    quats,
    scales,
    colours,
):
    """Place each Gaussian on its face, or at its fixed place [N or 0, 3].

    corners: [N, 3] where the corners' rows start in `table`; offsets: [N] along the normal; rotations:
    [blocks, 4 * _BLOCK]; colours: [N or 0, 3], written where there is room for them.
    """
    floor, one, zero = np.float32(VECTOR_FLOOR), np.float32(1), np.float32(0)
    b = _BLOCK
    s = np.empty((_VERTEX + 18) * _BLOCK, np.float32)
    # The columns, behind the rows.
    c = _VERTEX * b
    sizes = scales.reshape(-1)
    for block in range(len(rotations)):
        first = block * b
        size = min(b, len(face_ids) - first)
        known = rotations[block]
        for n in range(size):
            g = first + n
            weights = bary[g, 0], bary[g, 1], bary[g, 2]
            blend_rows(s, _VERTEX * n, table, (corners[g, 0], corners[g, 1], corners[g, 2]), weights)
            s[c + 10 * b + n] = offsets[g]
            # Inside the exponential: see the twin.
            ratio = ratios[face_ids[g]] if with_mesh_scaling else one
            for e in range(3):
                s[c + 11 * b + 3 * n + e] = log_scales[g, e] * ratio
        for n in range(0, size, LANES):
            transpose(s, _VERTEX * n, _VERTEX, s, c + n, b)
        for n in range(size):
            s[c + 8 * b + n], s[c + 9 * b + n] = s[_VERTEX * n + 8], s[_VERTEX * n + 9]
        for n in range(size):
            at = c + n
            x, y, z = s[at], s[b + at], s[2 * b + at]
            length = np.sqrt(x * x + y * y + z * z)
            away = s[10 * b + at] / (length if length > floor else floor)
            s[7 * b + at] += away * x
            s[8 * b + at] += away * y
            s[9 * b + at] += away * z
        for n in range(size):
            at = c + n
            h, i, j, k = s[3 * b + at], s[4 * b + at], s[5 * b + at], s[6 * b + at]
            t, u, v, w = known[n], known[b + n], known[2 * b + n], known[3 * b + n]
            qw, qx = h * t - i * u - j * v - k * w, h * u + i * t + j * w - k * v
            qy, qz = h * v - i * w + j * t + k * u, h * w + i * v - j * u + k * t
            length = np.sqrt(qw * qw + qx * qx + qy * qy + qz * qz)
            over = one / (length if length > floor else floor)
            over = -over if qw < zero else over
            s[14 * b + at], s[15 * b + at], s[16 * b + at], s[17 * b + at] = qw * over, qx * over, qy * over, qz * over
        for n in range(3 * size):
            sizes[3 * first + n] = _exp(s[c + 11 * b + n])
        # Apart from what is worked out, which the compiler then takes many at once.
        for n in range(size):
            g, at = first + n, c + n
            quats[g, 0], quats[g, 1] = s[14 * b + at], s[15 * b + at]
            quats[g, 2], quats[g, 3] = s[16 * b + at], s[17 * b + at]
            means[g, 0], means[g, 1], means[g, 2] = s[7 * b + at], s[8 * b + at], s[9 * b + at]
        if len(fixed):
            means[first : first + size] = fixed[first : first + size]
        for n in range(size if len(colours) else 0):
            g = first + n
            turn = s[c + 3 * b + n], s[c + 4 * b + n], s[c + 5 * b + n], s[c + 6 * b + n]
            _colour(turn, means[g], centre, sh[g], colours[g])


@njit(cache=True, nogil=True, fastmath={"contract"})
def _exp(power):
    """Return exp of a number from -87 to 88 (what lies beyond counts as these), to 2e-7 of its size."""
    power = power if power > _POWER_MIN else _POWER_MIN
    power = power if power < _POWER_MAX else _POWER_MAX
    shifted = power * _LOG2_E + _ROUND
    whole = shifted - _ROUND
    r = (power - whole * _LN2_HIGH) - whole * _LN2_LOW
    y = _POLYNOMIAL[0]
    y = y * r + _POLYNOMIAL[1]
    y = y * r + _POLYNOMIAL[2]
    y = y * r + _POLYNOMIAL[3]
    y = y * r + _POLYNOMIAL[4]
    y = y * r * r + r + np.float32(1)
    bits = np.float32(y).view(np.int32) + (np.float32(shifted).view(np.int32) << 23)
    return np.int32(bits).view(np.float32)


@njit(cache=True, nogil=True)
def _colour(turn, mean, centre, sh, colour):
    """Write the colour [3] of coefficients sh [K, 3] at a mean [3], seen from centre [3] and turned back."""
    floor, two = np.float32(VECTOR_FLOOR), np.float32(2)
    dx, dy, dz = mean[0] - centre[0], mean[1] - centre[1], mean[2] - centre[2]
    over = np.float32(1) / max(np.sqrt(dx * dx + dy * dy + dz * dz), floor)
    dx, dy, dz = dx * over, dy * over, dz * over
    over = np.float32(1) / max(np.sqrt(turn[0] ** 2 + turn[1] ** 2 + turn[2] ** 2 + turn[3] ** 2), floor)
    # d' = d + 2 (w g + v x g) with g = v x d, for the conjugate of the quaternion (w, v).
    w, vx, vy, vz = turn[0] * over, -turn[1] * over, -turn[2] * over, -turn[3] * over
    gx, gy, gz = vy * dz - vz * dy, vz * dx - vx * dz, vx * dy - vy * dx
    x = dx + two * (w * gx + vy * gz - vz * gy)
    y = dy + two * (w * gy + vz * gx - vx * gz)
    z = dz + two * (w * gz + vx * gy - vy * gx)
    xx, yy, zz = x * x, y * y, z * z
    count = len(sh)
    for c in range(3):
        value = 0.5 + C0 * sh[0, c]
        if count > 1:
            value += C1 * (z * sh[2, c] - y * sh[1, c] - x * sh[3, c])
        if count > 4:
            value += C2[0] * (x * y * sh[4, c] - y * z * sh[5, c] - x * z * sh[7, c])
            value += C2[1] * (2 * zz - xx - yy) * sh[6, c] + C2[2] * (xx - yy) * sh[8, c]
        if count > 9:
            value += C3[1] * x * y * z * sh[10, c] + C3[4] * z * (xx - yy) * sh[14, c]
            value -= C3[0] * (y * (3 * xx - yy) * sh[9, c] + x * (xx - 3 * yy) * sh[15, c])
            value -= C3[2] * (4 * zz - xx - yy) * (y * sh[11, c] + x * sh[13, c])
            value += C3[3] * z * (2 * zz - 3 * xx - 3 * yy) * sh[12, c]
        colour[c] = max(value, 0.0)
