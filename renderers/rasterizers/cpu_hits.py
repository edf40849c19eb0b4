"""Which blocks of a tile each splat reaches, as bits: 64 blocks a tile, 64 splats a word.

A tile takes its splats up a chunk at a time. What a splat reaches is cut to its ellipse, not to the ellipse's box,
which at the corners is empty: a third of the work of thin, slanted splats. Turned over, the bits say for each block
which splats reach it, front to back.
"""

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from marotte.models.vector_code import call, shuffle
from marotte.renderers.rasterizers.cpu_bins import TILE
from marotte.renderers.rasterizers.cpu_project import HALF_CHORD, HALF_HEIGHT, SLACK_PIXELS, XX, XY, X, Y
from marotte.renderers.rasterizers.cpu_weights import BLOCK

ACROSS = TILE // BLOCK
BLOCKS = ACROSS * ACROSS
# Splats are taken up in words of 64, one bit each, and a chunk is some words.
WORD, WORDS = 64, 4
CHUNK = WORD * WORDS
# Splats are fetched so many before they are needed: in order of depth they lie anywhere.
AHEAD = 12
assert BLOCKS == WORD and ACROSS == 8

_ROWS = ir.VectorType(ir.FloatType(), 2 * ACROSS)
_WHOLE = ir.VectorType(ir.IntType(32), ACROSS)
_BYTES = ir.VectorType(ir.IntType(8), ACROSS)
_BIT, _EIGHT = np.uint64(1), np.uint64(ACROSS)
# One bit in each row of blocks.
_COLUMN = np.uint64(0x0101010101010101)


@numba.njit(cache=True, nogil=True)
def _box_bits(box, left, top):
    """Return the blocks of the tile at pixel (left, top) that a box touches: bit 8 * row + column, uint64."""
    x0, x1 = np.uint64(max(box[0] - left, 0) // BLOCK), np.uint64((min(box[1] - left, TILE) - 1) // BLOCK)
    y0, y1 = np.uint64(max(box[2] - top, 0) // BLOCK), np.uint64((min(box[3] - top, TILE) - 1) // BLOCK)
    row = (np.uint64(2) << x1) - (_BIT << x0)
    column = (_COLUMN << (_EIGHT * y0)) & (_COLUMN >> (_EIGHT * (_EIGHT - _BIT - y1)))
    return row * column


def _band_bits(
    typing_context: Any, y: Any, right: Any, left: Any, lean: Any, height: Any, chord: Any, peak: Any
) -> Any:
    """Return the blocks that an ellipse touches, one row of blocks a byte, in all eight rows at once, as uint64.

    All are float32, in pixels from the first pixel of the tile. y: of the centre. right, left: x of the centre and its
    opposite, each plus the slack. lean: how far the chord along x moves with y. height: half of the ellipse's. chord:
    half of that through the centre. peak: y of the rightmost point, from the centre.
    """

    def lanes(value: Any, other: Any) -> Any:
        return ir.Constant(_ROWS, [float(number) for number in (*value, *other)])

    def alike(number: float) -> Any:
        return lanes([number] * ACROSS, [number] * ACROSS)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        y, right, left, lean, height, chord, peak = arguments

        def spread(number: Any, mirrored: Any) -> Any:
            """Return a vector of one number for the right edge and of another for the left one, which is mirrored."""
            pair = ir.Constant(ir.VectorType(ir.FloatType(), 2), ir.Undefined)
            for n, value in enumerate((number, mirrored)):
                pair = builder.insert_element(pair, value, ir.Constant(ir.IntType(32), n))
            return shuffle(builder, pair, pair, [0] * ACROSS + [1] * ACROSS)

        def least(one: Any, other: Any) -> Any:
            return builder.select(builder.fcmp_ordered("<", one, other), one, other)

        def most(one: Any, other: Any) -> Any:
            return builder.select(builder.fcmp_ordered(">", one, other), one, other)

        # Where in each band of four rows the edge is outermost, and where it is there.
        centre, tall = spread(y, y), spread(height, height)
        tops, bottoms = range(0, TILE, BLOCK), range(BLOCK - 1, TILE, BLOCK)
        first = most(builder.fsub(lanes(tops, tops), centre), builder.fneg(tall))
        last = least(builder.fsub(lanes(bottoms, bottoms), centre), tall)
        at = most(least(spread(peak, builder.fneg(peak)), last), first)
        part = builder.fmul(at, builder.fdiv(alike(1), tall))
        inside = most(builder.fsub(alike(1), builder.fmul(part, part)), alike(0))
        moved = builder.fadd(spread(right, left), builder.fmul(spread(lean, builder.fneg(lean)), at))
        edge = builder.fadd(moved, builder.fmul(spread(chord, chord), call(builder, "sqrt", inside)))
        # The last pixel inside, and on the left the first one, mirrored; then the blocks that these lie in.
        pixel = builder.fmul(call(builder, "floor", edge), lanes([1] * ACROSS, [-1] * ACROSS))
        block = call(builder, "floor", builder.fmul(pixel, alike(1 / BLOCK)))
        block = builder.fptosi(most(least(block, alike(ACROSS)), alike(-1)), ir.VectorType(ir.IntType(32), 2 * ACROSS))
        to, begin = (shuffle(builder, block, block, range(start, start + ACROSS)) for start in (0, ACROSS))
        nought, end = ir.Constant(_WHOLE, [0] * ACROSS), ir.Constant(_WHOLE, [ACROSS - 1] * ACROSS)
        begin = builder.select(builder.icmp_signed(">", begin, nought), begin, nought)
        to = builder.select(builder.icmp_signed("<", to, end), to, end)
        some = builder.icmp_signed("<=", begin, to)
        begin, to = builder.select(some, begin, nought), builder.select(some, to, nought)
        past, before = (builder.shl(ir.Constant(_WHOLE, [one] * ACROSS), shift) for one, shift in ((2, to), (1, begin)))
        bits = builder.select(some, builder.sub(past, before), nought)
        return builder.bitcast(builder.trunc(bits, _BYTES), ir.IntType(64))

    return types.uint64(*(types.float32,) * 7), emit


_bands: Any = intrinsic(_band_bits)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def blocks_of(shape, box, left, top):
    """Return the blocks of the tile at pixel (left, top) in which a splat may weigh anything: bit 8 * row + column.

    shape, box: its rows of `Splats`. The result is uint64.
    """
    bits = _box_bits(box, left, top)
    height, chord = shape[HALF_HEIGHT], shape[HALF_CHORD]
    if not height < np.float32(np.inf):
        return bits
    lean = np.float32(-0.5) * shape[XY] / shape[XX]
    rise = lean * height
    extent = np.sqrt(rise * rise + chord * chord)
    x, y = shape[X] - np.float32(left), shape[Y] - np.float32(top)
    return bits & _bands(y, x + SLACK_PIXELS, SLACK_PIXELS - x, lean, height, chord, height * (rise / extent))


@numba.njit(cache=True, nogil=True)
def turn(bits):
    """Turn a matrix of 64 x 64 bits in place, rows uint64: bit j of number i becomes bit i of number j."""
    step, mask = 32, np.uint64(0x00000000FFFFFFFF)
    while step > 0:
        shift = np.uint64(step)
        for first in range(0, 64, 2 * step):
            for i in range(first, first + step):
                swap = ((bits[i] >> shift) ^ bits[i + step]) & mask
                bits[i + step] ^= swap
                bits[i] ^= swap << shift
        step //= 2
        mask ^= mask << np.uint64(step)
