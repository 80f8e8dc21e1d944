"""The page of recorded runs: a table of sessions at the left, the open one and the ticked ones at the right."""

from collections.abc import Callable
from pathlib import Path

from PyQt6.QtCore import QByteArray, Qt, QTimer
from PyQt6.QtGui import QCloseEvent, QHideEvent, QShowEvent
from PyQt6.QtWidgets import QFrame, QHBoxLayout, QLabel, QSizePolicy, QSplitter, QTabWidget, QVBoxLayout, QWidget

from gui.lab import Lab
from gui.replay import words
from gui.replay.browser import Browser
from gui.replay.curves import Run, Runs
from gui.replay.differences import SettingsTab
from gui.replay.opened import OpenSession, Overview
from gui.replay.overlay import OverlayTab
from gui.replay.shots import ShotsTab
from gui.replay.work import WorkBar
from gui.replay.worker import Worker
from gui.roomy import Roomy
from labpgt.events import Status

_COMPARE_MS = 2000
"""Between two looks at compared runs that go on."""
_SHARE = 0.05
"""Of a processor that these looks may take: a long run is looked at less often."""

_LETTERS = 52
"""Of room that a session needs across."""
_LINES, _LINES_STACKED = 27, 46
"""Of room that a session needs up and down: with the facts of a shot beside its plots, and below them."""


class ReplayPage(QWidget):
    """Opens sessions old and running; what is wrong with one stands in a strip of the page."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(objectName="page.replay")
        self._lab = lab
        self._session: OpenSession | None = None
        self._opening: OpenSession | None = None
        self._ticked: list[Path] = []
        self._wrong: dict[str, str] = {}
        """What is wrong, by what it concerns."""
        self._runs = Runs()
        self._goes_on = False
        """Whether one of the compared runs goes on."""
        self._worker = Worker("compare")

        self.browser = Browser(lab)
        self.browser.wanted.connect(self.open_session)
        self.browser.ticked.connect(self._have_ticked)
        self.notice = QLabel(objectName="replay.notice")
        self.notice.setAccessibleName("What is wrong")
        self.notice.setTextFormat(Qt.TextFormat.PlainText)
        self.notice.setWordWrap(True)
        self.notice.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.notice.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self._strip = QFrame(objectName="wrong")
        dismiss = lab.actions.add(
            self, "replay.dismiss", "Dismiss", "Ctrl+Shift+D", "Take away what is said to be wrong", self._strip.hide
        )
        strip = QHBoxLayout(self._strip)
        strip.setContentsMargins(8, 2, 2, 2)
        strip.addWidget(self.notice, 1)
        strip.addWidget(lab.actions.button(dismiss), 0, Qt.AlignmentFlag.AlignTop)
        self._strip.hide()
        self.header = QLabel(objectName="replay.header")
        self.header.setAccessibleName("The open session")
        self.header.setTextFormat(Qt.TextFormat.PlainText)
        self.header.setWordWrap(True)
        self.header.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.work = WorkBar(lab)
        self.work.refused.connect(lambda why: self._complain("job", why))
        self.shots, self.overlay, self.settings = ShotsTab(lab), OverlayTab(lab), SettingsTab(lab)
        self.shots.failed.connect(lambda why: self._complain("shot", why))
        self.tabs = QTabWidget(objectName="replay.tabs")
        self.tabs.setAccessibleName("Views of the runs")
        for number, (tab, name, tip) in enumerate(
            (
                (self.shots, "Shots", "Go through the open session shot by shot"),
                (self.overlay, "Overlay", "Learning curves of the ticked runs over each other"),
                (self.settings, "Settings", "What the ticked runs were set to, and where they differ"),
            ),
            1,
        ):
            self.tabs.addTab(tab, name)
            show = lab.actions.add(
                self, f"replay.tab.{name.lower()}", name, f"Alt+Shift+{number}", tip, self._shower(number - 1)
            )
            self.tabs.setTabToolTip(number - 1, show.toolTip())
        self._lay_out()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._compare)
        lab.theme.changed.connect(self._paint)
        self._tell()

    def _shower(self, tab: int) -> Callable[[], None]:
        return lambda: self.tabs.setCurrentIndex(tab)

    def _lay_out(self) -> None:
        right = QWidget()
        column = QVBoxLayout(right)
        column.setContentsMargins(0, 0, 0, 0)
        for widget in (self._strip, self.header, self.work):
            column.addWidget(widget)
        column.addWidget(self.tabs, 1)
        self._splitter = QSplitter(Qt.Orientation.Horizontal, objectName="replay.splitter")
        self._splitter.addWidget(self.browser)
        letter = self.fontMetrics().averageCharWidth()
        beside = Roomy(right, self._least)
        beside.setMinimumWidth(_LETTERS * letter)
        self._splitter.addWidget(beside)
        self._splitter.setSizes([56 * letter, 142 * letter])
        self._splitter.setStretchFactor(1, 1)
        self._splitter.setChildrenCollapsible(False)
        kept = self._lab.state.settings.value("replay/splitter")
        if isinstance(kept, QByteArray):
            self._splitter.restoreState(kept)
        self._splitter.splitterMoved.connect(self._keep_splitter)
        row = QHBoxLayout(self)
        row.addWidget(self._splitter)

    def _least(self, width: int) -> int:
        """Return how tall what stands beside the table has to be."""
        lines = _LINES_STACKED if self.shots.stacked(width) else _LINES
        return lines * self.fontMetrics().lineSpacing()

    def activate(self) -> None:
        """The page is shown: the keyboard goes to the shots if a session is open, otherwise to the table."""
        (self.browser.table if self._session is None else self.shots.slider).setFocus()

    def open_session(self, path: Path) -> None:
        """Open a session, or a folder of sessions. What cannot be opened is said, and what is open stays open."""
        path = Path(path).absolute()
        self._complain("open", "")
        if path.is_dir():
            self.browser.show_folder(path)
            return
        if self._opening is not None:
            self._opening.close()
        session = OpenSession(path)
        self._opening = session
        session.opened.connect(lambda overview: self._opened(session, overview))
        session.refused.connect(lambda why: self._refused(session, why))

    def close_down(self) -> None:
        """Let every thread of the page leave."""
        self._timer.stop()
        self._worker.close()
        self.browser.close_down()
        for session in (self._session, self._opening):
            if session is not None:
                session.close()

    def closeEvent(self, event: QCloseEvent | None) -> None:  # noqa: D102, N802
        self.close_down()
        super().closeEvent(event)

    def _opened(self, session: OpenSession, overview: Overview) -> None:
        if session is not self._opening:
            return
        if self._session is not None:
            self._session.close()
        self._session, self._opening = session, None
        self._wrong.clear()
        self._tell_wrong()
        session.looked.connect(lambda now: self._looked(session, now))
        self.shots.show_session(session, overview)
        self.work.show_session(overview)
        self._looked(session, overview)
        self._compare()
        if self.shots.isVisible():
            self.shots.slider.setFocus()

    def _refused(self, session: OpenSession, why: str) -> None:
        if session is self._opening:
            self._opening = None
            self._complain("open", why)
            self._lab.notice("warning", f"not opened: {why}")
        session.close()

    def _looked(self, session: OpenSession, overview: Overview) -> None:
        if session is self._session:
            if overview.trouble != self._wrong.get("file", ""):
                self._compare()  # what could not be read may be there again
            self._complain("file", overview.trouble)
            self.shots.grow(overview)
            self.work.show_session(overview)
            self._tell()

    def _have_ticked(self, paths: list[Path]) -> None:
        self._ticked = paths
        self._compare()
        if len(paths) > 1 and self.tabs.currentWidget() is self.shots:
            self.tabs.setCurrentWidget(self.overlay)

    def _compare(self) -> None:
        """Have the ticked runs read, or the open one if none is ticked."""
        paths = self._ticked or ([] if self._session is None else [self._session.path])
        self._worker.ask("compare", lambda: self._runs.read(paths), self._compared, self._not_compared)

    def _compared(self, found: tuple[list[Run], dict[Path, str]]) -> None:
        runs, problems = found
        self._complain("compare", "\n".join(f"{path.name} cannot be compared: {why}" for path, why in problems.items()))
        self.overlay.show_runs(runs)
        self.settings.show_runs(runs)
        self._goes_on = any(run.status == "running" for run in runs)
        self._look_again()

    def _not_compared(self, why: str) -> None:
        self._complain("compare", why)
        self._look_again()

    def _look_again(self) -> None:
        self._timer.stop()
        if self._goes_on and self.isVisible():
            self._timer.start(max(_COMPARE_MS, int(1000 * self._runs.took_s / _SHARE)))

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: D102, N802
        super().showEvent(event)
        if self._goes_on:
            self._compare()

    def hideEvent(self, event: QHideEvent | None) -> None:  # noqa: D102, N802
        self._timer.stop()  # nobody sees the curves
        super().hideEvent(event)

    def _complain(self, about: str, why: str) -> None:
        if self._wrong.get(about, "") == why:
            return
        self._wrong[about] = why
        self._tell_wrong()

    def _tell_wrong(self) -> None:
        texts = [why for why in self._wrong.values() if why]
        self.notice.setText("\n".join(f"▲ {text}" for text in texts))
        self._strip.setVisible(bool(texts))
        self._paint()

    def _tell(self) -> None:
        overview = None if self._session is None else self._session.overview
        if overview is None:
            self.header.setText("Open a session from the table (Enter), or drop a file on the window")
            return
        configuration = overview.configuration
        why = f" ({overview.reason})" if overview.reason and overview.status != Status.SUCCESS else ""
        parts = [
            f"{overview.path.name}: {words.state(overview.status)}{why}",
            f"{overview.shots:,} shots",
            str(configuration.get("task", {}).get("name", "")),
            str(configuration.get("training", {}).get("estimator", "")),
            overview.device,
            f"started {words.moment(overview.started)[:16]}",
        ]
        self.header.setText("  ·  ".join(part for part in parts if part))
        self.header.setToolTip(f"{overview.path}\n{overview.reason}".strip())

    def _paint(self) -> None:
        c = self._lab.theme.colours
        self._strip.setStyleSheet(f"#wrong {{ background: {c['raised']}; border-left: 5px solid {c['warn']}; }}")

    def _keep_splitter(self) -> None:
        self._lab.state.settings.setValue("replay/splitter", self._splitter.saveState())
