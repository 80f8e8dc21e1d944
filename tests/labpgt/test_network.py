"""The network: flat views, initialisation, encoding, and one's own modules."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from labpgt.config import NetworkConfig
from labpgt.errors import InputError
from labpgt.network import ACTIVATIONS, Network, build_network

LIMITS = (-1.0, 1.0)

OWN = """
import torch
from torch import nn

def build(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, outputs))

def frozen(inputs, outputs):
    made = nn.Sequential(nn.Linear(inputs, 5), nn.ReLU(inplace=True), nn.Linear(5, outputs))
    made[0].requires_grad_(False)
    return made

def parameterless(inputs, outputs):
    return nn.AdaptiveAvgPool1d(outputs)

def double(inputs, outputs):
    return nn.Linear(inputs, outputs).double()

def half_double(inputs, outputs):
    made = nn.Linear(inputs, outputs)
    made.extra = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    return made

def too_wide(inputs, outputs):
    return nn.Linear(inputs, outputs + 1)

def too_hungry(inputs, outputs):
    return nn.Linear(inputs + 1, outputs)

def tuples(inputs, outputs):
    return nn.RNN(inputs, outputs)

def no_module(inputs, outputs):
    return lambda x: x

def no_arguments():
    return nn.Identity()

def raises(inputs, outputs):
    raise ZeroDivisionError("no such layer")

not_callable = 3
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_layers.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)


def build(seed: int = 0, limits: tuple[float, float] = LIMITS, features: int = 6, **settings: Any) -> Network:
    config = NetworkConfig(**{"hidden": [7, 5], "symbols": 4, **settings})
    return build_network(config, features, nodes=3, outputs=2, drive_limits=limits, seed=seed)


def test_every_parameter_is_a_view_into_the_flat_vector() -> None:
    network = build()
    modules = nn.ModuleList([network.pre, network.readout])
    count = 6 * 7 + 7 + 7 * 5 + 5 + 5 * 4 + 4 + 12 * 2 + 2
    assert network.values.shape == network.gradient.shape == network.readout_mask.shape == (count,)
    assert network.values.dtype == network.gradient.dtype == np.float32
    assert network.readout_mask.sum() == 12 * 2 + 2
    assert network.readout_mask[-26:].all()
    network.values[:] = np.arange(count)
    network.gradient[:] = -np.arange(count)
    assert torch.cat([p.detach().ravel() for p in modules.parameters()]).tolist() == list(range(count))
    assert torch.cat([p.grad.ravel() for p in modules.parameters() if p.grad is not None]).tolist() == [
        -i for i in range(count)
    ]


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam, torch.optim.RMSprop])
def test_an_optimiser_over_the_flat_vector_moves_the_modules_as_one_over_the_modules(
    optimizer: type[torch.optim.Optimizer],
) -> None:
    flat, modular = build(), build()
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(9, 6)).astype(np.float32))
    over_flat = optimizer([flat.flat], lr=0.05)  # type: ignore[call-arg]
    over_modules = optimizer(nn.ModuleList([modular.pre, modular.readout]).parameters(), lr=0.05)  # type: ignore[call-arg]
    for _ in range(5):
        for network in (flat, modular):
            network.gradient.fill(0)
            drives = network.encode(x)
            network.read(drives.repeat(1, 3)).square().mean().backward()
        over_flat.step()
        over_modules.step()
    assert np.linalg.norm(flat.values - build().values) > 0.01
    assert np.allclose(flat.values, modular.values, rtol=0, atol=1e-6)
    assert torch.equal(flat.pre[0].weight.ravel(), flat.flat[: 6 * 7])  # type: ignore[index]


def test_backward_accumulates_into_the_flat_gradient() -> None:
    network = build()
    x = torch.ones(1, 6)
    network.encode(x).sum().backward()
    once = network.gradient.copy()
    network.encode(x).sum().backward()
    assert np.abs(once).max() > 0
    assert np.allclose(network.gradient, 2 * once)
    assert (network.gradient[network.readout_mask] == 0).all()


def test_weights_depend_on_the_seed_alone_and_leave_torch_s_generator_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = build(seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert build(seed=5).sha256() == first.sha256()
    assert build(seed=6).sha256() != first.sha256()


def test_the_hash_sees_the_smallest_change() -> None:
    network = build()
    before = network.sha256()
    value = network.values[3]
    network.values[3] = np.nextafter(value, np.float32(np.inf))
    assert network.sha256() != before
    network.values[3] = value
    assert network.sha256() == before


def test_layers_start_as_torch_does_but_for_the_drive_gain() -> None:
    plain, spread = build(), build(drive_gain=3.0)
    last = plain.pre[-1].weight, spread.pre[-1].weight  # type: ignore[index]
    assert torch.allclose(3 * last[0], last[1])
    assert torch.equal(plain.pre[0].weight, spread.pre[0].weight)  # type: ignore[index]
    assert torch.equal(plain.pre[-1].bias, spread.pre[-1].bias)  # type: ignore[index]
    # torch draws weights and biases of a linear layer uniformly within 1/sqrt(inputs).
    bound = 1 / np.sqrt(6)
    weights = plain.values[: 6 * 7]
    assert np.abs(weights).max() <= bound
    assert abs(weights.std() - bound / np.sqrt(3)) < 0.2 * bound


def test_no_hidden_layers_drive_the_device_from_the_features() -> None:
    network = build(hidden=[])
    assert network.values.size == 6 * 4 + 4 + 26


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_every_activation_is_the_one_it_says(name: str) -> None:
    network = build(activation=name, hidden=[7])
    x = torch.linspace(-3, 3, 12).reshape(2, 6)
    first, last = network.pre[0], network.pre[-1]  # type: ignore[index]
    function = {"tanh": torch.tanh, "sigmoid": torch.sigmoid}.get(name) or getattr(nn.functional, name)
    assert torch.allclose(network.pre(x), last(function(first(x))))


@pytest.mark.parametrize("limits", [(0.0, 1.0), (-1.0, 1.0), (0.1, 0.7), (-300.0, -299.9)])
def test_drives_lie_within_the_limits_however_large_the_features(limits: tuple[float, float]) -> None:
    network = build(limits=limits)
    low, high = limits
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32))
    for size in (0.0, 1.0, 1e3, 1e30):
        with torch.no_grad():
            drives = network.encode(size * x).double()
        # One rounding to float32 may cross the limit; taking the shot clips it.
        assert drives.min() >= low - np.spacing(np.float32(abs(low)))
        assert drives.max() <= high + np.spacing(np.float32(abs(high)))
    network.values[:] = 0
    assert network.encode(x).detach().numpy() == pytest.approx((low + high) / 2, rel=1e-6), "zero goes to the middle"


def test_responses_are_scaled_by_one_mean_and_deviation() -> None:
    network = build(readout_deviation=0.25)
    network.offset, network.scale = 3.0, 2.0
    network.readout = nn.Identity()
    responses = torch.tensor([[3.0, 5.0, 1.0]])
    assert torch.allclose(network.read(responses), torch.tensor([[0.0, 0.25, -0.25]]))


@pytest.mark.usefixtures("own")
def test_own_modules_are_trained_in_evaluation_mode() -> None:
    network = build(pre="own_layers:build", readout="own_layers:build")
    assert isinstance(network.pre[1], nn.BatchNorm1d)  # type: ignore[index]
    assert not any(module.training for module in (*network.pre.modules(), *network.readout.modules()))
    x = torch.ones(3, 6)
    assert torch.equal(network.encode(x), network.encode(x)), "dropout is off"
    norm = 5 + 5
    assert network.values.size == (6 * 5 + 5 + norm + 5 * 4 + 4) + (12 * 5 + 5 + norm + 5 * 2 + 2)


@pytest.mark.usefixtures("own")
def test_frozen_and_missing_parameters_are_left_out() -> None:
    frozen = build(pre="own_layers:frozen")
    assert frozen.values.size == 5 * 4 + 4 + 26
    before = frozen.pre[0].weight.clone()  # type: ignore[index]
    frozen.values[:] = 0
    assert torch.equal(frozen.pre[0].weight, before)  # type: ignore[index]
    assert build(pre="own_layers:parameterless", features=8).values.size == 26


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("no_such_module:build", r"cannot be imported .*no_such_module.* Expected \"module:factory\""),
        ("own_layers:bild", r"cannot be imported .*bild"),
        ("own_layers:double", "float32|Double"),
        ("own_layers:half_double", "every trainable parameter must be float32"),
        ("own_layers:too_wide", r"expected an output of shape \(2, \d+\) from \(2, \d+\), got \(2, \d+\)"),
        ("own_layers:too_hungry", r"fails on an input of shape \(2, \d+\)"),
        ("own_layers:tuples", r"expected an output of shape \(2, \d+\).*tuple"),
        ("own_layers:no_module", "expected a torch.nn.Module, got function"),
        ("own_layers:no_arguments", r"no_arguments\(\d+, \d+\) failed: TypeError"),
        ("own_layers:raises", r"raises\(\d+, \d+\) failed: ZeroDivisionError: no such layer"),
        ("own_layers:not_callable", r"not_callable\(\d+, \d+\) failed: TypeError"),
    ],
)
@pytest.mark.parametrize("key", ["pre", "readout"])
def test_a_wrong_factory_is_an_input_error_that_names_the_key(key: str, factory: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        build(**{key: factory})
    if "half_double" not in factory:
        assert f"network.{key}" in str(caught.value)


@pytest.mark.usefixtures("own")
def test_nothing_to_train_is_an_input_error() -> None:
    with pytest.raises(InputError, match="no trainable parameters"):
        build(pre="own_layers:parameterless", readout="own_layers:parameterless", features=8)
