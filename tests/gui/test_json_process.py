"""Helper processes of the window: closed without a wait, they leave by themselves or are ended."""

from pathlib import Path

import psutil
import pytest
from pytestqt.qtbot import QtBot

from gui.json_process import JsonProcess, see_all_leave

SECONDS = 60_000
PROGRAM = """
import json, os, sys, time
from pathlib import Path

def say(**words):
    print(json.dumps(words), flush=True)

say(pid=os.getpid())
sys.stdin.read()
say(left=True)
if sys.argv[1:]:
    time.sleep(0.3)
    Path(sys.argv[1]).touch()
else:
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def _program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "helper.py").write_text(PROGRAM)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def test_one_that_does_not_leave_is_not_waited_for_and_ended_in_the_end(qtbot: QtBot) -> None:
    process = JsonProcess("helper")
    said: list[dict[str, object]] = []
    gone: list[str] = []
    process.said.connect(said.append)
    process.gone.connect(gone.append)
    process.start()
    qtbot.waitUntil(lambda: bool(said), timeout=SECONDS)
    child = psutil.Process(int(str(said[0]["pid"])))
    process.close(patience_ms=200)
    assert child.is_running()
    assert not process.going
    del process
    qtbot.waitUntil(lambda: not child.is_running(), timeout=SECONDS)
    assert (len(said), gone) == (1, [])


def test_one_that_has_something_to_finish_is_left_to_it(qtbot: QtBot, tmp_path: Path) -> None:
    process = JsonProcess("helper", [str(tmp_path / "finished")])
    with qtbot.waitSignal(process.said, timeout=SECONDS):
        process.start()
    process.close(patience_ms=SECONDS)
    process.start()  # another one
    assert process.going
    process.close(patience_ms=SECONDS)
    see_all_leave()
    assert (tmp_path / "finished").exists()
