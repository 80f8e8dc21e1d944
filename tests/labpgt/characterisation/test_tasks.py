"""Capacities and errors of devices that are known on paper."""

import numpy as np
import pytest

from labpgt.characterisation import FULL, QUICK, Bench
from labpgt.characterisation.outcome import Outcome
from labpgt.characterisation.readout import squared_correlation, without_chance
from labpgt.characterisation.tasks import (
    delayed,
    mackey_glass,
    mackey_glass_series,
    narma10,
    narma_series,
    parities,
    parity,
    short_term_memory,
)
from tests.rings import DelayLine, Memoryless, Paper, ParityLine, TunableRing


def bench(device: Paper, **changed: int) -> Bench:
    device.open()
    return Bench(device, QUICK._replace(**changed), seed=3)


@pytest.mark.parametrize("taps", [1, 2, 5, 9])
def test_a_delay_line_remembers_its_taps_and_knows_no_parity(taps: int) -> None:
    on = bench(DelayLine(taps))
    memory, parity_check = short_term_memory(on), parity(on)
    r2 = memory.curves["short_term_memory"]["r2"]
    np.testing.assert_allclose(r2[: taps - 1], 1, atol=1e-6)
    samples = 6 * (200 - 30)
    # r² of independent series: mean 1/(n-1), which is taken off, deviation about sqrt(2)/n; 30 delays.
    chance = 5 * np.sqrt(2 * 30) / samples
    assert memory.values["stm"] == pytest.approx(taps - 1, abs=chance)
    assert parity_check.values["pc"] == pytest.approx(0, abs=chance)
    assert len(on.reservoir.calls) == 1, "the two share their shots"


@pytest.mark.parametrize("longest", [1, 3])
def test_a_line_of_parities_knows_them_and_remembers_nothing(longest: int) -> None:
    on = bench(ParityLine(longest))
    chance = 5 * np.sqrt(2 * 30) / (6 * 170)
    assert parity(on).values["pc"] == pytest.approx(longest, abs=chance)
    assert short_term_memory(on).values["stm"] == pytest.approx(0, abs=chance)


def test_noise_leaves_the_share_of_variance_that_it_should() -> None:
    # A tap with noise of deviation s on a bit of variance 1/4: r² = (1/4) / (1/4 + s²).
    on = bench(DelayLine(4, noise=0.5), task_shots=80)
    assert short_term_memory(on).values["stm"] == pytest.approx(3 / 2, abs=0.06)


def test_a_ring_of_one_node_remembers_as_its_decay_says() -> None:
    # z(n) = sum of g^k u(n-k): the only readout has r²(D) = g^(2D) (1 - g²), in all g².
    for g in (0.4, 0.7):
        on = bench(TunableRing(gain=g, attenuation_db=0, carrier_hz=3.2e9), task_shots=200)
        assert short_term_memory(on).values["stm"] == pytest.approx(g * g, abs=0.03)


def test_the_capacity_does_not_depend_on_the_limits_of_the_drive() -> None:
    assert short_term_memory(bench(DelayLine(5))).values["stm"] == pytest.approx(
        short_term_memory(bench(DelayLine(5, low=-3.0, high=-1.0))).values["stm"], abs=1e-3
    )


def test_chance_is_taken_off_on_average() -> None:
    draw = np.random.default_rng(0)
    raw = squared_correlation(draw.normal(size=(1, 50, 4000)), draw.normal(size=(1, 50, 4000)))
    assert raw.mean() == pytest.approx(1 / 49, rel=0.05)
    assert without_chance(raw, 50).mean() == pytest.approx(0, abs=1e-3)
    assert without_chance(np.ones(1), 50) == 1


def test_targets_are_what_they_are_called() -> None:
    bits = np.array([[1, 1, 0, 1, 0, 0, 1]])
    np.testing.assert_array_equal(delayed(bits, 2)[0, :, 0], [0, 1, 1, 0, 1, 0, 0])
    np.testing.assert_array_equal(delayed(bits, 2)[0, :, 1], [0, 0, 1, 1, 0, 1, 0])
    np.testing.assert_array_equal(parities(bits, 2)[0, :, 0], [1, 0, 1, 1, 1, 0, 1])
    np.testing.assert_array_equal(parities(bits, 2)[0, :, 1], [1, 0, 0, 0, 1, 1, 1])


def test_the_narma_series_follows_its_recursion() -> None:
    u, target = narma_series(np.random.default_rng(1), 3, 40)
    for shot in range(3):
        y = [0.0]
        for n in range(40):
            past = sum(y[max(0, n - 9) : n + 1])
            old = u[shot, n - 9] if n >= 9 else 0.0
            y.append(0.3 * y[n] + 0.05 * y[n] * past + 1.5 * old * u[shot, n] + 0.1)
        np.testing.assert_allclose(target[shot], y[1:], rtol=1e-12)
    assert u.min() >= 0
    assert u.max() <= 0.5


def test_narma_of_a_delay_line_and_of_no_memory_are_the_known_ones() -> None:
    # Least squares on 80 000 symbols: 1, 10, 20 and 40 of the inputs leave 0.750, 0.335, 0.152 and 0.139 of the
    # variance; in the literature a shift register reaches an NRMSE of about 0.4, an NMSE of 0.16.
    for taps, expected in ((10, 0.335), (20, 0.152), (40, 0.139)):
        found = narma10(bench(DelayLine(taps), task_shots=100)).values
        assert found["narma10_nmse"] == pytest.approx(expected, abs=0.02)
        assert found["narma10_nrmse"] == pytest.approx(np.sqrt(found["narma10_nmse"]))
    assert narma10(bench(Memoryless(1e9), task_shots=100)).values["narma10_nmse"] == pytest.approx(0.750, abs=0.03)


def test_the_mackey_glass_series_is_the_solution_of_its_equation() -> None:
    """Against the method of steps with another integrator; the series is chaotic, so for as long as that allows."""
    from scipy.integrate import solve_ivp
    from scipy.interpolate import CubicSpline

    ours = mackey_glass_series(60)
    known_t = np.arange(0, 18.0)
    times, values = np.arange(18), ours[:18]
    past = CubicSpline(times, values)
    found = solve_ivp(
        lambda t, x: 0.2 * past(t - 17) / (1 + past(t - 17) ** 10) - 0.1 * x, (17, 34), ours[17:18], rtol=1e-10
    )
    assert known_t[-1] == 17
    assert found.y[0, -1] == pytest.approx(ours[34], abs=2e-4)
    assert 0.2 < ours.min() < ours.max() < 1.4


def test_mackey_glass_is_predicted_from_a_delay_line_and_hardly_from_the_last_value() -> None:
    outcome = mackey_glass(bench(DelayLine(20), task_shots=20))
    curve = outcome.curves["mackey_glass"]
    assert curve["nrmse"][0] < 0.01
    assert outcome.values["mackey_glass_nrmse"] < 0.2
    assert (curve["nrmse_last_value"] > curve["nrmse"]).all()
    last = mackey_glass(bench(Memoryless(1e9), task_shots=20)).curves["mackey_glass"]
    np.testing.assert_allclose(last["nrmse"], last["nrmse_last_value"], rtol=1e-5)


@pytest.mark.parametrize("measure", [short_term_memory, parity, narma10, mackey_glass])
def test_shots_too_short_for_a_memory_are_said_to_be(measure: object) -> None:
    assert callable(measure)
    outcome: Outcome = measure(bench(DelayLine(3, max_symbols=10)))
    assert not outcome.values
    assert "at most 10 symbols a shot; this takes 24" in next(iter(outcome.missing.values()))


def test_short_shots_are_used_as_long_as_they_are() -> None:
    on = bench(DelayLine(4, max_symbols=40))
    assert short_term_memory(on).values["stm"] == pytest.approx(3, abs=0.2)
    assert {symbols for _, symbols in on.reservoir.calls} == {40}


def test_many_nodes_get_more_shots() -> None:
    few, many = bench(DelayLine(10)), bench(DelayLine(400))
    assert few.task_shots == QUICK.task_shots
    assert many.task_shots * 0.6 * 170 >= 10 * 400
    assert FULL.task_shots > QUICK.task_shots


def test_the_same_seed_gives_the_same_numbers_however_shots_were_batched() -> None:
    noisy = {"taps": 5, "noise": 0.3}
    whole = short_term_memory(bench(DelayLine(**noisy), call_shots=64))  # type: ignore[arg-type]
    parts = short_term_memory(bench(DelayLine(**noisy), call_shots=3))  # type: ignore[arg-type]
    assert whole.values == parts.values
