"""The window's side of a sentinel: a process with connections of its own that turns the RF of one bench off."""

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from PyQt6.QtCore import QObject, QProcess, QTimer, pyqtSignal

LOOK_MS = 1000
"""Between two questions for the RF's state."""
ANSWER_MS = 5000
"""After which a question counts as unanswered."""


class Sentinel(QObject):
    """`labpgt rf-off BENCH --serve`, kept warm: turning RF off must not wait for a program to load."""

    looked = pyqtSignal(dict)
    """The RF's state: rf ("on", "off", "unknown"), in_use, roles, problems."""
    turned_off = pyqtSignal(dict)
    """The answer to `turn_off`: off, problems, took_s."""

    def __init__(self, bench: Path) -> None:
        super().__init__()
        self.bench = bench
        self.closed = False
        self._rest = b""
        self._pending_off = False
        self._errors = b""
        self._process = QProcess(self)
        self._process.readyReadStandardOutput.connect(self._hear)
        self._process.readyReadStandardError.connect(self._hear_errors)
        self._process.finished.connect(self._gone)
        self._looks = QTimer(self)
        self._looks.setInterval(LOOK_MS)
        self._looks.timeout.connect(self._look)
        self._overdue = QTimer(self)
        self._overdue.setSingleShot(True)
        self._overdue.timeout.connect(self._no_answer)
        self._start()

    def turn_off(self) -> None:
        """Have RF turned off now, whoever uses the bench; `turned_off` tells whether it is."""
        if self._process.state() == QProcess.ProcessState.NotRunning:
            self._start()
        self._pending_off = True
        self._say("off")

    def close(self) -> None:
        """Let the process leave; RF stays as it is."""
        self.closed = True
        self._looks.stop()
        self._overdue.stop()
        self._process.closeWriteChannel()
        if not self._process.waitForFinished(500):
            self._process.kill()
            self._process.waitForFinished(500)

    def _start(self) -> None:
        self._rest = self._errors = b""
        words = ["-P", "-m", "procedures.cli", "rf-off", str(self.bench), "--serve"]
        self._process.start(sys.executable, words)

    def _say(self, word: str) -> None:
        self._process.write(word.encode() + b"\n")
        if not self._overdue.isActive():
            self._overdue.start(ANSWER_MS)

    def _look(self) -> None:
        if not self._overdue.isActive():
            self._say("state")

    def _hear(self) -> None:
        *lines, self._rest = (self._rest + bytes(self._process.readAllStandardOutput().data())).split(b"\n")
        for line in lines:
            said: Any = None
            with suppress(ValueError):
                said = json.loads(line)
            match said:
                case {"ready": True}:
                    self._looks.start()
                    self._look()
                case {"off": bool()}:
                    self._pending_off = False
                    self._overdue.stop()
                    self.turned_off.emit(said)
                case {"rf": str()}:
                    if not self._pending_off:
                        self._overdue.stop()
                    self.looked.emit(said)

    def _hear_errors(self) -> None:
        self._errors = (self._errors + bytes(self._process.readAllStandardError().data()))[-4000:]

    def _no_answer(self) -> None:
        why = f"no answer about {self.bench.name} within {ANSWER_MS / 1000:g} s"
        self._failed(why)

    def _gone(self) -> None:
        self._looks.stop()
        self._overdue.stop()
        if not self.closed:
            lines = self._errors.decode("utf-8", "replace").strip().splitlines()
            self._failed(_readable(lines[-1]) if lines else "the process that watches over the RF has stopped")

    def _failed(self, why: str) -> None:
        if self._pending_off:
            self._pending_off = False
            self.turned_off.emit({"off": False, "problems": [why], "took_s": None})
        self.looked.emit({"rf": "unknown", "in_use": None, "roles": {}, "problems": [why]})


def _readable(line: str) -> str:
    with suppress(ValueError):
        said = json.loads(line)
        if isinstance(said, dict) and "error" in said:
            return str(said["error"])
    return line.removeprefix("labpgt: ")
