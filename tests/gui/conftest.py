"""The window under test: off screen, with a folder of its own for everything it keeps."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PyQt6.QtCore import QCoreApplication, QEvent
from PyQt6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot

from gui import jobs
from gui.lab import Lab
from gui.state import State
from gui.theme import Mode, Theme
from gui.window import MainWindow
from tests import forked

_STARTED = jobs._started


def _forked(argv: Sequence[str], place: Path, files: Path) -> "subprocess.Popen[bytes]":
    out, err = files.with_suffix(".out"), files.with_suffix(".err")
    return forked.start_command(argv, place, out, err, jobs.ENVIRONMENT)


@pytest.fixture(autouse=True)
def _quick_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs are copies of a process that has imported everything, where that can be; see `started_anew`."""
    if forked.POSSIBLE:
        monkeypatch.setattr(jobs, "_started", _forked)


def delete(window: QWidget) -> None:
    """Have Qt delete a window with all that is in it: each that stays makes the next ones slower."""
    window.deleteLater()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)


@pytest.fixture
def lab(qapp: QApplication, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """What the pages share, without a process that stands by; the desk is not started."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sessions").mkdir()
    lab = Lab(State(tmp_path / "window"), Theme(qapp, Mode.LIGHT), standby=False)
    yield lab
    for job in lab.jobs.going:
        job.kill()
        if job.process is not None:
            job.process.wait(10)
    lab.close()


@pytest.fixture
def window(lab: Lab, qtbot: QtBot) -> Iterator[MainWindow]:
    """The whole window, without a desk."""
    window = MainWindow(lab)
    with qtbot.waitActive(window):
        window.show()
        window.activateWindow()
    yield window
    window.leave()
    delete(window)


@pytest.fixture
def started_anew(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs are new interpreters, as a person's are, which find the devices of the tests."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setattr(jobs, "_started", _STARTED)
