"""Code that only a file names is run when a person has said so, and not before."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PyQt6.QtCore import Qt
from PyQt6.QtWidgets import QApplication, QMessageBox
from pytestqt.qtbot import QtBot

from gui.jobs import JobState
from gui.lab import Lab
from gui.own_code import ask, file_of, named_in
from gui.replay import ReplayPage
from gui.runs.entry import Entry
from gui.runs.page import RunsPage
from tests.gui.desks import DeskInPlace
from tests.runs import configured, record

LONG_MS = 60_000
MODULE = """
from pathlib import Path
from torch import nn
from simulators.echo_state import EchoStateRing as Ring

Path(__file__).with_name("imported").touch()

def layers(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, 6), nn.Tanh(), nn.Linear(6, outputs))
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a module `persons_own` that leaves a file called `imported` there when it is imported."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "persons_own.py").write_text(MODULE)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "persons_own", raising=False)
    return folder


@pytest.fixture
def session(module: Path, lab: Lab) -> Path:
    """A run that was aborted, whose layers and device are of that module."""
    path = lab.sessions / "own.h5"
    config = configured(
        network={"pre": "persons_own:layers"},
        device={"name": "persons_own:Ring"},
        training={"estimator": "node"},
    )
    record(config, path, steps=4)
    sys.modules.pop("persons_own", None)
    (module / "imported").unlink()
    return path


def answer(box_of: Callable[[], QMessageBox | None], text: str, qtbot: QtBot) -> str:
    """Press a button of the question, and return what was asked."""
    qtbot.waitUntil(lambda: box_of() is not None)
    box = box_of()
    assert box is not None
    asked = box.text()
    button = next(button for button in box.buttons() if button.text().replace("&", "") == text)
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: box_of() is None)
    return asked


def open_box() -> QMessageBox | None:
    boxes = (w for w in QApplication.topLevelWidgets() if isinstance(w, QMessageBox) and w.objectName() == "own-code")
    return next((box for box in boxes if box.isVisible()), None)


@pytest.fixture
def replay(lab: Lab, session: Path, qtbot: QtBot) -> ReplayPage:
    page = ReplayPage(lab)
    qtbot.addWidget(page, before_close_func=lambda page: page.close_down())
    page.show()
    page.open_session(session)
    qtbot.waitUntil(lambda: page.work.resume.isEnabled(), timeout=LONG_MS)
    return page


@pytest.mark.usefixtures("started_anew")
def test_verify_and_resume_ask_each_time_and_pass_on_just_what_was_allowed(
    replay: ReplayPage, lab: Lab, session: Path, module: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{module}{os.pathsep}{Path(__file__).parents[2]}")
    for action in ("replay.verify", "replay.resume"):
        lab.actions[action].trigger()
        asked = answer(open_box, "Cancel", qtbot)
        assert f"persons_own:layers (network.pre), from {module / 'persons_own.py'}" in asked
        assert ("persons_own:Ring (device.name)" in asked) is (action == "replay.resume")
    assert replay.work.job is None
    assert not (module / "imported").exists()

    lab.actions["replay.resume"].trigger()
    answer(open_box, "Allow once", qtbot)
    qtbot.waitUntil(lambda: replay.work.job is not None and replay.work.job.state.over, timeout=LONG_MS)
    job = replay.work.job
    assert job is not None
    both = ("--allow", "persons_own:layers", "--allow", "persons_own:Ring")
    assert job.argv == ("resume", str(session), "--json", *both)
    assert job.state is JobState.DONE, job.message
    assert (module / "imported").exists()

    qtbot.waitUntil(lambda: replay.work.verify.isEnabled(), timeout=LONG_MS)
    lab.actions["replay.verify"].trigger()
    answer(open_box, "Allow once", qtbot)  # a yes of before is not remembered
    qtbot.waitUntil(lambda: replay.work.outcome.text().startswith("✔ verified"), timeout=LONG_MS)


@pytest.fixture
def runs(lab: Lab, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> RunsPage:
    monkeypatch.setattr(lab.desk, "ask", DeskInPlace())
    page = RunsPage(lab)
    qtbot.addWidget(page)
    page.show()
    return page


def test_the_queue_asks_before_it_goes_on_or_begins_anew(
    runs: RunsPage, lab: Lab, session: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[str, ...]] = []
    monkeypatch.setattr(lab.jobs, "start", lambda title, argv, **_: started.append(tuple(argv)))
    entry = Entry({}, session=session)  # of what is in the session nobody has told the entry
    entry.standing = JobState.FAILED
    runs.queue.add([entry])
    runs.panel.select(entry)
    lab.actions["queue.resume"].trigger()
    answer(open_box, "Cancel", qtbot)
    assert (entry.standing, started) == (JobState.FAILED, [])
    lab.actions["queue.resume"].trigger()
    assert "persons_own:Ring" in answer(open_box, "Allow once", qtbot)
    qtbot.waitUntil(lambda: bool(started))
    both = ("--allow", "persons_own:layers", "--allow", "persons_own:Ring")
    assert started.pop() == ("resume", str(session), "--json", *both)

    entry.config = {"network": {"pre": "persons_own:layers"}}
    entry.settle(JobState.FAILED)
    lab.actions["queue.retry"].trigger()
    answer(open_box, "Cancel", qtbot)
    assert (entry.standing, started) == (JobState.FAILED, [])
    lab.actions["queue.retry"].trigger()
    answer(open_box, "Allow once", qtbot)
    qtbot.waitUntil(lambda: bool(started))
    assert started.pop()[0] == "train"  # a configuration of one's own needs no word on the command line


def test_the_form_asks_before_it_starts_code_of_ones_own(
    runs: RunsPage, lab: Lab, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab.jobs, "start", lambda *_args, **_named: None)
    runs.form.load({"network": {"readout": "nowhere.at_all:layers"}})
    lab.actions["run.add"].trigger()
    asked = answer(open_box, "Cancel", qtbot)
    assert "nowhere.at_all:layers (network.readout), from a module that was not found here" in asked
    assert runs.queue.entries == []
    lab.actions["run.add"].trigger()
    answer(open_box, "Allow once", qtbot)
    assert len(runs.queue.entries) == 1


def test_escape_allows_nothing(qapp: QApplication, runs: RunsPage, qtbot: QtBot) -> None:
    allowed: list[list[str]] = []
    ask(runs, "resume it", {"a:b": "network.pre"}, allowed.append)
    box = open_box()
    assert box is not None
    qtbot.keyClick(box, Qt.Key.Key_Return)  # the default
    ask(runs, "resume it", {"a:b": "network.pre"}, allowed.append)
    box = open_box()
    assert box is not None
    qtbot.keyClick(box, Qt.Key.Key_Escape)
    assert allowed == []


def test_what_needs_no_code_is_not_asked_about(runs: RunsPage) -> None:
    allowed: list[list[str]] = []
    ask(runs, "run it", named_in({"device": {"name": "echo-state-ring"}}), allowed.append)
    assert allowed == [[]]
    assert named_in({"device": {"name": "replay:run.h5"}}) == {}
    assert named_in({"network": {"pre": 3}}) == {}  # no configuration: refused, and nothing imported
    assert named_in({"device": {"name": "a:B"}}) == {"a:B": "device.name"}


def test_finding_a_module_imports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "persons_package" / "inner"
    inner.mkdir(parents=True)
    for folder in (inner, inner.parent):
        (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    (inner / "code.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert file_of("persons_package.inner.code:build") == str(inner / "code.py")
    assert file_of("persons_package.inner:build") == str(inner / "__init__.py")
    assert file_of("persons_package.other.code:build") is None
    assert file_of("json.nothing.code:build") is None
    assert "persons_package" not in sys.modules
