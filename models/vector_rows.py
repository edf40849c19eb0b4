"""Rows of 8 numbers at once: turned into columns and back, summed and blended where they lie.

Written in the compiler's own terms (`vector_code` tells why). Arrays are float32 and contiguous, of any number of
dimensions; places in them count numbers, not rows, and are not checked. Products and sums are fused where the machine
can.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from marotte.models.vector_code import arrays, load, shuffle, spread, store

LANES = 8
# Of two vectors: pairs of numbers, of twos, of fours, from the lower and from the upper half of each group of four, or
# of each vector. Each is one instruction of AVX.
_PAIRS = (0, 8, 1, 9, 4, 12, 5, 13), (2, 10, 3, 11, 6, 14, 7, 15)
_TWOS = (0, 1, 8, 9, 4, 5, 12, 13), (2, 3, 10, 11, 6, 7, 14, 15)
_FOURS = (0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15)


def _transpose(typing_context: Any, source: Any, at: Any, stride: Any, target: Any, to: Any, step: Any) -> Any:
    """Do `target[to + i * step + k] = source[at + k * stride + i]` for i and k from 0 to 8."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        read, written = arrays(context, builder, signature, arguments, 0, 3)
        _, at, stride, _, to, step = arguments

        def place(start: Any, by: Any, n: int) -> Any:
            return builder.add(start, builder.mul(by, ir.Constant(by.type, n)))

        rows = [load(builder, read, place(at, stride, n), LANES) for n in range(LANES)]
        for masks, apart in ((_PAIRS, 1), (_TWOS, 2), (_FOURS, 4)):
            # The partners of a stage are `apart`; the two results take their places.
            for n in (n for n in range(LANES) if not n & apart):
                rows[n], rows[n + apart] = (shuffle(builder, rows[n], rows[n + apart], mask) for mask in masks)
        # Row n has come to hold the column whose number has the lowest two bits of n in reverse.
        for n in range(LANES):
            store(builder, written, place(to, step, (n & 4) | (n & 1) << 1 | (n & 2) >> 1), rows[n])
        return context.get_dummy_value()

    return types.void(source, types.intp, types.intp, target, types.intp, types.intp), emit


def _add_row(typing_context: Any, sums: Any, to: Any, rows: Any, at: Any) -> Any:
    """Do `sums[to : to + 8] += rows[at : at + 8]`."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, rows = arrays(context, builder, signature, arguments, 0, 2)
        total = builder.fadd(load(builder, sums, arguments[1], LANES), load(builder, rows, arguments[3], LANES))
        store(builder, sums, arguments[1], total)
        return context.get_dummy_value()

    return types.void(sums, types.intp, rows, types.intp), emit


def _blend_rows(typing_context: Any, blended: Any, to: Any, rows: Any, places: Any, weights: Any) -> Any:
    """Do `blended[to : to + 12] = sum of weights[n] * rows[places[n] : places[n] + 12]` for n from 0 to 3.

    places, weights: tuples of 3.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target, rows = arrays(context, builder, signature, arguments, 0, 2)
        for first, width in ((0, LANES), (LANES, LANES // 2)):
            total = None
            for n in range(3):
                place = builder.add(builder.extract_value(arguments[3], n), ir.Constant(ir.IntType(64), first))
                weight = spread(builder, builder.extract_value(arguments[4], n), width)
                part = builder.fmul(weight, load(builder, rows, place, width), flags=("contract",))
                total = part if total is None else builder.fadd(total, part, flags=("contract",))
            store(builder, target, builder.add(arguments[1], ir.Constant(ir.IntType(64), first)), total)
        return context.get_dummy_value()

    three = types.UniTuple(types.intp, 3), types.UniTuple(types.float32, 3)
    return types.void(blended, types.intp, rows, *three), emit


transpose: Any = intrinsic(_transpose)
add_row: Any = intrinsic(_add_row)
blend_rows: Any = intrinsic(_blend_rows)


def column_blocks(rows: np.ndarray, block: int) -> np.ndarray:
    """Return [..., blocks, C * block] float32 of rows [..., R, C]: each block of rows column after column, zeros after
    the last row."""
    *before, count, width = rows.shape
    blocks = -(-count // block)
    filled = np.zeros((*before, blocks * block, width), np.float32)
    filled[..., :count, :] = rows
    turned = filled.reshape(*before, blocks, block, width).swapaxes(-1, -2)
    return np.ascontiguousarray(turned.reshape(*before, blocks, width * block))
