"""The physics behind a virtual bench: what leaves the source goes through the ring and comes to the analyser."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, inf
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from labpgt.rng import Draw, generator
from simulators.virtual_bench.receiver import Capture, digitised, means, noise
from simulators.virtual_bench.rings import Grid, Rings, Surroundings, signal
from simulators.virtual_bench.waveform import Shots, Symbols, chained, cut, full_pulses, on_grid, rounded

_SYMBOL_S = 40e-9
"""Symbols of the ring unless its settings say otherwise: what a vector source of 100 MHz can play."""

_FORCED_GAIN = 1.25
"""Loop gain, of the threshold, of an oscillation that was asked for."""

_AMPLIFIER_OFF_DB = 80.0

_INTERFERENCE = 3.0
"""Ranges of the ADC that an overload which was asked for adds to the signal."""

_MOST_WINDOWS = 100
"""Windows a symbol that a ring can be read in."""

_LONGEST_SYMBOL_S = 1e-6


@dataclass
class SourceOutput:
    """What leaves the source's RF connector now; kept up to date by the model of the source."""

    rf_on: bool = False
    modulation_on: bool = True
    carrier_hz: float = 3.2e9
    power_dbm: float = -110.0
    codes: NDArray[np.int16] | None = None
    """(samples, 2): waveform that a trigger plays once; None: the carrier alone."""
    marks: NDArray[np.intp] | None = None
    """Samples at which marker 2 rises: the first of each shot."""
    rate_hz: float = 0.0
    scaling: float = 1.0
    list_dbm: NDArray[np.float64] | None = None
    """Power list, one point a trigger."""
    list_point: int | None = None
    """Point of the list that is out now; None: `power_dbm`."""
    pulse_period_s: float = 0.0
    pulse_width_s: float = 0.0
    """0: no pulse modulation."""

    @property
    def present_dbm(self) -> float:
        """Power that is out now, in dBm."""
        if self.list_dbm is None or self.list_point is None:
            return self.power_dbm
        return float(self.list_dbm[self.list_point])

    @property
    def plays(self) -> bool:
        """Whether a trigger plays a waveform."""
        return self.codes is not None and self.modulation_on


class World:
    """One simulated ring between source and analyser, or a cable (`loopback`).

    `ring` and `settings` name the ring as for a device of that name; `symbol_s` is 40 ns unless given, and the detector
    is what is asked for. A power of `reference_dbm` at full code is a drive of 1; a response of 1 is `full_scale_v`
    volts (peak) at the analyser, and so is a drive of 1 over the cable. The attenuator at `nominal_attenuation_db` is
    the ring's own setting. The input of the analyser has a noise of `noise_v` rms in 1 MHz; captures of the ring have
    its readout noise instead, that of the shot with the same number, so that they are what the ring answers as a
    device, in volts, rounded by the ADC.

    Calls wait for each other. Raises `InputError` for settings that cannot be a ring.
    """

    def __init__(
        self,
        ring: str = "envelope-ring",
        settings: Mapping[str, Any] | None = None,
        *,
        reference_dbm: float = 0.0,
        nominal_attenuation_db: float = 20.0,
        full_scale_v: float = 0.25,
        adc_bits: int = 16,
        loopback: bool = False,
        noise_v: float = 7e-6,
    ) -> None:
        self.rings = Rings(ring, {"symbol_s": _SYMBOL_S, **(settings or {})})
        self.reference_dbm = reference_dbm
        self.nominal_attenuation_db = nominal_attenuation_db
        self.full_scale_v = full_scale_v
        self.adc_bits = adc_bits
        self.loopback = loopback
        self.noise_v = noise_v
        self.attenuation_db = nominal_attenuation_db
        """Of the attenuator in the ring, in dB."""
        self.amplifier_on = True
        self.bias_t: float | None = None
        """Bias field in T; None: the ring's own."""
        self.output = SourceOutput(carrier_hz=self.rings.config.carrier_hz)
        self.drift = 1.0
        """Factor on all that comes to the analyser."""
        self.overload_next = 0
        """Acquisitions from now on that interference drives over the range."""
        self.nan_next = 0
        """Acquisitions from now on the second half of which is not a number."""
        self.oscillate = 0
        """Acquisitions from now on during which the ring oscillates, whatever its gain."""
        self._lock = threading.RLock()
        self._shot = 0
        self._captures = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the simulated rings."""
        with self._lock:
            self.rings.close()

    def seek(self, shot: int) -> None:
        """Set the number of the next shot that is played, which keys its noise."""
        self._shot = shot

    @property
    def oscillating(self) -> bool:
        """Whether the ring oscillates by itself."""
        return not self.loopback and (self.oscillate > 0 or self.rings.net_gain(self._around) >= 1)

    @property
    def _around(self) -> Surroundings:
        home = self.rings.home
        return Surroundings(
            self.output.carrier_hz,
            home.bias_t if self.bias_t is None else self.bias_t,
            home.attenuation_db + (self.attenuation_db - self.nominal_attenuation_db)
            if self.amplifier_on
            else _AMPLIFIER_OFF_DB,
        )

    def capture_iq(self, samples: int, rate_hz: float, center_hz: float, range_v: float) -> Capture:
        """Return the response to one triggered playing of the waveform, from its first sample on, in V peak.

        Each of the `samples` is the mean over 1 / rate_hz. `range_v` is the largest voltage that the ADC takes.
        """
        with self._lock:
            around = self._around
            if not self.output.rf_on or not self.output.plays:
                values = self._idle(samples, rate_hz)
            else:
                values = self._played(samples, rate_hz, around) * self.full_scale_v
            return self._received(values, rate_hz, center_hz, range_v)

    def idle_iq(self, samples: int, rate_hz: float, center_hz: float, range_v: float) -> Capture:
        """Return what is at the input while nothing is played, in V peak: noise, and the ring if it oscillates."""
        with self._lock:
            return self._received(self._idle(samples, rate_hz), rate_hz, center_hz, range_v)

    def _factor(self) -> float:
        """Drive of a full code."""
        return float(self.output.scaling * 10 ** ((self.output.present_dbm - self.reference_dbm) / 20))

    def _played(self, samples: int, rate_hz: float, around: Surroundings) -> NDArray[np.complex128]:
        """Response to the waveform (samples,), as a share of full scale."""
        out = self.output
        assert out.codes is not None
        shots = cut(out.codes, out.marks, inf)
        if self.loopback:
            self._shot += len(shots.starts)
            return means(shots.baseband * self._factor(), out.rate_hz, samples, rate_hz)
        config = self.rings.config
        windows = rounded(rate_hz * config.symbol_s)
        grid = self.rings.grid(windows if windows and windows <= _MOST_WINDOWS else 1)
        # What is left of a shot is below a quarter of the ADC's least step at the largest range it has here.
        forgotten_s = self.rings.forgotten_s(grid, around, self._least)
        forgotten = forgotten_s * out.rate_hz * (1 - 1e-9)
        if out.marks is None or not len(out.marks):
            shots = cut(out.codes, None, forgotten)
        numbers = range(self._shot, self._shot + len(shots.starts))
        self._shot = numbers.stop
        rested = chained(shots.quiet, forgotten)
        per_symbol, on = rounded(out.rate_hz * config.symbol_s), rounded(out.rate_hz * config.symbol_s * config.duty)
        ratio = rate_hz / out.rate_hz
        begin = np.round(shots.starts * ratio)
        symbols = None
        if (
            windows == grid.windows
            and per_symbol
            and on
            and np.allclose(begin, shots.starts * ratio, rtol=0, atol=1e-6)
        ):
            symbols = on_grid(shots, per_symbol, on, rested)
        if symbols is None:
            return self._off_grid(shots, samples, rate_hz, around, numbers)
        return self._on_grid(symbols, grid, around, rested, forgotten_s, numbers, begin.astype(np.intp), samples)

    @property
    def _least(self) -> float:
        """Quarter of a step of the ADC at a range of `full_scale_v`, as a share of full scale."""
        return 0.25 * 2.0 ** (1 - self.adc_bits)

    def _on_grid(
        self,
        symbols: Symbols,
        grid: Grid,
        around: Surroundings,
        rested: NDArray[np.intp],
        forgotten_s: float,
        numbers: range,
        begin: NDArray[np.intp],
        samples: int,
    ) -> NDArray[np.complex128]:
        """Solve what starts from rest side by side, whatever follows too soon together with what it follows."""
        pulses = symbols.pulses * self._factor()
        if self.rings.config.encoding == "phase":
            pulses = full_pulses(symbols.pulses) * self._factor()
        offsets = np.concatenate([[0], np.cumsum(symbols.counts)])
        first, last = offsets[rested], np.append(offsets[rested[1:]], offsets[-1])
        answers = np.zeros((len(pulses), 2 * grid.windows))
        for length in np.unique(last - first):
            rows = first[last - first == length][:, None] + np.arange(length)
            some = pulses[rows]
            if forgotten_s < inf:
                # Nothing comes any more when all of them are forgotten.
                driven = int(np.flatnonzero(some.any(axis=0)).max(initial=0)) + 1
                kept = min(int(length), driven + ceil(forgotten_s / grid.symbol_s) + 1)
                answers[rows[:, :kept]] = self.rings.respond(some[:, :kept], grid, around)
            else:
                answers[rows] = self._from_oscillation(some, grid, around)
        config = self.rings.config
        if config.noise:
            for number, start, count in zip(numbers, offsets, symbols.counts, strict=False):
                draw = generator(config.noise_seed, number, Draw.NOISE)
                answers[start : start + count] += config.noise * draw.standard_normal((count, answers.shape[1]))
        found = signal(answers[None])[0]
        values = np.zeros(samples, np.complex128)
        counts = np.minimum(np.diff(begin, append=samples).clip(0), symbols.counts * grid.windows)
        for at, start, count in zip(begin, offsets[:-1] * grid.windows, counts, strict=True):
            values[at : at + count] = found[start : start + count]
        return values

    def _from_oscillation(
        self, pulses: NDArray[np.complex128], grid: Grid, around: Surroundings
    ) -> NDArray[np.float64]:
        """Answers (shots, symbols, 2 * windows) of a ring that never forgets, oscillating if it does."""
        if self.rings.net_gain(around) < 1:
            return self.rings.respond(pulses, grid, around)
        kick = np.tile(self.rings.kick(grid, around), (len(pulses), 1))
        return self.rings.respond(np.concatenate([kick, pulses], axis=1), grid, around)[:, kick.shape[1] :]

    def _off_grid(
        self, shots: Shots, samples: int, rate_hz: float, around: Surroundings, numbers: range
    ) -> NDArray[np.complex128]:
        """Play the waveform as it is, in one piece, a symbol of the ring a sample."""
        config, out = self.rings.config, self.output
        hold = ceil(1 / (out.rate_hz * _LONGEST_SYMBOL_S) - 1e-9)
        rate = out.rate_hz * hold
        grid = Grid(1 / rate, 1.0, min(_MOST_WINDOWS, ceil(rate_hz / rate - 1e-9)))
        pulses = np.repeat(shots.baseband, hold) * self._factor()
        pulses = np.concatenate([pulses, np.zeros(max(0, ceil(samples / rate_hz * rate) - len(pulses)))])
        found = signal(self._from_oscillation(pulses[None], grid, around))[0]
        values = means(found, grid.rate_hz, samples, rate_hz)
        if config.noise:
            # Noise that is white: the shorter a window, the more.
            own_hz = (config.n_nodes // 2 if config.detector == "iq" else config.n_nodes) / config.symbol_s
            draw = generator(config.noise_seed, numbers.start, Draw.NOISE).standard_normal((samples, 2))
            values += config.noise * np.sqrt(rate_hz / own_hz) * (draw[:, 0] + 1j * draw[:, 1])
        return values

    def _idle(self, samples: int, rate_hz: float) -> NDArray[np.complex128]:
        """Noise of the input, and a ring that oscillates, in V peak (samples,)."""
        values = noise(self.rings.config.noise_seed, self._captures, self.noise_v, (samples,), rate_hz)
        around = self._around
        if not self.loopback and self.rings.net_gain(around) >= 1:
            values += self._tone(samples, rate_hz, around)
        return values

    def _tone(self, samples: int, rate_hz: float, around: Surroundings) -> NDArray[np.complex128]:
        """Self-oscillation of the ring in V peak (samples,)."""
        config = self.rings.config
        grid = self.rings.grid(max(1, ceil(config.symbol_s / 5e-9)))
        tone = self.rings.tone(grid, around)
        turns = tone.offset_hz * (np.arange(samples) + 0.5) / rate_hz
        return np.asarray(self.full_scale_v * tone.amplitude * np.exp(2j * np.pi * turns))

    def _disturbed(self, values: NDArray[np.complex128], rate_hz: float, range_v: float) -> NDArray[np.complex128]:
        """Apply drift and the conditions that were asked for to a signal (samples,) in V peak."""
        self._captures += 1
        values = values * self.drift
        if self.oscillate > 0:
            self.oscillate -= 1
            home = self.rings.home
            loud = 20 * np.log10(self.rings.config.gain / _FORCED_GAIN) if self.rings.config.gain else 0.0
            values = values + self._tone(len(values), rate_hz, home._replace(attenuation_db=float(loud)))
        if self.overload_next > 0:
            self.overload_next -= 1
            values = values + _INTERFERENCE * range_v
        return values

    def _received(self, values: NDArray[np.complex128], rate_hz: float, center_hz: float, range_v: float) -> Capture:
        """Mix the signal about the carrier (samples,) to a centre frequency and digitise it."""
        values = self._disturbed(values, rate_hz, range_v)
        offset_hz = self.output.carrier_hz - center_hz
        if offset_hz:
            turns = offset_hz * (np.arange(len(values)) + 0.5) / rate_hz
            # What is outside the band of the capture is filtered off.
            values = values * np.exp(2j * np.pi * turns) * (abs(offset_hz) < rate_hz / 2)
        found, overload = digitised(values, range_v, self.adc_bits)
        if self.nan_next > 0:
            self.nan_next -= 1
            found[len(found) // 2 :] = complex(np.nan, np.nan)
        return Capture(found, overload)
