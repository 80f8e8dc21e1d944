"""The magnonic active ring, simulated: spin waves in a film strip, a delay, an amplifier, back to the strip."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from math import ceil
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from labpgt.device import Setting, checked_drives
from labpgt.errors import DeviceFault
from labpgt.rng import Draw, generator
from labpgt.validation import validated
from simulators.lanes import WIDTH
from simulators.llg import film_of, solve, state_at_rest, wiring_of
from simulators.strip import Loop, Strip
from simulators.threshold import oscillation_threshold, ring_down

_LONGEST_STEP_S = 10e-12
"""RK4 turns too slowly by (omega step)**4 / 120 of itself: 1.4e-5 at 3.2 GHz."""


class LLGRingConfig(BaseModel):
    """Settings of the simulated ring; the film is 100 nm of YIG, saturation magnetisation Ms = 140 kA/m."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    carrier_hz: float = Field(3.205e9, ge=1e9, le=10e9, description="frequency of the microwave carrier, in Hz")
    drive_field_a_per_m: float = Field(
        4200.0, ge=0, le=14e3, description="antenna field of a drive of 1 (peak of the carrier), in A/m"
    )
    signed: bool = Field(False, description="drives from -1 to 1 (a negative one flips the phase) instead of 0 to 1")
    symbol_s: float = Field(6.3e-9, ge=0.5e-9, le=1e-7, description="duration of one drive symbol, in s")
    duty: float = Field(0.5, gt=0, le=1, description="share of the symbol, from its start, that the carrier is on")
    n_nodes: int = Field(4, ge=1, le=200, description="virtual nodes (response values) per drive symbol")
    gain: float = Field(0.2, ge=0, lt=1, description="loop gain, as a share of the auto-oscillation threshold")
    delay_s: float = Field(2e-9, ge=0.05e-9, le=100e-9, description="delay of the feedback line, in s")
    saturation_a_per_m: float = Field(
        280.0, gt=0, le=14e3, description="largest feedback field the amplifier can make, in A/m"
    )
    bias_t: float = Field(50e-3, ge=10e-3, le=200e-3, description="bias field, in the plane, across the strip, in T")
    damping: float = Field(1e-3, gt=0, le=0.1, description="Gilbert damping of the film between the absorbers")
    full_scale: float = Field(0.35, gt=0, le=1, description="mean mx under the pick-up that reads as a response of 1")
    noise: float = Field(1e-2, ge=0, le=1, description="standard deviation of the readout noise, of full scale")
    noise_seed: int = Field(0, ge=0, lt=2**63, description="key of the readout noise")
    threads: int = Field(0, ge=0, le=256, description="threads that share a batch; 0 takes every core")


_UNITS = {
    "carrier_hz": "Hz",
    "drive_field_a_per_m": "A/m",
    "symbol_s": "s",
    "delay_s": "s",
    "saturation_a_per_m": "A/m",
    "bias_t": "T",
}


class LLGRing:
    """Magnonic auto-oscillation ring below threshold, by the Landau-Lifshitz-Gilbert equation; a seekable `Reservoir`.

    A drive u sets the amplitude of a carrier pulse at the input antenna: field u * drive_field * sin(2 pi f t) along
    x for the first `duty` of each symbol. A diode at the pick-up gives the response: the envelope sqrt(2 <p**2>) of
    the mean mx over each of `n_nodes` equal windows of the symbol, over `full_scale`, plus readout noise. Shots start
    from the film at rest. They are solved eight at a time; a shot's result does not depend on its company.
    """

    Config = LLGRingConfig
    name = "llg-ring"

    def __init__(self, **settings: Any) -> None:
        self.config = validated(LLGRingConfig, settings, "device")
        self.strip = Strip(bias_t=self.config.bias_t, damping=self.config.damping)
        window_s = self.config.symbol_s / self.config.n_nodes
        # The guard keeps a window of whole steps, such as 0.63 ns, from taking one more by a rounding error.
        self._window_steps = ceil(window_s / _LONGEST_STEP_S - 1e-9)
        self.step_s = window_s / self._window_steps
        self.rf_on = False
        self._pool: ThreadPoolExecutor | None = None
        self._shot = 0

    @property
    def n_nodes(self) -> int:
        """Response values per drive symbol."""
        return self.config.n_nodes

    @property
    def max_symbols(self) -> int:
        """Longest shot, in symbols."""
        return 512

    @property
    def drive_limits(self) -> tuple[float, float]:
        """Drive values accepted."""
        return (-1.0 if self.config.signed else 0.0, 1.0)

    @property
    def threshold_gain(self) -> float:
        """Loop gain at which the ring starts to oscillate, in (field / Ms) per mean mx."""
        return oscillation_threshold(self.strip, self.config.delay_s, self.step_s)[0]

    def open(self) -> None:
        """Compile the solver if need be, measure the threshold and see that the ring is quiet at this gain.

        Raises `DeviceFault` when the ring oscillates by itself.
        """
        if self._pool is not None:
            return
        factor = ring_down(self.strip, self._loop(), self.step_s)
        if not factor < 1:
            raise DeviceFault(
                f"{self.name}: the ring oscillates by itself at gain {self.config.gain:g} of its threshold "
                f"{self.threshold_gain:.4g}: a test pulse grows by {factor:.3g} in 125 ns; lower the gain"
            )
        self._pool = ThreadPoolExecutor(self.config.threads or os.cpu_count() or 1, thread_name_prefix=self.name)

    def close(self) -> None:
        """RF off and refuse shots from now on."""
        self.make_safe()
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def make_safe(self) -> None:
        """RF off."""
        self.rf_on = False

    def settings(self) -> Mapping[str, Setting]:
        """Every setting, and what follows from them: threshold gain, frequency of auto-oscillation and step."""
        found = {key: Setting(value, _UNITS.get(key, "")) for key, value in self.config.model_dump().items()}
        gain, frequency_hz = oscillation_threshold(self.strip, self.config.delay_s, self.step_s)
        return {
            **found,
            "threshold_gain": Setting(gain),
            "threshold_hz": Setting(frequency_hz, "Hz"),
            "step_s": Setting(self.step_s, "s"),
        }

    def seek(self, shot: int) -> None:
        """Set the number of the next shot, which keys its noise."""
        self._shot = shot

    def forward(self, drives: NDArray[np.float64]) -> NDArray[np.float64]:
        """Drives (shots, symbols) within `drive_limits` to responses (shots, symbols, n_nodes), dimensionless.

        Raises `ValueError` for a drive that cannot be sent and `DeviceFault` when the device is closed or the
        magnetisation is no longer finite.
        """
        if self._pool is None:
            raise DeviceFault(f"{self.name}: a shot was asked of a closed device; call open() first")
        drives = checked_drives(self, drives)
        self.rf_on = True
        shots, symbols = drives.shape
        waveform = self._waveform(symbols)
        tiles = [drives[first : first + WIDTH] for first in range(0, shots, WIDTH)]
        answers = self._pool.map(lambda tile: self._answer(tile, waveform), tiles)
        responses = np.concatenate([np.empty((0, symbols, self.n_nodes)), *answers])
        for i, response in enumerate(responses):
            noise = generator(self.config.noise_seed, self._shot + i, Draw.NOISE).standard_normal(response.shape)
            response += self.config.noise * noise
        self._shot += shots
        return responses

    def _loop(self) -> Loop:
        ms = self.strip.saturation_magnetisation_a_per_m
        gain = self.config.gain * self.threshold_gain
        return Loop(self.config.delay_s, gain, self.config.saturation_a_per_m / ms)

    def _waveform(self, symbols: int) -> NDArray[np.float32]:
        """Carrier field of a drive of 1, in units of Ms, at the start, middle and end of every step."""
        time = 0.5 * self.step_s * np.arange(2 * symbols * self.n_nodes * self._window_steps + 1)
        peak = self.config.drive_field_a_per_m / self.strip.saturation_magnetisation_a_per_m
        return np.asarray(peak * np.sin(2 * np.pi * self.config.carrier_hz * time), dtype=np.float32)

    def _answer(self, drives: NDArray[np.float64], waveform: NDArray[np.float32]) -> NDArray[np.float64]:
        """Solve up to eight shots, (shots, symbols), and return their envelopes, (shots, symbols, n_nodes)."""
        shots, symbols = drives.shape
        film, wiring = film_of(self.strip, self.step_s), wiring_of(self.strip, self._loop(), self.step_s)
        amplitudes = np.zeros((symbols, WIDTH), np.float32)
        amplitudes[:, :shots] = drives.T
        trace = np.zeros((wiring.history + 1 + len(waveform) // 2, WIDTH), np.float32)
        symbol_steps = self.n_nodes * self._window_steps
        on = round(self.config.duty * symbol_steps)
        state = state_at_rest(self.strip)
        solve(film, wiring, state, waveform, amplitudes.ravel(), on, symbol_steps - on, trace.ravel())
        # All eight lanes, used or not: in what order numpy adds up depends on the shape, and so would the last bit.
        pickup = trace[wiring.history + 1 :].reshape(symbols, self.n_nodes, self._window_steps, WIDTH)
        power = np.square(pickup, dtype=np.float64).mean(axis=2)[..., :shots]
        if not np.isfinite(power).all():
            raise DeviceFault(
                f"{self.name}: the magnetisation is not finite any more at a drive field of "
                f"{self.config.drive_field_a_per_m:g} A/m; lower drive_field_a_per_m"
            )
        return np.asarray(np.sqrt(2 * power).transpose(2, 0, 1) / self.config.full_scale)

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
