"""What a spectrum analyser shows of a signal: its lines through a Gaussian resolution filter, and noise."""

from math import ceil, log, pi, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.sparse import csr_array

from labpgt.rng import Draw, generator
from simulators.virtual_bench.receiver import NOISE_BAND_HZ, means
from simulators.virtual_bench.steady import Record

NOISE_BANDWIDTH = sqrt(pi / log(2)) / 2
"""Of a Gaussian filter, over its bandwidth at -3 dB: 1.0645."""

_READINGS = 16
"""Independent readings that the RMS detector has for a point."""

SKIRT = 4.0
"""How far from a line, in resolution bandwidths, it is seen: it is down by 190 dB there."""

_FINEST = 64
"""Parts of the resolution bandwidth that lines are told apart in."""

_MOST_LINES = 2**21


class Lines(NamedTuple):
    """Lines of signals about the carrier, at equal distances."""

    offset_hz: NDArray[np.float64]
    """(lines,), ascending."""
    power: NDArray[np.float64]
    """(levels, lines): mean square of the voltage, in V**2."""


def lines(record: Record, held: bool, full_scale_v: float, reach_hz: float) -> Lines:
    """Return the lines of a record as far as `reach_hz` from the carrier, or half its sampling rate.

    The lines of a period are its Fourier coefficients. If it is `held`, constant between its samples, they go on
    beyond half the sampling rate; else its samples are means of a smooth signal. A record that does not repeat itself
    is seen through a Hann window, its power spread over lines as close as the record is long.
    """
    values = record.values
    n = values.shape[1]
    if not record.repeats:
        window = 1 - np.cos(2 * np.pi * (np.arange(n) + 0.5) / n)
        values = values * window / np.sqrt(np.mean(window**2))
    spacing_hz = record.rate_hz / n
    furthest = min(_MOST_LINES, ceil(reach_hz / spacing_hz))
    order = np.arange(-furthest, furthest + 1) if held else np.arange(n) - n // 2
    amplitude = full_scale_v * np.abs(np.fft.fft(values, axis=1))[:, order % n] / n
    # Holding a sample multiplies a line by this, and so does taking the mean about it.
    droop = np.sinc(order / n)
    amplitude = amplitude * np.abs(droop) if held else amplitude / droop
    return Lines(order * spacing_hz, amplitude**2 / 2)


def trace(found: Lines, offset_hz: NDArray[np.float64], rbw_hz: float) -> NDArray[np.float64]:
    """Mean square voltage (levels, points) that the filter passes at offsets (points,) from the carrier, in V**2.

    The filter is Gaussian, of bandwidth `rbw_hz` at -3 dB; the detector takes the mean power.
    """
    found = _coarser(found, rbw_hz)
    count = len(found.offset_hz)
    spacing = (found.offset_hz[1] - found.offset_hz[0]) if count > 1 else rbw_hz
    # Only lines near a point are seen there.
    reach = ceil(SKIRT * rbw_hz / spacing)
    nearest = np.round((offset_hz - found.offset_hz[0]) / spacing).astype(np.int64)
    line = nearest[:, None] + np.arange(-reach, reach + 1)
    inside = (line >= 0) & (line < count)
    point = np.broadcast_to(np.arange(len(offset_hz))[:, None], line.shape)[inside]
    line = line[inside]
    passed = np.exp(-log(2) * (2 * (found.offset_hz[line] - offset_hz[point]) / rbw_hz) ** 2)
    seen = csr_array((passed, (point, line)), shape=(len(offset_hz), count))
    return np.asarray((seen @ found.power.T).T)


def _coarser(found: Lines, rbw_hz: float) -> Lines:
    """Take lines together that the filter cannot tell apart."""
    count = len(found.offset_hz)
    if count < 2:
        return found
    spacing = found.offset_hz[1] - found.offset_hz[0]
    together = int(rbw_hz / (_FINEST * spacing))
    if together < 2:
        return found
    power = np.pad(found.power, ((0, 0), (0, -count % together)))
    power = power.reshape(len(power), -1, together).sum(axis=2)
    first = found.offset_hz[0] + (together - 1) / 2 * spacing
    return Lines(first + together * spacing * np.arange(power.shape[1]), power)


def detected(power: NDArray[np.float64], noise_v: float, rbw_hz: float, seed: int, capture: int) -> NDArray[np.float64]:
    """V rms (levels, points) that an RMS detector shows of mean squares, with input noise of `noise_v` rms in 1 MHz."""
    floor = noise_v**2 * NOISE_BANDWIDTH * rbw_hz / NOISE_BAND_HZ
    if floor:
        draw = generator(seed, capture + 1, Draw.DEVICE)
        # The mean of so many squares of signal plus noise, each with both its quadratures.
        degrees = 2 * _READINGS
        power = draw.noncentral_chisquare(degrees, degrees * power / floor) * (floor / degrees)
    return np.sqrt(power)


def zero_span(
    values: NDArray[np.complex128], rate_hz: float, rbw_hz: float, points: int, sweep_time_s: float
) -> NDArray[np.float64]:
    """V rms (points,) of a signal (samples,) in V peak: Gaussian filter, and the mean power within each point.

    The delay of the filter is taken out.
    """
    # A Gaussian of frequency is one of time.
    deviation_s = sqrt(log(2)) / (pi * rbw_hz)
    passed: NDArray[Any] = gaussian_filter1d(values, deviation_s * rate_hz, mode="constant")
    power = means(np.abs(passed) ** 2 / 2, rate_hz, points, points / sweep_time_s)
    return np.asarray(np.sqrt(np.maximum(power, 0)))
