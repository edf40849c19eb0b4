"""Operations on 16 numbers at once that numba's compiler does not find by itself.

Left to itself it works number by number (`marotte.models.vector_code` tells why): three times slower.
"""

from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from marotte.models.vector_code import FLOAT, arrays, load, spread, store

LANES = 16
VECTOR = ir.VectorType(FLOAT, LANES)
# Vectors of 16 sums that fit the registers beside what is added: of 32 registers of 16 numbers, else of 16 of 8.
_HELD = 16 if binding.get_host_cpu_features().get("avx512f") else 4


def _first_bit(typing_context: Any, bits: Any) -> Any:
    """Return the place of the lowest bit of a uint64 that is not zero, as uint64."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), emit


def _any_positive(typing_context: Any, numbers: Any, at: Any) -> Any:
    """Tell whether one of `numbers[at : at + 16]`, float32, is above zero. at: uint64, not checked."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (data,) = arrays(context, builder, signature, arguments, 0)
        return any_above_zero(builder, load(builder, data, arguments[1], LANES))

    return types.boolean(numbers, types.uint64), emit


def _add_products(
    typing_context: Any, sums: Any, to: Any, weights: Any, rows: Any, vectors: Any, picked: Any, n: Any
) -> Any:
    """Do `sums[to + p] += weights[k, p] * rows[picked[k]]` for k from 0 to n, in this order, and 16 pixels p.

    sums: [., 16 v], rows: [., 16 v], weights: [>= n, 16], all float32 and contiguous, with v = len(vectors), a tuple
    that the compiler knows. to: uint64; picked: [>= n] int64; nothing is checked. Each sum is rounded once where the
    machine can. Sums stay in registers over all k, those of some pixels at a time.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, weights, rows, ids = arrays(context, builder, signature, arguments, 0, 2, 3, 5)
        wide = len(signature.args[4])

        def number(value: int) -> Any:
            return ir.Constant(ir.IntType(64), value)

        start = builder.mul(arguments[1], number(wide * LANES))
        for first in range(0, wide, _HELD):
            columns = range(first, min(first + _HELD, wide))
            together = _pixels_at_once(len(columns))
            for pixel in range(0, LANES, together):
                places = {
                    (p, v): builder.add(start, number((p * wide + v) * LANES))
                    for p in range(pixel, pixel + together)
                    for v in columns
                }
                held = {
                    key: cgutils.alloca_once_value(builder, load(builder, sums, at, LANES))
                    for key, at in places.items()
                }
                with cgutils.for_range(builder, arguments[6]) as loop:
                    row = builder.load(builder.gep(ids, [loop.index], inbounds=True))
                    row = builder.mul(row, number(wide * LANES))
                    values = {v: load(builder, rows, builder.add(row, number(v * LANES)), LANES) for v in columns}
                    weight = builder.mul(loop.index, number(LANES))
                    for p in range(pixel, pixel + together):
                        one = builder.load(builder.gep(weights, [builder.add(weight, number(p))], inbounds=True))
                        factors = spread(builder, one, LANES)
                        for v in columns:
                            product = builder.fmul(factors, values[v], flags=("contract",))
                            total = builder.fadd(builder.load(held[p, v]), product, flags=("contract",))
                            builder.store(total, held[p, v])
                for key, at in places.items():
                    store(builder, sums, at, builder.load(held[key]))
        return context.get_dummy_value()

    return types.void(sums, types.uint64, weights, rows, vectors, picked, types.int64), emit


def _prefetch(typing_context: Any, rows: Any, i: Any) -> Any:
    """Fetch row i of a [N, n] array, contiguous, into the cache, without waiting for it. i: int64, not checked."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        size = builder.mul(builder.extract_value(array.shape, 1), array.itemsize)
        byte = ir.IntType(8).as_pointer()
        start = builder.gep(builder.bitcast(array.data, byte), [builder.mul(arguments[1], size)])
        flag = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
        fetch = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        zero = ir.Constant(ir.IntType(64), 0)
        with cgutils.for_range_slice(builder, zero, size, ir.Constant(ir.IntType(64), 64)) as (at, _):
            # To be read, to be kept, data.
            builder.call(fetch, [builder.gep(start, [at]), *(ir.Constant(flag, n) for n in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(rows, types.int64), emit


def _pixels_at_once(vectors: int) -> int:
    """Return for how many pixels so many vectors of sums each are held at once: a power of two."""
    together = 1
    while together < LANES and 2 * together * vectors <= _HELD:
        together *= 2
    return together


def any_above_zero(builder: Any, numbers: Any) -> Any:
    """Emit whether one of a vector's numbers is above zero."""
    above = builder.fcmp_ordered(">", numbers, ir.Constant(VECTOR, [0.0] * LANES))
    return builder.icmp_unsigned("!=", builder.bitcast(above, ir.IntType(LANES)), ir.Constant(ir.IntType(LANES), 0))


first_bit: Any = intrinsic(_first_bit)
any_positive: Any = intrinsic(_any_positive)
add_products: Any = intrinsic(_add_products)
prefetch: Any = intrinsic(_prefetch)
