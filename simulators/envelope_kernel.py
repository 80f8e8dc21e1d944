"""The reduced ring of `simulators.envelope`, stepped in time: as many shots side by side as there are lanes.

All envelopes are complex and turn with the carrier: a field is Re(F exp(i w t)) with F in units of Ms. One complex
number of all shots is two registers (`simulators.lanes`), its real and its imaginary part.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.special import ellipe, ellipk

from simulators.kernels import fresh
from simulators.lanes import WIDTH, flush_subnormals, load, restore_subnormals, root, store

PAIR = 2 * WIDTH
"""Numbers that one complex value of all shots takes in a flat array."""

ROWS = 4
"""Rows of the propagator that are worked on together; the number of states is a multiple of it."""

INPUTS = 3
"""Columns of the propagator besides the states: field, its rise within the step, and its counter-rotating kick."""

TERMS = 8
"""Coefficients of the nonlinear source at a point, see `simulators.envelope.source_terms`."""


class Stepper(NamedTuple):
    """Constants of one step, in single precision; complex arrays are flat with real and imaginary parts in turn."""

    propagator: Any
    """(states / ROWS, states + INPUTS, ROWS) complex: new states from old ones, after the source, and the inputs."""
    source: Any
    """(states, TERMS) complex, times the step."""
    pickup: Any
    """(states,) complex, over 2: acts on the states before and after the source, to take the mean of both."""
    feedthrough: Any
    """(1,) complex: pick-up of the input field itself, by the counter-rotating waves."""
    taps: Any
    """(4,) complex: interpolation of the delayed pick-up, turned by the carrier's phase over the delay."""
    first_tap: int
    """Step of the first tap, counted from the end of the step that is being taken."""
    history: int
    """Steps of the pick-up that are kept."""
    amplifier: Any
    """Coefficients of `describing_function`."""
    gate: Any
    """(steps a symbol,): share of each step that the carrier is on, times the mask."""
    power: Any
    """(3,) complex: weights of X0**2, X0 X1 and X1**2 in the counter-rotating part of the power of a step."""
    mirror: Any
    """(2,) complex: weights of X0 and X1 in the counter-rotating part of the amplitude of a step."""
    window_steps: int


def describing_function(degree: int = 8) -> NDArray[np.float64]:
    """Return coefficients c of the gain of y / sqrt(1 + y**2) for the fundamental of y = Y cos: sum of c_k t**(k + 1).

    The exact gain is 4/pi ((1 + Y**2) E(m) - K(m)) / (Y**2 sqrt(1 + Y**2)) with the complete elliptic integrals K and
    E of m = Y**2 / (1 + Y**2). The polynomial in t = 1 / sqrt(1 + Y**2) is within 1e-4 of it for every Y.
    """
    t = 0.5 - 0.5 * np.cos(np.pi * np.arange(1, 400) / 400)
    square = 1 / t**2 - 1
    m = 1 - t**2
    exact = 4 / np.pi * (ellipe(m) / t**2 - ellipk(m)) * t / square
    powers = np.vander(t, degree + 1, increasing=True) * (t / exact)[:, None]
    return np.asarray(np.linalg.lstsq(powers, np.ones_like(t), rcond=None)[0])


@fresh
@njit(nogil=True, cache=True, error_model="numpy")
def run(
    model: Stepper,
    pulses: NDArray[np.float32],
    steepness: NDArray[np.float32],
    saturation: np.float32,
    turns: NDArray[np.float32],
    iq: bool,
    out: NDArray[np.float32],
) -> None:
    """Answer `WIDTH` shots from rest.

    `pulses` (flat, symbols of PAIR): amplitude and phase of the carrier, in units of Ms; the field is
    Im(pulse exp(i w t)). `steepness` (WIDTH,): loop gain over saturation. `turns` (flat, 2 * steps + 2): cosine and
    sine of 2 w t at every step. `out` (flat, windows of PAIR) takes the mean square of the pick-up in the first half
    of each pair, or with `iq` the mean z of Im(z exp(i w t)), a complex number.
    """
    states = model.pickup.size // 2
    per_symbol = model.gate.size
    steps = per_symbol * (pulses.size // PAIR)
    # Lanes are loaded and stored without bounds checks.
    if turns.size < 2 * steps + 2 or out.size < steps // model.window_steps * PAIR or steepness.size < WIDTH:
        raise ValueError("the arrays are too short for the number of steps")
    # A ring that goes quiet fades into subnormal numbers.
    control = flush_subnormals()
    number = np.float32
    half, sixth, none = number(0.5), number(1 / 6), number(0)
    window_share = number(1.0 / model.window_steps)
    # A row of zeros before and after the points: their neighbours at the ends.
    before = np.zeros((states + 2) * PAIR, np.float32)
    after = np.zeros((states + INPUTS) * PAIR, np.float32)
    past = np.zeros(model.history * PAIR, np.float32)
    zero = load(past, 0)
    steep = load(steepness, 0)
    back_r = back_i = end_r = end_i = last_r = last_i = total = other = zero
    for n in range(steps + 1):
        symbol, step = divmod(n, per_symbol)
        drive_r = drive_i = zero
        if n < steps:
            gate = model.gate[step]
            drive_r = gate * load(pulses, symbol * PAIR + WIDTH)
            drive_i = (none - gate) * load(pulses, symbol * PAIR)
        start_r, start_i = drive_r + back_r, drive_i + back_i
        # Source, at the field between the end of the last step and the start of this one.
        f_r, f_i = half * (end_r + start_r), half * (end_i + start_i)
        see_r = model.feedthrough[0] * end_r - model.feedthrough[1] * end_i
        see_i = model.feedthrough[0] * end_i + model.feedthrough[1] * end_r
        left_r = left_i = left_q = zero
        here_r, here_i = load(before, PAIR), load(before, PAIR + WIDTH)
        here_q = here_r * here_r + here_i * here_i
        for j in range(states):
            at = (j + 2) * PAIR
            right_r, right_i = load(before, at), load(before, at + WIDTH)
            right_q = right_r * right_r + right_i * right_i
            k = j * 2 * TERMS
            s = model.source
            # Factor of the envelope here.
            a_r = here_q * (s[k] + s[k + 2] * here_q) + (s[k + 4] * left_q + s[k + 6] * right_q)
            a_i = here_q * (s[k + 1] + s[k + 3] * here_q) + (s[k + 5] * left_q + s[k + 7] * right_q)
            # Factors of the squared size here: neighbours, and field.
            b_r = (s[k + 8] * left_r - s[k + 9] * left_i) + (s[k + 10] * right_r - s[k + 11] * right_i)
            b_i = (s[k + 8] * left_i + s[k + 9] * left_r) + (s[k + 10] * right_i + s[k + 11] * right_r)
            d_r, d_i = s[k + 12] * f_r - s[k + 13] * f_i, s[k + 12] * f_i + s[k + 13] * f_r
            # Square of the envelope times the conjugate field.
            u_r, u_i = here_r * f_r + here_i * f_i, here_i * f_r - here_r * f_i
            v_r, v_i = here_r * u_r - here_i * u_i, here_r * u_i + here_i * u_r
            free_r = here_r + (a_r * here_r - a_i * here_i) + here_q * b_r
            free_i = here_i + (a_r * here_i + a_i * here_r) + here_q * b_i
            store(after, j * PAIR, free_r + here_q * d_r + (s[k + 14] * v_r - s[k + 15] * v_i))
            store(after, j * PAIR + WIDTH, free_i + here_q * d_i + (s[k + 14] * v_i + s[k + 15] * v_r))
            # What is picked up does not know the field that only now begins.
            c_r, c_i = model.pickup[2 * j], model.pickup[2 * j + 1]
            mean_r, mean_i = free_r + here_r, free_i + here_i
            see_r = see_r + (c_r * mean_r - c_i * mean_i)
            see_i = see_i + (c_r * mean_i + c_i * mean_r)
            left_r, left_i, left_q = here_r, here_i, here_q
            here_r, here_i, here_q = right_r, right_i, right_q
        slot = (n % model.history) * PAIR
        store(past, slot, see_r)
        store(past, slot + WIDTH, see_i)
        if n > 0:
            cos, sin = turns[2 * n - 2], turns[2 * n - 1]
            # Envelopes are straight lines within a step.
            if iq:
                # i <X + conj(X exp(2 i w t))>
                w = model.mirror
                x_r = (w[0] * last_r - w[1] * last_i) + (w[2] * see_r - w[3] * see_i)
                x_i = (w[0] * last_i + w[1] * last_r) + (w[2] * see_i + w[3] * see_r)
                total = total + (sin * x_r + cos * x_i - half * (last_i + see_i))
                other = other + (cos * x_r - sin * x_i + half * (last_r + see_r))
            else:
                # <|X|**2> / 2 + Re <X**2 exp(2 i w t)> / 2
                size = (last_r * last_r + last_i * last_i) + (see_r * see_r + see_i * see_i)
                size = sixth * (size + (last_r * see_r + last_i * see_i))
                p_r, p_i = last_r * last_r - last_i * last_i, last_r * last_i + last_i * last_r
                q_r, q_i = last_r * see_r - last_i * see_i, last_r * see_i + last_i * see_r
                r_r, r_i = see_r * see_r - see_i * see_i, see_r * see_i + see_i * see_r
                v = model.power
                x_r = (v[0] * p_r - v[1] * p_i) + (v[2] * q_r - v[3] * q_i) + (v[4] * r_r - v[5] * r_i)
                x_i = (v[0] * p_i + v[1] * p_r) + (v[2] * q_i + v[3] * q_r) + (v[4] * r_i + v[5] * r_r)
                total = total + size + (half * cos * x_r - half * sin * x_i)
            window, rest = divmod(n, model.window_steps)
            if rest == 0:
                store(out, (window - 1) * PAIR, window_share * total)
                store(out, (window - 1) * PAIR + WIDTH, window_share * other)
                total = other = zero
        last_r, last_i = see_r, see_i
        if n == steps:
            break
        # Feedback at the end of the step: delayed pick-up, attenuator, amplifier.
        y_r = y_i = zero
        for tap in range(4):
            slot = ((n + model.first_tap + tap) % model.history) * PAIR
            t_r, t_i = model.taps[2 * tap], model.taps[2 * tap + 1]
            x_r, x_i = load(past, slot), load(past, slot + WIDTH)
            y_r = y_r + (t_r * x_r - t_i * x_i)
            y_i = y_i + (t_r * x_i + t_i * x_r)
        y_r, y_i = steep * y_r, steep * y_i
        t = number(1) / root(number(1) + (y_r * y_r + y_i * y_i))
        gain = zero
        for k in range(model.amplifier.size - 1, -1, -1):
            gain = t * (gain + model.amplifier[k])
        next_r, next_i = saturation * gain * y_r, saturation * gain * y_i
        # Inputs of the step.
        at = states * PAIR
        store(after, at, start_r)
        store(after, at + WIDTH, start_i)
        store(after, at + PAIR, next_r - back_r)
        store(after, at + PAIR + WIDTH, next_i - back_i)
        cos, sin = turns[2 * n], turns[2 * n + 1]
        jump_r, jump_i = start_r - end_r, start_i - end_i
        store(after, at + 2 * PAIR, cos * jump_r - sin * jump_i)
        store(after, at + 2 * PAIR + WIDTH, (none - sin) * jump_r - cos * jump_i)
        end_r, end_i = drive_r + next_r, drive_i + next_i
        back_r, back_i = next_r, next_i
        _propagate(model.propagator, after, before)
    restore_subnormals(control)


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _propagate(propagator: NDArray[np.float32], old: NDArray[np.float32], new: NDArray[np.float32]) -> None:
    """Product of the propagator with states and inputs; `new` has a row of zeros before the states."""
    columns = old.size // PAIR
    none = np.float32(0) * load(old, 0)
    for block in range(propagator.size // (2 * ROWS * columns)):
        r0 = i0 = r1 = i1 = r2 = i2 = r3 = i3 = none
        for j in range(columns):
            p = (block * columns + j) * 2 * ROWS
            x_r, x_i = load(old, j * PAIR), load(old, j * PAIR + WIDTH)
            r0 = r0 + propagator[p] * x_r - propagator[p + 1] * x_i
            i0 = i0 + propagator[p] * x_i + propagator[p + 1] * x_r
            r1 = r1 + propagator[p + 2] * x_r - propagator[p + 3] * x_i
            i1 = i1 + propagator[p + 2] * x_i + propagator[p + 3] * x_r
            r2 = r2 + propagator[p + 4] * x_r - propagator[p + 5] * x_i
            i2 = i2 + propagator[p + 4] * x_i + propagator[p + 5] * x_r
            r3 = r3 + propagator[p + 6] * x_r - propagator[p + 7] * x_i
            i3 = i3 + propagator[p + 6] * x_i + propagator[p + 7] * x_r
        at = (block * ROWS + 1) * PAIR
        store(new, at, r0)
        store(new, at + WIDTH, i0)
        store(new, at + PAIR, r1)
        store(new, at + PAIR + WIDTH, i1)
        store(new, at + 2 * PAIR, r2)
        store(new, at + 2 * PAIR + WIDTH, i2)
        store(new, at + 3 * PAIR, r3)
        store(new, at + 3 * PAIR + WIDTH, i3)
