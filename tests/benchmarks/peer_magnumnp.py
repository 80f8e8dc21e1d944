"""The ring by magnum.np, with its own exchange, demagnetisation and right-hand side; the loop around it is ours.

magnum.np (F. Bruckner et al., Scientific Reports 13, 12054 (2023)) is what people of this field would use. Its
cells have a length in every direction; ours, without end along y, are repeated there by its periodic boundary.
"""

import contextlib
import io
import logging
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.constants import mu_0

from simulators.llg import record
from simulators.llg_ring import LLGRing
from simulators.strip import Loop, Strip

_ALONG_Y_M = 20e-6

_IMAGES = 500
"""Copies on either side along y, which make the strip 2 cm long; one cell as long would lose digits."""

STEP_S = 10e-12


def simulate(
    strip: Strip, loop: Loop, step_s: float, field: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float] | None:
    """Return the mean pick-up after every step (steps + 1,), and the seconds a step took; None if not installed.

    `field` (2 * steps + 1,) is the drive in units of Ms at the start, middle and end of every step. Classical
    Runge-Kutta steps; the delayed pick-up is a cubic through the four samples around it, as in `simulators.llg`.
    """
    try:
        import torch

        with contextlib.redirect_stdout(io.StringIO()):
            import magnumnp
    except ImportError:
        return None
    logging.getLogger("magnum.np").setLevel(logging.ERROR)
    torch.set_default_dtype(torch.float64)
    try:
        return _simulate(magnumnp, torch, strip, loop, step_s, field)
    finally:
        torch.set_default_dtype(torch.float32)


def _simulate(np_: Any, torch: Any, strip: Strip, loop: Loop, step_s: float, field: NDArray[np.float64]) -> Any:
    ms = strip.saturation_magnetisation_a_per_m
    mesh = np_.Mesh((strip.cells, 1, 1), (strip.cell_m, _ALONG_Y_M, strip.thickness_m), pbc=(0, _IMAGES, 0))
    state = np_.State(mesh)
    state.material = {
        "Ms": ms,
        "A": strip.exchange_j_per_m,
        "alpha": torch.tensor(strip.damping_profile).reshape(-1, 1, 1, 1),
    }
    state.m = state.Constant([0, 1, 0])
    into, out = strip.antennas
    antenna = torch.zeros(strip.cells, 1, 1, 3)
    bias = torch.zeros(strip.cells, 1, 1, 3)
    bias[..., 1] = strip.bias_t / mu_0
    demag, exchange = np_.DemagField(), np_.ExchangeField()
    external = np_.ExternalField(lambda state: bias + antenna)
    solver = np_.LLGSolver([demag, exchange, external])
    steps = len(field) // 2
    delay = loop.delay_s / step_s
    past = np.zeros(steps + 1)

    def rate(m: Any, at: float, drive: float) -> Any:
        first = int(np.floor(at - delay)) - 1
        x = at - delay - first
        weights = [np.prod([(x - j) / (i - j) for j in range(4) if j != i]) for i in range(4)]
        samples = [past[first + i] if first + i >= 0 else 0.0 for i in range(4)]
        y = loop.gain / loop.saturation * float(np.dot(weights, samples))
        antenna[into.start : into.stop, :, :, 0] = (drive + loop.saturation * y / np.hypot(1, y)) * ms
        return solver.dm(at * step_s, m, state)

    m = state.m
    rate(m, 0.0, 0.0)
    start = time.perf_counter()
    for n in range(steps):
        k1 = rate(m, n, field[2 * n])
        k2 = rate(m + 0.5 * step_s * k1, n + 0.5, field[2 * n + 1])
        k3 = rate(m + 0.5 * step_s * k2, n + 0.5, field[2 * n + 1])
        k4 = rate(m + step_s * k3, n + 1, field[2 * n + 2])
        m = m + step_s / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        m = m / torch.linalg.norm(m, dim=-1, keepdim=True)
        past[n + 1] = float(m[out.start : out.stop, 0, 0, 0].mean())
    return past, (time.perf_counter() - start) / steps


def ring_shot(steps: int, step_s: float) -> tuple[Strip, Loop, NDArray[np.float64]]:
    """The default ring at 0.8 of its threshold, and a drive of pulses of 6 ns (2 * steps + 1,), in units of Ms.

    The pulses rise and fall smoothly, so that nothing depends on which side of a jump a step looks at.
    """
    device = LLGRing()
    loop = Loop(device.config.delay_s, 0.8 * device.threshold_gain, 2e-3)
    time_s = 0.5 * step_s * np.arange(2 * steps + 1)
    heights = np.random.default_rng(0).random(int(time_s[-1] / 6e-9) + 1)
    pulse = heights[(time_s / 6e-9).astype(int)] * np.sin(np.pi * time_s / 6e-9) ** 2
    return device.strip, loop, 5e-3 * pulse * np.sin(2 * np.pi * device.config.carrier_hz * time_s)


def compare(steps: int = 2000) -> float | None:
    """Return the NRMSE of our ring's pick-up against magnum.np's over `steps` of 10 ps; None if not installed.

    magnum.np takes twice as many steps, for its Runge-Kutta method turns too slowly at 10 ps.
    """
    strip, loop, field = ring_shot(steps, STEP_S)
    if (found := simulate(strip, loop, STEP_S / 2, ring_shot(2 * steps, STEP_S / 2)[2])) is None:
        return None
    ours, theirs = record(strip, loop, STEP_S, field[None], np.float64)[0], found[0][::2]
    return float(np.sqrt(np.mean((ours - theirs) ** 2) / np.mean(theirs**2)))
