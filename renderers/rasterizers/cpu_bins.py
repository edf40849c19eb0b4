"""Which tiles each splat touches: one list of splats for each tile, front to back."""

import numba
import numpy as np

from marotte.renderers.rasterizers.cpu_lanes import prefetch
from marotte.renderers.rasterizers.cpu_project import UNSEEN

# Side of a tile of the lists in pixels; the published tiles are 16 whatever this is. Larger ones make
# shorter lists in all, smaller ones fit the first cache. Numba does not see that `cpu_blend` depends on
# it: whoever changes it clears the cache.
TILE = 32
# Boxes are fetched so many splats before they are needed: in order of depth they lie anywhere.
_AHEAD = 16
_IDS = np.uint64(0xFFFFFFFF)


@numba.njit(cache=True, nogil=True)
def _tiles(boxes, i):
    """Return the tiles of a splat: first and last column, first and last row."""
    return boxes[i, 0] // TILE, (boxes[i, 1] - 1) // TILE, boxes[i, 2] // TILE, (boxes[i, 3] - 1) // TILE


@numba.njit(cache=True, nogil=True)
def count_members(keys, boxes, columns, limit, first):
    """Write `first` [tiles + 1] int64, where each tile's list starts, and return the length of all lists.

    keys: [N], UNSEEN where not drawn. boxes: [N, 4] pixels. columns: of tiles. Where the length is more than `limit`,
    only that is returned.
    """
    total = np.int64(0)
    for i in range(len(keys)):
        if keys[i] == UNSEEN:
            continue
        x0, x1, y0, y1 = _tiles(boxes, i)
        total += np.int64(x1 - x0 + 1) * np.int64(y1 - y0 + 1)
    if total > limit:
        return total
    first[:] = 0
    for i in range(len(keys)):
        if keys[i] == UNSEEN:
            continue
        x0, x1, y0, y1 = _tiles(boxes, i)
        for row in range(y0, y1 + 1):
            for column in range(x0, x1 + 1):
                first[row * columns + column + 1] += 1
    for tile in range(len(first) - 1):
        first[tile + 1] += first[tile]
    return total


@numba.njit(cache=True, nogil=True)
def fill_lists(order, boxes, columns, first, members):
    """Write the ids of each tile's splats to `members[first[tile]:first[tile + 1]]` int32, in their order.

    order: [n] uint64, ids in the lower halves.
    """
    at = first[:-1].copy()
    for k in range(len(order)):
        prefetch(boxes, np.int64(order[min(k + _AHEAD, len(order) - 1)] & _IDS))
        i = order[k] & _IDS
        x0, x1, y0, y1 = _tiles(boxes, i)
        for row in range(y0, y1 + 1):
            for column in range(x0, x1 + 1):
                tile = row * columns + column
                members[at[tile]] = i
                at[tile] += 1
