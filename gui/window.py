"""The window: pages beside each other, what is always in view above them, and how it is opened and closed."""

import logging
import sys
from pathlib import Path

from PyQt6.QtCore import QByteArray, Qt, QTimer
from PyQt6.QtGui import QActionGroup, QCloseEvent, QDragEnterEvent, QDropEvent
from PyQt6.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QMainWindow,
    QMessageBox,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from gui.banner import Banner
from gui.bench import BenchPage
from gui.focus import FocusFrames
from gui.jobs import Job
from gui.lab import Lab
from gui.live import LivePage
from gui.log import LogPage
from gui.log.model import Handler, LogModel
from gui.replay import ReplayPage
from gui.rf_strip import RfInDialogs
from gui.runs.page import RunsPage
from gui.shortcuts import Shortcuts
from gui.theme import Mode
from gui.top_bar import TopBar

_PAGES = ("Bench", "Runs", "Live", "Replay", "Log")
_TIPS = (
    "Instruments, their state and RF",
    "The next run and the queue",
    "What a run does now",
    "Recorded sessions, shot by shot",
    "What has happened",
)
_ASKED_AGAIN = "asked again and again"
"""In what a run says when it waits for a device that is ill."""
CLOSING_MS = 100
"""Between two looks whether everything has ended."""
_RF_LOOKS = 50
"""So many looks RF gets to be off before the window says that it is not, and stays."""


class MainWindow(QMainWindow):
    """labpgt's window. Runs are processes of their own: what happens to the window does not happen to them."""

    def __init__(self, lab: Lab) -> None:
        super().__init__()
        self.lab = lab
        self.setWindowTitle("labpgt")
        self.setAcceptDrops(True)
        self.setMinimumSize(960, 600)
        self.log = LogPage(lab, LogModel(lab.theme, lab.state.log, self))
        self.banner = Banner(lab.actions, lab.theme)
        self.top = TopBar(lab)
        self.bench = BenchPage(lab)
        self.runs = RunsPage(lab)
        self.live = LivePage(lab)
        self.replay = ReplayPage(lab)
        self._build()
        self._build_menus()
        self._shortcuts: Shortcuts | None = None
        self._handler = Handler(self.log.model.add)
        logging.getLogger("labpgt").addHandler(self._handler)
        lab.noticed.connect(self._notice)
        lab.live_wanted.connect(self.show_live)
        lab.replay_wanted.connect(self.open_session)
        lab.configuration_wanted.connect(lambda _path: self.go("Runs"))
        lab.device_wanted.connect(lambda _device: self.go("Runs"))
        lab.jobs.started.connect(self._watch)
        self._closing = QTimer(self)
        self._closing.setInterval(CLOSING_MS)
        self._closing.timeout.connect(self._close_when_over)
        self._looks_left = _RF_LOOKS
        self._may_close = False
        self._warned_of_rf = False
        self._rf_in_dialogs = RfInDialogs(lab, self)
        self._focus = FocusFrames(lab.theme, self)
        self._restore()

    def leave(self) -> None:
        """Close at once, without asking: runs go on."""
        self._may_close = True
        self.close()

    def go(self, name: str) -> None:
        """Show a page by its name."""
        self.pages.setCurrentRow(_PAGES.index(name))

    def show_live(self, path: Path) -> None:
        """Show a session on the page of live plots."""
        self.live.show_session(path)
        self.go("Live")

    def open_session(self, path: Path) -> None:
        """Open a session on the page of recorded runs."""
        self.replay.open_session(path)
        self.go("Replay")

    def _build(self) -> None:
        self.pages = QListWidget(objectName="pages")
        self.pages.setAccessibleName("Pages")
        self.pages.setToolTip("Pages of this window")
        self.stack = QStackedWidget()
        actions = self.lab.actions
        for number, (name, tip) in enumerate(zip(_PAGES, _TIPS, strict=True)):
            item = QListWidgetItem(name)
            item.setToolTip(f"{tip} (Ctrl+{number + 1})")
            self.pages.addItem(item)
            self.stack.addWidget((self.bench, self.runs, self.live, self.replay, self.log)[number])
            actions.add(
                self, f"page.{name.lower()}", name, f"Ctrl+{number + 1}", tip, lambda name=name: self.go(name),
                anywhere=True,
            )  # fmt: skip
        font = self.pages.font()
        font.setPointSizeF(font.pointSizeF() * 1.15)
        self.pages.setFont(font)
        self.pages.setSpacing(4)
        self.pages.setFixedWidth(self.pages.fontMetrics().horizontalAdvance("Replay") + 44)
        self.pages.currentRowChanged.connect(self._show_page)
        middle = QWidget()
        row = QHBoxLayout(middle)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        row.addWidget(self.pages)
        row.addWidget(self.stack, 1)
        whole = QWidget()
        column = QVBoxLayout(whole)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.top)
        column.addWidget(self.banner)
        column.addWidget(middle, 1)
        self.setCentralWidget(whole)
        bar = self.statusBar()
        assert bar is not None
        self.desk_state = QLabel("desk: not started", objectName="state.desk")
        self.standby_state = QLabel("", objectName="state.standby")
        for label in (self.standby_state, self.desk_state):
            bar.addPermanentWidget(label)
        self.desk_state.setToolTip("The process that knows devices and checks configurations")
        self.standby_state.setToolTip("The process that has torch and kernels loaded for the next run")
        self.lab.desk.state_changed.connect(lambda state: self.desk_state.setText(f"desk: {state}"))
        self.lab.jobs.standby_changed.connect(self.standby_state.setText)

    def _build_menus(self) -> None:
        menus = self.menuBar()
        assert menus is not None
        actions = self.lab.actions
        file, view, run, help_ = (menus.addMenu(name) for name in ("&File", "&View", "&Run", "&Help"))
        assert file is not None
        assert view is not None
        assert run is not None
        assert help_ is not None
        add = actions.add
        file.addAction(
            add(self, "file.open", "Open session…", "Ctrl+O", "Open a recorded or running session", self._open,
                anywhere=True)
        )  # fmt: skip
        file.addAction(
            add(self, "file.configuration", "Open configuration…", "Ctrl+Shift+I",
                "Fill the form of the next run from a TOML file or a session", self._open_configuration, anywhere=True)
        )  # fmt: skip
        file.addSeparator()
        file.addAction(
            add(self, "file.quit", "Quit", "Ctrl+Q", "Close the window; asks what becomes of a run", self.close,
                anywhere=True)
        )  # fmt: skip
        for name in _PAGES:
            view.addAction(actions[f"page.{name.lower()}"])
        view.addSeparator()
        group = QActionGroup(self)
        for mode, keys in zip(Mode, ("Ctrl+Alt+S", "Ctrl+Alt+L", "Ctrl+Alt+D"), strict=True):
            action = add(
                self, f"view.{mode}", f"{mode.capitalize()} colours", keys, f"Use {mode} colours",
                lambda on, mode=mode: self._choose_colours(mode) if on else None, checkable=True, anywhere=True,
            )  # fmt: skip
            action.setChecked(mode is self.lab.theme.mode)
            group.addAction(action)
            view.addAction(action)
        view.addAction(
            add(self, "view.full", "Full screen", "F11", "Fill the screen, or leave it again", self._full_screen,
                anywhere=True)
        )  # fmt: skip
        for name in ("rf.off", "run.pause", "run.stop"):
            run.addAction(actions[name])
        help_.addAction(
            add(self, "help.shortcuts", "Shortcuts", "F1", "List every action with its shortcut", self._show_shortcuts,
                anywhere=True)
        )  # fmt: skip
        help_.addAction(actions["log.folder"])

    def _show_page(self, row: int) -> None:
        self.stack.setCurrentIndex(row)
        page = self.stack.currentWidget()
        assert page is not None
        page.activate()  # type: ignore[attr-defined]

    def _notice(self, level: str, text: str) -> None:
        self.log.add(level, text)
        if level != "info":
            self.banner.tell(level, text)

    def _watch(self, job: Job) -> None:
        self.log.add("info", f"started: labpgt {' '.join(job.argv)}", job.title)
        job.said.connect(lambda level, text: self._said(job, level, text))
        job.ended.connect(lambda: self._ended(job))
        # What a run does now; whoever has chosen another that goes on keeps it.
        if job.session is not None and not self.live.goes_on:
            self.live.show_session(job.session)

    def _ended(self, job: Job) -> None:
        self.log.add("info", f"ended: {job.outcome}", job.title)
        if job.session is not None and job.session == self.live.path and not job.session.exists():
            # It was refused before its first shot: nothing will come, and the next run shall be shown.
            self.live.close_session()
            self.live.tell("error", f"{job.title} has taken no shot: {job.message}")

    def _said(self, job: Job, level: str, text: str) -> None:
        self.log.add(level, text, job.title)
        if level == "error" or _ASKED_AGAIN in text:
            self.banner.tell(level, f"{job.title}: {text}")

    def _open(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open session", str(self.lab.sessions), "Sessions (*.h5);;All (*)")
        if path:
            self.open_session(Path(path))

    def _open_configuration(self) -> None:
        kinds = "Configurations and sessions (*.toml *.h5);;All (*)"
        path, _ = QFileDialog.getOpenFileName(self, "Open configuration", str(Path.cwd()), kinds)
        if path:
            self.lab.configuration_wanted.emit(Path(path))

    def _choose_colours(self, mode: Mode) -> None:
        self.lab.theme.choose(mode)
        self.lab.state.settings.setValue("colours", str(mode))

    def _full_screen(self) -> None:
        self.setWindowState(self.windowState() ^ Qt.WindowState.WindowFullScreen)

    def _show_shortcuts(self) -> None:
        if self._shortcuts is None:
            self._shortcuts = Shortcuts(self.lab.actions, self)
        self._shortcuts.show()
        self._shortcuts.raise_()

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:  # noqa: N802  # Qt's own
        """Take files."""
        data = event.mimeData() if event is not None else None
        if event is not None and data is not None and any(url.isLocalFile() for url in data.urls()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:  # noqa: N802
        """Open what was dropped: a configuration fills the form, anything else is taken for a session."""
        data = event.mimeData() if event is not None else None
        for url in data.urls() if data is not None else ():
            path = Path(url.toLocalFile())
            if path.suffix.lower() == ".toml":
                self.lab.configuration_wanted.emit(path)
            else:
                self.open_session(path)

    def closeEvent(self, event: QCloseEvent | None) -> None:  # noqa: N802
        """Close; while something runs, ask what becomes of it first."""
        assert event is not None
        if not self._may_close:
            self._may_close = self._agreed_to_close()
        if not self._may_close:
            event.ignore()
            return
        self._closing.stop()
        logging.getLogger("labpgt").removeHandler(self._handler)
        for page in (self.bench, self.runs, self.live, self.replay):
            page.close()
        self.lab.close()
        self.log.model.close()
        event.accept()
        try:
            self._save()
        except Exception:  # nothing of it is worth a window that does not close
            sys.excepthook(*sys.exc_info())

    def _agreed_to_close(self) -> bool:
        """Return whether the window may close now; it may close later, when everything has ended."""
        if self._closing.isActive():
            return False
        going = self.lab.jobs.working
        if going:
            choice = self._asked_what_becomes(going)
            if choice != "stop":
                return choice == "leave"
            for job in going:
                job.stop()
        if not going and (self._warned_of_rf or not self.lab.rf.unsettled):
            return True
        self._looks_left = _RF_LOOKS
        self.banner.tell("info", "Closing: ending safely, RF off first. Stop (F9) once more ends a run at once.")
        self._closing.start()
        self._close_when_over()
        return False

    def _asked_what_becomes(self, going: list[Job]) -> str:
        """Ask it; nothing starts while the question is open, and a cancelled one leaves the queue as it was."""
        queue = self.runs.queue
        held, why = queue.held, queue.why_held
        queue.hold(why if held else "the window is closing")
        own = queue.times_held
        choice = self.ask_closing(going)
        # RF OFF in the question, or a run that failed meanwhile, holds it as well: that stands.
        if choice == "cancel" and not held and queue.times_held == own:
            queue.release()
        return choice

    def ask_closing(self, going: list[Job]) -> str:
        """Ask what becomes of what runs: "stop", "leave" or "cancel"."""
        box = QMessageBox(self)
        box.setObjectName("closing")
        box.setIcon(QMessageBox.Icon.Question)
        box.setWindowTitle("Close labpgt")
        names = "\n".join(f"• {job.title} ({job.state})" for job in going)
        box.setText(f"Still going on:\n{names}")
        box.setInformativeText(
            "Stopped, it ends after the device call in hand, with RF off, and can be resumed. Left alone, it goes on "
            "without a window; the next window finds it again."
        )
        stop = box.addButton("&Stop it and close", QMessageBox.ButtonRole.AcceptRole)
        leave = box.addButton("&Leave it going", QMessageBox.ButtonRole.DestructiveRole)
        box.addButton("&Cancel", QMessageBox.ButtonRole.RejectRole)
        box.setDefaultButton(stop)
        box.exec()
        clicked = box.clickedButton()
        return "stop" if clicked is stop else "leave" if clicked is leave else "cancel"

    def _close_when_over(self) -> None:
        """Close when every run has ended and RF is off; where that cannot be, say so and stay until told again."""
        if self.lab.jobs.working:
            return
        if unsettled := self.lab.rf.unsettled:
            if self._looks_left == _RF_LOOKS:
                self.lab.rf.settle()
            self._looks_left -= 1
            if self._looks_left:
                return
            self._closing.stop()
            self._warned_of_rf = True
            names = ", ".join(bench.name for bench in unsettled)
            text = (
                f"RF of {names} is not known to be off: look at the instruments. Close once more to leave all the same"
            )
            self._notice("error", text)
            return
        self._may_close = True
        self.close()

    def _restore(self) -> None:
        settings = self.lab.state.settings
        geometry = settings.value("geometry")
        if not isinstance(geometry, QByteArray) or not self.restoreGeometry(geometry):
            self.resize(1280, 720)
        name = str(settings.value("page", _PAGES[0]))
        self.go(name if name in _PAGES else _PAGES[0])

    def _save(self) -> None:
        settings = self.lab.state.settings
        settings.setValue("geometry", self.saveGeometry())
        settings.setValue("page", _PAGES[self.pages.currentRow()])
        self.lab.state.ends()
