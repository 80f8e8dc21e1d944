"""What an analyser makes of the signal at its input: samples, noise, limits of its range."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from labpgt.rng import Draw, generator
from simulators.virtual_bench.waveform import rounded

NOISE_BAND_HZ = 1e6
"""Bandwidth that the noise of an input is stated for."""


class Capture(NamedTuple):
    """One acquisition."""

    values: NDArray[Any]
    """complex128 (samples,) in V peak of an IQ capture, float64 (points,) in V rms of a trace."""
    overload: bool


def digitised(values: NDArray[np.complex128], range_v: float, bits: int) -> tuple[NDArray[np.complex128], bool]:
    """Round both parts of values (samples,) in V to an ADC's levels; and whether one was beyond its range.

    There are 2**bits levels from -range_v up to one below range_v.
    """
    half = 2 ** (bits - 1)
    level = range_v / half
    codes = np.round(np.ascontiguousarray(values).view(np.float64) / level)
    clipped = np.clip(codes, -half, half - 1)
    return (clipped * level).view(np.complex128), bool((clipped != codes).any())


def noise(seed: int, capture: int, volts: float, samples: int, bandwidth_hz: float) -> NDArray[np.complex128]:
    """Noise of the input within a bandwidth, in V peak (samples,); it is `volts` rms in 1 MHz. Keyed by the capture."""
    draw = generator(seed, capture + 1, Draw.DEVICE).standard_normal((samples, 2))
    # The power of a peak of V is V**2 / 2: each of the two parts has the deviation of the rms value.
    return np.asarray(volts * np.sqrt(bandwidth_hz / NOISE_BAND_HZ) * (draw[:, 0] + 1j * draw[:, 1]))


def means(values: NDArray[Any], rate_hz: float, samples: int, new_rate_hz: float) -> NDArray[Any]:
    """Return `samples` means over 1 / new_rate_hz each of a signal (n,) that holds every value for 1 / rate_hz.

    After its last value the signal is zero.
    """
    up, down = rounded(new_rate_hz / rate_hz), rounded(rate_hz / new_rate_hz)
    if up:
        found = np.repeat(values[: -(-samples // up)], up)[:samples]
    elif down:
        taken = values[: samples * down]
        padded = np.concatenate([taken, np.zeros(-len(taken) % down, values.dtype)])
        found = padded.reshape(-1, down).mean(axis=1)
    else:
        sums = np.concatenate([np.zeros(1, values.dtype), np.cumsum(values)]) / rate_hz
        sums = np.interp(np.arange(samples + 1) / new_rate_hz, np.arange(len(sums)) / rate_hz, sums)
        found = np.diff(sums) * new_rate_hz
    return np.concatenate([found, np.zeros(samples - len(found), values.dtype)])
