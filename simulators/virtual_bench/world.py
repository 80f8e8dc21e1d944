"""The physics behind a virtual bench: what leaves the source goes through the ring and comes to the analyser."""

import threading
from collections.abc import Mapping, Sequence
from math import ceil, inf
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from simulators.virtual_bench.playing import MOST_WINDOWS, Waveform, answer
from simulators.virtual_bench.receiver import NOISE_BAND_HZ, Capture, digitised, means, noise
from simulators.virtual_bench.rings import Rings, Surroundings, Tone
from simulators.virtual_bench.source_output import SourceOutput
from simulators.virtual_bench.spectra import SKIRT, Lines, detected, lines, trace, zero_span
from simulators.virtual_bench.steady import Pulses, Record, steady, train
from simulators.virtual_bench.waveform import cut

__all__ = ["Capture", "SourceOutput", "World"]

_SYMBOL_S = 40e-9
"""Symbols of the ring unless its settings say otherwise: what a vector source of 100 MHz can play."""

_LEAST_NOISE_V = 7e-6
"""Noise of an analyser's input in 1 MHz, in V rms."""

_FORCED_GAIN = 1.25
"""Loop gain, of the threshold, of an oscillation that was asked for."""

_AMPLIFIER_OFF_DB = 80.0

_INTERFERENCE = 3.0
"""Ranges of the ADC that an overload which was asked for adds to the signal."""

_OVERSAMPLING = 8
"""Samples for each hertz that a filter or a span reaches from the carrier, of the signal before it."""

_SLOWEST_HZ = 100e6
_FASTEST_HZ = 2e9
"""Sampling of the signal before a filter."""


class World:
    """One simulated ring between source and analyser, or a cable (`loopback`).

    `ring` and `settings` name the ring as for a device of that name; `symbol_s` is 40 ns unless given, and the detector
    is what is asked for. A power of `reference_dbm` at full code is a drive of 1; a response of 1 is `full_scale_v`
    volts (peak) at the analyser, and so is a drive of 1 over the cable. The attenuator at `nominal_attenuation_db` is
    the ring's own setting. The input of the analyser has a noise of `noise_v` rms in 1 MHz, by default that of the
    ring's readout in the bandwidth of its windows. IQ captures of the ring have its readout noise itself, that of the
    shot with the same number: they are what the ring answers as a device with the detector `iq`, times `full_scale_v`,
    rounded by the ADC (`receiver.digitised`).

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
        noise_v: float | None = None,
    ) -> None:
        self.rings = Rings(ring, {"symbol_s": _SYMBOL_S, **(settings or {})})
        self.reference_dbm = reference_dbm
        self.nominal_attenuation_db = nominal_attenuation_db
        self.full_scale_v = full_scale_v
        self.adc_bits = adc_bits
        self.loopback = loopback
        config = self.rings.config
        window_hz = config.n_nodes / config.symbol_s
        readout_v = config.noise * full_scale_v / np.sqrt(window_hz / NOISE_BAND_HZ)
        self.noise_v = max(_LEAST_NOISE_V, readout_v) if noise_v is None else noise_v
        self.attenuation_db = nominal_attenuation_db
        """Of the attenuator in the ring, in dB."""
        self.amplifier_on = True
        """Of the amplifier in the ring; without it nothing comes round."""
        self.bias_t: float | None = None
        """Bias field in T; None: the ring's own."""
        self.output = SourceOutput(carrier_hz=self.rings.config.carrier_hz)
        self.drift = 1.0
        """Factor on all that comes to the analyser."""
        self.overload_next = 0
        """Acquisitions from now on that interference drives over the range."""
        self.nan_next = 0
        """Acquisitions from now on of which the second half is not a number."""
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
        with self._lock:
            self._shot = shot

    @property
    def oscillating(self) -> bool:
        """Whether the ring oscillates by itself."""
        return not self.loopback and (self.oscillate > 0 or self.rings.net_gain(self._around) >= 1)

    def capture_iq(self, samples: int, rate_hz: float, center_hz: float, range_v: float) -> Capture:
        """Return the response to one triggered playing of the waveform, from its first sample on, in V peak.

        Each of the `samples` is the mean over 1 / rate_hz. `range_v` is the largest voltage that the ADC takes. A
        source without a waveform is captured as it goes on, from the start of a pulse.
        """
        with self._lock:
            values = self._signal(samples, rate_hz, range_v, raw=True)
            return self._received(values, rate_hz, center_hz, range_v)

    def idle_iq(self, samples: int, rate_hz: float, center_hz: float, range_v: float) -> Capture:
        """Return what is at the input while nothing is played, in V peak: noise, and the ring if it oscillates."""
        with self._lock:
            return self._received(self._idle(samples, rate_hz, raw=True), rate_hz, center_hz, range_v)

    def zero_span(self, points: int, sweep_time_s: float, center_hz: float, rbw_hz: float, range_v: float) -> Capture:
        """Return the trace (points,), in V rms, of one sweep in zero span that begins with the waveform or a pulse."""
        with self._lock:
            offset_hz = abs(self.output.carrier_hz - center_hz)
            wanted = min(_FASTEST_HZ, max(_SLOWEST_HZ, _OVERSAMPLING * (rbw_hz / 2 + offset_hz)))
            # Whole windows a symbol, where symbols are played.
            symbol_s = self.rings.config.symbol_s
            rate_hz = ceil(wanted * symbol_s - 1e-9) / symbol_s
            samples = ceil(sweep_time_s * rate_hz)
            values = self._signal(samples, rate_hz, range_v, raw=False)
            values = values + noise(self._seed, self._captures, self.noise_v, samples, rate_hz)
            values = self._mixed(self._disturbed(values, rate_hz, range_v), rate_hz, center_hz)
            overload = bool(np.maximum(np.abs(values.real), np.abs(values.imag)).max(initial=0) > range_v)
            return Capture(self._spoilt(zero_span(values, rate_hz, rbw_hz, points, sweep_time_s)), overload)

    def spectrum(self, points: int, center_hz: float, span_hz: float, rbw_hz: float, range_v: float) -> Capture:
        """Return the spectrum (points,), in V rms, of what the ring answers to the present output of the source.

        The points are from one end of the span to the other; the detector takes the mean power. A waveform that waits
        for its trigger puts out nothing.
        """
        found = self.spectra([self.output.power_dbm], points, center_hz, span_hz, rbw_hz, range_v)
        return Capture(found.values[0], found.overload)

    def spectra(
        self,
        powers_dbm: Sequence[float] | NDArray[np.float64],
        points: int,
        center_hz: float,
        span_hz: float,
        rbw_hz: float,
        range_v: float,
    ) -> Capture:
        """Return spectra (powers, points), in V rms, one for each power of the source, all else as it is."""
        with self._lock:
            bins_hz = center_hz + np.linspace(-span_hz / 2, span_hz / 2, points) - self.output.carrier_hz
            rate_hz = min(_FASTEST_HZ, max(_SLOWEST_HZ, _OVERSAMPLING * float(np.abs(bins_hz).max(initial=0))))
            levels = self._drive(np.asarray(powers_dbm, dtype=np.float64))
            if self._silent or self.output.plays:
                levels = np.zeros_like(levels)
            record = self._steady(levels, rate_hz, range_v)
            peak_v = self.full_scale_v * self.drift * float(np.abs(record.values).max(initial=0))
            reach_hz = float(np.abs(bins_hz).max(initial=0)) + SKIRT * rbw_hz
            found = lines(record, self.loopback, self.full_scale_v * self.drift, reach_hz)
            power = trace(found, bins_hz, rbw_hz)
            if self.oscillate > 0:
                self.oscillate -= 1
                tone = self._tone_of(self._forced)
                line = Lines(np.array([tone.offset_hz]), np.array([[(self.full_scale_v * tone.amplitude) ** 2 / 2]]))
                power = power + trace(line, bins_hz, rbw_hz)
            values = detected(power, self.noise_v, rbw_hz, self._seed, self._captures)
            self._captures += 1
            overload = peak_v > range_v
            if self.overload_next > 0:
                self.overload_next -= 1
                values, overload = values + _INTERFERENCE * range_v, True
            return Capture(self._spoilt(values), overload)

    @property
    def _around(self) -> Surroundings:
        home = self.rings.home
        # A difference of exactly 0 leaves the ring's own setting as it is.
        attenuation_db = home.attenuation_db + (self.attenuation_db - self.nominal_attenuation_db)
        return Surroundings(
            self.output.carrier_hz,
            home.bias_t if self.bias_t is None else self.bias_t,
            attenuation_db if self.amplifier_on else _AMPLIFIER_OFF_DB,
        )

    @property
    def _forced(self) -> Surroundings:
        """Surroundings of an oscillation that was asked for."""
        gain = self.rings.config.gain
        return self.rings.home._replace(attenuation_db=20 * np.log10(gain / _FORCED_GAIN) if gain else 0.0)

    @property
    def _silent(self) -> bool:
        return not self.output.rf_on

    @property
    def _seed(self) -> int:
        return self.rings.config.noise_seed

    def _drive(self, power_dbm: Any) -> Any:
        """Drive of a source of this power, that of a full code."""
        return 10 ** ((power_dbm - self.reference_dbm) / 20)

    def _least(self, range_v: float) -> float:
        """Quarter of a step of the ADC, as a share of full scale: less than that of a response counts as nothing."""
        return 0.25 * range_v * 2.0 ** (1 - self.adc_bits) / self.full_scale_v

    def _signal(self, samples: int, rate_hz: float, range_v: float, *, raw: bool) -> NDArray[np.complex128]:
        """Signal at the analyser about the carrier (samples,) in V peak; if `raw` with the noise of a capture."""
        if self._silent:
            return self._idle(samples, rate_hz, raw=raw)
        if self.output.plays:
            return self._played(samples, rate_hz, range_v, raw=raw) * self.full_scale_v
        return self._going_on(samples, rate_hz, range_v) * self.full_scale_v

    def _played(self, samples: int, rate_hz: float, range_v: float, *, raw: bool) -> NDArray[np.complex128]:
        """Response (samples,) to the waveform, as a share of full scale."""
        out = self.output
        assert out.codes is not None
        factor = out.scaling * float(self._drive(out.power_dbm))
        if self.loopback:
            shots = cut(out.codes, out.marks, inf)
            self._shot += len(shots.starts)
            return means(shots.baseband * factor, out.rate_hz, samples, rate_hz)
        played = Waveform(out.codes, out.marks, out.rate_hz, factor)
        found = answer(self.rings, played, self._around, samples, rate_hz, self._least(range_v), self._shot, raw)
        self._shot += found.shots
        return found.values

    def _steady(self, levels: NDArray[np.float64], rate_hz: float, range_v: float, longest_s: float = 0.0) -> Record:
        """Response to the carrier, or its pulses, of each of some levels."""
        pulses = Pulses(self.output.pulse_period_s, self.output.pulse_width_s) if self.output.pulsed else Pulses()
        if self.loopback:
            return train(pulses, levels)
        return steady(self.rings, levels, pulses, self._around, rate_hz, self._least(range_v), longest_s)

    def _going_on(self, samples: int, rate_hz: float, range_v: float) -> NDArray[np.complex128]:
        """Response (samples,) to a source that plays no waveform, as a share of full scale."""
        levels = np.array([self._drive(self.output.power_dbm)])
        record = self._steady(levels, rate_hz, range_v, samples / rate_hz)
        count = ceil(samples / rate_hz * record.rate_hz)
        return means(np.resize(record.values[0], count), record.rate_hz, samples, rate_hz)

    def _idle(self, samples: int, rate_hz: float, *, raw: bool) -> NDArray[np.complex128]:
        """What is there without the source, in V peak (samples,): the ring if it oscillates, noise if `raw`."""
        values = np.zeros(samples, np.complex128)
        if not self.loopback and self.rings.net_gain(self._around) >= 1:
            values += self._oscillation(samples, rate_hz, self._around)
        if raw:
            values += noise(self._seed, self._captures, self.noise_v, samples, rate_hz)
        return values

    def _tone_of(self, around: Surroundings) -> Tone:
        # Fast enough for any wave that the film carries.
        windows = ceil(self.rings.config.symbol_s * _FASTEST_HZ / 2 - 1e-9)
        return self.rings.tone(self.rings.grid(min(MOST_WINDOWS, windows)), around)

    def _oscillation(self, samples: int, rate_hz: float, around: Surroundings) -> NDArray[np.complex128]:
        """Self-oscillation of the ring about the carrier, in V peak (samples,)."""
        tone = self._tone_of(around)
        turns = tone.offset_hz * (np.arange(samples) + 0.5) / rate_hz
        # A sample is a mean.
        size = self.full_scale_v * tone.amplitude * np.sinc(tone.offset_hz / rate_hz)
        return np.asarray(size * np.exp(2j * np.pi * turns))

    def _disturbed(self, values: NDArray[np.complex128], rate_hz: float, range_v: float) -> NDArray[np.complex128]:
        """Apply drift and the conditions that were asked for to a signal (samples,) in V peak."""
        self._captures += 1
        values = values * self.drift
        if self.oscillate > 0:
            self.oscillate -= 1
            values = values + self._oscillation(len(values), rate_hz, self._forced)
        if self.overload_next > 0:
            self.overload_next -= 1
            values = values + _INTERFERENCE * range_v
        return values

    def _mixed(self, values: NDArray[np.complex128], rate_hz: float, center_hz: float) -> NDArray[np.complex128]:
        """Signal (samples,) about the carrier, mixed to a centre frequency."""
        offset_hz = self.output.carrier_hz - center_hz
        if not offset_hz:
            return values
        # What is outside the band is filtered off.
        turns = offset_hz * (np.arange(len(values)) + 0.5) / rate_hz
        return np.asarray(values * np.exp(2j * np.pi * turns) * (abs(offset_hz) < rate_hz / 2))

    def _received(self, values: NDArray[np.complex128], rate_hz: float, center_hz: float, range_v: float) -> Capture:
        """Digitise a signal about the carrier (samples,), in V peak."""
        values = self._mixed(self._disturbed(values, rate_hz, range_v), rate_hz, center_hz)
        found, overload = digitised(values, range_v, self.adc_bits)
        return Capture(self._spoilt(found), overload)

    def _spoilt(self, values: NDArray[Any]) -> NDArray[Any]:
        if self.nan_next > 0:
            self.nan_next -= 1
            part = values[..., values.shape[-1] // 2 :]
            part[...] = complex(np.nan, np.nan) if np.iscomplexobj(values) else np.nan
        return values
