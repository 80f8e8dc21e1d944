"""What the ring answers to a waveform: shots that start from rest side by side, the others as they follow."""

from math import ceil, inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from labpgt.rng import Draw, generator
from simulators.virtual_bench.receiver import means
from simulators.virtual_bench.rings import Grid, Rings, Surroundings
from simulators.virtual_bench.waveform import Shots, Symbols, chained, cut, full_pulses, on_grid, rounded

MOST_WINDOWS = 100
"""Windows a symbol that a ring can be read in."""

_LONGEST_SYMBOL_S = 50e-9
"""Of a waveform that is played a symbol a sample: a model of the ring is fitted to some symbols within its memory."""


class Waveform(NamedTuple):
    """A waveform as it is played."""

    codes: NDArray[np.int16]
    """(samples, 2)."""
    marks: NDArray[np.intp] | None
    rate_hz: float
    factor: float
    """Drive of a full code."""


class Answer(NamedTuple):
    """Signal that comes out of the ring."""

    values: NDArray[np.complex128]
    """(samples,), as a share of full scale."""
    shots: int
    """Shots that the waveform held."""


def answer(
    rings: Rings,
    played: Waveform,
    around: Surroundings,
    samples: int,
    rate_hz: float,
    least: float,
    first: int,
    raw: bool,
) -> Answer:
    """Return the response to a waveform, each of the `samples` the mean over 1 / rate_hz.

    A shot starts from rest if what the ring still answers to the ones before is below `least`. What is
    `raw` is as the ring's own detector reads it, with its readout noise, that of the shots with numbers from `first`
    on; else it is the envelope about the carrier.
    """
    config = rings.config
    windows = rounded(rate_hz * config.symbol_s) or ceil(rate_hz * config.symbol_s)
    grid = rings.grid(min(windows, MOST_WINDOWS))
    forgotten_s = rings.forgotten_s(grid, around, least)
    # As a count of samples, less a rounding error.
    forgotten = forgotten_s * played.rate_hz * (1 - 1e-9)
    shots = cut(played.codes, played.marks, forgotten)
    rested = chained(shots.quiet, forgotten)
    symbols = _own_symbols(shots, grid, played.rate_hz, rested)
    if symbols is None:
        # Not the ring's own symbols: played as it is, a symbol a sample.
        hold = ceil(1 / (played.rate_hz * _LONGEST_SYMBOL_S) - 1e-9)
        rate = played.rate_hz * hold
        grid = Grid(1 / rate, 1.0, min(MOST_WINDOWS, ceil(rate_hz / rate - 1e-9)))
        shots = Shots(np.repeat(shots.baseband, hold), shots.starts * hold, shots.quiet * hold)
        pulses, counts = shots.baseband[shots.starts[0] :], shots.lengths
        begin = shots.starts * grid.windows
    else:
        pulses, counts = symbols
        begin = np.round(shots.starts * (grid.rate_hz / played.rate_hz)).astype(np.intp)
    if config.encoding == "phase":
        pulses = full_pulses(pulses)
    answers = _solved(rings, pulses * played.factor, counts, rested, grid, around, forgotten_s, raw, first)
    if raw and config.noise:
        _add_noise(answers, rings, grid, counts, first)
    found = answers.ravel()
    # The symbols of a shot one after the other, the shots where they began.
    length = ceil(samples / rate_hz * grid.rate_hz - 1e-6)
    values = np.zeros(max(length, int(begin[-1]) + int(counts[-1]) * grid.windows), np.complex128)
    taken = np.minimum(np.diff(begin, append=len(values)), counts * grid.windows)
    offsets = np.cumsum(counts * grid.windows) - counts * grid.windows
    for at, start, count in zip(begin, offsets, taken, strict=True):
        values[at : at + count] = found[start : start + count]
    return Answer(means(values, grid.rate_hz, samples, rate_hz), len(counts))


def _own_symbols(shots: Shots, grid: Grid, rate_hz: float, rested: NDArray[np.intp]) -> Symbols | None:
    """Read a waveform as the ring's own symbols, or return None."""
    per_symbol, on = rounded(rate_hz * grid.symbol_s), rounded(rate_hz * grid.symbol_s * grid.duty)
    begin = shots.starts * (grid.rate_hz / rate_hz)
    if not per_symbol or not on or np.abs(begin - np.round(begin)).max() > 1e-6:
        return None
    return on_grid(shots, per_symbol, on, rested)


def _solved(
    rings: Rings,
    pulses: NDArray[np.complex128],
    counts: NDArray[np.intp],
    rested: NDArray[np.intp],
    grid: Grid,
    around: Surroundings,
    forgotten_s: float,
    image: bool,
    number: int,
) -> NDArray[np.complex128]:
    """Pulses (symbols,) of shots of `counts` symbols to the signal (symbols, windows)."""
    starts = np.cumsum(counts) - counts
    first = starts[rested]
    lengths = np.diff(first, append=len(pulses))
    answers = np.zeros((len(pulses), grid.windows), np.complex128)
    for length in np.unique(lengths):
        rows = first[lengths == length][:, None] + np.arange(length)
        kept = int(length)
        if forgotten_s < inf:
            # Nothing comes any more when all of them are forgotten.
            driven = int(np.flatnonzero(pulses[rows].any(axis=0)).max(initial=-1)) + 1
            kept = min(kept, driven + ceil(forgotten_s / grid.symbol_s) + 1)
        rows = rows[:, :kept]
        shot = number + int(rested[lengths == length][0])
        answers[rows] = rings.signal(pulses[rows], grid, around, image=image, first=shot).reshape(*rows.shape, -1)
    return answers


def _add_noise(answers: NDArray[np.complex128], rings: Rings, grid: Grid, counts: NDArray[np.intp], first: int) -> None:
    """Add readout noise to the signal (symbols, windows), shot by shot, drawn as a ring with this grid draws it."""
    config = rings.config
    size = config.noise
    if grid.symbol_s != config.symbol_s:
        # Noise that is white: the shorter a window, the more.
        own = rings.grid(config.n_nodes // 2 if config.detector == "iq" else config.n_nodes)
        size *= float(np.sqrt(grid.rate_hz / own.rate_hz))
    start = 0
    for number, count in enumerate(counts, first):
        draw = generator(config.noise_seed, number, Draw.NOISE).standard_normal((count, 2 * grid.windows))
        answers.real[start : start + count] += size * draw[:, : grid.windows]
        answers.imag[start : start + count] += size * draw[:, grid.windows :]
        start += count
