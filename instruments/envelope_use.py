"""Envelope use of a ring: a batch of shots in one waveform, one trigger, one capture.

The source plays pulses from waveform memory, the analyser captures what the ring makes of them. One capture costs three
round trips: the analyser says that it is armed, it sends the samples, it says whether it was overloaded. After the
samples, while the analyser is asked the last thing, the source says that RF is still on and which waveform it played.

That the samples are those of this waveform, and no earlier ones, the pilot shot shows, which is at another place in
each capture.
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
from instruments.waveforms import (
    FULL_CODE,
    SHIFTS,
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
    with_pilot,
)
from labpgt.device import Setting
from labpgt.errors import DeviceFault
from labpgt.events import Flag
from labpgt.rng import Draw, generator

NAMES = "LABPGT0", "LABPGT1"
"""Of the waveforms in the source's memory, by turns; the other one is deleted, so that it cannot be played again."""

_WHICH = f"{RF};:RAD:ARB:WAV?"
_IDLE_SAMPLES = 1024
_ECHO_SYMBOLS = 64
_NEAR_RANGE = 1 - 1e-4
"""Share of the range from which on a sample counts as clipped."""
_HEARD = 0.25
"""Share of its usual amplitude from which on a pilot shot can be found."""
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


class EnvelopeUse(SourceAndAnalyzer):
    """Pulses in, windows of the transmitted envelope out."""

    def __init__(self, config: MagnonicRingConfig, bench: Bench, source: Any, analyzer: Any, talking: Talking) -> None:
        super().__init__(config, bench, source, analyzer, talking)
        grid, self._off_grid = grid_of(config)
        self._grid = grid or Grid(1, 1, config.windows, config.window_samples)
        self._capture: Capture = capture_of(analyzer, config)
        least = ceil((self._capture.blur + 1) / self._grid.capture_samples)
        self._lead = max(least, symbols_of(config.lead_in_s, config.symbol_s))
        self._gap = max(least, symbols_of(config.gap_memory_times * config.memory_time_s, config.symbol_s))
        self.rate_hz = config.windows * config.window_samples / config.symbol_s
        """Samples of the capture a second."""
        self._pilot = generator(0, 0, Draw.CALIBRATION).uniform(*config.drive_limits, config.pilot_symbols)
        self._delay = round(config.path_delay_s * self.rate_hz)
        self._loaded: list[str] = []
        """Waveforms that may be in the source's memory, the latest last."""
        self._model: NDArray[np.complex128] | None = None
        """(symbols, windows): how the pilot shot and its gap come."""
        self._last: NDArray[np.complex128] | None = None
        """Samples of the capture before."""
        self._range_v = volts_peak(config.reference_level_dbm)
        self._quiet_v2 = volts_peak(bench.limits.oscillation_dbm) ** 2
        self._loud_v2 = self._quiet_v2
        """Mean square from which on the end of a gap is not quiet, V²."""

    def problems(self) -> list[str]:
        """Say what these instruments cannot do."""
        found = list(self._off_grid)
        if not hasattr(type(self._source), "load_waveform"):
            found.append(
                f'source: a {self._bench.source.model} has no waveform memory, which use = "envelope" needs; '
                'take a vector source, or use = "spectrum"'
            )
        else:
            found += self._beyond_source()
        with self._talking("analyzer", "asking for its options"):
            found += self._capture.problems()
        if not found and self.longest < 1:
            found.append(
                f"a gap of {self._gap} symbols after a lead-in of {self._lead} leaves no room for a shot in "
                f"{self._room} symbols, which is what source and analyser hold; lower memory_time_s or lead_in_s"
            )
        return found

    def _beyond_source(self) -> list[str]:
        config, rate_hz = self._config, self._config.source_rate_hz
        found = beyond_source(self._source, config, self._bench, config.power_dbm)
        scaling = {"waveform_scaling_percent": ("arb_scaling", config.waveform_scaling_percent)}
        found += beyond("source", self._source, scaling)
        try:
            with self._talking("source", "asking for its options"):
                fastest = self._source.fastest()
        except DeviceFault as fault:
            return [*found, str(fault)]
        if rate_hz <= fastest:
            return [*found, *beyond("source", self._source, {"source_rate_hz": ("sample_rate", rate_hz)})]
        return [*found, f"source: source_rate_hz = {rate_hz:g}: its options go up to {fastest:g} samples/s"]

    @property
    def _room(self) -> int:
        """Symbols that the source's memory and one capture hold."""
        longest: int = getattr(self._source, "LONGEST", 0)
        captured = (self._capture.longest - self._delay) // self._grid.capture_samples
        return min(longest // self._grid.source_samples, captured)

    @property
    def _room_for_shots(self) -> int:
        """Symbols that lead-in and pilot leave to shots and their gaps."""
        return self._room - self._lead - with_pilot(len(self._pilot), self._gap)

    @property
    def longest(self) -> int:
        """Symbols of the longest shot."""
        return self._room_for_shots - self._gap

    def prepare(self) -> None:
        """Set up source and analyser, RF left as it is."""
        config, source = self._config, self._source
        with self._talking("source", "setting it up"), source.group("setting it up"):
            source.arb_enabled = False
            source.power = config.power_dbm
            source.sample_rate = config.source_rate_hz
            source.arb_scaling = config.waveform_scaling_percent
            source.modulation_enabled = True
        self.retune(config.carrier_hz, usual=True)
        with self._talking("analyzer", "setting it up"):
            self._analyzer.abort()
            self._set_up = None
            self._set_up_for(_IDLE_SAMPLES, "immediate")

    def _set_up_for(self, samples: int, trigger: str) -> None:
        if self._set_up == (samples, trigger):
            return
        self._set_up = None
        assert self._carrier_hz is not None
        self._capture.setup(self._carrier_hz, samples, trigger)
        self._set_up = samples, trigger

    def parts(self, shots: int, symbols: int) -> list[int]:
        """Share shots among captures: the shots of each."""
        most = self._room_for_shots // (symbols + self._gap)
        return shares(shots, min(most, self._config.batch or most))

    def _layout(self, shots: int, symbols: int) -> Layout:
        bare = Layout(shots, symbols, self._lead, self._gap, len(self._pilot), shift=next(CAPTURES) % SHIFTS)
        shortest = ceil(self._source.SHORTEST / self._grid.source_samples)
        return bare._replace(filling=max(0, shortest - bare.length))

    def take(self, drives: NDArray[np.float64]) -> Taken:
        """Take the shots (shots, symbols) of one capture."""
        layout = self._layout(*drives.shape)
        samples, overloaded = self.record(drives, layout)
        found = cut(samples[self._delay :], layout, self._grid, self._capture.blur)
        self._see_own(samples, found, layout)
        pilot = self._responses(found.pilot(layout))
        return Taken(self._responses(found.windows), self._flags(found, overloaded), pilot)

    def _see_own(self, samples: NDArray[np.complex128], found: Cut, layout: Layout) -> None:
        """Raise `DeviceFault` for a capture of another waveform than the one that was sent.

        No two captures are the same. And the pilot must be at its place of the `SHIFTS` there are: it is where the
        correlation with its first capture is largest. Elsewhere than usual the ring may answer anything to it, and a
        pilot that is hardly there is no matter of places.
        """
        same = self._last is not None and samples.any() and np.array_equal(samples, self._last)
        self._last = samples
        doing = f"of {layout.shots} shots"
        if same:
            raise DeviceFault(
                f"analyzer: this is not the capture of the waveform that was sent ({doing}): it is the one before, "
                "again; is the source's marker 1 wired to the trigger input?"
            )
        if not self._usual:
            return
        length = layout.pilot + layout.gap
        if self._model is None:
            self._model = found.tail[layout.shift : layout.shift + length]
            return
        match = np.array([abs(np.vdot(self._model, found.tail[n : n + length])) for n in range(SHIFTS)])
        best = int(np.argmax(match))
        if best != layout.shift and match[best] >= _HEARD * np.vdot(self._model, self._model).real > 0:
            self._model = None
            raise DeviceFault(
                f"analyzer: this is not the capture of the waveform that was sent ({doing}): the pilot shot is at "
                f"place {best}, expected {layout.shift}; either this is an earlier capture, or the source did not take "
                "the waveform: look at their front panels"
            )

    def pilot(self) -> NDArray[np.float64] | None:
        """Take the pilot shot alone: (pilot symbols, n_nodes); the first time twice, to see that its place is right."""
        if self._model is None:
            self.take(np.empty((0, 1)))
        return self.take(np.empty((0, 1))).pilot

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
        if not self._capture.has_phase:
            pulses = np.abs(pulses)
        return (pulses[:, None] * on).ravel(), samples[self._lead * per_symbol :]

    def record(self, drives: NDArray[np.float64], layout: Layout) -> tuple[NDArray[np.complex128], bool]:
        """Play shots and capture what comes: samples in V peak from the trigger on, and whether they were too much."""
        source, analyzer = self._source, self._analyzer
        doing = f"a capture of {layout.shots} shots"
        codes = waveform(drives, self._pilot[: layout.pilot], self._config.encoding, layout, self._grid)
        name = next(name for name in NAMES if name not in self._loaded[-1:])
        with self._talking("source", f"loading the waveform of {doing}"), source.unchecked():
            source.load_waveform(name, codes, layout.starts(self._grid.source_samples))
            source.arm_waveform(name)
            for old in self._loaded:
                source.delete_waveform(old)
            self._loaded = [name]
        with self._talking("analyzer", f"arming {doing}"), analyzer.unchecked():
            self._set_up_for(capture_length(layout, self._grid) + self._delay, "external")
            start_acquisition(analyzer, f"arming {doing}")
        # The source has not told yet of errors in loading: with any trouble from here on, both are given up.
        with self._talking("source", f"playing {doing}"):
            source.trigger()
            with self._talking("analyzer", f"fetching {doing}"):
                samples = self._capture.fetch()
                # Now, for asked earlier the source would not know of RF that goes off during the capture.
                source.send_with_errors(_WHICH)
                overloaded = analyzer.overloaded()
            rf, played = source.answer_with_errors(_WHICH, f"playing {doing}").split(";")
        self._see_rf_on(rf, doing)
        if played.strip('"') != f"WFM1:{name}":
            raise DeviceFault(
                f"source: played waveform {played} for {doing}, expected WFM1:{name}; somebody has chosen another one: "
                "look at its front panel"
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
        ringing |= found.rest > self._loud_v2
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
