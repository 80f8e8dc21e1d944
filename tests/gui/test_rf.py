"""What RF OFF does in every state, with sentinels in place of processes; with real ones it is tried in test_bench."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PyQt6.QtCore import QObject, Qt, QTimer, pyqtSignal
from PyQt6.QtTest import QTest
from PyQt6.QtWidgets import QDialog, QLineEdit, QVBoxLayout
from pytestqt.qtbot import QtBot

from gui import rf as module
from gui import window as window_module
from gui.jobs import Jobs, JobState
from gui.lab import Lab
from gui.rf import Rf, RfControl
from gui.window import MainWindow
from labpgt.locks import Use
from tests.gui.test_jobs import ENDLESS, start


class Told(QObject):
    """A sentinel that says what it is told to."""

    looked = pyqtSignal(dict)
    turned_off = pyqtSignal(dict)
    made: "list[Told]" = []  # noqa: RUF012  # emptied by the fixture

    def __init__(self, bench: Path) -> None:
        super().__init__()
        self.bench, self.closed, self.offs = bench, False, 0
        Told.made.append(self)

    def turn_off(self) -> None:
        self.offs += 1

    def close(self) -> None:
        self.closed = True

    def says(self, rf: str, in_use: str | None = None) -> None:
        self.looked.emit({"rf": rf, "in_use": in_use, "roles": {}, "problems": []})

    def answers(self, *problems: str) -> None:
        self.turned_off.emit({"off": not problems, "problems": list(problems), "took_s": 0.01})


def tell(monkeypatch: pytest.MonkeyPatch, *often: str) -> None:
    """Have sentinels say what they are told to, and the control look often."""
    Told.made = []
    monkeypatch.setattr(module, "Sentinel", Told)
    for name in often:
        monkeypatch.setattr(module, name, 5)


@pytest.fixture(autouse=True)
def _told(monkeypatch: pytest.MonkeyPatch) -> None:
    tell(monkeypatch, "AGAIN_MS", "FILE_MS")


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    path = tmp_path / "bench.toml"
    path.write_text("first")
    return path


@pytest.fixture
def rf(tmp_path: Path, qtbot: QtBot) -> Iterator[RfControl]:
    (tmp_path / "jobs").mkdir()
    jobs = Jobs(tmp_path / "jobs", standby=False)
    control = RfControl(jobs)
    yield control
    control.close()
    jobs.close()


def texts(control: RfControl) -> list[tuple[str, str]]:
    said: list[tuple[str, str]] = []
    control.said.connect(lambda level, text: said.append((level, text)))
    return said


def test_the_worst_of_all_benches_is_shown(rf: RfControl, bench: Path, tmp_path: Path) -> None:
    assert rf.state is Rf.NO_BENCH
    rf.watch_over(bench)
    assert rf.state is Rf.IN_DOUBT  # until it has been asked
    rf.watch_over(tmp_path / "other.toml")
    one, other = Told.made
    one.says("off")
    other.says("on", "process 7")
    assert rf.state is Rf.ON
    assert "other.toml: in use by process 7" in rf.detail
    other.says("unknown")
    assert rf.state is Rf.IN_DOUBT
    rf.watch_over(bench)
    assert len(Told.made) == 2


def test_it_goes_on_until_nobody_uses_the_bench(
    rf: RfControl, bench: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOLD_S", 0.05)
    said = texts(rf)
    rf.watch_over(bench)
    (sentinel,) = Told.made
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as run:
        sentinel.says("on", f"process {run.pid}")
        rf.turn_off()
        assert sentinel.offs == 1
        if os.name == "posix":
            assert run.wait(10) == -signal.SIGINT
    sentinel.answers()
    assert rf.state is Rf.TURNING_OFF  # somebody still has it
    sentinel.says("on", f"process {run.pid}")
    qtbot.waitUntil(lambda: sentinel.offs == 2)
    qtbot.waitUntil(lambda: any("still process" in text for _, text in said))
    sentinel.answers()
    sentinel.says("off")
    qtbot.waitUntil(lambda: rf.state is Rf.OFF)


def test_an_off_that_fails_leaves_it_in_doubt_in_words(rf: RfControl, bench: Path, qtbot: QtBot) -> None:
    said = texts(rf)
    rf.watch_over(bench)
    (sentinel,) = Told.made
    sentinel.says("on")
    rf.turn_off()
    sentinel.answers("source: no answer")
    qtbot.waitUntil(lambda: rf.state is Rf.IN_DOUBT)
    assert ("error", "RF of bench.toml may be on: source: no answer. Switch it off at the instrument") in said


def test_a_bench_is_not_forgotten_while_it_is_in_use_or_being_turned_off(rf: RfControl, bench: Path) -> None:
    rf.watch_over(bench)
    (sentinel,) = Told.made
    sentinel.says("on", "process 7")
    rf.leave(bench)
    assert not sentinel.closed
    assert rf.state is Rf.ON
    sentinel.says("off")
    assert sentinel.closed
    assert rf.state is Rf.NO_BENCH
    rf.watch_over(bench)
    sentinel = Told.made[-1]
    sentinel.says("on")
    rf._watched[bench].turn_off()
    rf.leave(bench)
    assert not sentinel.closed
    sentinel.answers()
    assert sentinel.closed


def test_a_changed_file_is_read_anew_and_the_old_addresses_are_kept(rf: RfControl, bench: Path, qtbot: QtBot) -> None:
    rf.watch_over(bench)
    Told.made[0].says("off")
    bench.write_text("the second")
    qtbot.waitUntil(lambda: len(Told.made) == 2)
    assert rf.state is Rf.IN_DOUBT
    old, new = Told.made
    new.says("off")
    assert rf.state is Rf.OFF
    old.says("on")
    assert rf.state is Rf.ON
    rf.turn_off()
    assert (old.offs, new.offs) == (1, 1)
    bench.unlink()
    qtbot.waitUntil(lambda: "its file is gone" in rf.detail)
    assert len(Told.made) == 2


def test_old_addresses_are_let_go_when_nobody_has_been_there_for_long(
    rf: RfControl, bench: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUIET_LOOKS", 3)
    rf.watch_over(bench)
    for number, text in enumerate(("the second", "the last one"), 2):
        bench.write_text(text)
        qtbot.waitUntil(lambda number=number: len(Told.made) == number)  # type: ignore[misc]
    idle, busy, now = Told.made
    for _ in range(3):
        idle.says("off")
        busy.says("off", "process 7")
        now.says("off")
    assert [each.closed for each in Told.made] == [True, False, False]
    for state in ("off", "off", "on", "off", "off"):
        busy.says(state)
    rf._watched[bench].turn_off()
    assert (idle.offs, busy.offs, now.offs) == (0, 1, 1)
    busy.says("off")
    assert not busy.closed  # it has not said yet whether it could turn RF off
    busy.answers()
    now.answers()
    for _ in range(3):
        busy.says("off")
    assert [each.closed for each in Told.made] == [True, True, False]
    assert rf.state is Rf.OFF


def test_a_bench_of_others_that_cannot_be_reached_any_more_stays_in_doubt_until_somebody_lets_go_of_it(
    rf: RfControl, bench: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    uses = [Use(os.getpid(), os.getpid(), bench, {})]
    monkeypatch.setattr(module, "in_use", lambda: list(uses))
    qtbot.waitUntil(lambda: rf.benches == [bench])
    Told.made[-1].says("unknown")
    uses.clear()
    QTest.qWait(3 * module.USES_MS)
    assert rf.state is Rf.IN_DOUBT
    bench.unlink()  # then nobody will ever know
    qtbot.waitUntil(lambda: rf.state is Rf.NO_BENCH)
    bench.touch()
    uses.append(Use(os.getpid(), os.getpid(), bench, {}))
    qtbot.waitUntil(lambda: rf.benches == [bench])
    Told.made[-1].says("unknown")
    uses.clear()
    QTest.qWait(3 * module.USES_MS)
    assert rf.state is Rf.IN_DOUBT
    rf.leave(bench)
    assert rf.state is Rf.NO_BENCH


DEAF_AT_FIRST = """
import signal, time
heard = []
signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
print(flush=True)
while len(heard) < 2:
    time.sleep(0.01)
"""


@pytest.mark.skipif(os.name != "posix", reason="no such signals here")
def test_a_run_that_goes_on_all_the_same_is_asked_again(
    rf: RfControl, bench: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REPEAT_S", 0.5)
    rf.watch_over(bench)
    with subprocess.Popen([sys.executable, "-c", DEAF_AT_FIRST], stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        run.stdout.readline()
        Told.made[-1].says("on", f"process {run.pid}")
        rf.turn_off()
        qtbot.waitUntil(lambda: run.poll() is not None, timeout=20_000)
        assert run.returncode == 0


def test_rf_off_without_a_bench_says_so_and_is_heard(rf: RfControl, qtbot: QtBot) -> None:
    said = texts(rf)
    with qtbot.waitSignal(rf.asked):
        rf.turn_off()
    assert "nothing was switched" in said[0][1]
    qtbot.waitUntil(lambda: rf.state is Rf.NO_BENCH)


def test_what_starts_after_rf_off_is_stopped(lab: Lab, bench: Path, qtbot: QtBot, tmp_path: Path) -> None:
    lab.rf.watch_over(bench)
    Told.made[-1].says("on", "process 0")
    lab.rf.turn_off()
    job = start(lab, tmp_path, epochs=ENDLESS)
    qtbot.waitUntil(lambda: job.state in (JobState.STOPPING, JobState.STOPPED), timeout=20_000)
    qtbot.waitUntil(lambda: job.state is JobState.STOPPED, timeout=20_000)


def test_settling_leaves_the_runs_of_others_alone(rf: RfControl, bench: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    rf.watch_over(bench)
    rf.watch_over(other)
    mine, theirs = Told.made
    mine.says("on")
    theirs.says("on", f"process {os.getpid()}")
    assert rf.unsettled == [bench]
    rf.settle()
    assert (mine.offs, theirs.offs) == (1, 0)
    assert rf.unsettled == [bench]
    mine.answers()
    assert rf.unsettled == []


@pytest.mark.parametrize("modal", [True, False])
def test_f12_works_in_a_dialog(window: MainWindow, lab: Lab, qtbot: QtBot, modal: bool) -> None:
    asked: list[Any] = []
    lab.rf.asked.connect(lambda: asked.append(1))
    dialog = QDialog(window)
    dialog.setModal(modal)
    line = QLineEdit(dialog)
    QVBoxLayout(dialog).addWidget(line)
    with qtbot.waitActive(dialog):
        dialog.show()
        dialog.activateWindow()
    line.setFocus()
    qtbot.waitUntil(line.hasFocus)
    QTest.keyClick(line, Qt.Key.Key_F12)
    assert asked == [1]
    dialog.close()


def test_the_closing_question_hears_f12(window: MainWindow, lab: Lab, qtbot: QtBot, tmp_path: Path) -> None:
    asked: list[Any] = []
    lab.rf.asked.connect(lambda: asked.append(1))
    job = start(lab, tmp_path, epochs=ENDLESS)

    def press() -> None:
        box = window.findChild(QDialog, "closing")
        if box is None or box.focusWidget() is None or not box.focusWidget().hasFocus():
            QTimer.singleShot(20, press)
            return
        QTest.keyClick(box.focusWidget(), Qt.Key.Key_F12)
        box.reject()

    QTimer.singleShot(20, press)
    assert window.ask_closing([job]) == "cancel"
    assert asked == [1]
    qtbot.waitUntil(lambda: job.state.over, timeout=20_000)


def test_a_window_does_not_leave_rf_in_doubt_without_a_word(
    window: MainWindow, lab: Lab, bench: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window_module, "_RF_LOOKS", 2)
    lab.rf.watch_over(bench)
    sentinel = Told.made[-1]
    sentinel.says("on")
    window.close()
    assert window.isVisible()
    assert sentinel.offs == 1
    sentinel.answers("source: no answer")
    qtbot.waitUntil(lambda: "not known to be off" in window.banner.text.text())
    assert window.isVisible()
    window.close()
    assert not window.isVisible()


def test_a_window_that_turned_rf_off_closes(window: MainWindow, lab: Lab, bench: Path, qtbot: QtBot) -> None:
    lab.rf.watch_over(bench)
    sentinel = Told.made[-1]
    sentinel.says("on")
    window.close()
    sentinel.answers()
    qtbot.waitUntil(lambda: not window.isVisible())
