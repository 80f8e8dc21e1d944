"""How far a sweep is: a live line where there is a terminal, a line a run everywhere."""

import time
from typing import Any

from rich.console import Console

from labpgt.events import EpochDone, RunContinued, RunPaused, RunWarning, StepDone
from procedures.console import continued_line, paused_line
from procedures.display import Display, time_left
from procedures.sweep.run import RunBegins, RunEnds, SweepBegins
from procedures.sweep.share import Share


class SweepProgress(Display):
    """Counts runs, the one in hand by its shots."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._share = Share()
        self._loss = float("nan")
        self._accuracy = float("nan")
        self._began = time.monotonic()
        self._label = ""
        self._begin("")

    def __call__(self, event: Any) -> None:
        """Show one event."""
        self._share(event)
        planned = self._share.planned
        match event:
            case SweepBegins():
                self._began = time.monotonic()
                self._say(f"{planned} runs, {event.done} of them done already; folder: {event.folder}")
            case RunBegins():
                self._label = event.run.label
                self._loss = self._accuracy = float("nan")
                if event.resumed:
                    self._say(f"{event.number}/{planned} {self._label}: going on")
            case StepDone():
                self._loss = float(event.row["loss"])
            case EpochDone():
                self._accuracy = float(event.row["test_accuracy"])
            case RunWarning():
                self._warn(f"{self._label}: {event.message}")
            case RunPaused():
                self._warn(f"{self._label}: {paused_line(event)}")
            case RunContinued():
                self._say(f"{self._label}: {continued_line(event)}")
            case RunEnds():
                self._say(f"{event.number}/{planned} {self._label}: {_ending(event.row)}{self._left()}")
        self._draw()

    def _draw(self) -> None:
        share = self._share
        parts = [f"{share.done}/{share.planned}"]
        if self._loss == self._loss:
            parts.append(f"loss {self._loss:.4f}")
        if self._accuracy == self._accuracy:
            parts.append(f"test {self._accuracy:.1%}")
        figures = f"{', '.join(parts)}{self._left()}"
        self._show(
            description=self._label, figures=figures, completed=share.done + share.part, total=max(1, share.planned)
        )

    def _left(self) -> str:
        """Word the time left, taking all runs to last equally long; nothing while it cannot be told."""
        share = self._share
        here = share.here + share.part
        left = share.planned - share.done - share.part
        if not here or left <= 0:
            return ""
        return ", " + time_left((time.monotonic() - self._began) / here * left)


def _ending(row: dict[str, Any]) -> str:
    figures = [str(row["status"])]
    if row["status"] != "success":
        figures.append(str(row["reason"]))
    if row["train_loss"] is not None:
        figures.append(f"training loss {row['train_loss']:.4f}")
    if row["test_accuracy"] is not None:
        figures.append(f"test accuracy {row['test_accuracy']:.1%}")
    return ", ".join(figures)
