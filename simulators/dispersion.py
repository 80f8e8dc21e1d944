"""Which waves a film carries: the dispersion of the equations as the solver has them, cell by cell."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from simulators.dipolar import demagnetising_factor
from simulators.fields import UNIT
from simulators.strip import Strip

_NEIGHBOURS = 20_000
"""Cells on either side that the dipolar sum takes in: what is left out is 1e-6 at any wavenumber."""


def dispersion_hz(strip: Strip, wavenumbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the frequency in Hz of small plane waves in an endless film, for wavenumbers (n,) in rad/m.

    Deviations a and b across the magnetisation turn as da/dt = w K_b b, db/dt = -w K_a a, with w = gamma mu0 Ms and K
    the field along the bias less the one that a deviation makes itself: f = w sqrt(K_a K_b) / 2 pi. NaN where K_a or
    K_b is negative: the film is not saturated along its bias.
    """
    k = np.asarray(wavenumbers, dtype=np.float64)
    angle = k * strip.cell_m
    j = np.arange(1, _NEIGHBOURS)
    nxx = demagnetising_factor(np.arange(_NEIGHBOURS), strip.cell_m, strip.thickness_m)
    # At k = 0 the sum over all cells is 0: an endless film has no poles at its ends.
    far = nxx[0] + 2 * np.cos(angle[:, None] * j) @ nxx[1:]
    along_x = np.where(k == 0, 0.0, far)
    dipolar = {"x": along_x, "y": np.zeros_like(k), "z": 1 - along_x}
    rest_dipolar = {"x": 0.0, "y": 0.0, "z": 1.0}
    easy = dict(zip("xyz", strip.anisotropy.strength * np.array(UNIT[strip.easy_axis]), strict=True))
    axis = strip.bias_axis
    inner = strip.bias - rest_dipolar[axis] + easy[axis] + strip.exchange.neighbour * (2 - 2 * np.cos(angle))
    first, second = (inner + dipolar[across] - easy[across] for across in "xyz" if across != axis)
    square = np.where((first < 0) | (second < 0), np.nan, first * second)
    return np.asarray(strip.rate * np.sqrt(square) / (2 * np.pi))


@lru_cache(maxsize=64)
def kittel_hz(strip: Strip) -> float:
    """Return the frequency in Hz of the uniform mode of the endless film (C. Kittel, Phys. Rev. 73, 155 (1948))."""
    return float(dispersion_hz(strip, np.zeros(1))[0])


@lru_cache(maxsize=64)
def band_hz(strip: Strip) -> tuple[float, float]:
    """Return the lowest and the highest frequency of a wave in the film, in Hz; NaN if it is not saturated."""
    shortest = np.pi / strip.cell_m
    frequencies = dispersion_hz(strip, np.concatenate([[0.0], np.geomspace(1e-4, 1, 300) * shortest]))
    return float(frequencies.min()), float(frequencies.max())
