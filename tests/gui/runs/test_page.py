"""The page of runs, by its buttons and shortcuts: from a form to runs in the queue."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PyQt6.QtCore import QMimeData, QPointF, Qt, QUrl
from PyQt6.QtGui import QDropEvent
from PyQt6.QtTest import QTest
from PyQt6.QtWidgets import QComboBox, QFileDialog, QLabel, QLineEdit, QSpinBox, QToolButton
from pytestqt.qtbot import QtBot

from gui.form import checking
from gui.jobs import JobState
from gui.lab import Lab
from gui.runs.entry import Entry
from gui.runs.page import RunsPage
from tests.gui.desks import DeskInPlace
from tests.gui.runs.conftest import Scripted

Press = Callable[[str], None]


@pytest.fixture
def desk(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> DeskInPlace:
    desk = DeskInPlace()
    monkeypatch.setattr(lab.desk, "ask", desk)
    monkeypatch.setattr(checking, "CHECK_MS", 0)
    monkeypatch.setattr(checking, "ESTIMATE_MS", 0)
    return desk


@pytest.fixture
def page(scripted: Scripted, lab: Lab, desk: DeskInPlace, qtbot: QtBot) -> RunsPage:
    page = RunsPage(lab)
    qtbot.addWidget(page)
    page.form.load({"device": {"name": "echo-state-ring"}})
    page.resize(1280, 620)
    page.show()
    page.activate()
    with qtbot.waitSignal(page.checker.checked):
        page.form.changed.emit()
    return page


@pytest.fixture
def press(page: RunsPage, qtbot: QtBot) -> Press:
    """Press the button of an action, which must be there and on."""

    def press(name: str) -> None:
        button = page.findChild(QToolButton, f"button:{name}")
        assert button is not None
        assert button.isEnabled()
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)

    return press


def _write(page: RunsPage, name: str, text: str) -> None:
    editor = page.findChild(QLineEdit, name)
    assert editor is not None
    editor.setText(text)


def _label(page: RunsPage, name: str) -> str:
    label = page.findChild(QLabel, name)
    assert label is not None
    return label.text()


def _standings(page: RunsPage) -> list[str]:
    return [str(entry.standing) for entry in page.queue.entries]


def test_start_runs_what_is_in_the_form_before_what_waits(
    page: RunsPage, press: Press, scripted: Scripted, qtbot: QtBot, tmp_path: Path
) -> None:
    press("queue.hold")
    press("run.add")
    _write(page, "training.epochs", "7")
    scripted.then(until=tmp_path / "go")
    press("run.start")
    qtbot.waitUntil(lambda: len(page.queue.going) == 1)
    assert page.queue.held  # this one alone was asked for
    first, second = page.queue.entries
    assert first.config == {"device": {"name": "echo-state-ring"}, "training": {"epochs": 7}}
    assert second.standing is JobState.WAITING
    assert page.panel.selected is first
    (tmp_path / "go").touch()
    qtbot.waitUntil(lambda: _standings(page) == ["done", "waiting"])
    press("queue.hold")
    qtbot.waitUntil(lambda: _standings(page) == ["done", "done"])
    press("queue.clear")
    assert page.queue.entries == []


def test_what_is_pressed_twice_while_the_desk_is_busy_is_one_run(
    page: RunsPage, lab: Lab, press: Press, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Callable[[dict[str, Any]], None]] = []
    monkeypatch.setattr(lab.desk, "ask", lambda _do, then, *_, **_words: asked.append(then))
    press("queue.hold")
    before = _label(page, "form-told")
    for _ in range(2):
        lab.actions["run.add"].trigger()
        assert _label(page, "form-told") == "Checking before it goes into the queue…"
    (answered,) = asked
    answered({"problems": {}})
    assert len(page.queue.entries) == 1
    assert _label(page, "form-told") == before
    lab.actions["run.add"].trigger()
    assert len(asked) == 2


def test_nothing_starts_with_a_problem_and_the_way_leads_to_it(page: RunsPage, lab: Lab, qtbot: QtBot) -> None:
    _write(page, "training.optimizer", "Adam")
    _write(page, "network.pre", "nonsense")  # only the check knows
    lab.actions["run.start"].trigger()
    assert page.queue.entries == []
    pre = page.form.row("network.pre")
    assert pre is not None
    qtbot.waitUntil(lambda: page.focusWidget() is pre.editor)
    assert "module:function" in pre.problem
    assert _label(page, "form-told") == "✕ 1 problem: nothing can be started yet"
    _write(page, "training.batch", "x")  # the form itself knows
    lab.actions["run.add"].trigger()
    assert page.queue.entries == []
    batch = page.form.row("training.batch")
    assert batch is not None
    qtbot.waitUntil(lambda: page.focusWidget() is batch.editor)
    lab.actions["form.problem"].trigger()
    qtbot.waitUntil(lambda: page.focusWidget() is pre.editor)


def test_without_a_desk_a_run_checks_itself(page: RunsPage, lab: Lab, desk: DeskInPlace, press: Press) -> None:
    said: list[str] = []
    lab.noticed.connect(lambda _level, text: said.append(text))
    desk.refuse = "the desk is not running"
    press("run.start")
    assert len(page.queue.entries) == 1
    assert any("not checked" in text and "the desk is not running" in text for text in said)


def test_the_estimate_stands_beside_the_start(page: RunsPage, desk: DeskInPlace, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: "964 shots" in _label(page, "form-estimate"))
    text = _label(page, "form-estimate")
    assert text == (
        "about 2 s: 964 shots (480 training, at most 64 calibration, 120 baseline, 300 evaluation) in 60 steps; "
        "339 parameters; two timed passes of 8 shots"
    )
    assert _label(page, "form-told") == "✓ In order"


def test_a_sweep_adds_a_run_for_each_combination_once_all_are_in_order(
    page: RunsPage, lab: Lab, press: Press, qtbot: QtBot
) -> None:
    press("queue.hold")
    _write(page, "training.seed", "5")
    press("run.sweep")
    keys = [page.sweep.findChild(QComboBox, f"sweep-key-{n}") for n in (1, 2)]
    values = [page.sweep.findChild(QLineEdit, f"sweep-values-{n}") for n in (1, 2)]
    seeds = page.sweep.findChild(QSpinBox, "sweep-seeds")
    assert all(keys)
    assert all(values)
    assert seeds is not None
    told = page.sweep.told
    assert not lab.actions["sweep.add"].isEnabled()
    for key, name in zip(keys, ("network.hidden", "network.pre"), strict=True):
        key.setCurrentText(name)  # type: ignore[union-attr]
    values[0].setText("[], [8, 8]")  # type: ignore[union-attr]
    assert told.text() == "network.pre: write its values with commas between"
    values[1].setText("nonsense, mine:build")  # type: ignore[union-attr]
    seeds.setValue(2)
    assert told.text() == "8 runs"
    lab.actions["sweep.add"].trigger()
    assert "network.pre: must name a function" in told.text()
    assert page.queue.entries == []
    keys[1].setCurrentText("training.batch")  # type: ignore[union-attr]
    values[1].setText("2, 0")  # type: ignore[union-attr]
    assert told.text() == "training.batch = 0: must be at least 1"
    values[1].setText("2, 4, 2")  # type: ignore[union-attr]
    assert told.text() == "training.batch = 2: give each value once"
    values[1].setText("2, 4")  # type: ignore[union-attr]
    lab.actions["sweep.add"].trigger()
    assert not page.sweep.isVisible()
    notes = [entry.note for entry in page.queue.entries]
    assert len(notes) == 8
    assert notes[:3] == [
        "hidden = [], batch = 2, seed = 5",
        "hidden = [], batch = 2, seed = 6",
        "hidden = [], batch = 4, seed = 5",
    ]
    assert page.queue.entries[-1].config == {
        "network": {"hidden": [8, 8]},
        "device": {"name": "echo-state-ring"},
        "training": {"seed": 6, "batch": 4},
    }


def test_the_form_is_filled_from_presets_files_sessions_and_entries(
    page: RunsPage, lab: Lab, press: Press, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    presets = page.findChild(QComboBox, "form-presets")
    assert presets is not None
    number = presets.findText("hidden-xor")
    assert "XOR" in str(presets.itemData(number, Qt.ItemDataRole.ToolTipRole))
    presets.setCurrentIndex(number)
    presets.activated.emit(number)
    assert page.form.values()["task"] == {"name": "hidden-xor"}
    press("queue.hold")
    press("run.add")

    place = tmp_path / "mine.toml"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(place), ""))
    press("form.save")
    saved = page.form.values()
    assert tomllib.loads(place.read_text()) == saved
    press("form.clear")
    assert page.form.values() == {}
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(place), ""))
    press("form.open")
    qtbot.waitUntil(lambda: page.form.values() == saved)

    session = Path(__file__).parents[2] / "labpgt" / "sessions" / "schema-1-success.h5"
    lab.configuration_wanted.emit(session)
    qtbot.waitUntil(lambda: page.form.values() != saved)
    press("queue.edit")
    assert page.form.values() == saved


def test_a_configuration_can_be_dropped_on_the_page_and_nothing_else(
    page: RunsPage, lab: Lab, qtbot: QtBot, tmp_path: Path
) -> None:
    (tmp_path / "mine.toml").write_text("training.batch = 9")

    def drop(name: str) -> bool:
        data = QMimeData()
        data.setUrls([QUrl.fromLocalFile(str(tmp_path / name))])
        buttons, keys = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
        event = QDropEvent(QPointF(5, 5), Qt.DropAction.CopyAction, data, buttons, keys)
        event.setAccepted(False)
        page.dropEvent(event)
        return event.isAccepted()

    assert not drop("run.h5")
    assert drop("mine.toml")
    qtbot.waitUntil(lambda: page.form.values() == {"training": {"batch": 9}})
    (tmp_path / "mine.toml").write_text("training = ")
    with qtbot.waitSignal(lab.noticed) as told:
        drop("mine.toml")
    assert told.args is not None
    assert told.args[0] == "error"
    assert "no valid TOML" in told.args[1]


def test_the_run_in_hand_is_paused_goes_on_and_is_stopped(
    page: RunsPage,
    lab: Lab,
    press: Press,
    scripted: Scripted,
    qtbot: QtBot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scripted.then({"say": "begun"}, until=tmp_path / "never")
    press("run.start")
    qtbot.waitUntil(lambda: _standings(page) == ["running"])
    (entry,) = page.queue.entries
    job = entry.job
    assert job is not None
    asked: list[str] = []
    monkeypatch.setattr(job, "pause", lambda: asked.append("pause"))
    monkeypatch.setattr(job, "go_on", lambda: asked.append("go on"))
    press("queue.pause")
    for line in ('{"progress": {"description": "training"}}', '{"progress": {"description": "waiting"}}'):
        job._line(line)
    job.said.emit("warning", "paused")
    assert entry.standing is JobState.PAUSED
    assert lab.actions["queue.pause"].text() == "Go on"
    press("queue.pause")
    assert asked == ["pause", "go on"]
    press("queue.stop")
    qtbot.waitUntil(lambda: _standings(page) == ["stopped"])
    press("queue.retry")
    qtbot.waitUntil(lambda: _standings(page) == ["done"])


def test_a_run_is_shown_live_by_its_button_and_by_a_double_click(
    page: RunsPage, lab: Lab, press: Press, qtbot: QtBot
) -> None:
    shown: list[Path] = []
    lab.live_wanted.connect(shown.append)
    press("run.start")
    qtbot.waitUntil(lambda: _standings(page) == ["done"])
    (entry,) = page.queue.entries
    entry.session = lab.sessions / "run.h5"
    page.panel._follow()
    press("queue.live")
    view = page.panel.view
    where = view.visualRect(page.queue.index_of(entry)).center()
    qtbot.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=where)
    qtbot.mouseDClick(view.viewport(), Qt.MouseButton.LeftButton, pos=where)
    assert shown == [entry.session, entry.session]


def test_entries_are_moved_and_taken_out_by_shortcuts_and_buttons(
    page: RunsPage, lab: Lab, press: Press, qtbot: QtBot
) -> None:
    press("queue.hold")
    page.queue.add([Entry({}, name) for name in "abc"])
    page.panel.select(page.queue.entries[0])
    page.panel.view.setFocus()
    shift = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier
    qtbot.keyClick(page.panel.view, Qt.Key.Key_Down, shift)
    assert [entry.note for entry in page.queue.entries] == ["b", "a", "c"]
    qtbot.keyClick(page.panel.view, Qt.Key.Key_Up, shift)
    assert [entry.note for entry in page.queue.entries] == ["a", "b", "c"]
    qtbot.keyClick(page.panel.view, Qt.Key.Key_X, shift)
    assert [entry.note for entry in page.queue.entries] == ["b", "c"]
    press("queue.down")
    assert [entry.note for entry in page.queue.entries] == ["c", "b"]
    press("queue.up")
    assert [entry.note for entry in page.queue.entries] == ["b", "c"]
    press("queue.remove")
    assert [entry.note for entry in page.queue.entries] == ["c"]
    qtbot.keyClick(page.panel.view, Qt.Key.Key_H, shift)
    qtbot.waitUntil(lambda: _standings(page) == ["done"])


def test_a_field_is_found_and_only_what_is_changed_is_shown(
    page: RunsPage, lab: Lab, press: Press, qtbot: QtBot
) -> None:
    def in_view() -> list[str]:
        return [row.field.name for row in page.form if row.isVisible()]

    lab.actions["form.find"].trigger()
    qtbot.waitUntil(page.search.hasFocus)
    qtbot.keyClicks(page.search, "learning rate")
    assert in_view() == ["training.learning_rate"]
    page.search.clear()
    _write(page, "training.batch", "8")
    press("form.changed-only")
    assert in_view() == ["device.name", "training.batch"]
    press("form.changed-only")
    assert len(in_view()) > 20


def test_a_sweep_may_be_left(page: RunsPage, lab: Lab, press: Press) -> None:
    press("run.sweep")
    assert page.sweep.isVisible()
    lab.actions["sweep.leave"].trigger()
    assert not page.sweep.isVisible()
    assert page.queue.entries == []


def test_the_form_is_as_it_was_at_the_next_start(page: RunsPage, lab: Lab, qtbot: QtBot) -> None:
    _write(page, "training.batch", "8")
    with qtbot.waitSignal(page.checker.checked):
        pass
    page.splitter.moveSplitter(500, 1)
    values, sizes = page.form.values(), page.splitter.sizes()
    page.hide()
    lab.actions._actions.clear()  # those of the window that is gone
    later = RunsPage(lab)
    qtbot.addWidget(later)
    later.resize(page.size())
    later.show()
    assert later.form.values() == values
    assert later.splitter.sizes() == sizes


def test_every_action_says_what_it_does(page: RunsPage, lab: Lab) -> None:
    for action in lab.actions:
        assert action.toolTip().endswith(")")
        assert len(action.statusTip()) > 8
    for button in page.findChildren(QToolButton):
        if button.objectName().partition(":")[0] in ("button", "reset", "browse", "heading"):
            assert button.defaultAction() in list(lab.actions)
            assert button.accessibleName()


def test_tab_goes_as_one_reads_also_through_rows_that_came_later(page: RunsPage, qtbot: QtBot) -> None:
    page.form.load({"device": {"name": "magnonic-ring"}})
    qtbot.waitUntil(lambda: page.form.row("device.bench") is not None)
    qtbot.waitUntil(page.form.row("device.bench").editor.isVisible)
    page.activateWindow()
    page.presets.setFocus()
    qtbot.waitUntil(page.presets.hasFocus)
    names: list[str] = []
    while (focus := page.focusWidget()) is not None and focus.objectName() not in names:
        names.append(focus.objectName())
        QTest.keyClick(focus, Qt.Key.Key_Tab)
    wanted = [
        *("form-presets", "form-search", "button:form.changed-only", "button:form.open", "heading:task", "task.name"),
        *("device.name", "device.bench", "heading:training", "button:run.start", "queue"),
    ]
    assert [name for name in names if name in wanted] == wanted
