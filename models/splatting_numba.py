"""SplattingAvatar's Gaussians on the CPU, fast, frame after frame. The readable twin is `splatting_avatar`.

One thread: faces, then vertices, then Gaussians. What a Gaussian reads of its three vertices lies in three rows of
one table that fits a core's cache. Faces and vertices are worked out in float64, which costs nothing here and keeps
thin faces exact; what is stored is float32.
"""

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

# A vertex's row: position 0:3, normal 3:6, quaternion 6:10, and two unused, so that rows share no more cache lines
# than they must.
_ROW = 12


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
        self._faces = _own(avatar.faces, np.int32)
        self._frames = np.zeros((len(self._faces), 9), np.float32)
        self._areas = np.zeros(len(self._faces), np.float32)
        _rest(_own(avatar.canonical), self._faces, self._frames, self._areas)
        self._glue = (
            _own(avatar.face_ids, np.int32),
            _own(avatar.bary),
            _own(avatar.uvd),
            _own(avatar.rotations_wxyz),
            _own(avatar.log_scales),
        )

    def drive(self, vertices: np.ndarray, camera_centre: np.ndarray | None = None) -> Splats:
        """Return the Gaussians on a posed mesh [V, 3]; `opacities` and `sh` do not change with it.

        camera_centre: [3] in the mesh's frame and unit, needed where the avatar's colours are computed here. Raises
        MarotteError where the mesh has another number of vertices.
        """
        avatar, count = self.avatar, len(self.avatar)
        check_mesh(vertices, len(avatar.canonical))
        table = np.zeros((len(vertices), _ROW), np.float32)
        ratios = np.empty(len(self._faces), np.float32)
        _turn_mesh(_own(vertices), self._faces, self._frames, self._areas, avatar.positive_w, table, ratios)
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
            self._faces,
            *self._glue,
            avatar.xyz_as_uvd,
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


@njit(cache=True, nogil=True)
def _frame(vertices, face, frame):
    """Write a face's frame [9], three axes in rows, and return its normal, as long as twice the area, and that."""
    i, j, k = face[0], face[1], face[2]
    ax, ay, az = np.float64(vertices[i, 0]), np.float64(vertices[i, 1]), np.float64(vertices[i, 2])
    dx, dy, dz = vertices[j, 0] - ax, vertices[j, 1] - ay, vertices[j, 2] - az
    ex, ey, ez = vertices[k, 0] - ax, vertices[k, 1] - ay, vertices[k, 2] - az
    nx, ny, nz = dy * ez - dz * ey, dz * ex - dx * ez, dx * ey - dy * ex
    doubled = np.sqrt(nx * nx + ny * ny + nz * nz)
    over = 1 / max(doubled, VECTOR_FLOOR)
    ux, uy, uz = nx * over, ny * over, nz * over
    # The normal is a unit vector across the edge, so their product is as long as the edge.
    over = 1 / max(np.sqrt(dx * dx + dy * dy + dz * dz), VECTOR_FLOOR)
    dx, dy, dz = dx * over, dy * over, dz * over
    frame[0], frame[1], frame[2] = dy * uz - dz * uy, dz * ux - dx * uz, dx * uy - dy * ux
    frame[3], frame[4], frame[5] = -ux, -uy, -uz
    frame[6], frame[7], frame[8] = dx, dy, dz
    return nx, ny, nz, doubled


@njit(cache=True, nogil=True)
def _rest(canonical, faces, frames, areas):
    frame = np.empty(9, np.float64)
    for f in range(len(faces)):
        _, _, _, doubled = _frame(canonical, faces[f], frame)
        areas[f] = doubled / 2
        for c in range(9):
            frames[f, c] = frame[c]


@njit(cache=True, nogil=True)
def _face_quat(posed, rest, positive_w):
    """Return the quaternion (w, x, y, z) of the turn from frame rest [9] to frame posed [9], pytorch3d's way."""
    m00 = posed[0] * rest[0] + posed[3] * rest[3] + posed[6] * rest[6]
    m01 = posed[0] * rest[1] + posed[3] * rest[4] + posed[6] * rest[7]
    m02 = posed[0] * rest[2] + posed[3] * rest[5] + posed[6] * rest[8]
    m10 = posed[1] * rest[0] + posed[4] * rest[3] + posed[7] * rest[6]
    m11 = posed[1] * rest[1] + posed[4] * rest[4] + posed[7] * rest[7]
    m12 = posed[1] * rest[2] + posed[4] * rest[5] + posed[7] * rest[8]
    m20 = posed[2] * rest[0] + posed[5] * rest[3] + posed[8] * rest[6]
    m21 = posed[2] * rest[1] + posed[5] * rest[4] + posed[8] * rest[7]
    m22 = posed[2] * rest[2] + posed[5] * rest[5] + posed[8] * rest[8]
    # The largest component's square, times four, decides the row; the first wins on ties.
    sw, sx = 1 + m00 + m11 + m22, 1 + m00 - m11 - m22
    sy, sz = 1 - m00 + m11 - m22, 1 - m00 - m11 + m22
    if sw >= sx and sw >= sy and sw >= sz:
        square, w, x, y, z = sw, max(sw, 0.0), m21 - m12, m02 - m20, m10 - m01
    elif sx >= sy and sx >= sz:
        square, w, x, y, z = sx, m21 - m12, max(sx, 0.0), m10 + m01, m02 + m20
    elif sy >= sz:
        square, w, x, y, z = sy, m02 - m20, m10 + m01, max(sy, 0.0), m12 + m21
    else:
        square, w, x, y, z = sz, m10 - m01, m20 + m02, m21 + m12, max(sz, 0.0)
    over = 1 / (2 * max(np.sqrt(max(square, 0.0)), QUAT_FLOOR))
    if positive_w and w < 0:
        over = -over
    return w * over, x * over, y * over, z * over


@njit(cache=True, nogil=True)
def _turn_mesh(vertices, faces, frames, areas, positive_w, table, ratios):
    """Fill the vertices' rows `table` [V, 12], which comes as zeros, and the faces' area `ratios` [F]."""
    sums = np.zeros((len(vertices), 7), np.float64)
    frame = np.empty(9, np.float64)
    for f in range(len(faces)):
        face, area = faces[f], np.float64(areas[f])
        nx, ny, nz, doubled = _frame(vertices, face, frame)
        ratios[f] = (doubled / 2 + AREA_DAMPING) / (area + AREA_DAMPING)
        w, x, y, z = _face_quat(frame, frames[f], positive_w)
        # Summed as they are, whatever their signs: see the twin.
        for c in range(3):
            v = face[c]
            sums[v, 0] += nx
            sums[v, 1] += ny
            sums[v, 2] += nz
            sums[v, 3] += area * w
            sums[v, 4] += area * x
            sums[v, 5] += area * y
            sums[v, 6] += area * z
    for v in range(len(vertices)):
        row = sums[v]
        normal = 1 / max(np.sqrt(row[0] ** 2 + row[1] ** 2 + row[2] ** 2), VERTEX_FLOOR)
        quat = 1 / max(np.sqrt(row[3] ** 2 + row[4] ** 2 + row[5] ** 2 + row[6] ** 2), VERTEX_FLOOR)
        for c in range(3):
            table[v, c] = vertices[v, c]
            table[v, 3 + c] = row[c] * normal
        for c in range(4):
            table[v, 6 + c] = row[3 + c] * quat


@njit(cache=True, nogil=True)
def _place(
    table,
    ratios,
    faces,
    face_ids,
    bary,
    uvd,
    rotations,
    log_scales,
    xyz_as_uvd,
    with_mesh_scaling,
    sh,
    centre,
    means,
    quats,
    scales,
    colours,
):
    """Place each Gaussian on its face; write colours [N or 0, 3] where there is room for them."""
    floor, one = np.float32(VECTOR_FLOOR), np.float32(1)
    base = np.empty(10, np.float32)
    for n in range(len(face_ids)):
        f = face_ids[n]
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        a, b, c = bary[n, 0], bary[n, 1], bary[n, 2]
        for e in range(10):
            base[e] = a * table[i, e] + b * table[j, e] + c * table[k, e]
        if xyz_as_uvd:
            length = np.sqrt(base[3] * base[3] + base[4] * base[4] + base[5] * base[5])
            away = uvd[n, 2] / max(length, floor)
            for e in range(3):
                means[n, e] = base[e] + away * base[3 + e]
        else:
            for e in range(3):
                means[n, e] = uvd[n, e]
        p, q, r, s = base[6], base[7], base[8], base[9]
        t, u, v, w = rotations[n, 0], rotations[n, 1], rotations[n, 2], rotations[n, 3]
        qw, qx = p * t - q * u - r * v - s * w, p * u + q * t + r * w - s * v
        qy, qz = p * v - q * w + r * t + s * u, p * w + q * v - r * u + s * t
        over = one / max(np.sqrt(qw * qw + qx * qx + qy * qy + qz * qz), floor)
        if qw < 0:
            over = -over
        quats[n, 0], quats[n, 1], quats[n, 2], quats[n, 3] = qw * over, qx * over, qy * over, qz * over
        # Inside the exponential: see the twin.
        ratio = ratios[f] if with_mesh_scaling else one
        for e in range(3):
            scales[n, e] = np.exp(log_scales[n, e] * ratio)
    for n in range(len(colours)):
        f = face_ids[n]
        for e in range(6, 10):
            base[e] = 0
            for corner in range(3):
                base[e] += bary[n, corner] * table[faces[f, corner], e]
        _colour(base, means[n], centre, sh[n], colours[n])


@njit(cache=True, nogil=True)
def _colour(base, mean, centre, sh, colour):
    """Write the colour [3] of coefficients sh [K, 3] at a mean [3], its direction turned back with base[6:10]."""
    floor, two = np.float32(VECTOR_FLOOR), np.float32(2)
    dx, dy, dz = mean[0] - centre[0], mean[1] - centre[1], mean[2] - centre[2]
    over = np.float32(1) / max(np.sqrt(dx * dx + dy * dy + dz * dz), floor)
    dx, dy, dz = dx * over, dy * over, dz * over
    over = np.float32(1) / max(np.sqrt(base[6] ** 2 + base[7] ** 2 + base[8] ** 2 + base[9] ** 2), floor)
    # d' = d + 2 (w g + v x g) with g = v x d, for the conjugate of the quaternion (w, v).
    w, vx, vy, vz = base[6] * over, -base[7] * over, -base[8] * over, -base[9] * over
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
