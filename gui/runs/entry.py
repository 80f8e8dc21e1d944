"""One run of the queue: what it is to do, the job that does it, and how that went, in words."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Any

from PyQt6.QtCore import QObject, pyqtSignal

from gui.form.form import Values
from gui.jobs import Job, JobState
from labpgt.config import Config


class Standing(StrEnum):
    """How a run of the queue stands: as its job does, or without one."""

    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def over(self) -> bool:
        """Whether it is not going and will not go by itself."""
        return self in (Standing.DONE, Standing.STOPPED, Standing.FAILED)

    @property
    def going(self) -> bool:
        """Whether a process is at it."""
        return not self.over and self is not Standing.WAITING


SHAPES = {
    Standing.WAITING: "○",
    Standing.STARTING: "◔",
    Standing.RUNNING: "▶",
    Standing.PAUSED: "‖",
    Standing.STOPPING: "◧",
    Standing.DONE: "✓",
    Standing.STOPPED: "■",
    Standing.FAILED: "✕",
}
"""A shape beside each word: colour is not the only sign."""
ADVICE = {
    1: "Mend what it names in the form and add it again, or resume it.",
    2: "Take it into the form, mend what is named, and add it again.",
    3: "Look at the bench: is everything on and connected? Then resume it.",
    4: "Resume it to go on where it was.",
    5: "Make room on the disk, or choose another folder; then resume it.",
}
"""What to do, by exit code."""
KILLED = "Its session is whole. Resume it to go on where it was."
_HINT = "labpgt: to go on once that is mended"


class Entry(QObject):
    """A run that waits, goes on, or is over."""

    changed = pyqtSignal()
    ended = pyqtSignal()

    def __init__(self, config: Values, note: str = "", session: Path | None = None) -> None:
        """`note` tells it from others of the same kind: the values of a sweep."""
        super().__init__()
        self.config = config
        self.note = note
        self.session = session
        """Its session file, once it has one."""
        self.resume = False
        """Whether it is to go on in its session."""
        self.job: Job | None = None
        self.standing = Standing.WAITING
        self.why = ""
        """Why it did not end well."""
        self.advice = ""
        """What to do about that."""
        self.results: dict[str, Any] = {}

    @property
    def title(self) -> str:
        """Task, estimator and device."""
        defaults = Config()
        task = self.config.get("task", {}).get("name", defaults.task.name)
        estimator = self.config.get("training", {}).get("estimator", defaults.training.estimator)
        device = self.config.get("device", {}).get("name", defaults.device.name)
        return f"{task}, {estimator}, {device}"

    @property
    def bench(self) -> Path | None:
        """The bench that its device is on."""
        bench = self.config.get("device", {}).get("bench")
        return Path(bench).resolve() if isinstance(bench, str) and bench else None

    @property
    def share(self) -> float | None:
        """Part that is done, of 1; None while that is not known."""
        if self.standing is Standing.DONE:
            return 1.0
        return self.job.progress.share if self.job is not None and self.job.progress.total else None

    @property
    def doing(self) -> str:
        """What it is at, in a word or two."""
        described = self.job.progress.description if self.job is not None else ""
        if self.standing is Standing.RUNNING and described and described != "training":
            return f"{self.standing}: {described}"
        if self.standing is Standing.WAITING and self.resume:
            return "waiting to go on"
        return str(self.standing)

    @property
    def loss(self) -> str:
        """The newest training loss, as text."""
        final = self.results.get("train_loss")
        return f"{final:.4g}" if isinstance(final, float) else self._figure(r"loss ([\d.e+-]+)")

    @property
    def accuracy(self) -> str:
        """The newest test accuracy, as text."""
        final = self.results.get("test_accuracy")
        return f"{final:.1%}" if isinstance(final, float) else self._figure(r"test ([\d.]+%)")

    @property
    def left(self) -> str:
        """The time left, as the run itself puts it."""
        return self._figure(r"([\w:, ]*\d) left$").split(", ")[-1] if self.standing.going else ""

    @property
    def resumable(self) -> bool:
        """Whether there is a session that did not come to its end."""
        return self.standing in (Standing.STOPPED, Standing.FAILED) and self.session is not None

    def attach(self, job: Job) -> None:
        """Follow the job that does it."""
        self.job = job
        self.session = job.session
        self.why = self.advice = ""
        self.results = {}
        job.changed.connect(self._follow)
        job.said.connect(lambda _level, _text: self._follow())
        job.ended.connect(self._end)
        self._follow()

    def fail(self, why: str, advice: str) -> None:
        """Be over before there was a job."""
        self.standing, self.why, self.advice = Standing.FAILED, why, advice
        self.changed.emit()
        self.ended.emit()

    def settle(self, standing: Standing, why: str = "", advice: str = "") -> None:
        """Stand otherwise, without a job."""
        self.job = None
        self.standing, self.why, self.advice = standing, why, advice
        self.changed.emit()

    def _figure(self, pattern: str) -> str:
        found = re.search(pattern, self.job.progress.figures) if self.job is not None else None
        return found[1] if found else ""

    def _follow(self) -> None:
        assert self.job is not None
        self.standing = Standing(self.job.state.value)
        self.changed.emit()

    def _end(self) -> None:
        job = self.job
        assert job is not None
        self.results = job.report
        if job.state is not JobState.DONE:
            self.why, self.advice = told(job)
            if self.session is not None and not self.session.exists():
                self.session = None
        self._follow()
        self.ended.emit()


def told(job: Job) -> tuple[str, str]:
    """Return why a job did not end well, and what to do about it, in words."""
    code = job.exit_code
    if code is None or code == 0:
        return "", ""
    lines = [line for line in job.message.splitlines() if not line.startswith(_HINT)]
    said = "\n".join(lines).removeprefix("labpgt: ")
    if job.state is JobState.STOPPED:
        return str(job.report.get("reason") or "asked to stop"), ADVICE[4]
    if code < 0:
        return f"{job.outcome}{f'; it said last: {said}' if said else ''}", KILLED
    return f"{job.outcome}: {said}" if said else job.outcome, ADVICE.get(code, ADVICE[1])
