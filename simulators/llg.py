"""Landau-Lifshitz-Gilbert solver for a film strip with two antennas and a delayed feedback loop.

With m the magnetisation and h the field, both in units of the saturation magnetisation Ms, and damping alpha:

    dm/dt = gamma mu0 Ms / (1 + alpha**2) * w x m,    w = h + alpha m x h

(Gilbert, IEEE Trans. Magn. 40, 3443 (2004), solved for dm/dt), by classical Runge-Kutta steps. The field is the sum of
the terms in `simulators.fields`, in one pass; the dipolar sum is a forward and a backward recursion for each of five
exponentials (`simulators.dipolar`), O(cells).

A register (`simulators.lanes`) holds `SHOTS` shots side by side, each cut into `SEGMENTS` pieces of the strip. So a
single ± pair has work for the whole register, the state of the film stays in the first-level cache, and, since every
shot is solved by the same instructions whatever its company, no bit of it depends on the batch. What a recursion
carries from one segment into the next is known before the sweep: the sums over whole segments are gathered on the way
back and forth, and a scan over the lanes adds them up (docs/decisions/0007).
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from simulators.film import (
    SEGMENTS,
    SHOTS,
    TERMS,
    Film,
    Precision,
    Wiring,
    aligned,
    film_of,
    in_cells,
    in_rows,
    wiring_of,
)
from simulators.kernels import announced, fresh
from simulators.lanes import (
    WIDTH,
    flush_subnormals,
    load,
    restore_subnormals,
    root,
    rotated,
    shifted,
    store,
)
from simulators.strip import Loop, Strip

ROW = 3 * WIDTH
"""Numbers that a row of cells takes in a state: components x, z, y."""

# By one and by two of the four segments.
_left, _left_2 = shifted(SHOTS), shifted(2 * SHOTS)
_right, _right_2 = shifted(-SHOTS), shifted(-2 * SHOTS)
_turn, _turn_2 = rotated(SHOTS), rotated(2 * SHOTS)


class Tile(NamedTuple):
    """State and workspace of `SHOTS` shots, allocated once; flat arrays."""

    m: Any
    stage: Any
    total: Any
    far: Any
    """(rows, 2, WIDTH): field of all cells but the nearest, of bias and antenna; along x, z."""
    sums: Any
    """(2 * TERMS, WIDTH): sums over each segment that the next recursion begins with, along x and z."""
    trace: Any
    """(history + 1 + steps, WIDTH): pick-up, the latest sample of the past at `history`."""


class Drive(NamedTuple):
    """Drive field of one stretch of time in units of Ms: (in_phase * cosine + quadrature * sine) * gate."""

    cosine: Any
    """(2 * steps + 1, WIDTH): carrier at the start, middle and end of each step."""
    sine: Any
    gate: Any
    """(steps,): what the field is multiplied by in each step."""
    in_phase: Any
    """(WIDTH,)"""
    quadrature: Any
    steepness: Any
    """(WIDTH,): gain over saturation of the amplifier."""
    saturation: Any
    """(WIDTH,): largest feedback field, in units of Ms."""


def tile_at_rest(film: Film, wiring: Wiring, steps: int) -> Tile:
    """Return room for stretches of up to `steps` steps, with the film at rest."""
    precision = film.rest.dtype
    rows = len(film.rest)
    sizes = ((rows + 2) * ROW, (rows + 2) * ROW, (rows + 2) * ROW, rows * 2 * WIDTH, 2 * TERMS * WIDTH)
    samples = wiring.history + 1 + steps
    tile = Tile(*(aligned(np.zeros(size, precision)) for size in (*sizes, samples * WIDTH)))
    reset(film, tile)
    return tile


def reset(film: Film, tile: Tile) -> None:
    """Bring the film to rest and forget the past."""
    tile.m[ROW:-ROW] = film.rest.ravel()
    tile.trace[:] = 0


def record(
    strip: Strip,
    loop: Loop,
    step_s: float,
    field: NDArray[Any],
    precision: Precision = np.float32,
    m: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Return the mean pick-up (shots, steps + 1) that drive fields make from rest.

    `field` (shots, 2 * steps + 1) is in units of Ms, at the start, middle and end of each step. `m` (shots, cells, 3)
    is the magnetisation to start from, if not the one at rest; it is brought to where the drive leaves it.
    """
    film, wiring = film_of(strip, step_s, precision), wiring_of(strip, loop.delay_s, step_s, precision)
    shots, steps = len(field), field.shape[1] // 2
    out = np.empty((shots, steps + 1), precision)
    tile = tile_at_rest(film, wiring, steps)
    one, none = aligned(np.ones(WIDTH, precision)), aligned(np.zeros(WIDTH, precision))
    silence = aligned(np.zeros((2 * steps + 1) * WIDTH, precision))
    for first in range(0, shots, SHOTS):
        some = slice(first, min(first + SHOTS, shots))
        count = some.stop - first
        reset(film, tile)
        if m is not None:
            set_magnetisation(strip, tile, m[some])
        lanes = np.zeros((2 * steps + 1, SHOTS), precision)
        lanes[:, :count] = field[some].T
        drive = Drive(
            cosine=aligned(np.tile(lanes, SEGMENTS)),
            sine=silence,
            gate=np.ones(steps, precision),
            in_phase=one,
            quadrature=none,
            steepness=aligned(np.full(WIDTH, loop.gain / loop.saturation, precision)),
            saturation=aligned(np.full(WIDTH, loop.saturation, precision)),
        )
        with announced("LLG solver", advance):
            advance(film, wiring, tile, drive, None)
        trace = tile.trace.reshape(-1, WIDTH)[wiring.history :]
        out[some] = trace[:, :count].T
        if m is not None:
            m[some] = magnetisation(strip, tile)[:count]
    return out


def magnetisation(strip: Strip, tile: Tile) -> NDArray[Any]:
    """Return the magnetisation (SHOTS, cells, 3) of a tile, components x, y, z."""
    rows = tile.m.reshape(-1, 3, WIDTH)[1:-1]
    return np.stack([in_cells(strip, rows[:, i]) for i in (0, 2, 1)], axis=-1)


def set_magnetisation(strip: Strip, tile: Tile, m: NDArray[Any]) -> None:
    """Set the first shots of a tile to the magnetisations (shots, cells, 3)."""
    whole = magnetisation(strip, tile)
    whole[: len(m)] = m
    rows = tile.m.reshape(-1, 3, WIDTH)[1:-1]
    for i, component in enumerate((0, 2, 1)):
        rows[:, i] = in_rows(strip, whole[:, :, component])


@fresh
@njit(nogil=True, cache=True, error_model="numpy")
def advance(film: Film, wiring: Wiring, tile: Tile, drive: Drive, thermal: Any) -> None:
    """Advance a tile by the steps of the drive's gate; the pick-up after each goes into the trace.

    |m| is brought back to 1 after each step. `thermal` is None or a flat array (steps, rows, 3, WIDTH): a field along
    x, z, y, in units of Ms, that stays the same during a step.
    """
    steps = drive.gate.size
    rows = film.powers.shape[0]
    history = wiring.history
    trace, m, stage, total = tile.trace, tile.m, tile.stage, tile.total
    # Lanes are loaded and stored without bounds checks.
    if (
        drive.cosine.size < (2 * steps + 1) * WIDTH
        or drive.sine.size < (2 * steps + 1) * WIDTH
        or trace.size < (history + 1 + steps) * WIDTH
        or m.size != (rows + 2) * ROW
    ):
        raise ValueError("drive, trace or state is too short for the number of steps")
    # A ring that goes quiet fades into subnormal numbers.
    control = flush_subnormals()
    number = m.dtype.type
    sixth, third, half, one, none = number(1 / 6), number(1 / 3), number(0.5), number(1), number(0)
    in_phase, quadrature = load(drive.in_phase, 0), load(drive.quadrature, 0)
    _sum_segments(film, m, tile.sums)
    feedback = _feedback(wiring, drive, trace, history, 0)
    for n in range(steps):
        sample = history + n
        noise = n * rows * ROW
        at = 2 * n * WIDTH
        gate = drive.gate[n]
        start = gate * (in_phase * load(drive.cosine, at) + quadrature * load(drive.sine, at)) + feedback
        at += WIDTH
        middle = gate * (in_phase * load(drive.cosine, at) + quadrature * load(drive.sine, at))
        middle = middle + _feedback(wiring, drive, trace, sample, 1)
        at += WIDTH
        feedback = _feedback(wiring, drive, trace, sample, 2)
        end = gate * (in_phase * load(drive.cosine, at) + quadrature * load(drive.sine, at)) + feedback
        for part in range(4):
            source, so_far = (m, m) if part == 0 else (stage, total)
            _back(film, wiring, tile, source, start if part == 0 else (end if part == 3 else middle))
            _forth(film, tile, source)
            if part == 3:
                _torque(film, tile, source, so_far, sixth, none, thermal, noise, True)
            else:
                share, reach = (sixth, half) if part == 0 else (third, half if part == 1 else one)
                _torque(film, tile, source, so_far, share, reach, thermal, noise, False)
        pickup = none * in_phase
        for i in range(wiring.pickup_rows.size):
            at = (wiring.pickup_rows[i] + 1) * ROW + wiring.component * WIDTH
            pickup = pickup + load(wiring.pickup_share, i * WIDTH) * load(m, at)
        store(trace, (sample + 1) * WIDTH, _over_segments(pickup))
    restore_subnormals(control)


@njit(nogil=True, cache=True, error_model="numpy")
def keep_past(wiring: Wiring, tile: Tile, steps: int) -> None:
    """After a stretch of `steps`, move the end of the trace to where the next stretch looks for the past."""
    trace = tile.trace
    for i in range((wiring.history + 1) * WIDTH):
        trace[i] = trace[i + steps * WIDTH]


@njit(nogil=True, error_model="numpy")
def _feedback(wiring: Wiring, drive: Drive, trace: NDArray[Any], sample: int, part: int) -> Any:
    """Field that the amplifier makes of the delayed pick-up at the start, middle or end of a step (`part` 0, 1, 2)."""
    at = (sample + wiring.taps[part]) * WIDTH
    a, b, c, d = wiring.tap_weights[part]
    y = load(drive.steepness, 0) * (
        (a * load(trace, at) + b * load(trace, at + WIDTH))
        + (c * load(trace, at + 2 * WIDTH) + d * load(trace, at + 3 * WIDTH))
    )
    one = trace.dtype.type(1)
    return load(drive.saturation, 0) * y / root(one + y * y)


@njit(nogil=True, error_model="numpy")
def _over_segments(value: Any) -> Any:
    """Sum over the segments of each shot, in all of its lanes. Adding pairs gives each lane the same bits."""
    value = value + _turn(value)
    return value + _turn_2(value)


@njit(nogil=True, error_model="numpy")
def _from_left(film: Film, value: Any, p: int) -> Any:
    """Sums over segments to what the forward recursion brings into each of them from all those on its left."""
    value = _left(value)
    value = value + film.across[0][p] * _left(value)
    return value + film.across[1][p] * _left_2(value)


@njit(nogil=True, error_model="numpy")
def _from_right(film: Film, value: Any, p: int) -> Any:
    """The same for the backward recursion, from the right."""
    value = _right(value)
    value = value + film.across[0][p] * _right(value)
    return value + film.across[1][p] * _right_2(value)


@njit(nogil=True, error_model="numpy", forceinline=True)
def _back(film: Film, wiring: Wiring, tile: Tile, m: NDArray[Any], antenna: Any) -> None:
    """Field of the cells to the right, from the last row to the first, and of the antenna.

    On entry `tile.sums` are what the backward recursion needs of each segment, on exit what the forward one needs.
    """
    far, sums = tile.far, tile.sums
    r0, r1, r2, r3, r4 = film.rates
    w0, w1, w2, w3, w4 = film.weights
    bias_x, bias_z, _ = film.bias
    rows = film.powers.shape[0]
    fx0, fx1 = _from_right(film, load(sums, 0), 0), _from_right(film, load(sums, WIDTH), 1)
    fx2, fx3 = _from_right(film, load(sums, 2 * WIDTH), 2), _from_right(film, load(sums, 3 * WIDTH), 3)
    fx4 = _from_right(film, load(sums, 4 * WIDTH), 4)
    fz0, fz1 = _from_right(film, load(sums, 5 * WIDTH), 0), _from_right(film, load(sums, 6 * WIDTH), 1)
    fz2, fz3 = _from_right(film, load(sums, 7 * WIDTH), 2), _from_right(film, load(sums, 8 * WIDTH), 3)
    fz4 = _from_right(film, load(sums, 9 * WIDTH), 4)
    sx0 = sx1 = sx2 = sx3 = sx4 = sz0 = sz1 = sz2 = sz3 = sz4 = m.dtype.type(0) * fx0
    for j in range(rows - 1, -1, -1):
        at = (j + 1) * ROW
        mx, mz = load(m, at), load(m, at + WIDTH)
        # Between cells Nzz = -Nxx.
        store(far, 2 * j * WIDTH, bias_x - w0 * fx0 - w1 * fx1 - w2 * fx2 - w3 * fx3 - w4 * fx4)
        store(far, (2 * j + 1) * WIDTH, bias_z + w0 * fz0 + w1 * fz1 + w2 * fz2 + w3 * fz3 + w4 * fz4)
        fx0, fx1, fx2 = r0 * fx0 + mx, r1 * fx1 + mx, r2 * fx2 + mx
        fx3, fx4 = r3 * fx3 + mx, r4 * fx4 + mx
        fz0, fz1, fz2 = r0 * fz0 + mz, r1 * fz1 + mz, r2 * fz2 + mz
        fz3, fz4 = r3 * fz3 + mz, r4 * fz4 + mz
        p0, p1 = film.powers[rows - 1 - j, 0], film.powers[rows - 1 - j, 1]
        p2, p3 = film.powers[rows - 1 - j, 2], film.powers[rows - 1 - j, 3]
        p4 = film.powers[rows - 1 - j, 4]
        sx0, sx1, sx2 = sx0 + p0 * mx, sx1 + p1 * mx, sx2 + p2 * mx
        sx3, sx4 = sx3 + p3 * mx, sx4 + p4 * mx
        sz0, sz1, sz2 = sz0 + p0 * mz, sz1 + p1 * mz, sz2 + p2 * mz
        sz3, sz4 = sz3 + p3 * mz, sz4 + p4 * mz
    _store_sums(sums, (sx0, sx1, sx2, sx3, sx4, sz0, sz1, sz2, sz3, sz4))
    for i in range(wiring.input_rows.size):
        at = (2 * wiring.input_rows[i] + wiring.component) * WIDTH
        store(far, at, load(far, at) + load(wiring.input_share, i * WIDTH) * antenna)


@njit(nogil=True, error_model="numpy", forceinline=True)
def _store_sums(sums: NDArray[Any], values: Any) -> None:
    for p in range(2 * TERMS):
        store(sums, p * WIDTH, values[p])


@njit(nogil=True, error_model="numpy", forceinline=True)
def _forth(film: Film, tile: Tile, m: NDArray[Any]) -> None:
    """Add the field of the cells to the left, from the first row to the last.

    `tile.sums` are what the forward recursion needs of each segment. (In one loop with the torque there would be more
    running values than registers.)
    """
    far, sums = tile.far, tile.sums
    r0, r1, r2, r3, r4 = film.rates
    w0, w1, w2, w3, w4 = film.weights
    fx0, fx1 = _from_left(film, load(sums, 0), 0), _from_left(film, load(sums, WIDTH), 1)
    fx2, fx3 = _from_left(film, load(sums, 2 * WIDTH), 2), _from_left(film, load(sums, 3 * WIDTH), 3)
    fx4 = _from_left(film, load(sums, 4 * WIDTH), 4)
    fz0, fz1 = _from_left(film, load(sums, 5 * WIDTH), 0), _from_left(film, load(sums, 6 * WIDTH), 1)
    fz2, fz3 = _from_left(film, load(sums, 7 * WIDTH), 2), _from_left(film, load(sums, 8 * WIDTH), 3)
    fz4 = _from_left(film, load(sums, 9 * WIDTH), 4)
    for j in range(film.powers.shape[0]):
        at = (j + 1) * ROW
        mx, mz = load(m, at), load(m, at + WIDTH)
        x, z = load(far, 2 * j * WIDTH), load(far, (2 * j + 1) * WIDTH)
        store(far, 2 * j * WIDTH, x - w0 * fx0 - w1 * fx1 - w2 * fx2 - w3 * fx3 - w4 * fx4)
        store(far, (2 * j + 1) * WIDTH, z + w0 * fz0 + w1 * fz1 + w2 * fz2 + w3 * fz3 + w4 * fz4)
        fx0, fx1, fx2 = r0 * fx0 + mx, r1 * fx1 + mx, r2 * fx2 + mx
        fx3, fx4 = r3 * fx3 + mx, r4 * fx4 + mx
        fz0, fz1, fz2 = r0 * fz0 + mz, r1 * fz1 + mz, r2 * fz2 + mz
        fz3, fz4 = r3 * fz3 + mz, r4 * fz4 + mz


@njit(nogil=True, error_model="numpy", forceinline=True)
def _torque(
    film: Film,
    tile: Tile,
    m: NDArray[Any],
    sum_so_far: NDArray[Any],
    share: Any,
    reach: Any,
    thermal: Any,
    noise: int,
    last: bool,
) -> None:
    """Field of the nearest cells, and the torque at `m`: one stage of a step.

    With k the change of m in one step: total = sum_so_far + share k, next stage = m at the start + reach k. The `last`
    stage ends the step instead: m at the start becomes the total, with |m| = 1.
    On exit `tile.sums` are what the backward recursion needs of what was made.
    """
    number = m.dtype.type
    base, far, sums = tile.m, tile.far, tile.sums
    bias_y = film.bias[2]
    near_x, near_z, near_y = film.near
    own_x, own_z = film.own
    rows = film.powers.shape[0]
    at = rows * ROW
    left_x, left_z, left_y = _left(load(m, at)), _left(load(m, at + WIDTH)), _left(load(m, at + 2 * WIDTH))
    # Beyond the last row is the first of the next segment.
    store(m, at + ROW, _right(load(m, ROW)))
    store(m, at + ROW + WIDTH, _right(load(m, ROW + WIDTH)))
    store(m, at + ROW + 2 * WIDTH, _right(load(m, ROW + 2 * WIDTH)))
    mx, mz, my = load(m, ROW), load(m, ROW + WIDTH), load(m, ROW + 2 * WIDTH)
    sx0 = sx1 = sx2 = sx3 = sx4 = sz0 = sz1 = sz2 = sz3 = sz4 = number(0) * mx
    for j in range(rows):
        at = (j + 1) * ROW
        right_x, right_z, right_y = load(m, at + ROW), load(m, at + ROW + WIDTH), load(m, at + ROW + 2 * WIDTH)
        hx = load(far, 2 * j * WIDTH) + near_x * (left_x + right_x) + own_x * mx
        hz = load(far, (2 * j + 1) * WIDTH) + near_z * (left_z + right_z) + own_z * mz
        hy = bias_y + near_y * (left_y + right_y)
        if thermal is not None:
            hx = hx + load(thermal, noise + j * ROW)
            hz = hz + load(thermal, noise + j * ROW + WIDTH)
            hy = hy + load(thermal, noise + j * ROW + 2 * WIDTH)
        damping = load(film.damping, j * WIDTH)
        wx = hx + damping * (my * hz - mz * hy)
        wy = hy + damping * (mz * hx - mx * hz)
        wz = hz + damping * (mx * hy - my * hx)
        kx, kz, ky = wy * mz - wz * my, wx * my - wy * mx, wz * mx - wx * mz
        turn = load(film.turn, j * WIDTH)
        weight = share * turn
        total_x, total_z = load(sum_so_far, at) + weight * kx, load(sum_so_far, at + WIDTH) + weight * kz
        total_y = load(sum_so_far, at + 2 * WIDTH) + weight * ky
        if last:
            # One Newton step towards 1/sqrt(square), which a step leaves so near 1 that this is exact to rounding.
            scale = number(1.5) - number(0.5) * (total_x * total_x + total_z * total_z + total_y * total_y)
            new_x, new_z = scale * total_x, scale * total_z
            store(base, at, new_x)
            store(base, at + WIDTH, new_z)
            store(base, at + 2 * WIDTH, scale * total_y)
        else:
            store(tile.total, at, total_x)
            store(tile.total, at + WIDTH, total_z)
            store(tile.total, at + 2 * WIDTH, total_y)
            step = reach * turn
            new_x, new_z = load(base, at) + step * kx, load(base, at + WIDTH) + step * kz
            store(tile.stage, at, new_x)
            store(tile.stage, at + WIDTH, new_z)
            store(tile.stage, at + 2 * WIDTH, load(base, at + 2 * WIDTH) + step * ky)
        p0, p1, p2 = film.powers[j, 0], film.powers[j, 1], film.powers[j, 2]
        p3, p4 = film.powers[j, 3], film.powers[j, 4]
        sx0, sx1, sx2 = sx0 + p0 * new_x, sx1 + p1 * new_x, sx2 + p2 * new_x
        sx3, sx4 = sx3 + p3 * new_x, sx4 + p4 * new_x
        sz0, sz1, sz2 = sz0 + p0 * new_z, sz1 + p1 * new_z, sz2 + p2 * new_z
        sz3, sz4 = sz3 + p3 * new_z, sz4 + p4 * new_z
        left_x, left_z, left_y = mx, mz, my
        mx, mz, my = right_x, right_z, right_y
    _store_sums(sums, (sx0, sx1, sx2, sx3, sx4, sz0, sz1, sz2, sz3, sz4))


@njit(nogil=True, error_model="numpy")
def _sum_segments(film: Film, m: NDArray[Any], sums: NDArray[Any]) -> None:
    """Sums over each segment that the backward recursion of `m` begins with."""
    none = m.dtype.type(0) * load(m, 0)
    for p in range(TERMS):
        sum_x, sum_z = none, none
        for j in range(film.powers.shape[0]):
            at = (j + 1) * ROW
            sum_x = sum_x + film.powers[j, p] * load(m, at)
            sum_z = sum_z + film.powers[j, p] * load(m, at + WIDTH)
        store(sums, p * WIDTH, sum_x)
        store(sums, (p + TERMS) * WIDTH, sum_z)
