"""The strip reduced to a few points and to envelopes: as right as the LLG solver within a stated range, much faster.

Four steps make the model, all from the strip itself:

1. *Waves.* The Landau-Lifshitz-Gilbert equation linearised about rest, with all terms of the field. Waves turn one
   way with the carrier, their mirror images the other way; the first are kept as envelopes, the second answer at once
   (they are 2 f away from resonance) and enter as a kick at every jump of the field.
2. *Balanced truncation* (Moore, IEEE Trans. Autom. Control 26, 17 (1981); the input is weighted by a low-pass about
   the carrier, as in Enns, Proc. 23rd CDC, 127 (1984)): the combinations of waves that the input antenna reaches and
   the pick-up sees. About twenty carry the memory of the strip. Their state is written as the envelope at as many
   points, chosen by pivoting (Drmac and Gugercin, SIAM J. Sci. Comput. 38, A631 (2016)).
3. *Nonlinearity.* What is left of the equation is the product of 1 - mc (c the bias axis) with the linear field, and
   the field of 1 - mc itself: the rotating-wave average of these, third and fifth order, over all cells is the model
   to fit to (`full_source`).
4. *Fit.* On trajectories of random shots of the closed ring, the source at each point is fitted by least squares with
   products of the envelopes at the point and its two neighbours and of the antenna field (`source_terms`).
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eig, expm, qr

from simulators.envelope_kernel import INPUTS, ROWS, TERMS, Stepper, describing_function
from simulators.fields import Zeeman, total_field
from simulators.strip import Strip

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]

STATES = 20
"""Points of the reduced strip; a multiple of `ROWS`."""

_INPUT_BANDWIDTH_HZ = 0.3e9
"""Of the low-pass about the carrier that weights the input: pulses of a few ns."""

_RIDGE = 1e-3
"""Share of a term's mean square that a coefficient of 1 costs: points that hardly move get no wild coefficients."""


class Waves(NamedTuple):
    """The linear strip of n cells: its n waves that turn with the carrier, and the fields of a magnetisation.

    With c the bias axis, a the axis of the antennas and b the third one; fields are in units of Ms.
    """

    rates: Complex
    """(n,) in 1/s: decay and frequency of every wave."""
    along: Complex
    """(2 n, n): ma, then mb, of every wave of amplitude 1; a magnetisation is 2 Re of it."""
    duals: Complex
    """(n, 2 n): what a rate of change of ma, mb gives every wave."""
    antenna: Real
    """(2 n,): rate of change of ma and mb by an antenna field of Ms."""
    fields: tuple[Real, Real, Real]
    """(n, n) each: field along a, b, c of the magnetisation along it in every cell."""
    turn: Real
    """(n,) in rad/s: how fast a field of Ms turns the magnetisation, negative if (a, b, c) is left-handed."""


class Reduced(NamedTuple):
    """The strip reduced to envelopes z of ma at a few points, turning with the carrier: dz/dt = A z + b F + source."""

    carrier_hz: float
    rate: Complex
    """A, (states, states), in 1/s."""
    inlet: Complex
    """b, (states,), in 1/s: F is the antenna field in units of Ms."""
    pickup: Complex
    """(states,): envelopes at the points to that of the pick-up."""
    counter: Complex
    """(states,): the waves that turn the other way are `counter` * conj(F) * exp(-2 i w t)."""
    cells: NDArray[np.intp]
    """(states,): the points."""
    spread: tuple[Complex, Complex, Complex, Complex]
    """Envelopes z to those of ma, mb and the fields along a and b in all cells, (n, states) each."""
    gather: tuple[Complex, Complex]
    """Torques along a and b in all cells, in units of Ms, to the rate of change of z, (states, n) each."""
    antenna: Real
    """(n,): antenna field in every cell over F."""
    field_c: Real
    """(n, n): field along the bias of the magnetisation along it."""

    def transfer(self, offset_hz: Any) -> Any:
        """Pick-up over input field at `offset_hz` (...,) from the carrier."""
        values, vectors = np.linalg.eig(self.rate)
        out, into = self.pickup @ vectors, np.linalg.solve(vectors, self.inlet)
        poles = 2j * np.pi * np.asarray(offset_hz)[..., None] - values
        return (out * into / poles).sum(axis=-1) + self.feedthrough

    @property
    def feedthrough(self) -> complex:
        """Pick-up over input field of the waves that turn the other way, as seen at the carrier."""
        return complex(np.conj(self.pickup @ self.counter))


def waves_of(strip: Strip) -> Waves:
    """Linearise the strip about rest and keep the waves of positive frequency."""
    n = strip.cells
    a, c = "xyz".index(strip.antenna_axis), "xyz".index(strip.bias_axis)
    b = 3 - a - c
    rest = np.zeros((n, 3))
    rest[:, c] = 1
    ms = strip.saturation_magnetisation_a_per_m
    static = total_field(strip.terms, rest)[:, c] / ms
    terms = [term for term in strip.terms if not isinstance(term, Zeeman)]
    field_a, field_b, field_c = (_field_of(terms, n, axis) / ms for axis in (a, b, c))
    alpha = strip.damping_profile
    turn = strip.rate / (1 + alpha**2) * (1 if (a, b, c) in ((0, 1, 2), (1, 2, 0), (2, 0, 1)) else -1)
    damp = strip.rate / (1 + alpha**2) * alpha
    # dm/dt = |turn| w x m with w = h + alpha m x h, to first order in ma and mb.
    to_a, to_b = field_a - np.diag(static), field_b - np.diag(static)
    matrix = np.block([[damp[:, None] * to_a, turn[:, None] * to_b], [-turn[:, None] * to_a, damp[:, None] * to_b]])
    cells = np.zeros(n)
    cells[list(strip.antennas[0])] = 1
    antenna = np.concatenate([damp * cells, -turn * cells])
    rates, vectors = eig(matrix)
    forward = rates.imag > 0
    if np.count_nonzero(forward) != n:
        raise ValueError(f"expected {n} waves in {n} cells, found {np.count_nonzero(forward)}: the film is not stable")
    duals = np.linalg.inv(vectors)
    fields = field_a, field_b, field_c
    return Waves(rates[forward], vectors[:, forward], duals[forward], antenna, fields, turn)


def _field_of(terms: list[Any], cells: int, axis: int) -> Real:
    """Field along an axis, in A/m, that a magnetisation of 1 along it in each cell makes in every cell."""
    found = np.empty((cells, cells))
    for j in range(cells):
        m = np.zeros((cells, 3))
        m[j, axis] = 1
        found[:, j] = total_field(terms, m)[:, axis]
    return found


def reduced(strip: Strip, carrier_hz: float, states: int = STATES) -> Reduced:
    """Keep the combinations of waves that the input antenna reaches near the carrier and that the pick-up sees."""
    waves, n = waves_of(strip), strip.cells
    rates = waves.rates - 2j * np.pi * carrier_hz
    mean = np.zeros(n)
    mean[list(strip.antennas[1])] = 1 / strip.antenna_cells
    # An envelope M is m = Re(M exp(i w t)); a wave's amplitude z is m = 2 Re(...); a field f = Re(F exp(i w t)).
    inlet, pickup = waves.duals @ waves.antenna / 2, mean @ (2 * waves.along[:n])
    width = 2 * np.pi * _INPUT_BANDWIDTH_HZ
    # Low-passed white noise into wave j: (exp(rate t) - exp(-width t)) * through.
    through = inlet * width / (rates + width)

    def overlap(p: Any, q: Any) -> Complex:
        return np.asarray(-1 / (p[:, None] + np.conj(q)[None]))

    low_pass = np.full(n, -width + 0j)
    reached = overlap(rates, rates) - overlap(rates, low_pass) - overlap(low_pass, rates) + overlap(low_pass, low_pass)
    seen = overlap(rates.conj(), rates.conj())
    into = _root(np.outer(through, through.conj()) * reached)
    out = _root(np.outer(pickup.conj(), pickup) * seen)
    left, sizes, right = np.linalg.svd(out.conj().T @ into)
    keep = into @ right.conj().T[:, :states] / np.sqrt(sizes[:states])
    take = (out @ left[:, :states] / np.sqrt(sizes[:states])).conj().T
    ma, mb = 2 * waves.along[:n] @ keep, 2 * waves.along[n:] @ keep
    _, _, order = qr(ma.conj().T, mode="economic", pivoting=True)
    points = np.sort(order[:states])
    to_points = ma[points]
    back = np.linalg.inv(to_points)
    rate = to_points @ take @ (rates[:, None] * keep) @ back
    inlet = to_points @ take @ inlet
    gather = to_points @ take @ waves.duals / 2
    return Reduced(
        carrier_hz=carrier_hz,
        rate=rate,
        inlet=inlet,
        pickup=(pickup @ keep) @ back,
        counter=np.linalg.solve(-4j * np.pi * carrier_hz * np.eye(states) - rate, inlet),
        cells=points,
        spread=(ma @ back, mb @ back, waves.fields[0] @ ma @ back, waves.fields[1] @ mb @ back),
        gather=(gather[:, :n] * waves.turn, gather[:, n:] * waves.turn),
        antenna=(waves.antenna[n:] != 0).astype(float),
        field_c=waves.fields[2],
    )


def _root(gramian: Complex) -> Complex:
    """Return R with R R^H = `gramian`, which spans many orders of magnitude."""
    size = np.sqrt(np.abs(np.diag(gramian)))
    size[size == 0] = 1
    values, vectors = np.linalg.eigh(gramian / size[:, None] / size)
    return np.asarray(size[:, None] * vectors * np.sqrt(np.maximum(values, 0)))


def full_source(model: Reduced, z: Complex, field: Complex) -> Complex:
    """Nonlinear part of dz/dt, in 1/s, from all cells: envelopes z (shots, states), antenna field F (shots,).

    With h the linear field: d(ma)/dt gets turn * (mb hc(p) - p hb), d(mb)/dt turn * (p ha - ma hc(p)), where
    p = 1 - mc = s + s**2 / 2 and s = (ma**2 + mb**2) / 2. Of every product the part that turns with the carrier.
    """
    ma, mb, ha, hb = (z @ matrix.T for matrix in model.spread)
    ha = ha + field[:, None] * model.antenna
    # Mean, and envelope of what turns with twice the carrier.
    s0, s2 = (np.abs(ma) ** 2 + np.abs(mb) ** 2) / 4, (ma**2 + mb**2) / 4
    p0, p2 = s0 + (s0**2 + np.abs(s2) ** 2 / 2) / 2, s2 + s0 * s2
    c0, c2 = p0 @ model.field_c.T, p2 @ model.field_c.T
    torque_a = c0 * mb + c2 * mb.conj() / 2 - p0 * hb - p2 * hb.conj() / 2
    torque_b = p0 * ha + p2 * ha.conj() / 2 - c0 * ma - c2 * ma.conj() / 2
    return np.asarray(torque_a @ model.gather[0].T + torque_b @ model.gather[1].T)


def source_terms(c: Complex, field: Complex) -> Complex:
    """Products that the source at each point is fitted with, (TERMS, shots, states)."""
    before, after = np.pad(c, ((0, 0), (1, 1)))[:, :-2], np.pad(c, ((0, 0), (1, 1)))[:, 2:]
    square, f = np.abs(c) ** 2, field[:, None]
    return np.array(
        [
            square * c,
            square**2 * c,
            np.abs(before) ** 2 * c,
            np.abs(after) ** 2 * c,
            square * before,
            square * after,
            square * f,
            c**2 * f.conj(),
        ]
    )


def fitted_source(c: Complex, field: Complex, source: Complex) -> Complex:
    """Coefficients (states, TERMS) of `source_terms` for the source (shots, states) at c, field: ridge regression."""
    terms = source_terms(c, field)
    cost = _RIDGE * (np.abs(terms) ** 2).sum(axis=1).max(axis=1)
    found = np.zeros((c.shape[1], TERMS), complex)
    live = cost > 0
    for point in range(c.shape[1] if live.any() else 0):
        matrix = terms[live, :, point].T
        square = matrix.conj().T @ matrix + np.diag(cost[live])
        found[point, live] = np.linalg.solve(square, matrix.conj().T @ source[:, point])
    return found


def stepped(model: Reduced, step_s: float) -> tuple[Complex, Complex, Complex]:
    """Exact linear step: propagator, and what a constant field and one that rises by 1 within the step add."""
    n = len(model.inlet)
    matrix = np.zeros((n + 2, n + 2), complex)
    matrix[:n, :n] = model.rate * step_s
    matrix[:n, n] = model.inlet * step_s
    matrix[n, n + 1] = 1
    whole = expm(matrix)
    return whole[:n, :n], whole[:n, n], whole[:n, n + 1]


def stepper(
    model: Reduced,
    source: Complex,
    delay_s: float,
    step_s: float,
    gate: Real,
    window_steps: int,
) -> Stepper:
    """Constants of the kernel. The delay is any time of three steps or more."""
    n, carrier_hz = len(model.inlet), model.carrier_hz
    propagator, constant, rising = stepped(model, step_s)
    columns = np.column_stack([propagator, constant, rising, -propagator @ model.counter])
    blocks = columns.reshape(n // ROWS, ROWS, n + INPUTS).transpose(0, 2, 1)
    # One evaluation a step: to second order in the step, the source also acts on what it has just changed. For its
    # first term, k |c|**2 c, that is k (k + 2 Re k) |c|**4 c times half the step.
    change = source.copy()
    k = source[:, 0]
    change[:, 1] += step_s / 2 * k * (k + 2 * k.real)
    delay = delay_s / step_s
    if delay < 3:
        raise ValueError(f"expected a loop delay of at least three steps of {step_s:g} s, got {delay_s:g} s")
    position = 1 - delay
    first = int(np.floor(position)) - 1
    x = position - first
    lagrange = [np.prod([(x - j) / (i - j) for j in range(4) if j != i]) for i in range(4)]
    turned = np.exp(-2j * np.pi * carrier_hz * delay_s) * np.array(lagrange)
    # Weights of X0**2, X0 X1 and X1**2 in the mean of X(t)**2 exp(2 i w t) over a step, X a straight line.
    angle = 4 * np.pi * carrier_hz * step_s
    nodes, weights = np.polynomial.legendre.leggauss(32)
    x1, weights = (nodes + 1) / 2, weights / 2 * np.exp(0.5j * angle * (nodes + 1))
    power = np.array([np.sum(weights * (1 - x1) ** 2), np.sum(2 * weights * x1 * (1 - x1)), np.sum(weights * x1**2)])
    # And of X0 and X1 in that of X(t) exp(2 i w t).
    mirror = np.array([np.sum(weights * (1 - x1)), np.sum(weights * x1)])
    return Stepper(
        propagator=_flat(blocks),
        source=_flat(step_s * change),
        pickup=_flat(model.pickup / 2),
        feedthrough=_flat(np.array([model.feedthrough])),
        taps=_flat(turned),
        first_tap=first,
        history=2 - first,
        amplifier=describing_function().astype(np.float32),
        gate=gate.astype(np.float32),
        power=_flat(power),
        mirror=_flat(mirror),
        window_steps=window_steps,
    )


def _flat(values: Any) -> NDArray[np.float32]:
    """Complex numbers as a flat single precision array of real and imaginary parts in turn."""
    pairs: NDArray[np.float32] = np.ascontiguousarray(values, dtype=np.complex64).ravel().view(np.float32)
    return pairs
