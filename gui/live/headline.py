"""How the run that is watched stands, in words."""

import time
from collections import deque

from PyQt6.QtCore import Qt
from PyQt6.QtGui import QTextDocument
from PyQt6.QtWidgets import QLabel, QSizePolicy, QVBoxLayout, QWidget

from gui.lab import Lab
from gui.live.run import FLAGS, Run
from gui.plots.words import number, quantity
from labpgt.events import Status

_WRITE_S = 0.15
"""Between two changes of the texts."""
_RATE_S = 2.0
"""The rate of shots is the mean over so long."""
_MARKS = {
    Status.RUNNING: ("●", "running", "ok"),
    Status.SUCCESS: ("■", "done", "accent"),
    Status.ABORTED: ("■", "aborted", "warn"),
    Status.FAILED: ("✖", "failed", "error"),
    Status.CRASHED: ("✖", "crashed", "error"),
}


class Headline(QWidget):
    """Two lines: which run it is and how it stands; how far it is, and its figures."""

    def __init__(self, lab: Lab) -> None:
        super().__init__()
        self._lab = lab
        self._written = 0.0
        self._shots: deque[tuple[float, int]] = deque()
        self.state = QLabel("No run is watched: start one on the page Runs, or open a session (O)")
        self.figures = QLabel()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        for name, label in (("state", self.state), ("figures", self.figures)):
            label.setObjectName(f"live.{name}")
            label.setTextFormat(Qt.TextFormat.RichText)
            # Long texts are cut at the right, and never make the window wider.
            label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            layout.addWidget(label)

    def reset(self) -> None:
        """Forget the rate of another run."""
        self._shots.clear()
        self._written = 0.0

    def draw(self, run: Run, name: str) -> None:
        """Say how the run stands."""
        now = time.monotonic()
        rare = run.stopped is not None or run.paused or run.lost
        if run.started is None or (now - self._written < _WRITE_S and not rare):
            return
        self._written = now
        mark, word, role = _MARKS[run.status or Status.RUNNING]
        if run.paused:
            mark, word, role = "❚❚", "paused", "warn"
        if run.lost:
            mark, word, role = "?", "its file is gone", "warn"
        why = run.paused or (run.stopped.reason if run.stopped is not None else "")
        task = run.configuration.get("task", {}).get("name", "")
        estimator = run.configuration.get("training", {}).get("estimator", "")
        what = " · ".join(_plain(text) for text in (name, task, estimator, run.started.device) if text)
        colour = self._lab.theme.colours[role]
        because = f" ({_plain(why)})" if why else ""
        state = f'<span style="color:{colour}">{mark} <b>{word}</b></span>{because} &nbsp; {what}'
        if run.sampled:
            state += f" &nbsp; <i>a sample is shown; {run.share_read:.0%} of the record read</i>"
        _write(self.state, state)
        self._write_figures(run, " &nbsp;·&nbsp; ".join(self._figures(run)))

    def _figures(self, run: Run) -> list[str]:
        assert run.started is not None
        planned = run.started.planned_shots
        of = f" of {number(planned, 7)}" if planned else ""
        parts = [f"{number(run.training_shots, 7)}{of} training shots"]
        parts.append(f"{number(run.n_steps, 7)} steps, {number(run.n_epochs, 7)} epochs")
        if run.stopped is None and (rate := self._rate(run.n_shots)) > 0:
            parts.append(quantity(rate, "shots/s", 3))
        if (last := run.last_epoch) is not None:
            measured = [name for name in ("train_loss", "test_loss", "test_accuracy") if last[name] == last[name]]
            parts += [f"{name.replace('_', ' ')} <b>{number(float(last[name]), 3)}</b>" for name in measured]
        marks = run.picture.marks
        flagged = {str(flag.name).lower(): int(marks.sum(str(flag.name)).sum()) for flag in FLAGS}
        told = ", ".join(f"{count} {name}" for name, count in flagged.items() if count)
        parts.append(f"flags: {told or 'none'}")
        return parts

    def _write_figures(self, run: Run, figures: str) -> None:
        """Write them, and after them as much of the last warning as there is room for; all of it is in the tooltip."""
        if not run.warnings:
            _write(self.figures, figures)
            return
        count = f" &nbsp;·&nbsp; ▲ {run.warnings} warning{'s, the last' if run.warnings > 1 else ''}: "
        document = QTextDocument()
        document.setDefaultFont(self.figures.font())
        document.setDocumentMargin(0)
        document.setHtml(figures + count)
        room = self.figures.width() - document.idealWidth()
        last = self.figures.fontMetrics().elidedText(run.last_warning, Qt.TextElideMode.ElideRight, int(room))
        _write(self.figures, f"{figures}{count}{_plain(last)}", f"{figures}{count}{_plain(run.last_warning)}")

    def _rate(self, shots: int) -> float:
        now = time.monotonic()
        self._shots.append((now, shots))
        while now - self._shots[0][0] > _RATE_S and len(self._shots) > 2:
            self._shots.popleft()
        then, before = self._shots[0]
        return (shots - before) / (now - then) if now - then > 0.25 else 0.0


def _plain(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _write(label: QLabel, text: str, tip: str = "") -> None:
    if label.text() != text:
        label.setText(text)
        label.setToolTip(tip or text)
