"""How far a sweep is: a live line where there is a terminal, a line a run everywhere."""

import time
from typing import Any

from rich.console import Console

from labpgt.events import EpochDone, RunStarted, RunWarning, StepDone
from procedures.display import Display, time_left
from procedures.sweep.run import RunBegins, RunEnds, SweepBegins


class SweepProgress(Display):
    """Counts runs, the one in hand by its shots."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._planned = 0
        self._done = 0
        """Runs done, those found done among them."""
        self._here = 0
        """Runs done since the start."""
        self._shots = (0, 0)
        """Of the run in hand: taken, planned."""
        self._loss = float("nan")
        self._accuracy = float("nan")
        self._began = time.monotonic()
        self._label = ""
        self._begin("")

    def __call__(self, event: Any) -> None:
        """Show one event."""
        match event:
            case SweepBegins():
                self._planned, self._done = event.planned, event.done
                self._began = time.monotonic()
                self._say(f"{event.planned} runs, {event.done} of them done already; folder: {event.folder}")
            case RunBegins():
                self._label = event.run.label
                self._shots = (0, 0)
                self._loss = self._accuracy = float("nan")
                if event.resumed:
                    self._say(f"{event.number}/{self._planned} {self._label}: going on")
            case RunStarted():
                self._shots = (0, event.planned_shots)
            case StepDone():
                self._shots = (int(event.row["shots"]), self._shots[1])
                self._loss = float(event.row["loss"])
            case EpochDone():
                self._accuracy = float(event.row["test_accuracy"])
            case RunWarning():
                self._warn(f"{self._label}: {event.message}")
            case RunEnds():
                self._done += 1
                self._here += 1
                self._shots = (0, 0)
                self._say(f"{event.number}/{self._planned} {self._label}: {_ending(event.row)}{self._left(', ')}")
        self._draw()

    def _draw(self) -> None:
        parts = [f"{self._done}/{self._planned}"]
        if self._loss == self._loss:
            parts.append(f"loss {self._loss:.4f}")
        if self._accuracy == self._accuracy:
            parts.append(f"test {self._accuracy:.1%}")
        figures = f"{', '.join(parts)}{self._left(', ')}"
        self._show(description=self._label, figures=figures, completed=self._done + self._part, total=self._planned)

    @property
    def _part(self) -> float:
        """How much of the run in hand is done."""
        taken, planned = self._shots
        return min(1.0, taken / planned) if planned else 0.0

    def _left(self, before: str) -> str:
        """Word the time left, taking all runs to last equally long; nothing while it cannot be told."""
        here = self._here + self._part
        left = self._planned - self._done - self._part
        if not here or left <= 0:
            return ""
        return before + time_left((time.monotonic() - self._began) / here * left)


def _ending(row: dict[str, Any]) -> str:
    figures = [str(row["status"])]
    if row["status"] != "success":
        figures.append(str(row["reason"]))
    if row["train_loss"] is not None:
        figures.append(f"training loss {row['train_loss']:.4f}")
    if row["test_accuracy"] is not None:
        figures.append(f"test accuracy {row['test_accuracy']:.1%}")
    return ", ".join(figures)
