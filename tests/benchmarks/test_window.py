"""What the window costs: frames and stalls at 2000 shots a second, the run beside it, long sessions, memory.

With a display (`xvfb-run`) it is used, otherwise Qt draws into memory.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import pytest

if "DISPLAY" not in os.environ:
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PyQt6.QtCore import QEvent, QEventLoop, QObject, Qt, QTimer
from PyQt6.QtWidgets import QApplication

from gui.lab import Lab
from gui.live import LivePage
from gui.state import State
from gui.theme import Mode, Theme
from labpgt.events import EpochDone, Event, ShotsTaken, StepDone
from labpgt.follow_rows import MARK_DTYPE, News, Part
from tests.long_sessions import events, write

ROOT = Path(__file__).resolve().parents[2]
PAIRS = 4
RUN = (
    *("train", "--device", "tests.paced:PacedRing", "--estimator", "node", "--json"),
    *("--set=network.hidden=[32]", "--set=network.symbols=8", "--set=training.batch=16", "--set=training.epochs=15"),
)
BUSY = (
    *("train", "data/echo-state-ring.toml", "--estimator", "node", "--json", "--set=training.epochs=60"),
    *("--set=network.hidden=[32]", "--set=network.symbols=8"),
)
BEAT_MS = 2


class Loop(QObject):
    """Counts what is painted, and looks how long the event loop is away."""

    def __init__(self, page: LivePage) -> None:
        super().__init__()
        self.paints = {panel.key: 0 for panel in page.panels}
        self._keys = {panel.plot.canvas.viewport(): panel.key for panel in page.panels}
        for viewport in self._keys:
            viewport.installEventFilter(self)
        self.stalls: list[float] = []
        self._last = time.perf_counter()
        self._beat = QTimer(self)
        self._beat.setTimerType(Qt.TimerType.PreciseTimer)
        self._beat.setInterval(BEAT_MS)
        self._beat.timeout.connect(self._tick)
        self._beat.start()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802
        if event is not None and event.type() == QEvent.Type.Paint and watched in self._keys:
            self.paints[self._keys[watched]] += 1  # type: ignore[index]
        return False

    def reset(self) -> None:
        self.paints = dict.fromkeys(self.paints, 0)
        self.stalls = []
        self._last = time.perf_counter()

    def _tick(self) -> None:
        now = time.perf_counter()
        self.stalls.append(1000 * (now - self._last) - BEAT_MS)
        self._last = now


class Seen(NamedTuple):
    """Of one run."""

    wall: float
    rate: float
    frames: float = np.nan
    """A second, of the plot that was painted least among those that change with every shot."""
    stall: float = np.nan
    """Longest, ms."""
    processor: float = np.nan
    """Share of a core that the window takes."""


@pytest.fixture
def page(tmp_path: Path) -> Iterator[LivePage]:
    app = QApplication.instance() or QApplication([])
    assert isinstance(app, QApplication)
    lab = Lab(State(tmp_path / "window"), Theme(app, Mode.LIGHT), standby=False)
    page = LivePage(lab)
    page.resize(1280, 720)
    page.show()
    yield page
    page.close_session()
    lab.close()
    page.deleteLater()


def turn_until(done: Callable[[], object], seconds: float = 300.0) -> None:
    """Let the event loop run."""
    loop = QEventLoop()
    deadline = time.monotonic() + seconds
    poll = QTimer()
    poll.setInterval(5)
    poll.timeout.connect(lambda: loop.quit() if done() or time.monotonic() > deadline else None)
    poll.start()
    loop.exec()
    poll.stop()
    assert done()


def run(path: Path, words: tuple[str, ...], page: LivePage | None, loop: Loop | None) -> Seen:
    """Train, with or without the window looking on; the times are by the run's own clock."""
    process = subprocess.Popen(
        [sys.executable, "-m", "procedures.cli", *words, f"--out={path}"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    frames = stall = share = np.nan
    if page is not None and loop is not None:
        page.show_session(path)
        turn_until(lambda: page.run.n_steps > 50)
        me = psutil.Process()
        loop.reset()
        began, used = time.perf_counter(), sum(me.cpu_times()[:2])
        turn_until(lambda: page.run.stopped is not None)
        took = time.perf_counter() - began
        share = (sum(me.cpu_times()[:2]) - used) / took
        frames = min(loop.paints[key] for key in ("loss", "shot", "waterfall", "spectrum", "difference")) / took
        stall = max(loop.stalls)
        page.close_session()
    with process.stdout as stream:
        report = json.loads(stream.read())
    assert process.wait() == 0
    path.unlink()
    shots = sum(report[name] for name in ("shots", "calibration_shots", "baseline_shots", "evaluation_shots"))
    return Seen(report["wall_s"], shots / report["wall_s"], frames, stall, share)


@pytest.mark.benchmark
@pytest.mark.timeout(1800)
def test_six_plots_beside_a_run(page: LivePage, tmp_path: Path) -> None:
    loop = Loop(page)
    assert len(page.shown) == 6
    platform = QApplication.platformName()
    print(f"\nSix plots, 1280 x 720, platform {platform}, {os.cpu_count()} cores; {PAIRS} pairs in turns, medians")
    print(f"{'run':22}{'shots/s':>9}{'alone s':>9}{'watched s':>11}{'ratio':>7}{'frames/s':>10}{'longest stall ms':>18}"
          f"{'window, cores':>15}   ratios pair by pair")  # fmt: skip
    for name, words in (("paced, as on a bench", RUN), ("as fast as it can", BUSY)):
        run(tmp_path / "warm-up.h5", words, None, None)
        alone, watched = [], []
        for pair in range(PAIRS):
            # Whoever comes first changes, for the machine may slow down meanwhile.
            for looking in (False, True) if pair % 2 else (True, False):
                seen = run(tmp_path / "run.h5", words, *((page, loop) if looking else (None, None)))
                (watched if looking else alone).append(seen)
        one, other = np.median(np.array(alone), 0), np.median(np.array(watched), 0)
        ratios = " ".join(f"{b.wall / a.wall:.3f}" for a, b in zip(alone, watched, strict=True))
        stall = max(seen.stall for seen in watched)
        print(
            f"{name:22}{other[1]:9.0f}{one[0]:9.2f}{other[0]:11.2f}{other[0] / one[0]:7.3f}{other[2]:10.1f}"
            f"{stall:18.0f}{other[4]:15.2f}   {ratios}"
        )


@pytest.mark.benchmark
@pytest.mark.timeout(900)
def test_opening_a_long_session(page: LivePage, tmp_path: Path) -> None:
    loop = Loop(page)
    path = write(tmp_path / "long.h5", 1_000_000, per_step=1, symbols=8, nodes=10)
    print(f"\nA session of 1e6 shots and 1e6 steps, {path.stat().st_size / 1e6:.0f} MB; s after it was asked for")
    print(f"{'first full picture':>20}{'whole record read':>20}{'longest stall ms':>18}")
    for _ in range(3):
        loop.reset()
        began = time.perf_counter()
        page.show_session(path)
        # Painted after all six plots have got their values.
        turn_until(
            lambda: page.run.n_steps and page.run.recent is not None and all(loop.paints[p.key] for p in page.shown)
        )
        painted = time.perf_counter() - began
        turn_until(lambda: not page.run.sampled and page.run.picture.steps.rows == 1_000_000)
        print(f"{painted:20.2f}{time.perf_counter() - began:20.1f}{max(loop.stalls):18.0f}")
        page.close_session()


@pytest.mark.benchmark
@pytest.mark.timeout(900)
def test_memory_over_ten_million_shots(page: LivePage) -> None:
    page.path = Path("made-up.h5")
    counts = {"n_shots": 0, "n_steps": 0, "n_epochs": 0}
    me = psutil.Process()
    print("\nMillions of shots, and the memory of the process with six plots (RSS, MB)")
    told = 0
    for i, event in enumerate(events(10_000_000, per_step=1)):
        page._take(_news(event, counts))
        if i % 30 == 0:
            page.draw()
            QApplication.processEvents()
        if counts["n_shots"] >= told:
            print(f"{counts['n_shots'] / 1e6:8.1f}{me.memory_info().rss / 1e6:10.1f}")
            told += 1_000_000


def _news(event: Event, counts: dict[str, int]) -> News:
    match event:
        case ShotsTaken(rows=rows):
            marks = np.empty(len(rows), MARK_DTYPE)
            marks["time"], marks["flags"] = rows["time"], rows["flags"]
            counts["n_shots"] += len(rows)
            return News(new=Part(marks=marks), shots=rows[-256:], **counts)
        case StepDone(row=rows):
            counts["n_steps"] += len(rows)
            return News(new=Part(steps=rows), **counts)
        case EpochDone(row=rows):
            counts["n_epochs"] += len(rows)
            return News(new=Part(epochs=rows), **counts)
    return News(events=[event], **counts)
