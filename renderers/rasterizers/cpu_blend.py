"""Compositing: each tile's splats, front to back, in blocks of 4 x 4 pixels.

A block is 16 numbers of each quantity, which is one or two vector registers. A chunk of splats is taken up, and then
each block that has not stopped goes through those that reach it: its light and its colours stay in registers.
"""

import numba
import numpy as np

from marotte.renderers.rasterizers.cpu_bins import TILE
from marotte.renderers.rasterizers.cpu_finish import finish_tile
from marotte.renderers.rasterizers.cpu_hits import ACROSS, AHEAD, BLOCKS, CHUNK, WORD, WORDS, blocks_of, turn
from marotte.renderers.rasterizers.cpu_lanes import LANES, first_bit, prefetch
from marotte.renderers.rasterizers.cpu_project import OPACITY
from marotte.renderers.rasterizers.cpu_weights import BLOCK, blend_word

# What a tile's pixels cost, in splats.
_TILE_COST = 24
_ZERO, _ONE = np.float32(0), np.float32(1)
_BIT = np.uint64(1)
_COLOUR = OPACITY + 1  # where a splat's colour starts in its row of a chunk


def scratch_size(channels: int) -> int:
    """Return how many float32 a tile of so many channels is drawn in.

    Block after block: 16 numbers of light left (negative where the pixel has stopped), then 16 of each channel. Then
    the rows of a chunk's splats, and up to a whole cache line.
    """
    size = BLOCKS * LANES * (1 + channels) + CHUNK * (_COLOUR + channels)
    return -(-size // LANES) * LANES


@numba.njit(cache=True, nogil=True)
def _take_up(members, splats, colours, left, top, rows, hits):
    """Write the rows of a chunk's splats and, for each word, the bits [4, blocks] of those that reach each block.

    Returns which blocks any of them reaches.
    """
    reached = np.uint64(0)
    for word in range(WORDS):
        count = min(max(len(members) - word * WORD, 0), WORD)
        for k in range(count):
            later = members[min(word * WORD + k + AHEAD, len(members) - 1)]
            prefetch(splats.shapes, later)
            prefetch(splats.boxes, later)
            prefetch(colours, later)
            i, row = np.uint64(members[word * WORD + k]), rows[word * WORD + k]
            shape = splats.shapes[i]
            for n in range(_COLOUR):
                row[n] = shape[n]
            for c in range(colours.shape[1]):
                row[_COLOUR + c] = colours[i, c]
            hits[word, k] = blocks_of(shape, splats.boxes[i], left, top)
            reached |= hits[word, k]
        hits[word, count:] = 0
        if count > 0:
            turn(hits[word])
    return reached


@numba.njit(cache=True, nogil=True)
def _start_tile(state, channels):
    for block in range(BLOCKS):
        at = block * LANES * (1 + len(channels))
        state[at : at + LANES] = _ONE
        state[at + LANES : at + LANES * (1 + len(channels))] = _ZERO


@numba.njit(cache=True, nogil=True)
def share(first, worker, workers):
    """Return the tiles [begin, end) of one of the workers, so that all have about as much to do."""
    tiles = len(first) - 1
    total = first[-1] + tiles * _TILE_COST
    begin = 0
    while begin < tiles and (first[begin] + begin * _TILE_COST) * workers < total * worker:
        begin += 1
    end = begin
    while end < tiles and (first[end] + end * _TILE_COST) * workers < total * (worker + 1):
        end += 1
    return begin, end


@numba.njit(cache=True, nogil=True, parallel=True)
def blend(first, members, splats, colours, background, scratch, channels, color, transmittance, depth):
    """Draw all tiles.

    first, members: each tile's splats from front to back, as `cpu_bins` makes them. colours: [N, C].
    background: [1, 1, D] or [H, W, D]. scratch: [workers, scratch_size(C)]. channels: a tuple of C numbers, of which
    only the count is used: the compiler knows it. color: [H, W, D], transmittance: [H, W], to be
    written. depth: [H, W] to be written with the last of C = D + 1 channels, or [0, 0], and C = D.
    """
    columns = (transmittance.shape[1] + TILE - 1) // TILE
    block_size = np.uint64(LANES * (1 + len(channels)))
    pixels, width = BLOCKS * LANES * (1 + len(channels)), _COLOUR + len(channels)
    for worker in numba.prange(len(scratch)):
        state = scratch[worker, :pixels]
        rows = scratch[worker, pixels : pixels + CHUNK * width].reshape(CHUNK, width)
        hits = np.empty((WORDS, BLOCKS), np.uint64)
        begin, end = share(first, worker, len(scratch))
        for tile in range(begin, end):
            left, top = tile % columns * TILE, tile // columns * TILE
            _start_tile(state, channels)
            alive = ~np.uint64(0)
            at = first[tile]
            while at < first[tile + 1] and alive != 0:
                next_chunk = min(at + CHUNK, first[tile + 1])
                going = alive & _take_up(members[at:next_chunk], splats, colours, left, top, rows, hits)
                while going:
                    block = first_bit(going)
                    going &= going - _BIT
                    x = np.float32(left + np.int64(block) % ACROSS * BLOCK)
                    y = np.float32(top + np.int64(block) // ACROSS * BLOCK)
                    for word in range(WORDS):
                        here = hits[word, block]
                        if here and not blend_word(
                            state, block * block_size, rows, np.uint64(word * WORD), here, x, y, channels
                        ):
                            alive &= ~(_BIT << block)
                            break
                at = next_chunk
            finish_tile(state, left, top, background, channels, color, transmittance, depth)
