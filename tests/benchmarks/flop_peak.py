"""Peak of the arithmetic units: fused multiply-adds on independent registers, nothing loaded or stored."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

SHAPES = ((8, 12), (16, 12), (16, 24))
"""Numbers in a register (256 and 512 bits in single precision) and registers in flight; the best counts."""

ROUNDS = 4_000_000


def fma_loop(width: int, chains: int) -> Callable[[int, np.float32], np.float32]:
    """Return a jitted function of (rounds, value): each round does 2 * width * chains single-precision flops."""

    def loop(typing_context: Any, rounds: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            vector = ir.VectorType(ir.FloatType(), width)
            word = ir.IntType(64)
            fma = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{width}f32"
            )
            zero = ir.Constant(ir.IntType(32), 0)
            first = builder.insert_element(ir.Constant(vector, ir.Undefined), args[1], zero)
            spread = builder.shuffle_vector(
                first, first, ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width)
            )
            entry = builder.block
            body, end = (builder.function.append_basic_block(name) for name in ("body", "end"))
            builder.branch(body)
            builder.position_at_end(body)
            i = builder.phi(word)
            i.add_incoming(ir.Constant(word, 0), entry)
            sums = [builder.phi(vector) for _ in range(chains)]
            # Chains that are the same would be computed once.
            results = []
            for c, total in enumerate(sums):
                own = ir.Constant(vector, [float(c)] * width)
                total.add_incoming(own, entry)
                results.append(builder.call(fma, [total, spread, spread]))
            for total, result in zip(sums, results, strict=True):
                total.add_incoming(result, body)
            following = builder.add(i, ir.Constant(word, 1))
            i.add_incoming(following, body)
            builder.cbranch(builder.icmp_signed("<", following, args[0]), body, end)
            builder.position_at_end(end)
            whole = results[0]
            for result in results[1:]:
                whole = builder.fadd(whole, result)
            return builder.extract_element(whole, zero)

        return types.float32(types.int64, types.float32), generate

    inner = intrinsic(loop)

    @njit(nogil=True)
    def run(rounds, value):  # type: ignore[no-untyped-def]
        return inner(rounds, value)

    run(1, np.float32(0.3))
    return run


class FlopPeak:
    """Loops compiled once, to be timed between other measurements."""

    def __init__(self) -> None:
        self._loops = [(2 * width * chains, fma_loop(width, chains)) for width, chains in SHAPES]

    def measure(self, threads: int) -> float:
        """Flops per second on so many threads together; the best shape of loop, each run once."""
        best = 0.0
        with ThreadPoolExecutor(threads) as pool:
            for flops, loop in self._loops:
                began = time.perf_counter()
                list(pool.map(loop, [ROUNDS] * threads, [np.float32(0.3)] * threads))
                best = max(best, threads * ROUNDS * flops / (time.perf_counter() - began))
        return best
