"""Compositing many channels: each tile's splats, front to back, in chunks, as products of matrices.

Of a chunk of a tile's list each block of 4 x 4 pixels takes the splats that touch it, finds their weights
[splats, 16 pixels], and adds weights times features [splats, C] to its sums, which stay in registers meanwhile. A block
that has stopped is not looked at again. The sums are those of `cpu_blend`, in the same order.
"""

import numba
import numpy as np

from marotte.renderers.rasterizers.cpu_bins import TILE
from marotte.renderers.rasterizers.cpu_blend import share
from marotte.renderers.rasterizers.cpu_hits import ACROSS, AHEAD, BLOCKS, CHUNK, WORD, WORDS, blocks_of, turn
from marotte.renderers.rasterizers.cpu_lanes import LANES, add_products, any_positive, first_bit, prefetch
from marotte.renderers.rasterizers.cpu_project import OPACITY, XX, XY, YY, X, Y
from marotte.renderers.rasterizers.cpu_weights import BLOCK, weigh

# From so many channels on this is faster than `cpu_blend`.
MANY = 12
_ZERO, _ONE = np.float32(0), np.float32(1)
_BIT = np.uint64(1)
# The scratch in float32: light left [blocks, 16], weights of a chunk [256, 16], then sums [blocks, 16, 16 v].
_WEIGHTS = BLOCKS * LANES
_SUMS = _WEIGHTS + CHUNK * LANES


def vectors(channels: int) -> int:
    """Return how many vectors of 16 numbers hold so many channels."""
    return -(-channels // LANES)


def scratch_size(channels: int) -> int:
    """Return how many float32 a tile of so many channels is drawn in."""
    return _SUMS + BLOCKS * LANES * LANES * vectors(channels)


@numba.njit(cache=True, nogil=True)
def _take_up(members, splats, colours, left, top, ids, hits):
    """Write the ids [256] of a chunk and, for each word, the bits [4, blocks] of those that reach each block.

    In order of depth splats lie anywhere in memory: what the blocks will read of them is on its way meanwhile.
    """
    for word in range(WORDS):
        count = min(max(len(members) - word * WORD, 0), WORD)
        for k in range(count):
            later = members[min(word * WORD + k + AHEAD, len(members) - 1)]
            prefetch(splats.shapes, later)
            prefetch(splats.boxes, later)
            i = members[word * WORD + k]
            ids[word * WORD + k] = i
            prefetch(colours, i)
            hits[word, k] = blocks_of(splats.shapes[i], splats.boxes[i], left, top)
        hits[word, count:] = 0
        if count > 0:
            turn(hits[word])


@numba.njit(cache=True, nogil=True)
def _weigh_block(block, left, top, ids, hits, shapes, state, picked):
    """Write the weights of a chunk's splats in a block, and the ids of those that weigh anything to `picked`, in order.

    Returns how many these are. Stops where all pixels have stopped.
    """
    x, y = np.float32(left + block % ACROSS * BLOCK), np.float32(top + block // ACROSS * BLOCK)
    light = np.uint64(block * LANES)
    count = 0
    for word in range(WORDS):
        hit = hits[word, block]
        while hit:
            i = ids[np.uint64(word * WORD) + first_bit(hit)]
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
            pixel = (y // BLOCK * ACROSS + x // BLOCK) * LANES + y % BLOCK * BLOCK + x % BLOCK
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
        hits = np.empty((WORDS, BLOCKS), np.uint64)
        ids, picked = np.empty(CHUNK, np.int64), np.empty(CHUNK, np.int64)
        begin, end = share(first, worker, len(scratch))
        for tile in range(begin, end):
            left, top = tile % columns * TILE, tile // columns * TILE
            state[:_WEIGHTS] = _ONE
            sums[:] = _ZERO
            alive = ~np.uint64(0)
            at = first[tile]
            while at < first[tile + 1] and alive != 0:
                next_chunk = min(at + CHUNK, first[tile + 1])
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
