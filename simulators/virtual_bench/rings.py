"""The simulated ring behind a bench: asked on any time grid, at any setting of what surrounds it."""

import logging
from math import ceil, inf, isnan, log10
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from labpgt.errors import DeviceFault, InputError
from simulators.dispersion import band_hz
from simulators.envelope_ring import EnvelopeRing
from simulators.llg_ring import LLGRing
from simulators.llg_ring_config import LLGRingConfig
from simulators.simulated_ring import SimulatedRing
from simulators.strip import Strip

_LOG = logging.getLogger("labpgt.simulators")

RINGS: dict[str, type[SimulatedRing]] = {"envelope-ring": EnvelopeRing, "llg-ring": LLGRing}

_MOST_RINGS = 12
"""Rings kept open; each differs in what a ring cannot change from shot to shot."""

_STRENGTH_DB = 3.0
"""A source stronger than a drive of 1 gets a ring for stronger drives, in steps of this."""

_KICK = 24
"""Symbols that a ring is driven for to see how long it takes to forget, or to make it oscillate."""

_LISTEN_S = 2e-6
_LONGEST_S = 40e-6

_STEADY = 0.01
"""Change of the amplitude, from one part of a record to the next, of an oscillation that has come to its level."""


class Grid(NamedTuple):
    """Time grid of a ring: a symbol starts with a pulse of `duty`, and is read in `windows`."""

    symbol_s: float
    duty: float
    windows: int

    @property
    def rate_hz(self) -> float:
        """Windows a second."""
        return self.windows / self.symbol_s


class Surroundings(NamedTuple):
    """What is set outside the strip."""

    carrier_hz: float
    bias_t: float
    attenuation_db: float
    """From the nominal setting."""


class Place(NamedTuple):
    """What one ring cannot change from shot to shot."""

    grid: Grid
    carrier_hz: float
    bias_t: float
    strength: float
    kind: str


class Tone(NamedTuple):
    """A self-oscillation: amplitude, as a share of full scale, and frequency from the carrier."""

    amplitude: float
    offset_hz: float


class Rings:
    """Simulated rings of one kind and film, made when they are first asked for."""

    def __init__(self, kind: str, settings: dict[str, Any]) -> None:
        if kind not in RINGS:
            raise InputError(f'ring = "{kind}": not a ring that a virtual bench can have. Valid: {", ".join(RINGS)}')
        self.kind = kind
        self.config: LLGRingConfig = RINGS[kind](**settings).config
        self._rings: dict[Place, SimulatedRing | None] = {}
        self._forgotten: dict[tuple[Any, ...], float] = {}
        self._tones: dict[tuple[Any, ...], Tone] = {}

    @property
    def home(self) -> Surroundings:
        """Surroundings by the ring's own settings."""
        return Surroundings(self.config.carrier_hz, self.config.bias_t, self.config.attenuation_db)

    def grid(self, windows: int) -> Grid:
        """Return the ring's own symbols, read in so many windows."""
        return Grid(self.config.symbol_s, self.config.duty, windows)

    def close(self) -> None:
        """Release all rings."""
        for ring in self._rings.values():
            if ring is not None:
                ring.close()
        self._rings.clear()

    def net_gain(self, around: Surroundings) -> float:
        """Loop gain as a share of the threshold of auto-oscillation."""
        return float(self.config.gain * 10 ** (-around.attenuation_db / 20))

    def respond(
        self, pulses: NDArray[np.complex128], grid: Grid, around: Surroundings, first: int = 0
    ) -> NDArray[np.float64]:
        """Pulses (shots, symbols) to both quadratures (shots, symbols, 2 * windows), as shares of full scale.

        Every shot starts from rest; there is no readout noise, and the thermal noise of a warm film is that of the
        shots with numbers from `first` on. Raises `InputError` for pulses stronger than a film can be simulated with.
        """
        peak = float(np.abs(pulses).max(initial=0))
        strength = 1.0
        if peak > 1 + 1e-4:
            strength = 10 ** (_STRENGTH_DB / 20 * ceil(20 / _STRENGTH_DB * log10(peak) - 1e-9))
            pulses = pulses / strength
        key = Place(grid, around.carrier_hz, around.bias_t, strength, self.kind)
        ring = self._ring(key)
        if ring is None:
            return np.zeros((*pulses.shape, 2 * grid.windows))
        low, high = ring.tunable["attenuation_db"]
        tuning = {"attenuation_db": np.full(len(pulses), np.clip(around.attenuation_db, low, high))}
        ring.seek(first)
        try:
            return ring.forward_pulses(pulses, tuning)
        except DeviceFault as fault:
            reference = self._ring(key._replace(kind=LLGRing.name))
            if reference is None or reference is ring:
                raise
            # A model that is good for short shots below the threshold can run away elsewhere.
            _LOG.warning("virtual bench: the LLG ring answers these shots instead: %s", fault)
            reference.seek(first)
            return reference.forward_pulses(pulses, tuning)

    def signal(
        self, pulses: NDArray[np.complex128], grid: Grid, around: Surroundings, *, image: bool, first: int = 0
    ) -> NDArray[np.complex128]:
        """Pulses (shots, symbols) to the envelope about the carrier (shots, symbols * windows), share of full scale.

        A ring above its threshold is oscillating when the pulses come. The detector of the ring takes means over its
        windows, in which something of the image at twice the carrier is left; an analyser filters it off: `image`.
        """
        lead = 0
        if self.net_gain(around) >= 1:
            kick = np.tile(self._kick(grid, around), (len(pulses), 1))
            lead = kick.shape[1]
            pulses = np.concatenate([kick, pulses], axis=1)
        found = signal(self.respond(pulses, grid, around, first))
        if not image:
            found = _without_image(found, around.carrier_hz / grid.rate_hz)
        return found[:, lead * grid.windows :]

    def forgotten_s(self, grid: Grid, around: Surroundings, least: float) -> float:
        """How long after its last pulse what a ring answers to it is below `least`; infinite if it takes very long.

        Measured once: after constant, random and two-valued shots, against silence.
        """
        key = (grid, around, least)
        if key not in self._forgotten:
            self._forgotten[key] = self._measured(grid, around, least)
        return self._forgotten[key]

    def tone(self, grid: Grid, around: Surroundings) -> Tone:
        """Return the oscillation that a ring above its threshold has come to; of amplitude 0 below. Measured once."""
        if self.net_gain(around) < 1:
            return Tone(0.0, 0.0)
        key = (grid, around)
        if key not in self._tones:
            silence = np.zeros((1, ceil(_LISTEN_S / 4 / grid.symbol_s)), np.complex128)
            heard = self.signal(silence, grid, around, image=False)[0]
            turn = float(np.angle(np.vdot(heard[:-1], heard[1:]))) / (2 * np.pi)
            # A window takes the mean.
            size = float(np.sqrt(np.mean(np.abs(heard) ** 2)) / np.sinc(turn))
            self._tones[key] = Tone(size, turn * grid.rate_hz)
        return self._tones[key]

    def _kick(self, grid: Grid, around: Surroundings) -> NDArray[np.complex128]:
        """Return pulses (symbols,) after which a ring above its threshold has come to its oscillation."""
        return np.concatenate([np.ones(_KICK), np.zeros(self._wound(grid, around))]).astype(np.complex128)

    def _wound(self, grid: Grid, around: Surroundings) -> int:
        """Symbols that an oscillation takes to come to its level."""
        key = (grid, around, "wound")
        if key not in self._forgotten:
            symbols = ceil(_LISTEN_S / grid.symbol_s)
            while True:
                pulses = np.concatenate([np.ones(_KICK), np.zeros(symbols)]).astype(np.complex128)
                size = np.abs(signal(self.respond(pulses[None], grid, around))[0])
                *_, earlier, later = (np.sqrt(np.mean(part**2)) for part in np.array_split(size, 8))
                if abs(later - earlier) <= _STEADY * later or symbols * grid.symbol_s > _LONGEST_S:
                    break
                symbols *= 2
            self._forgotten[key] = symbols
        return int(self._forgotten[key])

    def _measured(self, grid: Grid, around: Surroundings, least: float) -> float:
        if self.net_gain(around) >= 1:
            return inf
        # As long as several memory times of the ring, whatever its symbols are.
        driven = max(_KICK, ceil(_LISTEN_S / 4 / grid.symbol_s))
        draw = np.random.default_rng(0)
        drives = draw.random((8, driven))
        drives[0] = 1
        drives[1:4] = drives[1:4].round()
        listen = ceil(_LISTEN_S / grid.symbol_s)
        while True:
            pulses = np.concatenate([drives, np.zeros((len(drives), listen))], axis=1).astype(np.complex128)
            found = self.respond(pulses, grid, around)
            if self.config.temperature_k:
                found = found - self.respond(np.zeros_like(pulses), grid, around)
            size = np.abs(signal(found)).max(axis=0)
            heard = np.flatnonzero(size >= least)
            ended_s = (heard[-1] + 1) / grid.rate_hz if len(heard) else 0.0
            left_s = (driven + listen) * grid.symbol_s - ended_s
            if left_s > listen * grid.symbol_s / 2:
                return max(0.0, ended_s - (driven - 1 + grid.duty) * grid.symbol_s)
            if listen * grid.symbol_s > _LONGEST_S:
                return inf
            listen *= 2

    def _ring(self, key: Place) -> SimulatedRing | None:
        """Return an open ring, or None where the film carries no wave."""
        if key in self._rings:
            self._rings[key] = self._rings.pop(key)
        else:
            if len(self._rings) >= _MOST_RINGS:
                oldest = self._rings.pop(next(iter(self._rings)))
                if oldest is not None:
                    oldest.close()
            self._rings[key] = self._made(key)
        return self._rings[key]

    def _made(self, key: Place) -> SimulatedRing | None:
        c, grid = self.config, key.grid
        settings = {
            **c.model_dump(),
            "preset": "",
            "noise": 0.0,
            "detector": "iq",
            "n_nodes": 2 * grid.windows,
            "symbol_s": grid.symbol_s,
            "duty": grid.duty,
            "carrier_hz": key.carrier_hz,
            "bias_t": key.bias_t,
            "drive_field_a_per_m": c.drive_field_a_per_m * key.strength,
        }
        if (grid.symbol_s, grid.duty) != (c.symbol_s, c.duty):
            # The mask belongs to the ring's own symbols.
            settings["mask"] = "none"
        strip = Strip(**{key: settings[key] for key in Strip.__dataclass_fields__})
        low, high = band_hz(strip) if key.bias_t > 0 else (0.0, 0.0)
        if isnan(low) or not low <= key.carrier_hz <= high:
            _LOG.warning("virtual bench: the film carries no wave at %g Hz and %g T", key.carrier_hz, key.bias_t)
            return None
        ring = RINGS[key.kind](**settings)
        try:
            ring.open()
        except InputError as refusal:
            if key.kind == LLGRing.name:
                raise
            if key.carrier_hz != c.carrier_hz:
                # A ring tuned away is looked at, not trained with, and by the second; the exact one takes minutes.
                _LOG.warning("virtual bench: at %g Hz the envelope model is only near the LLG ring", key.carrier_hz)
                ring = _Near(**settings)
                ring.open()
                return ring
            # Outside the range of the envelope model: what it is a model of answers, slowly.
            _LOG.warning("virtual bench: the LLG ring answers instead: %s", refusal)
            ring = LLGRing(**settings)
            ring.open()
        return ring


class _Near(EnvelopeRing):
    """The ring by envelopes, also where it is not within its limits of the LLG ring."""

    def _prepare(self, threads: int) -> None:
        """Make the model, whatever its test has shown."""
        _ = self._fitted


def _without_image(found: NDArray[np.complex128], periods: float) -> NDArray[np.complex128]:
    """Envelope A (shots, n) from means over windows of so many carrier periods.

    The mean of 2i Im(A exp(i w t)) exp(-i w t) is A - c conj(A), c the mean of exp(-2 i w t) over the window.
    """
    middle = np.arange(found.shape[1]) + 0.5
    c = np.sinc(2 * periods) * np.exp(-2j * np.pi * np.mod(2 * periods * middle, 1))
    return np.asarray((found + c * found.conj()) / (1 - np.abs(c) ** 2))


def signal(responses: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Both quadratures (shots, symbols, 2 * windows) as one complex signal (shots, symbols * windows)."""
    windows = responses.shape[-1] // 2
    return (responses[..., :windows] + 1j * responses[..., windows:]).reshape(len(responses), -1)
