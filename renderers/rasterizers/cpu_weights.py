"""What a splat weighs at 16 pixels at once, and the light that it leaves them.

Written in the compiler's own terms, because numba's compiler finds these vectors in some loops and not in others.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from marotte.models.vector_code import arrays, load, spread, store
from marotte.renderers.rasterizers.cpu_lanes import LANES, VECTOR, any_above_zero
from marotte.renderers.rasterizers.rules import ALPHA_MAX, ALPHA_MIN, LIGHT_MIN

# Side of a block of pixels: its 16 numbers of each quantity are one or two vector registers.
BLOCK = 4
assert LANES == BLOCK * BLOCK

_BITS = ir.VectorType(ir.IntType(32), LANES)
# exp(p) = 2^n exp(r) with p = n ln 2 + r. Adding 1.5 * 2^23 rounds to a whole number and leaves it in the lowest bits.
_LOG2_E, _LN_2, _ROUND = 1.4426950408889634, 0.6931471805599453, 12582912.0
# Polynomial of exp(r) for |r| <= ln(2) / 2, of least relative error (9e-8) among those with exp(0) = 1.
_POLYNOMIAL = (
    0.008290258187715326,
    0.04189816303685074,
    0.16667638425349185,
    0.4999914780641421,
    0.9999997061636113,
    1.0,
)
# Below this exp leaves the normal numbers; far below what is blended.
_POWER_MIN = -87.0


def _numbers(*values: float) -> Any:
    """Return a constant vector of 16 float32: of one number, or of 16."""
    rounded = [float(np.float32(value)) for value in values]
    return ir.Constant(VECTOR, rounded * (LANES // len(rounded)))


def _exp(builder: Any, power: Any) -> Any:
    """Return exp of numbers from -87 (what is less counts as that) to 0, to about 3e-7 of their size.

    Here, and nowhere else, products and sums are fused where the machine can.
    """
    fused = {"flags": ("contract",)}
    least = _numbers(_POWER_MIN)
    power = builder.select(builder.fcmp_ordered(">", power, least), power, least)
    shifted = builder.fadd(builder.fmul(power, _numbers(_LOG2_E), **fused), _numbers(_ROUND), **fused)
    whole = builder.fmul(builder.fsub(shifted, _numbers(_ROUND)), _numbers(_LN_2), **fused)
    r = builder.fsub(power, whole, **fused)
    y = _numbers(_POLYNOMIAL[0])
    for coefficient in _POLYNOMIAL[1:]:
        y = builder.fadd(builder.fmul(r, y, **fused), _numbers(coefficient), **fused)
    exponent = builder.shl(builder.bitcast(shifted, _BITS), ir.Constant(_BITS, [23] * LANES))
    return builder.bitcast(builder.add(builder.bitcast(y, _BITS), exponent), VECTOR)


def block_pixels(builder: Any, x: Any, y: Any) -> tuple[Any, Any]:
    """Emit the columns and rows of the 4 x 4 pixels of which the first is (x, y), two vectors. x, y: float32."""
    across = builder.fadd(spread(builder, x, LANES), _numbers(*(lane % BLOCK for lane in range(LANES))))
    return across, builder.fadd(spread(builder, y, LANES), _numbers(*(lane // BLOCK for lane in range(LANES))))


def weigh_lanes(builder: Any, splat: Sequence[Any], pixels: tuple[Any, Any], before: Any) -> tuple[Any, Any]:
    """Emit a splat's weights at 16 pixels, and the light that it leaves of `before`, negative where a pixel stopped.

    splat: the first six numbers of its row of `Splats.shapes`. To be called where numba fuses nothing (no `fastmath`):
    what is skipped is decided here.
    """
    px, py, xx, xy, yy, opacity = (spread(builder, number, LANES) for number in splat)
    dx, dy = builder.fsub(px, pixels[0]), builder.fsub(py, pixels[1])

    def term(factor: Any, one: Any, other: Any) -> Any:
        return builder.fmul(builder.fmul(factor, one), other)

    power = builder.fadd(builder.fadd(term(xx, dx, dx), term(yy, dy, dy)), term(xy, dx, dy))
    zero, most = _numbers(0), _numbers(float(ALPHA_MAX))
    alpha = builder.fmul(opacity, _exp(builder, power))
    alpha = builder.select(builder.fcmp_ordered("<", alpha, most), alpha, most)
    shows = builder.and_(
        builder.fcmp_ordered("<=", power, zero), builder.fcmp_ordered(">=", alpha, _numbers(float(ALPHA_MIN)))
    )
    alpha = builder.select(shows, alpha, zero)
    left_over = builder.fmul(before, builder.fsub(_numbers(1), alpha))
    # Both are negative where the pixel has stopped, so that it stops again.
    stops = builder.fcmp_ordered("<", left_over, _numbers(float(LIGHT_MIN)))
    sign = ir.Constant(_BITS, [1 << 31] * LANES)
    stopped = builder.bitcast(builder.or_(builder.bitcast(before, _BITS), sign), VECTOR)
    return (
        builder.select(stops, zero, builder.fmul(alpha, before)),
        builder.select(stops, stopped, left_over),
    )


def _weigh(typing_context: Any, lights: Any, light: Any, weights: Any, weight: Any, splat: Any, x: Any, y: Any) -> Any:
    """Put a splat before the block of 4 x 4 pixels of which the first is (x, y).

    Returns whether it weighs anything there, and whether a pixel has not stopped.

    lights: float32, contiguous, which holds 16 numbers of light left from `light` on, negative where the pixel has
    stopped. weights: likewise, which takes the splat's 16 weights from `weight` on. Both places are uint64 and not
    checked. splat: the first six numbers of a row of `Splats.shapes`, a tuple of float32. x, y: float32. See
    `weigh_lanes`.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, light, _, weight, splat, x, y = arguments
        lit, taken = arrays(context, builder, signature, arguments, 0, 2)
        numbers = [builder.extract_value(splat, n) for n in range(6)]
        pixels, before = block_pixels(builder, x, y), load(builder, lit, light, LANES)
        weight_here, left = weigh_lanes(builder, numbers, pixels, before)
        store(builder, taken, weight, weight_here)
        store(builder, lit, light, left)
        return context.make_tuple(
            builder, signature.return_type, [any_above_zero(builder, weight_here), any_above_zero(builder, left)]
        )

    returned = types.UniTuple(types.boolean, 2)
    return returned(lights, types.uint64, weights, types.uint64, splat, types.float32, types.float32), emit


weigh: Any = intrinsic(_weigh)


def _blend_word(
    typing_context: Any, state: Any, at: Any, rows: Any, first: Any, bits: Any, x: Any, y: Any, channels: Any
) -> Any:
    """Blend up to 64 splats into the block of 4 x 4 pixels of which the first is (x, y), and tell whether one goes on.

    state: float32, which holds from `at` on 16 numbers of light left, as `weigh` has them, then 16 of each channel; in
    the meantime they lie in registers. rows: [., n] float32: the first six numbers of a splat's row of `Splats.shapes`,
    then its channels, and what does not matter. bits: which of the rows from `first` on, uint64, from the lowest bit to
    the highest. channels: a tuple of which only the length is used. Nothing is checked. Weighted colours are added with
    fused multiply-adds where the machine can.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, at, _, first, bits, x, y, _ = arguments
        (data,) = arrays(context, builder, signature, arguments, 0)
        table = context.make_array(signature.args[2])(context, builder, arguments[2])
        long, width = ir.IntType(64), builder.extract_value(table.shape, 1)
        places = [builder.add(at, ir.Constant(long, LANES * n)) for n in range(1 + len(signature.args[7]))]
        held = [cgutils.alloca_once_value(builder, load(builder, data, place, LANES)) for place in places]
        left_bits = cgutils.alloca_once_value(builder, bits)
        pixels = block_pixels(builder, x, y)
        head, body, end = (builder.append_basic_block(name) for name in ("more", "splat", "done"))
        builder.branch(head)

        builder.position_at_end(head)
        bits = builder.load(left_bits)
        builder.cbranch(builder.icmp_unsigned("!=", bits, ir.Constant(long, 0)), body, end)

        builder.position_at_end(body)
        builder.store(builder.and_(bits, builder.sub(bits, ir.Constant(long, 1))), left_bits)
        place = builder.mul(builder.add(first, builder.cttz(bits, ir.Constant(ir.IntType(1), 1))), width)
        row = builder.gep(table.data, [place], inbounds=True)

        def number(n: int) -> Any:
            return builder.load(builder.gep(row, [ir.Constant(long, n)], inbounds=True))

        weight, light = weigh_lanes(builder, [number(n) for n in range(6)], pixels, builder.load(held[0]))
        builder.store(light, held[0])
        for n, total in enumerate(held[1:], 6):
            product = builder.fmul(weight, spread(builder, number(n), LANES), flags=("contract",))
            builder.store(builder.fadd(builder.load(total), product, flags=("contract",)), total)
        builder.cbranch(any_above_zero(builder, light), head, end)

        builder.position_at_end(end)
        for place, value in zip(places, held, strict=True):
            store(builder, data, place, builder.load(value))
        return any_above_zero(builder, builder.load(held[0]))

    arguments = types.uint64, rows, types.uint64, types.uint64, types.float32, types.float32, channels
    return types.boolean(state, *arguments), emit


blend_word: Any = intrinsic(_blend_word)
