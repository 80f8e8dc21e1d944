"""The magnonic active ring, simulated: spin waves in a film strip, a delay, an amplifier, back to the strip."""

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from math import ceil, inf
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labpgt.device import Setting
from labpgt.errors import DeviceFault
from simulators.dispersion import band_hz
from simulators.film import SHOTS
from simulators.kernels import announced
from simulators.llg import advance
from simulators.llg_ring_config import LONGEST_STEP_S, LLGRingConfig
from simulators.physics import refuse_unphysical, remarks
from simulators.ring import RingSolver, Shots, Symbol, Workspace, run
from simulators.simulated_ring import Each, SimulatedRing
from simulators.strip import Loop, Strip
from simulators.thermal import thermal_deviation, thermal_field
from simulators.threshold import oscillation_threshold, ring_down

_LOG = logging.getLogger("labpgt.simulators")


class LLGRing(SimulatedRing):
    """Magnonic auto-oscillation ring below threshold, by the Landau-Lifshitz-Gilbert equation.

    A drive u makes a carrier pulse at the input antenna: amplitude and phase follow from `encoding`, the input switch
    passes the first `duty` of each symbol, and the mask multiplies each of its windows. The pick-up goes through the
    delay, the attenuator and the saturating amplifier back to the antenna. A detector reads it in equal windows of
    the symbol, `full_scale` as 1: the diode its envelope sqrt(2 <p**2>), `iq` both quadratures. Readout noise is
    added. Shots start from the film at rest, at any temperature; a shot's result does not depend on its company.
    """

    name = "llg-ring"

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        c = self.config
        self.strip = Strip(**{key: getattr(c, key) for key in Strip.__dataclass_fields__})
        windows = c.n_nodes // 2 if c.detector == "iq" else c.n_nodes
        window_s = c.symbol_s / windows
        # The guard keeps a window of whole steps, such as 0.63 ns, from taking one more by a rounding error.
        steps = ceil(window_s / LONGEST_STEP_S[c.tier] - 1e-9)
        self.step_s = window_s / steps
        refuse_unphysical(self.strip, c, self.step_s)
        gate = np.repeat(c.mask_values(windows), steps)
        gate[round(c.duty * windows * steps) :] = 0
        self._symbol = Symbol(windows, steps, self.step_s, gate, c.detector == "iq")
        self._precision = np.float64 if c.tier == "reference" else np.float32
        self._idle: SimpleQueue[Workspace] = SimpleQueue()

    @property
    def threshold_gain(self) -> float:
        """Loop gain at which the ring starts to oscillate, in (field / Ms) per mean pick-up."""
        return oscillation_threshold(self.strip, self.config.delay_s, self.step_s)[0]

    @property
    def tunable(self) -> Mapping[str, tuple[float, float]]:
        """Settings that `forward_tuned` takes for each shot, and their limits."""
        limits = {"attenuation_db": self._attenuation_limits}
        for key in ("drive_field_a_per_m", "saturation_a_per_m"):
            low, high = 0.0, inf
            for bound in LLGRingConfig.model_fields[key].metadata:
                low = max(low, getattr(bound, "ge", low))
                high = min(high, getattr(bound, "le", high))
            limits[key] = (low, high)
        # Far from the band no wave is carried, and the solver's steps would not follow the field.
        low, high = band_hz(self.strip)
        limits["carrier_hz"] = (0.7 * low, min(1.2 * high, 0.1 / self.step_s))
        # The amplifier saturates somewhere.
        limits["saturation_a_per_m"] = (1e-3, limits["saturation_a_per_m"][1])
        return limits

    @property
    def _derived(self) -> Mapping[str, Setting]:
        gain, frequency_hz = oscillation_threshold(self.strip, self.config.delay_s, self.step_s)
        return {
            "threshold_gain": Setting(gain),
            "threshold_hz": Setting(frequency_hz, "Hz"),
            "step_s": Setting(self.step_s, "s"),
        }

    @cached_property
    def _solver(self) -> RingSolver:
        return RingSolver(self.strip, self.config.delay_s, self._symbol, self._precision)

    @property
    def _loop(self) -> Loop:
        c = self.config
        saturation = c.saturation_a_per_m / c.saturation_magnetisation_a_per_m
        return Loop(c.delay_s, c.net_gain * self.threshold_gain, saturation)

    def _prepare(self, threads: int) -> None:
        """Compile if need be, measure the threshold, and see that the ring is quiet at this gain."""
        self._idle = SimpleQueue()
        for _ in range(threads):
            self._idle.put(self._solver.workspace())
        silence = np.zeros((1, 1), np.complex128)
        each = {key: np.ones(1) for key in self.tunable}
        with announced(self.name, run, advance):
            self._solve(silence, each, range(1))
        for remark in remarks(self.strip, self.config):
            _LOG.warning("%s: %s", self.name, remark)
        factor = ring_down(self.strip, self._loop, self.step_s)
        if not factor < 1:
            raise DeviceFault(
                f"{self.name}: the ring oscillates by itself at gain {self.config.net_gain:g} of its threshold "
                f"{self.threshold_gain:.4g}: the answer to a test pulse grows by {factor:.3g}; lower the gain"
            )

    def _answer(
        self, pulses: NDArray[np.complex128], each: Each, numbers: range, pool: ThreadPoolExecutor
    ) -> NDArray[np.float64]:
        def tile(first: int) -> NDArray[np.float64]:
            some = slice(first, first + SHOTS)
            return self._solve(pulses[some], {key: value[some] for key, value in each.items()}, numbers[some])

        answers = pool.map(tile, range(0, len(pulses), SHOTS))
        return np.concatenate([np.empty((0, pulses.shape[1], self.n_nodes)), *answers])

    def _solve(self, pulses: NDArray[np.complex128], each: Each, numbers: range) -> NDArray[np.float64]:
        """Solve up to `SHOTS` shots."""
        ms = self.strip.saturation_magnetisation_a_per_m
        pulses = pulses * each["drive_field_a_per_m"][:, None] / ms
        gain = self.config.gain * self.threshold_gain * 10 ** (-each["attenuation_db"] / 20)
        shots = Shots(pulses, each["carrier_hz"], gain, each["saturation_a_per_m"] / ms)
        work = self._idle.get()
        try:
            amplitude = self._solver.respond(work, shots, self._thermal(numbers) if self.config.temperature_k else None)
        finally:
            self._idle.put(work)
        parts = [amplitude.real, amplitude.imag] if self._symbol.iq else [amplitude.real]
        return np.concatenate(parts, axis=2) / self.config.full_scale

    def _thermal(self, numbers: range) -> Any:
        deviation = thermal_deviation(self.strip, self.config.temperature_k, self.step_s)
        steps, seed = self._symbol.gate.size, self.config.noise_seed
        return lambda shot, symbol: thermal_field(
            self.strip, deviation, steps, seed, numbers[shot], symbol, self._precision
        )
