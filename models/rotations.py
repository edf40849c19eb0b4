"""Rotations as FLAME and its users write them: vectors, matrices, 6D rows, quaternions.

Every function takes any leading batch dims, works on numpy arrays and torch tensors alike (the array API) and
keeps the type of its input. Matrices act on column vectors. Quaternions are w, x, y, z of unit length.
Rotation vectors are axis times angle in radians.
"""

from typing import Any

from array_api_compat import array_namespace

_TINY = 1e-12


def rotvec_to_matrix(rotvec: Any) -> Any:
    """Return the matrices [..., 3, 3] of rotation vectors [..., 3] by Rodrigues' formula.

    The formula is the published one (smplx `batch_rodrigues`), whose quirk it keeps: 1e-8 is added to each
    component before the norm. The vector (-1e-8, -1e-8, -1e-8), which is 0/0 there, gives the identity here.
    """
    xp = array_namespace(rotvec)
    angle = _norm(xp, rotvec + 1e-8)[..., None]
    axis = rotvec / xp.where(angle == 0, xp.ones_like(angle), angle)
    axis = xp.where(angle == 0, xp.zeros_like(axis), axis)
    x, y, z = axis[..., 0], axis[..., 1], axis[..., 2]
    zero = xp.zeros_like(x)
    cross = _matrix(xp, [zero, -z, y, z, zero, -x, -y, x, zero])
    identity = xp.broadcast_to(_identity(xp, rotvec), cross.shape)
    sin, cos = xp.sin(angle)[..., None], xp.cos(angle)[..., None]
    return identity + sin * cross + (1 - cos) * xp.matmul(cross, cross)


def sixd_to_matrix(sixd: Any) -> Any:
    """Return the matrices [..., 3, 3] of 6D rotations [..., 6]: the first two rows, made orthonormal.

    Rows, not columns: pytorch3d's `rotation_6d_to_matrix`. Lengths are floored at 1e-12, so the zero vector gives
    the zero matrix and not the identity, which is 1 0 0 0 1 0.
    """
    xp = array_namespace(sixd)
    first, second = sixd[..., :3], sixd[..., 3:]
    row0 = first / _floored(xp, _norm(xp, first))
    rest = second - xp.sum(row0 * second, axis=-1)[..., None] * row0
    row1 = rest / _floored(xp, _norm(xp, rest))
    return xp.stack([row0, row1, _cross(xp, row0, row1)], axis=-2)


def matrix_to_sixd(matrix: Any) -> Any:
    """Return the 6D form [..., 6] of matrices [..., 3, 3]: the first two rows."""
    xp = array_namespace(matrix)
    return xp.reshape(matrix[..., :2, :], (*matrix.shape[:-2], 6))


def rotvec_to_quat_wxyz(rotvec: Any) -> Any:
    """Return unit quaternions [..., 4] (w, x, y, z) of rotation vectors [..., 3]."""
    xp = array_namespace(rotvec)
    half = _norm(xp, rotvec)[..., None] / 2
    small = half < 1e-4
    # sin(h)/(2h), by its series where the division would lose digits.
    factor = xp.where(small, 0.5 - half * half / 12, xp.sin(half) / xp.where(small, xp.ones_like(half), 2 * half))
    return xp.concat([xp.cos(half), rotvec * factor], axis=-1)


def quat_wxyz_to_rotvec(quat_wxyz: Any) -> Any:
    """Return rotation vectors [..., 3] with angles 0 to pi of quaternions [..., 4] (w, x, y, z) of any length but 0."""
    xp = array_namespace(quat_wxyz)
    w, vector = quat_wxyz[..., :1], quat_wxyz[..., 1:]
    sign = xp.where(w < 0, -xp.ones_like(w), xp.ones_like(w))
    w, vector = w * sign, vector * sign
    sine = _norm(xp, vector)[..., None]
    angle = 2 * xp.atan2(sine, w)
    small = sine < _TINY
    factor = xp.where(small, 2 / _floored_to(xp, w, 0.5), angle / xp.where(small, xp.ones_like(sine), sine))
    return vector * factor


def matrix_to_quat_wxyz(matrix: Any) -> Any:
    """Return unit quaternions [..., 4] (w, x, y, z, with w >= 0) of rotation matrices [..., 3, 3].

    Of the four ways to divide, the one with the largest divisor is taken (Shepperd 1978), so none is near 0/0.
    """
    xp = array_namespace(matrix)
    m = [[matrix[..., i, j] for j in range(3)] for i in range(3)]
    trace = m[0][0] + m[1][1] + m[2][2]
    a, b, c = m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1]
    xy, xz, yz = m[0][1] + m[1][0], m[0][2] + m[2][0], m[1][2] + m[2][1]
    # Each row is the quaternion times four times its own diagonal entry.
    w_row = xp.stack([1 + trace, a, b, c], axis=-1)
    x_row = xp.stack([a, 1 + 2 * m[0][0] - trace, xy, xz], axis=-1)
    y_row = xp.stack([b, xy, 1 + 2 * m[1][1] - trace, yz], axis=-1)
    z_row = xp.stack([c, xz, yz, 1 + 2 * m[2][2] - trace], axis=-1)
    best, size = w_row, w_row[..., :1]
    for i, row in enumerate((x_row, y_row, z_row), start=1):
        larger = row[..., i : i + 1] > size
        best, size = xp.where(larger, row, best), xp.where(larger, row[..., i : i + 1], size)
    best = best / _floored(xp, _norm(xp, best))
    return best * xp.where(best[..., :1] < 0, -xp.ones_like(size), xp.ones_like(size))


def matrix_to_rotvec(matrix: Any) -> Any:
    """Return rotation vectors [..., 3], angles 0 to pi, of rotation matrices [..., 3, 3]."""
    return quat_wxyz_to_rotvec(matrix_to_quat_wxyz(matrix))


def quat_slerp(start_wxyz: Any, end_wxyz: Any, weight: Any) -> Any:
    """Return the unit quaternions [..., 4] on the shorter way from start (weight 0) to end (weight 1).

    start_wxyz, end_wxyz: [..., 4] unit quaternions; weight: a number, or an array [..., 1].
    """
    xp = array_namespace(start_wxyz, end_wxyz)
    cosine = xp.sum(start_wxyz * end_wxyz, axis=-1)[..., None]
    end = end_wxyz * xp.where(cosine < 0, -xp.ones_like(cosine), xp.ones_like(cosine))
    cosine = xp.abs(cosine)
    sine = _norm(xp, end - start_wxyz * cosine)[..., None]
    angle = xp.atan2(sine, cosine)
    # Quaternions this near lie on a line for all that the type can tell.
    near = sine < 1e-4
    safe = xp.where(near, xp.ones_like(sine), sine)
    from_start = xp.where(near, (1 - weight) * xp.ones_like(angle), xp.sin((1 - weight) * angle) / safe)
    from_end = xp.where(near, weight * xp.ones_like(angle), xp.sin(weight * angle) / safe)
    mixed = from_start * start_wxyz + from_end * end
    return mixed / _norm(xp, mixed)[..., None]


def _norm(xp: Any, vector: Any) -> Any:
    return xp.linalg.vector_norm(vector, axis=-1)


def _floored(xp: Any, norm: Any) -> Any:
    return _floored_to(xp, norm, _TINY)[..., None]


def _floored_to(xp: Any, value: Any, least: float) -> Any:
    return xp.where(value < least, xp.full_like(value, least), value)


def _cross(xp: Any, a: Any, b: Any) -> Any:
    x = a[..., 1] * b[..., 2] - a[..., 2] * b[..., 1]
    y = a[..., 2] * b[..., 0] - a[..., 0] * b[..., 2]
    z = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    return xp.stack([x, y, z], axis=-1)


def _identity(xp: Any, like: Any) -> Any:
    ones, zeros = xp.ones_like(like[..., 0]), xp.zeros_like(like[..., 0])
    return _matrix(xp, [ones, zeros, zeros, zeros, ones, zeros, zeros, zeros, ones])


def _matrix(xp: Any, entries: list) -> Any:
    return xp.reshape(xp.stack(entries, axis=-1), (*entries[0].shape, 3, 3))
