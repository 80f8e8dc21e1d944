"""Samples of the ring's output: I and Q where the analyser captures them, the magnitude in zero span elsewhere."""

from math import ceil
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from instruments.magnonic_ring_config import MagnonicRingConfig
from instruments.ring_use import beyond

_RATE_OVER_BANDWIDTH = 1.25
_LONGEST_IQ = 4_000_000
"""Samples that one capture of an X series analyser holds ("IQ Analyzer Mode" reference, capture time)."""

_SHORTEST_S = 1e-6
"""Time of the shortest capture or sweep."""
_FEWEST_POINTS, _MOST_POINTS = 101, 32_001
"""Of a sweep, on every analyser."""
_WIDEST_RBW_HZ = 8e6
"""That every analyser has."""


class Capture(Protocol):
    """A way of getting samples at a given rate from the trigger on."""

    longest: int
    """Most samples."""
    blur: int
    """Samples over which the filter before them smears an edge."""
    has_phase: bool
    """Whether samples are I and Q, and not magnitudes."""

    def problems(self) -> list[str]:
        """Say what the analyser cannot do, a line each; asks it, but sets nothing."""

    def setup(self, carrier_hz: float, samples: int, trigger: str) -> None:
        """Set up so many samples; trigger is "external" or "immediate"."""

    def fetch(self) -> NDArray[np.complex128]:
        """Wait for the samples and return them, (samples,), in V peak."""


class IqCapture:
    """I and Q of the carrier."""

    blur = 0
    has_phase = True

    def __init__(self, analyzer: Any, config: MagnonicRingConfig) -> None:
        self._analyzer, self._config = analyzer, config
        self._samples = self._captured = 0
        self.rate_hz = config.windows * config.window_samples / config.symbol_s
        self.longest = min(_LONGEST_IQ, int(analyzer.limits("iq_duration")[1] * self.rate_hz))

    def problems(self) -> list[str]:
        """Say what instrument and installed options cannot do."""
        carrier_hz, slowest = self._config.carrier_hz, self._analyzer.limits("iq_sample_rate")[0]
        found = beyond("analyzer", self._analyzer, {"carrier_hz": ("center", carrier_hz)})
        if self.rate_hz < slowest:
            found.append(
                f"analyzer: windows a symbol and symbol_s make {self.rate_hz:g} samples/s of I and Q; expected "
                f"{slowest:g} or more: more n_nodes or window_samples, or a shorter symbol_s"
            )
        widest = self._analyzer.widest()
        if self.rate_hz <= _RATE_OVER_BANDWIDTH * widest * (1 + 1e-9):
            return found
        enough = [
            option for option, width in self._analyzer.WIDEST.items() if self.rate_hz <= _RATE_OVER_BANDWIDTH * width
        ]
        return [
            *found,
            f"analyzer: {self._config.windows} windows a symbol of {self._config.symbol_s:g} s need "
            f"{self.rate_hz:g} samples/s of I and Q, an analysis bandwidth of "
            f"{self.rate_hz / _RATE_OVER_BANDWIDTH:g} Hz; it has {widest:g} Hz; "
            + (f"one of the options {', '.join(enough)} would do, or " if enough else "")
            + "fewer n_nodes, or a longer symbol_s",
        ]

    def setup(self, carrier_hz: float, samples: int, trigger: str) -> None:
        """Set up a capture of so many samples, or of the fewest there can be."""
        level = self._config.reference_level_dbm
        self._samples = samples
        self._captured = max(samples, ceil(_SHORTEST_S * self.rate_hz))
        self._analyzer.setup_iq(carrier_hz, self.rate_hz, self._captured / self.rate_hz, level, trigger)

    def fetch(self) -> NDArray[np.complex128]:
        """Wait for the capture and return it."""
        return _all_of(self._analyzer.fetch_iq(), self._captured)[: self._samples]


class ZeroSpanCapture:
    """Magnitude of the carrier in the widest resolution bandwidth; a point of the sweep is a sample."""

    has_phase = False

    def __init__(self, analyzer: Any, config: MagnonicRingConfig) -> None:
        self._analyzer, self._config = analyzer, config
        self._samples = self._points = 0
        self.rate_hz = config.windows * config.window_samples / config.symbol_s
        self.longest = min(_MOST_POINTS, int(analyzer.limits("sweep_time")[1] * self.rate_hz))
        self.blur = ceil(self.rate_hz / _WIDEST_RBW_HZ)

    def problems(self) -> list[str]:
        """Say what cannot be read in zero span."""
        center = "center" if hasattr(type(self._analyzer), "center") else "freq_center"
        found = beyond("analyzer", self._analyzer, {"carrier_hz": (center, self._config.carrier_hz)})
        if self._config.readout == "iq":
            found.append('analyzer: has no capture of I and Q, which readout = "iq" needs; take readout = "envelope"')
        if self.rate_hz > _WIDEST_RBW_HZ:
            found.append(
                f"analyzer: in zero span a window of {1 / self.rate_hz:g} s is too short for its resolution bandwidth "
                f"of {_WIDEST_RBW_HZ:g} Hz; expected windows of {1 / _WIDEST_RBW_HZ:g} s or more: fewer n_nodes, or a "
                "longer symbol_s"
            )
        return found

    def setup(self, carrier_hz: float, samples: int, trigger: str) -> None:
        """Set up a sweep of so many points, or of the fewest there can be."""
        self._samples = samples
        self._points = max(samples, _FEWEST_POINTS, ceil(_SHORTEST_S * self.rate_hz))
        level = self._config.reference_level_dbm
        self._analyzer.setup_zero_span(
            carrier_hz, _WIDEST_RBW_HZ, self._points, self._points / self.rate_hz, level, trigger
        )

    def fetch(self) -> NDArray[np.complex128]:
        """Wait for the sweep and return its magnitudes."""
        trace = _all_of(self._analyzer.fetch_trace(), self._points)
        return np.asarray(np.sqrt(2) * trace[: self._samples], np.complex128)


def capture_of(analyzer: Any, config: MagnonicRingConfig) -> Capture:
    """Return the best way of getting samples from this analyser."""
    return IqCapture(analyzer, config) if hasattr(analyzer, "setup_iq") else ZeroSpanCapture(analyzer, config)


def _all_of(values: NDArray[Any], expected: int) -> NDArray[Any]:
    if values.shape != (expected,):
        raise ValueError(f"expected {expected} samples of this capture, got shape {values.shape}")
    return values
