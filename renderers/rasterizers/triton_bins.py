# mypy: disable-error-code="no-untyped-def"
"""Which Gaussians each tile blends, in which order: sorted lists, built on the device without waiting for it.

All Gaussians of a batch are sorted once by depth, stably, whichever picture they are in. Each is then written into
the list of pairs once for every tile that its ellipse meets, and the list is sorted, stably, by tile: within a tile
that leaves the order of depth, and of index where depths are equal. Sorting a key of tile and depth instead, as the
published code does, would be one radix sort of 64-bit keys over all pairs; this is 32 bits over the Gaussians and,
as long as the batch has fewer than 65536 tiles (63 pictures of 512x512), 16 bits over the pairs: a third of the
memory traffic at two or three tiles for each Gaussian.
"""

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl

from marotte.renderers.rasterizers import rules

TILE = tl.constexpr(rules.TILE)
# Numbers of one Gaussian on the screen, in this order: position in pixels, (0, 0) the centre of the first pixel;
# conic times (-1/2, -1, -1/2), so that its form is the exponent; opacity; camera z; the least exponent at which alpha
# can reach 1/255.
ROW = tl.constexpr(8)
_BLOCK = 128
# Tiles that keys of 16 bits can tell from each other and from the end of the list.
_SHORT = 2**16 - 1


class Screen(NamedTuple):
    """B * N Gaussians on the screen.

    rows: [B * N, ROW] float32. rects: [B * N, 4] int32 tiles, left, top, right, bottom, the last two exclusive.
    keys: [B * N] int32 that sort by depth. hits: [B * N] int32, tiles that the ellipse meets.
    """

    rows: Any
    rects: Any
    keys: Any
    hits: Any


@triton.jit
def meets(px, py, xx, xy, yy, least, tile_x, tile_y):
    """Tell whether the exponent (xx dx^2 + yy dy^2 + xy dx dy) reaches `least` on the square of a tile's pixels.

    The form is concave, so its maximum over the square is 0 if the centre is inside, else on one of the two edges
    that face the centre. `least` is -inf where it may be no such form: all tiles are met. Called without fused
    multiply-adds by whoever counts and whoever lists, so that both find the same.
    """
    right, bottom = px - (tile_x * TILE).to(tl.float32), py - (tile_y * TILE).to(tl.float32)
    left, top = right - (TILE - 1), bottom - (TILE - 1)
    # Of the offsets in the square, those nearest to the centre along each axis.
    near_x, near_y = tl.maximum(left, tl.minimum(right, 0.0)), tl.maximum(top, tl.minimum(bottom, 0.0))
    along_y = tl.maximum(top, tl.minimum(bottom, -0.5 * tl.div_rn(xy * near_x, yy)))
    along_x = tl.maximum(left, tl.minimum(right, -0.5 * tl.div_rn(xy * near_y, xx)))
    upright = xx * near_x * near_x + yy * along_y * along_y + xy * near_x * along_y
    level = xx * along_x * along_x + yy * near_y * near_y + xy * along_x * near_y
    return (tl.maximum(upright, level) >= least) | (least == float("-inf"))


@triton.jit(do_not_specialize="total count capacity across tiles shift".split())
def list_kernel(
    order, ends, hits, rects, rows, tile_of, id_of, total, count, capacity, across, tiles, shift, BLOCK: tl.constexpr
):
    """Write the pairs of the Gaussians in `order` [total]: tile_of, less `shift`, and id_of, up to `capacity`.

    ends: [total] sum of the hits of this Gaussian and all before it. across, tiles: of one picture.
    """
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    here = at < total
    gaussian = tl.load(order + at, mask=here, other=0)
    met = tl.load(hits + gaussian, mask=here, other=0)
    here = met > 0
    place = tl.load(ends + at, mask=here, other=0) - met
    rect, row = rects + gaussian * 4, rows + gaussian * ROW
    left, top = tl.load(rect, mask=here, other=0), tl.load(rect + 1, mask=here, other=0)
    right, bottom = tl.load(rect + 2, mask=here, other=0), tl.load(rect + 3, mask=here, other=0)
    px, py = tl.load(row, mask=here, other=0.0), tl.load(row + 1, mask=here, other=0.0)
    xx, xy = tl.load(row + 2, mask=here, other=-1.0), tl.load(row + 3, mask=here, other=0.0)
    yy, least = tl.load(row + 4, mask=here, other=-1.0), tl.load(row + 7, mask=here, other=0.0)
    gaussian = gaussian.to(tl.int32)
    first = (gaussian // count) * tiles - shift
    wide = tl.maximum(right - left, 1)
    area = (right - left) * (bottom - top)
    for step in range(tl.max(area, axis=0)):
        tile_x, tile_y = left + step % wide, top + step // wide
        hit = here & (step < area) & meets(px, py, xx, xy, yy, least, tile_x, tile_y)
        fits = hit & (place < capacity)
        tl.store(tile_of + place, (first + tile_y * across + tile_x).to(tile_of.dtype.element_ty), mask=fits)
        tl.store(id_of + place, gaussian, mask=fits)
        place += hit.to(tl.int64)


def sort_and_count(screen: Screen) -> tuple[Any, Any]:
    """Return the order of depth [B * N] and, in it, the running count of pairs [B * N]; the last is that of all."""
    order = torch.sort(screen.keys, stable=True).indices
    return order, torch.cumsum(screen.hits[order], 0, dtype=torch.int64)


def list_pairs(
    screen: Screen, order: Any, ends: Any, pictures: int, grid: tuple[int, int], capacity: int, room: Any
) -> tuple[Any, Any]:
    """Return the ids [capacity], into B * N, tile after tile and front to back, and where each tile's start.

    The starts [pictures * tiles + 1] int32 have the end of the last. Pairs beyond `capacity` are left out, those of
    the farthest Gaussians. grid: tiles across and down.
    """
    tiles = grid[0] * grid[1]
    total = len(order)
    short = pictures * tiles <= _SHORT
    # Keys are shifted so that 16 bits with a sign hold them; what is not written sorts behind all tiles.
    dtype, shift = (torch.int16, 2**15) if short else (torch.int32, 0)
    tile_of = room("tile_of_short" if short else "tile_of", capacity, dtype)
    id_of = room("id_of", capacity, torch.int32)
    tile_of.fill_(torch.iinfo(dtype).max)
    list_kernel[(triton.cdiv(total, _BLOCK),)](
        order,
        ends,
        screen.hits,
        screen.rects,
        screen.rows,
        tile_of,
        id_of,
        total,
        total // pictures,
        capacity,
        grid[0],
        tiles,
        shift,
        BLOCK=_BLOCK,
        enable_fp_fusion=False,
    )
    keys, order = torch.sort(tile_of, stable=True)
    edges = torch.arange(-shift, pictures * tiles + 1 - shift, device=keys.device).to(dtype)
    return id_of[order], torch.searchsorted(keys, edges, out_int32=True)
