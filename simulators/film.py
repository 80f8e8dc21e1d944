"""A strip as the solver's registers hold it: which cell is in which lane, and the constants of every cell.

A register holds `SHOTS` shots side by side, each cut into `SEGMENTS` pieces of the strip. Cell c is row j = c mod n of
segment c div n, with n rows; in a row, lane = segment * SHOTS + shot.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulators.dipolar import demagnetising_factor, exponential_sum
from simulators.dispersion import kittel_hz
from simulators.fields import UNIT
from simulators.lanes import WIDTH
from simulators.strip import Strip

SHOTS = 4
"""Shots solved side by side."""

SEGMENTS = WIDTH // SHOTS
"""Pieces of the strip solved side by side."""

TERMS = 5
"""Exponentials in the dipolar field."""

Precision = type[np.float32] | type[np.float64]


class Film(NamedTuple):
    """What the solver needs to know of the strip, in its precision; fields in units of Ms."""

    rest: Any
    """(rows, 3, WIDTH): the magnetisation at rest; zero where a row reaches beyond the strip."""
    turn: Any
    """(rows * WIDTH,): angle in radians by which a field of Ms turns m in one step, and a trifle, see `film_of`."""
    damping: Any
    """(rows * WIDTH,)"""
    bias: Any
    """Uniform field along x, z, y."""
    near: Any
    """Field along x, z, y of both nearest neighbours, exchange and dipolar together."""
    own: Any
    """Field of a cell's own mx and mz upon itself, up to a part along m, which turns nothing."""
    rates: Any
    """Decay from cell to cell of the exponentials of the dipolar field along z."""
    weights: Any
    powers: Any
    """(rows, TERMS): rates to the power of the row."""
    across: Any
    """Rates to the powers of one and of two segments."""


class Wiring(NamedTuple):
    """What the solver needs to know of antennas, delay and amplifier."""

    component: int
    """Component that the antennas couple to, in the order of a row: 0 for x, 1 for z."""
    input_rows: Any
    """Rows with a cell under the input antenna."""
    input_share: Any
    """(input rows * WIDTH,): 1 where the cell is under the input antenna, else 0."""
    pickup_rows: Any
    pickup_share: Any
    """(pick-up rows * WIDTH,): one over the number of pick-up cells where the cell is one, else 0."""
    history: int
    """Samples of the trace before the first step."""
    taps: tuple[int, ...]
    """First of the four samples around the delayed pick-up, for the start, the middle and the end of a step."""
    tap_weights: Any


def aligned(values: NDArray[Any]) -> NDArray[Any]:
    """Return a flat copy that begins on a cache line: a register across two lines costs twice the time."""
    spare = 64 // values.itemsize
    room = np.empty(values.size + spare, values.dtype)
    first = -room.ctypes.data % 64 // values.itemsize
    flat = room[first : first + values.size]
    flat[:] = values.ravel()
    return flat


def in_segments(strip: Strip, values: NDArray[Any]) -> NDArray[Any]:
    """Values of each cell `(..., cells)` to rows and segments `(..., rows, SEGMENTS)`; 0 beyond the strip."""
    rows = row_count(strip)
    padding = [(0, 0)] * (values.ndim - 1) + [(0, rows * SEGMENTS - strip.cells)]
    return np.pad(values, padding).reshape(*values.shape[:-1], SEGMENTS, rows).swapaxes(-1, -2)


def in_rows(strip: Strip, values: NDArray[Any]) -> NDArray[Any]:
    """Values of each cell `(cells,)`, or of each shot and cell `(SHOTS, cells)`, to rows `(rows, WIDTH)`."""
    of_shots = np.moveaxis(in_segments(strip, np.broadcast_to(values, (SHOTS, strip.cells))), 0, -1)
    return np.ascontiguousarray(of_shots).reshape(-1, WIDTH)


def in_cells(strip: Strip, rows: NDArray[Any]) -> NDArray[Any]:
    """Rows `(rows, WIDTH)` back to shots and cells `(SHOTS, cells)`."""
    cells = rows.reshape(len(rows), SEGMENTS, SHOTS).transpose(2, 1, 0).reshape(SHOTS, -1)
    return cells[:, : strip.cells]


def row_count(strip: Strip) -> int:
    """Rows that the strip's cells fill; some lanes of the last segment may stay empty."""
    return -(-strip.cells // SEGMENTS)


def film_of(strip: Strip, step_s: float, precision: Precision = np.float32) -> Film:
    """Return the strip's constants for steps of `step_s`."""
    fit = exponential_sum(strip.cells, strip.cell_m, strip.thickness_m, TERMS)
    nxx = float(demagnetising_factor(np.array(0), strip.cell_m, strip.thickness_m))
    # The recursions reach the nearest neighbour, where the fit does not hold: this puts it right.
    first = fit.first - float(fit.weights @ fit.rates)
    exchange = strip.exchange.neighbour
    easy = strip.anisotropy.strength * np.array(UNIT[strip.easy_axis])
    rows = row_count(strip)
    rest = np.stack([in_rows(strip, np.full(strip.cells, UNIT[strip.bias_axis][i])) for i in (0, 2, 1)], axis=1)
    x, y, z = strip.bias * np.array(UNIT[strip.bias_axis])
    damping = strip.damping_profile
    # Runge-Kutta steps turn a wave too slowly by (w step)**4 / 120 of itself. Made good at the film's own frequency,
    # a quarter of that is left at 3.2 GHz in the default film. Being of fourth order itself it leaves the order alone.
    hurry = 1 + np.nan_to_num(2 * np.pi * kittel_hz(strip) * step_s) ** 4 / 120
    across = [fit.rates ** (rows * segments) for segments in (1, 2)]
    return Film(
        rest=rest.astype(precision),
        turn=aligned(in_rows(strip, hurry * strip.rate * step_s / (1 + damping**2)).astype(precision)),
        damping=aligned(in_rows(strip, damping).astype(precision)),
        bias=tuple(precision(b) for b in (x, z, y)),
        near=(precision(exchange - first), precision(exchange + first), precision(exchange)),
        # Taking the same multiple of m off all components turns nothing: so the y component needs none.
        own=(precision(easy[0] - easy[1] - nxx), precision(easy[2] - easy[1] - (1 - nxx))),
        rates=tuple(fit.rates.astype(precision)),
        # The sums are of weights * rates**k at distance k, and the recursion begins with rates**0 at distance 1.
        weights=tuple((fit.weights * fit.rates).astype(precision)),
        powers=(fit.rates ** np.arange(rows)[:, None]).astype(precision),
        across=tuple(tuple(power.astype(precision)) for power in across),
    )


def wiring_of(strip: Strip, delay_s: float, step_s: float, precision: Precision = np.float32) -> Wiring:
    """Return the constants of antennas and delay for steps of `step_s`.

    The delay is any time of three steps or more. The delayed pick-up is interpolated through four samples (cubic
    Lagrange) at the times of the Runge-Kutta stages, so that the closed ring keeps the fourth order.
    """
    delay = delay_s / step_s
    if delay < 3:
        raise ValueError(f"expected a loop delay of at least three steps of {step_s:g} s, got {delay_s:g} s")
    positions = [stage - delay for stage in (0.0, 0.5, 1.0)]
    taps = tuple(math.floor(position) - 1 for position in positions)
    shares = []
    for antenna, share in zip(strip.antennas, (1.0, 1 / strip.antenna_cells), strict=True):
        cells = np.zeros(strip.cells)
        cells[antenna.start : antenna.stop] = share
        shares.append(in_rows(strip, cells).astype(precision))
    (into, out) = shares
    return Wiring(
        component="xz".index(strip.antenna_axis),
        input_rows=np.flatnonzero(into.any(axis=1)),
        input_share=aligned(into[into.any(axis=1)]),
        pickup_rows=np.flatnonzero(out.any(axis=1)),
        pickup_share=aligned(out[out.any(axis=1)]),
        history=-taps[0],
        taps=taps,
        tap_weights=tuple(
            tuple(precision(weight) for weight in _lagrange(position - tap))
            for position, tap in zip(positions, taps, strict=True)
        ),
    )


def _lagrange(x: float) -> list[float]:
    """Weights of the samples at 0, 1, 2 and 3 for the value at `x` of the cubic through them."""
    return [math.prod((x - j) / (i - j) for j in range(4) if j != i) for i in range(4)]
