"""Optimisers and schedulers of `torch.optim`, by name."""

import inspect
import warnings
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
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
    except Exception as error:  # whatever a scheduler makes of options that it does not check
        raise InputError(
            f"training.scheduler_options = {config.scheduler_options}: {config.scheduler}: {error}"
        ) from error


def state_arrays(optimizer: torch.optim.Optimizer, parameter: torch.nn.Parameter) -> dict[str, NDArray[Any]]:
    """Return what the optimiser keeps between steps (moments, counts), by name; zeros of the like before the first.

    Raises `InputError` for an optimiser that keeps something else than numbers.
    """
    state = optimizer.state.get(parameter) or _state_of_a_twin(optimizer, parameter)
    return {name: np.asarray(value) for name, value in state.items() if value is not None}


def restore_state(
    optimizer: torch.optim.Optimizer, parameter: torch.nn.Parameter, arrays: Mapping[str, NDArray[Any]]
) -> None:
    """Put back what `state_arrays` returned."""
    state: dict[str, Any] = {}
    for name, like in _state_of_a_twin(optimizer, parameter).items():
        if like is None:
            state[name] = None
        elif isinstance(like, torch.Tensor):
            state[name] = torch.from_numpy(np.array(arrays[name])).to(like.dtype).reshape(like.shape)
        else:
            state[name] = arrays[name].item()
    optimizer.state[parameter] = state


def _state_of_a_twin(optimizer: torch.optim.Optimizer, parameter: torch.nn.Parameter) -> dict[str, Any]:
    """Return the state of an optimiser of the same class and options after one step that changes nothing."""
    twin = torch.nn.Parameter(torch.zeros_like(parameter))
    twin.grad = torch.zeros_like(twin)
    # Some classes set defaults of a parent class that they do not take themselves.
    taken = inspect.signature(type(optimizer)).parameters
    other = type(optimizer)([twin], **{key: value for key, value in optimizer.defaults.items() if key in taken})
    other.step()
    state: dict[str, Any] = other.state[twin]
    for name, value in state.items():
        if not isinstance(value, torch.Tensor | int | float | None):
            raise InputError(
                f'training.optimizer = "{type(optimizer).__name__}": keeps {name} as a {type(value).__name__}, which a '
                "checkpoint cannot hold; choose another optimizer"
            )
    return state


def catch_up(scheduler: LRScheduler, updates: int) -> None:
    """Bring a new scheduler, and the options it sets in its optimiser, to where they stand after so many updates."""
    with warnings.catch_warnings():
        # It wonders why the optimiser has not been stepped as often.
        warnings.simplefilter("ignore")
        for _ in range(updates):
            scheduler.step()


def _classes(module: object, base: type[T]) -> dict[str, type[T]]:
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, base) and value is not base and not name.startswith("_")
    }


def _unknown(key: str, name: str, known: dict[str, type]) -> str:
    return f'{key} = "{name}": torch.optim has no such class.{nearest(name, known)} Valid: {", ".join(sorted(known))}'
