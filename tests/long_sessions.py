"""Sessions as long as one likes, written in blocks: what a run of days leaves, in seconds."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from labpgt.events import (
    EPOCH_DTYPE,
    STEP_DTYPE,
    EpochDone,
    Event,
    Flag,
    Measured,
    Purpose,
    RunStarted,
    RunStopped,
    ShotsTaken,
    Status,
    StepDone,
    shot_dtype,
)
from labpgt.session import SessionWriter

BEGAN = 1.75e9
SHOT_S = 5e-4
CONFIGURATION = (
    '[task]\nname = "iris"\n\n[device]\nname = "echo-state-ring"\n\n[training]\nestimator = "node"\nepochs = 100\n'
)


def started(symbols: int = 4, nodes: int = 5, planned: int = 0) -> RunStarted:
    """The beginning of such a run."""
    return RunStarted(
        BEGAN, CONFIGURATION, "long ring", {}, symbols, nodes, (0.0, 1.0), 100, 100, 20, ("a",), "ab", planned
    )


def events(
    shots: int, per_step: int = 2, epochs: int = 100, symbols: int = 4, nodes: int = 5, block: int = 8192
) -> Iterator[Event]:
    """What such a run says from its beginning to its last epoch; rows come in blocks, and most shots are the same."""
    rng = np.random.default_rng(0)
    yield started(symbols, nodes, shots)
    yield Measured(
        {
            "prior_loss": 0.25,
            "readout_only_loss": 0.1,
            "readout_only_test_accuracy": 0.8,
            "delta": 0.1,
            "response_noise": 0.01,
        }
    )
    time_of = np.linspace(0, 3, symbols * nodes).reshape(symbols, nodes)
    per_epoch = shots // epochs
    for start in range(0, shots, block):
        count = np.arange(start, min(start + block, shots))
        rows = np.zeros(len(count), shot_dtype(symbols, nodes))
        rows["index"], rows["purpose"] = count, Purpose.TRAIN
        rows["epoch"], rows["step"], rows["sign"] = count // per_epoch, count // per_step, 1 - 2 * (count % 2)
        rows["time"] = BEGAN + SHOT_S * count
        rows["drive"] = rng.random((len(count), symbols))
        rows["response"] = np.sin(time_of + 1e-5 * count[:, None, None]) + rng.random(
            (len(count), *time_of.shape), np.float32
        ) * np.float32(0.1)
        rows["flags"][count % 50_000 == 49_999] = Flag.OVERLOAD
        rows["flags"][count % 50_000 == 0] = Flag.RETAKEN
        yield ShotsTaken(rows)
        done = count[(count + 1) % per_step == 0]
        steps = np.zeros(len(done), STEP_DTYPE)
        steps["step"], steps["epoch"], steps["shots"] = done // per_step, done // per_epoch, done + 1
        steps["loss"] = loss(done, shots) * rng.lognormal(0, 0.5, len(done))
        steps["difference"] = 0.1 * steps["loss"] * rng.random(len(done))
        steps["cosine"] = np.clip(1 - np.exp(-done / shots * 5) * rng.random(len(done)), -1, 1)
        steps["time"] = BEGAN + SHOT_S * done
        yield StepDone(steps)
        ended = count[(count + 1) % per_epoch == 0]
        passes = np.zeros(len(ended), EPOCH_DTYPE)
        passes["epoch"], passes["step"], passes["shots"] = ended // per_epoch, ended // per_step, ended + 1
        passes["train_loss"], passes["test_loss"] = loss(ended, shots), 1.2 * loss(ended, shots)
        passes["train_accuracy"], passes["test_accuracy"] = 1 - loss(ended, shots), 0.98 - loss(ended, shots)
        passes["time"] = BEGAN + SHOT_S * ended
        yield EpochDone(passes)


def loss(shot: np.ndarray, shots: int) -> np.ndarray:
    """The loss without its noise."""
    return 0.02 + 0.28 * np.exp(-6 * shot / shots)


def write(path: Path, shots: int, status: Status = Status.SUCCESS, **given: int) -> Path:
    """A session of so many shots."""
    with SessionWriter(path, flush_shots=4096, flush_s=10) as writer:
        for event in events(shots, **given):
            writer(event)
        writer(RunStopped(status, "done", BEGAN + SHOT_S * shots, {"train_loss": 0.02, "test_loss": 0.03}, "cd" * 32))
    return path
