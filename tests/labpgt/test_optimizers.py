"""Every optimiser and schedule of torch, by name."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import LRScheduler

from labpgt.config import TrainingConfig
from labpgt.errors import InputError
from labpgt.optimizers import FINAL_RATE, build_optimizer, build_scheduler
from tests.runs import configured, train

OPTIMIZERS = sorted(
    name
    for name, value in vars(torch.optim).items()
    if isinstance(value, type) and issubclass(value, torch.optim.Optimizer) and value is not torch.optim.Optimizer
)
UNUSABLE = {"LBFGS": "closure", "SparseAdam": "dense gradients", "Muon": "2D"}
"""Optimisers that cannot train one dense vector from its gradient, and a word of the reason."""
SCHEDULERS: dict[str, dict[str, Any]] = {
    "StepLR": {"step_size": 5},
    "MultiStepLR": {"milestones": [3, 6]},
    "ConstantLR": {},
    "LinearLR": {"start_factor": 1.0, "end_factor": 0.1},
    "ExponentialLR": {},
    "PolynomialLR": {},
    "CosineAnnealingLR": {},
    "CosineAnnealingWarmRestarts": {"T_0": 4},
    "CyclicLR": {"base_lr": 1e-4, "max_lr": 1e-2, "cycle_momentum": False},
    "OneCycleLR": {"max_lr": 1e-2},
}


def parameter(size: int = 5) -> torch.nn.Parameter:
    made = torch.nn.Parameter(torch.linspace(-1, 1, size))
    made.grad = torch.ones(size)
    return made


def optimizer(**training: Any) -> torch.optim.Optimizer:
    return build_optimizer(TrainingConfig(**training), parameter())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimiser_trains_a_flat_vector_or_says_why_not(name: str) -> None:
    flat = parameter()
    before = flat.detach().clone()
    if name in UNUSABLE:
        with pytest.raises(InputError, match=rf'training\.optimizer = "{name}".*{UNUSABLE[name]}'):
            build_optimizer(TrainingConfig(optimizer=name), flat)
        assert torch.equal(flat, before)
        return
    made = build_optimizer(TrainingConfig(optimizer=name, learning_rate=0.01), flat)
    assert torch.equal(flat, before), "nothing moves before the first step"
    made.step()
    assert type(made) is getattr(torch.optim, name)
    assert made.param_groups[0]["lr"] == 0.01
    assert torch.isfinite(flat).all()
    assert (flat < before).all(), "down a gradient of one"


@pytest.mark.parametrize("name", sorted(set(OPTIMIZERS) - set(UNUSABLE)))
def test_a_run_goes_through_every_optimiser(name: str) -> None:
    run = train(configured(training={"optimizer": name, "max_shots": 32, "delta": 0.05}))
    assert run.last.results["shots"] == 32
    assert np.isfinite(run.trainer.network.values).all()


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "Adagrad"])
def test_the_fused_kernel_computes_what_the_plain_one_does(name: str) -> None:
    fused, plain = parameter(1000), parameter(1000)
    quick = build_optimizer(TrainingConfig(optimizer=name), fused)
    slow = build_optimizer(TrainingConfig(optimizer=name, optimizer_options={"fused": False}), plain)
    assert quick.param_groups[0]["fused"]
    assert not slow.param_groups[0]["fused"]
    for _ in range(10):
        quick.step()
        slow.step()
    assert torch.allclose(fused, plain, rtol=1e-6, atol=1e-7)


def test_options_reach_the_optimiser() -> None:
    made = optimizer(optimizer="SGD", optimizer_options={"momentum": 0.9, "nesterov": True, "foreach": True})
    assert made.param_groups[0]["momentum"] == 0.9
    assert made.param_groups[0]["foreach"]
    assert not made.param_groups[0]["fused"]


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"optimizer": "adamw"}, r'training\.optimizer = "adamw".*Did you mean "AdamW"\? Valid: .*SGD'),
        ({"optimizer": "Optimizer"}, "no such class"),
        ({"optimizer": "lr_scheduler"}, "no such class"),
        ({"optimizer_options": {"betta": 1}}, r"optimizer_options = \{'betta': 1\}: .*betta"),
        ({"optimizer": "SGD", "optimizer_options": {"momentum": -1.0}}, "Invalid momentum value: -1"),
        ({"optimizer_options": {"lr": 1.0}}, "lr"),
    ],
)
def test_a_wrong_optimiser_is_an_input_error(training: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        optimizer(**training)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"scheduler": "CosineAnealingLR"}, r'Did you mean "CosineAnnealingLR"\? Valid: .*none'),
        ({"scheduler": "ReduceLROnPlateau"}, "no such class"),
        ({"scheduler": "LRScheduler"}, "no such class"),
        ({"scheduler": "LambdaLR"}, "lr_lambda"),
        ({"scheduler": "SequentialLR"}, "scheduler"),
        ({"scheduler": "ChainedScheduler"}, "scheduler"),
        ({"scheduler": "StepLR"}, "step_size"),
        ({"scheduler": "StepLR", "scheduler_options": {"stepsize": 3}}, "stepsize"),
        ({"scheduler": "MultiStepLR", "scheduler_options": {"milestones": 3}}, "milestones|iterable"),
        ({"scheduler": "OneCycleLR", "scheduler_options": {"max_lr": 1e-2, "pct_start": 3.0}}, "pct_start"),
    ],
)
def test_a_wrong_schedule_is_an_input_error(training: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_scheduler(TrainingConfig(**training), optimizer(), 10)


def test_no_schedule_keeps_the_rate() -> None:
    assert build_scheduler(TrainingConfig(scheduler="none"), optimizer(), 10) is None
    run = train(configured(training={"scheduler": "none", "learning_rate": 3e-3}))
    assert (run.steps["learning_rate"] == 3e-3).all()


def test_every_other_schedule_of_torch_has_been_tried() -> None:
    known = {
        name
        for name, value in vars(torch.optim.lr_scheduler).items()
        if isinstance(value, type) and issubclass(value, LRScheduler) and not name.startswith("_")
    }
    refused = {"LRScheduler", "ReduceLROnPlateau", "LambdaLR", "MultiplicativeLR", "SequentialLR", "ChainedScheduler"}
    assert known - refused == set(SCHEDULERS)


@pytest.mark.parametrize("name", sorted(SCHEDULERS))
@pytest.mark.parametrize("limit", [{"epochs": 2}, {"epochs": 5, "max_shots": 333}])
def test_a_schedule_lasts_as_long_as_the_run(name: str, limit: dict[str, int]) -> None:
    """120 samples in batches of 7 have a smaller last batch; 333 shots end the run inside an epoch."""
    run = train(
        configured(
            training={
                **limit,
                "batch": 7,
                "delta": 0.05,
                "learning_rate": 1e-2,
                "scheduler": name,
                "scheduler_options": SCHEDULERS[name],
            }
        )
    )
    rates = run.steps["learning_rate"]
    if name in ("CosineAnnealingLR", "PolynomialLR", "OneCycleLR"):
        # What a row says is the rate of the next update: the last one is never used.
        used = rates[:-1]
        assert used.max() > 5e-3
        assert used[-1] < 9e-4
        assert (np.diff(used[len(used) // 2 :]) < 0).all()
    if name == "ExponentialLR" and "max_shots" not in limit:
        assert rates[-1] == pytest.approx(1e-2 * FINAL_RATE)
        assert np.allclose(rates[1:] / rates[:-1], FINAL_RATE ** (1 / len(rates)))
    if name == "LinearLR":
        assert rates[-1] == pytest.approx(1e-3, rel=0.5)
    if name == "CosineAnnealingLR" and "max_shots" not in limit:
        steps = np.arange(1, len(rates) + 1)
        assert np.allclose(rates, 5e-3 * (1 + np.cos(np.pi * steps / len(rates))), atol=1e-9)


def test_a_schedule_s_own_length_is_kept() -> None:
    made = build_scheduler(
        TrainingConfig(scheduler="CosineAnnealingLR", scheduler_options={"T_max": 4}), optimizer(), 10
    )
    assert isinstance(made, torch.optim.lr_scheduler.CosineAnnealingLR)
    assert made.T_max == 4
