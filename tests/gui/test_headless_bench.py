"""A run that was started in a terminal, on a bench that the window was never shown: in the strip, and under RF OFF."""

import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from gui.lab import Lab
from gui.rf import Rf
from gui.window import MainWindow
from labpgt import locks
from labpgt.events import Status
from labpgt.session import Session
from tests import forked
from tests.gui.test_jobs import SECONDS, write_config
from tests.instruments.benches import TriedBench
from tests.virtual_runs import RING

pytestmark = pytest.mark.skipif(not forked.POSSIBLE, reason="processes in sessions of their own")
Train = Callable[[TriedBench, Path], "subprocess.Popen[bytes]"]


@pytest.fixture
def tried(tmp_path: Path) -> Iterator[TriedBench]:
    (tmp_path / "lab").mkdir()
    bench = TriedBench(tmp_path / "lab", settings=dict(RING))
    bench.open()
    yield bench
    bench.virtual.close()


@pytest.fixture
def train() -> Iterator[Train]:
    """Start a run in the folder of its bench, which it names by a relative path; it does not end by itself."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(tried: TriedBench, session: Path) -> "subprocess.Popen[bytes]":
        place = tried.path.parent
        device = {"name": "magnonic-ring", "bench": tried.path.name, "symbol_s": 40e-9, "n_nodes": 4}
        config = write_config(place / "run.toml", device, epochs=100_000, batch=12)
        words = ["train", str(config), "--out", str(session)]
        started.append(forked.start_command(words, place, place / "out", place / "err"))
        return started[-1]

    yield begin
    for process in started:
        process.send_signal(signal.SIGKILL)
        process.wait(30)


def test_a_run_on_a_bench_that_the_window_was_never_shown(
    window: MainWindow, lab: Lab, tried: TriedBench, train: Train, qtbot: QtBot, tmp_path: Path
) -> None:
    session = tmp_path / "over-night.h5"
    run = train(tried, session)
    qtbot.waitUntil(lambda: tried.rf_on, timeout=SECONDS)
    qtbot.waitUntil(lambda: lab.rf.state is Rf.ON, timeout=SECONDS)
    assert window.top.rf.text() == "●  RF ON"
    assert f"bench.toml: in use by process {run.pid}" in window.top.rf.toolTip()
    assert window.top.title.text() == f"A run that was started elsewhere: process {run.pid} at bench.toml"
    assert not lab.actions["run.stop"].isEnabled()
    assert lab.rf.unsettled == [], "closing the window leaves it alone"
    lab.actions["rf.off"].trigger()
    qtbot.waitUntil(lambda: not tried.rf_on, timeout=SECONDS)
    qtbot.waitUntil(lambda: run.poll() is not None, timeout=SECONDS)
    assert run.returncode in (3, 4)  # its last call met a dark ring, or it stopped before
    qtbot.waitUntil(lambda: lab.rf.state is Rf.NO_BENCH, timeout=SECONDS)
    assert not tried.rf_on
    assert window.top.title.text() == "No run"
    assert locks.in_use() == []
    with Session(session) as recorded:
        assert recorded.status in (Status.ABORTED, Status.FAILED)


def test_its_file_may_be_gone_and_rf_off_may_come_while_it_is_not_yet_known(
    window: MainWindow, lab: Lab, tried: TriedBench, train: Train, qtbot: QtBot, tmp_path: Path
) -> None:
    lab.rf._looks.stop()  # as between two looks
    run = train(tried, tmp_path / "over-night.h5")
    qtbot.waitUntil(lambda: tried.rf_on, timeout=SECONDS)
    tried.path.unlink()
    assert lab.rf.state is Rf.NO_BENCH
    lab.actions["rf.off"].trigger()
    qtbot.waitUntil(lambda: run.poll() is not None, timeout=SECONDS)
    qtbot.waitUntil(lambda: lab.rf.state is Rf.NO_BENCH, timeout=SECONDS)
    assert not tried.rf_on


def test_a_killed_run_is_in_the_strip_until_its_guard_has_made_the_bench_safe(
    window: MainWindow, lab: Lab, tried: TriedBench, train: Train, qtbot: QtBot, tmp_path: Path
) -> None:
    run = train(tried, tmp_path / "over-night.h5")
    qtbot.waitUntil(lambda: lab.rf.state is Rf.ON, timeout=SECONDS)
    run.send_signal(signal.SIGKILL)
    qtbot.waitUntil(lambda: lab.rf.state is Rf.NO_BENCH, timeout=SECONDS)
    assert not tried.rf_on
