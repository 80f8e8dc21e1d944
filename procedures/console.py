"""What a person sees of a run on the terminal: a live line where there is a terminal, plain lines elsewhere."""

import math
import time
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.console import Console

from labpgt.events import (
    EpochDone,
    Event,
    Measured,
    Purpose,
    RunContinued,
    RunPaused,
    RunResumed,
    RunStarted,
    RunStopped,
    RunWarning,
    ShotsTaken,
    StepDone,
)
from procedures.display import PLAIN_INTERVAL_S, Display, time_left
from procedures.text import printable

_PURPOSES = {int(purpose): purpose.name.lower() for purpose in Purpose}
_RATE_S = 30.0
"""The shots per second are those of the steps since so long."""
_RATE_STEP_S = 0.1
"""Between two steps that are kept for it."""


class ConsoleWatcher(Display):
    """A subscriber that shows a run: progress, loss, accuracy, shots per second and time left.

    `heading` is shown first, when the run has started.
    """

    def __init__(self, console: Console, heading: str = "") -> None:
        super().__init__(console, bar_width=8)  # so that all of it fits into 80 columns
        self._heading = heading
        self._planned = 0
        self._shots = 0
        self._rate = 0.0
        self._recent: deque[tuple[float, int]] = deque()
        """When a step was done, and the training shots taken by then; oldest first."""
        self._last_step_s = math.nan
        """When the last step was done, by the run's clock; NaN when the run has stood still since."""
        self._evaluation_s = self._evaluations_s = 0.0
        """What the last evaluation took, and all of them."""
        self._per_epoch = 0.0
        """Training shots in an epoch; 0 while none has ended."""
        self._last_line = time.monotonic()
        self._besides: Counter[str] = Counter()
        """Shots that are no training shots, by purpose."""
        self._loss = float("nan")
        self._accuracy = float("nan")

    def __call__(self, event: Event) -> None:
        """Show one event."""
        match event:
            case RunStarted():
                if self._heading:
                    self._say(self._heading)
                self._say(
                    f"{event.device}: {event.symbols} symbols of {event.nodes} nodes a shot; {event.parameters:,} "
                    f"parameters; {event.training_samples} training and {event.test_samples} test samples"
                )
                self._planned = event.planned_shots
                self._begin("calibrating")
            case RunResumed():
                # What was gone through again says nothing of how fast the device is.
                self._recent.clear()
                self._last_step_s = math.nan
                self._say(
                    f"resumed: {event.replayed} shots gone through again since the last checkpoint; the device answers "
                    f"from shot {event.shot} on"
                )
            case ShotsTaken() if event.rows["purpose"][0] != Purpose.TRAIN:
                purpose = _PURPOSES.get(int(event.rows["purpose"][0]), "measuring")
                self._show(description=purpose, figures=self._figures())
                self._besides[purpose] += len(event.rows)
                self._say_now_and_then(f"{purpose}: {self._besides[purpose]} shots")
            case Measured():
                for line in measured_lines(event.values):
                    self._say(line)
            case StepDone():
                self._step(event.row)
            case EpochDone():
                self._accuracy = float(event.row["test_accuracy"])
                self._evaluated(event.row)
                self._say(epoch_line(event.row))
            case RunWarning():
                self._warn(event.message)
            case RunPaused():
                self.hold()
                self._warn(paused_line(event))
            case RunContinued():
                self._say(continued_line(event))
            case RunStopped():
                self._stop()

    def note(self, text: str) -> None:
        """Show a line that belongs to no event."""
        self._say(text)

    def hold(self) -> None:
        """Show that the run stands still, until its next event."""
        self._rate = 0.0
        self._recent.clear()
        self._last_step_s = math.nan
        self._show(description="waiting", figures=self._figures())

    def _step(self, row: np.void) -> None:
        shots = int(row["shots"])
        self._last_step_s = float(row["time"])
        # Evaluations are no part of the rate, and of the time left for themselves: they come at the end of an epoch,
        # which may last for hours.
        self._measure_rate(self._last_step_s - self._evaluations_s, shots)
        loss = float(row["loss"])
        # Of an infinite one no mean would ever come down again.
        self._loss = 0.9 * self._loss + 0.1 * loss if math.isfinite(self._loss) else loss
        self._shots = shots
        self._show(description="training", completed=shots, total=self._planned, figures=self._figures())
        self._say_now_and_then(f"shots {self._figures()}")

    def _say_now_and_then(self, text: str) -> None:
        """Where there is no live line, a line of text at intervals."""
        now = time.monotonic()
        if not self._live and now - self._last_line > PLAIN_INTERVAL_S:
            self._last_line = now
            self._say(text)

    def _measure_rate(self, done: float, shots: int) -> None:
        # By the run's clock: the steps of a run that is followed come in bursts, and after a pause when it was resumed.
        while len(self._recent) > 1 and done - self._recent[0][0] > _RATE_S:
            self._recent.popleft()
        if not self._recent or done - self._recent[-1][0] > _RATE_STEP_S:
            self._recent.append((done, shots))
        began, before = self._recent[0]
        if done > began:
            self._rate = (shots - before) / (done - began)

    def _evaluated(self, row: np.void) -> None:
        took = float(row["time"]) - self._last_step_s
        if took >= 0:
            self._evaluation_s = took
            self._evaluations_s += took
        self._per_epoch = int(row["shots"]) / (int(row["epoch"]) + 1)

    def _seconds_left(self) -> float:
        shots = max(0, self._planned - self._shots)
        evaluations = math.ceil(shots / self._per_epoch) if self._per_epoch else 0
        return shots / self._rate + evaluations * self._evaluation_s

    def _figures(self) -> str:
        parts = [f"{self._shots}/{self._planned}"] if self._shots else []
        if self._loss == self._loss:
            parts.append(f"loss {self._loss:.4f}")
        if self._accuracy == self._accuracy:
            parts.append(f"test {self._accuracy:.1%}")
        if self._rate:
            parts.append(f"{self._rate:,.0f}/s, {time_left(self._seconds_left())}")
        return ", ".join(parts)


def measured_lines(values: Mapping[str, float]) -> list[str]:
    """Word what was measured before training; what a damaged file lacks is `nan`."""
    values = defaultdict(lambda: float("nan"), values)
    lines = []
    nonlinearity = values.get("nonlinearity", float("nan"))
    share = (
        f"{nonlinearity:.0%} of the response is nonlinear in the drive"
        if nonlinearity == nonlinearity
        else "nonlinearity not measured (needs twice as many training.calibration_shots as drive symbols)"
    )
    lines.append(f"device: {share}; readout noise {values['response_noise']:.2%} of the response")
    if "delta" in values:
        lines.append(f"perturbation: delta {values['delta']:g}")
    lines.append(f"baseline: always predicting the class frequencies costs {values['prior_loss']:.4f}")
    if "readout_only_test_accuracy" in values:  # the last of them: a run may have died between
        lines.append(
            f"baseline: a readout alone reaches training loss {values['readout_only_loss']:.4f}, test loss "
            f"{values['readout_only_test_loss']:.4f}, test accuracy {values['readout_only_test_accuracy']:.1%}"
        )
    return lines


def paused_line(event: RunPaused) -> str:
    """Word that the run waits, and for what."""
    if event.is_asked_for:
        return f"paused, the device made safe, {event.reason}; labpgt continue lets it go on"
    safe = "made safe and " if event.is_safe else ""
    return f"paused, the device {safe}asked again and again: {event.reason}"


def continued_line(event: RunContinued) -> str:
    """Word that it waits no more."""
    return f"the run goes on after a pause of {event.paused_s:.1f} s"


def epoch_line(row: np.void) -> str:
    """Word one row of the epochs."""
    line = f"epoch {int(row['epoch']) + 1}: {int(row['shots'])} shots, training loss {float(row['train_loss']):.4f}"
    if row["test_loss"] == row["test_loss"]:
        line += f"; test loss {float(row['test_loss']):.4f}, accuracy {float(row['test_accuracy']):.1%}"
    return line


def print_summary(console: Console, report: Mapping[str, Any]) -> None:
    """Print the end of a run, a figure a line; a line is as long as it is, so that paths and hashes can be copied."""
    for label, key, form in _ROWS:
        value = report.get(key)
        if value is not None:
            line = printable(f"{label:<28}{form.format(value)}")
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    if report.get("status") in _RESUMABLE:
        line = f"{'to go on':<28}labpgt resume {report['session']}"
        console.print(printable(line), highlight=False, markup=False, soft_wrap=True)


_RESUMABLE = ("aborted", "failed", "crashed")
_ROWS = (
    ("status", "status", "{}"),
    ("reason", "reason", "{}"),
    ("session", "session", "{}"),
    ("device", "device", "{}"),
    ("estimator", "estimator", "{}"),
    ("nonlinear share", "nonlinearity", "{:.1%}"),
    ("training shots", "shots", "{:,}"),
    ("calibration shots", "calibration_shots", "{:,}"),
    ("baseline shots", "baseline_shots", "{:,}"),
    ("evaluation shots", "evaluation_shots", "{:,}"),
    ("training loss", "train_loss", "{:.5f}"),
    ("test loss", "test_loss", "{:.5f}"),
    ("test accuracy", "test_accuracy", "{:.1%}"),
    ("class-prior loss", "prior_loss", "{:.5f}"),
    ("readout-only loss", "readout_only_loss", "{:.5f}"),
    ("readout-only test accuracy", "readout_only_test_accuracy", "{:.1%}"),
    ("wall time", "wall_s", "{:.1f} s"),
    ("in the device", "device_s", "{:.1f} s"),
    ("overhead a shot", "overhead_us_per_shot", "{:.0f} µs"),
    ("parameters", "parameters_sha256", "sha256 {}"),
)
