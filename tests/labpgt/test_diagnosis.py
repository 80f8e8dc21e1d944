"""A network that predicts the class prior: is it recognised, and is the cause the right one."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from labpgt.config import NetworkConfig
from labpgt.diagnosis import at_prior, likely_cause
from labpgt.losses import Loss
from labpgt.network import Network, build_network
from labpgt.tasks import load_dataset
from simulators.echo_state import EchoStateRing
from tests.faults import Faulty
from tests.runs import configured, train

LIVE = np.random.default_rng(0).normal(size=(60, 8))
"""Scaled responses that differ between samples."""


def network_of(limits: tuple[float, float] = (-1.0, 1.0), **settings: Any) -> Network:
    config = NetworkConfig(**{"hidden": [20, 20], "symbols": 4, **settings})
    return build_network(config, 6, nodes=2, outputs=2, drive_limits=limits, seed=0)


def features(size: float = 1.0) -> torch.Tensor:
    return size * torch.from_numpy(np.random.default_rng(1).normal(size=(60, 6)).astype(np.float32))


@pytest.mark.parametrize("loss", ["mse", "cross-entropy"])
def test_the_prior_is_the_best_constant(loss: str) -> None:
    """Against minimising the loss over constant outputs by scipy."""
    from scipy.optimize import minimize

    labels = np.repeat([0, 1, 2], [10, 25, 15])
    judge = Loss(loss, 3)
    targets = judge.targets(labels)

    def constant(output: np.ndarray) -> float:
        outputs = torch.from_numpy(np.tile(output, (50, 1)))
        return float(judge.per_shot(outputs, targets).mean())

    best = minimize(constant, np.zeros(3), method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-12}).fun
    assert judge.prior(labels) == pytest.approx(best, rel=1e-6)


def test_the_prior_of_wisconsin_breast_cancer_is_0_2338() -> None:
    dataset = load_dataset(configured(task={"name": "breast-cancer"}).task, seed=4)
    judge = Loss("mse", 2)
    everything = np.concatenate([dataset.train_y, dataset.test_y])
    p = 212 / 569
    assert len(everything) == 569
    assert judge.prior(everything) == pytest.approx(p * (1 - p), rel=1e-12)
    assert round(judge.prior(everything), 4) == 0.2338
    # Stratified: the training part has its share of each class but for one sample.
    assert judge.prior(dataset.train_y) == pytest.approx(p * (1 - p), abs=abs(1 - 2 * p) / len(dataset.train_y))
    outputs = torch.tensor([[p, 1 - p]]).repeat(569, 1)
    shots = judge.per_shot(outputs, judge.targets(everything))
    assert shots.mean().item() == pytest.approx(p * (1 - p), rel=1e-6)


def test_at_prior_needs_both_the_loss_and_a_constant_output() -> None:
    constant = np.full((50, 2), 0.5, np.float32)
    varying = constant + np.random.default_rng(0).normal(0, 0.2, (50, 2)).astype(np.float32)
    assert at_prior(0.2338, 0.2338, constant)
    assert at_prior(0.2355, 0.2338, constant)
    assert not at_prior(0.21, 0.2338, constant)
    assert not at_prior(0.26, 0.2338, constant)
    assert not at_prior(0.2338, 0.2338, varying)


def test_saturated_by_features_that_are_not_standardised() -> None:
    cause = likely_cause(network_of(), features(500), LIVE)
    assert "hidden units are saturated" in cause
    assert "not standardised: set task.standardize = true" in cause


def test_saturated_by_training() -> None:
    network = network_of()
    network.values[:] *= 60
    cause = likely_cause(network, features(), LIVE)
    assert "hidden units are saturated" in cause
    assert "lower training.learning_rate" in cause
    assert "standardize" not in cause


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu", "elu", "sigmoid"])
def test_units_that_are_dead(activation: str) -> None:
    network = network_of(activation=activation)
    network.pre[0].bias.data.fill_(-60)  # type: ignore[index, union-attr]
    assert "100% of the hidden units are saturated or dead" in likely_cause(network, features(), LIVE)


@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu", "silu", "elu", "sigmoid"])
@pytest.mark.parametrize("shift", [0.0, -0.4])
def test_a_dead_device_is_not_blamed_on_healthy_layers(activation: str, shift: float) -> None:
    """Also where a ReLU is off for most samples, as it may well be."""
    network = network_of(hidden=[20], activation=activation, drive_gain=10.0)
    network.pre[0].bias.data += shift  # type: ignore[index, union-attr, operator]
    cause = likely_cause(network, features(), np.zeros((60, 8)))
    assert "the responses hardly differ between samples although the drives do" in cause
    assert "device" in cause


@pytest.mark.parametrize("activation", [nn.ReLU, nn.ELU, nn.SiLU])
def test_own_layers_that_work_in_place_are_looked_into_without_harm(activation: type[nn.Module]) -> None:
    pre = nn.Sequential(nn.Linear(6, 20), activation(inplace=True), nn.Linear(20, 4))
    network = Network(pre, nn.Linear(8, 2), (-1.0, 1.0), 0.1)
    network.values[:] *= 3
    before = network.encode(features())
    assert "the responses hardly differ" in likely_cause(network, features(), np.zeros((60, 8)))
    pre[0].bias.data.fill_(-90)  # type: ignore[union-attr]
    assert "saturated or dead" in likely_cause(network, features(), LIVE)
    pre[0].bias.data.fill_(0)  # type: ignore[union-attr]
    assert network.encode(features()).shape == before.shape
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in pre.modules())


def test_drives_that_hardly_differ() -> None:
    for limits in ((-1.0, 1.0), (0.0, 0.01)):
        cause = likely_cause(network_of(limits, drive_gain=1e-3), features(), LIVE)
        assert "the drives hardly differ between samples" in cause
        assert "raise network.drive_gain" in cause


def test_nothing_wrong_but_the_updates() -> None:
    cause = likely_cause(network_of(drive_gain=4.0), features(), LIVE)
    assert "updates are too small or too noisy" in cause


PRIOR = {"epochs": 2, "learning_rate": 1e-2, "evaluation": "full"}


@pytest.mark.parametrize("estimator", ["jacobian-twin", "node"])
def test_a_run_at_the_prior_with_raw_features_names_the_cause_and_the_mend(estimator: str) -> None:
    network = {"hidden": [30, 30]}
    training = {**PRIOR, "estimator": estimator}
    raw = train(configured(task={"name": "breast-cancer", "standardize": False}, network=network, training=training))
    told = [message for message in raw.warnings if message.startswith("after epoch")]
    assert told
    assert f"always predicting the class frequencies ({raw.last.results['prior_loss']:.4f})" in told[-1]
    assert "hidden units are saturated" in told[-1]
    assert "set task.standardize = true" in told[-1]
    mended = train(configured(task={"name": "breast-cancer"}, network=network, training=training))
    assert mended.warnings == []
    assert mended.last.results["train_loss"] < raw.last.results["train_loss"]


def test_a_run_through_a_dead_device_blames_the_device() -> None:
    config = configured(training={**PRIOR, "epochs": 4, "learning_rate": 3e-2, "estimator": "node"})
    run = train(config, Faulty(EchoStateRing(n_nodes=5), constant=0.3))
    assert "responses are equal (0.3); the device does not answer" in run.warnings[0]
    assert run.last.results["train_loss"] == pytest.approx(run.last.results["prior_loss"], rel=1e-2)
    assert "after epoch 4" in run.warnings[-1]
    assert "the responses hardly differ between samples although the drives do: the device is" in run.warnings[-1]


def test_a_run_through_a_dead_device_with_noise_blames_the_device() -> None:
    """A gain of nearly nothing and an analyser's noise: what a loose cable looks like."""
    device = EchoStateRing(n_nodes=5, input_gain=1e-6, noise=0.01, mask_seed=1)
    (warning, *_) = train(configured(training=PRIOR), Centred(device)).warnings
    assert "the device answers mostly with noise. Check RF, wiring and gain" in warning


class Centred(Faulty):
    """Without the constant pattern of the ring's biases."""

    def forward(self, drives: Any) -> Any:
        with EchoStateRing(**{**self.inner.config.model_dump(), "noise": 0.0}) as quiet:  # type: ignore[attr-defined]
            return super().forward(drives) - quiet.forward(np.zeros_like(drives))
