"""Compositing many channels: each tile's splats, front to back, in chunks, as products of matrices.

Of a chunk of a tile's list each block of 4 x 4 pixels takes the splats that touch it, finds their weights
[splats, 16 pixels], and adds weights times features [splats, C] to its sums, which stay in registers meanwhile. A block
that has stopped is not looked at again. The sums are those of `cpu_blend`, in the same order.
"""

import numba
import numpy as np

from marotte.renderers.rasterizers.cpu_bins import TILE
from marotte.renderers.rasterizers.cpu_blend import share
from marotte.renderers.rasterizers.cpu_lanes import LANES, add_products, any_positive, first_bit, prefetch
from marotte.renderers.rasterizers.cpu_project import OPACITY, XX, XY, YY, X, Y
from marotte.renderers.rasterizers.cpu_weights import BLOCK, weigh

_ACROSS = TILE // BLOCK
_BLOCKS = _ACROSS * _ACROSS
# From so many channels on this is faster than `cpu_blend`.
MANY = 12
# Splats are taken up in words of 64, one bit each, and a chunk is some words.
_WORD, _WORDS = 64, 4
_CHUNK = _WORD * _WORDS
assert _BLOCKS == _WORD and _ACROSS == 8
_ZERO, _ONE = np.float32(0), np.float32(1)
_BIT = np.uint64(1)
# One bit in each row of blocks.
_COLUMN = np.uint64(0x0101010101010101)
# The scratch in float32: light left [blocks, 16], weights of a chunk [256, 16], then sums [blocks, 16, 16 v].
_WEIGHTS = _BLOCKS * LANES
_SUMS = _WEIGHTS + _CHUNK * LANES


def vectors(channels: int) -> int:
    """Return how many vectors of 16 numbers hold so many channels."""
    return -(-channels // LANES)


def scratch_size(channels: int) -> int:
    """Return how many float32 a tile of so many channels is drawn in."""
    return _SUMS + _BLOCKS * LANES * LANES * vectors(channels)


@numba.njit(cache=True, nogil=True)
def _blocks_of(box, left, top):
    """Return which blocks of the tile at pixel (left, top) a box touches, bit by bit."""
    x0, x1 = np.uint64(max(box[0] - left, 0) // BLOCK), np.uint64((min(box[1] - left, TILE) - 1) // BLOCK)
    y0, y1 = np.uint64(max(box[2] - top, 0) // BLOCK), np.uint64((min(box[3] - top, TILE) - 1) // BLOCK)
    eight = np.uint64(_ACROSS)
    row = (np.uint64(2) << x1) - (_BIT << x0)
    column = (_COLUMN << (eight * y0)) & (_COLUMN >> (eight * (eight - _BIT - y1)))
    return row * column


@numba.njit(cache=True, nogil=True)
def _turn(bits):
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


@numba.njit(cache=True, nogil=True)
def _take_up(members, splats, colours, left, top, ids, hits):
    """Write the ids [256] of a chunk and, for each word, the bits [4, blocks] of those that touch each block.

    In order of depth splats lie anywhere in memory: what the blocks will read of them is on its way meanwhile.
    """
    for word in range(_WORDS):
        count = min(max(len(members) - word * _WORD, 0), _WORD)
        for k in range(count):
            i = members[word * _WORD + k]
            ids[word * _WORD + k] = i
            prefetch(colours, i)
            prefetch(splats.shapes, i)
            hits[word, k] = _blocks_of(splats.boxes[i], left, top)
        hits[word, count:] = 0
        _turn(hits[word])


@numba.njit(cache=True, nogil=True)
def _weigh_block(block, left, top, ids, hits, shapes, state, picked):
    """Write the weights of a chunk's splats in a block, and the ids of those that weigh anything to `picked`, in order.

    Returns how many these are. Stops where all pixels have stopped.
    """
    x, y = np.float32(left + block % _ACROSS * BLOCK), np.float32(top + block // _ACROSS * BLOCK)
    light = np.uint64(block * LANES)
    count = 0
    for word in range(_WORDS):
        hit = hits[word, block]
        while hit:
            i = ids[np.uint64(word * _WORD) + first_bit(hit)]
            hit &= hit - _BIT
            shape = shapes[i]
            splat = (shape[X], shape[Y], shape[XX], shape[XY], shape[YY], shape[OPACITY])
            weight = np.uint64(_WEIGHTS + count * LANES)
            weighs, going = weigh(state, light, state, weight, splat, x, y)
            # Without a jump, which would be guessed wrong as often as an ellipse misses a corner of its box.
            picked[count] = i
            count += weighs
            if not going:
                return count
    return count


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _finish_tile(state, left, top, background, wide, color, transmittance, depth):
    """Write the pixels of the tile at pixel (left, top), over the background."""
    columns, row = color.shape[2], LANES * len(wide)
    for y in range(min(TILE, transmittance.shape[0] - top)):
        v = np.uint64(top + y)
        behind = background[v if background.shape[0] > 1 else np.uint64(0)]
        for x in range(min(TILE, transmittance.shape[1] - left)):
            u = np.uint64(left + x)
            pixel = (y // BLOCK * _ACROSS + x // BLOCK) * LANES + y % BLOCK * BLOCK + x % BLOCK
            light = abs(state[pixel])
            transmittance[v, u] = light
            here = state[_SUMS + pixel * row : _SUMS + (pixel + 1) * row]
            ground, there = behind[u if background.shape[1] > 1 else np.uint64(0)], color[v, u]
            for c in range(columns):
                there[c] = here[c] + light * ground[c]
            if len(depth) > 0:
                depth[v, u] = here[columns]


@numba.njit(cache=True, nogil=True, parallel=True)
def blend(first, members, splats, colours, background, scratch, wide, color, transmittance, depth):
    """Draw all tiles, as `cpu_blend.blend` does.

    colours: [N, 16 v], of which the last may be anything finite. wide: instead of `channels` a tuple of v numbers, of
    which only the count is used.
    """
    columns = (transmittance.shape[1] + TILE - 1) // TILE
    for worker in numba.prange(len(scratch)):
        state = scratch[worker]
        weights, sums = state[_WEIGHTS:_SUMS], state[_SUMS:]
        hits = np.empty((_WORDS, _BLOCKS), np.uint64)
        ids, picked = np.empty(_CHUNK, np.int64), np.empty(_CHUNK, np.int64)
        begin, end = share(first, worker, len(scratch))
        for tile in range(begin, end):
            left, top = tile % columns * TILE, tile // columns * TILE
            state[:_WEIGHTS] = _ONE
            sums[:] = _ZERO
            alive = ~np.uint64(0)
            at = first[tile]
            while at < first[tile + 1] and alive != 0:
                next_chunk = min(at + _CHUNK, first[tile + 1])
                _take_up(members[at:next_chunk], splats, colours, left, top, ids, hits)
                going = alive
                while going:
                    block = first_bit(going)
                    going &= going - _BIT
                    n = _weigh_block(block, left, top, ids, hits, splats.shapes, state, picked)
                    add_products(sums, block * np.uint64(LANES), weights, colours, wide, picked, n)
                    if not any_positive(state, block * np.uint64(LANES)):
                        alive &= ~(_BIT << block)
                at = next_chunk
            _finish_tile(state, left, top, background, wide, color, transmittance, depth)
