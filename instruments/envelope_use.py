"""Envelope use of a ring: a batch of shots in one waveform, one trigger, one capture.

The source plays pulses from waveform memory, the analyser captures what the ring makes of them. One capture costs three
round trips: the analyser says that it is armed, it sends the samples, it says whether it was overloaded. That RF was on
and the waveform was taken, the source says while the analyser measures.
"""

from collections.abc import Mapping
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from instruments.bench import Bench
from instruments.captures import Capture, capture_of
from instruments.levels import strongest_line, volts_peak
from instruments.magnonic_ring_config import MagnonicRingConfig
from instruments.ring_use import Idle, Taken, Talking, start_acquisition
from instruments.waveforms import (
    FULL_CODE,
    Cut,
    Grid,
    Layout,
    capture_length,
    cut,
    pulse_codes,
    shares,
    symbols_of,
    waveform,
    whole_samples,
)
from labpgt.device import Setting
from labpgt.errors import DeviceFault
from labpgt.events import Flag
from labpgt.rng import Draw, generator

NAME = "LABPGT"
"""Of the waveform in the source's memory; each capture overwrites it."""

_RF = ":OUTP?"
_IDLE_SAMPLES = 1024
_ECHO_SYMBOLS = 64
_NEAR_RANGE = 1 - 1e-4
"""Share of the range from which on a sample counts as clipped."""
_ABOVE_NOISE = 16.0
"""Factor above the power of the noise from which on the end of a gap is not quiet: never reached by noise alone."""


def grid_of(config: MagnonicRingConfig) -> tuple[Grid | None, list[str]]:
    """Return one symbol as it is played and read, or what keeps it off the grid of samples, a line each."""
    problems = []
    samples = whole_samples(config.symbol_s, config.source_rate_hz)
    if samples is None:
        problems.append(
            f"symbol_s = {config.symbol_s:g}: is {config.symbol_s * config.source_rate_hz:g} samples of the source at "
            f"source_rate_hz = {config.source_rate_hz:g}; expected a whole number of samples"
        )
        return None, problems
    on = whole_samples(config.duty * samples, 1.0)
    if on is None:
        problems.append(
            f"duty = {config.duty:g}: is {config.duty * samples:g} of the {samples} samples of a symbol; expected a "
            "whole number of them, or a higher source_rate_hz"
        )
        return None, problems
    return Grid(samples, on, config.windows, config.window_samples), problems


class EnvelopeUse:
    """Pulses in, windows of the transmitted envelope out."""

    def __init__(self, config: MagnonicRingConfig, bench: Bench, source: Any, analyzer: Any, talking: Talking) -> None:
        self._config, self._bench = config, bench
        self._source, self._analyzer, self._talking = source, analyzer, talking
        grid, self._off_grid = grid_of(config)
        self._grid = grid or Grid(1, 1, config.windows, config.window_samples)
        self._capture: Capture = capture_of(analyzer, config)
        self._carrier_hz = config.carrier_hz
        least = ceil((self._capture.blur + 1) / self._grid.capture_samples)
        self._lead = max(least, symbols_of(config.lead_in_s, config.symbol_s))
        self._gap = max(least, symbols_of(config.gap_memory_times * config.memory_time_s, config.symbol_s))
        self.rate_hz = config.windows * config.window_samples / config.symbol_s
        """Samples of the capture a second."""
        self._pilot = generator(0, 0, Draw.CALIBRATION).uniform(*config.drive_limits, config.pilot_symbols)
        self._delay = round(config.path_delay_s * self.rate_hz)
        self._set_up: tuple[int, str] | None = None
        """Samples and trigger that the analyser is set up for."""
        self._range_v = volts_peak(config.reference_level_dbm)
        self._quiet_v2 = volts_peak(bench.limits.oscillation_dbm) ** 2
        self._loud_v2 = self._quiet_v2
        """Mean square from which on the end of a gap is not quiet, V²."""

    def problems(self) -> list[str]:
        """Say what these instruments cannot do."""
        found = list(self._off_grid)
        if not hasattr(self._source, "load_waveform"):
            found.append(
                f'source: a {self._bench.source.model} has no waveform memory, which use = "envelope" needs; '
                'take a vector source, or use = "spectrum"'
            )
        else:
            found += self._too_fast()
        with self._talking("analyzer", "asking for its options"):
            found += [f"analyzer: {problem}" for problem in self._capture.problems()]
        if not found and self.longest < 1:
            found.append(
                f"a gap of {self._gap} symbols after a lead-in of {self._lead} leaves no room for a shot in "
                f"{self._room} symbols, which is what source and analyser hold; lower memory_time_s or lead_in_s"
            )
        return found

    def _too_fast(self) -> list[str]:
        rate_hz = self._config.source_rate_hz
        try:
            with self._talking("source", "asking for its options"):
                fastest = self._source.fastest()
        except DeviceFault as fault:
            return [str(fault)]
        if rate_hz <= fastest:
            return []
        return [f"source: source_rate_hz = {rate_hz:g}: its options go up to {fastest:g} samples/s"]

    @property
    def _room(self) -> int:
        """Symbols that the source's memory and one capture hold."""
        longest: int = getattr(self._source, "LONGEST", 0)
        captured = (self._capture.longest - self._delay) // self._grid.capture_samples
        return min(longest // self._grid.source_samples, captured)

    @property
    def _room_for_shots(self) -> int:
        """Symbols that lead-in and pilot leave to shots and their gaps."""
        return self._room - self._lead - (len(self._pilot) + self._gap if len(self._pilot) else 0)

    @property
    def longest(self) -> int:
        """Symbols of the longest shot."""
        return self._room_for_shots - self._gap

    def prepare(self) -> None:
        """Set up source and analyser, RF left as it is."""
        config, source = self._config, self._source
        with self._talking("source", "setting it up"), source.group("setting it up"):
            source.arb_enabled = False
            source.frequency = self._carrier_hz
            source.power = config.power_dbm
            source.sample_rate = config.source_rate_hz
            source.arb_scaling = config.waveform_scaling_percent
            source.modulation_enabled = True
        with self._talking("analyzer", "setting it up"):
            self._analyzer.abort()
            self._set_up = None
            self._set_up_for(_IDLE_SAMPLES, "immediate")

    def retune(self, carrier_hz: float) -> None:
        """Change to another carrier."""
        if carrier_hz == self._carrier_hz:
            return
        self._carrier_hz, self._set_up = carrier_hz, None
        doing = f"tuning to {carrier_hz:.12g} Hz"
        with self._talking("source", doing), self._source.group(doing):
            self._source.frequency = carrier_hz

    def _set_up_for(self, samples: int, trigger: str) -> None:
        if self._set_up == (samples, trigger):
            return
        self._set_up = None
        self._capture.setup(self._carrier_hz, samples, trigger)
        self._set_up = samples, trigger

    def parts(self, shots: int, symbols: int) -> list[int]:
        """Share shots among captures: the shots of each."""
        most = self._room_for_shots // (symbols + self._gap)
        return shares(shots, min(most, self._config.batch or most))

    def _layout(self, shots: int, symbols: int) -> Layout:
        bare = Layout(shots, symbols, self._lead, self._gap, len(self._pilot))
        shortest = ceil(self._source.SHORTEST / self._grid.source_samples)
        return bare._replace(filling=max(0, shortest - bare.length))

    def take(self, drives: NDArray[np.float64]) -> Taken:
        """Take the shots (shots, symbols) of one capture."""
        layout = self._layout(*drives.shape)
        samples, overloaded = self.record(drives, layout)
        found = cut(samples[self._delay :], layout, self._grid, self._capture.blur)
        pilot = self._responses(found.pilot) if layout.pilot else None
        return Taken(self._responses(found.windows), self._flags(found, overloaded), pilot)

    def pilot(self) -> NDArray[np.float64] | None:
        """Take the pilot shot alone: (pilot symbols, n_nodes), or None where there is none."""
        return self.take(np.empty((0, 1))).pilot if len(self._pilot) else None

    def echo(self) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
        """Play a known shot: what is sent, as the analyser would sample it, and what comes from the same time on.

        The second array is longer than the first by the delays that can be found with it.
        """
        low, high = self._config.drive_limits
        drives = generator(1, 0, Draw.CALIBRATION).choice([low, high], (1, _ECHO_SYMBOLS))
        layout = Layout(1, _ECHO_SYMBOLS, self._lead, self._gap, 0, _ECHO_SYMBOLS)
        per_symbol = self._grid.capture_samples
        samples, _ = self.record(drives, layout)
        on = np.clip(self._config.duty * per_symbol - np.arange(per_symbol), 0, 1)
        pulses = pulse_codes(drives, self._config.encoding)[0] @ [1, 1j] / FULL_CODE
        return (pulses[:, None] * on).ravel(), samples[self._lead * per_symbol :]

    def record(self, drives: NDArray[np.float64], layout: Layout) -> tuple[NDArray[np.complex128], bool]:
        """Play shots and capture what comes: samples in V peak from the trigger on, and whether they were too much."""
        source, analyzer = self._source, self._analyzer
        doing = f"a capture of {layout.shots} shots"
        codes = waveform(drives, self._pilot[: layout.pilot], self._config.encoding, layout, self._grid)
        with self._talking("source", f"loading the waveform of {doing}"), source.unchecked():
            source.load_waveform(NAME, codes, layout.starts(self._grid.source_samples))
            source.arm_waveform(NAME)
        with self._talking("analyzer", f"arming {doing}"), analyzer.unchecked():
            self._set_up_for(capture_length(layout, self._grid) + self._delay, "external")
            start_acquisition(analyzer, f"arming {doing}")
        # Until its answer is read the source must not be asked anything else: with any trouble, both are given up.
        with self._talking("source", f"playing {doing}"):
            source.trigger()
            source.send_with_errors(_RF)
            with self._talking("analyzer", f"fetching {doing}"):
                samples = self._capture.fetch()
                overloaded = analyzer.overloaded()
            rf = source.answer_with_errors(_RF, f"playing {doing}")
        if rf != "1":
            raise DeviceFault(
                f"source: RF was off while {doing} was taken (answer to {_RF}: {rf!r}); somebody or the source itself "
                "has turned it off: look at its front panel"
            )
        if not np.isfinite(samples).all():
            raise DeviceFault(f"analyzer: {doing} holds values that are not numbers; look at its front panel")
        return samples, overloaded

    def _responses(self, windows: NDArray[np.complex128]) -> NDArray[np.float64]:
        config = self._config
        windows = windows / self._bench.wiring.full_scale_v
        if config.readout == "envelope":
            return np.abs(windows)
        if config.phase_rad:
            windows = windows * np.exp(-1j * config.phase_rad)
        return np.concatenate([windows.real, windows.imag], axis=-1)

    def _flags(self, found: Cut, overloaded: bool) -> NDArray[np.uint32]:
        clipped = found.peak >= _NEAR_RANGE * self._range_v
        if overloaded and not clipped.any():
            clipped[:] = True
        ringing = (found.before > self._loud_v2) | (found.after > self._loud_v2)
        return (clipped * np.uint32(Flag.OVERLOAD) | ringing * np.uint32(Flag.OSCILLATION)).astype(np.uint32)

    def idle(self) -> Idle:
        """Listen to the ring with RF off; what is heard is the noise above which the end of a gap is not quiet."""
        doing = "listening to the ring with RF off"
        with self._talking("analyzer", doing):
            with self._analyzer.group(doing):
                self._set_up_for(_IDLE_SAMPLES, "immediate")
                self._analyzer.arm()
            samples = self._capture.fetch()
        if not np.isfinite(samples).all():
            raise DeviceFault(f"analyzer: {doing} gave values that are not numbers; look at its front panel")
        noise_v2 = float(np.square(np.abs(samples)).mean())
        self._loud_v2 = max(self._quiet_v2, _ABOVE_NOISE * noise_v2)
        return Idle(strongest_line(samples), noise_v2**0.5 / self._bench.wiring.full_scale_v)

    def settings(self) -> Mapping[str, Setting]:
        """Return the grid of samples, gap and quantisation."""
        config, grid = self._config, self._grid
        return {
            "gap_s": Setting(self._gap * config.symbol_s, "s"),
            "lead_in_used_s": Setting(self._lead * config.symbol_s, "s"),
            "source_samples_per_symbol": Setting(grid.source_samples),
            "source_full_code": Setting(FULL_CODE),
            "analyzer_rate_hz": Setting(self.rate_hz, "Hz"),
            "analyzer_word": Setting("float32"),
        }
