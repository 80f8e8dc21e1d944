"""The magnonic ring by envelopes: answers as the LLG ring does within a stated range, a hundred times faster."""

import logging
import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from math import ceil, log10
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from labpgt.device import Setting, checked_drives
from labpgt.errors import DeviceFault, InputError
from labpgt.rng import Draw, generator
from labpgt.validation import validated
from simulators.envelope import reduced, stepper
from simulators.envelope_fit import Feedback, closeness, fit
from simulators.envelope_kernel import PAIR, Stepper, run
from simulators.kernels import make_ready
from simulators.lanes import WIDTH
from simulators.llg_ring import LLGRing
from simulators.llg_ring_config import UNITS, LLGRingConfig
from simulators.threshold import oscillation_threshold

_LOG = logging.getLogger("labpgt.simulators")

_LONGEST_STEP_S = 0.22e-9
"""Waves within 1 GHz of the carrier turn by less than a quarter turn relative to it."""

_LEAST_CORRELATION = 0.999
_LARGEST_ERROR = 0.05
"""Root mean square over that of the response: what the range of drives is stated for."""

_LEVELS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Shares of the drive field that a fit is tested at."""

_FIT_S = 76e-9
_TEST_S = 190e-9
"""Length of the shots that the model is fitted to and tested with: several times its memory."""

_LOUDEST_GAIN = 4.0
"""Loop gain that `forward_tuned` goes up to, as a share of the threshold."""

_QUIETEST_DB = 80.0


_MOST_CELLS = 512
"""The waves of a strip are found by dense linear algebra."""


class EnvelopeRingConfig(LLGRingConfig):
    """Settings of the ring by envelopes: those of the LLG ring, with a weaker default drive."""

    drive_field_a_per_m: float = Field(
        2800.0, ge=0, le=14e3, description="antenna field of a drive of 1 (peak of the carrier), in A/m"
    )
    cells: int = Field(96, ge=8, le=_MOST_CELLS, description="cells along the strip")
    temperature_k: float = Field(
        0.0, ge=0, le=0, description="temperature of the film, in K; an envelope has no thermal noise: 0"
    )


class Fitted(NamedTuple):
    """The model of one ring, and how well it does on shots that it was not fitted to."""

    model: Stepper
    gain: float
    """Loop gain at the threshold, for envelopes, in (field / Ms) per mean mx."""
    valid_a_per_m: float
    """Highest drive field up to which the correlation and the error are within the limits; 0 if there is none."""
    correlation: float
    error: float
    """Both at that field, or at the lowest one that was tried."""
    failed: tuple[float, float, float] | None
    """Drive field, correlation and error of the first level that is not."""


class EnvelopeRing:
    """The ring of `simulators.llg_ring`, reduced to envelopes and fitted to it; `Seekable` and `Tunable`.

    Settings, drives and responses are those of `LLGRing`. The model (`simulators.envelope`) follows from the strip;
    when it is made, its responses to random, binary and constant shots are compared with the LLG ring's at a ladder of
    drive fields. `open` refuses a drive field at which they correlate less than 0.999 or differ by more than 5 %, and
    says up to which one they do not. `settings` states range, correlation and error.
    """

    Config = EnvelopeRingConfig
    name = "envelope-ring"

    def __init__(self, **settings: Any) -> None:
        self.config = validated(EnvelopeRingConfig, settings, "device")
        # Refuses what cannot be a ring.
        self._reference = _reference(self.config)
        self.rf_on = False
        self._pool: ThreadPoolExecutor | None = None
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
        return self._reference.drive_limits

    @property
    def tunable(self) -> Mapping[str, tuple[float, float]]:
        """Settings that `forward_tuned` takes for each shot, and their limits."""
        loudest = -20 * log10(_LOUDEST_GAIN / self.config.gain) if self.config.gain else 0.0
        return {
            "attenuation_db": (loudest, _QUIETEST_DB),
            "drive_field_a_per_m": (0.0, self._fitted.valid_a_per_m),
        }

    @property
    def _fitted(self) -> Fitted:
        # What only scales the response, or has no effect on it without noise, is no reason to fit again.
        same = {"full_scale": 1.0, "noise": 0.0, "noise_seed": 0, "threads": 0}
        return fitted(self.config.model_copy(update=same))

    def open(self) -> None:
        """Make and test the model, which takes some seconds, and compile it if need be.

        Raises `InputError` for a drive field beyond the range that the model is valid in.
        """
        if self._pool is not None:
            return
        found = self._fitted
        if found.failed is not None:
            field, correlation, error = found.failed
            range_text = (
                f"it is valid up to {found.valid_a_per_m:.4g} A/m; lower drive_field_a_per_m"
                if found.valid_a_per_m
                else "it is not valid at any drive field with these settings"
            )
            raise InputError(
                f"device.drive_field_a_per_m = {self.config.drive_field_a_per_m:g}: outside the range of the envelope "
                f"model: at {field:.4g} A/m it correlates {correlation:.5f} with the LLG ring and differs by "
                f"{100 * error:.2g} % (limits {_LEAST_CORRELATION} and {100 * _LARGEST_ERROR:g} %); {range_text}, or "
                'use the device "llg-ring"'
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
        """Every setting; threshold and step; range, correlation and error of the model against the LLG ring."""
        reference = self._reference
        gain, frequency_hz = oscillation_threshold(reference.strip, self.config.delay_s, reference.step_s)
        values = {key: Setting(value, UNITS.get(key, "")) for key, value in self.config.model_dump().items()}
        found = self._fitted
        return {
            **values,
            "threshold_gain": Setting(gain),
            "threshold_hz": Setting(frequency_hz, "Hz"),
            "step_s": Setting(_steps(self.config)[0], "s"),
            "valid_drive_a_per_m": Setting(found.valid_a_per_m, "A/m"),
            "fit_correlation": Setting(found.correlation),
            "fit_error": Setting(found.error),
        }

    def seek(self, shot: int) -> None:
        """Set the number of the next shot, which keys its noise."""
        self._shot = shot

    def forward(self, drives: NDArray[np.float64]) -> NDArray[np.float64]:
        """Drives (shots, symbols) within `drive_limits` to responses (shots, symbols, n_nodes), dimensionless.

        Raises `ValueError` for a drive that cannot be sent and `DeviceFault` when the device is closed or a response
        is not finite.
        """
        return self.forward_tuned(drives, {})

    def forward_tuned(
        self, drives: NDArray[np.float64], tuning: Mapping[str, NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        """Like `forward`, each shot with its own attenuation and drive field."""
        if self._pool is None:
            raise DeviceFault(f"{self.name}: a shot was asked of a closed device; call open() first")
        drives = checked_drives(self, drives)
        each = self._checked_tuning(len(drives), tuning)
        self.rf_on = True
        found, ms = self._fitted, self._reference.strip.saturation_magnetisation_a_per_m
        gain = found.gain * self.config.gain * 10 ** (-each["attenuation_db"] / 20)
        pulses = self.config.pulses(drives) * each["drive_field_a_per_m"][:, None] / ms
        responses = _responses(self.config, found.model, pulses, gain, self._pool)
        if not np.isfinite(responses).all():
            raise DeviceFault(f"{self.name}: the model left its range: a response is not finite; lower the drive")
        if self.config.noise:
            for i, response in enumerate(responses):
                noise = generator(self.config.noise_seed, self._shot + i, Draw.NOISE).standard_normal(response.shape)
                response += self.config.noise * noise
        self._shot += len(drives)
        return responses

    def _checked_tuning(self, shots: int, tuning: Mapping[str, Any]) -> dict[str, NDArray[np.float64]]:
        """Return attenuation and drive field of each shot."""
        each = {key: np.full(shots, float(getattr(self.config, key))) for key in _TUNABLE}
        limits = self.tunable if tuning else {}
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

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


_TUNABLE = ("attenuation_db", "drive_field_a_per_m")


def _reference(config: EnvelopeRingConfig) -> LLGRing:
    """The LLG ring of the same settings, without readout noise."""
    return LLGRing(**{**config.model_dump(), "noise": 0.0})


def _windows(config: EnvelopeRingConfig) -> int:
    """Windows a symbol."""
    return config.n_nodes // 2 if config.detector == "iq" else config.n_nodes


def _steps(config: EnvelopeRingConfig) -> tuple[float, int]:
    """Step in s, and steps a window."""
    window_s = config.symbol_s / _windows(config)
    count = ceil(window_s / min(_LONGEST_STEP_S, config.delay_s / 3) - 1e-9)
    return window_s / count, count


def _responses(
    config: EnvelopeRingConfig,
    model: Stepper,
    pulses: NDArray[np.complex128],
    gain: NDArray[np.float64],
    pool: ThreadPoolExecutor,
) -> NDArray[np.float64]:
    """Responses without noise (shots, symbols, n_nodes) to pulses (shots, symbols), in units of Ms, at loop gains."""
    shots, symbols = pulses.shape
    step_s, count = _steps(config)
    windows, iq = _windows(config), config.detector == "iq"
    steps = symbols * windows * count
    # Twice the carrier's phase at every step, in turns; whole turns are left out before single precision is.
    turns = np.exp(2j * np.pi * np.mod(2 * config.carrier_hz * step_s * np.arange(steps + 1), 1))
    flat: NDArray[np.float32] = turns.astype(np.complex64).view(np.float32)
    saturation = config.saturation_a_per_m / config.saturation_magnetisation_a_per_m

    def answer(first: int) -> NDArray[np.float64]:
        some = slice(first, first + WIDTH)
        part, count = pulses[some], len(pulses[some])
        lanes, steep = np.zeros((symbols, PAIR), np.float32), np.zeros(WIDTH, np.float32)
        lanes[:, :count], lanes[:, WIDTH : WIDTH + count] = part.real.T, part.imag.T
        steep[:count] = gain[some] / saturation
        out = np.empty((symbols, windows, 2, WIDTH), np.float32)
        run(model, lanes.ravel(), steep, np.float32(saturation), flat, iq, out.ravel())
        values = out[..., :count].astype(np.float64).transpose(3, 0, 2, 1)
        # A mean square may come out negative by a rounding error.
        values = values.reshape(count, symbols, -1) if iq else np.sqrt(2 * np.maximum(values[:, :, 0], 0))
        return np.asarray(values / config.full_scale)

    return np.concatenate([np.empty((0, symbols, config.n_nodes)), *pool.map(answer, range(0, shots, WIDTH))])


@lru_cache(maxsize=16)
def fitted(config: EnvelopeRingConfig) -> Fitted:
    """Make the model of the ring and test it against the LLG ring; deterministic."""
    started = time.perf_counter()
    reference = _reference(config)
    strip, ms = reference.strip, config.saturation_magnetisation_a_per_m
    step_s, count = _steps(config)
    windows = _windows(config)
    per_symbol = count * windows
    # The LLG ring ends a pulse on a step of its own; a longer step here counts as much as the pulse is on.
    fine = round(config.symbol_s / reference.step_s)
    on = np.clip(round(config.duty * fine) / fine * per_symbol - np.arange(per_symbol), 0, 1)
    gate = on * np.repeat(config.mask_values(windows), count)
    carried = reduced(strip, config.carrier_hz)
    _, threshold_hz = oscillation_threshold(strip, config.delay_s, reference.step_s)
    # The threshold of the reduced strip itself: near it, a gain is judged by how far from it it is.
    gain = float(1 / np.abs(carried.transfer(threshold_hz - config.carrier_hz)))
    draw = generator(0, 0, Draw.CALIBRATION)

    levels = np.repeat([1 / 3, 2 / 3, 1.0], 8)
    shots = _shots(draw, reference.drive_limits, len(levels), ceil(_FIT_S / config.symbol_s))
    pulses = config.pulses(shots) * levels[:, None] * config.drive_field_a_per_m / ms
    feedback = Feedback(
        config.net_gain * gain,
        config.saturation_a_per_m / ms,
        config.delay_s / step_s,
        np.exp(-2j * np.pi * config.carrier_hz * config.delay_s),
    )
    drive = -1j * np.repeat(pulses, per_symbol, axis=1) * np.tile(gate, pulses.shape[1])
    source = fit(carried, step_s, drive.T, feedback)
    model = stepper(carried, source, config.carrier_hz, config.delay_s, step_s, gate, count)

    fields = np.array(_LEVELS) * config.drive_field_a_per_m
    test = _shots(draw, reference.drive_limits, 4 * len(fields), max(2, ceil(_TEST_S / config.symbol_s)))
    with reference:
        expected = reference.forward_tuned(test, {"drive_field_a_per_m": np.repeat(fields, 4)})
    with ThreadPoolExecutor(config.threads or os.cpu_count() or 1) as pool:
        pulses = config.pulses(test) * np.repeat(fields, 4)[:, None] / ms
        loop = np.full(len(test), config.net_gain * gain)
        make_ready(lambda: _responses(config, model, pulses[:1, :1], loop[:1], pool), EnvelopeRing.name)
        found = _responses(config, model, pulses, loop, pool)

    parts = zip(np.split(found, len(fields)), np.split(expected, len(fields)), strict=True)
    scores = [closeness(mine, llg) for mine, llg in parts]
    good = [correlation >= _LEAST_CORRELATION and error <= _LARGEST_ERROR for correlation, error in scores]
    passed = good.index(False) if False in good else len(good)
    best = max(passed - 1, 0)
    result = Fitted(
        model,
        gain,
        float(fields[best]) if passed else 0.0,
        *scores[best],
        failed=None if passed == len(good) else (float(fields[passed]), *scores[passed]),
    )
    _LOG.info(
        "%s: fitted in %.1f s; valid up to %.4g A/m, where it correlates %.5f with the LLG ring and differs by %.2g %%",
        EnvelopeRing.name,
        time.perf_counter() - started,
        result.valid_a_per_m,
        result.correlation,
        100 * result.error,
    )
    return result


def _shots(draw: np.random.Generator, limits: tuple[float, float], shots: int, symbols: int) -> NDArray[np.float64]:
    """Drives (shots, symbols): of every four, two random, one of the two limits only, one of the upper limit."""
    low, high = limits
    drives = draw.uniform(low, high, (shots, symbols))
    drives[2::4] = np.where(drives[2::4] > (low + high) / 2, high, low)
    drives[3::4] = high
    return drives
