"""What a microwave source puts out: carrier, waveform, pulses."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass
class SourceOutput:
    """What leaves the source's RF connector now; kept up to date by the model of the source."""

    rf_on: bool = False
    modulation_on: bool = True
    carrier_hz: float = 3.2e9
    power_dbm: float = -110.0
    """Of a list sweep, that of the point that is out now."""
    codes: NDArray[np.int16] | None = None
    """(samples, 2): waveform that a trigger plays once; None: the carrier alone."""
    marks: NDArray[np.intp] | None = None
    """Samples at which marker 2 rises: the first of each shot."""
    rate_hz: float = 0.0
    """Samples a second of the waveform."""
    scaling: float = 1.0
    """Factor on the waveform."""
    pulse_period_s: float = 0.0
    pulse_width_s: float = 0.0
    """Pulses of the carrier; a width of 0: no pulse modulation."""

    @property
    def plays(self) -> bool:
        """Whether a trigger plays a waveform."""
        return self.codes is not None and self.modulation_on

    @property
    def pulsed(self) -> bool:
        """Whether the carrier comes in pulses."""
        return self.modulation_on and 0 < self.pulse_width_s < self.pulse_period_s
