"""One operation on 16 numbers at once that numba's compiler does not find by itself.

Left to itself it takes the loop over 16 lanes apart before it looks for vectors, and then works
number by number: three times slower.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

LANES = 16


def _add_scaled(typing_context: Any, numbers: Any, to: Any, by: Any, factor: Any) -> Any:
    """Do `numbers[to : to + 16] += factor * numbers[by : by + 16]`, each sum rounded once where the machine can.

    numbers: [n] float32, contiguous; to, by: uint64, not checked; factor: float32.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, to, by, factor = arguments
        lanes = ir.VectorType(ir.FloatType(), LANES)
        data = context.make_array(signature.args[0])(context, builder, array).data
        target, source = (
            builder.bitcast(builder.gep(data, [start], inbounds=True), lanes.as_pointer()) for start in (to, by)
        )
        one = builder.insert_element(ir.Constant(lanes, ir.Undefined), factor, ir.Constant(ir.IntType(32), 0))
        same = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        factors = builder.shuffle_vector(one, ir.Constant(lanes, ir.Undefined), same)
        product = builder.fmul(factors, builder.load(source, align=4), flags=("contract",))
        total = builder.fadd(builder.load(target, align=4), product, flags=("contract",))
        builder.store(total, target, align=4)
        return context.get_dummy_value()

    return types.void(numbers, types.uint64, types.uint64, types.float32), emit


add_scaled: Any = intrinsic(_add_scaled)
