"""Spectrum use of a ring: a list of powers in, the spectrum at each power out.

A drive symbol is one point of the source's power list, its nodes are the spectral bins about the carrier. With an
analyser that keeps many spectra, all points of a batch are taken with one start: the source steps through the list by
its own clock and triggers a sweep at each point. With any other analyser each point costs a sweep of its own. The ring
settles at each point within the dwell time, so a response depends on its own symbol alone.

The last points of each list are a pilot: always the same powers, which show that all is as it was, and then one of them
again, by turns, which shows that the spectra are of this list and not of an earlier one.
"""

import math
import time
from collections.abc import Mapping
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from instruments.bench import Bench
from instruments.levels import volts_peak
from instruments.magnonic_ring_config import MagnonicRingConfig
from instruments.ring_use import (
    CAPTURES,
    RF,
    Idle,
    SourceAndAnalyzer,
    Taken,
    Talking,
    beyond,
    beyond_source,
    start_acquisition,
)
from instruments.waveforms import shares
from labpgt.device import Setting
from labpgt.errors import DeviceFault
from labpgt.events import Flag

_POWER = ":POW?"
_POWER_DIGITS = 2
"""Powers are rounded to 0.01 dB, the resolution of the source."""
_PILOT_STEP_DB, _PILOT_STEPS = 3.0, 4
"""Between the powers of a pilot, and how many of them there are, from `power_dbm` down."""
_CLEARLY = 0.5
"""Share of the distance to the right point of the pilot within which another one is taken for the one that came."""
_FEWEST_POINTS = 101
"""Of a sweep, on every analyser."""
_NEAR_RANGE = 1 - 1e-4
"""Share of the range from which on a bin counts as clipped."""


class SpectrumUse(SourceAndAnalyzer):
    """Powers in, spectral bins out."""

    def __init__(self, config: MagnonicRingConfig, bench: Bench, source: Any, analyzer: Any, talking: Talking) -> None:
        super().__init__(config, bench, source, analyzer, talking)
        self._per_bin = ceil(_FEWEST_POINTS / config.n_nodes)
        """Points of the sweep a bin."""
        self._range_v = volts_peak(config.reference_level_dbm)
        self._pilot_dbm = config.power_dbm - _PILOT_STEP_DB * (np.arange(config.pilot_symbols) % _PILOT_STEPS)
        self._marks = min(config.pilot_symbols, _PILOT_STEPS)
        """Points of the pilot that its last point repeats by turns."""
        self._last: tuple[float, NDArray[np.float64]] = math.nan, np.empty(0)
        """Power and levels of the spectrum before."""

    @property
    def _batches(self) -> bool:
        """Whether all points are taken with one start; the driver asks the analyser the first time only."""
        with self._talking("analyzer", "asking for its options"):
            return bool(self._analyzer.has_frames)

    def problems(self) -> list[str]:
        """Say what these instruments cannot do."""
        config, found = self._config, []
        if hasattr(type(self._source), "load_list"):
            found += self._beyond_source()
        else:
            found.append(
                f'source: a {self._bench.source.model} has no power list, which use = "spectrum" needs; take a source '
                'with a list sweep, or use = "envelope"'
            )
        if hasattr(type(self._analyzer), "has_frames"):
            found += self._beyond_analyzer()
        else:
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

    def _beyond_source(self) -> list[str]:
        config, source = self._config, self._source
        lowest_dbm = min(config.power_dbm - config.power_range_db, float(self._pilot_dbm.min()))
        found = beyond_source(source, config, self._bench, lowest_dbm)
        if config.pulse_period_s:
            pulses = {
                "pulse_period_s": ("pulse_period", config.pulse_period_s),
                "pulse_width_s": ("pulse_width", config.pulse_width_s),
            }
            found += beyond("source", source, pulses)
        short, long = source.DWELL_S
        if not short <= config.dwell_s <= long:
            found.append(f"source: dwell_s = {config.dwell_s:g}: expected {short:g} to {long:g}, its limits")
        return found

    def _beyond_analyzer(self) -> list[str]:
        config = self._config
        wanted = {
            "carrier_hz": ("freq_center", config.carrier_hz),
            "span_hz": ("freq_span", config.span_hz),
            "carrier_hz + span_hz / 2": ("freq_stop", config.carrier_hz + config.span_hz / 2),
            "rbw_hz": ("res_bandwidth", config.rbw_hz),
        }
        return beyond("analyzer", self._analyzer, wanted)

    @property
    def longest(self) -> int:
        """Symbols of the longest shot."""
        longest: int = self._source.LIST_POINTS[1]
        return (min(longest, self._analyzer.FRAMES[1]) if self._batches else longest) - len(self._pilot_dbm) - 1

    def prepare(self) -> None:
        """Set up source and analyser, RF left as it is."""
        config, source = self._config, self._source
        with self._talking("source", "setting it up"), source.group("setting it up"):
            source.stop_list()
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
        self.retune(config.carrier_hz, usual=True)
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

    def _set_up_for(self, frames: int, trigger: str) -> None:
        if self._set_up == (frames, trigger):
            return
        config, before = self._config, self._set_up
        self._set_up = None
        if before is None or before[1] != trigger or bool(before[0]) != bool(frames):
            assert self._carrier_hz is not None
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
        """Take the shots (shots, symbols) of one list."""
        config = self._config
        shown = next(CAPTURES) % self._marks
        asked = config.power_dbm - config.power_range_db * (1 - drives.ravel())
        powers = np.round([*asked, *self._pilot_dbm, self._pilot_dbm[shown]], _POWER_DIGITS)
        levels, overloaded = (self._in_one_go if self._batches else self._point_by_point)(powers)
        if not np.isfinite(levels).all():
            raise DeviceFault("analyzer: a spectrum holds values that are not numbers; look at its front panel")
        self._see_new(powers, levels)
        volts = np.sqrt(2 * np.square(levels.reshape(len(levels), config.n_nodes, self._per_bin)).mean(axis=-1))
        responses, pilot, mark = np.split(volts / self._bench.wiring.full_scale_v, [drives.size, len(volts) - 1])
        if self._usual:
            self._see_own(pilot, mark, shown)
        peaks = np.sqrt(2) * levels.max(axis=1)
        clipped = ((peaks >= _NEAR_RANGE * self._range_v) | overloaded)[: drives.size]
        flags = clipped.reshape(drives.shape).any(axis=1) * np.uint32(Flag.OVERLOAD)
        return Taken(responses.reshape(*drives.shape, config.n_nodes), flags.astype(np.uint32), pilot)

    def _see_new(self, powers: NDArray[np.float64], levels: NDArray[np.float64]) -> None:
        """Raise `DeviceFault` for a spectrum that is, value by value, the one before, at another power."""
        for power, found in zip(powers.tolist(), levels, strict=True):
            before, same = self._last
            self._last = power, found
            if power != before and found.any() and np.array_equal(found, same):
                raise DeviceFault(
                    f"analyzer: this is not the spectrum at {power:.2f} dBm: it is the one before, at {before:.2f} "
                    "dBm, again; is the source's trigger output wired to the trigger input?"
                )

    def _see_own(self, pilot: NDArray[np.float64], mark: NDArray[np.float64], shown: int) -> None:
        """Raise `DeviceFault` when what came last is clearly another point of the pilot than the one that was sent."""
        apart = np.linalg.norm(pilot[: self._marks] - mark, axis=1)
        best = int(np.argmin(apart))
        if apart[best] < _CLEARLY * apart[shown]:
            raise DeviceFault(
                f"analyzer: these are not the spectra of the list that was sent: the last one is that at "
                f"{self._pilot_dbm[best]:.2f} dBm, expected {self._pilot_dbm[shown]:.2f} dBm; either these are earlier "
                "ones, or the source did not take the list: look at their front panels"
            )

    def _in_one_go(self, powers: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Powers (points,) in dBm to levels (points, sweep points) in V rms, and which are overloaded."""
        source, analyzer, dwell_s = self._source, self._analyzer, self._config.dwell_s
        doing = f"a list of {len(powers)} spectra"
        with self._talking("source", f"loading {doing}"), source.unchecked():
            source.load_list(powers.tolist(), dwell_s)
            source.arm_list()
        with self._talking("analyzer", f"arming {doing}"), analyzer.unchecked():
            self._set_up_for(len(powers), "external")
            start_acquisition(analyzer, f"arming {doing}")
        with self._talking("source", f"playing {doing}"):
            source.trigger()
            with self._talking("analyzer", f"fetching {doing}"), analyzer.patience(dwell_s * len(powers)):
                levels = analyzer.fetch_frames(len(powers))
                # Now, for asked earlier the source would not know of RF that goes off during the list.
                source.send_with_errors(RF)
                overloaded = analyzer.overloaded()
            rf = source.answer_with_errors(RF, f"playing {doing}")
        self._see_rf_on(rf, doing)
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
            doing = f"the spectrum at {power:.2f} dBm"
            with self._talking("source", doing):
                source.power = power
                source.send_with_errors(_POWER)
                self._see_power(power, source.answer_with_errors(_POWER, doing))
                time.sleep(self._config.dwell_s)
                with self._talking("analyzer", doing):
                    analyzer.arm()
                    levels[point] = analyzer.fetch_trace()
                    source.send_with_errors(RF)
                    overloaded[point] = analyzer.overloaded()
                rf = source.answer_with_errors(RF, doing)
            self._see_rf_on(rf, doing)
        return levels, overloaded

    def _see_power(self, power_dbm: float, answer: str) -> None:
        try:
            taken = abs(float(answer) - power_dbm) < 0.5 * 10.0**-_POWER_DIGITS
        except ValueError:
            taken = False
        if not taken:
            raise DeviceFault(
                f"source: its power is {answer} dBm (answer to {_POWER}) although {power_dbm:.2f} dBm was set; look at "
                "its front panel"
            )

    def pilot(self) -> NDArray[np.float64] | None:
        """Take the pilot alone: (pilot symbols, n_nodes)."""
        return self.take(np.empty((0, 1))).pilot

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
