"""What surrounds the strip in a magnonic ring: modulator, input switch, detector, and the shots that share a tile.

Per symbol: a complex pulse p (amplitude and phase) makes the antenna field Im(p exp(2 pi i f t)) * gate(t), in units
of Ms; the pick-up is reduced to one value, or two, for each of a number of equal windows. Time is solved symbol by
symbol, so memory does not grow with the length of a shot.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from simulators.film import SEGMENTS, SHOTS, Film, Precision, Wiring, aligned, film_of, row_count, wiring_of
from simulators.kernels import fresh
from simulators.lanes import WIDTH
from simulators.llg import Drive, Tile, advance, keep_past, reset, tile_at_rest
from simulators.strip import Strip

Thermal = Callable[[int, int], NDArray[Any]]
"""Shot and symbol to the thermal field (steps, rows, 3, SEGMENTS), in units of Ms."""


class Symbol(NamedTuple):
    """How one symbol is sent and read."""

    windows: int
    window_steps: int
    step_s: float
    gate: Any
    """(windows * window_steps,): what the input switch and the mask make of the pulse in each step."""
    iq: bool
    """Whether the detector keeps the phase: complex amplitudes instead of envelopes."""


class Shots(NamedTuple):
    """Up to `SHOTS` shots with settings of their own; every array has one entry, or row, a shot."""

    pulses: Any
    """(shots, symbols) complex: amplitude, in units of Ms, and phase of the carrier."""
    carrier_hz: Any
    gain: Any
    """Feedback field over mean pick-up, for small signals."""
    saturation: Any
    """Largest feedback field, in units of Ms."""


@dataclass
class Workspace:
    """Room for one tile of shots; one for each thread."""

    tile: Tile
    drive: Drive
    carrier_hz: Any = None
    """Of each lane, in the drive's tables."""


class RingSolver:
    """Solves tiles of shots through one strip, delay and way of sending and reading symbols."""

    def __init__(self, strip: Strip, delay_s: float, symbol: Symbol, precision: Precision) -> None:
        self.strip, self.symbol = strip, symbol
        self.film: Film = film_of(strip, symbol.step_s, precision)
        self.wiring: Wiring = wiring_of(strip, delay_s, symbol.step_s, precision)
        self.precision = precision

    def workspace(self) -> Workspace:
        """Allocate what one thread needs."""
        steps = self.symbol.gate.size
        table = np.zeros((2 * steps + 1) * WIDTH, self.precision)
        lanes = np.zeros(WIDTH, self.precision)
        gate = self.symbol.gate.astype(self.precision)
        drive = Drive(aligned(table), aligned(table), gate, *(aligned(lanes) for _ in range(4)))
        return Workspace(tile_at_rest(self.film, self.wiring, steps), drive)

    def respond(self, work: Workspace, shots: Shots, thermal: Thermal | None = None) -> NDArray[np.complex128]:
        """Return the complex amplitude (shots, symbols, windows) of the mean pick-up, or its envelope (real).

        An envelope is sqrt(2 <p**2>) over the window; an amplitude z belongs to the pick-up Im(z exp(2 pi i f t)).
        """
        count, symbols = shots.pulses.shape
        tile, drive, symbol = work.tile, work.drive, self.symbol
        steps = symbol.gate.size
        reset(self.film, tile)
        carrier_hz = _lanes(shots.carrier_hz)
        if not np.array_equal(carrier_hz, work.carrier_hz):
            angle = 2 * np.pi * carrier_hz * (0.5 * symbol.step_s) * np.arange(2 * steps + 1)[:, None]
            drive.cosine[:] = np.tile(np.cos(angle), SEGMENTS).ravel()
            drive.sine[:] = np.tile(np.sin(angle), SEGMENTS).ravel()
            work.carrier_hz = carrier_hz
        drive.steepness[:] = np.tile(_lanes(shots.gain) / _lanes(shots.saturation), SEGMENTS)
        drive.saturation[:] = np.tile(_lanes(shots.saturation), SEGMENTS)
        # The carrier goes on through the symbols; each starts with the phase it has reached.
        start = np.exp(2j * np.pi * carrier_hz * steps * symbol.step_s * np.arange(symbols)[:, None])
        pulses = np.zeros((symbols, SHOTS), np.complex128)
        pulses[:, :count] = shots.pulses.T
        pulses *= start
        out = np.empty((symbols, symbol.windows, 2, SHOTS))
        reach = (symbol.window_steps, symbol.iq)
        if thermal is None:
            run(self.film, self.wiring, tile, drive, pulses, *reach, out, None)
        else:
            noise = np.zeros((steps, row_count(self.strip), 3, SEGMENTS, SHOTS), self.precision)
            for i in range(symbols):
                for shot in range(count):
                    noise[..., shot] = thermal(shot, i)
                some = slice(i, i + 1)
                run(self.film, self.wiring, tile, drive, pulses[some], *reach, out[some], noise.ravel())
        if symbol.iq:
            amplitude = (out[:, :, 0] + 1j * out[:, :, 1]) / start[:, None]
        else:
            amplitude = np.sqrt(2 * out[:, :, 0]).astype(np.complex128)
        return np.asarray(amplitude[..., :count].transpose(2, 0, 1))


def _lanes(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(SHOTS,) from a value for each of up to that many shots; the last fills up."""
    return np.concatenate([values, np.full(SHOTS - len(values), values[-1])])


@fresh
@njit(nogil=True, cache=True, error_model="numpy")
def run(
    film: Film,
    wiring: Wiring,
    tile: Tile,
    drive: Drive,
    pulses: NDArray[Any],
    window_steps: int,
    iq: bool,
    out: NDArray[Any],
    thermal: Any,
) -> None:
    """Solve symbol after symbol; `out` (symbols, windows, 2, SHOTS) takes mean squares, or both quadratures."""
    steps = drive.gate.size
    for symbol in range(pulses.shape[0]):
        for lane in range(WIDTH):
            pulse = pulses[symbol, lane % SHOTS]
            drive.in_phase[lane] = pulse.imag
            drive.quadrature[lane] = pulse.real
        advance(film, wiring, tile, drive, thermal)
        for window in range(out.shape[1]):
            for shot in range(SHOTS):
                first, second = 0.0, 0.0
                for n in range(window * window_steps, (window + 1) * window_steps):
                    p = float(tile.trace[(wiring.history + 1 + n) * WIDTH + shot])
                    if iq:
                        at = 2 * (n + 1) * WIDTH + shot
                        first += p * drive.sine[at]
                        second += p * drive.cosine[at]
                    else:
                        first += p * p
                scale = (2 if iq else 1) / window_steps
                out[symbol, window, 0, shot] = scale * first
                out[symbol, window, 1, shot] = scale * second
        keep_past(wiring, tile, steps)
