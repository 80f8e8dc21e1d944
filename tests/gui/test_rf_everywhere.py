"""The window finds every bench that is in use on this computer, whoever has started what uses it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytestqt.qtbot import QtBot

from gui import rf as module
from gui.jobs import Jobs
from gui.lab import Lab
from gui.rf import Rf, RfControl
from gui.window import MainWindow
from labpgt import locks
from labpgt.locks import Locks
from tests.gui.test_rf import Told, tell, texts

SLEEPER = "import time; time.sleep(60)"
posix = pytest.mark.skipif(os.name != "posix", reason="a run is asked by a signal")


@pytest.fixture(autouse=True)
def _told(monkeypatch: pytest.MonkeyPatch) -> None:
    tell(monkeypatch, "AGAIN_MS", "USES_MS")


@pytest.fixture
def rf(tmp_path: Path, qtbot: QtBot) -> Iterator[RfControl]:
    (tmp_path / "jobs").mkdir()
    jobs = Jobs(tmp_path / "jobs", standby=False)
    control = RfControl(jobs)
    yield control
    control.close()
    jobs.close()


@pytest.fixture
def run() -> Iterator[int]:
    """Process of something that ends at Ctrl-C."""
    with subprocess.Popen([sys.executable, "-c", SLEEPER], stderr=subprocess.DEVNULL) as process:
        yield process.pid
        process.kill()


@pytest.fixture
def used(tmp_path: Path) -> Iterator[Callable[[str, int], Locks]]:
    """Let a process have a bench of a name."""
    held: list[Locks] = []

    def take(name: str, pid: int) -> Locks:
        path = tmp_path / f"{name}.toml"
        path.write_text(name)
        held.append(Locks({"source": name}, {"file": str(path), "bench": {}}))
        held[-1].take(1.0, pid)
        return held[-1]

    yield take
    for lock in held:
        lock.free()


def test_a_bench_is_watched_while_it_is_in_use_and_its_rf_on(
    rf: RfControl, used: Callable[[str, int], Locks], qtbot: QtBot, tmp_path: Path
) -> None:
    said = texts(rf)
    assert rf.state is Rf.NO_BENCH
    left, right = used("left", 1), used("right", 2)
    qtbot.waitUntil(lambda: len(Told.made) == 2)
    assert rf.benches == [tmp_path / "left.toml", tmp_path / "right.toml"]
    assert ("info", f"process 2 uses {tmp_path / 'right.toml'}: its RF is watched") in said
    one, two = Told.made
    one.says("off", "process 1")
    two.says("on", "process 2")
    assert rf.state is Rf.ON
    left.free()
    one.says("off")
    qtbot.waitUntil(lambda: one.closed)
    assert rf.benches == [tmp_path / "right.toml"]
    right.free()
    two.says("on")  # its run was killed: nobody has it, and it is on
    qtbot.wait(50)
    assert rf.state is Rf.ON
    two.says("off")
    assert rf.state is Rf.NO_BENCH
    assert [text for level, text in said if level != "info"] == []


def test_a_bench_that_a_person_has_connected_stays(
    rf: RfControl, used: Callable[[str, int], Locks], qtbot: QtBot, tmp_path: Path
) -> None:
    lock = used("left", 1)
    rf.watch_over(tmp_path / "left.toml")
    qtbot.wait(50)
    (sentinel,) = Told.made
    lock.free()
    sentinel.says("off")
    qtbot.wait(50)
    assert rf.benches == [tmp_path / "left.toml"]
    other = used("other", 2)
    qtbot.waitUntil(lambda: len(rf.benches) == 2)
    rf.watch_over(tmp_path / "other.toml")
    other.free()
    Told.made[-1].says("off")
    qtbot.wait(50)
    assert len(rf.benches) == 2


@posix
def test_rf_off_reaches_a_bench_that_was_not_yet_seen_and_asks_its_run_to_stop(
    rf: RfControl, used: Callable[[str, int], Locks], qtbot: QtBot, run: int
) -> None:
    said = texts(rf)
    rf._looks.stop()
    lock = used("left", run)
    rf.turn_off()
    (sentinel,) = Told.made
    assert sentinel.offs == 1
    assert ("warning", f"RF OFF: process {run}, which uses the bench, is asked to stop") in said
    sentinel.answers()
    qtbot.wait(50)
    assert rf.state is Rf.TURNING_OFF  # it is still there
    later = used("right", run)
    qtbot.waitUntil(lambda: len(Told.made) == 2)
    assert Told.made[1].offs == 1, "it has begun after RF OFF"
    Told.made[1].answers()
    for taken in (lock, later):
        taken.free()
    qtbot.waitUntil(lambda: rf.state is Rf.NO_BENCH)


def test_another_users_run_cannot_be_stopped_which_is_said(
    rf: RfControl, used: Callable[[str, int], Locks], qtbot: QtBot, run: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(pid: int, number: int) -> None:
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(module, "TOLD_S", 0.05)
    said = texts(rf)
    used("left", run)
    with monkeypatch.context() as patched:
        patched.setattr("os.kill", refused)
        rf.turn_off()
    assert Told.made[0].offs == 1
    assert any(level == "error" and f"process {run}" in text and "cannot be stopped" in text for level, text in said)
    Told.made[0].answers()
    qtbot.waitUntil(lambda: any(f"there is still process {run}" in text for _, text in said))


def test_closing_leaves_the_runs_of_others_alone_also_before_their_state_is_known(
    rf: RfControl, used: Callable[[str, int], Locks], qtbot: QtBot
) -> None:
    used("left", os.getpid())
    qtbot.waitUntil(lambda: len(Told.made) == 1)
    assert rf.state is Rf.IN_DOUBT
    assert rf.unsettled == []
    rf.settle()
    assert Told.made[0].offs == 0


@posix
def test_what_is_wrong_with_the_folder_of_the_locks_is_said_once(
    rf: RfControl, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = texts(rf)
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.setenv(locks.VARIABLE, str(tmp_path / "link"))
    qtbot.waitUntil(lambda: bool(said))
    qtbot.wait(50)
    (only,) = said
    assert only[0] == "error"
    assert "is a link, expected the folder" in only[1]


def test_a_bench_of_no_file_is_told_with_what_reaches_it(
    rf: RfControl, qtbot: QtBot, used: Callable[[str, int], Locks], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = texts(rf)
    held = Locks({"source": "1"}, {"file": None, "bench": {}})
    held.take(1.0, 7)
    qtbot.waitUntil(lambda: bool(said))
    qtbot.wait(50)
    held.free()
    assert said == [("warning", "process 7 has a bench of no file: `labpgt rf-off` reaches it")]
    assert rf.benches == []


def test_the_strip_shows_a_bench_that_nobody_told_the_window_of(
    window: MainWindow, lab: Lab, qtbot: QtBot, used: Callable[[str, int], Locks]
) -> None:
    changes: list[Any] = []
    lab.rf.changed.connect(lambda: changes.append(window.top.rf.text()))
    used("left", 4711)
    qtbot.waitUntil(lambda: len(Told.made) == 1)
    Told.made[0].says("on", "process 4711")
    assert window.top.rf.text() == "●  RF ON"
    assert "left.toml: in use by process 4711" in window.top.rf.toolTip()
