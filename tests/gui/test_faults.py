"""The whole window on a virtual bench, with real runs, when things go wrong: told in words, nothing lost, RF off."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from PyQt6.QtWidgets import QFileDialog
from pytestqt.qtbot import QtBot

from gui.jobs import JobState
from gui.lab import Lab
from gui.main import begin_in_background
from gui.rf import Rf
from gui.runs.entry import Entry
from gui.state import State
from gui.window import MainWindow
from labpgt import follow
from labpgt.events import Status
from labpgt.session import Session
from tests import forked
from tests.gui.test_bench import connect
from tests.gui.test_jobs import ENDLESS, write_config
from tests.gui.test_window import drop
from tests.instruments.benches import TriedBench
from tests.runs import SMALL
from tests.virtual_runs import RING

Until = Callable[[Callable[[], object]], None]


def _impatient(text: str) -> str:
    """Wait for the analyser alone as long as its ring may take."""
    text = text.replace("timeout_s = 10.0", "timeout_s = 2.0")
    return text.replace("[analyzer]\n", "[analyzer]\ntimeout_s = 20.0\n")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TriedBench]:
    bench = TriedBench(tmp_path_factory.mktemp("bench"), settings=dict(RING))
    bench.open()
    bench.write(_impatient)
    yield bench
    bench.virtual.close()


@pytest.fixture
def tried(shared: TriedBench) -> Iterator[TriedBench]:
    """The bench that these tests share, in order."""
    shared.forget()
    assert not shared.rf_on
    yield shared
    for role in shared.virtual.models:
        shared.plug_in(role)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """An empty disk of 80 MB; only an administrator may have one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", str(place)]
    with suppress(OSError):
        if subprocess.run(mount, check=False, capture_output=True).returncode == 0:
            yield place
            subprocess.run(["umount", "--lazy", str(place)], check=True)
            return
    pytest.skip("only an administrator may mount a file system")


@pytest.fixture
def until(qtbot: QtBot) -> Until:
    """Wait until something is so."""
    return lambda condition: qtbot.waitUntil(lambda: bool(condition()), timeout=60_000)


def on_bench(tried: TriedBench, **training: Any) -> dict[str, Any]:
    """What is entered for a run on the bench that does not end by itself."""
    return {
        "task": SMALL["task"],
        "network": SMALL["network"],
        "device": {"name": "magnonic-ring", "bench": str(tried.path), "symbol_s": 40e-9, "n_nodes": 4},
        "training": {**SMALL["training"], "estimator": "pgt", "batch": 12, "epochs": 100_000, **training},
    }


def start(window: MainWindow, values: dict[str, Any]) -> Entry:
    """Fill the form and press Start."""
    window.runs.form.load(values)
    window.lab.actions["run.start"].trigger()
    entry = window.runs.panel.selected
    assert entry is not None
    return entry


def doing(entry: Entry) -> str:
    return "" if entry.job is None else entry.job.progress.description


def test_rf_off_from_every_state_of_a_run(
    window: MainWindow, tried: TriedBench, lab: Lab, qtbot: QtBot, until: Until
) -> None:
    connect(window.bench, tried, qtbot)
    for state in ("starting", "calibration", "training", "paused", "hanging"):
        entry = start(window, on_bench(tried, calibration_shots=4000 if state == "calibration" else 12))
        until(lambda entry=entry: entry.standing.going)
        if state == "calibration":
            until(lambda entry=entry: doing(entry) == "calibration")
        elif state != "starting":
            until(lambda entry=entry: doing(entry) == "training")
        if state == "paused":
            lab.actions["run.pause"].trigger()
            until(lambda entry=entry: entry.standing is JobState.PAUSED)
        elif state == "hanging":
            tried.virtual.faults.add("analyzer", "hang", seconds=1.5)
        assert not entry.standing.over, state
        lab.actions["rf.off"].trigger()
        until(lambda: not tried.rf_on)
        if state == "hanging":
            assert entry.standing is JobState.STOPPING
        until(lambda entry=entry: entry.standing.over)
        # Its last call met a dark ring, or it stopped before: it is never taken for a success.
        assert entry.standing is JobState.STOPPED, state
        until(lambda: lab.rf.state is Rf.OFF)
        assert not tried.rf_on, state
        assert entry.resumable or state == "starting"  # it may have come so far as to have a session
        assert window.runs.queue.rowCount() == 1 or window.runs.queue.remove(entry)


def test_an_instrument_that_is_unplugged_before_a_run_and_in_the_middle(
    window: MainWindow, tried: TriedBench, lab: Lab, qtbot: QtBot, until: Until
) -> None:
    connect(window.bench, tried, qtbot)
    tried.unplug("attenuator")
    until(lambda: "1 of 4 instruments are not in order" in window.bench.state.text())
    assert "✖ attenuator at TCPIP0" in window.bench.state.text()
    entry = start(window, on_bench(tried))
    until(lambda: entry.standing.over)
    assert entry.standing is JobState.FAILED
    assert entry.why.startswith("device fault: attenuator at TCPIP0")
    assert entry.advice == "Look at the bench: is everything on and connected? Retry it once that is mended."
    assert entry.why in window.banner.text.text()
    assert not tried.rf_on
    tried.plug_in("attenuator")
    until(lambda: "all 4 instruments answer" in window.bench.state.text())

    window.runs.queue.again(entry, resume=False)
    until(lambda: doing(entry) == "training")
    tried.unplug("source")
    until(lambda: entry.standing is JobState.PAUSED)
    until(lambda: lab.rf.state is Rf.IN_DOUBT)
    assert window.top.rf.text() == "?  RF IN DOUBT"
    assert "nothing listens there" in lab.rf.detail
    assert "paused, the device asked again and again: " in window.top.figures.text()
    assert "make sure by hand that its RF is off" in window.top.figures.text()
    tried.plug_in("source")
    until(lambda: entry.standing is JobState.RUNNING)
    until(lambda: lab.rf.state is Rf.ON)

    # Also while it waits because somebody wants it to.
    lab.actions["queue.pause"].trigger()
    until(lambda: entry.standing is JobState.PAUSED)
    assert "asked by the window" in window.top.figures.text()
    tried.unplug("analyzer")
    lab.actions["queue.pause"].trigger()
    until(lambda: "asked again and again: analyzer at TCPIP0" in window.top.figures.text())
    tried.plug_in("analyzer")
    until(lambda: entry.standing is JobState.RUNNING)

    # Nobody can turn off what cannot be reached: that is said, until it can be.
    tried.unplug("source")
    lab.actions["rf.off"].trigger()
    until(lambda: "RF of bench.toml may be on: source at TCPIP0" in window.banner.text.text())
    until(lambda: entry.standing.over)
    assert entry.standing is JobState.STOPPED
    assert entry.advice.startswith("Make sure by hand that RF is off.")
    assert lab.rf.state in (Rf.IN_DOUBT, Rf.TURNING_OFF)
    tried.plug_in("source")
    until(lambda: lab.rf.state is Rf.OFF)
    assert not tried.rf_on
    assert entry.session is not None
    with Session(entry.session) as session:
        assert session.status is Status.FAILED
        paused = [text for text in session.warnings if text.startswith("paused: ")]
        assert "by hand" in paused[0]
        asked = [text for text in paused if "asked by the window" in text]
        assert asked
        assert not any("by hand" in text for text in asked)


def test_an_instrument_that_is_unplugged_while_the_device_is_characterised(
    window: MainWindow, tried: TriedBench, lab: Lab, qtbot: QtBot, until: Until
) -> None:
    connect(window.bench, tried, qtbot)
    lab.actions["bench.characterise"].trigger()
    (job,) = lab.jobs.working
    until(lambda: job.progress.description not in ("", "opening"))
    tried.unplug("analyzer")
    until(lambda: job.state.over)
    assert job.outcome == "device fault"
    for said in (window.bench.measuring.measured.text(), window.banner.text.text()):
        assert "analyzer at TCPIP0" in said
    until(lambda: "1 of 4 instruments are not in order" in window.bench.state.text())
    tried.plug_in("analyzer")
    until(lambda: "all 4 instruments answer" in window.bench.state.text())
    until(lambda: lab.rf.state is Rf.OFF)
    assert not tried.rf_on


def test_a_second_window_on_the_same_bench_is_refused_and_the_first_one_goes_on(
    window: MainWindow, tried: TriedBench, lab: Lab, qtbot: QtBot, until: Until, tmp_path: Path
) -> None:
    first = start(window, on_bench(tried))
    until(lambda: doing(first) == "training")
    lab.actions["run.pause"].trigger()  # it has the bench all the same
    other_lab = Lab(State(tmp_path / "other"), lab.theme, standby=False)
    other = MainWindow(other_lab)
    try:
        # Looking at the bench says whose it is.
        other.bench.file.setEditText(str(tried.path))
        other_lab.actions["bench.connect"].trigger()
        until(lambda: f"in use by process {first.job.pid}" in other.bench.state.text())
        second = start(other, on_bench(tried))
        until(lambda: second.standing.over)
        assert second.standing is JobState.FAILED
        assert second.advice.startswith("Wait until the other run has ended")
        assert "another run is using it" in second.why
        assert second.why in other.banner.text.text()
        assert first.standing is JobState.PAUSED
        assert first.session is not None
        with Session(first.session) as session:
            taken = session.n_shots
            lab.actions["run.pause"].trigger()
            until(lambda: session.refresh() or session.n_shots > taken + 24)
            assert [text.partition(" ")[0] for text in session.warnings] == ["paused:", "goes"]
        # RF OFF in the second window ends the first one's run too.
        until(lambda: other_lab.rf.state is Rf.ON)
        other_lab.actions["rf.off"].trigger()
        until(lambda: first.standing.over)
        until(lambda: other_lab.rf.state is Rf.OFF)
        assert not tried.rf_on
    finally:
        other.leave()


def test_a_full_disk_ends_a_run_with_rf_off(
    window: MainWindow, tried: TriedBench, lab: Lab, until: Until, disk: Path
) -> None:
    lab.choose_sessions(disk)
    entry = start(window, on_bench(tried))
    until(lambda: doing(entry) == "training")
    with (disk / "hog").open("wb", buffering=0) as hog, suppress(OSError):
        while hog.write(bytes(1 << 20)):
            pass
    until(lambda: entry.standing.over)
    assert entry.standing is JobState.FAILED
    assert entry.why.startswith("storage fault: ")
    assert entry.advice == "Look at the disk: is there room, and may it be written? Resume it to go on where it was."
    assert not tried.rf_on
    assert window.banner.isVisible()
    assert entry.session is not None
    with Session(entry.session) as session:
        kept = session.n_shots
    (disk / "hog").unlink()
    window.runs.queue.again(entry, resume=True)
    until(lambda: doing(entry) == "training")
    lab.actions["run.stop"].trigger()
    until(lambda: entry.standing.over)
    with Session(entry.session) as session:
        assert session.n_shots > kept
    assert not tried.rf_on


WINDOW = """
import os, signal, sys
from pathlib import Path
from PyQt6.QtCore import QTimer
from PyQt6.QtWidgets import QApplication
from gui.lab import Lab
from gui.runs.entry import Entry
from gui.state import State
from gui.theme import Mode, Theme
from gui.window import MainWindow
import json

app = QApplication([])
lab = Lab(State(Path(sys.argv[1])), Theme(app, Mode.LIGHT), standby=False)
lab.state.begins()
window = MainWindow(lab)
window.show()
window.runs.queue.add([Entry(json.loads(sys.argv[2]))])
(entry,) = window.runs.queue.entries

def look():
    if entry.job is not None and entry.job.progress.description == "training":
        os.kill(os.getpid(), signal.SIGKILL)

timer = QTimer()
timer.timeout.connect(look)
timer.start(20)
sys.exit(app.exec())
"""


@pytest.mark.skipif(os.name != "posix", reason="processes in sessions of their own")
def test_a_window_that_is_killed_leaves_its_run_to_the_next_one(
    tried: TriedBench, lab: Lab, qtbot: QtBot, until: Until
) -> None:
    died = subprocess.run(
        [sys.executable, "-c", WINDOW, str(lab.state.folder), json.dumps(on_bench(tried))], check=False, timeout=100
    )
    assert died.returncode == -signal.SIGKILL
    assert tried.rf_on
    window = MainWindow(lab)
    noticed: list[str] = []
    lab.noticed.connect(lambda level, text: noticed.append(text))
    try:
        window.show()
        begin_in_background(lab, window, None, None)
        until(lambda: lab.jobs.going)
        (entry,) = window.runs.queue.entries
        assert noticed[0] == "the window did not end properly last time: it was killed, or this computer stopped"
        until(lambda: entry.standing is JobState.RUNNING)
        until(lambda: lab.rf.state is Rf.ON)
        lab.actions["rf.off"].trigger()
        until(lambda: not tried.rf_on)
        until(lambda: entry.standing.over)
        until(lambda: lab.rf.state is Rf.OFF)
        assert entry.resumable
    finally:
        window.leave()


def headless(tmp_path: Path, session: Path) -> "subprocess.Popen[bytes]":
    """A run that no window has started, and that does not end by itself."""
    config = write_config(tmp_path / "headless.toml", epochs=ENDLESS)
    words = ["train", str(config), "--out", str(session)]
    return forked.start_command(words, tmp_path, tmp_path / "headless.out", tmp_path / "headless.err", {})


def test_a_headless_run_is_watched_paused_and_stopped(
    window: MainWindow, lab: Lab, until: Until, tmp_path: Path
) -> None:
    session = lab.sessions / "headless.h5"
    process = headless(tmp_path, session)
    do, page = lab.actions, window.live
    do["page.live"].trigger()
    assert not do["live.pause"].isEnabled()
    do["live.open"].trigger()
    dialog = page.findChild(QFileDialog, "live.choose")
    assert dialog is not None
    dialog.fileSelected.emit(str(session))
    dialog.reject()
    until(lambda: page.run.n_steps > 10)
    do["live.pause"].trigger()
    until(lambda: do["live.pause"].text() == "Go on")
    assert "asked by the window" in page.headline.state.text()
    taken = page.run.n_shots
    do["live.pause"].trigger()
    until(lambda: page.run.n_shots > taken and do["live.pause"].text() == "Pause")
    do["live.stop"].trigger()
    until(lambda: page.run.stopped is not None)
    assert process.wait() == 4
    assert "asked to stop by the window" in page.headline.state.text()
    assert not do["live.stop"].isEnabled()
    with Session(session) as recorded:
        assert (recorded.status, recorded.n_shots) == (Status.ABORTED, page.run.n_shots)


def test_a_session_that_is_deleted_while_it_is_open(
    window: MainWindow, lab: Lab, until: Until, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "PATIENCE_S", 0.5)
    session = lab.sessions / "headless.h5"
    process = headless(tmp_path, session)
    until(session.exists)
    window.open_session(session)
    until(lambda: window.replay.shots.shown is not None)
    window.show_live(session)
    until(lambda: window.live.run.n_steps > 10)
    session.unlink()
    until(lambda: "headless.h5 is gone; waiting for it" in window.live.banner.text())
    assert "its file is gone" in window.live.headline.state.text()
    assert not lab.actions["live.pause"].isEnabled()
    window.go("Replay")
    until(lambda: "was deleted or moved away" in window.replay.notice.text())
    # The run has noticed too, and nothing is lost.
    assert process.wait() == 5
    (rescued,) = lab.sessions.iterdir()
    with Session(rescued) as recorded:
        assert recorded.n_shots >= window.live.run.n_shots
    page = window.replay
    page._compare()
    until(lambda: "cannot be compared" in page.notice.text())
    rescued.rename(session)
    until(lambda: not page.notice.isVisible())
    window.go("Live")
    until(lambda: "failed" in window.live.headline.state.text())
    assert window.live.run.n_shots == page.shots._count
    assert not window.live.banner.isVisible()


def test_a_configuration_that_is_wrong_is_told_wherever_it_is_found_out(
    window: MainWindow, lab: Lab, until: Until, tmp_path: Path
) -> None:
    torn, wrong = tmp_path / "torn.toml", tmp_path / "wrong.toml"
    torn.write_text("[training\nbatch = 8")
    wrong.write_text('[device]\nname = "echo-state-ring"\nn_nodes = -3\n[training]\nbatch = 0\n')
    window.runs.form.load({"training": {"batch": 9}})
    drop(window, torn)
    until(lambda: "torn.toml" in window.banner.text.text())
    assert window.runs.form.values() == {"training": {"batch": 9}}
    drop(window, wrong)
    until(lambda: "device" in window.runs.form.values())
    # The form knows about the batch at once.
    row = window.runs.form.row("training.batch")
    assert row is not None
    assert row.problem == "must be at least 1"
    lab.actions["run.start"].trigger()
    assert window.runs.queue.entries == []
    row.editor.give(8)
    # About the nodes only the desk does, which is not there: the run itself does.
    lab.actions["run.start"].trigger()
    (entry,) = window.runs.queue.entries
    until(lambda: entry.standing.over)
    assert entry.why == "bad input: device.n_nodes = -3: must be at least 1"
    # No session comes of it: the page of live plots waits for none, and shows the next run.
    assert window.live.path is None
    assert "has taken no shot" in window.live.banner.text()
    assert entry.why in window.banner.text.text()
    lab.actions["queue.edit"].trigger()
    assert window.runs.form.values()["device"]["n_nodes"] == -3
