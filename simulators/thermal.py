"""The thermal field of a film at a temperature: white noise that keeps damping and fluctuation in balance."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.constants import Boltzmann

from labpgt.rng import Draw, generator
from simulators.film import SEGMENTS, Precision, in_segments
from simulators.strip import GYROMAGNETIC_RATIO, Strip


def thermal_deviation(strip: Strip, temperature_k: float, step_s: float) -> NDArray[np.float64]:
    """Return the standard deviation (cells,) of each component of the thermal field, in units of Ms.

    B = sqrt(2 alpha k T / (gamma Ms V step)) (Brown, Phys. Rev. 130, 1677 (1963)), constant during a step, with the
    volume V of a cell and its own damping.
    """
    volume = strip.cell_m * strip.thickness_m * strip.width_m
    ms = strip.saturation_magnetisation_a_per_m
    square = 2 * strip.damping_profile * Boltzmann * temperature_k / (GYROMAGNETIC_RATIO * ms * volume * step_s)
    return np.asarray(np.sqrt(square) / strip.saturation_t)


def thermal_field(
    strip: Strip, deviation: NDArray[np.float64], steps: int, seed: int, shot: int, symbol: int, precision: Precision
) -> NDArray[Any]:
    """Return the field (steps, rows, 3, SEGMENTS) of one symbol of one shot, in units of Ms.

    Keyed by seed, shot and symbol: the same whatever batch the shot travels in.
    """
    # A symbol has less than 2**64 numbers, and a run less than 2**64 shots.
    draw = generator(seed, shot, Draw.THERMAL)
    draw.bit_generator.advance(symbol << 64)  # type: ignore[attr-defined]
    noise = draw.standard_normal((steps, 3, strip.cells), dtype=np.float32)
    return in_segments(strip, (noise * deviation).astype(precision)).reshape(steps, 3, -1, SEGMENTS).swapaxes(1, 2)
