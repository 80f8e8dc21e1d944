"""How the response to a kick dies away: its amplitude symbol by symbol, and the rate at which it grows or decays."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.special import chdtri

_FALSE_ALARM = 1e-5
"""Probability that noise alone passes for a response somewhere in a shot."""
_RESOLUTION = 1e-6
"""Of float32 responses, relative to the largest: nothing is quieter than that."""
_MISFIT = 0.1
"""By how much a decay may deviate from an exponential: it keeps the strong start from deciding everything."""
_FEWEST = 4
"""Symbols of a decay that a rate can be fitted to."""
_STAYS = 0.03
"""A response that loses less than this (in nepers, so 3 %) in the second half of the shot counts as staying."""
_FASTEST = 20.0
"""Nepers a symbol; nothing faster is looked for."""
_LEAST_RATE = 1e-12
_CLEARLY = 4.0
"""Of half the sum of squared residuals: a likelihood ratio of 55."""
_PASSES = 4
"""Of the fit: each takes its weights from the one before."""


class Quiet(NamedTuple):
    """What the device answers without drive."""

    response: NDArray[np.float64]
    """Mean over the repeats, (symbols, nodes)."""
    variance: float
    """Of one value of one shot."""
    repeats: int


class Fit(NamedTuple):
    """A saturating decay or growth of the power."""

    first: int
    """Symbol that it starts at."""
    scale: float
    x: tuple[float, float, float]
    """Rate in nepers a symbol, logarithm of the power at the first symbol, and saturation; of power over `scale`."""
    cost: float
    """Half the sum of squares of the weighted residuals."""

    @property
    def rate(self) -> float:
        """Growth of a weak amplitude in nepers a symbol; NaN when there is no fit."""
        return self.x[0]

    def power(self, symbol: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the power at these symbols."""
        return np.asarray(self.scale * _saturating(symbol - self.first, self.x))


_NO_FIT = Fit(0, 1.0, (float("nan"), float("nan"), float("nan")), float("nan"))


class Decay(NamedTuple):
    """The response to a kick in the first symbol, over the symbols after it."""

    power: NDArray[np.float64]
    """Mean square over nodes of the mean deviation from the quiet response, less the noise's; may be negative."""
    kick: float
    """Amplitude in the strongest symbol."""
    floor: float
    """Amplitude that noise alone does not reach."""
    rate: float
    """Growth of the amplitude in nepers a symbol; NaN when it is gone too soon to tell."""
    fit: Fit
    oscillates: bool
    repeats: int
    """Kicks that it is the mean of."""

    @property
    def is_seen(self) -> bool:
        """Whether the kick stands out of the noise at all."""
        return self.kick > self.floor

    @property
    def hidden_rate(self) -> float:
        """Growth rate, in nepers a symbol, up to which an oscillation would saturate below the noise floor."""
        return self.fit.x[2] * self.floor**2 / self.fit.scale

    @property
    def memory_symbols(self) -> float:
        """Time constant of the decay, in symbols; NaN when there is none."""
        return -1 / self.rate if self.rate < 0 and not self.oscillates else float("nan")


def kick_drives(shots: int, symbols: int, rest: float, kick: float) -> NDArray[np.float64]:
    """Return drives (shots, symbols) that are at rest after a first symbol at `kick`."""
    drives = np.full((shots, symbols), rest)
    drives[:, 0] = kick
    return drives


def quiet_from(responses: NDArray[np.float64]) -> Quiet:
    """Return what repeats without drive, (repeats >= 2, symbols, nodes), have in common, and how they differ."""
    mean = responses.mean(axis=0)
    resolution = _RESOLUTION * np.abs(responses).max()
    return Quiet(mean, float(max(responses.var(axis=0, ddof=1).mean(), resolution**2)), len(responses))


def decay_of(responses: NDArray[np.float64], quiet: Quiet, *, plain: bool = False) -> Decay:
    """Return how the response to a kick, (repeats, symbols, nodes), decays.

    Repeats are averaged before anything is squared. The power p, with its noise taken off, is fitted by the solution
    of dp/dk = 2 rate p - 2 c p², c >= 0, the amplitude equation of an oscillator with saturation (Stuart and Landau),
    so that `rate` is that of a weak response also where the kick is not weak. A ring whose amplifier is x/sqrt(1 + x²)
    follows it exactly. The fit is over every symbol up to the last that stands out of the noise, each weighted by its
    uncertainty, and from half of the largest amplitude on where enough is left then.

    The ring oscillates when the response is there to the end of the shot, and grows when weak or stays: loses less than
    3 % in the second half.

    Rate and saturation are hard to tell apart in noise. With `plain`, for rings well below the threshold, a decay is
    taken for exponential (c = 0) unless the fit with saturation is clearly better.
    """
    difference = responses.mean(axis=0) - quiet.response
    symbols, nodes = difference.shape
    resolution = _RESOLUTION * np.abs(responses).max()
    variance = max(quiet.variance, resolution**2) * (1 / len(responses) + 1 / quiet.repeats)
    power = np.mean(difference**2, axis=1) - variance
    # Sums of squares of Gaussian noise; one symbol in 1 / _FALSE_ALARM shots is louder.
    floor = variance * (chdtri(nodes, _FALSE_ALARM / symbols) / nodes - 1)
    heard = np.flatnonzero(power > floor)
    kick = float(np.sqrt(max(power.max(), 0.0)))
    silent = Decay(power, kick, float(np.sqrt(floor)), float("nan"), _NO_FIT, False, len(responses))
    if not len(heard):
        return silent
    last = int(heard[-1])
    half = symbols // 2
    weak = np.flatnonzero(power[: last + 1] > 0.25 * power.max())
    first = int(weak[-1]) + 1
    if last - first + 1 < 2 * _FEWEST:
        first = min(1, last)
    fit = _fit(power, first, last, variance, nodes)
    there = last >= 0.9 * (symbols - 1)
    if there and (fit.rate > 0 or _lost(power, half, last, variance, nodes) < _STAYS):
        # Where it has saturated at once, it grows no further: how fast it would is not seen.
        rate = fit.rate if fit.rate > 0 else float("nan")
        return silent._replace(rate=rate, fit=fit, oscillates=True)
    if plain:
        exponential = _fit(power, first, last, variance, nodes, saturates=False)
        if exponential.cost - fit.cost < _CLEARLY:
            fit = exponential
    return silent._replace(rate=fit.rate, fit=fit)


def _lost(power: NDArray[np.float64], first: int, last: int, variance: float, nodes: int) -> float:
    """Return what the amplitude loses from symbol `first` to `last`, in nepers."""
    fit = _fit(power, first, last, variance, nodes)
    begin, end = fit.power(np.array([float(first), float(last)]))
    return float(0.5 * np.log(begin / end)) if end > 0 else float("inf")


def _fit(
    power: NDArray[np.float64], first: int, last: int, variance: float, nodes: int, *, saturates: bool = True
) -> Fit:
    """Fit the power from symbol `first` to `last`; a fit of NaN where those are too few."""
    if last - first + 1 < _FEWEST:
        return _NO_FIT
    k = np.arange(first, last + 1, dtype=float)
    seen = power[first : last + 1]
    scale = max(float(seen.max()), variance)
    # A first guess from the logarithm, where there is one.
    known = seen > 0
    rate, level = np.polyfit(k[known] - first, np.log(seen[known] / scale), 1) if known.sum() > 1 else (0.0, 0.0)
    x = np.array([0.5 * rate, level, 0.0])
    for _ in range(_PASSES):
        # Weights from the model, for those from the data would favour values that noise has made small.
        model = scale * _saturating(k - first, x)
        spread = np.sqrt((4 * model * variance + 2 * variance**2) / nodes + (_MISFIT * model) ** 2)

        def residuals(x: NDArray[np.float64], spread: NDArray[np.float64] = spread) -> NDArray[np.float64]:
            return np.asarray((scale * _saturating(k - first, x) - seen) / spread)

        bounds = ([-_FASTEST, -50, 0], [_FASTEST, 50, np.inf if saturates else 1e-300])
        x[:2] = np.clip(x[:2], [-0.9 * _FASTEST, -49], [0.9 * _FASTEST, 49])
        found = least_squares(residuals, x, x_scale=[0.01, 0.1, 0.01], bounds=bounds)
        x = found.x
    return Fit(first, scale, (float(x[0]), float(x[1]), float(x[2])), float(found.cost))


def _saturating(k: NDArray[np.float64], x: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p(k) of dp/dk = 2 rate p - 2 c p² with p(0) = exp(level), for x = (rate, level, c)."""
    rate, level, c = x
    # 1/p is linear: it falls by 2 rate of itself and rises by 2 c a symbol.
    growth = np.clip(-2 * rate * k, -500, 500)
    integral = k if abs(rate) < _LEAST_RATE else -np.expm1(growth) / (2 * rate)
    return np.asarray(1 / (np.exp(growth - level) + 2 * c * integral))
