"""What kernels written in the compiler's own terms share: float32 vectors that are loaded, stored and spread.

Numba's compiler takes a loop over few numbers apart before it looks for vectors; where that costs much, kernels emit
the vectors themselves. Nothing here checks a place.
"""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

FLOAT = ir.FloatType()


def arrays(context: Any, builder: Any, signature: Any, arguments: Any, *which: int) -> list[Any]:
    """Emit the addresses of the first numbers of some arguments, contiguous arrays."""
    return [context.make_array(signature.args[n])(context, builder, arguments[n]).data for n in which]


def _vector_at(builder: Any, data: Any, at: Any, width: int) -> Any:
    """Emit the address of the vector of that width which lies at element `at` of float32 `data`."""
    return builder.bitcast(builder.gep(data, [at], inbounds=True), ir.VectorType(FLOAT, width).as_pointer())


def load(builder: Any, data: Any, at: Any, width: int) -> Any:
    """Emit the vector that lies at element `at` of float32 `data`, which need not be aligned."""
    return builder.load(_vector_at(builder, data, at, width), align=4)


def store(builder: Any, data: Any, at: Any, value: Any) -> None:
    """Emit that a vector is written to element `at` of float32 `data`."""
    builder.store(value, _vector_at(builder, data, at, value.type.count), align=4)


def shuffle(builder: Any, one: Any, other: Any, lanes: Sequence[int]) -> Any:
    """Emit the vector of these lanes of two vectors of one width, counted through."""
    return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), list(lanes)))


def spread(builder: Any, number: Any, width: int) -> Any:
    """Emit a vector of one number, `width` times."""
    empty = ir.Constant(ir.VectorType(FLOAT, width), ir.Undefined)
    return shuffle(builder, builder.insert_element(empty, number, ir.Constant(ir.IntType(32), 0)), empty, [0] * width)


def call(builder: Any, name: str, number: Any) -> Any:
    """Emit a function of the compiler's own, such as `sqrt` or `floor`, of a float32 or of each number of a vector."""
    suffix = f"v{number.type.count}f32" if isinstance(number.type, ir.VectorType) else "f32"
    kind = ir.FunctionType(number.type, [number.type])
    return builder.call(builder.module.declare_intrinsic(f"llvm.{name}.{suffix}", (), kind), [number])
