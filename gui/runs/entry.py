"""One run of the queue: what it is to do, the job that does it, and how that went, in words."""

import re
from pathlib import Path
from typing import Any

from PyQt6.QtCore import QObject, pyqtSignal

from gui.form.form import Values
from gui.jobs import Job, JobState
from labpgt.config import Config

SHAPES = {
    JobState.WAITING: "○",
    JobState.STARTING: "◔",
    JobState.RUNNING: "▶",
    JobState.PAUSED: "‖",
    JobState.STOPPING: "◧",
    JobState.DONE: "✓",
    JobState.STOPPED: "■",
    JobState.FAILED: "✕",
}
"""A shape beside each word: colour is not the only sign."""
ADVICE = {
    1: "See in the log what went wrong.",
    2: "Press To form, mend what is named, and add it again.",
    3: "Look at the bench: is everything on and connected?",
    5: "Look at the disk: is there room, and may it be written?",
}
"""What to do, by exit code."""
BY_HAND = "Make sure by hand that RF is off."
RESUME = "Resume it to go on where it was."
RETRY = "Retry it once that is mended."
ANEW = "Retry it to begin anew."
_IN_USE = "another run is using it"
"""What a bench says that is not free."""
_WAIT = "Wait until the other run has ended, or stop it where it goes on."
_NOT_ALLOWED = "say so with --allow"
"""What a session says whose code nobody has allowed."""
_ASKED = "Resume it: you are asked whether that code may be run."
_DEFAULTS = Config()
_BY_SIGNAL = "Ctrl-C"
"""Reason that a run gives when the window has asked it to stop."""
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
        self.allowed: list[str] = []
        """Code of a person's own that its session names, and that may be run this time. Not kept for another window."""
        self.job: Job | None = None
        self.standing = JobState.WAITING
        self.why = ""
        """Why it did not end well."""
        self.advice = ""
        """What to do about that."""
        self.results: dict[str, Any] = {}

    @property
    def title(self) -> str:
        """Task, estimator and device."""
        return f"{self.task}, {self.estimator}, {self._set('device', 'name')}"

    @property
    def task(self) -> str:
        """What is learned."""
        return self._set("task", "name")

    @property
    def estimator(self) -> str:
        """Source of the gradient."""
        return self._set("training", "estimator")

    @property
    def bench(self) -> Path | None:
        """The bench that its device is on."""
        bench = self.config.get("device", {}).get("bench")
        return Path(bench).resolve() if isinstance(bench, str) and bench else None

    @property
    def words(self) -> list[tuple[str, str]]:
        """What else is to be said, each with whether it is "quiet", "plain" or "bad"."""
        said = self.note or ", ".join(f"{key} {value}" for key, value in self._details().items())
        lines = [(said, "quiet"), (self.why, "bad" if self.standing is JobState.FAILED else "plain")]
        if self.standing is JobState.PAUSED and self.job is not None:
            lines.append((self.job.message, "plain"))
        return [(text, tone) for text, tone in [*lines, (self.advice, "plain")] if text]

    def _details(self) -> dict[str, Any]:
        """Return what was set, but for what the title says, by key."""
        told = {("task", "name"), ("training", "estimator"), ("device", "name")}
        found = {}
        for section, given in self.config.items():
            found.update({key: value for key, value in given.items() if (section, key) not in told})
        return found

    @property
    def share(self) -> float | None:
        """Part that is done, of 1; None while that is not known."""
        if self.standing is JobState.DONE:
            return 1.0
        return self.job.progress.share if self.job is not None and self.job.progress.total else None

    @property
    def doing(self) -> str:
        """What it is at, in a word or two."""
        described = self.job.progress.description if self.job is not None else ""
        if self.standing is JobState.RUNNING and described and described != "training":
            return f"{self.standing}: {described}"
        if self.standing is JobState.WAITING and self.resume:
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
        return self._figure(r"/s, (.+) left$") if self.standing.going else ""

    @property
    def resumable(self) -> bool:
        """Whether there is a session that did not come to its end."""
        return self.standing in (JobState.STOPPED, JobState.FAILED) and self.session is not None

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
        self.standing, self.why, self.advice = JobState.FAILED, why, advice
        self.changed.emit()
        self.ended.emit()

    def settle(self, standing: JobState, why: str = "", advice: str = "") -> None:
        """Stand otherwise, without a job."""
        self.job = None
        self.standing, self.why, self.advice = standing, why, advice
        self.changed.emit()

    def _set(self, section: str, key: str) -> str:
        return str(self.config.get(section, {}).get(key, getattr(getattr(_DEFAULTS, section), key)))

    def _figure(self, pattern: str) -> str:
        found = re.search(pattern, self.job.progress.figures) if self.job is not None else None
        return found[1] if found else ""

    def _follow(self) -> None:
        assert self.job is not None
        self.standing = self.job.state
        self.changed.emit()

    def _end(self) -> None:
        job = self.job
        assert job is not None
        self.results = job.report
        if job.state is not JobState.DONE:
            if self.session is not None and not self.session.exists():
                self.session = None
            self.why, self.advice = told(job), advice(job, resumable=self.session is not None)
        self._follow()
        self.ended.emit()


def told(job: Job) -> str:
    """Return why a job did not end well, in words."""
    lines = [line for line in job.message.splitlines() if not line.startswith(_HINT)]
    said = "\n".join(lines).removeprefix("labpgt: ")
    if job.state is JobState.STOPPED:
        reason = str(job.report.get("reason") or _BY_SIGNAL)
        return "stopped by hand" if reason == _BY_SIGNAL else reason
    if job.exit_code is not None and job.exit_code < 0:
        return f"{job.outcome}; it said last: {said}" if said else job.outcome
    return f"{job.outcome}: {said}" if said else job.outcome


def advice(job: Job, *, resumable: bool) -> str:
    """Return what to do about a job that did not end well."""
    # A long message is cut short where it is shown: this must not be what is lost.
    danger = BY_HAND if "by hand" in job.message else ""
    anew = ANEW if job.state is JobState.STOPPED else RETRY
    then = "" if job.exit_code == 2 else RESUME if resumable else anew
    if _NOT_ALLOWED in job.message:
        return _ASKED
    first = _WAIT if _IN_USE in job.message else ADVICE.get(job.exit_code or 0, "")
    return " ".join(text for text in (danger, first, then) if text)
