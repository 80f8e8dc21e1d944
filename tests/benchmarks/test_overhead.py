"""What labpgt adds to a step, beside plain torch doing the digital part of the same step."""

import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from labpgt.config import load_config
from labpgt.estimators.pgt import Perturbation
from labpgt.events import StepDone
from labpgt.registry import make_device
from labpgt.rng import Draw, generator
from labpgt.tasks import load_dataset
from labpgt.training import Trainer

STEPS = 300
NETWORK = ("network.symbols=200", "network.hidden=[200]", "training.baseline=false", "training.evaluation=none")


def trainer(*overrides: str) -> Trainer:
    config = load_config(None, [*NETWORK, "training.epochs=50", "training.scheduler=none", *overrides])
    device = make_device("echo-state-ring", {"n_nodes": 1})
    device.open()
    return Trainer(config, device, load_dataset(config.task, 0))


def step_us(run: Trainer) -> float:
    """Median time of a step outside the device, in µs, after a warm-up."""
    times, steps = [], 0
    began, device = time.perf_counter(), 0.0
    for event in run.events():
        if isinstance(event, StepDone):
            times.append(time.perf_counter() - began - (run.taker.device_s - device))
            began, device = time.perf_counter(), run.taker.device_s
            steps += 1
            if steps == STEPS + 50:
                break
    return 1e6 * float(np.median(times[50:]))


def call_us(function: Callable[[], object]) -> float:
    times = []
    for _ in range(STEPS):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return 1e6 * float(np.median(times))


def plain_torch_us(run: Trainer, batch: int, passes: int, backward: bool) -> float:
    """The same modules and optimiser with tanh in the device's place, forward `passes` times, backward once."""
    x = run.x[:batch].repeat(passes, 1) if backward else run.x[:batch]
    pre, readout = run.network.pre, run.network.readout

    def step() -> None:
        if not backward:
            with torch.inference_mode():
                for _ in range(passes):
                    readout(torch.tanh(torch.sigmoid(pre(x)))).square().mean(1)
        else:
            readout(torch.tanh(torch.sigmoid(pre(x)))).square().mean().backward()  # type: ignore[no-untyped-call]
        run.optimizer.step()

    return call_us(step)


def pgt_arithmetic_us(dropout: float) -> float:
    """What a PGT step does to the parameters, without forward passes, books and optimiser."""
    values: NDArray[np.float32] = np.zeros(46_802, np.float32)
    gradient = np.zeros_like(values)
    count = 0

    def step() -> None:
        nonlocal count
        count += 1
        perturbation = Perturbation(values, 1e-3, 1, dropout, generator(0, count, Draw.PERTURBATION))
        perturbation.plus()  # to drive, and to read, each side
        perturbation.minus()
        perturbation.undo()
        perturbation.minus()
        perturbation.plus()
        perturbation.undo()
        perturbation.add_gradient(gradient, 1e-6)

    return call_us(step)


@pytest.mark.benchmark
def test_overhead_of_a_step() -> None:
    print("\n46 802 parameters, device and logging excluded, median, µs")
    print(f"{'step':34}{'a step':>9}{'a shot':>9}{'torch':>9}{'ratio':>7}")
    for name, batch, shots, backward, overrides in (
        ("jacobian-twin, batch 1", 1, 2, True, ("training.batch=1",)),
        ("jacobian-twin, batch 4", 4, 8, True, ("training.batch=4",)),
        ("jacobian-twin, batch 8", 8, 16, True, ("training.batch=8",)),
        ("pgt dense, batch 1", 1, 2, False, ("training.estimator=pgt", "training.optimizer=SGD", "training.batch=1")),
        (
            "pgt dropout 0.999, batch 1",
            1,
            2,
            False,
            ("training.estimator=pgt", "training.optimizer=SGD", "training.batch=1", "training.dropout=0.999"),
        ),
    ):
        run = trainer(*overrides)
        ours = step_us(run)
        peer = plain_torch_us(run, batch, 2, backward)
        print(f"{name:34}{ours:9.0f}{ours / shots:9.0f}{peer:9.0f}{ours / peer:7.1f}")
    print("of a pgt step, on the parameters alone (draw, perturb to drive and to read, put back, gradient):")
    for dropout in (0.0, 0.999):
        print(f"  dropout {dropout:<25g}{pgt_arithmetic_us(dropout):9.0f}")
