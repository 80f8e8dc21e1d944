"""From pressing RF OFF in the window until the source's RF is off: idle, in the middle of a run, and by other means."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PyQt6.QtTest import QTest
from PyQt6.QtWidgets import QApplication

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from gui.lab import Lab
from gui.rf import Rf
from gui.state import State
from gui.theme import Theme
from gui.top_bar import TopBar
from tests.gui.test_bench import turn_on
from tests.gui.test_jobs import write_config
from tests.instruments.benches import TriedBench
from tests.virtual_runs import RING

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(300)]
TIMES = 5


@pytest.fixture
def tried(tmp_path: Path) -> Iterator[TriedBench]:
    bench = TriedBench(tmp_path, settings=dict(RING), latency_s=0.005)
    bench.open()
    yield bench
    bench.virtual.close()


def until(condition: object) -> float:
    """Wait, without Qt, until the source's RF is off; return when that was."""
    while condition():  # type: ignore[operator]
        time.sleep(0.0005)
    return time.perf_counter()


def test_rf_off(tried: TriedBench, tmp_path: Path) -> None:
    app = QApplication.instance() or QApplication([])
    assert isinstance(app, QApplication)
    lab = Lab(State(tmp_path / "window"), Theme(app), standby=False)
    top = TopBar(lab)
    top.show()
    lab.rf.watch_over(tried.path)

    def spin(condition: object) -> None:
        while not condition():  # type: ignore[operator]
            QTest.qWait(5)

    def start(number: int) -> tuple[Path, subprocess.Popen[bytes]]:
        device = {"name": "magnonic-ring", "bench": str(tried.path), "symbol_s": 40e-9, "n_nodes": 4}
        config = write_config(tmp_path / "run.toml", device, epochs=100_000, batch=12)
        session = tmp_path / f"run{number}.h5"
        words = [sys.executable, "-m", "procedures.cli", "train", str(config), "--out", str(session)]
        process = subprocess.Popen(words, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
        until(lambda: not (session.exists() and tried.rf_on))
        time.sleep(1.0)
        return session, process

    def press() -> float:
        began = time.perf_counter()
        top.off.click()
        app.processEvents()
        return until(lambda: app.processEvents() or tried.rf_on) - began

    spin(lambda: lab.rf.state is Rf.OFF)
    found: dict[str, list[float]] = {"RF OFF, idle": [], "RF OFF, a run busy": [], "Ctrl-C to the run": []}
    found |= {"labpgt rf-off, started anew": [], "the same without a file, a run busy": []}
    for i in range(TIMES):
        turn_on(tried)
        spin(lambda: lab.rf.state is Rf.ON)
        found["RF OFF, idle"].append(press())
        spin(lambda: lab.rf.state is Rf.OFF)
        _, process = start(i)
        spin(lambda: lab.rf.state is Rf.ON)
        found["RF OFF, a run busy"].append(press())
        spin(lambda busy=process: busy.poll() is not None)
        spin(lambda: lab.rf.state is Rf.OFF)
        _, process = start(i + TIMES)
        began = time.perf_counter()
        process.send_signal(signal.SIGINT)
        found["Ctrl-C to the run"].append(until(lambda: tried.rf_on) - began)
        process.wait()
        turn_on(tried)
        began = time.perf_counter()
        cold = subprocess.Popen([sys.executable, "-m", "procedures.cli", "rf-off", str(tried.path)])
        found["labpgt rf-off, started anew"].append(until(lambda: tried.rf_on) - began)
        cold.wait()
        _, process = start(i + 2 * TIMES)
        began = time.perf_counter()
        cold = subprocess.Popen([sys.executable, "-m", "procedures.cli", "rf-off"])
        found["the same without a file, a run busy"].append(until(lambda: tried.rf_on) - began)
        cold.wait()
        process.wait()
    lab.close()
    peer = float(np.median(found["Ctrl-C to the run"]))
    print(f"\n\n{'way to RF off (5 ms a reply)':<38}{'median':>10}{'longest':>10}{'of Ctrl-C':>10}")
    for way, seconds in found.items():
        median = float(np.median(seconds))
        print(f"{way:<38}{1e3 * median:>7.0f} ms{1e3 * max(seconds):>7.0f} ms{median / peer:>10.2f}")
