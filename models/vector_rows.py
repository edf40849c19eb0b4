"""Rows of 8 numbers at once: turned into columns and back, summed and blended where they lie.

Written in the compiler's own terms, because numba's compiler takes a loop over so few numbers apart before it looks
for vectors. Arrays are float32 and contiguous, of any number of dimensions; places in them count numbers, not rows,
and are not checked. Products and sums are fused where the machine can.
"""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

LANES = 8
# Of two vectors: pairs of numbers, of twos, of fours, from the lower and from the upper half of each group of four, or
# of each vector. Each is one instruction of AVX.
_PAIRS = (0, 8, 1, 9, 4, 12, 5, 13), (2, 10, 3, 11, 6, 14, 7, 15)
_TWOS = (0, 1, 8, 9, 4, 5, 12, 13), (2, 3, 10, 11, 6, 7, 14, 15)
_FOURS = (0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15)


def _transpose(typing_context: Any, source: Any, at: Any, stride: Any, target: Any, to: Any, step: Any) -> Any:
    """Do `target[to + i * step + k] = source[at + k * stride + i]` for i and k from 0 to 8."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        read, written = (
            _data(context, builder, signature, arguments, 0),
            _data(context, builder, signature, arguments, 3),
        )
        _, at, stride, _, to, step = arguments

        def place(start: Any, by: Any, n: int) -> Any:
            return builder.add(start, builder.mul(by, ir.Constant(by.type, n)))

        rows = [_load(builder, read, place(at, stride, n), LANES) for n in range(LANES)]
        for masks, apart in ((_PAIRS, 1), (_TWOS, 2), (_FOURS, 4)):
            # The partners of a stage are `apart`; the two results take their places.
            for n in (n for n in range(LANES) if not n & apart):
                rows[n], rows[n + apart] = (_shuffle(builder, rows[n], rows[n + apart], mask) for mask in masks)
        # Row n has come to hold the column whose number has the lowest two bits of n in reverse.
        for n in range(LANES):
            _store(builder, written, place(to, step, (n & 4) | (n & 1) << 1 | (n & 2) >> 1), rows[n])
        return context.get_dummy_value()

    return types.void(source, types.intp, types.intp, target, types.intp, types.intp), emit


def _add_row(typing_context: Any, sums: Any, to: Any, rows: Any, at: Any) -> Any:
    """Do `sums[to : to + 8] += rows[at : at + 8]`."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, rows = _data(context, builder, signature, arguments, 0), _data(context, builder, signature, arguments, 2)
        total = builder.fadd(_load(builder, sums, arguments[1], LANES), _load(builder, rows, arguments[3], LANES))
        _store(builder, sums, arguments[1], total)
        return context.get_dummy_value()

    return types.void(sums, types.intp, rows, types.intp), emit


def _blend_rows(typing_context: Any, blended: Any, to: Any, rows: Any, places: Any, weights: Any) -> Any:
    """Do `blended[to : to + 12] = sum of weights[n] * rows[places[n] : places[n] + 12]` for n from 0 to 3.

    places, weights: tuples of 3.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target, rows = (
            _data(context, builder, signature, arguments, 0),
            _data(context, builder, signature, arguments, 2),
        )
        for first, width in ((0, LANES), (LANES, LANES // 2)):
            total = None
            for n in range(3):
                place = builder.add(builder.extract_value(arguments[3], n), ir.Constant(ir.IntType(64), first))
                weight = _spread(builder, builder.extract_value(arguments[4], n), width)
                part = builder.fmul(weight, _load(builder, rows, place, width), flags=("contract",))
                total = part if total is None else builder.fadd(total, part, flags=("contract",))
            _store(builder, target, builder.add(arguments[1], ir.Constant(ir.IntType(64), first)), total)
        return context.get_dummy_value()

    three = types.UniTuple(types.intp, 3), types.UniTuple(types.float32, 3)
    return types.void(blended, types.intp, rows, *three), emit


def _data(context: Any, builder: Any, signature: Any, arguments: Any, n: int) -> Any:
    """Emit the address of the first number of argument n, an array."""
    return context.make_array(signature.args[n])(context, builder, arguments[n]).data


def _load(builder: Any, data: Any, at: Any, width: int) -> Any:
    pointer = builder.gep(data, [at], inbounds=True)
    return builder.load(builder.bitcast(pointer, ir.VectorType(ir.FloatType(), width).as_pointer()), align=4)


def _store(builder: Any, data: Any, at: Any, value: Any) -> None:
    pointer = builder.gep(data, [at], inbounds=True)
    builder.store(value, builder.bitcast(pointer, value.type.as_pointer()), align=4)


def _shuffle(builder: Any, one: Any, other: Any, mask: Sequence[int]) -> Any:
    return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(ir.IntType(32), len(mask)), list(mask)))


def _spread(builder: Any, number: Any, width: int) -> Any:
    """Emit a vector of one number, `width` times."""
    empty = ir.Constant(ir.VectorType(ir.FloatType(), width), ir.Undefined)
    one = builder.insert_element(empty, number, ir.Constant(ir.IntType(32), 0))
    return _shuffle(builder, one, empty, [0] * width)


transpose: Any = intrinsic(_transpose)
add_row: Any = intrinsic(_add_row)
blend_rows: Any = intrinsic(_blend_rows)
