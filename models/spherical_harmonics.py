"""Colour by direction: real spherical harmonics up to degree 3 in the order of 3D Gaussian splatting.

The readable form, for numpy arrays and torch tensors alike. Source: reference/rasterizer/SPEC.md, section 4.
"""

from typing import Any

from array_api_compat import array_namespace

# Coefficients a channel, and the degree that has so many.
DEGREE_OF = {1: 0, 4: 1, 9: 2, 16: 3}

C0 = 0.28209479177387814
C1 = 0.4886025119029199
C2 = (1.0925484305920792, 0.31539156525252005, 0.5462742152960396)
C3 = (0.5900435899266435, 2.890611442640554, 0.4570457994644658, 0.3731763325901154, 1.445305721320277)


def sh_basis(directions: Any, coefficients: int) -> Any:
    """Return the first `coefficients` (1, 4, 9 or 16) basis functions [..., K] of unit directions [..., 3]."""
    xp = array_namespace(directions)
    x, y, z = directions[..., 0], directions[..., 1], directions[..., 2]
    xx, yy, zz = x * x, y * y, z * z
    terms = [
        xp.full_like(x, C0),
        -C1 * y,
        C1 * z,
        -C1 * x,
        C2[0] * x * y,
        -C2[0] * y * z,
        C2[1] * (2 * zz - xx - yy),
        -C2[0] * x * z,
        C2[2] * (xx - yy),
        -C3[0] * y * (3 * xx - yy),
        C3[1] * x * y * z,
        -C3[2] * y * (4 * zz - xx - yy),
        C3[3] * z * (2 * zz - 3 * xx - 3 * yy),
        -C3[2] * x * (4 * zz - xx - yy),
        C3[4] * z * (xx - yy),
        -C3[0] * x * (xx - 3 * yy),
    ]
    return xp.stack(terms[:coefficients], axis=-1)


def sh_colours(sh: Any, directions: Any) -> Any:
    """Return the colours [N, 3] of coefficients [N, K, 3] seen along unit directions [N, 3], at least 0, not capped."""
    xp = array_namespace(sh, directions)
    basis = sh_basis(directions, sh.shape[1])
    value = xp.sum(basis[..., None] * sh, axis=1) + 0.5
    return xp.where(value > 0, value, xp.zeros_like(value))
