"""The ring in magnum.np (Bruckner et al., Sci. Rep. 13, 12054 (2023)), a finite-difference micromagnetic code on torch.

Film, exchange, demagnetising field, bias and the right-hand side of the LLG equation are magnum.np's own; the loop
around them (Runge-Kutta step, delay, amplifier) is written here, for it has none. Optional extra `peers`.
"""

import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from simulators.llg import record, wiring_of
from simulators.strip import Loop, Strip
from simulators.threshold import oscillation_threshold

STEP_S = 10e-12

LENGTH_M, COPIES = 8e-6, 50
"""Length of a cell along y, and its periodic copies to either side: ours are infinite. The kernel agrees to 1e-7."""


@cache
def magnumnp() -> Any:
    """Import the package; None where it is not installed. On import it changes torch's default precision, which is put
    back here; it writes to the log and renames the process.
    """
    if find_spec("magnumnp") is None:
        return None
    before = torch.get_default_dtype()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import magnumnp as package

        logging.getLogger("magnum.np").setLevel(logging.ERROR)
    torch.set_default_dtype(before)
    return package


@contextmanager
def precision(dtype: torch.dtype) -> Iterator[None]:
    """Make magnum.np compute in `dtype`: it follows torch's default."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_default_dtype(before)


@cache
def demagnetising_field(dtype: torch.dtype) -> Any:
    """Return the term of the default film, which keeps its kernel: many copies take some seconds to sum."""
    return magnumnp().DemagField()


class MagnumRing:
    """One shot's strip in magnum.np, with the loop closed around it."""

    def __init__(self, strip: Strip, loop: Loop, step_s: float = STEP_S) -> None:
        mn = magnumnp()
        self.step_s = step_s
        self.loop, self.wiring = loop, wiring_of(strip, loop.delay_s, step_s, np.float64)
        self.ms = strip.saturation_magnetisation_a_per_m
        self.input, self.pickup = (slice(cells.start, cells.stop) for cells in strip.antennas)
        mesh = mn.Mesh((strip.cells, 1, 1), (strip.cell_m, LENGTH_M, strip.thickness_m), pbc=(0, COPIES, 0))
        self.state = mn.State(mesh)
        alpha = torch.tensor(strip.damping_profile).to(torch.get_default_dtype()).reshape(-1, 1, 1, 1)
        self.state.material = {"Ms": self.ms, "A": strip.exchange_j_per_m, "alpha": alpha}
        self.state.m = self.state.Constant([0.0, 1.0, 0.0])
        bias = [0.0, strip.bias * self.ms, 0.0]
        self.field = self.state.Constant(bias)
        external = mn.ExternalField(lambda state: self.field)
        self.rate = mn.LLGSolver([demagnetising_field(torch.get_default_dtype()), mn.ExchangeField(), external]).dm

    def feedback(self, trace: NDArray[np.float64], n: int, part: int) -> float:
        """Field of the amplifier at the start, middle or end of step `n`, in units of Ms."""
        first = self.wiring.history + n + self.wiring.taps[part]
        y = (
            self.loop.gain
            / self.loop.saturation
            * float(trace[first : first + 4] @ np.asarray(self.wiring.tap_weights[part]))
        )
        return self.loop.saturation * y / float(np.hypot(1, y))

    def dm(self, m: torch.Tensor, antenna: float) -> torch.Tensor:
        """Rate of change of m, in 1/s, with a field on the input antenna in units of Ms."""
        self.field[self.input, :, :, 0] = antenna * self.ms
        return self.rate(self.state.t, m, self.state)

    def run(self, drive: NDArray[np.float64]) -> NDArray[np.float64]:
        """Drive field (2 * steps + 1,) in units of Ms to the pick-up (steps + 1,), from rest."""
        steps, dt = len(drive) // 2, self.step_s
        trace = np.zeros(self.wiring.history + 1 + steps)
        m = self.state.Constant([0.0, 1.0, 0.0])
        for n in range(steps):
            start, middle, end = (drive[2 * n + part] + self.feedback(trace, n, part) for part in range(3))
            k1 = self.dm(m, start)
            k2 = self.dm(m + 0.5 * dt * k1, middle)
            k3 = self.dm(m + 0.5 * dt * k2, middle)
            k4 = self.dm(m + dt * k3, end)
            m = m + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
            m = m / torch.linalg.norm(m, dim=-1, keepdim=True)
            trace[self.wiring.history + n + 1] = float(m[self.pickup, :, :, 0].mean())
        return trace[self.wiring.history :]


def closed_ring(gain: float = 0.8) -> tuple[Strip, Loop]:
    """Return the default film and a loop of 2 ns at a share of the threshold of auto-oscillation."""
    strip, delay_s = Strip(), 2e-9
    threshold = oscillation_threshold(strip, delay_s, STEP_S)[0]
    return strip, Loop(delay_s, gain * threshold, 280.0 / strip.saturation_magnetisation_a_per_m)


def pulses(steps: int, seed: int = 0, shots: int = 1, step_s: float = STEP_S) -> NDArray[np.float64]:
    """Drive fields (shots, 2 * steps + 1): 3.205 GHz, up to 4200 A/m, in the first half of every 6.3 ns.

    Pulses rise and fall smoothly: on which side of a jump a step looks depends on its length.
    """
    time_s = 0.5 * step_s * np.arange(2 * steps + 1)
    symbol = (time_s / 6.3e-9).astype(int)
    phase = time_s / 6.3e-9 - symbol
    drives = np.random.default_rng(seed).uniform(0.2, 1, (shots, int(symbol[-1]) + 1))
    gate = drives[:, symbol] * np.where(phase < 0.5, np.sin(2 * np.pi * phase) ** 2, 0)
    return np.asarray(4200 / Strip().saturation_magnetisation_a_per_m * gate * np.sin(2 * np.pi * 3.205e9 * time_s))


def nrmse(value: NDArray[Any], reference: NDArray[Any]) -> float:
    """Root-mean-square difference over the root-mean-square reference."""
    return float(np.sqrt(np.mean((value - reference) ** 2) / np.mean(reference**2)))


def compare(steps: int = 2000) -> float | None:
    """NRMSE of the closed ring's pick-up over so many steps of 10 ps: our solver in double precision against theirs.

    magnum.np takes twice as many steps: plain Runge-Kutta steps of 10 ps turn too slowly by 1e-5, which ours make good.
    None where magnum.np is not installed.
    """
    if magnumnp() is None:
        return None
    strip, loop = closed_ring()
    with precision(torch.float64):
        theirs = MagnumRing(strip, loop, STEP_S / 2).run(pulses(2 * steps, step_s=STEP_S / 2)[0])[::2]
    return nrmse(record(strip, loop, STEP_S, pulses(steps), np.float64)[0], theirs)


def seconds_per_step(dtype: torch.dtype, threads: int, steps: int = 100) -> float:
    """Time of one step of one shot, on so many torch threads; the least of three after a warm-up."""
    strip, loop = closed_ring()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with precision(dtype):
            ring = MagnumRing(strip, loop)
            drive = pulses(steps)[0]
            ring.run(drive[:11])
            taken = []
            for _ in range(3):
                began = time.perf_counter()
                ring.run(drive)
                taken.append((time.perf_counter() - began) / steps)
    finally:
        torch.set_num_threads(before)
    return min(taken)
