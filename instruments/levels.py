"""Levels at a 50 ohm input, and how loud a record is at its strongest line."""

import numpy as np
from numpy.typing import NDArray

_OHM = 50.0
_FAINTEST_W = 1e-30
"""Stands for nothing at all, whose logarithm there is not."""


def volts_peak(dbm: float) -> float:
    """Return the amplitude, V peak, of a sine of so many dBm into 50 ohm."""
    return float(np.sqrt(2 * _OHM * 1e-3 * 10 ** (dbm / 10)))


def dbm_of(peak_v: float) -> float:
    """Return the power in dBm of a sine of this amplitude, V peak, into 50 ohm."""
    return float(10 * np.log10(max(peak_v**2 / (2 * _OHM), _FAINTEST_W) / 1e-3))


def strongest_line(samples: NDArray[np.complex128]) -> float:
    """Return the amplitude of the strongest spectral line in a record (n,) of I + jQ, in its unit.

    By a Fourier transform with a Hann window, so that the noise of n samples counts as that of one bin: n / 1.5 times
    less power than in the record. A line between two bins reads up to 15 % low.
    """
    window = np.hanning(len(samples) + 2)[1:-1]
    return float(np.abs(np.fft.fft(samples * window)).max() / window.sum())
