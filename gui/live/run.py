"""What is known of the run that is watched: everything the plots need, in a fixed amount of memory."""

import tomllib
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gui.series import Array, Series
from labpgt.events import (
    Flag,
    Measured,
    RunContinued,
    RunPaused,
    RunStarted,
    RunStopped,
    RunWarning,
    Status,
)
from labpgt.follow_rows import News, Part, Rows

RECENT = 256
"""Shots of which the responses are kept."""
_EPOCHS = 512
"""Bins of the epochs: each is a point of its own as long as there are no more."""
_COLUMNS = 1024
"""Most columns of the waterfall."""
FLAGS = tuple(flag for flag in Flag if flag)
TIMES = ((1.0, "s"), (60.0, "min"), (3600.0, "h"), (86400.0, "d"))


class Against(StrEnum):
    """What the x axis of the run's plots is."""

    SHOTS = "training shots"
    EPOCHS = "epochs"
    TIME = "time"


class Picture:
    """The run's rows, binned."""

    def __init__(self) -> None:
        self.steps = Series(("shots", "time"), ("loss", "difference", "angle"))
        self.epochs = Series(
            ("shots", "time"), ("train_loss", "test_loss", "train_accuracy", "test_accuracy"), capacity=_EPOCHS
        )
        self.marks = Series(("time",), [str(flag.name) for flag in FLAGS])

    def add(self, part: Part) -> None:
        """Append rows."""
        if len(part.steps):
            self.steps.add(step_columns(part.steps))
        if len(part.epochs):
            self.epochs.add({name: part.epochs[name] for name in (*self.epochs.places, *self.epochs.values)})
        if len(part.marks):
            flags = part.marks["flags"]
            self.marks.add({"time": part.marks["time"], **{str(f.name): (flags & f) != 0 for f in FLAGS}})


def step_columns(steps: Rows) -> Mapping[str, NDArray[Any]]:
    """Return the columns that are drawn; the angle is in degrees."""
    with np.errstate(invalid="ignore"):
        angle = np.degrees(np.arccos(np.clip(steps["cosine"], -1.0, 1.0)))
    return {**{name: steps[name] for name in ("shots", "time", "loss", "difference")}, "angle": angle}


class Run:
    """The run that is watched, as far as it is known."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Know nothing."""
        self.started: RunStarted | None = None
        self.configuration: Mapping[str, Any] = {}
        self.results: dict[str, float] = {}
        self.paused = ""
        """Why it waits; empty while it does not."""
        self.lost = ""
        """Why nobody knows how it stands: its file is gone; empty while it is there."""
        self.last_warning = ""
        self.warnings = 0
        self.stopped: RunStopped | None = None
        self.n_shots = self.n_steps = self.n_epochs = 0
        self.training_shots = 0
        """As of the last step."""
        self.time = 0.0
        """Of the last shot, step or epoch."""
        self.share_read = 1.0
        self.noise = float("nan")
        """What noise alone gives L+ - L- of a pair."""
        self.picture = Picture()
        self._exact: Picture | None = None
        """What replaces the sample, once it is whole."""
        self._last_epoch: np.void | None = None
        self.recent: Rows | None = None
        """The newest shots, oldest first."""
        self._fall: NDArray[np.float32] = np.empty((0, 0), np.float32)

    @property
    def sampled(self) -> bool:
        """Whether the past is shown by a sample as yet."""
        return self._exact is not None

    def take(self, news: News) -> None:
        """Learn what is new."""
        self.lost = ""
        for event in news.events:
            self._hear(event)
        self.n_shots, self.n_steps, self.n_epochs = news.n_shots, news.n_steps, news.n_epochs
        if news.sample:
            self._exact = Picture()
            self.share_read = 0.0
            self._add(self.picture, news.sample)
        if news.new:
            self._add(self.picture, news.new)
            if self.stopped is not None:
                self.stopped = None  # resumed
        if self._exact is not None:
            self._exact.add(news.past)
            if news.past:
                self.share_read = news.share_read
            if news.caught_up:
                self.picture, self._exact, self.share_read = self._exact, None, 1.0
        if news.shots is not None and len(news.shots):
            self._keep(news.shots)

    def _hear(self, event: object) -> None:
        match event:
            case RunStarted():
                self.forget()
                self.started = event
                with suppress(tomllib.TOMLDecodeError):
                    self.configuration = tomllib.loads(event.config_toml)
            case Measured(values=values):
                self.results |= values
            case RunPaused(reason=reason):
                self.paused = reason
            case RunContinued():
                self.paused = ""
            case RunWarning(message=message):
                self.warnings += 1
                self.last_warning = message
            case RunStopped():
                self.stopped, self.paused = event, ""
                self.results |= event.results

    def _add(self, picture: Picture, part: Part) -> None:
        picture.add(part)
        if len(part.steps):
            self.training_shots = int(part.steps["shots"][-1])
        if len(part.epochs):
            self._last_epoch = part.epochs[-1].copy()
        for rows in (part.steps, part.epochs, part.marks):
            if len(rows):
                self.time = max(self.time, float(rows["time"][-1]))

    def _keep(self, shots: Rows) -> None:
        """Keep the newest shots; longer ones than fit are kept fewer."""
        new = shots["response"].reshape(len(shots), -1)
        columns = new.shape[1]
        if columns > _COLUMNS:
            width = -(-columns // _COLUMNS)
            whole = columns // width * width
            new = new[:, :whole].reshape(len(new), -1, width).mean(2)
        if self._fall.shape[1] != new.shape[1]:
            self._fall = np.empty((0, new.shape[1]), np.float32)
        self._fall = np.concatenate((self._fall, new))[-RECENT:]
        kept = shots if self.recent is None else np.concatenate((self.recent, shots))
        self.recent = kept[-min(RECENT, max(1, (4 << 20) // shots.dtype.itemsize)) :].copy()

    @property
    def fall(self) -> NDArray[np.float32]:
        """Responses of the newest shots (shots, columns), the newest first."""
        return self._fall[::-1]

    @property
    def shots_per_epoch(self) -> float:
        """Training shots in a pass through the training part; NaN while that is not known."""
        if self._last_epoch is not None and self._last_epoch["shots"] > 0:
            return float(self._last_epoch["shots"]) / self._passes(self._last_epoch)
        epochs = self.configuration.get("training", {}).get("epochs")
        if self.started is not None and self.started.planned_shots and isinstance(epochs, int) and epochs > 0:
            return self.started.planned_shots / epochs
        return float("nan")

    def _passes(self, epoch: np.void) -> float:
        """Return how many passes were done with this epoch: the last one is cut short by `training.max_shots`."""
        whole = int(epoch["epoch"])
        samples = self.started.training_samples if self.started is not None else 0
        batch = self.configuration.get("training", {}).get("batch")
        if samples < 1 or not isinstance(batch, int) or batch < 1:
            return whole + 1.0
        updates = int(epoch["step"]) + 1 - whole * -(-samples // batch)
        return whole + min(1.0, max(1, updates) * batch / samples)

    @property
    def status(self) -> Status | None:
        """How it stands; None while there is no run."""
        if self.started is None:
            return None
        return Status.RUNNING if self.stopped is None else self.stopped.status

    @property
    def last_epoch(self) -> np.void | None:
        """The newest row of the epochs."""
        return self._last_epoch

    def time_unit(self) -> tuple[float, str]:
        """Return in what the time is told: seconds in it, and its name."""
        elapsed = 0.0 if self.started is None else self.time - self.started.time
        return next((unit for unit in reversed(TIMES) if elapsed >= 3 * unit[0]), TIMES[0])

    def place(self, against: Against, shots: Array, time: Array) -> Array:
        """Return x of what lies at these numbers of training shots and these times."""
        match against:
            case Against.SHOTS:
                return shots
            case Against.EPOCHS:
                per = self.shots_per_epoch
                return shots / per if per > 0 else np.full(len(shots), np.nan)
            case Against.TIME:
                return (time - (self.started.time if self.started else 0.0)) / self.time_unit()[0]

    def newest(self, against: Against) -> float:
        """Return x of the newest update of the parameters."""
        return float(self.place(against, np.array([float(self.training_shots)]), np.array([self.time]))[0])

    def step_places(self, steps: Series, against: Against) -> Array:
        """Return x of the bins of some steps, or epochs."""
        return self.place(against, steps.place("shots"), steps.place("time"))

    def mark_places(self, against: Against) -> Array:
        """Return x of the bins of the flags."""
        time = self.picture.marks.place("time")
        steps = self.picture.steps
        if not len(steps):
            return self.place(against, np.zeros(len(time)), time)
        return self.place(against, np.interp(time, steps.place("time"), steps.place("shots")), time)
