"""How fast a recorded session of a million shots opens and is gone through."""

import random
import time
from pathlib import Path

import pytest
from PyQt6.QtCore import QTimer
from PyQt6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from gui.lab import Lab
from gui.replay import ReplayPage
from gui.replay.opened import Choice
from gui.state import State
from gui.theme import Mode, Theme
from tests.long_sessions import write

SHOTS = 1_000_000
SECONDS = 5
LONG_MS = 600_000


@pytest.mark.benchmark
@pytest.mark.timeout(900)
def test_a_million_shots(qapp: QApplication, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "million.h5", SHOTS)
    lab = Lab(State(tmp_path / "window"), Theme(qapp, Mode.LIGHT), standby=False)
    page = ReplayPage(lab)
    qtbot.addWidget(page, before_close_func=lambda page: page.close_down())
    page.resize(1280, 670)
    with qtbot.waitExposed(page):
        page.show()

    began = time.perf_counter()
    page.open_session(path)
    qtbot.waitUntil(lambda: page.shots.shown is not None, timeout=LONG_MS)
    opened = time.perf_counter() - began
    qtbot.waitUntil(lambda: bool(page.overlay.plot.curves), timeout=LONG_MS)
    curves = time.perf_counter() - began

    stalls, last = [0.0], [time.perf_counter()]
    shown: set[int] = set()

    def beat() -> None:
        now = time.perf_counter()
        stalls.append(now - last[0])
        last[0] = now

    painted = page.shots.picture.canvas.paintEvent

    def paint(event: object) -> None:
        painted(event)
        if page.shots.shown is not None:
            shown.add(page.shots.shown.index)

    monkeypatch.setattr(page.shots.picture.canvas, "paintEvent", paint)
    heart, hand = QTimer(), QTimer()
    heart.timeout.connect(beat)
    hand.timeout.connect(lambda: page.shots.slider.setValue(random.randrange(SHOTS)))
    last[0], processor = time.perf_counter(), time.process_time()
    heart.start(5)
    hand.start(16)
    qtbot.wait(1000 * SECONDS)
    hand.stop()
    processor = time.process_time() - processor
    heart.stop()

    began = time.perf_counter()
    page.shots.choice.setCurrentIndex(list(Choice).index(Choice.FLAGGED))
    qtbot.waitUntil(lambda: "gone through" not in page.shots.of.text() and page.shots._count > 0, timeout=LONG_MS)
    chosen = time.perf_counter() - began
    lab.close()

    print(f"\n{SHOTS:,} recorded shots, page of 1280 × 670, platform {qapp.platformName()}")
    print(f"first shot shown after          {opened:8.2f} s")
    print(f"learning curve drawn after      {curves:8.2f} s")
    print(f"different shots painted a second {len(shown) / SECONDS:7.1f}   at random places")
    print(f"processor time for each         {1e3 * processor / max(1, len(shown)):8.1f} ms")
    print(f"longest stall meanwhile         {1e3 * max(stalls):8.0f} ms")
    print(f"all flagged shots found after   {chosen:8.2f} s")
