"""A frame's number painted into its picture, that survives encoding: what a page measures delays with.

A row of squares along the top: a white and a black one, then the number of milliseconds since the session's start,
lowest bit first, white for 1, then their parity.
"""

import numpy as np

from marotte.runtime.clock import TICK_RATE

BITS = 24
SQUARE = 8  # pixels


def counter(width: int, height: int, tick: int) -> np.ndarray | None:
    """Return the squares [8, n, 3] uint8 for a picture of this size, None where it is too small for them."""
    if width < SQUARE * (BITS + 3) or height < SQUARE:
        return None
    value = tick * 1000 // TICK_RATE % (1 << BITS)
    row = np.frombuffer((1 | value << 2 | value.bit_count() % 2 << BITS + 2).to_bytes(4, "little"), np.uint8)
    bits = np.unpackbits(row, bitorder="little")[: BITS + 3]
    squares = np.empty((SQUARE, BITS + 3, SQUARE, 3), np.uint8)
    squares[:] = (255 * bits)[None, :, None, None]
    return squares.reshape(SQUARE, -1, 3)


def draw_counter(pixels: np.ndarray, tick: int) -> np.ndarray:
    """Return a picture [h, w, 3] uint8 with the squares in it; unchanged where it is too small for them."""
    height, width = pixels.shape[:2]
    squares = counter(width, height, tick)
    if squares is None:
        return pixels
    out = pixels.copy()
    out[:SQUARE, : squares.shape[1]] = squares
    return out


def read_counter(pixels: np.ndarray) -> int | None:
    """Return the milliseconds that a picture [h, w, 3] shows, None where it shows none."""
    places = SQUARE * np.arange(BITS + 3) + SQUARE // 2
    if pixels.shape[1] <= places[-1] or pixels.shape[0] < SQUARE:
        return None
    bits = pixels[SQUARE // 2, places].mean(axis=1) > 127
    value = sum(int(bit) << place for place, bit in enumerate(bits[2:-1]))
    return value if bits[0] and not bits[1] and value.bit_count() % 2 == bits[-1] else None
