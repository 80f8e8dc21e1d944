"""Shows a run of another process on the terminal while it goes."""

import signal
import sys
import threading
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
from rich.console import Console

from labpgt.errors import InputError, LabpgtError, RunAborted, StorageFault
from labpgt.events import EpochDone, Event, Measured, RunStarted, RunStopped, Status, StepDone
from labpgt.follow import follow
from labpgt.session import Session
from procedures.console import ConsoleWatcher

EXIT_CODES = {
    Status.ABORTED: RunAborted.exit_code,
    Status.FAILED: LabpgtError.exit_code,
    Status.CRASHED: LabpgtError.exit_code,
}
"""Of watching a run to an end that is not success."""
_EPOCHS = 20
"""Epochs of the past that are shown; all are in the file."""


def watch(path: Path, console: Console, *, interval_s: float, wait: bool, resumed: bool) -> tuple[dict[str, Any], int]:
    """Show a run until it ends, or until Ctrl-C or SIGTERM ends the watching; return how it stands and an exit code.

    The run is never touched, and comes first where the processor is short. The parameters, and what is raised, are
    those of `labpgt.follow.follow`.
    """

    def hold(message: str) -> None:
        watcher.hold()
        watcher.note(message)

    give_way()
    report = Report(path)
    heading = f"watching {path}; Ctrl-C ends the watching, not the run"
    epochs = 0
    # The newest row of each kind is all that there is to see, however many come between two looks.
    newest = {"shots": 1, "steps": 1, "epochs": _EPOCHS}
    with _signals() as asked, ConsoleWatcher(console, heading) as watcher:
        for event in follow(
            path, interval_s=interval_s, stop=lambda: asked, tell=hold, wait=wait, resumed=resumed, **newest
        ):
            if isinstance(event, EpochDone):
                if event.row["epoch"] > epochs:
                    watcher.note("…")  # `labpgt show` lists them all
                epochs = int(event.row["epoch"]) + 1
            report(event)
            watcher(event)
    if asked and not report.ended:
        report.values |= _standing(path)
        goes_on = report.values["status"] == Status.RUNNING
        watcher.note("watching ended; the run goes on" if goes_on else "watching ended")
        return report.values, 0
    return report.values, EXIT_CODES.get(report.values["status"], 0)


def give_way() -> None:
    """Let the run, and everything else on this machine, go first."""
    # Where that is not allowed, watching goes on as it is.
    with suppress(psutil.Error, OSError):
        process = psutil.Process()
        process.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS if sys.platform == "win32" else max(process.nice(), 10))


def _standing(path: Path) -> dict[str, Any]:
    """Return status and reason as the file has them now; nothing when it cannot be read."""
    try:
        with Session(path) as session:
            return {"status": str(session.status), "reason": session.reason or None}
    except (InputError, StorageFault):
        return {}


class Report:
    """A subscriber that keeps where a run stands, as plain numbers and texts; what is not known is None."""

    def __init__(self, path: Path) -> None:
        self.values: dict[str, Any] = {"status": None, "reason": None, "session": str(path)}
        self.ended = False

    def __call__(self, event: Event) -> None:
        """Take in one event."""
        match event:
            case RunStarted():
                self.values |= _beginning(event)
            case Measured():
                self._take(event.values)
            case StepDone():
                self.values["shots"] = int(event.row["shots"])
            case EpochDone():
                losses = ("train_loss", "test_loss", "train_accuracy", "test_accuracy")
                self._take({name: float(event.row[name]) for name in losses})
                self.values["epochs"] = int(event.row["epoch"]) + 1
            case RunStopped():
                self.ended = True
                self._take(event.results)
                self.values |= {
                    "status": str(event.status),
                    "reason": event.reason,
                    "parameters_sha256": event.parameters_sha256 or None,
                }

    def _take(self, results: Mapping[str, float]) -> None:
        for name, value in results.items():
            known = int(value) if name.endswith("shots") else value
            self.values[name] = None if value != value else known


def _beginning(started: RunStarted) -> dict[str, Any]:
    """Return what is known of a run when it starts, the losses to come among it."""
    try:
        configuration = tomllib.loads(started.config_toml)
    except tomllib.TOMLDecodeError:
        configuration = {}

    def configured(section: str, key: str) -> Any:
        table = configuration.get(section)
        return table.get(key) if isinstance(table, dict) else None

    return {
        "status": str(Status.RUNNING),
        "task": configured("task", "name"),
        "device": started.device,
        "estimator": configured("training", "estimator"),
        "seed": configured("training", "seed"),
        **dict.fromkeys(("epochs", "shots", "train_loss", "test_loss", "test_accuracy")),
        **dict.fromkeys(("readout_only_loss", "prior_loss", "parameters_sha256")),
    }


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM, of which the second interrupts at once; only the main thread can."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(number: int, _frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
