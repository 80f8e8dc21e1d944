"""Dipolar field along a film that varies in one direction only, without an FFT.

Cells are prisms: width along x, thickness along z, infinite along y. Between two of them the cell-averaged
demagnetising tensor is diagonal with Nyy = 0 and, because the potential is harmonic outside the source,
Nzz = delta - Nxx: one kernel serves both components.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares


class ExponentialSum(NamedTuple):
    """`Nxx(k)` = `first` at |k| = 1 and the sum of `weights * rates**k` at |k| >= 2; all dimensionless."""

    first: float
    weights: NDArray[np.float64]
    rates: NDArray[np.float64]

    def at(self, k: NDArray[Any]) -> NDArray[np.float64]:
        """Return the approximate Nxx at distances `k` >= 1, in cells."""
        return np.where(k == 1, self.first, (self.rates ** np.asarray(k)[..., None]) @ self.weights)


def demagnetising_factor(k: NDArray[Any], width_m: float, thickness_m: float) -> NDArray[np.float64]:
    """Return Nxx between two prisms `k` cells apart, averaged over the target cell (dimensionless).

    The faces of the source normal to x carry charge +M and -M; the mean field in the target is the potential
    difference of its own two faces. Both are integrals of the two-dimensional potential -ln(r)/(2 pi), so Nxx is the
    second difference, over one width, of the double integral of ln(r) between two parallel faces (the
    two-dimensional case of Newell, Williams and Dunlop, J. Geophys. Res. 98, 9551 (1993)).
    """
    distance = np.asarray(k, dtype=np.float64) * width_m

    def between_faces(x: NDArray[np.float64]) -> NDArray[np.float64]:
        x, b = np.abs(x), thickness_m
        square = x * x
        # x**2 ln(x**2) is 0 at x = 0; the guard keeps the logarithm finite there.
        own = 0.5 * square * np.log(np.where(square > 0, square, 1.0))
        return 0.5 * (b * b - square) * np.log(square + b * b) + own + 2 * b * x * np.arctan2(b, x)

    second = between_faces(distance + width_m) + between_faces(distance - width_m) - 2 * between_faces(distance)
    return second / (2 * np.pi * width_m * thickness_m)


@lru_cache(maxsize=64)
def exponential_sum(cells: int, width_m: float, thickness_m: float, terms: int = 5) -> ExponentialSum:
    """Fit Nxx(k), 2 <= k < `cells`, by `terms` decaying exponentials; k = 0 and k = 1 are left to be exact.

    A sum of exponentials is what two recursions, one from either end, can apply in O(cells). The weights follow from
    the rates by linear least squares, so only the rates are searched (variable projection). Five terms leave 3e-5 in
    the wavenumber-space kernel N(q) of the default film, at any q. Four leave 2e-4, which shifts a wave's frequency by
    half a megahertz: in a ring that adds up to a percent of its output over a hundred periods.
    """
    k = np.arange(2, max(cells, 4 * terms), dtype=np.float64)
    # A long tail that is slightly off everywhere adds up at small q; this weight makes the error even over q.
    emphasis = np.sqrt(k)
    exact = demagnetising_factor(k, width_m, thickness_m)

    def project(log_decay: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        powers = np.exp(-np.exp(log_decay)) ** k[:, None]
        weights = np.asarray(np.linalg.lstsq(powers * emphasis[:, None], exact * emphasis)[0], dtype=np.float64)
        return weights, (powers @ weights - exact) * emphasis

    start = np.log(np.geomspace(3.0 / k[-1], 1.0, terms))
    log_decay = least_squares(lambda x: project(x)[1], start, x_scale="jac", xtol=1e-12, ftol=1e-12).x
    first = float(demagnetising_factor(np.array(1), width_m, thickness_m))
    return ExponentialSum(first, project(log_decay)[0], np.exp(-np.exp(log_decay)))


@lru_cache(maxsize=64)
def fit_error(cells: int, width_m: float, thickness_m: float) -> float:
    """Return the largest error in N(q), at any wavenumber q, of the exponentials that are fitted to these cells."""
    k = np.arange(1, cells)
    left = exponential_sum(cells, width_m, thickness_m).at(k) - demagnetising_factor(k, width_m, thickness_m)
    return float(np.abs(2 * np.cos(np.linspace(0, np.pi, 500)[:, None] * k) @ left).max())
