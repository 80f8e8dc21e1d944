"""Optimisers and schedulers of `torch.optim`, by name."""

import inspect
from typing import TypeVar

import torch
from torch.optim.lr_scheduler import LRScheduler

from labpgt.config import TrainingConfig
from labpgt.errors import InputError
from labpgt.validation import nearest

T = TypeVar("T")

FINAL_RATE = 0.1
"""Learning rate at the end of an exponential schedule, relative to its start."""


def build_optimizer(config: TrainingConfig, parameter: torch.nn.Parameter) -> torch.optim.Optimizer:
    """Return the optimiser that `training.optimizer` names, over one flat parameter."""
    known = _classes(torch.optim, torch.optim.Optimizer)
    if config.optimizer not in known:
        raise InputError(_unknown("training.optimizer", config.optimizer, known))
    kind = known[config.optimizer]
    options = dict(config.optimizer_options)
    # One fused kernel instead of a dozen small ones, where torch has it: the arithmetic is the same.
    if "fused" in inspect.signature(kind).parameters and "foreach" not in options:
        options.setdefault("fused", True)
    try:
        # A step on one value first: LBFGS wants a closure, SparseAdam a sparse gradient, and neither says so before.
        probe = torch.nn.Parameter(torch.zeros(1))
        probe.grad = torch.zeros(1)
        kind([probe], lr=config.learning_rate, **options).step()  # type: ignore[call-arg]
        return kind([parameter], lr=config.learning_rate, **options)  # type: ignore[call-arg]
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f'training.optimizer = "{config.optimizer}" with optimizer_options = {config.optimizer_options}: {error}'
        ) from error


def build_scheduler(config: TrainingConfig, optimizer: torch.optim.Optimizer, updates: int) -> LRScheduler | None:
    """Return the learning-rate scheduler that `training.scheduler` names, to be stepped after each update.

    Schedules are fitted to a run of so many updates unless the options say otherwise: those that want a number of
    steps get it, and an exponential one ends at `FINAL_RATE` of its start. None for "none".
    """
    if config.scheduler == "none":
        return None
    known = _classes(torch.optim.lr_scheduler, LRScheduler)
    known.pop("ReduceLROnPlateau", None)  # wants the loss at each step: another interface
    if config.scheduler not in known:
        raise InputError(_unknown("training.scheduler", config.scheduler, {"none": type(None), **known}))
    kind = known[config.scheduler]
    lengths: dict[str, float] = {"T_max": updates, "total_steps": updates, "total_iters": updates}
    if kind is torch.optim.lr_scheduler.ExponentialLR:
        lengths["gamma"] = FINAL_RATE ** (1 / updates)
    wanted = inspect.signature(kind).parameters
    options = {key: value for key, value in lengths.items() if key in wanted} | config.scheduler_options
    try:
        return kind(optimizer, **options)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"training.scheduler_options = {config.scheduler_options}: {config.scheduler}: {error}"
        ) from error


def _classes(module: object, base: type[T]) -> dict[str, type[T]]:
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, base) and value is not base and not name.startswith("_")
    }


def _unknown(key: str, name: str, known: dict[str, type]) -> str:
    return f'{key} = "{name}": torch.optim has no such class.{nearest(name, known)} Valid: {", ".join(sorted(known))}'
