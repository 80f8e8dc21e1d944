"""Landau-Lifshitz-Gilbert solver for a film strip with two antennas and a delayed feedback loop.

With m the magnetisation and h the field, both in units of the saturation magnetisation Ms, and damping alpha:

    dm/dt = gamma mu0 Ms / (1 + alpha**2) * w x m,    w = h + alpha m x h

(Gilbert, IEEE Trans. Magn. 40, 3443 (2004), solved for dm/dt). The field is the sum of exchange with the two nearest
cells and free (Neumann) ends, the dipolar field of all cells (`simulators.dipolar`), the bias along y, and, under
the input antenna, drive and feedback along x: the in-plane field of a narrow microstrip. Antennas pick up mx.
Everything else is SI.

Eight shots are solved side by side (`simulators.lanes`), in the precision of the arrays given.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from simulators.dipolar import demagnetising_factor, exponential_sum
from simulators.lanes import WIDTH, high, join, load, load_pair, low, root, store
from simulators.strip import Loop, Strip

CELL = 3 * WIDTH
"""Numbers that a cell of eight shots takes in a flat state: mx and mz (a pair), then my."""

Precision = type[np.float32] | type[np.float64]


class Film(NamedTuple):
    """What the solver needs to know of the strip, in its precision; fields in units of Ms."""

    turn: Any
    """(cells + 2,): angle in radians by which a field of Ms turns m in one step."""
    damping: Any
    """(cells + 2,)"""
    exchange: Any
    near_x: Any
    """Field along x of both nearest neighbours, exchange and dipolar together."""
    near_z: Any
    own_x: Any
    """Demagnetising factor of a cell upon itself."""
    own_z: Any
    bias: Any
    rates: Any
    """Decay from cell to cell of the four exponentials of the dipolar field."""
    weights: Any


class Wiring(NamedTuple):
    """What the solver needs to know of antennas, delay and amplifier; cells are counted from 1."""

    input_first: int
    input_stop: int
    pickup_first: int
    pickup_stop: int
    share: Any
    """One over the number of pick-up cells."""
    history: int
    """Samples of the trace before the shot, all zero."""
    taps: tuple[int, ...]
    """First of the four samples around the delayed pick-up, for the start, the middle and the end of a step."""
    tap_weights: Any
    steepness: Any
    """Gain over saturation."""
    saturation: Any


def film_of(strip: Strip, step_s: float, precision: Precision = np.float32) -> Film:
    """Return the strip's constants for steps of `step_s`."""
    fit = exponential_sum(strip.cells, strip.cell_m, strip.thickness_m)
    own = float(demagnetising_factor(np.array(0), strip.cell_m, strip.thickness_m))
    # The recursions reach the nearest neighbour, where the fit does not hold: this puts it right.
    first = fit.first - float(fit.weights @ fit.rates)
    damping = np.pad(strip.damping_profile, 1)
    return Film(
        turn=(strip.rate * step_s / (1 + damping**2)).astype(precision),
        damping=damping.astype(precision),
        exchange=precision(strip.exchange),
        near_x=precision(strip.exchange - first),
        near_z=precision(strip.exchange + first),
        own_x=precision(own),
        own_z=precision(1 - own),
        bias=precision(strip.bias),
        rates=tuple(fit.rates.astype(precision)),
        weights=tuple((fit.weights * fit.rates).astype(precision)),
    )


def wiring_of(strip: Strip, loop: Loop, step_s: float, precision: Precision = np.float32) -> Wiring:
    """Return the constants of antennas and loop for steps of `step_s`.

    The delay is any time of three steps or more. The delayed pick-up is interpolated through four samples (cubic
    Lagrange) at the times of the Runge-Kutta stages, so that the closed ring keeps the fourth order.
    """
    delay = loop.delay_s / step_s
    if delay < 3:
        raise ValueError(f"expected a loop delay of at least three steps of {step_s:g} s, got {loop.delay_s:g} s")
    positions = [stage - delay for stage in (0.0, 0.5, 1.0)]
    taps = tuple(math.floor(position) - 1 for position in positions)
    into, out = strip.antennas
    return Wiring(
        input_first=into.start + 1,
        input_stop=into.stop + 1,
        pickup_first=out.start + 1,
        pickup_stop=out.stop + 1,
        share=precision(1 / strip.antenna_cells),
        history=-taps[0],
        taps=taps,
        tap_weights=tuple(
            tuple(precision(weight) for weight in _lagrange(position - tap))
            for position, tap in zip(positions, taps, strict=True)
        ),
        steepness=precision(loop.gain / loop.saturation),
        saturation=precision(loop.saturation),
    )


def _lagrange(x: float) -> list[float]:
    """Weights of the samples at 0, 1, 2 and 3 for the value at `x` of the cubic through them."""
    return [math.prod((x - j) / (i - j) for j in range(4) if j != i) for i in range(4)]


def state_at_rest(strip: Strip, precision: Precision = np.float32) -> NDArray[Any]:
    """Return eight shots at rest, m along the bias, which is the exact ground state: flat, cells + 2 of `CELL`."""
    state = np.zeros((strip.cells + 2, 3, WIDTH), precision)
    state[1:-1, 2] = 1
    return state.ravel()


@njit(nogil=True, cache=True, error_model="numpy")
def solve(
    film: Film,
    wiring: Wiring,
    m: NDArray[Any],
    waveform: NDArray[Any],
    amplitudes: NDArray[Any],
    steps_on: int,
    steps_off: int,
    trace: NDArray[Any],
) -> None:
    """Advance eight shots by classical Runge-Kutta steps (RK4), with |m| brought back to 1 after each.

    `m` is a flat state, its two ghost cells zero; it is advanced in place. `waveform` (2 * steps + 1) is the drive
    field at the start, middle and end of each step. `amplitudes` (flat, symbols of `WIDTH`) scales it for the
    first `steps_on` steps of each symbol; for the other `steps_off` there is no drive. `trace` (flat, history + 1 +
    steps of `WIDTH`, zero to begin with) takes the pick-up after each step, from sample history + 1 on.
    """
    steps = (steps_on + steps_off) * (amplitudes.size // WIDTH)
    # Lanes are stored without bounds checks.
    if waveform.size < 2 * steps + 1 or trace.size < (wiring.history + 1 + steps) * WIDTH:
        raise ValueError("waveform or trace is too short for the number of steps")
    dipolar = np.zeros_like(m)
    stage = np.zeros_like(m)
    total = np.zeros_like(m)
    number = m.dtype.type
    sixth, third, half, one, none = number(1 / 6), number(1 / 3), number(0.5), number(1), number(0)
    for n in range(steps):
        symbol, step = divmod(n, steps_on + steps_off)
        sample = wiring.history + n
        amplitude = (one if step < steps_on else none) * load(amplitudes, symbol * WIDTH)
        start, middle, end = waveform[2 * n], waveform[2 * n + 1], waveform[2 * n + 2]
        _sweep_back(film, m, dipolar)
        _add_antenna(wiring, trace, sample, 0, start * amplitude, dipolar)
        _sweep_forth(film, dipolar, m, m, m, sixth, total, half, stage)
        _sweep_back(film, stage, dipolar)
        _add_antenna(wiring, trace, sample, 1, middle * amplitude, dipolar)
        _sweep_forth(film, dipolar, stage, m, total, third, total, half, stage)
        _sweep_back(film, stage, dipolar)
        _add_antenna(wiring, trace, sample, 1, middle * amplitude, dipolar)
        _sweep_forth(film, dipolar, stage, m, total, third, total, one, stage)
        _sweep_back(film, stage, dipolar)
        _add_antenna(wiring, trace, sample, 2, end * amplitude, dipolar)
        _sweep_forth(film, dipolar, stage, m, total, sixth, total, none, stage)
        _renormalise(total, m)
        pickup = load(m, wiring.pickup_first * CELL)
        for i in range(wiring.pickup_first + 1, wiring.pickup_stop):
            pickup = pickup + load(m, i * CELL)
        store(trace, (sample + 1) * WIDTH, wiring.share * pickup)


@njit(nogil=True, cache=True, error_model="numpy")
def _sweep_back(film: Film, m: NDArray[Any], dipolar: NDArray[Any]) -> None:
    """Sum of Nxx m over all cells to the right of each cell: one recursion a term, from the right end."""
    r0, r1, r2, r3 = film.rates
    w0, w1, w2, w3 = film.weights
    cells = film.turn.size - 2
    f0 = f1 = f2 = f3 = right = load_pair(m, (cells + 1) * CELL)
    for i in range(cells, 0, -1):
        f0 = r0 * f0 + right
        f1 = r1 * f1 + right
        f2 = r2 * f2 + right
        f3 = r3 * f3 + right
        store(dipolar, i * CELL, (w0 * f0 + w1 * f1) + (w2 * f2 + w3 * f3))
        right = load_pair(m, i * CELL)


@njit(nogil=True, cache=True, error_model="numpy")
def _add_antenna(
    wiring: Wiring, trace: NDArray[Any], sample: int, part: int, drive: Any, dipolar: NDArray[Any]
) -> None:
    """Put drive and feedback, at the start, middle or end of a step (`part` 0, 1, 2), where the dipolar field is."""
    at = (sample + wiring.taps[part]) * WIDTH
    a, b, c, d = wiring.tap_weights[part]
    y = wiring.steepness * (
        (a * load(trace, at) + b * load(trace, at + WIDTH))
        + (c * load(trace, at + 2 * WIDTH) + d * load(trace, at + 3 * WIDTH))
    )
    one = trace.dtype.type(1)
    field = drive + wiring.saturation * y / root(one + y * y)
    for i in range(wiring.input_first, wiring.input_stop):
        # The dipolar field along x is minus the sum that is kept here.
        store(dipolar, i * CELL, load(dipolar, i * CELL) - field)


@njit(nogil=True, cache=True, error_model="numpy")
def _sweep_forth(
    film: Film,
    dipolar: NDArray[Any],
    m: NDArray[Any],
    base: NDArray[Any],
    sum_so_far: NDArray[Any],
    share: Any,
    new_sum: NDArray[Any],
    reach: Any,
    new_m: NDArray[Any],
) -> None:
    """With k the change of `m` in one step: new_sum = sum_so_far + share * k, new_m = base + reach * k.

    A part of the field along the cell's own m turns nothing and is left out: the centre of the exchange stencil, and
    with it the free ends, where the missing neighbour counts as zero. `new_m` may be `m`.
    """
    r0, r1, r2, r3 = film.rates
    w0, w1, w2, w3 = film.weights
    f0 = f1 = f2 = f3 = left = load_pair(m, 0)
    left_y = low(left)
    here, here_y = load_pair(m, CELL), load(m, CELL + 2 * WIDTH)
    for i in range(1, film.turn.size - 1):
        at = i * CELL
        f0 = r0 * f0 + left
        f1 = r1 * f1 + left
        f2 = r2 * f2 + left
        f3 = r3 * f3 + left
        far = load_pair(dipolar, at) + ((w0 * f0 + w1 * f1) + (w2 * f2 + w3 * f3))
        right, right_y = load_pair(m, at + CELL), load(m, at + CELL + 2 * WIDTH)
        near = left + right
        mx, mz, my = low(here), high(here), here_y
        # Between cells Nzz = -Nxx, hence the signs.
        hx = film.near_x * low(near) - film.own_x * mx - low(far)
        hz = film.near_z * high(near) - film.own_z * mz + high(far)
        hy = film.exchange * (left_y + right_y) + film.bias
        damping = film.damping[i]
        wx = hx + damping * (my * hz - mz * hy)
        wy = hy + damping * (mz * hx - mx * hz)
        wz = hz + damping * (mx * hy - my * hx)
        k = join(wy * mz - wz * my, wx * my - wy * mx)
        k_y = wz * mx - wx * mz
        turn = film.turn[i]
        store(new_sum, at, load_pair(sum_so_far, at) + (share * turn) * k)
        store(new_sum, at + 2 * WIDTH, load(sum_so_far, at + 2 * WIDTH) + (share * turn) * k_y)
        store(new_m, at, load_pair(base, at) + (reach * turn) * k)
        store(new_m, at + 2 * WIDTH, load(base, at + 2 * WIDTH) + (reach * turn) * k_y)
        left, left_y = here, here_y
        here, here_y = right, right_y


@njit(nogil=True, cache=True, error_model="numpy")
def _renormalise(total: NDArray[Any], m: NDArray[Any]) -> None:
    """Set `m` to `total` with |m| = 1."""
    number = m.dtype.type
    for i in range(1, m.size // CELL - 1):
        at = i * CELL
        pair, y = load_pair(total, at), load(total, at + 2 * WIDTH)
        square = low(pair) * low(pair) + high(pair) * high(pair) + y * y
        # One Newton step towards 1/sqrt(square), which a step leaves so near 1 that this is exact to rounding.
        scale = number(1.5) - number(0.5) * square
        store(m, at, join(scale, scale) * pair)
        store(m, at + 2 * WIDTH, scale * y)
