"""Shots to a training loss, estimator by estimator; also the startup of the command line."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from labpgt.config import load_config
from labpgt.events import EpochDone, Measured
from labpgt.registry import make_device
from labpgt.tasks import load_dataset
from labpgt.training import Trainer

TARGET = 0.0221
"""The minimum that Adam backpropagation reached in arXiv 2506.04523."""
ECHO = Path(__file__).parents[2] / "data" / "echo-state-ring.toml"


def course(file: Path | None, seed: int, *overrides: str) -> tuple[list[tuple[int, float, float]], dict[str, float]]:
    """Train; return (shots, training loss, test accuracy) of each epoch and what was measured before."""
    config = load_config(file, [*overrides, f"training.seed={seed}"])
    measured: dict[str, float] = {}
    epochs = []
    with make_device(config.device.name, config.device.settings) as device:
        for event in Trainer(config, device, load_dataset(config.task, seed)).events():
            if isinstance(event, Measured):
                measured = dict(event.values)
            elif isinstance(event, EpochDone):
                row = event.row
                epochs.append((int(row["shots"]), float(row["train_loss"]), float(row["test_accuracy"])))
    return epochs, measured


def print_row(name: str, file: Path | None, *overrides: str) -> None:
    reached, last, accuracy, baseline = [], [], [], []
    for seed in range(5):
        epochs, measured = course(file, seed, *overrides)
        reached.append(next((shots for shots, loss, _ in epochs if loss <= TARGET), None))
        last.append(epochs[-1][1])
        accuracy.append(epochs[-1][2])
        baseline.append(measured["readout_only_loss"])
    shown = ", ".join("never" if shots is None else str(shots) for shots in reached)
    print(
        f"{name:28}{shown:34}{max(last):9.4f}{statistics.mean(accuracy):9.1%}{min(baseline):11.4f}"
        f"{measured['nonlinearity']:8.0%}"
    )


@pytest.mark.benchmark
@pytest.mark.timeout(1800)
def test_shots_to_the_papers_loss() -> None:
    print(f"\ntraining shots to a training loss of {TARGET} (measured after each epoch), seeds 0 to 4")
    print(f"{'estimator':28}{'shots':34}{'worst end':>9}{'accuracy':>9}{'least readout':>14}{'nonlin.':>8}")
    print_row("llg-ring jacobian-twin", None)
    print_row("llg-ring node", None, "training.estimator=node")
    print("echo-state-ring, 200 symbols")
    print_row("  backprop", ECHO, "training.estimator=backprop")
    print_row("  jacobian-twin", ECHO)
    print_row("  node", ECHO, "training.estimator=node", "training.epochs=12")
    print_row("  pgt, Adam 1e-3", ECHO, "training.estimator=pgt", "training.learning_rate=1e-3", "training.epochs=60")
    print_row("  readout", ECHO, "training.estimator=readout", "training.epochs=40")


@pytest.mark.benchmark
def test_startup_of_the_command_line() -> None:
    command = [str(Path(sys.executable).with_name("labpgt")), "--help"]
    bare = [sys.executable, "-c", "import typer, rich"]
    times: dict[str, list[float]] = {"labpgt --help": [], "python -c 'import typer, rich'": []}
    for _ in range(7):
        for name, argv in zip(times, (command, bare), strict=True):
            began = time.perf_counter()
            subprocess.run(argv, check=True, capture_output=True)
            times[name].append(time.perf_counter() - began)
    print()
    for name, taken in times.items():
        print(f"{name:34}{statistics.median(taken):8.3f} s")
    ours, peer = (statistics.median(taken) for taken in times.values())
    print(f"{'ratio':34}{ours / peer:8.2f}")
