"""What is always in view: the RF's state, RF OFF, and the run in hand."""

from PyQt6.QtCore import Qt
from PyQt6.QtGui import QPainter, QPaintEvent
from PyQt6.QtWidgets import QFrame, QHBoxLayout, QLabel, QProgressBar, QSizePolicy, QVBoxLayout

from gui.jobs import Job, JobState
from gui.lab import Lab
from gui.rf_strip import RfOff, RfState

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
        self.rf = RfState(lab)
        actions = lab.actions
        actions.add(
            self, "rf.off", "RF OFF", "F12", "Turn RF off now on every bench and stop what uses it",
            lab.rf.turn_off, anywhere=True,
        )  # fmt: skip
        self.off = RfOff(lab).button
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
        self.setFixedHeight(round(em.height() * 3.6))
        lab.jobs.started.connect(self._watch)
        lab.rf.changed.connect(self._show_job)
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
        others = self._lab.rf.others if over else []
        self.pause.setEnabled(not over and job is not None and job.session is not None)
        self.stop.setEnabled(not over)
        self.pause.setText("Go on" if job is not None and job.state is JobState.PAUSED else "Pause")
        if job is None or others:
            use = others[0] if others else None
            self.title.setText("No run" if use is None else f"A run that was started elsewhere: {use}")
            where = "Open its session on the page Live: it is shown, paused and stopped there"
            self.figures.setText("Start one on the page Runs" if use is None else where)
            self.bar.setValue(0)
            self.bar.setFormat("")
            return
        word = job.outcome if over else str(job.state)
        self.title.setText(f"{job.title} · {word}")
        self.title.setToolTip(self.title.text())
        doing = " · ".join(part for part in (job.progress.description, job.progress.figures) if part)
        # Why it waits is more than what it is at.
        said = over or not doing or job.state is JobState.PAUSED
        message = "" if job.state is JobState.STOPPED else job.message  # that it is about to stop is no news any more
        self.figures.setText(" ".join((message if said else doing).split()))
        self.figures.setToolTip(message)
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

    def _paint(self) -> None:
        self.setStyleSheet(f"#top_bar {{ background: {self._lab.theme.colours['raised']}; }}")
