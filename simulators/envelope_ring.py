"""The magnonic ring by envelopes: answers as the LLG ring does within a stated range, a hundred times faster."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labpgt.device import Setting
from labpgt.errors import InputError
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
from simulators.simulated_ring import Each, SimulatedRing


class EnvelopeRing(SimulatedRing):
    """The ring of `simulators.llg_ring`, reduced to envelopes and fitted to it.

    Settings, drives and responses are those of `LLGRing`. The model (`simulators.envelope`) follows from the strip;
    when it is made, its responses to random, binary and constant shots are compared with the LLG ring's at a ladder of
    drive fields. `open` refuses a drive field at which they correlate less than 0.999 or differ by more than 5 %, and
    says which one can be used. `settings` states range, correlation and error.
    """

    Config = EnvelopeRingConfig
    config: EnvelopeRingConfig
    name = NAME

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        # Refuses what cannot be a ring.
        self._reference = reference_of(self.config)

    @property
    def tunable(self) -> Mapping[str, tuple[float, float]]:
        """Settings that `forward_tuned` takes for each shot, and their limits."""
        return {
            "attenuation_db": self._attenuation_limits,
            "drive_field_a_per_m": (0.0, self._fitted.valid.field_a_per_m),
        }

    @property
    def _derived(self) -> Mapping[str, Setting]:
        valid = self._fitted.valid
        return {
            **self._reference._derived,
            "step_s": Setting(steps_of(self.config)[0], "s"),
            "valid_drive_a_per_m": Setting(valid.field_a_per_m, "A/m"),
            "fit_correlation": Setting(valid.correlation),
            "fit_error": Setting(valid.error),
        }

    @cached_property
    def _fitted(self) -> Fitted:
        # What only scales the response, or has no effect on it without noise, is no reason to fit again.
        same = {"full_scale": 1.0, "noise": 0.0, "noise_seed": 0, "threads": 0}
        return fitted(self.config.model_copy(update=same))

    def _prepare(self, threads: int) -> None:
        """Make the model and test it, which takes about a second, and compile it if need be."""
        if self._fitted.failed is not None:
            raise InputError(self._refusal(self._fitted.valid, self._fitted.failed))

    def _answer(
        self, pulses: NDArray[np.complex128], each: Each, numbers: range, pool: ThreadPoolExecutor
    ) -> NDArray[np.float64]:
        gain = self._fitted.gain * self.config.gain * 10 ** (-each["attenuation_db"] / 20)
        field = each["drive_field_a_per_m"] / self.config.saturation_magnetisation_a_per_m
        return responses_of(self.config, self._fitted.model, pulses * field[:, None], gain, pool)

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
