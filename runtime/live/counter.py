"""A frame's number painted into its picture, that survives encoding: what a page measures delays with.

A row of squares along the top: a white and a black one, then the number of milliseconds since the session's start,
lowest bit first, white for 1, then their parity.
"""

import numpy as np

from marotte.runtime.clock import TICK_RATE

BITS = 24
SQUARE = 8  # pixels


def draw_counter(pixels: np.ndarray, tick: int) -> np.ndarray:
    """Return a picture [h, w, 3] uint8 with the squares in it; unchanged where it is too small for them."""
    value = tick * 1000 // TICK_RATE % (1 << BITS)
    bits = [1, 0, *(value >> bit & 1 for bit in range(BITS)), value.bit_count() % 2]
    if pixels.shape[1] < SQUARE * len(bits) or pixels.shape[0] < SQUARE:
        return pixels
    out = pixels.copy()
    row = np.repeat(np.array(bits, np.uint8) * 255, SQUARE)
    out[:SQUARE, : len(row)] = row[:, None]
    return out


def read_counter(pixels: np.ndarray) -> int | None:
    """Return the milliseconds that a picture [h, w, 3] shows, None where it shows none."""
    places = SQUARE * np.arange(BITS + 3) + SQUARE // 2
    if pixels.shape[1] <= places[-1] or pixels.shape[0] < SQUARE:
        return None
    bits = pixels[SQUARE // 2, places].mean(axis=1) > 127
    value = sum(int(bit) << place for place, bit in enumerate(bits[2:-1]))
    return value if bits[0] and not bits[1] and value.bit_count() % 2 == bits[-1] else None
