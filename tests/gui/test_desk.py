"""The window's side of the desk."""

from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from gui import desk
from gui.desk import Desk
from gui.json_process import JsonProcess

PROGRAM = """
import json, sys
print(json.dumps({"state": "ready"}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    if asked["do"] == "devices":
        print(json.dumps({"id": asked["id"], "ok": True, "value": []}), flush=True)
"""


def test_a_desk_that_hangs_is_started_anew(qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stuck.py").write_text(PROGRAM)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(desk, "JsonProcess", lambda module: JsonProcess("stuck"))
    for name, value in (("_LOOK_MS", 10), ("_PATIENCE", 3), ("_AGAIN_MS", 10)):
        monkeypatch.setattr(desk, name, value)
    asking = Desk()
    states: list[str] = []
    told: list[object] = []
    asking.state_changed.connect(states.append)
    asking.begin()
    qtbot.waitUntil(lambda: asking.state == "ready")
    asking.ask("devices", told.append)
    qtbot.waitUntil(lambda: told == [[]])
    asking.ask("estimate", told.append, told.append, config={})
    asking.ask("check", told.append, told.append, config={})
    qtbot.waitUntil(lambda: len(told) == 3)
    assert told[1:] == ["the desk has stopped: no answer to 'check' within 3 s"] * 2
    qtbot.waitUntil(lambda: states.count("ready") == 2)
    asking.ask("devices", told.append)
    qtbot.waitUntil(lambda: told[-1] == [])
    asking.close()
