"""The form: what is entered, what is left to defaults, and problems beside the fields."""

import json
import tomllib

import pytest
import tomlkit
from PyQt6.QtCore import QPoint, QPointF, Qt
from PyQt6.QtGui import QWheelEvent
from PyQt6.QtWidgets import QApplication, QFileDialog, QLabel, QToolButton
from pytestqt.qtbot import QtBot

from gui.form import checking
from gui.form.checking import Checker
from gui.form.editors import ChoiceEditor, LineEditor, YesNoEditor
from gui.form.form import ConfigForm
from gui.form.row import CHANGED, WRONG, Row
from gui.lab import Lab
from gui.theme import Mode
from labpgt.config import Config
from tests.gui.desks import DeskInPlace


class Shown:
    """A form that is checked by the real answers of a desk."""

    def __init__(self, lab: Lab, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
        self.desk = DeskInPlace()
        monkeypatch.setattr(lab.desk, "ask", self.desk)
        monkeypatch.setattr(checking, "CHECK_MS", 0)
        monkeypatch.setattr(checking, "ESTIMATE_MS", 0)
        self.form = ConfigForm(lab)
        qtbot.addWidget(self.form)
        self.form.load({"device": {"name": "echo-state-ring"}})
        self.checker = Checker(self.form, lab.desk, lambda: lab.sessions)
        self._qtbot = qtbot
        self.form.resize(800, 600)
        self.form.show()
        self.settle()

    def settle(self) -> None:
        with self._qtbot.waitSignal(self.checker.checked):
            self.form.changed.emit()

    def row(self, name: str) -> Row:
        row = self.form.row(name)
        assert row is not None
        return row

    def write(self, name: str, text: str) -> None:
        editor = self.row(name).editor
        assert isinstance(editor, LineEditor)
        editor.setText(text)

    def label(self, name: str) -> QLabel:
        label = self.form.findChild(QLabel, name)
        assert label is not None
        return label


@pytest.fixture
def shown(lab: Lab, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> Shown:
    return Shown(lab, qtbot, monkeypatch)


def test_only_what_was_entered_is_given_to_a_run(shown: Shown) -> None:
    assert shown.form.values() == {"device": {"name": "echo-state-ring"}}
    shown.write("training.batch", "8")
    shown.write("device.feedback", "0.7")
    standardize = shown.row("task.standardize").editor
    assert isinstance(standardize, YesNoEditor)
    standardize.click()
    assert shown.form.values() == {
        "task": {"standardize": False},
        "device": {"name": "echo-state-ring", "feedback": 0.7},
        "training": {"batch": 8},
    }
    shown.write("training.batch", "")
    assert "training" not in shown.form.values()


def test_the_default_is_shown_where_nothing_is_entered(shown: Shown) -> None:
    batch = shown.row("training.batch")
    assert isinstance(batch.editor, LineEditor)
    assert batch.editor.placeholderText() == "4"
    assert "1 to 4,096" in batch.help.text()
    shown.write("training.batch", "8")
    assert batch.label.text().startswith(CHANGED)
    shown.write("training.batch", "4")  # the default, but given
    assert not batch.label.text().startswith(CHANGED)
    assert shown.form.values()["training"] == {"batch": 4}
    target = shown.row("training.target_loss").editor
    assert isinstance(target, LineEditor)
    assert target.placeholderText() == "not set, e.g. 0.0221"


def test_a_device_that_fills_in_its_own_defaults_has_them_shown(shown: Shown) -> None:
    shown.form.load({"device": {"name": "envelope-ring"}})
    shown.settle()
    gain = shown.row("device.gain").editor
    assert isinstance(gain, LineEditor)
    assert gain.placeholderText() == "0.2"
    assert shown.row("device.carrier_hz").unit.text() == "Hz = 3.205 GHz"
    shown.write("device.preset", "max-memory")
    shown.settle()
    assert gain.placeholderText() == "0.9"
    assert shown.row("device.carrier_hz").unit.text() == "Hz = 3.126 GHz"
    assert shown.form.values() == {"device": {"name": "envelope-ring", "preset": "max-memory"}}


def test_problems_stand_beside_their_fields_and_in_the_heading(shown: Shown, lab: Lab) -> None:
    shown.write("training.batch", "0")
    error = shown.label("error:training.batch")
    assert error.isVisible()  # at once
    assert error.text() == f"{WRONG} must be at least 1"
    shown.write("network.pre", "nonsense")
    assert shown.label("error:network.pre").isHidden()
    name = shown.row("task.name").editor
    assert isinstance(name, ChoiceEditor)
    name.give("csv")
    shown.settle()
    assert shown.label("error:network.pre").text() == f'{WRONG} must name a function as "module:function"'
    assert shown.label("note:task").text() == f'{WRONG} path must be given when name = "csv": the file to read'
    assert "1 wrong" in lab.actions["form.section-training"].iconText()
    before = error.palette().color(error.foregroundRole())
    lab.theme.choose(Mode.DARK)
    assert error.palette().color(error.foregroundRole()) == lab.theme.colour("error") != before
    for section in ("training.batch", "network.pre"):
        shown.write(section, "")
    name.forget()
    shown.settle()
    assert shown.form.problems == []
    assert shown.label("note:task").isHidden()


def test_a_field_gets_its_default_again_by_its_button_and_by_its_shortcut(shown: Shown, lab: Lab, qtbot: QtBot) -> None:
    shown.write("training.batch", "8")
    shown.write("training.epochs", "9")
    button = shown.form.findChild(QToolButton, "reset:training.batch")
    assert button is not None
    button.click()
    assert shown.form.values()["training"] == {"epochs": 9}
    shown.form.go_to(shown.row("training.epochs"))
    qtbot.waitUntil(lambda: QApplication.focusWidget() is shown.row("training.epochs").editor)
    lab.actions["form.reset-field"].trigger()
    assert "training" not in shown.form.values()


def test_a_file_is_found_by_a_dialog(shown: Shown, lab: Lab, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = ["/lab/samples.csv", "/lab/others.csv", ""]
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (chosen.pop(0), ""))
    button = shown.form.findChild(QToolButton, "browse:task.path")
    assert button is not None
    button.click()
    assert shown.form.values()["task"] == {"path": "/lab/samples.csv"}
    shown.form.go_to(shown.row("task.path"))
    qtbot.waitUntil(lambda: QApplication.focusWidget() is shown.row("task.path").editor)
    for _ in range(2):  # the second time it is cancelled
        lab.actions["form.browse"].trigger()
        assert shown.form.values()["task"] == {"path": "/lab/others.csv"}
    assert chosen == []


def test_each_device_keeps_its_settings(shown: Shown) -> None:
    shown.write("device.feedback", "0.7")
    name = shown.row("device.name").editor
    assert isinstance(name, ChoiceEditor)
    name.give("loopback")
    shown.settle()
    assert shown.form.row("device.feedback") is None
    assert shown.row("device.bench").problem == "must be given"
    shown.write("device.bench", "bench.toml")
    name.give("echo-state-ring")
    shown.settle()
    assert shown.form.values()["device"] == {"name": "echo-state-ring", "feedback": 0.7}
    name.give("loopback")
    shown.settle()
    assert shown.form.values()["device"] == {"name": "loopback", "bench": "bench.toml"}


def test_settings_are_kept_while_nobody_describes_their_device(shown: Shown, lab: Lab, qtbot: QtBot) -> None:
    shown.desk.refuse = "the desk is not running"
    values = {"device": {"name": "llg-ring", "gain": 0.3}, "training": {"batch": 2}}
    shown.form.load(values)
    shown.settle()
    assert shown.form.values() == values
    assert "the desk is not running" in shown.label("note:device").text()
    assert shown.checker.why_not == "the desk is not running"
    shown.desk.refuse = ""
    with qtbot.waitSignal(shown.checker.checked):
        lab.desk.state_changed.emit("ready")
    assert shown.form.values() == values
    assert shown.row("device.gain").changed


def test_a_device_of_somebody_elses_takes_any_settings(shown: Shown) -> None:
    shown.form.load({"device": {"name": "mylab:Ring", "ports": [1, 2], "label": "a"}})
    shown.settle()
    assert shown.form.values()["device"] == {"name": "mylab:Ring", "ports": [1, 2], "label": "a"}
    shown.write("device.further settings", 'label = "b", gain = 0.5')
    assert shown.form.values()["device"] == {"name": "mylab:Ring", "label": "b", "gain": 0.5}


def test_keys_that_nobody_knows_are_shown_with_what_is_wrong(shown: Shown) -> None:
    shown.form.load({"training": {"epoch": 3}, "device": {"name": "echo-state-ring", "feedbak": 0.5}})
    shown.settle()
    assert 'Did you mean "epochs"?' in shown.row("training.epoch").problem
    assert 'Did you mean "feedback"?' in shown.row("device.feedbak").problem
    for name in ("training.epoch", "device.feedbak"):
        button = shown.form.findChild(QToolButton, f"reset:{name}")
        assert button is not None
        button.click()
    shown.settle()
    assert shown.form.values() == {"device": {"name": "echo-state-ring"}}
    assert shown.form.problems == []


def test_search_finds_keys_help_and_choices(shown: Shown) -> None:
    assert shown.form.search("learning rate") == 1
    assert shown.row("training.learning_rate").isVisible()
    assert not shown.row("training.batch").isVisible()
    assert shown.form.search("relu") == 1
    assert shown.form.search("feedback ring") == 1
    assert shown.form.search("nothing like it") == 0
    shown.write("training.batch", "8")
    assert shown.form.search("", changed_only=True) == 2  # and the device
    assert shown.form.search("") == len(list(shown.form))


def test_sections_fold_and_stay_so(shown: Shown, lab: Lab, qtbot: QtBot) -> None:
    first = {
        "task": "task.name",
        "network": "network.hidden",
        "device": "device.name",
        "training": "training.batch",
        "session": "session.file",
    }
    for section, name in first.items():
        unfolded = section != "session"
        assert shown.row(name).isVisible() is unfolded
        lab.actions[f"form.section-{section}"].trigger()
        assert shown.row(name).isVisible() is not unfolded
        assert lab.state.settings.value(f"form/{section}", type=bool) is not unfolded
    shown.form.go_to(shown.row("task.bits"))
    assert shown.row("task.name").isVisible()


def test_every_editor_can_be_found_named_and_understood(shown: Shown) -> None:
    rows = list(shown.form)
    assert len({row.editor.objectName() for row in rows}) == len(rows)
    for row in rows:
        assert row.editor.objectName() == row.field.name
        assert row.field.name in row.editor.accessibleName()
        assert row.field.name in row.editor.toolTip()
        assert row.label.buddy() is row.editor


def test_scrolling_over_a_choice_does_not_change_it(shown: Shown, qtbot: QtBot) -> None:
    loss = shown.row("training.loss").editor
    loss.clearFocus()

    modifiers, phase = Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase
    where = QPointF(1, 1)
    turn = QWheelEvent(where, where, QPoint(), QPoint(0, -120), Qt.MouseButton.NoButton, modifiers, phase, False)
    QApplication.sendEvent(loss, turn)
    assert not turn.isAccepted()
    assert not loss.entered().given


def test_what_the_form_gives_is_what_the_configuration_takes(shown: Shown) -> None:
    """Every key, given as the text of its own default or example, comes out as a configuration that is in order."""
    for row in shown.form:
        value = row.field.example if row.field.default is None else row.field.default
        if row.field.key not in ("path", "target", "pre", "readout") and value != "":
            row.editor.give(value)
    values = shown.form.values()
    shown.settle()
    assert shown.checker.problems == {}
    whole = Config.model_validate(values)
    assert whole.training.max_shots == 10_000
    assert json.loads(json.dumps(values)) == values

    assert tomllib.loads(tomlkit.dumps(values)) == values


def test_the_estimate_follows_a_check_that_found_nothing(shown: Shown, qtbot: QtBot) -> None:
    shown.write("training.batch", "8")
    shown.settle()
    qtbot.waitUntil(lambda: shown.checker.estimate is not None)
    asked = shown.desk.asked.count("estimate")
    shown.write("training.batch", "0")
    shown.settle()
    assert shown.checker.estimate is None
    assert shown.desk.asked.count("estimate") == asked
