"""What is always in view: the RF's state, RF OFF, and the run in hand."""

from PyQt6.QtCore import Qt
from PyQt6.QtGui import QPainter, QPaintEvent
from PyQt6.QtWidgets import QFrame, QHBoxLayout, QLabel, QProgressBar, QSizePolicy, QVBoxLayout

from gui.jobs import Job, JobState
from gui.lab import Lab
from gui.rf import Rf

_RF_WORDS = {
    Rf.NO_BENCH: ("○", "RF: no bench", "muted", "No bench is chosen: there is no RF that this window knows of"),
    Rf.OFF: ("○", "RF off", "ok", "The instruments say that RF is off"),
    Rf.ON: ("●", "RF ON", "warn", "An instrument says that its RF is on"),
    Rf.TURNING_OFF: ("◐", "RF: turning off", "warn", "RF is being turned off"),
    Rf.IN_DOUBT: ("?", "RF IN DOUBT", "error", "Nobody can say whether RF is on: take it to be on"),
}
PROGRESS_STEPS = 1000


class _Elided(QLabel):
    """A line that ends in an ellipsis where it is too long; the whole of it is its tooltip."""

    def paintEvent(self, _event: QPaintEvent | None) -> None:  # noqa: N802  # Qt's own
        """Draw as much as fits."""
        painter = QPainter(self)
        text = self.fontMetrics().elidedText(self.text(), Qt.TextElideMode.ElideRight, self.width())
        painter.drawText(self.rect(), Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, text)


class TopBar(QFrame):
    """The strip at the top of the window."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(objectName="top_bar")
        self._lab = lab
        self._job: Job | None = None
        self.rf = QLabel(objectName="rf.state")
        self.rf.setAccessibleName("RF state")
        self.rf.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.rf.setTextFormat(Qt.TextFormat.PlainText)
        actions = lab.actions
        off = actions.add(
            self, "rf.off", "RF OFF", "F12", "Turn RF off now on every bench and stop what uses it",
            lab.rf.turn_off, anywhere=True,
        )  # fmt: skip
        self.off = actions.button(off)
        self.off.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Expanding)
        self.title = _Elided(objectName="run.title")
        self.title.setTextFormat(Qt.TextFormat.PlainText)
        self.title.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.figures = _Elided(objectName="run.figures")
        self.figures.setTextFormat(Qt.TextFormat.PlainText)
        self.figures.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.bar = QProgressBar(objectName="run.progress")
        self.bar.setAccessibleName("Progress of the run in hand")
        self.bar.setRange(0, PROGRESS_STEPS)
        self.bar.setTextVisible(True)
        self.pause = actions.add(
            self, "run.pause", "Pause", "F8", "Pause the run in hand, its device made safe; again to go on",
            self._pause, anywhere=True,
        )  # fmt: skip
        self.stop = actions.add(
            self, "run.stop", "Stop", "F9", "Stop the run in hand after the device call; again: at once",
            self._stop, anywhere=True,
        )  # fmt: skip
        words = QVBoxLayout()
        words.setSpacing(1)
        words.addWidget(self.title)
        words.addWidget(self.figures)
        row = QHBoxLayout(self)
        row.setContentsMargins(8, 6, 8, 6)
        row.addWidget(self.rf)
        row.addWidget(self.off)
        row.addLayout(words, 3)
        row.addWidget(self.bar, 2)
        row.addWidget(actions.button(self.pause))
        row.addWidget(actions.button(self.stop))
        em = self.fontMetrics()
        self.rf.setFixedWidth(em.horizontalAdvance("◐  RF: turning off") * 5 // 4 + 24)
        self.setFixedHeight(round(em.height() * 3.6))
        lab.rf.changed.connect(self._show_rf)
        lab.jobs.started.connect(self._watch)
        lab.theme.changed.connect(self._paint)
        self._paint()
        self._show_job()

    def _watch(self, job: Job) -> None:
        job.changed.connect(self._choose)
        self._choose()

    def _choose(self) -> None:
        """Show the newest job that goes on, runs before the rest; the last one when none does."""
        going = self._lab.jobs.working
        runs = [job for job in going if job.session is not None]
        self._job = (runs or going or [self._job])[-1]
        self._show_job()

    def _show_job(self) -> None:
        job = self._job
        over = job is None or job.state.over
        self.pause.setEnabled(not over and job is not None and job.session is not None)
        self.stop.setEnabled(not over)
        self.pause.setText("Go on" if job is not None and job.state is JobState.PAUSED else "Pause")
        if job is None:
            self.title.setText("No run")
            self.figures.setText("Start one on the page Runs")
            self.bar.setValue(0)
            self.bar.setFormat("")
            return
        word = job.outcome if over else str(job.state)
        self.title.setText(f"{job.title} · {word}")
        self.title.setToolTip(self.title.text())
        doing = " · ".join(part for part in (job.progress.description, job.progress.figures) if part)
        # Why it waits is more than what it is at.
        said = over or not doing or job.state is JobState.PAUSED
        self.figures.setText(" ".join((job.message if said else doing).split()))
        self.figures.setToolTip(job.message)
        share = 1.0 if job.state is JobState.DONE else job.progress.share
        self.bar.setValue(round(share * PROGRESS_STEPS))
        self.bar.setFormat(f"{share:.0%}" if job.progress.total or over else "…")

    def _pause(self) -> None:
        if self._job is not None and self._job.state is JobState.PAUSED:
            self._job.go_on()
        elif self._job is not None:
            self._job.pause()

    def _stop(self) -> None:
        if self._job is not None:
            self._job.stop()

    def _show_rf(self) -> None:
        state = self._lab.rf.state
        shape, word, role, meaning = _RF_WORDS[state]
        c = self._lab.theme.colours
        self.rf.setText(f"{shape}  {word}")
        detail = self._lab.rf.detail
        self.rf.setToolTip(f"{meaning}\n{detail}" if detail else meaning)
        loud = state in (Rf.ON, Rf.IN_DOUBT, Rf.TURNING_OFF)
        colours = f"background: {c[role]}; color: {c['base']};" if loud else f"color: {c[role]};"
        self.rf.setStyleSheet(f"QLabel {{ {colours} border: 2px solid {c[role]}; border-radius: 4px; padding: 2px 8px; "
                              "font-weight: bold; }")  # fmt: skip

    def _paint(self) -> None:
        c = self._lab.theme.colours
        large = self.font().pointSizeF() * 1.6
        self.off.setStyleSheet(
            f"QToolButton {{ background: {c['danger']}; color: {c['on_danger']}; font-weight: bold; "
            f"font-size: {large:g}pt; border: 2px solid {c['danger']}; border-radius: 4px; padding: 2px 18px; }}"
            f"QToolButton:hover, QToolButton:focus {{ border-color: {c['text']}; }}"
        )
        self.setStyleSheet(f"#top_bar {{ background: {c['raised']}; }}")
        self._show_rf()
