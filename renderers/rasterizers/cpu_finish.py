"""From a tile's blocks to rows of pixels over the background."""

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from marotte.models.vector_code import arrays, load, shuffle, store
from marotte.renderers.rasterizers.cpu_bins import TILE
from marotte.renderers.rasterizers.cpu_hits import ACROSS, BLOCKS
from marotte.renderers.rasterizers.cpu_lanes import LANES, VECTOR
from marotte.renderers.rasterizers.cpu_weights import BLOCK

# More channels than these are written one by one: what the processor has for it puts four vectors into one.
MOST = 4


def _finish_rows(
    typing_context: Any,
    state: Any,
    at: Any,
    behind: Any,
    color: Any,
    transmittance: Any,
    pixel: Any,
    width: Any,
    channels: Any,
) -> Any:
    """Write the 4 x 4 pixels of a block, of which the first is number `pixel` of a picture of that width.

    state: float32, which holds from `at` on 16 numbers of light left, then 16 of each channel. behind: [16 C] float32,
    the background, pixel by pixel. color, transmittance: [H, W, C], [H, W] to be written. channels: a tuple of C
    numbers, which the compiler counts. at, pixel, width: uint64. Nothing is checked.
    """
    count = len(channels)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        state, behind, color, transmittance = arrays(context, builder, signature, arguments, 0, 2, 3, 4)
        _, at, _, _, _, pixel, width, _ = arguments
        if count > MOST:
            return context.get_dummy_value()  # never called
        long, whole = ir.IntType(64), ir.IntType(32)

        def number(value: int) -> Any:
            return ir.Constant(long, value)

        def picked(vectors: list[Any], lanes: list[int]) -> Any:
            """Return these lanes of the vectors of 16 numbers, counted through."""
            while len(vectors) > 2:
                vectors = [
                    shuffle(builder, one, other, range(2 * one.type.count))
                    for one, other in zip(vectors[::2], vectors[1::2], strict=True)
                ]
            return shuffle(builder, vectors[0], vectors[1], lanes)

        stored = load(builder, state, at, LANES)
        magnitude = builder.bitcast(
            builder.and_(
                builder.bitcast(stored, ir.VectorType(whole, LANES)),
                ir.Constant(ir.VectorType(whole, LANES), [0x7FFFFFFF] * LANES),
            ),
            VECTOR,
        )
        sums = [load(builder, state, builder.add(at, number(LANES * (1 + c))), LANES) for c in range(count)]
        wide = [*sums, *[ir.Constant(VECTOR, ir.Undefined)] * ((1 << max(count - 1, 1).bit_length()) - count)]
        for y in range(BLOCK):
            across = range(BLOCK * y, BLOCK * (y + 1))
            start = builder.add(pixel, builder.mul(width, number(y)))
            light = picked([magnitude, magnitude], list(across))
            store(builder, transmittance, start, light)
            here = picked(wide, [c * LANES + lane for lane in across for c in range(count)])
            light = picked([magnitude, magnitude], [lane for lane in across for _ in range(count)])
            ground = load(builder, behind, number(BLOCK * count * y), BLOCK * count)
            product = builder.fmul(light, ground, flags=("contract",))
            value = builder.fadd(here, product, flags=("contract",))
            store(builder, color, builder.mul(start, number(count)), value)
        return context.get_dummy_value()

    place = types.uint64
    return types.void(state, place, behind, color, transmittance, place, place, channels), emit


_rows: Any = intrinsic(_finish_rows)


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _finish_pixels(state, left, top, background, channels, color, transmittance, depth):
    """Write the pixels of the tile at pixel (left, top) one by one."""
    # Unsigned indices need no check for negative ones.
    block, columns = np.uint64(LANES * (1 + len(channels))), np.uint64(color.shape[2])
    step_v, step_u = np.uint64(background.shape[0] > 1), np.uint64(background.shape[1] > 1)
    for y in range(min(TILE, transmittance.shape[0] - top)):
        row = np.uint64(y // BLOCK * ACROSS) * block + np.uint64(y % BLOCK * BLOCK)
        v = np.uint64(top + y)
        for x in range(min(TILE, transmittance.shape[1] - left)):
            at = row + np.uint64(x // BLOCK) * block + np.uint64(x % BLOCK)
            u = np.uint64(left + x)
            light = abs(state[at])
            transmittance[v, u] = light
            for c in range(columns):
                here = state[at + np.uint64(LANES * (1 + c))]
                color[v, u, c] = here + light * background[v * step_v, u * step_u, c]
            if len(depth) > 0:
                depth[v, u] = state[at + np.uint64(LANES) * (np.uint64(1) + columns)]


@numba.njit(cache=True, nogil=True)
def finish_tile(state, left, top, background, channels, color, transmittance, depth):
    """Write the pixels of the tile at pixel (left, top), over the background.

    state: see `cpu_blend.scratch_size`. The rest is as `cpu_blend.blend` has it.
    """
    height, width = transmittance.shape
    if len(channels) > MOST or len(depth) > 0 or left + TILE > width or top + TILE > height:
        _finish_pixels(state, left, top, background, channels, color, transmittance, depth)
        return
    pictured = background.shape[0] > 1 or background.shape[1] > 1
    columns = np.uint64(len(channels))
    behind = np.empty(BLOCK * BLOCK * len(channels), np.float32)
    for n in range(len(behind)):
        behind[n] = background[0, 0, n % len(channels)]
    for block in range(BLOCKS):
        v, u = np.uint64(top + block // ACROSS * BLOCK), np.uint64(left + block % ACROSS * BLOCK)
        if pictured:
            for n in range(BLOCK * BLOCK):
                ground = background[v + np.uint64(n // BLOCK), u + np.uint64(n % BLOCK)]
                for c in range(columns):
                    behind[np.uint64(n) * columns + c] = ground[c]
        at, pixel = np.uint64(block * LANES * (1 + len(channels))), v * np.uint64(width) + u
        _rows(state, at, behind, color, transmittance, pixel, np.uint64(width), channels)
