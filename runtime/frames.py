"""Frames: pictures with the ticks they belong to."""

from dataclasses import dataclass

import numpy as np

from marotte.errors import MarotteError

# Bytes of one frame's array, given height and width.
_SHAPES = {
    "rgb24": lambda h, w: (h, w, 3),
    "rgba": lambda h, w: (h, w, 4),
    "yuv420p": lambda h, w: (h * 3 // 2, w),
}


@dataclass(frozen=True)
class Frames:
    """T pictures of one size.

    ticks: [T] int64, when each starts (1/48000 s).
    pixels: uint8; `rgb24` [T, H, W, 3], `rgba` [T, H, W, 4] with straight (not premultiplied)
        alpha, `yuv420p` [T, H * 3 / 2, W], planes Y, U, V below each other, BT.709 limited range.
    format: one of those three.
    """

    ticks: np.ndarray
    pixels: np.ndarray
    format: str = "rgb24"

    def __post_init__(self) -> None:
        if self.format not in _SHAPES:
            raise MarotteError(f"pixel format {self.format!r} is unknown: use {', '.join(_SHAPES)}")
        if self.pixels.dtype != np.uint8 or self.pixels.shape != (len(self.ticks), *self._frame_shape()):
            raise MarotteError(
                f"pixels of {len(self.ticks)} {self.format} frames are {self.pixels.dtype} {list(self.pixels.shape)}"
            )

    def _frame_shape(self) -> tuple[int, ...]:
        return _SHAPES[self.format](self.height, self.width)

    def __len__(self) -> int:
        return len(self.ticks)

    @property
    def height(self) -> int:
        """Rows of a picture."""
        rows = self.pixels.shape[1]
        return rows * 2 // 3 if self.format == "yuv420p" else rows

    @property
    def width(self) -> int:
        """Columns of a picture."""
        return self.pixels.shape[2]


def to_bytes(colour: np.ndarray) -> np.ndarray:
    """Return uint8 of float colour in 0..1: floor(255 x + 0.5) of the clamped value."""
    return np.floor(np.clip(colour, 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)
