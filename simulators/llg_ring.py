"""The magnonic active ring, simulated: spin waves in a film strip, a delay, an amplifier, back to the strip."""

import logging
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from math import ceil
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from labpgt.device import Setting, checked_drives
from labpgt.errors import DeviceFault
from labpgt.rng import Draw, generator
from labpgt.validation import validated
from simulators.kernels import make_ready
from simulators.llg import SHOTS
from simulators.llg_ring_config import LONGEST_STEP_S, UNITS, LLGRingConfig
from simulators.physics import refuse_unphysical, remarks
from simulators.ring import RingSolver, Shots, Symbol, Workspace
from simulators.strip import Loop, Strip
from simulators.thermal import thermal_deviation, thermal_field
from simulators.threshold import oscillation_threshold, ring_down

_LOG = logging.getLogger("labpgt.simulators")

_LOUDEST_GAIN = 4.0
"""Loop gain that `forward_tuned` goes up to, as a share of the threshold."""


class LLGRing:
    """Magnonic auto-oscillation ring below threshold, by the Landau-Lifshitz-Gilbert equation; a seekable `Reservoir`.

    A drive u makes a carrier pulse at the input antenna: amplitude and phase follow from `encoding`, the input switch
    passes the first `duty` of each symbol, and the mask multiplies each of its windows. The pick-up goes through the
    delay, the attenuator and the saturating amplifier back to the antenna. A detector reads it in equal windows of
    the symbol, `full_scale` as 1: the diode its envelope sqrt(2 <p**2>), `iq` both quadratures. Readout noise is
    added. Shots start from the film at rest; a shot's result does not depend on its company.
    """

    Config = LLGRingConfig
    name = "llg-ring"

    def __init__(self, **settings: Any) -> None:
        self.config = validated(LLGRingConfig, settings, "device")
        c = self.config
        self.strip = Strip(**{key: getattr(c, key) for key in Strip.__dataclass_fields__})
        windows = c.n_nodes // 2 if c.detector == "iq" else c.n_nodes
        window_s = c.symbol_s / windows
        # The guard keeps a window of whole steps, such as 0.63 ns, from taking one more by a rounding error.
        steps = ceil(window_s / LONGEST_STEP_S[c.tier] - 1e-9)
        self.step_s = window_s / steps
        refuse_unphysical(self.strip, c, self.step_s)
        on = round(c.duty * windows * steps)
        gate = np.repeat(c.mask_values(windows), steps)
        gate[on:] = 0
        self._symbol = Symbol(windows, steps, self.step_s, gate, c.detector == "iq")
        self._precision = np.float64 if c.tier == "reference" else np.float32
        self.rf_on = False
        self._pool: ThreadPoolExecutor | None = None
        self._idle: SimpleQueue[Workspace] = SimpleQueue()
        self._shot = 0

    @property
    def n_nodes(self) -> int:
        """Response values per drive symbol; of the detector `iq`, the first half are in phase, the others not."""
        return self.config.n_nodes

    @property
    def max_symbols(self) -> int:
        """Longest shot, in symbols."""
        return 65_536

    @property
    def drive_limits(self) -> tuple[float, float]:
        """Drive values accepted."""
        return (0.0 if self.config.encoding == "amplitude" else -1.0, 1.0)

    @property
    def threshold_gain(self) -> float:
        """Loop gain at which the ring starts to oscillate, in (field / Ms) per mean pick-up."""
        return oscillation_threshold(self.strip, self.config.delay_s, self.step_s)[0]

    @property
    def tunable(self) -> Mapping[str, tuple[float, float]]:
        """Settings that `forward_tuned` takes for each shot, and their limits."""
        fields = LLGRingConfig.model_fields
        loudest = -20 * np.log10(_LOUDEST_GAIN / self.config.gain) if self.config.gain else 0.0
        limits = {"attenuation_db": (float(loudest), 80.0)}
        for key in ("carrier_hz", "drive_field_a_per_m", "saturation_a_per_m"):
            low, high = 0.0, np.inf
            for bound in fields[key].metadata:
                low = max(low, getattr(bound, "ge", low))
                high = min(high, getattr(bound, "le", high))
            limits[key] = (low, high)
        # The amplifier saturates somewhere.
        limits["saturation_a_per_m"] = (1e-3, limits["saturation_a_per_m"][1])
        return limits

    def open(self) -> None:
        """Compile the solver if need be, measure the threshold and see that the ring is quiet at this gain.

        Raises `DeviceFault` when the ring oscillates by itself.
        """
        if self._pool is not None:
            return
        self._compile()
        for remark in remarks(self.strip, self.config):
            _LOG.warning("%s: %s", self.name, remark)
        factor = ring_down(self.strip, self._loop, self.step_s)
        if not factor < 1:
            raise DeviceFault(
                f"{self.name}: the ring oscillates by itself at gain {self.config.net_gain:g} of its threshold "
                f"{self.threshold_gain:.4g}: a test pulse grows by {factor:.3g} in 125 ns; lower the gain"
            )
        threads = self.config.threads or os.cpu_count() or 1
        self._idle = SimpleQueue()
        for _ in range(threads):
            self._idle.put(self._solver.workspace())
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=self.name)

    def close(self) -> None:
        """RF off and refuse shots from now on."""
        self.make_safe()
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
            self._idle = SimpleQueue()

    def make_safe(self) -> None:
        """RF off."""
        self.rf_on = False

    def settings(self) -> Mapping[str, Setting]:
        """Every setting, and what follows from them: threshold gain, frequency of auto-oscillation and step."""
        found = {key: Setting(value, UNITS.get(key, "")) for key, value in self.config.model_dump().items()}
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
        return self.forward_tuned(drives, {})

    def forward_tuned(
        self, drives: NDArray[np.float64], tuning: Mapping[str, NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        """Like `forward`, each shot with its own value (shots,) of some of the settings in `tunable`.

        Answers above the threshold of auto-oscillation too: it is for measuring the ring, not for training with it.
        """
        if self._pool is None:
            raise DeviceFault(f"{self.name}: a shot was asked of a closed device; call open() first")
        drives = checked_drives(self, drives)
        each = self._checked_tuning(len(drives), tuning)
        self.rf_on = True
        numbers = range(self._shot, self._shot + len(drives))
        tiles = [slice(first, first + SHOTS) for first in range(0, len(drives), SHOTS)]
        answers = self._pool.map(
            lambda tile: self._answer(drives[tile], {key: value[tile] for key, value in each.items()}, numbers[tile]),
            tiles,
        )
        responses = np.concatenate([np.empty((0, drives.shape[1], self.n_nodes)), *answers])
        self._shot += len(drives)
        return responses

    @cached_property
    def _solver(self) -> RingSolver:
        return RingSolver(self.strip, self.config.delay_s, self._symbol, self._precision)

    @property
    def _loop(self) -> Loop:
        ms = self.strip.saturation_magnetisation_a_per_m
        return Loop(
            self.config.delay_s, self.config.net_gain * self.threshold_gain, self.config.saturation_a_per_m / ms
        )

    def _compile(self) -> None:
        """Have the machine code ready before the first shot is timed."""
        work = self._solver.workspace()
        one = np.ones(1)
        shot = Shots(np.zeros((1, 1), complex), one * self.config.carrier_hz, one * 0, one)
        thermal = self._thermal(range(1)) if self.config.temperature_k else None
        make_ready(lambda: self._solver.respond(work, shot, thermal), self.name)

    def _checked_tuning(self, shots: int, tuning: Mapping[str, Any]) -> dict[str, NDArray[np.float64]]:
        """Return carrier, drive field, saturation and attenuation of each shot."""
        limits = self.tunable
        each = {key: np.full(shots, float(getattr(self.config, key))) for key in limits}
        for key, values in tuning.items():
            if key not in limits:
                raise ValueError(
                    f"{self.name}: {key!r} cannot differ from shot to shot; these can: {', '.join(limits)}"
                )
            low, high = limits[key]
            array = np.asarray(values, dtype=np.float64)
            if array.shape != (shots,) or not ((array >= low) & (array <= high)).all():
                raise ValueError(
                    f"{self.name}: expected {key} of shape ({shots},) from {low:g} to {high:g}, got shape "
                    f"{array.shape}, {array}"
                )
            each[key] = array
        return each

    def _answer(
        self, drives: NDArray[np.float64], each: Mapping[str, NDArray[np.float64]], numbers: range
    ) -> NDArray[np.float64]:
        """Solve up to `SHOTS` shots, (shots, symbols), and return what the detector reads."""
        ms = self.strip.saturation_magnetisation_a_per_m
        pulses = self.config.pulses(drives) * each["drive_field_a_per_m"][:, None] / ms
        gain = self.config.gain * self.threshold_gain * 10 ** (-each["attenuation_db"] / 20)
        shots = Shots(pulses, each["carrier_hz"], gain, each["saturation_a_per_m"] / ms)
        work = self._idle.get()
        try:
            amplitude = self._solver.respond(work, shots, self._thermal(numbers) if self.config.temperature_k else None)
        finally:
            self._idle.put(work)
        if not np.isfinite(amplitude).all():
            raise DeviceFault(
                f"{self.name}: the magnetisation is not finite any more at a drive field of "
                f"{self.config.drive_field_a_per_m:g} A/m; lower drive_field_a_per_m"
            )
        parts = [amplitude.real, amplitude.imag] if self._symbol.iq else [amplitude.real]
        responses = np.concatenate(parts, axis=2) / self.config.full_scale
        for number, response in zip(numbers, responses, strict=True):
            noise = generator(self.config.noise_seed, number, Draw.NOISE).standard_normal(response.shape)
            response += self.config.noise * noise
        return responses

    def _thermal(self, numbers: range) -> Any:
        deviation = thermal_deviation(self.strip, self.config.temperature_k, self.step_s)
        steps, seed = self._symbol.gate.size, self.config.noise_seed
        return lambda shot, symbol: thermal_field(
            self.strip, deviation, steps, seed, numbers[shot], symbol, self._precision
        )

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
