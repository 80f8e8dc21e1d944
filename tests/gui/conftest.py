"""The window under test: off screen, with a folder of its own for everything it keeps."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PyQt6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from gui import jobs
from gui.lab import Lab
from gui.state import State
from gui.theme import Mode, Theme
from gui.window import MainWindow
from tests.gui import forked


@pytest.fixture(autouse=True)
def _quick_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that need not load anything, where a process can be copied."""
    if os.name == "posix":
        monkeypatch.setattr(jobs, "_started", forked.start)


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
