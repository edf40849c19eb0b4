"""Crop, pad and resize as 2D affines that compose and invert.

Coordinates are continuous pixels: 0 is the left (top) edge, pixel i has its centre at i + 0.5. In
them a resize is a pure scale, with no half-pixel term (`cv2.resize` and torch's
`align_corners=False` both do this).
"""

from dataclasses import dataclass

import numpy as np

from marotte.errors import MarotteError


@dataclass(frozen=True)
class Affine2D:
    """x' = scale_x x + shift_x, y' = scale_y y + shift_y, in continuous pixels."""

    scale_x: float = 1.0
    scale_y: float = 1.0
    shift_x: float = 0.0
    shift_y: float = 0.0

    def __post_init__(self) -> None:
        values = (self.scale_x, self.scale_y, self.shift_x, self.shift_y)
        if not np.isfinite(values).all() or self.scale_x == 0 or self.scale_y == 0:
            raise MarotteError(f"image map {values} (scale x, scale y, shift x, shift y) cannot be inverted")

    def __matmul__(self, first: "Affine2D") -> "Affine2D":
        """Return the map that applies `first`, then this one."""
        return Affine2D(
            self.scale_x * first.scale_x,
            self.scale_y * first.scale_y,
            self.scale_x * first.shift_x + self.shift_x,
            self.scale_y * first.shift_y + self.shift_y,
        )

    @property
    def inverse(self) -> "Affine2D":
        """The map back."""
        return Affine2D(1 / self.scale_x, 1 / self.scale_y, -self.shift_x / self.scale_x, -self.shift_y / self.scale_y)

    @property
    def matrix(self) -> np.ndarray:
        """[3, 3] float64, for homogeneous columns (x, y, 1)."""
        return np.array([[self.scale_x, 0, self.shift_x], [0, self.scale_y, self.shift_y], [0, 0, 1]], np.float64)

    def apply(self, points: np.ndarray) -> np.ndarray:
        """Map points [..., 2]."""
        return np.asarray(points) * (self.scale_x, self.scale_y) + (self.shift_x, self.shift_y)


def crop(left: float, top: float) -> Affine2D:
    """Map an image to its crop whose top left corner is at (left, top)."""
    return Affine2D(shift_x=-left, shift_y=-top)


def pad(left: float, top: float) -> Affine2D:
    """Map an image to the one with `left` columns and `top` rows added before it."""
    return Affine2D(shift_x=left, shift_y=top)


def resize(old: tuple[float, float], new: tuple[float, float]) -> Affine2D:
    """Map an image of (width, height) `old` to the same image at `new`."""
    return Affine2D(new[0] / old[0], new[1] / old[1])


def index_to_continuous(points: np.ndarray) -> np.ndarray:
    """Return continuous coordinates of points [..., 2] that count pixel centres from 0 (cv2's geometry)."""
    return np.asarray(points) + 0.5


def continuous_to_index(points: np.ndarray) -> np.ndarray:
    """Return pixel-centre coordinates of continuous points [..., 2]."""
    return np.asarray(points) - 0.5
