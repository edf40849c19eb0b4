"""Compositing: each tile's splats, front to back, in blocks of 4 x 4 pixels.

A block is 16 numbers of each quantity, which is one or two vector registers. A splat visits only the
blocks that its box touches, and no block whose pixels have all stopped.
"""

import numba
import numpy as np

from marotte.renderers.rasterizers.cpu_bins import TILE
from marotte.renderers.rasterizers.cpu_lanes import LANES, add_scaled
from marotte.renderers.rasterizers.cpu_project import OPACITY, XX, XY, YY, X, Y
from marotte.renderers.rasterizers.cpu_weights import BLOCK, weigh

_ACROSS = TILE // BLOCK
_BLOCKS = _ACROSS * _ACROSS
_ALL = np.uint64((1 << _BLOCKS) - 1)  # one bit a block, so 64 blocks at most
# A tile looks for blocks that have stopped after every so many splats.
_PERIOD = 32
# What a tile's pixels cost, in splats.
_TILE_COST = 24
_ZERO, _ONE = np.float32(0), np.float32(1)


def scratch_size(channels: int) -> int:
    """Return how many float32 a tile of so many channels is drawn in.

    Block after block: 16 numbers of light left (negative where the pixel has stopped), 16 weights of
    the last splat, then 16 of each channel.
    """
    return _BLOCKS * LANES * (2 + channels)


@numba.njit(cache=True, nogil=True)
def _blend_splat(shape, colour, box, left, top, alive, state, channels):
    """Blend one splat into the blocks that it touches of the tile at pixel (left, top).

    shape, box: a row of `Splats`. colour: [C]. alive: bit by bit, which blocks have not stopped.
    state: see `scratch_size`.
    """
    splat = (shape[X], shape[Y], shape[XX], shape[XY], shape[YY], shape[OPACITY])
    x0, x1 = max(box[0] - left, 0) // BLOCK, (min(box[1] - left, TILE) - 1) // BLOCK
    y0, y1 = max(box[2] - top, 0) // BLOCK, (min(box[3] - top, TILE) - 1) // BLOCK
    for by in range(y0, y1 + 1):
        y = np.float32(top + by * BLOCK)
        for bx in range(x0, x1 + 1):
            block = np.uint64(by * _ACROSS + bx)
            if not (alive >> block) & np.uint64(1):
                continue
            x = np.float32(left + bx * BLOCK)
            light = block * np.uint64(LANES * (2 + len(channels)))
            weight = light + np.uint64(LANES)
            weigh(state, light, state, weight, splat, x, y)
            for c in range(len(channels)):
                add_scaled(state, weight + np.uint64(LANES * (1 + c)), weight, colour[c])


@numba.njit(cache=True, nogil=True)
def _still_alive(alive, state, channels):
    """Return which of the blocks that were alive have a pixel that has not stopped."""
    for block in range(_BLOCKS):
        light = np.uint64(block * LANES * (2 + len(channels)))
        most = -_ONE
        for lane in range(LANES):
            most = max(most, state[light + np.uint64(lane)])
        if most < _ZERO:
            alive &= ~(np.uint64(1) << np.uint64(block))
    return alive


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _finish_tile(state, left, top, background, channels, color, transmittance, depth):
    """Write the pixels of the tile at pixel (left, top), over the background."""
    # Unsigned indices need no check for negative ones.
    block, columns = np.uint64(LANES * (2 + len(channels))), np.uint64(color.shape[2])
    step_v, step_u = np.uint64(background.shape[0] > 1), np.uint64(background.shape[1] > 1)
    for y in range(min(TILE, transmittance.shape[0] - top)):
        row = np.uint64(y // BLOCK * _ACROSS) * block + np.uint64(y % BLOCK * BLOCK)
        v = np.uint64(top + y)
        for x in range(min(TILE, transmittance.shape[1] - left)):
            at = row + np.uint64(x // BLOCK) * block + np.uint64(x % BLOCK)
            u = np.uint64(left + x)
            light = abs(state[at])
            transmittance[v, u] = light
            for c in range(columns):
                here = state[at + np.uint64(LANES * (2 + c))]
                color[v, u, c] = here + light * background[v * step_v, u * step_u, c]
            if len(depth) > 0:
                depth[v, u] = state[at + np.uint64(LANES) * (np.uint64(2) + columns)]


@numba.njit(cache=True, nogil=True)
def _start_tile(state, channels):
    for block in range(_BLOCKS):
        at = block * LANES * (2 + len(channels))
        state[at : at + LANES] = _ONE
        state[at + LANES : at + LANES * (2 + len(channels))] = _ZERO


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
    for worker in numba.prange(len(scratch)):
        state = scratch[worker]
        begin, end = share(first, worker, len(scratch))
        for tile in range(begin, end):
            left, top = tile % columns * TILE, tile // columns * TILE
            _start_tile(state, channels)
            alive = _ALL
            for k in range(first[tile], first[tile + 1]):
                i = np.uint64(members[k])
                _blend_splat(splats.shapes[i], colours[i], splats.boxes[i], left, top, alive, state, channels)
                if k % _PERIOD == 0:
                    alive = _still_alive(alive, state, channels)
                    if alive == 0:
                        break
            _finish_tile(state, left, top, background, channels, color, transmittance, depth)
