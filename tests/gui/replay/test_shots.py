"""Going through shots: keys, choice, what is told of each, and a run that goes on meanwhile."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PyQt6.QtCore import Qt
from pytestqt.qtbot import QtBot

from gui.lab import Lab
from gui.replay import ReplayPage, facts
from gui.replay.opened import Choice
from labpgt.events import TEST_SAMPLE, Purpose
from labpgt.insight import difference_noise
from labpgt.session import Session

Until = Callable[[Callable[[], object]], None]

WRITER = """
import sys
from pathlib import Path
import numpy as np
from labpgt.events import Flag, ShotsTaken, shot_dtype
from labpgt.session import SessionWriter
from tests.sessions import STARTED

writer = SessionWriter(Path(sys.argv[1]), flush_s=0.01)
writer(STARTED)
count = 0
for line in sys.stdin:
    rows = np.zeros(int(line), shot_dtype(STARTED.symbols, STARTED.nodes))
    rows["index"] = np.arange(count, count + len(rows))
    rows["flags"][-1] = Flag.DRIFT
    rows["time"] = 1.75e9
    count += len(rows)
    writer(ShotsTaken(rows))
"""


@pytest.fixture
def writing(lab: Lab, until: Until) -> Iterator["subprocess.Popen[str]"]:
    """A process that writes so many shots into running.h5 whenever it is told a number."""
    path = lab.sessions / "running.h5"
    words = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) as process:
        tell(process, 20)
        until(path.exists)
        yield process
        process.kill()


def tell(process: "subprocess.Popen[str]", shots: int) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{shots}\n")
    process.stdin.flush()


def test_keys_and_buttons_go_through_the_shots(
    page: ReplayPage, opened: Callable[[str], Path], qtbot: QtBot, until: Until, lab: Lab
) -> None:
    opened("pgt.h5")
    page.activate()
    last = page.shots._count - 1
    page_of = page.shots._page
    for by_key in (True, False):
        for key, name, place in (
            (Qt.Key.Key_Right, "replay.next", 1),
            (Qt.Key.Key_PageDown, "replay.on", 1 + page_of),
            (Qt.Key.Key_Left, "replay.previous", page_of),
            (Qt.Key.Key_End, "replay.last", last),
            (Qt.Key.Key_Right, "replay.next", last),
            (Qt.Key.Key_H, "replay.other", last - 1),
            (Qt.Key.Key_PageUp, "replay.back", last - 1 - page_of),
            (Qt.Key.Key_Home, "replay.first", 0),
        ):
            if by_key:
                qtbot.keyClick(page.shots.slider, key)
            else:
                lab.actions[name].trigger()
            until(lambda place=place: page.shots.shown.index == place)
            assert page.shots.slider.value() == page.shots.spin.value() == place


def test_the_shots_are_played(
    page: ReplayPage, opened: Callable[[str], Path], qtbot: QtBot, until: Until, lab: Lab
) -> None:
    opened("pgt.h5")
    page.activate()
    page.shots._go(page.shots._count - 4)
    until(lambda: page.shots.shown.index == page.shots._count - 4)
    qtbot.keyClick(page.shots.slider, Qt.Key.Key_P)
    until(lambda: page.shots.shown.index == page.shots._count - 1 and not page.shots._play.isChecked())
    page.shots._go(0)
    lab.actions["replay.play"].trigger()
    until(lambda: page.shots.shown.index >= 2)
    lab.actions["replay.play"].trigger()
    here = page.shots._at
    lab.actions["replay.next"].trigger()
    until(lambda: page.shots.shown.index == here + 1)


def test_everything_about_a_shot_is_told(page: ReplayPage, opened: Callable[[str], Path], until: Until) -> None:
    with Session(opened("pgt.h5")) as session:
        rows, steps, noise = session.shots(), session.steps(), difference_noise(session)
    plus = rows[(rows["purpose"] == Purpose.TRAIN) & (rows["sign"] == 1)][7]
    minus, step = rows[plus["index"] + 1], steps[plus["step"]]
    page.shots.spin.setValue(int(minus["index"]))
    until(lambda: page.shots.shown.index == minus["index"])
    told = page.shots.facts.value
    assert told("Taken for") == "training, epoch 1"
    assert told("Sample") == str(minus["sample"])
    assert facts._sample(TEST_SAMPLE + 15) == "15 of the test part"
    assert told("Flags") == "none"
    assert told("Half") == f"−; the other is shot {plus['index']}"
    assert told("Loss") == f"{minus['loss']:.6g}"
    difference = plus["loss"] - minus["loss"]
    assert told("L+ − L−").startswith(f"{difference:.4g}\n{abs(difference) / noise:.2g} × its noise")
    assert told("Update") == str(plus["step"])
    assert told("Gradient") == f"{step['gradient_norm']:.4g}"
    assert "dropped" in told("Parameters")
    np.testing.assert_allclose(page.shots._half_curve.y, (plus["drive"] - minus["drive"]) / 2)

    page.shots.spin.setValue(0)
    until(lambda: page.shots.shown.index == 0)
    assert told("Taken for") == "calibration"
    assert told("Half") == "none: an unperturbed shot"
    assert told("Update") == "none: not a training shot"


@pytest.mark.parametrize("choice", [Choice.TRAINING, Choice.BASELINE])
def test_only_the_chosen_shots_are_gone_through(
    page: ReplayPage, opened: Callable[[str], Path], until: Until, choice: Choice
) -> None:
    purpose = {Choice.TRAINING: Purpose.TRAIN, Choice.BASELINE: Purpose.BASELINE}[choice]
    with Session(opened("node.h5")) as session:
        wanted = np.flatnonzero(session.shots()["purpose"] == purpose)
    page.shots.choice.setCurrentIndex(list(Choice).index(choice))
    until(lambda: page.shots._count == len(wanted))
    until(lambda: page.shots.shown.index == wanted[0])
    page._lab.actions["replay.next"].trigger()
    until(lambda: page.shots.shown.index == wanted[1])
    page._lab.actions["replay.last"].trigger()
    until(lambda: page.shots.shown.index == wanted[-1])
    page.shots.choice.setCurrentIndex(0)
    page._lab.actions["replay.first"].trigger()
    until(lambda: page.shots.shown.index == 0)


def test_a_running_session_grows_is_followed_and_found_crashed(
    page: ReplayPage, writing: "subprocess.Popen[str]", opened: Callable[[str], Path], until: Until, lab: Lab
) -> None:
    opened("running.h5")
    assert "▶ running" in page.header.text()
    assert page.shots._newest.isChecked()
    until(lambda: page.shots.shown.index == 19)
    tell(writing, 30)
    until(lambda: page.shots.shown.index == 49)
    page.shots._move(-1)
    assert not page.shots._newest.isChecked()
    tell(writing, 10)
    until(lambda: page.shots._count == 60)
    assert page.shots.shown.index == 48
    lab.actions["replay.newest"].trigger()
    until(lambda: page.shots.shown.index == 59)
    page.shots.choice.setCurrentIndex(list(Choice).index(Choice.FLAGGED))
    until(lambda: page.shots._numbers is not None and page.shots._numbers.tolist() == [19, 49, 59])
    until(lambda: page.shots.facts.value("Flags").startswith("drift"))
    assert not page.work.resume.isEnabled()
    writing.kill()
    until(lambda: "◆ crashed" in page.header.text())
    assert page.work.resume.isEnabled()
    assert not page.shots._newest.isEnabled()
