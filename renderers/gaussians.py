"""Gaussians and Raster: what goes into a rasterizer and what comes out."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from marotte.errors import MarotteError

# A numpy array or a torch tensor; a back end gives back what it was given.
Array = Any

SH_DEGREES = (0, 1, 2, 3)
# Shape of one Gaussian's part of each field; None is any size.
_ROWS: dict[str, tuple[int | None, ...]] = {
    "means": (3,),
    "opacities": (),
    "quats_wxyz": (4,),
    "scales": (3,),
    "covariances": (6,),
    "features": (None,),
    "sh": (None, 3),
}


@dataclass(frozen=True, eq=False)
class Gaussians:
    """N anisotropic 3D Gaussians in world space. Sizes are checked here, values by whoever draws them.

    means: [N, 3] world units. opacities: [N], after the sigmoid.
    Shape, one of two: quats_wxyz [N, 4], used as they are (a quaternion that is not of unit length does
        not give a rotation), with scales [N, 3], standard deviations in world units; or covariances
        [N, 6] in square world units, (xx, xy, xz, yy, yz, zz).
    Colour, one of two: features [N, C], used as they are; or sh [N, K, 3], coefficients of spherical
        harmonics, coefficient before channel, of which `sh_degree` (0 to 3) uses the first
        (sh_degree + 1)^2. By default the degree is the one that K is the size of.
    """

    means: Array
    opacities: Array
    quats_wxyz: Array | None = None
    scales: Array | None = None
    covariances: Array | None = None
    features: Array | None = None
    sh: Array | None = None
    sh_degree: int | None = None

    def __post_init__(self) -> None:
        for name, tail in _ROWS.items():
            value = getattr(self, name)
            if value is None:
                continue
            if not hasattr(value, "shape"):
                value = np.asarray(value)
                object.__setattr__(self, name, value)
            _check(name, value, None if name == "means" else len(self), tail)
        if (self.quats_wxyz is None) != (self.scales is None):
            raise MarotteError("quats_wxyz and scales belong together: give both or covariances")
        if (self.scales is None) == (self.covariances is None):
            raise MarotteError(
                "the Gaussians' shape is given by quats_wxyz and scales or by covariances, one of the two"
            )
        if (self.features is None) == (self.sh is None):
            raise MarotteError("the Gaussians' colour is given by features or by sh, one of the two")
        if self.sh is not None:
            object.__setattr__(self, "sh_degree", _degree(self.sh.shape[1], self.sh_degree))

    def __len__(self) -> int:
        return int(self.means.shape[0])

    @property
    def channels(self) -> int:
        """Channels of the picture: C of the features, 3 of spherical harmonics."""
        return 3 if self.features is None else int(self.features.shape[1])


@dataclass(frozen=True, eq=False)
class Raster:
    """A picture of Gaussians.

    color: [H, W, C] float32 with the background in it, not clamped.
    transmittance: [H, W] float32, how much of the background shows through; 1 - it is the coverage.
    depth: [H, W] float32 or None: the sum of camera z times blending weight, so premultiplied by
        coverage, without background; 0 where nothing is drawn.
    """

    color: Array
    transmittance: Array
    depth: Array | None = None


def _check(name: str, value: Array, count: int | None, tail: tuple[int | None, ...]) -> None:
    shape = tuple(value.shape)
    fits = len(shape) == 1 + len(tail) and (count is None or shape[0] == count)
    fits = fits and all(want is None or want == have for want, have in zip(tail, shape[1:], strict=True))
    if not fits:
        letters = ["N" if count is None else str(count), *("C" if want is None else str(want) for want in tail)]
        raise MarotteError(f"{name} must be [{', '.join(letters)}], got {list(shape)}")
    if isinstance(value, np.ndarray) and value.dtype.kind not in "fiu":
        raise MarotteError(f"{name} must be numbers, got {value.dtype}: convert it to float32")


def _degree(coefficients: int, degree: int | None) -> int:
    if degree is None:
        sizes = {(known + 1) ** 2: known for known in SH_DEGREES}
        if coefficients not in sizes:
            raise MarotteError(f"sh has {coefficients} coefficients: 1, 4, 9 or 16, or say which sh_degree to use")
        return sizes[coefficients]
    if degree not in SH_DEGREES:
        raise MarotteError(f"sh_degree {degree} is unknown: use 0, 1, 2 or 3")
    if coefficients < (degree + 1) ** 2:
        raise MarotteError(f"sh_degree {degree} needs {(degree + 1) ** 2} coefficients, sh has {coefficients}")
    return int(degree)
