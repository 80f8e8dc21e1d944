"""The thermal field against statistical mechanics."""

import numpy as np
from scipy.constants import Boltzmann

from simulators.film import SEGMENTS
from simulators.llg_ring import LLGRing
from simulators.strip import Strip
from simulators.thermal import thermal_deviation, thermal_field
from tests.experiments import heated, one_cell, stiffness_of_one_cell


def test_single_domain_fluctuates_as_equipartition_says() -> None:
    # <m_a**2> = k T / (Ms V B_a), with B_a the field that brings m back: every degree of freedom has k T / 2.
    strip = one_cell(damping=0.2, cell_m=50e-9, width_m=50e-9)
    temperature_k = 300.0
    past = np.array(list(heated(strip, temperature_k, 5e-12, every=1, samples=4000, seed=0)))[500:, :, 0]
    volume = strip.cell_m * strip.thickness_m * strip.width_m
    for axis, stiffness_t in zip((0, 2), stiffness_of_one_cell(strip), strict=True):
        theory = Boltzmann * temperature_k / (strip.saturation_magnetisation_a_per_m * volume * stiffness_t)
        # 14 000 samples, some 0.2 ns of memory: a few hundred of them are independent.
        np.testing.assert_allclose(np.square(past[..., axis]).mean(), theory, rtol=0.15)


def test_thermal_field_is_keyed_by_shot_and_symbol_and_as_strong_as_it_says() -> None:
    strip = Strip()
    deviation = thermal_deviation(strip, 300.0, 10e-12)
    first = thermal_field(strip, deviation, 200, 7, 3, 5, np.float32)
    np.testing.assert_array_equal(thermal_field(strip, deviation, 200, 7, 3, 5, np.float32), first)
    for other in ((8, 3, 5), (7, 4, 5), (7, 3, 6)):
        assert not np.array_equal(thermal_field(strip, deviation, 200, *other, np.float32), first)
    cells = first.transpose(0, 2, 3, 1).reshape(200, 3, SEGMENTS * first.shape[1])
    np.testing.assert_allclose(cells.std(axis=(0, 1)), deviation, rtol=0.15)
    assert deviation[0] > 10 * deviation[48]


def test_a_warm_ring_answers_with_noise_that_repeats_and_grows_with_temperature() -> None:
    u = np.zeros((3, 2))

    def noise(temperature_k: float, shots: np.ndarray) -> np.ndarray:
        with LLGRing(noise=0.0, temperature_k=temperature_k, width_m=1e-6) as ring:
            return ring.forward(shots)

    warm = noise(300.0, u)
    np.testing.assert_array_equal(noise(300.0, u[:1]), warm[:1])
    assert not np.array_equal(warm[0], warm[1])
    # Amplitudes go with the root of the temperature.
    np.testing.assert_allclose(noise(75.0, u).std() / warm.std(), 0.5, rtol=0.02)
