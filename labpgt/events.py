"""What a run says while it goes: the training loop yields these, subscribers read them.

The session writer is a subscriber; so are the console, the live plot and the verification of a replay.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag, StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labpgt.device import Setting


class Purpose(IntEnum):
    """Why a shot was taken. Only `TRAIN` shots count as the cost of training; the others are counted apart."""

    TRAIN = 0
    CALIBRATION = 1
    BASELINE = 2
    EVALUATION = 3


class Flag(IntFlag):
    """What a shot suffered from, as bits of its `flags` column.

    `OVERLOAD` (the analyser's range was exceeded), `DRIFT` (the device answers otherwise than it did at the start, by
    more than its limit), `OSCILLATION` (the ring sounded by itself) and `TORN` (the device failed between the halves of
    its pair) spoil a shot: it is taken again, with its pair, and what is taken anew is `RETAKEN`.
    """

    NONE = 0
    OVERLOAD = 1
    DRIFT = 2
    OSCILLATION = 4
    RETAKEN = 8
    TORN = 16


SPOILED = Flag.OVERLOAD | Flag.DRIFT | Flag.OSCILLATION | Flag.TORN
"""Flags of a shot that nothing is learned from."""

TEST_SAMPLE = 1 << 30
"""Added to the `sample` of a shot from the test part."""


class Status(StrEnum):
    """How a run stands. A file that says `RUNNING` while no process writes it is a crashed run."""

    RUNNING = "running"
    SUCCESS = "success"
    ABORTED = "aborted"
    FAILED = "failed"
    CRASHED = "crashed"


def shot_dtype(symbols: int, nodes: int) -> np.dtype[np.void]:
    """Return the row of one shot: what was asked, what came back, and what it was for.

    `drive` is (symbols,) and `response` (symbols, nodes), float32 and dimensionless, the only precision that training
    ever sees. `sign` is +1 or -1 for the halves of a pair, 0 for an unperturbed shot; the perturbation itself is
    `labpgt.rng.generator(run seed, seed, Draw.PERTURBATION)`, its size `delta`. `time` is in seconds since
    1970 (UTC), `duration` in seconds: the device call's, shared evenly among its shots.
    """
    return np.dtype(
        [
            ("index", "<i8"),
            ("purpose", "u1"),
            ("epoch", "<i4"),
            ("step", "<i8"),
            ("sample", "<i4"),
            ("sign", "i1"),
            ("seed", "<u8"),
            ("delta", "<f8"),
            ("drive", "<f4", (symbols,)),
            ("response", "<f4", (symbols, nodes)),
            ("loss", "<f8"),
            ("time", "<f8"),
            ("duration", "<f8"),
            ("flags", "<u4"),
        ]
    )


STEP_DTYPE = np.dtype(
    [
        ("step", "<i8"),
        ("epoch", "<i4"),
        ("shots", "<i8"),  # training shots taken when the step was done
        ("loss", "<f8"),  # mean over the step's shots
        ("difference", "<f8"),  # root mean square of L+ - L- over the step's pairs
        ("gradient_norm", "<f8"),
        ("cosine", "<f8"),  # of the twin's gradient with the measured one; NaN where there is none
        ("learning_rate", "<f8"),
        ("time", "<f8"),
    ]
)

EPOCH_DTYPE = np.dtype(
    [
        ("epoch", "<i4"),
        ("step", "<i8"),
        ("shots", "<i8"),  # training shots taken when the epoch was done
        ("train_loss", "<f8"),
        ("test_loss", "<f8"),
        ("train_accuracy", "<f8"),
        ("test_accuracy", "<f8"),
        ("parameters_sha256", "S64"),
        ("time", "<f8"),
    ]
)

RESULTS: Mapping[str, str] = {
    "prior_loss": "loss of always predicting the mean target",
    "readout_only_loss": "training loss of a ridge readout on the untrained layers",
    "readout_only_test_loss": "test loss of that readout",
    "readout_only_test_accuracy": "test accuracy of that readout",
    "response_offset": "subtracted from every response before the readout",
    "response_scale": "divides every response before the readout",
    "response_noise": "standard deviation of a repeated response, in units of response_scale",
    "nonlinearity": "share of the response's deviation to random drives that no affine map of the drives explains",
    "delta": "size of the perturbation in use",
    "shots": "training shots",
    "calibration_shots": "shots for scale, noise and delta",
    "baseline_shots": "shots for the readout-only baseline",
    "evaluation_shots": "shots for losses and accuracies",
    "epochs": "passes through the training part",
    "train_loss": "loss on the training part at the end (of the last pass's shots unless evaluation is full)",
    "test_loss": "loss on the test part at the end",
    "train_accuracy": "accuracy on the training part at the end",
    "test_accuracy": "accuracy on the test part at the end",
    "wall_s": "seconds from start to end",
    "device_s": "seconds inside the device",
    "logging_s": "seconds inside the session writer and other subscribers",
    "overhead_us_per_shot": "microseconds a training shot outside device and logging",
}
"""Scalars a run may measure, with what each means. All are float64 in the file; NaN means not measured."""


@dataclass(frozen=True)
class RunStarted:
    """The device is open and the first shot is about to be taken."""

    time: float
    config_toml: str
    device: str
    settings: Mapping[str, Setting]
    symbols: int
    nodes: int
    drive_limits: tuple[float, float]
    parameters: int
    training_samples: int
    test_samples: int
    targets: tuple[str, ...]
    dataset_sha256: str
    planned_shots: int = 0
    """Training shots if nothing ends the run early."""
    state: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """Arrays of the names, types and shapes that every `Checkpoint.state` of the run will have."""


@dataclass(frozen=True)
class RunResumed:
    """Everything on record has been gone through again; from shot number `shot` on the device answers."""

    time: float
    shot: int
    replayed: int
    """Shots that were answered from the record since the last checkpoint."""


@dataclass(frozen=True)
class ShotsTaken:
    """Rows of `shot_dtype`, in the order taken. When the event has been handled, they are the writer's to keep."""

    rows: NDArray[np.void]


@dataclass(frozen=True)
class StepDone:
    """One update of the parameters: a row of `STEP_DTYPE`."""

    row: NDArray[np.void]


@dataclass(frozen=True)
class EpochDone:
    """One pass through the training part: a row of `EPOCH_DTYPE`."""

    row: NDArray[np.void]


@dataclass(frozen=True)
class Checkpoint:
    """Everything that training needs to go on from here as if it had never stopped."""

    shot: int
    """Shots taken."""
    step: int
    """Last update done; -1 before the first."""
    epoch: int
    """Last epoch done, evaluation included; -1 before the first."""
    parameters: NDArray[np.float32]
    """All trainable parameters, flat."""
    state: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """Optimiser, estimator and counters, by name."""


@dataclass(frozen=True)
class Measured:
    """Scalars that became known; the keys are those of `RESULTS`."""

    values: Mapping[str, float]


@dataclass(frozen=True)
class RunWarning:
    """Something a person should look at; the run goes on."""

    message: str


ASKED = "asked by "
"""How the reason of a pause begins that somebody has asked for."""
BY_HAND = "make sure by hand that its RF is off"
"""In the reason of a pause when the device could not be made safe."""


@dataclass(frozen=True)
class RunPaused:
    """The device is made safe, and the run waits: the device is ill, or somebody has asked for a pause."""

    time: float
    """In seconds since 1970; NaN where it is not known, of a run that is followed."""
    reason: str

    @property
    def is_asked_for(self) -> bool:
        """Whether somebody has asked for the pause; the device is ill otherwise."""
        return self.reason.startswith(ASKED)

    @property
    def is_safe(self) -> bool:
        """Whether the device could be made safe."""
        return BY_HAND not in self.reason


@dataclass(frozen=True)
class RunContinued:
    """The run goes on after a pause."""

    time: float
    """As that of `RunPaused`."""
    paused_s: float


PAUSED, CONTINUED = "paused: ", "goes on after a pause of "
"""How the warnings in a session file begin that were these events."""


@dataclass(frozen=True)
class RunStopped:
    """The last event of a run."""

    status: Status
    reason: str
    time: float
    results: Mapping[str, float] = field(default_factory=dict)
    parameters_sha256: str = ""


Event = (
    RunStarted
    | RunResumed
    | ShotsTaken
    | StepDone
    | EpochDone
    | Checkpoint
    | Measured
    | RunWarning
    | RunPaused
    | RunContinued
    | RunStopped
)
Subscriber = Callable[[Event], None]
