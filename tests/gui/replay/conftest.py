"""Recorded runs to go through, and the page that does."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from gui.lab import Lab
from gui.replay import ReplayPage
from tests.runs import configured, record

PATIENCE_MS = 60_000


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of pgt, one of node with another gain, and one that was aborted."""
    folder = tmp_path_factory.mktemp("recorded")
    tested = {"evaluation": "test", "baseline": True}
    record(configured(training={"estimator": "pgt", "dropout": 0.3}, device={"noise": 0.01}), folder / "pgt.h5")
    record(configured(training={"estimator": "node", **tested}, device={"input_gain": 0.8}), folder / "node.h5")
    record(configured(training={"estimator": "node", **tested}), folder / "aborted.h5", steps=4)
    (folder / "foreign.h5").write_text("not a session")
    return folder


@pytest.fixture
def sessions(recorded: Path, lab: Lab) -> Path:
    """The lab's folder with copies of them."""
    shutil.copytree(recorded, lab.sessions, dirs_exist_ok=True)
    return lab.sessions


@pytest.fixture
def page(qtbot: QtBot, lab: Lab, sessions: Path) -> ReplayPage:
    page = ReplayPage(lab)
    qtbot.addWidget(page, before_close_func=lambda page: page.close_down())
    page.resize(1280, 670)
    with qtbot.waitExposed(page):
        page.show()
    return page


@pytest.fixture
def until(qtbot: QtBot) -> Callable[[Callable[[], object]], None]:
    """Wait until something is so."""
    return lambda condition: qtbot.waitUntil(lambda: bool(condition()), timeout=PATIENCE_MS)


@pytest.fixture
def opened(page: ReplayPage, sessions: Path, until: Callable[[Callable[[], object]], None]) -> Callable[[str], Path]:
    """Open one of them and wait for its first shot."""

    def open_(name: str) -> Path:
        page.open_session(sessions / name)
        until(lambda: page.shots.shown is not None and page.header.text().startswith(name))
        return sessions / name

    return open_
