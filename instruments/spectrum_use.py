"""Spectrum use of a ring: a list of powers in, the spectrum at each power out.

A drive symbol is one point of the source's power list, its nodes are the spectral bins about the carrier. With an
analyser that keeps many spectra, all points of a batch are taken with one start: the source steps through the list by
its own clock and triggers a sweep at each point. With any other, and for a single point, each point costs one trigger and
one sweep. The ring settles at each point within the dwell time, so a response depends on its own symbol alone.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from instruments.bench import Bench
from instruments.magnonic_ring_config import MagnonicRingConfig
from instruments.levels import volts_peak
from instruments.ring_use import Taken, Talking
from labpgt.device import Setting
from labpgt.errors import DeviceFault
from labpgt.events import Flag

POWER_STEP_DB = 0.01
"""To which powers are rounded: the resolution of the source."""

_NEAR_RANGE = 1 - 1e-4
_MOST_SYMBOLS = 65_536


class SpectrumUse:
    """Powers in, spectral bins out."""

    def __init__(self, config: MagnonicRingConfig, bench: Bench, source: Any, analyzer: Any, talking: Talking) -> None:
        self._config, self._bench = config, bench
        self._source, self._analyzer, self._talking = source, analyzer, talking
        self._carrier_hz = config.carrier_hz
        self._frames = 0
        """Spectra in one go that the analyser is set up for; 0: one."""
        self._trigger = ""
        self._range_v = volts_peak(config.reference_level_dbm)

    def problems(self) -> list[str]:
        """Say what these instruments cannot do."""
        found = []
        config = self._config
        if not hasattr(self._source, "load_list"):
            found.append(
                f'source: a {self._bench.source.model} has no power list, which use = "spectrum" needs; take a source '
                'with list sweep, or use = "envelope"'
            )
        return found

    @property
    def longest(self) -> int:
        """Symbols of the longest shot."""
        return _MOST_SYMBOLS
