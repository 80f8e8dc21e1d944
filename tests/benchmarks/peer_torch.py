"""The ring as the best batched torch code known to us: many shots at once, single precision.

What makes it fast: the linear field along x and z (dipolar kernel and exchange, dense) is one batched matrix product
(a Fourier transform of 192 points takes longer); the exchange along y and the rest of a stage is pointwise, which
torch.compile fuses; the delay is longer than a chunk of steps, so the field of amplifier and carrier is made for a
whole chunk at once; and several steps are compiled into one graph.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from simulators.dipolar import demagnetising_factor
from simulators.llg import wiring_of
from simulators.strip import Loop, Strip

CHUNK = 100
"""Steps whose antenna fields are made together; shorter than the delay."""

UNROLL = 5
"""Steps in one compiled graph: no more, for compilation takes its time."""

OPTIONS: dict[str, str | bool | int] = {
    "cpp_wrapper": True,
    "cpp.enable_unsafe_math_opt_flag": True,
    "cpp.enable_floating_point_contract_flag": "fast",
}
"""Of torch.compile: calls of the kernels from C++, sums in any order, fused multiply-adds. They save a quarter."""


class TorchRing:
    """The default geometry (bias along y) with a closed loop; state (3, cells, shots), components x, z, y."""

    def __init__(self, strip: Strip, loop: Loop, step_s: float, compiled: bool = True) -> None:
        self.loop, self.wiring = loop, wiring_of(strip, loop.delay_s, step_s, np.float64)
        if -self.wiring.taps[2] - 3 < CHUNK:
            raise ValueError(f"expected a delay of more than {CHUNK} steps")
        cells = np.arange(strip.cells)
        nxx = demagnetising_factor(np.abs(cells[:, None] - cells), strip.cell_m, strip.thickness_m)
        one = np.eye(strip.cells)
        laplace = np.eye(strip.cells, k=1) + np.eye(strip.cells, k=-1) - 2 * one
        laplace[0, 0] = laplace[-1, -1] = -1
        exchange = strip.exchange.neighbour * laplace
        self.field = torch.tensor(np.stack([exchange - nxx, exchange - one + nxx]), dtype=torch.float32)
        self.exchange = strip.exchange.neighbour
        self.alpha = torch.tensor(strip.damping_profile, dtype=torch.float32)[:, None]
        self.turn = torch.tensor(strip.rate * step_s / (1 + strip.damping_profile**2), dtype=torch.float32)[:, None]
        (into, self.out) = (slice(cells.start, cells.stop) for cells in strip.antennas)
        share = np.zeros(strip.cells)
        share[into] = 1
        self.share = torch.tensor(share, dtype=torch.float32)[:, None]
        self.bias = strip.bias
        self.taps = [torch.tensor(weights, dtype=torch.float32) for weights in self.wiring.tap_weights]
        self.steps: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]] = self._steps
        if compiled:
            self.steps = torch.compile(self._steps, dynamic=False, fullgraph=True, options=OPTIONS)

    def _rate(self, m: torch.Tensor, antenna: torch.Tensor) -> torch.Tensor:
        """Change of m in one step, with the antenna's field (shots,)."""
        h = torch.bmm(self.field, m[:2])
        mx, mz, my = m.unbind(0)
        # A cell at the end has itself for a neighbour.
        left, right = torch.cat([my[:1], my[:-1]]), torch.cat([my[1:], my[-1:]])
        hx, hz, hy = h[0] + antenna * self.share, h[1], self.bias + self.exchange * (left + right - 2 * my)
        wx = hx + self.alpha * (my * hz - mz * hy)
        wy = hy + self.alpha * (mz * hx - mx * hz)
        wz = hz + self.alpha * (mx * hy - my * hx)
        k = torch.stack([wy * mz - wz * my, wx * my - wy * mx, wz * mx - wx * mz])
        return self.turn * k

    def _steps(self, m: torch.Tensor, antenna: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """State and antenna fields (steps, 3, shots) to the state after and the pick-up (steps, shots)."""
        read = []
        for start, middle, end in antenna.unbind(0):
            k = self._rate(m, start)
            total = m + k / 6
            k = self._rate(m + 0.5 * k, middle)
            total = total + k / 3
            k = self._rate(m + 0.5 * k, middle)
            total = total + k / 3
            m = total + self._rate(m + k, end) / 6
            m = m * torch.rsqrt((m * m).sum(0, keepdim=True))
            read.append(m[0, self.out].mean(0))
        return m, torch.stack(read)

    @torch.inference_mode()
    def run(self, drive: NDArray[np.float64]) -> NDArray[np.float32]:
        """Drive fields (shots, 2 * steps + 1), steps a multiple of UNROLL, to the pick-up (shots, steps + 1)."""
        shots, steps = len(drive), drive.shape[1] // 2
        history = self.wiring.history
        trace = torch.zeros(history + 1 + steps, shots, dtype=torch.float32)
        m = torch.zeros(3, self.field.shape[1], shots, dtype=torch.float32)
        m[2] = 1
        points = torch.tensor(np.ascontiguousarray(drive.T), dtype=torch.float32)
        for first in range(0, steps, CHUNK):
            count = min(CHUNK, steps - first)
            antenna = torch.empty(count, 3, shots, dtype=torch.float32)
            for part, (tap, weights) in enumerate(zip(self.wiring.taps, self.taps, strict=True)):
                at = history + first + tap
                past = sum(weights[i] * trace[at + i : at + i + count] for i in range(4))
                y = self.loop.gain / self.loop.saturation * past
                amplified = self.loop.saturation * y * torch.rsqrt(1 + y * y)
                antenna[:, part] = amplified + points[2 * first + part : 2 * (first + count) + part : 2][:count]
            for n in range(0, count, UNROLL):
                m, read = self.steps(m, antenna[n : n + UNROLL])
                after = history + first + n + 1
                trace[after : after + len(read)] = read
        return trace[history:].numpy().T


def compiles() -> bool:
    """Say whether torch.compile works here; it needs a C++ compiler."""
    try:
        return bool(torch.compile(lambda x: x + 1, options=OPTIONS)(torch.ones(8)).sum() == 16)
    except Exception:  # whatever a missing compiler or header makes of it
        return False


def seconds_per_step(ring: TorchRing, drive: NDArray[np.float64], threads: int) -> float:
    """Time of a step of the whole batch, on so many torch threads; the least of three after a warm-up."""
    steps = drive.shape[1] // 2
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch._dynamo.reset()  # code compiled for another number of threads would be used again
    try:
        ring.run(drive[:, : 2 * CHUNK + 1])
        taken = []
        for _ in range(3):
            began = time.perf_counter()
            ring.run(drive)
            taken.append((time.perf_counter() - began) / steps)
    finally:
        torch.set_num_threads(before)
    return min(taken)
