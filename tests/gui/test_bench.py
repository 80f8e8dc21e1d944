"""The page of the bench and RF OFF, on a virtual bench."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PyQt6.QtCore import QObject, QTimer, pyqtSignal
from PyQt6.QtWidgets import QFileDialog
from pytestqt.qtbot import QtBot

from gui import sentinel
from gui.bench import BenchPage, watch
from gui.jobs import Job, JobState
from gui.lab import Lab
from gui.rf import Rf
from gui.top_bar import TopBar
from tests.gui.test_jobs import SECONDS, over, under_way, write_config
from tests.instruments.benches import TriedBench
from tests.virtual_runs import RING

WAIT = SECONDS


@pytest.fixture
def tried(tmp_path: Path) -> Iterator[TriedBench]:
    bench = TriedBench(tmp_path, settings=dict(RING))
    bench.open()
    yield bench
    bench.virtual.close()


@pytest.fixture
def top(lab: Lab, qtbot: QtBot) -> TopBar:
    bar = TopBar(lab)
    qtbot.addWidget(bar)
    return bar


@pytest.fixture
def page(lab: Lab, qtbot: QtBot) -> Iterator[BenchPage]:
    page = BenchPage(lab)
    qtbot.addWidget(page)
    yield page
    page.close()


def connect(page: BenchPage, tried: TriedBench, qtbot: QtBot) -> None:
    page.file.setEditText(str(tried.path))
    page._lab.actions["bench.connect"].trigger()
    qtbot.waitUntil(lambda: "instruments answer" in page.state.text(), timeout=WAIT)


def turn_on(tried: TriedBench) -> None:
    """Turn RF on, as another program would."""
    _, host, port, _ = tried.virtual.addresses["source"].split("::")
    with socket.create_connection((host, int(port))) as line:
        line.sendall(b":OUTP ON;:OUTP?\n")
        assert line.recv(10).strip() == b"1"


def cells(page: BenchPage) -> dict[str, str]:
    """Every line of the tree: "role" or "role.setting" and its value."""
    found = {}
    for row in range(page.instruments.topLevelItemCount()):
        item = page.instruments.topLevelItem(row)
        assert item is not None
        found[item.text(0)] = f"{item.text(1)} | {item.text(2)}"
        for inner in range(item.childCount()):
            line = item.child(inner)
            assert line is not None
            found[f"{item.text(0)}.{line.text(0)}"] = line.text(1)
    return found


def test_a_bench_is_connected_its_settings_live_and_an_unplugged_instrument_told(
    page: BenchPage, top: TopBar, tried: TriedBench, lab: Lab, qtbot: QtBot
) -> None:
    said: list[str] = []
    lab.rf.said.connect(lambda _level, text: said.append(text))
    connect(page, tried, qtbot)
    assert cells(page)["source"].startswith("Agilent Technologies, N5182B, VB000001")
    assert cells(page)["source.output"] == "off"
    qtbot.waitUntil(lambda: lab.rf.state is Rf.OFF, timeout=WAIT)
    wanted: list[dict[str, str]] = []
    lab.device_wanted.connect(wanted.append)
    lab.actions["bench.use"].trigger()
    assert wanted == [{"name": "magnonic-ring", "bench": str(tried.path)}]
    turn_on(tried)
    qtbot.waitUntil(lambda: cells(page)["source.output"] == "on", timeout=WAIT)
    qtbot.waitUntil(lambda: lab.rf.state is Rf.ON, timeout=WAIT)
    assert top.rf.text() == "●  RF ON"
    lab.actions["rf.off"].trigger()
    qtbot.waitUntil(lambda: lab.rf.state is Rf.OFF, timeout=WAIT)
    assert not tried.rf_on
    # The source is switched off: nobody can say how its RF is.
    tried.virtual.close()
    qtbot.waitUntil(lambda: "4 of 4 instruments are not in order" in page.state.text(), timeout=WAIT)
    qtbot.waitUntil(lambda: lab.rf.state is Rf.IN_DOUBT, timeout=WAIT)
    assert "✖ unreachable" in cells(page)["source"]
    qtbot.waitUntil(lambda: "nothing listens" in page.state.text(), timeout=WAIT)  # the look at its end got no answer
    lab.actions["rf.off"].trigger()
    qtbot.waitUntil(lambda: any("RF of bench.toml may be on" in text for text in said), timeout=WAIT)
    assert lab.rf.state in (Rf.IN_DOUBT, Rf.TURNING_OFF)
    lab.actions["bench.disconnect"].trigger()
    qtbot.waitUntil(lambda: lab.rf.state is Rf.NO_BENCH, timeout=WAIT)
    assert cells(page) == {}


def test_rf_off_ends_a_run_in_the_middle(
    page: BenchPage, top: TopBar, tried: TriedBench, lab: Lab, qtbot: QtBot, tmp_path: Path
) -> None:
    connect(page, tried, qtbot)
    device = {"name": "magnonic-ring", "bench": str(tried.path), "symbol_s": 40e-9, "n_nodes": 4}
    config = write_config(tmp_path / "run.toml", device, epochs=100_000, batch=12)
    session = tmp_path / "run.h5"
    job = lab.jobs.start("a run", ["train", str(config), "--out", str(session), "--json"], session=session)
    under_way(qtbot, job)
    qtbot.waitUntil(lambda: "in use by" in page.state.text(), timeout=WAIT)
    qtbot.waitUntil(lambda: lab.rf.state is Rf.ON, timeout=WAIT)
    assert "a run · running" in top.title.text()
    lab.actions["rf.off"].trigger()
    qtbot.waitUntil(lambda: not tried.rf_on, timeout=WAIT)
    over(qtbot, job)
    # Its last call met a dark ring, or it stopped before: either way it was stopped, and is no success.
    assert job.state is JobState.STOPPED
    qtbot.waitUntil(lambda: lab.rf.state is Rf.OFF, timeout=WAIT)
    assert not tried.rf_on


def test_health_is_measured_and_shown(page: BenchPage, tried: TriedBench, lab: Lab, qtbot: QtBot) -> None:
    connect(page, tried, qtbot)
    lab.actions["bench.health"].trigger()
    (job,) = lab.jobs.working
    assert not lab.actions["bench.characterise"].isEnabled()
    over(qtbot, job)
    assert job.state is JobState.DONE, job.message
    shown = {name: label.text() for name, label in page.measuring.health._values.items()}
    assert shown["drift_limit"] == "0.1"
    assert shown["noise_dbm"].endswith("dBm")
    assert shown["memory_time_s"] == "not measured"
    assert page.measuring.health.title() == "Health of magnonic-ring"
    assert not tried.rf_on
    # What is measured on another device stands alone, under its name.
    page.measuring.device.addItem("echo-state-ring")
    page.measuring.device.setCurrentText("echo-state-ring")
    page.measuring._measuring_ended("characterisation", _ended({"device": "echo-state-ring", "noise_floor": 0.0}))
    assert page.measuring.health.title() == "Health of echo-state-ring"
    told = {
        name: label.text() for name, label in page.measuring.health._values.items() if label.text() != "not measured"
    }
    assert told == {"noise_floor": "0"}
    lab.actions["bench.disconnect"].trigger()
    assert page.measuring.health.title() == "Health"


def _ended(report: dict[str, object]) -> Job:
    job = Job("characterisation", ["characterize"], Path("none"))
    job.state, job.report = JobState.DONE, report
    return job


class Mistaken(QObject):
    """A helper process that ends as soon as it is started, for the same reason each time."""

    said = pyqtSignal(dict)
    gone = pyqtSignal(str)

    def __init__(self, _module: str, _words: list[str]) -> None:
        super().__init__()
        self.starts = 0

    def start(self) -> None:
        self.starts += 1
        QTimer.singleShot(0, lambda: self.gone.emit("analyzer: must be given"))

    def write(self, line: str) -> None:
        pass

    def close(self, _patience_ms: int = 0) -> None:
        pass


def test_a_mistake_in_a_benchs_file_is_said_once_and_no_program_is_started_every_second(
    qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(watch, "JsonProcess", Mistaken)
    monkeypatch.setattr(watch, "_AGAIN_MS", 1)
    monkeypatch.setattr(watch, "_LATER_MS", 4)
    looking = watch.BenchWatch(tmp_path / "bench.toml")
    said: list[str] = []
    looking.failed.connect(said.append)
    process: Any = looking._process
    qtbot.waitUntil(lambda: process.starts > 4, timeout=WAIT)
    assert looking._again.interval() == 4
    assert said == ["analyzer: must be given"]
    process.said.emit({"instruments": []})
    assert looking._again.interval() == 1
    process.gone.emit("analyzer: must be given")
    assert said == ["analyzer: must be given"] * 2
    looking.close()


def test_a_sentinel_that_ends_again_and_again_is_given_time_but_not_for_rf_off(
    qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sentinel, "JsonProcess", Mistaken)
    watching = sentinel.Sentinel(tmp_path / "bench.toml")
    watching._looks.stop()
    process: Any = watching._process
    starts = []
    for _ in range(40):
        watching._overdue.stop()
        watching._look()
        qtbot.wait(1)
        starts.append(process.starts)
    # At once after the first end, then after 1, 3, 7 and 15 looks more.
    assert [starts.index(n) for n in sorted(set(starts))] == [0, 2, 6, 14, 30]
    watching.turn_off()
    assert process.starts == starts[-1] + 1
    process.said.emit({"ready": True})
    assert watching._deaths == 0
    watching.close()


def test_the_device_is_simulated_characterised_calibrated_and_stopped(
    page: BenchPage, lab: Lab, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled: list[Path] = []
    lab.configuration_wanted.connect(filled.append)
    page.measuring.device.addItem("echo-state-ring")
    page.measuring.device.setCurrentText("echo-state-ring")
    lab.actions["bench.characterise"].trigger()
    (first,) = lab.jobs.working
    lab.actions["bench.calibrate"].trigger()  # not now
    assert lab.jobs.working == [first]
    over(qtbot, first)
    assert first.state is JobState.DONE, first.message
    assert float(page.measuring.health._values["stm"].text().split()[0]) == pytest.approx(first.report["stm"], rel=1e-4)
    lab.actions["bench.calibrate"].trigger()
    (second,) = lab.jobs.working
    over(qtbot, second)
    assert second.state is JobState.DONE, second.message
    assert filled[0].is_file()
    lab.actions["bench.characterise"].trigger()
    (third,) = lab.jobs.working
    lab.actions["bench.stop"].trigger()
    over(qtbot, third)
    assert third.state is JobState.STOPPED
    assert "stopped" in page.measuring.measured.text()


def test_a_bench_is_simulated_and_ends_with_the_page(
    page: BenchPage, lab: Lab, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.actions["bench.simulate"].trigger()
    qtbot.waitUntil(lambda: "all 4 instruments answer" in page.state.text(), timeout=WAIT)
    (served,) = lab.jobs.going
    assert lab.jobs.working == []
    page.close()
    over(qtbot, served)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: ("chosen.toml", ""))
    lab.actions["bench.browse"].trigger()
    assert page.file.currentText() == "chosen.toml"


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "Which bench?"), ("nowhere.toml", "no such file"), ("broken.toml", "is not TOML")],
)
def test_a_bench_that_is_none_is_told(
    page: BenchPage, lab: Lab, qtbot: QtBot, tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "broken.toml").write_text("not = = toml")
    told: list[str] = []
    lab.noticed.connect(lambda level, text: told.append(text) if level == "error" else None)
    page.file.setEditText(text)
    lab.actions["bench.connect"].trigger()
    qtbot.waitUntil(lambda: any(said in words for words in told), timeout=WAIT)


def test_a_measurement_that_has_no_place_to_be_written_is_told_of(
    page: BenchPage, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noticed: list[str] = []
    lab.noticed.connect(lambda level, text: noticed.append(f"{level}: {text}"))
    (tmp_path / "file").touch()
    lab.choose_sessions(tmp_path / "file" / "sessions")
    page.measuring.characterise()
    page.measuring.calibrate()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(lab.jobs, "start", refuse)
    page.simulate()
    found = [text.split(": ")[:2] for text in noticed]
    assert found == [
        ["error", f"The {what} cannot be started"] for what in ("characterisation", "calibration", "virtual bench")
    ]
