"""What the ring answers to a carrier that never stops, constant or in pulses: one period, once it has settled."""

from math import ceil, gcd
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from labpgt.errors import InputError
from simulators.virtual_bench.playing import MOST_WINDOWS
from simulators.virtual_bench.rings import Grid, Rings, Surroundings

_RESOLUTION_S = 1e-9
"""Pulse periods and widths are whole numbers of this."""

_LONGEST_SYMBOL = 50
"""Longest symbol of the ring, in `_RESOLUTION_S`: a model of it is fitted to some symbols within its memory."""

_LONGEST_SETTLING_S = 40e-6

_MOST_VALUES = 2**22

_RECORD_S = 5e-6
"""Least length of a record that does not repeat itself."""


class Pulses(NamedTuple):
    """Pulses of the carrier, in s; of one as long as the period, the carrier does not stop."""

    period_s: float = 0.0
    width_s: float = 0.0


class Record(NamedTuple):
    """Signals from the start of a pulse on, as shares of full scale."""

    values: NDArray[np.complex128]
    """(levels, n): means over 1 / rate_hz each."""
    rate_hz: float
    repeats: bool
    """Whether it is one period of what goes on like that."""


def steady(
    rings: Rings,
    levels: NDArray[np.float64],
    pulses: Pulses,
    around: Surroundings,
    rate_hz: float,
    least: float,
    least_s: float = 0.0,
) -> Record:
    """Return what the ring answers to pulses of each of some levels (drives), read at `rate_hz` or more often.

    It has settled when what is left of a change is below `least`. A ring that oscillates does not repeat itself: of
    it the record is 5 us or `least_s` long, made up to a whole period, and no pulse or pause is longer than that.
    Raises `InputError` for a period that is too long.
    """
    grid, on, off = _pattern(rings, pulses, rate_hz)
    if (on + off) * grid.windows > _MOST_VALUES:
        raise InputError(
            f"pulse period {pulses.period_s:g} s: the signal would have {(on + off) * grid.windows} values "
            f"of {1 / grid.rate_hz:g} s; expected {_MOST_VALUES} or fewer: shorten the period or lower the span"
        )
    if rings.net_gain(around) >= 1:
        most = ceil(max(least_s, _RECORD_S) / grid.symbol_s)
        on, off = min(on, most), min(off, most)
        periods = ceil(most / (on + off))
        shape = np.tile(_shape(on, off), periods)
        return Record(rings.signal(_levelled(levels, shape), grid, around, image=False), grid.rate_hz, False)
    settling_s = min(rings.forgotten_s(grid, around, least), _LONGEST_SETTLING_S)
    settled = ceil(settling_s / grid.symbol_s) + 1
    if on + off <= 2 * settled:
        periods = ceil(settled / (on + off)) + 1
        found = rings.signal(_levelled(levels, np.tile(_shape(on, off), periods)), grid, around, image=False)
        return Record(found[:, -(on + off) * grid.windows :], grid.rate_hz, True)
    # What is constant for long enough stays as it has become.
    first, second = min(on, settled), min(off, settled)
    found = rings.signal(_levelled(levels, _shape(first, second)), grid, around, image=False)
    rise, fall = np.split(found, [first * grid.windows], axis=1)
    held = np.tile(rise[:, -grid.windows :], on - first)
    values = np.concatenate([rise, held, fall, np.zeros((len(levels), (off - second) * grid.windows))], axis=1)
    return Record(values, grid.rate_hz, True)


def train(pulses: Pulses, levels: NDArray[np.float64]) -> Record:
    """Return the pulses themselves, for each of some levels; constant between the samples."""
    on, off, step_s = _whole(pulses, _LONGEST_SYMBOL)
    if on + off > _MOST_VALUES:
        raise InputError(
            f"pulse period {pulses.period_s:g} s, width {pulses.width_s:g} s: expected {_MOST_VALUES * step_s:g} s at "
            f"most in steps of {step_s:g} s: shorten the period"
        )
    return Record(_levelled(levels, _shape(on, off)), 1 / step_s, True)


def _whole(pulses: Pulses, longest: int) -> tuple[int, int, float]:
    """Pulse and pause in the longest steps that divide both, `longest` times the resolution at most; the step in s."""
    if not 0 < pulses.width_s < pulses.period_s:
        return 1, 0, longest * _RESOLUTION_S
    period, width = (max(1, round(time / _RESOLUTION_S)) for time in (pulses.period_s, pulses.width_s))
    step = gcd(period, width)
    step = max(part for part in range(1, min(step, longest) + 1) if step % part == 0)
    return width // step, (period - width) // step, step * _RESOLUTION_S


def _pattern(rings: Rings, pulses: Pulses, rate_hz: float) -> tuple[Grid, int, int]:
    """Time grid on which pulse and pause are whole symbols, and how many of each."""
    longest = int(MOST_WINDOWS / (rate_hz * _RESOLUTION_S))
    on, off, step_s = _whole(pulses, min(_LONGEST_SYMBOL, max(1, longest)))
    if not off:
        step_s = rings.config.symbol_s
    windows = min(MOST_WINDOWS, max(1, ceil(rate_hz * step_s - 1e-9)))
    return Grid(step_s, 1.0, windows), on, off


def _shape(on: int, off: int) -> NDArray[np.float64]:
    return np.concatenate([np.ones(on), np.zeros(off)])


def _levelled(levels: NDArray[np.float64], shape: NDArray[np.float64]) -> NDArray[np.complex128]:
    return np.multiply.outer(levels, shape).astype(np.complex128)
