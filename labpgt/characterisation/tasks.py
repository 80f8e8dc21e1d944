"""Benchmark tasks of reservoir computing: memory and parity capacities, NARMA-10, Mackey-Glass."""

import numpy as np
from numpy.typing import NDArray

from labpgt.characterisation.bench import Bench
from labpgt.characterisation.outcome import Outcome
from labpgt.characterisation.readout import normalised_error, predict, squared_correlation, without_chance

HORIZONS = (1, 2, 3, 4, 6, 8, 11, 15, 20, 28, 38, 50, 66, 84)
"""Steps ahead that Mackey-Glass is predicted."""
_HORIZON = 6
_MACKEY_GLASS_STEPS = 10
"""Integration steps in one sample of the series."""
_NARMA_LIMIT = 1.0
"""NARMA-10 stays below this unless it runs away, which some inputs make it do."""
_RANDOM, _NARMA, _MACKEY_GLASS = 1, 2, 3
"""What random numbers are for."""


def short_term_memory(bench: Bench) -> Outcome:
    """Return the short-term memory capacity: the sum over delays D >= 1 of r²(D) between u(n-D) and its readout.

    u is random and binary, 0 and 1 at the ends of the drive range. D runs to the length of the washout, so that all of
    u(n-D) lies in the shot. The readout is linear in the responses to u(n) and judged on shots it was not fitted to
    (`labpgt.characterisation.readout`); r² is corrected for chance. As in Watt and Kostylev, Phys. Rev. Applied 13,
    034057 (2020), and arXiv 2506.04523.
    """
    return _capacity(bench, "stm", "short_term_memory")


def parity(bench: Bench) -> Outcome:
    """Return the parity capacity: the same sum with the parity of u(n-D), ..., u(n) for a target, D >= 1.

    A device that is linear in its drive cannot have any.
    """
    return _capacity(bench, "pc", "parity")


def _capacity(bench: Bench, name: str, curve: str) -> Outcome:
    if reason := bench.too_short():
        return Outcome().lack(reason, name)
    bits = bench.draw(_RANDOM).integers(0, 2, (bench.task_shots, bench.symbols("random")))
    low, high = bench.limits
    responses = bench.once("random", lambda: np.where(bits, high, low))
    delays = np.arange(1, bench.washout + 1)
    targets = (delayed if name == "stm" else parities)(bits, bench.washout)
    truth, found = predict(responses, targets, bench.washout)
    samples = truth.shape[0] * truth.shape[1]
    raw = squared_correlation(truth, found)
    r2 = without_chance(raw, samples)
    return Outcome(
        values={name: float(r2.sum()), f"{name}_uncorrected": float(raw.sum())},
        curves={curve: {"delay": delays.astype(float), "r2": r2, "r2_uncorrected": raw}},
    )


def delayed(bits: NDArray[np.integer], longest: int) -> NDArray[np.float64]:
    """Return u(n-D) for D = 1 to `longest`, (shots, symbols) to (shots, symbols, longest); 0 before the shot."""
    targets = np.zeros((*bits.shape, longest))
    for delay in range(1, longest + 1):
        targets[:, delay:, delay - 1] = bits[:, :-delay]
    return targets


def parities(bits: NDArray[np.integer], longest: int) -> NDArray[np.float64]:
    """Return the parity of u(n-D), ..., u(n) for D = 1 to `longest`, (shots, symbols) to (shots, symbols, longest)."""
    return np.asarray((bits[..., None] + np.cumsum(delayed(bits, longest), axis=-1)) % 2)


def narma10(bench: Bench) -> Outcome:
    """Return how well a linear readout makes the NARMA-10 series of the drive, u uniform in [0, 0.5].

    y(n+1) = 0.3 y(n) + 0.05 y(n) (y(n) + ... + y(n-9)) + 1.5 u(n-9) u(n) + 0.1 (Atiya and Parlos, IEEE Trans. Neural
    Networks 11, 697 (2000)), read out from the responses to u(n). What is linear in the drive cannot make the
    product: an ideal delay line of ten symbols reaches an NMSE of 0.34, one of forty 0.14, the present symbol alone
    0.75.
    """
    if reason := bench.too_short():
        return Outcome().lack(reason, "narma10_nmse")
    inputs, targets = narma_series(bench.draw(_NARMA), bench.task_shots, bench.symbols("narma10"))
    low, high = bench.limits
    responses = bench.take("narma10", low + (high - low) * 2 * inputs)
    truth, found = predict(responses, targets[..., None], bench.washout)
    nmse = float(normalised_error(truth, found)[0])
    symbols = bench.washout + np.arange(truth.shape[1], dtype=float)
    return Outcome(
        values={"narma10_nmse": nmse, "narma10_nrmse": float(np.sqrt(nmse))},
        curves={"narma10": {"symbol": symbols, "target": truth[0, :, 0], "prediction": found[0, :, 0]}},
    )


def narma_series(
    draw: np.random.Generator, shots: int, symbols: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return inputs u(n) in [0, 0.5] and targets y(n+1), both (shots, symbols), each shot from y = 0 on.

    An input that makes the series run away is drawn again.
    """
    inputs = np.empty((shots, symbols))
    targets = np.empty((shots, symbols))
    waiting = np.arange(shots)
    while len(waiting):
        u = draw.uniform(0, 0.5, (len(waiting), symbols))
        y = np.zeros((len(waiting), symbols + 10))  # ten zeros before the shot
        padded = np.concatenate([np.zeros((len(waiting), 9)), u], axis=1)
        with np.errstate(over="ignore", invalid="ignore"):
            for n in range(symbols):
                now = y[:, n + 9]
                past = y[:, n : n + 10].sum(axis=1)
                y[:, n + 10] = 0.3 * now + 0.05 * now * past + 1.5 * padded[:, n] * padded[:, n + 9] + 0.1
        inputs[waiting], targets[waiting] = u, y[:, 10:]
        waiting = waiting[~(np.abs(y).max(axis=1) < _NARMA_LIMIT)]
    return inputs, targets


def mackey_glass(bench: Bench) -> Outcome:
    """Return how well a linear readout predicts the Mackey-Glass series (delay 17, one sample a symbol).

    The drive follows the series; the readout of the responses to x(n) is asked for x(n+h).
    """
    names = ("mackey_glass_nrmse", "mackey_glass_nrmse_84")
    if reason := bench.too_short():
        return Outcome().lack(reason, *names)
    shots, symbols = bench.task_shots, bench.symbols("mackey_glass")
    period = symbols + max(HORIZONS)
    start = int(bench.draw(_MACKEY_GLASS).integers(0, 1000))
    series = mackey_glass_series(start + shots * period)[start:].reshape(shots, period)
    low, high = bench.limits
    least, most = series.min(), series.max()
    responses = bench.take("mackey_glass", low + (high - low) * (series[:, :symbols] - least) / (most - least))
    targets = np.stack([series[:, h : h + symbols] for h in HORIZONS], axis=-1)
    nrmse = np.sqrt(normalised_error(*predict(responses, targets, bench.washout)))
    last = np.sqrt(normalised_error(*predict(series[:, :symbols, None], targets, bench.washout)))
    values = dict(zip(names, (float(nrmse[HORIZONS.index(h)]) for h in (_HORIZON, max(HORIZONS))), strict=True))
    horizon = np.array(HORIZONS, dtype=float)
    return Outcome(values, curves={"mackey_glass": {"horizon": horizon, "nrmse": nrmse, "nrmse_last_value": last}})


def mackey_glass_series(samples: int) -> NDArray[np.float64]:
    """Return x(t) at t = 0, 1, 2, ... after a transient, of dx/dt = 0.2 x(t-17) / (1 + x(t-17)^10) - 0.1 x(t).

    Mackey and Glass, Science 197, 287 (1977). Fourth-order Runge-Kutta at 0.1, the delayed value at half a step by
    linear interpolation, from x = 1.2 before t = 0; 1000 samples are let pass.
    """
    step = 1.0 / _MACKEY_GLASS_STEPS
    delay = 17 * _MACKEY_GLASS_STEPS
    total = (1000 + samples) * _MACKEY_GLASS_STEPS
    x = [1.2] * (delay + 1)

    def feed(value: float) -> float:
        return 0.2 * value / (1 + value**10)

    for n in range(total):
        begin, end = feed(x[n]), feed(x[n + 1])
        middle = feed(0.5 * (x[n] + x[n + 1]))
        now = x[-1]
        k1 = begin - 0.1 * now
        k2 = middle - 0.1 * (now + 0.5 * step * k1)
        k3 = middle - 0.1 * (now + 0.5 * step * k2)
        k4 = end - 0.1 * (now + step * k3)
        x.append(now + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4))
    return np.array(x[delay + 1000 * _MACKEY_GLASS_STEPS :: _MACKEY_GLASS_STEPS][:samples])
