"""The page of runs with a real desk and real runs."""

import pytest
from pytestqt.qtbot import QtBot

from gui.jobs import JobState
from gui.lab import Lab
from gui.runs.page import RunsPage
from labpgt.events import Status
from labpgt.session import Session
from tests.gui.desks import DeskInPlace

LONG_MS = 60_000
CONFIG = {
    "task": {"name": "iris"},
    "network": {"hidden": [8]},
    "device": {"name": "echo-state-ring", "n_nodes": 2},
    "training": {"epochs": 100_000, "baseline": False, "evaluation": "none"},
}


def test_the_desk_itself_checks_the_form(lab: Lab, qtbot: QtBot) -> None:
    page = RunsPage(lab)
    qtbot.addWidget(page)
    page.form.load({**CONFIG, "device": {"name": "echo-state-ring", "feedback": 1.5}})
    lab.desk.begin()
    qtbot.waitUntil(lambda: page.checker.problems != {}, timeout=LONG_MS)
    assert page.checker.problems == {"device.feedback": "must be less than 1"}
    qtbot.waitUntil(lambda: page.presets.count() > 2, timeout=LONG_MS)
    feedback = page.form.row("device.feedback")
    assert feedback is not None
    assert feedback.problem == "must be less than 1"


def test_a_run_is_started_paused_and_stopped(lab: Lab, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab.desk, "ask", DeskInPlace())
    page = RunsPage(lab)
    qtbot.addWidget(page)
    page.form.load(CONFIG)
    page.start()
    (entry,) = page.queue.entries
    qtbot.waitUntil(lambda: bool(entry.loss and entry.left), timeout=LONG_MS)
    assert entry.standing is JobState.RUNNING

    pause, stop = lab.actions["queue.pause"], lab.actions["queue.stop"]
    pause.trigger()
    qtbot.waitUntil(lambda: entry.standing is JobState.PAUSED, timeout=LONG_MS)
    pause.trigger()
    qtbot.waitUntil(lambda: entry.standing is JobState.RUNNING, timeout=LONG_MS)
    stop.trigger()
    qtbot.waitUntil(lambda: entry.standing is JobState.STOPPED, timeout=LONG_MS)
    assert entry.why == "stopped by hand"
    assert entry.session is not None
    with Session(entry.session) as session:
        assert session.status is Status.ABORTED
        assert session.n_shots > 0
        assert any("asked by the window" in text for text in session.warnings)
    assert lab.actions["queue.resume"].isEnabled()
