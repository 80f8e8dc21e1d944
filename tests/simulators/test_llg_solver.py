"""The solver in double precision against theory and against an independent integrator."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from simulators.fields import Antenna, total_field
from simulators.film import film_of, wiring_of
from simulators.lanes import WIDTH
from simulators.llg import Drive, advance, record, tile_at_rest
from simulators.strip import Geometry, Loop, Strip
from tests.experiments import (
    OPEN,
    FittedDipolar,
    at_rest,
    bump,
    carrier,
    energy_balance,
    inner_field_t,
    integrated,
    kalinikos_slavin_hz,
    nrmse,
    one_cell,
    packets_hz,
    pickup,
    precession_found,
    precession_of_one_cell,
    undriven,
)


def test_ring_agrees_with_an_independent_integrator_that_sums_over_all_pairs_of_cells() -> None:
    # Short enough for a dense sum, long enough for two rounds of a strong, saturating signal.
    strip = Strip(cells=40, absorber_cells=8, antenna_distance_m=1.2e-6)
    loop = Loop(delay_s=0.613e-9, gain=0.1, saturation=5e-3)
    reference = integrated(strip, loop, 5e-12, 5e-9, 2e-2, 3.2e9)[::2]
    ours = pickup(strip, loop, 10e-12, carrier(10e-12, 5e-9, 2e-2, 3.2e9))[:, 0]
    assert np.abs(reference).max() > 0.05
    assert nrmse(ours, reference) < 2e-4


def test_closed_ring_converges_with_the_fourth_order() -> None:
    strip = Strip(cells=40, absorber_cells=8, antenna_distance_m=1.2e-6)
    # A delay that is no whole number of any of the steps, and a feedback that saturates.
    loop = Loop(delay_s=0.6137e-9, gain=0.08, saturation=5e-3)
    finest = pickup(strip, loop, 1.25e-12, carrier(1.25e-12, 6e-9, 2e-2, 3.2e9))[:, 0]
    errors = [
        nrmse(pickup(strip, loop, step, carrier(step, 6e-9, 2e-2, 3.2e9))[:, 0], finest[:: round(step / 1.25e-12)])
        for step in (10e-12, 5e-12)
    ]
    assert errors[0] < 1e-3
    assert np.log2(errors[0] / errors[1]) > 3.9


@pytest.mark.parametrize(("step_s", "tolerance"), [(10e-12, 4e-5), (2.5e-12, 1e-6)])
def test_single_cell_precesses_and_decays_as_kittel_says(step_s: float, tolerance: float) -> None:
    hz, decay = precession_of_one_cell(one_cell())
    found_hz, found_decay = precession_found(one_cell(), step_s, 20e-9)
    assert found_hz == pytest.approx(hz, rel=tolerance)
    assert found_decay == pytest.approx(decay, rel=1e-2)


@pytest.mark.parametrize(
    ("geometry", "bias_t"), [("surface", 0.05), ("backward-volume", 0.05), ("forward-volume", 0.25)]
)
def test_dispersion_follows_kalinikos_and_slavin(geometry: Geometry, bias_t: float) -> None:
    strip = Strip(cells=500, absorber_cells=0, damping=1e-6, geometry=geometry, bias_t=bias_t)
    wavenumbers = np.linspace(0.5e6, 6e6, 8)
    expected = kalinikos_slavin_hz(strip, wavenumbers, inner_field_t(strip))
    np.testing.assert_allclose(packets_hz(strip, wavenumbers, 5e-6, 4e-9), expected, rtol=1e-2)


def test_magnetisation_keeps_its_length_and_stays_at_rest_without_drive() -> None:
    strip = Strip(cells=40, absorber_cells=8, antenna_distance_m=1.2e-6)
    m = at_rest(strip)
    assert not pickup(strip, OPEN, 10e-12, np.zeros(401), m).any()
    np.testing.assert_array_equal(m, at_rest(strip))
    pickup(strip, OPEN, 10e-12, carrier(10e-12, 3e-9, 5e-2, 3.2e9), m)
    assert np.abs(m[0, :, 0]).max() > 0.05
    np.testing.assert_allclose(np.linalg.norm(m, axis=2), 1, atol=1e-12)


@pytest.mark.parametrize(("step_s", "tolerance"), [(10e-12, 3e-4), (2.5e-12, 1e-6)])
def test_energy_lost_is_what_damping_dissipates(step_s: float, tolerance: float) -> None:
    strip = Strip()
    terms = [strip.exchange, FittedDipolar(strip.medium), strip.zeeman]
    past = undriven(strip, bump(strip, 0.3), step_s, round(10e-12 / step_s), samples=200)[:, 0]
    left, lost = energy_balance(strip, terms, past, 10e-12)
    assert lost[-1] > 0.1 * left[0]
    np.testing.assert_allclose(left + lost, left[0], rtol=tolerance)


def test_absorbers_swallow_waves_shorter_than_they_are() -> None:
    def listen(**geometry: int) -> NDArray[Any]:
        # 3.8 GHz is a wave of 0.9 um, half an absorber; the last 5 ns of 30 are long after the first pass.
        drive = carrier(10e-12, 30e-9, 1e-4, 3.8e9)
        return pickup(Strip(**geometry), OPEN, 10e-12, drive)[-500:, 0]

    endless = listen(cells=300)
    assert nrmse(listen(), endless) < 0.03
    assert nrmse(listen(absorber_cells=0), endless) > 0.5


def test_short_delay_and_antennas_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="at least three steps of 1e-11 s, got 2e-11 s"):
        wiring_of(Strip(), 20e-12, 10e-12)
    with pytest.raises(ValueError, match=r"1e-05 m apart need a strip longer than 96 cells"):
        wiring_of(Strip(antenna_distance_m=10e-6), 1e-9, 10e-12)


def test_solver_refuses_arrays_shorter_than_its_steps() -> None:
    strip, step_s = Strip(), 10e-12
    film, wiring = film_of(strip, step_s, np.float64), wiring_of(strip, OPEN.delay_s, step_s, np.float64)
    tile = tile_at_rest(film, wiring, 10)
    lanes, table = np.ones(WIDTH), np.zeros(21 * WIDTH)
    drive = Drive(table, table, np.ones(10), lanes, lanes, lanes, lanes)
    advance(film, wiring, tile, drive, None)
    for wrong in (drive._replace(cosine=table[1:]), drive._replace(sine=table[1:]), drive._replace(gate=np.ones(11))):
        with pytest.raises(ValueError, match="too short"):
            advance(film, wiring, tile, wrong, None)
    with pytest.raises(ValueError, match="too short"):
        advance(film, wiring, tile._replace(trace=tile.trace[1:]), drive, None)


@pytest.mark.parametrize("geometry", ["surface", "backward-volume", "forward-volume"])
def test_one_step_of_the_solver_turns_as_the_sum_of_the_field_terms_says(geometry: Geometry) -> None:
    # The cells do not fill the register's rows, and every term is at work.
    strip = Strip(
        cells=43, absorber_cells=8, antenna_distance_m=1.2e-6, geometry=geometry, bias_t=0.25, anisotropy_j_per_m3=900.0
    )
    m = np.random.default_rng(1).normal(size=(5, strip.cells, 3))
    m /= np.linalg.norm(m, axis=2, keepdims=True)
    step_s, ms = 1e-16, strip.saturation_magnetisation_a_per_m
    after = m.copy()
    pickup(strip, OPEN, step_s, np.full((5, 3), 0.02), after)
    antenna = Antenna(strip.medium, strip.antennas[0], strip.antenna_axis, 0.02 * ms)
    damping = strip.damping_profile[:, None]
    for before, found in zip(m, (after - m) / step_s, strict=True):
        torque = np.cross(before, total_field([*strip.terms, antenna], before) / ms)
        expected = -strip.rate / (1 + damping**2) * (torque + damping * np.cross(before, torque))
        # What is left is the fit of the dipolar field, 2e-4 of it.
        np.testing.assert_allclose(found, expected, rtol=0, atol=5e-4 * strip.rate)


@pytest.mark.parametrize("geometry", ["surface", "backward-volume", "forward-volume"])
def test_rest_is_an_equilibrium_in_every_geometry(geometry: Geometry) -> None:
    strip = Strip(cells=50, absorber_cells=8, antenna_distance_m=1.2e-6, geometry=geometry, bias_t=0.25)
    m = at_rest(strip)
    assert not np.cross(m[0], total_field(strip.terms, m[0])).any()
    pickup(strip, OPEN, 10e-12, np.zeros(2001), m)
    np.testing.assert_allclose(m, at_rest(strip), atol=1e-12)


def test_a_shot_in_any_lane_and_company_has_the_same_bits() -> None:
    fields = np.random.default_rng(0).normal(scale=0.01, size=(6, 401))
    loop = Loop(0.6137e-9, 0.04, 2e-3)
    together = record(Strip(), loop, 10e-12, fields)
    for order in ([5, 0, 3], [2], [4, 1, 0, 5, 3]):
        np.testing.assert_array_equal(record(Strip(), loop, 10e-12, fields[order]), together[order])
