"""The process that turns RF off: asked as soon as it can answer, and replaced when it hangs."""

from pathlib import Path
from typing import Any

import pytest
from PyQt6.QtCore import QObject, pyqtSignal
from pytestqt.qtbot import QtBot

from gui import sentinel as module
from gui.sentinel import Sentinel


class Process(QObject):
    """A process that says what it is told to."""

    said = pyqtSignal(dict)
    gone = pyqtSignal(str)

    def __init__(self, *_: Any) -> None:
        super().__init__()
        self.got: list[str] = []
        self.going = False

    def start(self) -> None:
        if not self.going:
            self.going = True
            self.got.append("start")

    def write(self, line: str) -> None:
        self.got.append(line)

    def close(self, patience_ms: int = 1000) -> None:
        self.going = False
        self.got.append(f"close {patience_ms}")


@pytest.fixture
def sentinel(qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sentinel:
    monkeypatch.setattr(module, "JsonProcess", Process)
    monkeypatch.setattr(module, "LOOK_MS", 10)
    monkeypatch.setattr(module, "ANSWER_MS", 20)
    return Sentinel(tmp_path / "bench.toml")


def got(sentinel: Sentinel) -> list[str]:
    return sentinel._process.got  # type: ignore[attr-defined, no-any-return]


def test_it_is_asked_as_soon_as_it_is_ready(sentinel: Sentinel) -> None:
    sentinel._looks.stop()
    assert got(sentinel) == ["start"]
    sentinel._process.said.emit({"ready": True})
    assert got(sentinel)[-1] == "state"
    sentinel.close()


def test_one_that_hangs_is_replaced(sentinel: Sentinel, qtbot: QtBot) -> None:
    looked: list[dict[str, Any]] = []
    sentinel.looked.connect(looked.append)
    qtbot.waitUntil(lambda: "close 0" in got(sentinel) and len(looked) >= module.SILENT)
    before = got(sentinel)[: got(sentinel).index("close 0")]
    assert before == ["start"] + ["state"] * module.SILENT
    assert {found["rf"] for found in looked} == {"unknown"}
    qtbot.waitUntil(lambda: got(sentinel)[len(before) + 1 :][:2] == ["start", "state"])
    sentinel.close()


def test_one_that_answers_now_and_then_is_kept(sentinel: Sentinel, qtbot: QtBot) -> None:
    lost: list[dict[str, Any]] = []
    sentinel.looked.connect(lambda found: lost.append(found) if found["rf"] == "unknown" else None)

    def answer(found: dict[str, Any]) -> None:
        if found["rf"] == "unknown" and len(lost) % 2:
            sentinel._process.said.emit({"rf": "off"})

    sentinel.looked.connect(answer)
    qtbot.waitUntil(lambda: len(lost) > 2 * module.SILENT)
    assert "close 0" not in got(sentinel)
    sentinel.close()
