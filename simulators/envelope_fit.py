"""Fit the nonlinearity of the reduced strip, and trajectories of the model that it is fitted to."""

from typing import NamedTuple

import numpy as np
from scipy.linalg import expm

from simulators.envelope import Complex, Real, Reduced, fitted_source, full_source, stepped
from simulators.envelope_kernel import describing_function

_LONGEST = 20_000
"""Samples of the trajectories that a fit is made from; more are thinned out."""


class Feedback(NamedTuple):
    """The loop, for envelopes."""

    gain: float
    """Feedback field over mean pick-up, for small signals."""
    saturation: float
    """Largest feedback field, in units of Ms."""
    delay: float
    """In steps, three or more."""
    turn: complex
    """Phase of the carrier over the delay."""


def trajectory(
    model: Reduced, step_s: float, drive: Complex, feedback: Feedback
) -> tuple[Complex, Complex, Complex, Complex]:
    """Follow the ring with the source of all cells: envelopes z (steps, shots, states), field F and pick-up, source.

    `drive` (steps, shots) is the antenna field of the drive, constant within a step. Exponential Runge-Kutta of second
    order (Cox and Matthews, J. Comput. Phys. 176, 430 (2002)); a shot beyond the model's reach is not finite.
    """
    steps, shots = drive.shape
    n = len(model.inlet)
    propagator, constant, rising = stepped(model, step_s)
    block = np.zeros((3 * n, 3 * n), complex)
    block[:n, :n], block[:n, n : 2 * n], block[n : 2 * n, 2 * n :] = model.rate * step_s, np.eye(n) * step_s, np.eye(n)
    whole = expm(block)
    first, second = whole[:n, n : 2 * n], whole[:n, 2 * n :]
    amplifier = describing_function()
    pad = int(np.ceil(feedback.delay)) + 3
    past = np.zeros((pad + steps + 1, shots), complex)
    place = pad + 1 - feedback.delay
    base = int(np.floor(place)) - 1
    x = place - base
    weights = np.array([np.prod([(x - j) / (i - j) for j in range(4) if j != i]) for i in range(4)])
    z, back, end = np.zeros((shots, n), complex), np.zeros(shots, complex), np.zeros(shots, complex)
    states, fields, sources = (np.empty((steps, shots, *more), complex) for more in ((n,), (), (n,)))
    for i in range(steps):
        y = feedback.gain / feedback.saturation * feedback.turn * (weights @ past[base + i : base + i + 4])
        t = 1 / np.sqrt(1 + np.abs(y) ** 2)
        ahead = feedback.saturation * y * t * np.polyval(amplifier[::-1], t)
        start, last = drive[i] + back, end
        end = drive[i] + ahead
        # A jump of the field leaves behind the waves that turn the other way.
        kick = np.conj(start - last) * np.exp(-4j * np.pi * model.carrier_hz * step_s * i)
        z = z - kick[:, None] * model.counter
        states[i], fields[i], sources[i] = z, start, full_source(model, z, start)
        z = z @ propagator.T + start[:, None] * constant + (ahead - back)[:, None] * rising + sources[i] @ first.T
        z = z + (full_source(model, z, end) - sources[i]) @ second.T
        past[pad + i + 1] = z @ model.pickup + model.feedthrough * end
        back = ahead
    return states, fields, past[pad + 1 :], sources


def fit(model: Reduced, step_s: float, drive: Complex, feedback: Feedback) -> Complex:
    """Coefficients of `simulators.envelope.source_terms`, (states, TERMS), from the shots of `drive`."""
    with np.errstate(over="ignore", invalid="ignore"):
        states, fields, _, sources = trajectory(model, step_s, drive, feedback)
        sound = np.isfinite(states).all(axis=(0, 2)) & np.isfinite(sources).all(axis=(0, 2))
    thin = slice(None, None, max(1, states.shape[0] * int(sound.sum()) // _LONGEST))
    n = states.shape[2]
    picked = states[thin][:, sound].reshape(-1, n), fields[thin][:, sound].ravel(), sources[thin][:, sound]
    return fitted_source(picked[0], picked[1], picked[2].reshape(-1, n))


def closeness(value: Real, reference: Real) -> tuple[float, float]:
    """Correlation, and root mean square error over the reference's root mean square."""
    if not np.isfinite(value).all():
        return 0.0, float("inf")
    size, error = np.sqrt(np.mean(reference**2)), np.sqrt(np.mean((value - reference) ** 2))
    spread = np.std(value) * np.std(reference)
    if not spread > 0:
        return (1.0, 0.0) if error == 0 else (0.0, float(error / size) if size > 0 else float("inf"))
    return float(np.corrcoef(value.ravel(), reference.ravel())[0, 1]), float(error / size)
