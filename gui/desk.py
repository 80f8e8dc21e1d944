"""The window's side of the desk: the process that knows devices, checks configurations, and estimates shots and time."""

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from PyQt6.QtCore import QObject, QProcess, QTimer, pyqtSignal

_AGAIN_MS = 1000
"""Before a desk that died is started again."""


class Desk(QObject):
    """Asks `procedures.desk`, and calls back in the window's own thread."""

    state_changed = pyqtSignal(str)
    """What it is doing: "loading torch", "ready" and so on."""

    def __init__(self) -> None:
        super().__init__()
        self.state = "not started"
        self._waiting: dict[int, tuple[Callable[[Any], None], Callable[[str], None]]] = {}
        self._count = 0
        self._rest = b""
        self._closed = False
        self._process = QProcess(self)
        self._process.setProgram(sys.executable)
        self._process.setArguments(["-P", "-m", "procedures.desk"])
        self._process.readyReadStandardOutput.connect(self._hear)
        # What it says on standard error is for the terminal that the window was started from.
        self._process.setProcessChannelMode(QProcess.ProcessChannelMode.ForwardedErrorChannel)
        self._process.finished.connect(self._gone)

    def begin(self) -> None:
        """Start the process."""
        self._become("starting")
        self._process.start()

    def ask(
        self, do: str, then: Callable[[Any], None], failed: Callable[[str], None] = lambda why: None, **given: Any
    ) -> None:
        """Ask the desk; `then` gets the value, or `failed` the reason why there is none."""
        if self._closed or self._process.state() == QProcess.ProcessState.NotRunning:
            failed("the desk is not running")
            return
        self._count += 1
        self._waiting[self._count] = then, failed
        self._process.write(json.dumps({"id": self._count, "do": do, **given}).encode() + b"\n")

    def close(self) -> None:
        """Let it leave."""
        self._closed = True
        self._process.closeWriteChannel()
        if not self._process.waitForFinished(300):
            self._process.kill()
            self._process.waitForFinished(300)

    def _hear(self) -> None:
        *lines, self._rest = (self._rest + bytes(self._process.readAllStandardOutput().data())).split(b"\n")
        for line in lines:
            said: Any = None
            with suppress(ValueError):
                said = json.loads(line)
            match said:
                case {"id": int(number), "ok": True, "value": value} if number in self._waiting:
                    self._waiting.pop(number)[0](value)
                case {"id": int(number), "error": str(why)} if number in self._waiting:
                    self._waiting.pop(number)[1](why)
                case {"state": str(state)}:
                    self._become(state)

    def _gone(self) -> None:
        waiting, self._waiting, self._rest = self._waiting, {}, b""
        for _, failed in waiting.values():
            failed("the desk has stopped")
        if not self._closed:
            self._become("stopped; starting it again")
            QTimer.singleShot(_AGAIN_MS, self._again)

    def _again(self) -> None:
        if not self._closed:
            self.begin()

    def _become(self, state: str) -> None:
        self.state = state
        self.state_changed.emit(state)
