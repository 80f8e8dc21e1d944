"""What a person sees of a run on the terminal: a live line where there is a terminal, plain lines elsewhere."""

import time
from collections import defaultdict
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from labpgt.events import (
    EpochDone,
    Event,
    Measured,
    Purpose,
    RunResumed,
    RunStarted,
    RunStopped,
    RunWarning,
    ShotsTaken,
    StepDone,
)
from procedures.text import printable

PLAIN_INTERVAL_S = 10.0
"""Between progress lines where the output is not a terminal."""


class ConsoleWatcher:
    """A subscriber that shows a run: progress, loss, accuracy, shots per second and time left.

    `heading` is shown first, when the run has started.
    """

    def __init__(self, console: Console, heading: str = "") -> None:
        self.console = console
        self._heading = heading
        self._planned = 0
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),  # of an unknown number, too, while the device is calibrated
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=console,
            transient=True,
            # Nobody else prints during a run, and the process's streams are not this display's to replace.
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task: TaskID | None = None
        self._rate = 0.0
        self._first: tuple[float, int] | None = None
        self._last_line = time.monotonic()
        self._loss = float("nan")
        self._accuracy = float("nan")

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

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
                self._task = self._progress.add_task("calibrating", total=None, figures="")
            case RunResumed():
                # What was gone through again says nothing of how fast the device is.
                self._first = None
                self._say(
                    f"resumed: {event.replayed} shots gone through again since the last checkpoint; the device answers "
                    f"from shot {event.shot} on"
                )
            case ShotsTaken() if event.rows["purpose"][0] != Purpose.TRAIN:
                purpose = Purpose(int(event.rows["purpose"][0])).name.lower()
                self._show(description=purpose, figures=self._figures())
            case Measured():
                for line in measured_lines(event.values):
                    self._say(line)
            case StepDone():
                self._step(event.row)
            case EpochDone():
                self._accuracy = float(event.row["test_accuracy"])
                self._say(epoch_line(event.row))
            case RunWarning():
                self.console.print(
                    f"[yellow]warning:[/yellow] {escape(event.message)}", highlight=False, soft_wrap=True
                )
            case RunStopped():
                self._stop()

    def _stop(self) -> None:
        # Elsewhere it was not started, and would print an empty line.
        if self.console.is_terminal:
            self._progress.stop()

    def _step(self, row: np.void) -> None:
        now, shots = time.monotonic(), int(row["shots"])
        if self._first is None:
            self._first = (now, shots)
        elif now > self._first[0]:
            self._rate = (shots - self._first[1]) / (now - self._first[0])
        loss = float(row["loss"])
        self._loss = loss if self._loss != self._loss else 0.9 * self._loss + 0.1 * loss
        self._show(description="training", completed=shots, total=self._planned, figures=self._figures())
        if not self.console.is_terminal and now - self._last_line > PLAIN_INTERVAL_S:
            self._last_line = now
            left = f", about {(self._planned - shots) / self._rate:.0f} s left" if self._rate else ""
            self._say(f"{shots}/{self._planned} shots, {self._figures()}{left}")

    def _figures(self) -> str:
        parts = []
        if self._loss == self._loss:
            parts.append(f"loss {self._loss:.4f}")
        if self._accuracy == self._accuracy:
            parts.append(f"test {self._accuracy:.1%}")
        if self._rate:
            parts.append(f"{self._rate:,.0f} shots/s")
        return ", ".join(parts)

    def _show(self, **fields: Any) -> None:
        if self._task is not None and self.console.is_terminal:
            self._progress.update(self._task, **fields)

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


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
    if "readout_only_loss" in values:
        lines.append(
            f"baseline: a readout alone reaches training loss {values['readout_only_loss']:.4f}, test loss "
            f"{values['readout_only_test_loss']:.4f}, test accuracy {values['readout_only_test_accuracy']:.1%}"
        )
    return lines


def epoch_line(row: np.void) -> str:
    """Word one row of the epochs."""
    line = f"epoch {int(row['epoch']) + 1}: {int(row['shots'])} shots, training loss {float(row['train_loss']):.4f}"
    if row["test_loss"] == row["test_loss"]:
        line += f", test loss {float(row['test_loss']):.4f}, test accuracy {float(row['test_accuracy']):.1%}"
    return line


def print_summary(console: Console, report: Mapping[str, Any]) -> None:
    """Print the end of a run, a figure a line; a line is as long as it is, so that paths and hashes can be copied."""
    for label, key, form in _ROWS:
        value = report.get(key)
        if value is not None:
            line = printable(f"{label:<28}{form.format(value)}")
            console.print(line, highlight=False, markup=False, soft_wrap=True)


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
