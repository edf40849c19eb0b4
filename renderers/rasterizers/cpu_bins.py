"""Which tiles each splat touches: one list of splats for each tile, front to back."""

import numba
import numpy as np

from marotte.renderers.rasterizers.cpu_lanes import prefetch

# Side of a tile of the lists in pixels; the published tiles are 16 whatever this is. Larger ones make
# shorter lists in all, smaller ones fit the first cache. Numba does not see that `cpu_blend` depends on
# it: whoever changes it clears the cache.
TILE = 32
# Boxes are fetched so many splats before they are needed: in order of depth they lie anywhere.
_AHEAD = 16
_IDS = np.uint64(0xFFFFFFFF)
# Unsigned, so that no index is looked at for counting from an array's end.
_SIDE, _ONE, _TWO = np.uint64(TILE), np.uint64(1), np.uint64(2)


@numba.njit(cache=True, nogil=True)
def _tiles(boxes, i):
    """Return the tiles of a splat: first column, column after the last, first row, row after the last."""
    left, right = np.uint64(boxes[i, 0]) // _SIDE, np.uint64(boxes[i, 1] + (TILE - 1)) // _SIDE
    return left, right, np.uint64(boxes[i, 2]) // _SIDE, np.uint64(boxes[i, 3] + (TILE - 1)) // _SIDE


@numba.njit(cache=True, nogil=True)
def count_members(boxes, columns, first):
    """Write `first` [tiles + 1] int64, where each tile's list starts, and return the length of all lists.

    boxes: [N, 4] pixels, those of zero width or height in no list. columns: of tiles.
    """
    rows, across = (len(first) - 1) // columns, np.uint64(columns + 1)
    # What each tile's list has more than those to the left and above: every splat changes four corners, however large.
    more = np.zeros((rows + 1) * (columns + 1), np.int32)
    for i in range(len(boxes)):
        left, right, top, bottom = _tiles(boxes, i)
        more[top * across + left] += 1
        more[top * across + right] -= 1
        more[bottom * across + left] -= 1
        more[bottom * across + right] += 1
    total, above = np.int64(0), np.zeros(columns, np.int64)
    for row in range(rows):
        change = 0
        for column in range(columns):
            change += more[row * (columns + 1) + column]
            above[column] += change
            first[row * columns + column] = total
            total += above[column]
    first[rows * columns] = total
    return total


@numba.njit(cache=True, nogil=True)
def fill_lists(order, boxes, columns, first, members):
    """Write the ids of each tile's splats to `members[first[tile]:first[tile + 1]]` int32, in their order.

    order: [n] uint64, ids in the lower halves. At most 2**32 members.
    """
    at, across = first[:-1].astype(np.uint32), np.uint64(columns)
    for k in range(len(order)):
        prefetch(boxes, np.int64(order[min(k + _AHEAD, len(order) - 1)] & _IDS))
        i = order[k] & _IDS
        left, right, top, bottom = _tiles(boxes, i)
        if right - left > _TWO or bottom - top > _TWO:
            for row in range(top, bottom):
                for column in range(left, right):
                    tile = row * across + column
                    members[at[tile]] = i
                    at[tile] += 1
        else:
            # The tiles of the corners, of which some or all are one: no loops, whose ends nobody could foresee. All
            # places are read before one is moved, so that what is done twice is done once.
            upper, lower, right = top * across, (bottom - _ONE) * across, right - _ONE
            a, b, c, d = at[upper + left], at[upper + right], at[lower + left], at[lower + right]
            members[a], members[b], members[c], members[d] = i, i, i, i
            at[upper + left], at[upper + right], at[lower + left], at[lower + right] = a + 1, b + 1, c + 1, d + 1
