"""How a ring is known to be well: quiet with RF off, and answering the pilot shot as it did when the run began."""

import math
import time
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from instruments.bench import Limits
from instruments.levels import dbm_of
from instruments.rack import Rack
from instruments.ring_use import RingUse
from labpgt.device import Setting
from labpgt.errors import DeviceFault

_ABOVE_NOISE = 4.0
"""How far above the noise the first pilot shot must be."""
_GONE = 0.25
"""Share of its usual amplitude below which a pilot shot is gone: nothing that drifts comes to this."""


class Health:
    """What was found at the last checks of one run."""

    def __init__(self, name: str, limits: Limits, advice: str) -> None:
        self._name = name
        self._limits = limits
        self._advice = advice
        """What to do when something is heard with RF off."""
        self._usual: NDArray[np.float64] | None = None
        """Response to the pilot shot when the run began."""
        self._checked_at = 0.0
        self._heard_dbm = self._noise = self._noise_dbm = self._pilot = self._drift = math.nan
        self.drifted = False
        """Whether the last pilot shot differed from the first by more than the limit."""

    @property
    def age_s(self) -> float:
        """Time since the last check, s."""
        return time.monotonic() - self._checked_at

    def check(self, rack: Rack, use: RingUse) -> None:
        """See that nothing comes with RF off, and what comes of the pilot shot; RF is on then. `DeviceFault` if ill.

        That attenuator and supplies are as they were set is asked first.
        """
        rack.rf(False)
        rack.check_gain()
        idle = use.idle()
        loud, limit = dbm_of(idle.line_v), self._limits.oscillation_dbm
        self._heard_dbm, self._noise = loud, idle.noise
        self._noise_dbm = dbm_of(idle.noise * rack.bench.wiring.full_scale_v)
        if loud > limit:
            raise DeviceFault(
                f"{self._name}: {loud:.1f} dBm at the analyser with RF off, limit {limit:g} dBm "
                f"(limits.oscillation_dbm): {self._advice}"
            )
        rack.rf(True)
        pilot = use.pilot()
        if self._usual is None and pilot is not None:
            if _rms(pilot) <= _ABOVE_NOISE * idle.noise:
                raise DeviceFault(
                    f"{self._name}: nothing of the pilot shot arrives at the analyser: {_rms(pilot):.3g} with RF on, "
                    f"{idle.noise:.3g} with RF off; look at the cables, carrier_hz and power_dbm"
                )
            self._usual = pilot
        self.look_at(pilot)
        self._checked_at = time.monotonic()

    def look_at(self, pilot: NDArray[np.float64] | None) -> None:
        """Compare a pilot shot with the first one; `DeviceFault` when it is gone."""
        if pilot is None or self._usual is None:
            return
        usual, self._pilot = _rms(self._usual), _rms(pilot)
        if self._pilot < _GONE * usual:
            raise DeviceFault(
                f"{self._name}: the pilot shot is gone: {self._pilot:.3g} at the analyser, {usual:.3g} at the start; "
                "was RF turned off? look at cables, amplifier and attenuator"
            )
        self._drift = _rms(pilot - self._usual) / usual
        self.drifted = self._drift > self._limits.drift

    def found(self) -> Mapping[str, Setting]:
        """Return the numbers of the last check, not a number before the first; pilot and drift are of the last capture.

        Noise and pilot are root mean squares of responses; what the analyser hears with RF off may come up to the limit
        by `oscillation_margin_db`.
        """
        limits = self._limits
        return {
            "noise": Setting(self._noise),
            "noise_dbm": Setting(self._noise_dbm, "dBm"),
            "rf_off_line_dbm": Setting(self._heard_dbm, "dBm"),
            "oscillation_limit_dbm": Setting(limits.oscillation_dbm, "dBm"),
            "oscillation_margin_db": Setting(limits.oscillation_dbm - self._heard_dbm, "dB"),
            "pilot": Setting(self._pilot),
            "drift": Setting(self._drift),
            "drift_limit": Setting(limits.drift),
        }

    def check_drift(self) -> None:
        """Raise `DeviceFault` while the ring is too far from what it was when the run began."""
        if self.drifted:
            raise DeviceFault(
                f"{self._name}: the response to the pilot shot differs from that at the start by more than "
                f"limits.drift = {self._limits.drift:g}; let the ring settle, or begin a new run"
            )


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.square(values).mean()))
