"""Sixteen numbers side by side: a numba type that is one SIMD register.

LLVM keeps such values in registers across a loop, which it does not do for an inner loop over sixteen array elements.
Every lane runs the same instructions, so what a shot does cannot depend on its lane or on its neighbours.

Inside a jitted function, on flat C-contiguous float arrays: `load(array, index)` and `store(array, index, lanes)`.
`+ - * /` work between lanes, and between lanes and a scalar of the same precision; `root(lanes)` is the square root.
`shifted(by)` and `rotated(by)` make functions that move every number up by so many lanes: the first fills with zeros.
`before = flush_subnormals()` has numbers below the normal range (1e-38 in single precision), with which processors of
the x86 kind are a hundred times slower, computed as zero in this thread until `restore_subnormals(before)`.

numba's cache on disk watches the file of the jitted function, not this one; `simulators.kernels.fresh` does.
"""

import operator
import platform
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, register_model

WIDTH = 16
"""Numbers in one register: 512 bits in single precision."""


class Lanes(types.Type):
    """The numba type of `count` numbers of precision `dtype`."""

    def __init__(self, dtype: types.Float, count: int) -> None:
        self.dtype = dtype
        self.count = count
        super().__init__(name=f"Lanes({dtype} x {count})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: Lanes) -> None:
        super().__init__(manager, lanes, _vector(lanes))  # type: ignore[no-untyped-call]


def _vector(lanes: Lanes) -> ir.VectorType:
    return ir.VectorType(ir.FloatType() if lanes.dtype == types.float32 else ir.DoubleType(), lanes.count)


def _shuffled(builder: Any, first: Any, second: Any, order: range | list[int]) -> Any:
    mask = ir.Constant(ir.VectorType(ir.IntType(32), len(order)), list(order))
    return builder.shuffle_vector(first, second, mask)


def _spread(builder: Any, value: Any, vector: ir.VectorType) -> Any:
    """Return a scalar copied to every lane; lanes as they are."""
    if value.type == vector:
        return value
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    return _shuffled(builder, first, first, [0] * vector.count)


def _teach(symbol: Any, instruction: str) -> None:
    """Make numba know one arithmetic operator on lanes."""

    @infer_global(symbol)  # type: ignore[no-untyped-call]
    class Typing(AbstractTemplate):
        def generic(self, args: tuple[Any, ...], kws: dict[str, Any]) -> Any:
            lanes = next((arg for arg in args if isinstance(arg, Lanes)), None)
            if lanes is None or any(arg not in (lanes, lanes.dtype) for arg in args):
                return None
            return signature(lanes, *args)  # type: ignore[no-untyped-call]

    def lower(context: Any, builder: Any, sig: Any, args: tuple[Any, Any]) -> Any:
        left, right = (_spread(builder, arg, _vector(sig.return_type)) for arg in args)
        # "contract" lets LLVM fuse a product and a sum into one instruction, in all lanes alike.
        return getattr(builder, instruction)(left, right, flags=("contract",))

    for operands in ((Lanes, Lanes), (Lanes, types.Float), (types.Float, Lanes)):
        lower_builtin(symbol, *operands)(lower)  # type: ignore[no-untyped-call]


_teach(operator.add, "fadd")
_teach(operator.sub, "fsub")
_teach(operator.mul, "fmul")
_teach(operator.truediv, "fdiv")


def _address(context: Any, builder: Any, array_type: Any, array: Any, index: Any, vector: ir.VectorType) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())


def _load(typing_context: Any, array: Any, index: Any) -> Any:
    lanes = Lanes(array.dtype, WIDTH)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        address = _address(context, builder, sig.args[0], args[0], args[1], _vector(lanes))
        return builder.load(address, align=array.dtype.bitwidth // 8)

    return lanes(array, types.intp), generate


def shifted(by: int) -> Any:
    """Return a jitted function that moves every number up by `by` lanes (down if negative); zeros move in."""
    return _mover([WIDTH + i - by if 0 <= i - by < WIDTH else 0 for i in range(WIDTH)])


def rotated(by: int) -> Any:
    """Return a jitted function that moves every number up by `by` lanes, and those at the end to the start."""
    return _mover([WIDTH + (i - by) % WIDTH for i in range(WIDTH)])


def _mover(order: list[int]) -> Any:
    """Lanes from zeros (0 to WIDTH - 1) and from the argument (from WIDTH on)."""

    def move(typing_context: Any, lanes: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return _shuffled(builder, ir.Constant(args[0].type, None), args[0], order)

        return lanes(lanes), generate

    return intrinsic(move)


def _store(typing_context: Any, array: Any, index: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        address = _address(context, builder, sig.args[0], args[0], args[1], args[2].type)
        builder.store(args[2], address, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), generate


def _root(typing_context: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = args[0].type
        name = f"llvm.sqrt.v{value.count}f{value.dtype.bitwidth}"
        function = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
            builder.module, ir.FunctionType(vector, [vector]), name
        )
        return builder.call(function, args)

    return value(value), generate


_FLUSH_TO_ZERO = 0x8040
"""Bits FTZ and DAZ of the control register MXCSR: numbers below the normal range are computed as zero."""

_X86 = platform.machine().lower() in ("x86_64", "amd64")


def _control(builder: Any, instruction: str, value: Any = None) -> Any:
    """Read, or write, MXCSR."""
    word = ir.IntType(32)
    place = cgutils.alloca_once(builder, word)  # type: ignore[no-untyped-call]
    pointer = builder.bitcast(place, ir.IntType(8).as_pointer())
    kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer()])
    function = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
        builder.module, kind, f"llvm.x86.sse.{instruction}"
    )
    if value is not None:
        builder.store(value, place)
    builder.call(function, [pointer])
    return builder.load(place)


def _flush_subnormals(typing_context: Any) -> Any:
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if not _X86:
            return ir.Constant(ir.IntType(32), 0)
        before = _control(builder, "stmxcsr")
        _control(builder, "ldmxcsr", builder.or_(before, ir.Constant(ir.IntType(32), _FLUSH_TO_ZERO)))
        return before

    return types.int32(), generate


def _restore_subnormals(typing_context: Any, before: Any) -> Any:
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if _X86:
            _control(builder, "ldmxcsr", args[0])
        return context.get_dummy_value()

    return types.void(types.int32), generate


flush_subnormals: Any = intrinsic(_flush_subnormals)
restore_subnormals: Any = intrinsic(_restore_subnormals)
load: Any = intrinsic(_load)
store: Any = intrinsic(_store)
root: Any = intrinsic(_root)
