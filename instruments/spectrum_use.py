"""Spectrum use of a ring: a list of powers in, the spectrum at each power out.

A drive symbol is one point of the source's power list, its nodes are the spectral bins about the carrier. With an
analyser that keeps many spectra, all points of a batch are taken with one start: the source steps through the list by
its own clock and triggers a sweep at each point. With any other analyser each point costs a sweep of its own. The ring
settles at each point within the dwell time, so a response depends on its own symbol alone.
"""

import time
from collections.abc import Mapping
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from instruments.bench import Bench
from instruments.levels import volts_peak
from instruments.magnonic_ring_config import MagnonicRingConfig
from instruments.ring_use import Idle, Taken, Talking, start_acquisition
from instruments.waveforms import shares
from labpgt.device import Setting
from labpgt.errors import DeviceFault
from labpgt.events import Flag
from labpgt.rng import Draw, generator

_POWER_DIGITS = 2
"""Powers are rounded to 0.01 dB, the resolution of the source."""
_FEWEST_POINTS = 101
"""Of a sweep, on every analyser."""
_NEAR_RANGE = 1 - 1e-4
"""Share of the range from which on a bin counts as clipped."""


class SpectrumUse:
    """Powers in, spectral bins out."""

    def __init__(self, config: MagnonicRingConfig, bench: Bench, source: Any, analyzer: Any, talking: Talking) -> None:
        self._config, self._bench = config, bench
        self._source, self._analyzer, self._talking = source, analyzer, talking
        self._carrier_hz = config.carrier_hz
        self._per_bin = ceil(_FEWEST_POINTS / config.n_nodes)
        """Points of the sweep a bin."""
        self._set_up: tuple[int, str] | None = None
        """Spectra in one go (0: a single one) and trigger that the analyser is set up for."""
        self._range_v = volts_peak(config.reference_level_dbm)

    @property
    def _batches(self) -> bool:
        return bool(self._analyzer.has_frames)

    def problems(self) -> list[str]:
        """Say what these instruments cannot do."""
        config, found = self._config, []
        if not hasattr(self._source, "load_list"):
            found.append(
                f'source: a {self._bench.source.model} has no power list, which use = "spectrum" needs; take a source '
                'with a list sweep, or use = "envelope"'
            )
        if not hasattr(self._analyzer, "has_frames"):
            found.append(
                f"analyzer: a {self._bench.analyzer.model} is not one that the use of spectra knows; take an FSV or "
                'FSL, or use = "envelope"'
            )
        if config.span_hz / 2 >= config.carrier_hz:
            found.append(
                f"span_hz = {config.span_hz:g}: reaches below 0 Hz about a carrier of {config.carrier_hz:g} Hz; "
                "expected less than twice the carrier"
            )
        return found

    @property
    def longest(self) -> int:
        """Symbols of the longest shot."""
        longest: int = self._source.LIST_POINTS[1]
        return min(longest, self._analyzer.FRAMES[1]) if self._batches else longest

    def prepare(self) -> None:
        """Set up source and analyser, RF left as it is."""
        config, source = self._config, self._source
        with self._talking("source", "setting it up"), source.group("setting it up"):
            source.stop_list()
            source.frequency = self._carrier_hz
            source.power = config.power_dbm
            source.am_enabled = False
            source.pulse_enabled = False
            if config.pulse_period_s:
                source.pulse_source = "internal"
                source.pulse_input = "free-run"
                source.pulse_period = config.pulse_period_s
                source.pulse_width = config.pulse_width_s
                source.pulse_enabled = True
            source.modulation_enabled = bool(config.pulse_period_s)
            source.list_trigger = "immediate"
        with self._talking("analyzer", "setting it up"):
            self._analyzer.abort()
            self._set_up = None
            self._set_up_for(0, "immediate")
            sweep_s = self._analyzer.sweep_time
        if self._batches and sweep_s > config.dwell_s:
            raise DeviceFault(
                f"analyzer: a sweep over span_hz = {config.span_hz:g} with rbw_hz = {config.rbw_hz:g} takes "
                f"{sweep_s:g} s, longer than dwell_s = {config.dwell_s:g}; a longer dwell_s, less "
                "span or a wider rbw_hz is needed"
            )

    def retune(self, carrier_hz: float) -> None:
        """Change to another carrier."""
        if carrier_hz == self._carrier_hz:
            return
        self._carrier_hz, self._set_up = carrier_hz, None
        doing = f"tuning to {carrier_hz:.12g} Hz"
        with self._talking("source", doing), self._source.group(doing):
            self._source.frequency = carrier_hz

    def _set_up_for(self, frames: int, trigger: str) -> None:
        if self._set_up == (frames, trigger):
            return
        config, before = self._config, self._set_up
        self._set_up = None
        if before is None or before[1] != trigger or bool(before[0]) != bool(frames):
            points = config.n_nodes * self._per_bin
            self._analyzer.setup_spectrum(
                self._carrier_hz, config.span_hz, config.rbw_hz, points, config.reference_level_dbm, trigger
            )
        if frames:
            self._analyzer.setup_frames(frames)
        self._set_up = frames, trigger

    def parts(self, shots: int, symbols: int) -> list[int]:
        """Share shots among captures: the shots of each."""
        most = self._config.batch or shots
        return shares(shots, max(1, min(most, self.longest // symbols)))

    def take(self, drives: NDArray[np.float64]) -> Taken:
        """Take the shots (shots, symbols) of one capture."""
        config = self._config
        powers = np.round(config.power_dbm - config.power_range_db * (1 - drives), _POWER_DIGITS)
        levels, overloaded = (self._in_one_go if self._batches else self._point_by_point)(powers.ravel())
        if not np.isfinite(levels).all():
            raise DeviceFault("analyzer: a spectrum holds values that are not numbers; look at its front panel")
        volts = np.sqrt(2 * np.square(levels.reshape(len(levels), config.n_nodes, self._per_bin)).mean(axis=-1))
        responses = (volts / self._bench.wiring.full_scale_v).reshape(*drives.shape, config.n_nodes)
        peaks = np.sqrt(2) * levels.max(axis=1)
        clipped = (peaks >= _NEAR_RANGE * self._range_v) | overloaded
        flags = clipped.reshape(drives.shape).any(axis=1) * np.uint32(Flag.OVERLOAD)
        return Taken(responses, flags.astype(np.uint32))

    def _in_one_go(self, powers: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Powers (points,) in dBm to levels (points, sweep points) in V rms, and which are overloaded."""
        source, analyzer, dwell_s = self._source, self._analyzer, self._config.dwell_s
        doing = f"taking {len(powers)} spectra in one go"
        with self._talking("source", f"loading the list for {doing}"), source.unchecked():
            source.load_list(powers.tolist(), dwell_s)
            source.arm_list()
        with self._talking("analyzer", f"arming for {doing}"), analyzer.unchecked():
            self._set_up_for(len(powers), "external")
            start_acquisition(analyzer, f"arming for {doing}")
        with self._talking("source", doing):
            source.trigger()
            source.send_with_errors(":OUTP?")
            with self._talking("analyzer", doing), analyzer.patience(dwell_s * len(powers)):
                levels = analyzer.fetch_frames(len(powers))
                overloaded = analyzer.overloaded()
            self._see_rf_on(source.answer_with_errors(":OUTP?", doing), doing)
        if levels.shape != (len(powers), self._config.n_nodes * self._per_bin):
            raise DeviceFault(f"analyzer: {doing}: got spectra of shape {levels.shape}")
        # The register tells of the last sweep alone; with a level at the range it is known which, and else all are.
        clipped = np.sqrt(2) * levels.max(axis=1) >= _NEAR_RANGE * self._range_v
        return levels, np.full(len(powers), overloaded and not clipped.any())

    def _point_by_point(self, powers: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Like `_in_one_go`, a sweep each."""
        source, analyzer = self._source, self._analyzer
        levels = np.empty((len(powers), self._config.n_nodes * self._per_bin))
        overloaded = np.zeros(len(powers), bool)
        with self._talking("analyzer", "setting it up"):
            self._set_up_for(0, "immediate")
        for point, power in enumerate(powers.tolist()):
            doing = f"taking the spectrum at {power:.2f} dBm"
            with self._talking("source", doing):
                source.power = power
                source.send_with_errors(":OUTP?")
                self._see_rf_on(source.answer_with_errors(":OUTP?", doing), doing)
            time.sleep(self._config.dwell_s)
            with self._talking("analyzer", doing):
                analyzer.arm()
                levels[point] = analyzer.fetch_trace()
                overloaded[point] = analyzer.overloaded()
        return levels, overloaded

    def _see_rf_on(self, answer: str, doing: str) -> None:
        if answer != "1":
            raise DeviceFault(
                f"source: RF was off while {doing} (answer to :OUTP?: {answer!r}); somebody or the source itself has "
                "turned it off: look at its front panel"
            )

    def pilot(self) -> NDArray[np.float64] | None:
        """Take the pilot shot: (pilot symbols, n_nodes), or None where there is none."""
        symbols = min(self._config.pilot_symbols, self.longest)
        drives = generator(0, 0, Draw.CALIBRATION).uniform(0, 1, (1, symbols))
        return self.take(drives).responses[0] if symbols else None

    def idle(self) -> Idle:
        """Listen to the ring with RF off."""
        doing = "listening to the ring with RF off"
        with self._talking("analyzer", doing), self._analyzer.group(doing):
            self._set_up_for(0, "immediate")
            self._analyzer.arm()
            levels = self._analyzer.fetch_trace()
        line_v = float(np.sqrt(2) * levels.max())
        noise_v = float(np.sqrt(2 * np.square(levels).mean()))
        return Idle(line_v, noise_v / self._bench.wiring.full_scale_v)

    def settings(self) -> Mapping[str, Setting]:
        """Return how bins and powers come about."""
        config = self._config
        return {
            "bin_hz": Setting(config.span_hz / config.n_nodes, "Hz"),
            "points_per_bin": Setting(self._per_bin),
            "power_step_db": Setting(10.0**-_POWER_DIGITS, "dB"),
            "analyzer_word": Setting("float32"),
            "in_one_go": Setting(self._batches),
        }
