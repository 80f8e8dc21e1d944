"""The thermal field against statistical mechanics."""

import numpy as np
from scipy.constants import Boltzmann, mu_0

from simulators.film import SEGMENTS, SHOTS, film_of, wiring_of
from simulators.lanes import WIDTH
from simulators.llg import Drive, advance, magnetisation, tile_at_rest
from simulators.llg_ring import LLGRing
from simulators.strip import Strip
from simulators.thermal import thermal_deviation, thermal_field


def test_single_domain_fluctuates_as_equipartition_says() -> None:
    # <m_a**2> = k T / (mu0 Ms**2 V K_a), with K_a the stiffness across the bias: every degree of freedom has k T / 2.
    strip = Strip(
        cells=1, absorber_cells=0, antenna_cells=1, antenna_distance_m=0, damping=0.2, cell_m=50e-9, width_m=50e-9
    )
    step_s, steps, temperature_k = 5e-12, 4000, 300.0
    film, wiring = film_of(strip, step_s, np.float64), wiring_of(strip, 1e-9, step_s, np.float64)
    tile = tile_at_rest(film, wiring, 1)
    deviation = thermal_deviation(strip, temperature_k, step_s)
    lanes = np.zeros(WIDTH)
    drive = Drive(np.zeros(3 * WIDTH), np.zeros(3 * WIDTH), np.zeros(1), lanes, lanes, lanes, np.ones(WIDTH))
    noise = [thermal_field(strip, deviation, steps, 0, shot, 0, np.float64) for shot in range(SHOTS)]
    fields = np.stack(noise, axis=-1).reshape(steps, -1)
    squares = []
    for n in range(steps):
        advance(film, wiring, tile, drive, np.ascontiguousarray(fields[n]))
        if n > 500:
            squares.append(magnetisation(strip, tile)[:, 0] ** 2)
    volume = strip.cell_m * strip.thickness_m * strip.width_m
    scale = Boltzmann * temperature_k / (mu_0 * strip.saturation_magnetisation_a_per_m**2 * volume)
    nxx = strip.terms[1].nxx[0, 0]  # type: ignore[attr-defined]
    for axis, stiffness in ((0, strip.bias + nxx), (2, strip.bias + 1 - nxx)):
        found = np.mean([square[:, axis] for square in squares])
        # 14 000 samples, some 0.2 ns of memory: a few hundred of them are independent.
        np.testing.assert_allclose(found, scale / stiffness, rtol=0.15)


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
