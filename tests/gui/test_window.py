"""The whole window: shortcuts, what is dropped on it, how it is closed and opened again."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from signal import SIGTERM, raise_signal

import pytest
from PyQt6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PyQt6.QtGui import QAction, QDropEvent
from PyQt6.QtTest import QTest
from PyQt6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QDialog,
    QFileDialog,
    QLineEdit,
    QMenuBar,
    QStackedWidget,
    QTabBar,
    QTabWidget,
    QWidget,
)
from pytestqt.qtbot import QtBot

from gui.jobs import Job, JobState
from gui.lab import Lab
from gui.main import heed_signals
from gui.state import State
from gui.theme import Mode, Theme
from gui.window import MainWindow
from tests.gui.test_jobs import ENDLESS, SECONDS, over, start, under_way


def reveal(widget: QWidget) -> None:
    """Show a widget: its page, its tab, and the panel that it is in."""
    inner: QWidget | None = widget
    while inner is not None and not inner.isWindow():
        outer = inner.parentWidget()
        if isinstance(outer, QStackedWidget):
            outer.setCurrentWidget(inner)
            if isinstance(tabs := outer.parentWidget(), QTabWidget):
                tabs.setCurrentWidget(inner)
        elif inner.isHidden():
            inner.show()
        inner = outer
    widget.window().show()
    widget.window().activateWindow()


def test_every_shortcut_reaches_its_action(window: MainWindow, lab: Lab, qtbot: QtBot) -> None:
    """Each is pressed where it is meant to work, and does that one thing; what it does is tried elsewhere."""
    assert lab.actions.clashes() == []
    done: list[str] = []

    def note(name: str, _on: bool) -> None:
        done.append(name)

    for action in lab.actions:
        for signal in (action.triggered, action.toggled):
            try:
                signal.disconnect()
            except TypeError:
                continue  # nothing listens
        action.triggered.connect(partial(note, action.objectName()))
    missed = []
    for action in lab.actions:
        # An action of all plots works in each of them.
        places = [place for place in action.associatedObjects() if isinstance(place, QWidget)]
        owner = next(place for place in places if place.window() is window or isinstance(place, QDialog))
        reveal(owner)
        action.setEnabled(True)  # the form may have found out meanwhile that there is nothing to do
        QApplication.processEvents()
        target = owner
        if action.shortcutContext() is not Qt.ShortcutContext.WindowShortcut:
            owner.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
            owner.setFocus(Qt.FocusReason.OtherFocusReason)
            target = QApplication.focusWidget() or owner
        done.clear()
        QTest.keySequence(target, action.shortcut())
        if done != [action.objectName()]:
            missed.append((action.objectName(), action.shortcut().toString(), list(done)))
    assert not missed, "\n".join(map(str, missed))


def test_everything_says_what_it_is(window: MainWindow, lab: Lab) -> None:
    """Inputs and buttons have a tooltip and a name for screen readers; what Qt makes inside of one aside."""
    nameless = []
    made_inside = (QComboBox, QAbstractSpinBox, QLineEdit, QTabBar, QMenuBar, QAbstractItemView)
    for kind in (QAbstractButton, QComboBox, QLineEdit, QAbstractSpinBox, QAbstractItemView):
        for widget in window.findChildren(kind):
            parent = widget.parent()
            if isinstance(parent, made_inside) or isinstance(parent.parent(), made_inside):
                continue
            if not widget.toolTip() or not (widget.accessibleName() or getattr(widget, "text", str)()):
                nameless.append((type(widget).__name__, widget.objectName(), type(widget.parent()).__name__))
    assert not nameless, "\n".join(map(str, nameless))
    for action in lab.actions:
        assert action.shortcut().toString()
        assert action.statusTip()
        assert action.shortcut().toString() in action.toolTip()


def drop(window: MainWindow, *paths: Path) -> None:
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    event = QDropEvent(
        QPointF(QPoint(400, 300)),
        Qt.DropAction.CopyAction,
        data,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    window.dropEvent(event)


@pytest.mark.parametrize(
    "content", [b"", b"not a session at all", b"\x89HDF\r\n\x1a\n" + b"\x00" * 600], ids=["empty", "text", "torn"]
)
def test_a_foreign_file_dropped_on_the_window_is_refused_in_words(
    window: MainWindow, tmp_path: Path, qtbot: QtBot, content: bytes
) -> None:
    foreign = tmp_path / "foreign.h5"
    foreign.write_bytes(content)
    drop(window, foreign)
    qtbot.waitUntil(lambda: "foreign.h5" in window.replay.notice.text() + window.banner.text.text(), timeout=SECONDS)
    assert foreign.read_bytes() == content
    assert window.isVisible()


def test_it_comes_up_again_as_it_was(window: MainWindow, lab: Lab, qapp: QApplication) -> None:
    window.go("Log")
    lab.actions["view.dark"].trigger()
    window.resize(960, 640)
    window.leave()
    again = Lab(State(lab.state.folder), Theme(qapp, Mode(str(lab.state.settings.value("colours")))), standby=False)
    other = MainWindow(again)
    try:
        assert (other.width(), other.height()) == (960, 640)
        assert other.stack.currentWidget() is other.log
        assert again.theme.dark
    finally:
        other.leave()


def test_closing_asks_and_ends_a_run_safely(
    window: MainWindow, lab: Lab, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = start(lab, tmp_path, epochs=ENDLESS)
    under_way(qtbot, job)
    asked: list[list[Job]] = []
    answers = iter(["cancel", "stop"])

    def answer(going: list[Job]) -> str:
        asked.append(going)
        return next(answers)

    monkeypatch.setattr(window, "ask_closing", answer)
    window.close()
    assert window.isVisible()
    assert job.state is JobState.RUNNING
    window.close()
    assert window.isVisible()  # until the run has ended
    qtbot.waitUntil(lambda: not window.isVisible(), timeout=SECONDS)
    assert asked == [[job], [job]]
    assert (job.state, job.report["status"]) == (JobState.STOPPED, "aborted")


def test_a_question_that_is_cancelled_leaves_the_queue_as_it_was(
    window: MainWindow, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = window.runs.queue

    def cancelled(meanwhile: Callable[[], object] = lambda: None) -> tuple[bool, str]:
        monkeypatch.setattr(window, "ask_closing", lambda going: (meanwhile(), "cancel")[1])
        assert window._asked_what_becomes([]) == "cancel"
        return queue.held, queue.why_held

    assert cancelled() == (False, "")
    assert cancelled(lab.actions["rf.off"].trigger) == (True, "RF OFF was pressed")
    assert cancelled() == (True, "RF OFF was pressed")


def test_a_run_may_be_left_going(
    window: MainWindow, lab: Lab, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = start(lab, tmp_path, epochs=ENDLESS)
    under_way(qtbot, job)
    monkeypatch.setattr(window, "ask_closing", lambda going: "leave")
    window.close()
    assert not window.isVisible()
    job.listen()
    assert job.state is JobState.RUNNING
    job.stop()
    qtbot.waitUntil(lambda: job.listen() or job.state.over, timeout=SECONDS)  # type: ignore[func-returns-value]
    assert job.state is JobState.STOPPED


def test_a_signal_closes_at_once_and_asks_nobody(
    window: MainWindow, lab: Lab, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = start(lab, tmp_path, epochs=ENDLESS)
    under_way(qtbot, job)
    monkeypatch.setattr(window, "ask_closing", lambda going: pytest.fail("nobody is there to answer"))
    dialog = QDialog(window)
    dialog.open()
    restore = heed_signals(window)
    try:
        raise_signal(SIGTERM)
    finally:
        restore()
    assert (window.isVisible(), dialog.isVisible()) == (False, False)
    job.listen()
    assert job.state is JobState.RUNNING


def test_damaged_settings_and_a_save_that_fails_keep_no_window_from_opening_and_closing(
    lab: Lab, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("geometry", "page", "runs/splitter", "replay/splitter", "open"):
        lab.state.settings.setValue(key, "abc")
    window = MainWindow(lab)
    window.show()
    closed: list[bool] = []
    close = lab.close
    monkeypatch.setattr(lab, "close", lambda: closed.append(True) or close())
    monkeypatch.setattr(window, "_save", lambda: int("abc"))
    with qtbot.captureExceptions() as errors:
        window.leave()
    assert ([kind for kind, *_ in errors], closed, window.isVisible()) == ([ValueError], [True], False)


def test_the_shortcuts_are_listed_and_found(window: MainWindow, lab: Lab) -> None:
    lab.actions["help.shortcuts"].trigger()
    shown = window._shortcuts
    assert shown is not None
    actions: list[QAction] = list(lab.actions)
    assert shown.list.topLevelItemCount() == len(actions)
    shown.search.setText("rf off")
    visible = [
        item.text(1)
        for row in range(shown.list.topLevelItemCount())
        if (item := shown.list.topLevelItem(row)) is not None and not item.isHidden()
    ]
    assert visible == ["RF OFF"]
    shown.close()


def test_a_failed_job_is_said_in_the_window_and_in_the_log(window: MainWindow, lab: Lab, qtbot: QtBot) -> None:
    job = lab.jobs.start("a look", ["show", "nowhere.h5"])
    over(qtbot, job)
    assert "nowhere.h5" in window.banner.text.text()
    assert window.banner.isVisible()
    lab.actions["banner.close"].trigger()
    assert not window.banner.isVisible()
    window.log.model.take_in()
    lines = [window.log.model.line(row).text for row in range(window.log.model.rowCount())]
    assert lines[0] == "started: labpgt show nowhere.h5"
    assert lines[-1] == "ended: bad input"


def test_pages_and_colours_are_chosen(window: MainWindow, lab: Lab) -> None:
    pages = {
        "page.bench": window.bench,
        "page.runs": window.runs,
        "page.live": window.live,
        "page.replay": window.replay,
        "page.log": window.log,
    }
    for name, page in pages.items():
        lab.actions[name].trigger()
        assert window.stack.currentWidget() is page
        # Its shortcuts work at once, also when the page was chosen with the mouse.
        focus = QApplication.focusWidget()
        assert focus is not None
        assert page.isAncestorOf(focus)
    for name, dark in (("view.dark", True), ("view.light", False), ("view.system", lab.theme.dark)):
        lab.actions[name].trigger()
        assert lab.theme.dark is dark
    lab.actions["view.full"].trigger()
    assert window.isFullScreen()
    lab.actions["view.full"].trigger()
    assert not window.isFullScreen()


def test_files_are_opened_through_dialogs(
    window: MainWindow, lab: Lab, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = start(lab, tmp_path)
    over(qtbot, job)
    chosen: list[str] = [str(tmp_path / "run.h5"), "", str(tmp_path / "run.h5")]
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (chosen.pop(0), ""))
    lab.actions["file.open"].trigger()
    assert window.stack.currentWidget() is window.replay
    qtbot.waitUntil(lambda: "run.h5" in window.replay.header.text(), timeout=SECONDS)
    lab.actions["file.open"].trigger()  # cancelled
    lab.actions["file.configuration"].trigger()
    assert window.stack.currentWidget() is window.runs
    qtbot.waitUntil(lambda: window.runs.form.values().get("task", {}).get("name") == "iris", timeout=SECONDS)
    assert chosen == []


def test_the_run_in_hand_is_paused_and_stopped_from_the_top(
    window: MainWindow, lab: Lab, qtbot: QtBot, tmp_path: Path
) -> None:
    assert not lab.actions["run.stop"].isEnabled()
    job = start(lab, tmp_path, epochs=ENDLESS)
    under_way(qtbot, job)
    assert "running" in window.top.title.text()
    assert window.top.bar.format().endswith("%")
    lab.actions["run.pause"].trigger()
    qtbot.waitUntil(lambda: job.state is JobState.PAUSED, timeout=SECONDS)
    assert lab.actions["run.pause"].text() == "Go on"
    lab.actions["run.pause"].trigger()
    qtbot.waitUntil(lambda: job.state is JobState.RUNNING, timeout=SECONDS)
    lab.actions["run.stop"].trigger()
    over(qtbot, job)
    assert "stopped" in window.top.title.text()
    assert not lab.actions["run.pause"].isEnabled()


def test_quitting_closes(window: MainWindow, lab: Lab) -> None:
    lab.actions["file.quit"].trigger()
    assert not window.isVisible()


def test_every_action_is_done_in_some_test(window: MainWindow, lab: Lab) -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.rglob("*.py"))
    kinds = set(re.findall(r'\bf"([a-z]+[.-](?:[a-z]+[.-])?)\{', text))
    """Some tests go through all of a kind, whose names they have in a list."""

    def tried(name: str) -> bool:
        return f'"{name}"' in text or any(f'"{name.removeprefix(kind)}"' in text for kind in kinds if kind in name)

    untried = [action.objectName() for action in lab.actions if not tried(action.objectName())]
    assert not untried, "\n".join(untried)
