"""What is measured before training, against theory."""

from collections.abc import Generator
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from labpgt.calibration import ResponseStatistics, choose_delta, measure_responses, nonlinear_share
from labpgt.config import NetworkConfig, TrainingConfig
from labpgt.device import Reservoir
from labpgt.estimators import ESTIMATORS, Batch, PairEstimator
from labpgt.events import Event, Purpose, RunWarning, ShotsTaken
from labpgt.losses import Loss
from labpgt.network import Network, build_network
from labpgt.shots import ShotTaker
from simulators.echo_state import EchoStateRing
from tests.faults import Faulty
from tests.runs import Analytic

T = TypeVar("T")


def drained(events: Generator[Event, None, T]) -> tuple[list[Event], T]:
    seen = []
    while True:
        try:
            seen.append(next(events))
        except StopIteration as stop:
            return seen, stop.value


def network_of(device: Reservoir, symbols: int, features: int = 3, seed: int = 0) -> Network:
    device.open()
    config = NetworkConfig(hidden=[6], symbols=symbols, drive_gain=3.0)
    return build_network(config, features, device.n_nodes, 2, device.drive_limits, seed)


def statistics_of(
    device: Reservoir, count: int = 64, symbols: int = 4, samples: int = 30
) -> tuple[list[Event], ResponseStatistics]:
    network = network_of(device, symbols)
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(samples, 3)).astype(np.float32))
    taker = ShotTaker(device, symbols)
    return drained(measure_responses(network, taker, x, np.arange(samples), count, seed=0))


def affine(u: NDArray[np.float64], nodes: int, noise: float, seed: int = 0) -> NDArray[np.float64]:
    random = np.random.default_rng(seed)
    responses = u @ random.normal(size=(u.shape[1], nodes)) + random.normal(size=nodes)
    return responses + noise * random.normal(size=responses.shape)


@pytest.mark.parametrize("symbols", [1, 4, 20])
def test_an_affine_device_has_no_nonlinear_share(symbols: int) -> None:
    for seed in range(5):
        u = np.random.default_rng(seed).uniform(-1, 1, (64, symbols))
        assert nonlinear_share(u, affine(u, 12, 0.0, seed), 0.0) < 1e-7


@pytest.mark.parametrize("symbols", [1, 8, 20])
def test_noise_is_not_taken_for_nonlinearity_nor_hidden_by_many_symbols(symbols: int) -> None:
    """With too many symbols for the shots an ordinary fit would explain the noise; leaving one out does not."""
    squares = []
    for seed in range(60):
        u = np.random.default_rng(seed).uniform(-1, 1, (max(16, 2 * (symbols + 1)), symbols))
        squares.append(nonlinear_share(u, affine(u, 30, 0.1, seed), 0.1) ** 2)
    # The deviation of the response is at least 0.5, so noise taken for a share would give a square up to 0.04.
    assert np.mean(squares) < 0.01


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("curvature", [0.1, 0.5, 2.0])
def test_a_quadratic_device_has_the_share_of_theory(noise: float, curvature: float) -> None:
    """r = u + b u², u uniform in [-1, 1]: Var u = 1/3, Var u² = 4/45, and the two are uncorrelated."""
    random = np.random.default_rng(1)
    u = random.uniform(-1, 1, (8000, 1))
    responses = u + curvature * u**2 + noise * random.normal(size=u.shape)
    expected = np.sqrt(curvature**2 * 4 / 45 / (1 / 3 + curvature**2 * 4 / 45))
    assert nonlinear_share(u, responses, noise) == pytest.approx(expected, rel=0.05, abs=0.01)


def test_a_purely_quadratic_device_has_a_share_of_one() -> None:
    u = np.random.default_rng(2).uniform(-1, 1, (4000, 3))
    assert nonlinear_share(u, u**2, 0.0) == pytest.approx(1, abs=0.01)


def test_every_shot_is_predicted_from_the_others() -> None:
    """Against refitting without each shot in turn; few shots for many symbols, where it matters."""
    random = np.random.default_rng(6)
    u = random.uniform(-1, 1, (26, 12))
    responses = affine(u, 5, 0.0) + 0.5 * u[:, :5] ** 2
    design = np.column_stack([np.ones(len(u)), u])
    missed = []
    for shot in range(len(u)):
        others = np.arange(len(u)) != shot
        fit = np.linalg.lstsq(design[others], responses[others], rcond=None)[0]
        missed.append(responses[shot] - design[shot] @ fit)
    assert nonlinear_share(u, responses, 0.0) == pytest.approx(
        np.sqrt(np.mean(np.square(missed)) / responses.var(0).mean())
    )


def test_a_device_that_does_not_answer_has_no_share() -> None:
    u = np.random.default_rng(3).uniform(-1, 1, (50, 2))
    assert np.isnan(nonlinear_share(u, np.ones((50, 4)), 0.0))


def test_offset_scale_and_noise_are_those_of_the_responses() -> None:
    events, found = statistics_of(EchoStateRing(n_nodes=20, noise=0.05))
    responses, repeats, random = (event.rows for event in events if isinstance(event, ShotsTaken))
    assert (len(responses), len(repeats), len(random)) == (64, 8, 64)
    assert (np.concatenate([responses, repeats, random])["purpose"] == Purpose.CALIBRATION).all()
    assert found.offset == pytest.approx(responses["response"].astype("f8").mean())
    assert found.scale == pytest.approx(responses["response"].astype("f8").std())
    assert np.array_equal(repeats["drive"], responses["drive"][:8])
    # 8 x 80 differences: 3 % of scatter.
    assert found.noise * found.scale == pytest.approx(0.05, rel=0.1)


def test_random_drives_cover_the_whole_range_and_few_samples_are_used_again() -> None:
    events, _ = statistics_of(EchoStateRing(n_nodes=2), count=200, samples=30)
    responses, _, random = (event.rows for event in events if isinstance(event, ShotsTaken))
    assert responses["sample"].tolist() == [i % 30 for i in range(200)]
    assert (random["sample"] == -1).all()
    assert random["drive"].min() < -0.97
    assert random["drive"].max() > 0.97
    assert abs(random["drive"].mean()) < 0.1


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_nonlinearity_of_a_device_is_that_of_its_formula(noise: float) -> None:
    """r = u + u²/2, limits 0 and 1: around 1/2 that is 1.5 v + v²/2, so 1/2 sqrt(1/180) over the deviation of r."""
    random = np.random.default_rng(4)
    device = Analytic(
        lambda u, _: (u + u**2 / 2)[..., np.newaxis] + noise * random.normal(size=(*u.shape, 40)), 40, (0.0, 1.0)
    )
    _, found = statistics_of(device, count=4096, symbols=1)
    curved = 0.25 / 180
    assert found.nonlinearity == pytest.approx(np.sqrt(curved / (1.5**2 / 12 + curved)), rel=0.15)


def test_too_few_shots_for_the_symbols_leave_nonlinearity_unmeasured() -> None:
    for count, measured in ((9, False), (10, True)):
        events, found = statistics_of(EchoStateRing(n_nodes=2), count=count, symbols=4)
        assert np.isnan(found.nonlinearity) != measured
        assert sum(isinstance(event, ShotsTaken) for event in events) == 2 + measured


def test_a_dead_device_is_named_and_does_not_divide_by_zero() -> None:
    events, found = statistics_of(Faulty(EchoStateRing(n_nodes=2), constant=0.25))
    (warning,) = (event.message for event in events if isinstance(event, RunWarning))
    assert "all 64 responses are equal (0.25)" in warning
    assert "Check RF, wiring and gain" in warning
    assert (found.offset, found.scale, found.noise) == (0.25, 1.0, 0.0)


def chosen(name: str, noise: float, **training: Any) -> tuple[float, list[tuple[float, float]], list[str]]:
    """The delta chosen, (delta, signal over noise) of each rung tried as the rows show it, and the warnings."""
    device = EchoStateRing(n_nodes=10, noise=noise)
    network = network_of(device, symbols=4)
    network.scale = 0.5
    settings = TrainingConfig(**training)
    loss = Loss("mse", 2)
    estimator = ESTIMATORS[name](network, ShotTaker(device, 4), loss, settings, 0)
    assert isinstance(estimator, PairEstimator)
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32))
    labels = np.arange(8) % 2
    events, delta = drained(choose_delta(estimator, Batch(-1, -1, np.arange(8), x, loss.targets(labels))))
    rows = [event.rows for event in events if isinstance(event, ShotsTaken)]
    rungs = []
    for first, second in zip(rows[0::2], rows[1::2], strict=True):
        a, b = (r["loss"][0::2] - r["loss"][1::2] for r in (first, second))
        assert np.array_equal(first["drive"], second["drive"])
        repeatability = np.std(a - b) / np.sqrt(2)
        signal = np.sqrt(np.mean(((a + b) / 2) ** 2))
        rungs.append((float(first["delta"][0]), signal / repeatability if repeatability else np.inf))
    return delta, rungs, [event.message for event in events if isinstance(event, RunWarning)]


@pytest.mark.parametrize(("name", "largest"), [("pgt", 1e-2), ("node", 2e-2), ("jacobian-twin", 2e-2)])
def test_delta_is_the_smallest_rung_that_stands_out_of_the_noise(name: str, largest: float) -> None:
    deltas = []
    for noise in (0.0, largest / 3, largest):
        delta, rungs, warnings = chosen(name, noise)
        deltas.append(delta)
        assert not warnings
        assert [rung for rung, _ in rungs] == list(ESTIMATORS[name].ladder[: len(rungs)])  # type: ignore[attr-defined]
        assert delta == rungs[-1][0]
        margin = ESTIMATORS[name].margin  # type: ignore[attr-defined]
        assert rungs[-1][1] >= margin
        assert all(ratio < margin for _, ratio in rungs[:-1])
    assert deltas[0] == ESTIMATORS[name].ladder[0]  # type: ignore[attr-defined]
    assert deltas == sorted(deltas)
    assert deltas[2] > deltas[0]


@pytest.mark.parametrize("name", ["pgt", "node", "jacobian-twin"])
def test_too_much_noise_for_any_delta_is_said(name: str) -> None:
    delta, rungs, warnings = chosen(name, 0.5)
    largest = ESTIMATORS[name].ladder[-1]  # type: ignore[attr-defined]
    assert delta == largest
    assert len(rungs) == len(ESTIMATORS[name].ladder)  # type: ignore[attr-defined]
    (warning,) = warnings
    assert f"even at {largest:g}" in warning
    assert f"(wanted {ESTIMATORS[name].margin:g})" in warning
    assert "Lower the readout noise" in warning
