"""The magnonic ring by envelopes: answers as the LLG ring does within a stated range, a hundred times faster."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from math import log10
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from labpgt.device import Setting, checked_drives
from labpgt.errors import DeviceFault, InputError
from labpgt.rng import Draw, generator
from labpgt.validation import validated
from simulators.envelope_model import (
    LARGEST_ERROR,
    LEAST_CORRELATION,
    NAME,
    EnvelopeRingConfig,
    Fitted,
    Level,
    fitted,
    reference_of,
    responses_of,
    steps_of,
)
from simulators.llg_ring_config import UNITS
from simulators.threshold import oscillation_threshold

_LOUDEST_GAIN = 4.0
"""Loop gain that `forward_tuned` goes up to, as a share of the threshold."""

_QUIETEST_DB = 80.0


_TUNABLE = ("attenuation_db", "drive_field_a_per_m")


class EnvelopeRing:
    """The ring of `simulators.llg_ring`, reduced to envelopes and fitted to it; `Seekable` and `Tunable`.

    Settings, drives and responses are those of `LLGRing`. The model (`simulators.envelope`) follows from the strip;
    when it is made, its responses to random, binary and constant shots are compared with the LLG ring's at a ladder of
    drive fields. `open` refuses a drive field at which they correlate less than 0.999 or differ by more than 5 %, and
    says up to which one they do not. `settings` states range, correlation and error.
    """

    Config = EnvelopeRingConfig
    name = NAME

    def __init__(self, **settings: Any) -> None:
        self.config = validated(EnvelopeRingConfig, settings, "device")
        # Refuses what cannot be a ring.
        self._reference = reference_of(self.config)
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
            "drive_field_a_per_m": (0.0, self._fitted.valid.field_a_per_m),
        }

    @cached_property
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
            raise InputError(self._refusal(found.valid, found.failed))
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
            "step_s": Setting(steps_of(self.config)[0], "s"),
            "valid_drive_a_per_m": Setting(found.valid.field_a_per_m, "A/m"),
            "fit_correlation": Setting(found.valid.correlation),
            "fit_error": Setting(found.valid.error),
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
        responses = responses_of(self.config, found.model, pulses, gain, self._pool)
        if not np.isfinite(responses).all():
            raise DeviceFault(f"{self.name}: the model left its range: a response is not finite; lower the drive")
        if self.config.noise:
            for i, response in enumerate(responses):
                noise = generator(self.config.noise_seed, self._shot + i, Draw.NOISE).standard_normal(response.shape)
                response += self.config.noise * noise
        self._shot += len(drives)
        return responses

    def _refusal(self, valid: Level, failed: Level) -> str:
        what = (
            f"correlates {failed.correlation:.5f} with the LLG ring and differs by {100 * failed.error:.2g} %"
            if np.isfinite(failed.error)
            else "does not stay finite"
        )
        advice = (
            f"Lower drive_field_a_per_m to {valid.field_a_per_m:g} A/m, up to which it correlates "
            f"{valid.correlation:.5f} and differs by {100 * valid.error:.2g} %"
            if valid.field_a_per_m
            else "With these settings it is good at no drive field. Choose others"
        )
        return (
            f"device.drive_field_a_per_m = {self.config.drive_field_a_per_m:g}: outside the range of the envelope "
            f"model, which at {failed.field_a_per_m:.4g} A/m {what} (limits {LEAST_CORRELATION} and "
            f'{100 * LARGEST_ERROR:g} %). {advice}, or use the device "llg-ring"'
        )

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
