"""Small runs, and devices simple enough to know everything about."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labpgt.config import Config
from labpgt.device import DeviceBase, Reservoir, Setting, checked_drives
from labpgt.events import (
    Checkpoint,
    EpochDone,
    Event,
    Purpose,
    RunStopped,
    RunWarning,
    ShotsTaken,
    StepDone,
    Subscriber,
)
from labpgt.registry import make_device
from labpgt.tasks import load_dataset
from labpgt.training import Trainer
from procedures.train import StopRequest
from procedures.train import run as train_into_file

SMALL: Mapping[str, Mapping[str, Any]] = {
    "task": {"name": "iris"},
    "network": {"hidden": [8], "symbols": 4, "drive_gain": 1.0, "readout_deviation": 0.1},
    "device": {"name": "echo-state-ring", "n_nodes": 5, "ring_nodes": 5},
    "training": {
        "estimator": "jacobian-twin",
        "optimizer": "Adam",
        "learning_rate": 2e-3,
        "scheduler": "CosineAnnealingLR",
        "batch": 8,
        "epochs": 1,
        "calibration_shots": 16,
        "baseline": False,
        "evaluation": "none",
    },
}
"""Iris through four symbols of a small tanh ring: 0.1 s an epoch."""


def configured(**sections: Mapping[str, Any]) -> Config:
    """The small configuration with these tables put over its own."""
    names = {*SMALL, *sections}
    return Config.model_validate({name: {**SMALL.get(name, {}), **sections.get(name, {})} for name in names})


@dataclass(frozen=True)
class Run:
    """What one run said."""

    trainer: Trainer
    events: Sequence[Event]

    @property
    def shots(self) -> NDArray[np.void]:
        return np.concatenate([event.rows for event in self.events if isinstance(event, ShotsTaken)])

    def shots_for(self, purpose: Purpose) -> NDArray[np.void]:
        return self.shots[self.shots["purpose"] == purpose]

    @property
    def steps(self) -> NDArray[np.void]:
        return np.array([event.row for event in self.events if isinstance(event, StepDone)])

    @property
    def epochs(self) -> NDArray[np.void]:
        return np.array([event.row for event in self.events if isinstance(event, EpochDone)])

    @property
    def checkpoints(self) -> list[Checkpoint]:
        return [event for event in self.events if isinstance(event, Checkpoint)]

    @property
    def warnings(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, RunWarning)]

    @property
    def last(self) -> RunStopped:
        assert isinstance(self.events[-1], RunStopped)
        return self.events[-1]


def train(config: Config, device: Reservoir | None = None, stop: Callable[[], str | None] = lambda: None) -> Run:
    """Train as configured, with `device` in place of the configured one when given."""
    dataset = load_dataset(config.task, config.training.seed)
    with device or make_device(config.device.name, config.device.settings) as reservoir:
        trainer = Trainer(config, reservoir, dataset)
        return Run(trainer, list(trainer.events(stop)))


def stop_after(steps: int) -> tuple[StopRequest, Subscriber]:
    """A request to stop and the subscriber that makes it after so many updates."""
    request, done = StopRequest(), [0]

    def watch(event: Event) -> None:
        done[0] += isinstance(event, StepDone)
        if done[0] == steps:
            request.reason = "enough seen"

    return request, watch


def record(config: Config, path: Path, device: Reservoir | None = None, steps: int | None = None) -> RunStopped:
    """Train into a session file; abort after `steps` updates when given."""
    if steps is None:
        return train_into_file(config, path, device=device)
    request, watch = stop_after(steps)
    return train_into_file(config, path, [watch], request, device)


class Analytic(DeviceBase):
    """A reservoir that is a formula: drives (shots, symbols) and shot numbers (shots,) to (shots, symbols, nodes)."""

    name = "formula"
    max_symbols = 64

    def __init__(
        self,
        formula: Callable[[NDArray[np.float64], NDArray[np.int64]], NDArray[np.float64]],
        nodes: int,
        limits: tuple[float, float] = (-1.0, 1.0),
    ) -> None:
        self.formula = formula
        self.n_nodes = nodes
        self.drive_limits = limits
        self.next = 0

    def open(self) -> None: ...

    def close(self) -> None: ...

    def make_safe(self) -> None: ...

    def settings(self) -> Mapping[str, Setting]:
        return {}

    def seek(self, shot: int) -> None:
        self.next = shot

    def forward(self, drives: NDArray[np.float64]) -> NDArray[np.float64]:
        drives = checked_drives(self, drives)
        numbers = np.arange(self.next, self.next + len(drives))
        self.next += len(drives)
        return self.formula(drives, numbers)


class Linear(Analytic):
    """r = J u + c; differentiable."""

    def __init__(self, jacobian: NDArray[np.float64], limits: tuple[float, float] = (-1.0, 1.0)) -> None:
        self.jacobian = jacobian
        """(symbols * nodes, symbols)."""
        symbols = jacobian.shape[1]
        super().__init__(
            lambda drives, _: (drives @ jacobian.T + 0.3).reshape(len(drives), symbols, -1),
            len(jacobian) // symbols,
            limits,
        )
        self.name = "linear"

    def vjp(self, drives: NDArray[np.float64], cotangents: NDArray[np.float64]) -> NDArray[np.float64]:
        return cotangents.reshape(len(drives), -1) @ self.jacobian
