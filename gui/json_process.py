"""A child process that says JSON objects, a line each, and obeys lines: it lives no longer than the window."""

import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from PyQt6.QtCore import QCoreApplication, QObject, QProcess, QTimer, pyqtSignal

LEAVE_MS = 1000
"""What a process that was closed gets to leave by itself."""
_KILLED_MS = 500
_KEPT_BYTES = 4000
_LEAVING = "leaving"
"""Name of the processes that were closed and have not left yet; they are the application's."""


class JsonProcess(QObject):
    """`python -P -m MODULE WORDS...` with its standard input and output."""

    said = pyqtSignal(dict)
    gone = pyqtSignal(str)
    """It ended although nobody asked it to; the last line of its standard error, in words."""

    def __init__(self, module: str, words: Sequence[str] = ()) -> None:
        super().__init__()
        self._words = ["-P", "-m", module, *words]
        self._rest = self._errors = b""
        self._process: QProcess | None = None

    @property
    def going(self) -> bool:
        """Whether the process lives, or is being started; one that was closed does not count."""
        return self._process is not None and self._process.state() != QProcess.ProcessState.NotRunning

    def start(self) -> None:
        """Start it; again, if it is gone."""
        if self.going:
            return
        if self._process is None:
            self._process = QProcess(self)
            self._process.readyReadStandardOutput.connect(self._hear)
            self._process.readyReadStandardError.connect(self._hear_errors)
            self._process.finished.connect(self._gone)
            self._process.errorOccurred.connect(self._not_started)
        self._rest = self._errors = b""
        self._process.start(sys.executable, self._words)

    def write(self, line: str) -> None:
        """Send a line; to a process that is gone, nothing."""
        if self._process is not None and self.going:
            self._process.write(line.encode() + b"\n")

    def close(self, patience_ms: int = LEAVE_MS) -> None:
        """Let it leave, without waiting: it reads the end of its input, and is killed if it is still there after that.

        Nothing that it says is heard any more.
        """
        process, self._process = self._process, None
        if process is not None:
            for heard in (process.readyReadStandardOutput, process.readyReadStandardError, process.finished):
                heard.disconnect()
            process.errorOccurred.disconnect()
            _let_leave(process, patience_ms)

    def _hear(self) -> None:
        process = self._process
        if process is None:
            return
        *lines, self._rest = (self._rest + bytes(process.readAllStandardOutput().data())).split(b"\n")
        for line in lines:
            said: Any = None
            with suppress(ValueError):
                said = json.loads(line)
            if isinstance(said, dict) and self._process is process:  # else a line before led to its being closed
                self.said.emit(said)

    def _hear_errors(self) -> None:
        if self._process is not None:
            self._errors = (self._errors + bytes(self._process.readAllStandardError().data()))[-_KEPT_BYTES:]

    def _not_started(self, error: QProcess.ProcessError) -> None:
        if error is QProcess.ProcessError.FailedToStart and self._process is not None:
            self.gone.emit(f"{sys.executable} cannot be started: {self._process.errorString()}")

    def _gone(self, code: int) -> None:
        self._hear()
        self._hear_errors()
        if self._process is not None:  # else what it said last led to its being closed
            lines = self._errors.decode("utf-8", "replace").strip().splitlines()
            self.gone.emit(_worded(lines[-1]) if lines else f"ended with code {code}")


def _let_leave(process: QProcess, patience_ms: int) -> None:
    """Let a process leave by itself, and kill it if it takes longer; it outlives whoever started it until then."""
    process.setObjectName(_LEAVING)
    process.setParent(QCoreApplication.instance())
    if process.state() == QProcess.ProcessState.NotRunning:
        process.deleteLater()
        return
    process.finished.connect(process.deleteLater)
    patience = QTimer(process)
    patience.setSingleShot(True)
    patience.timeout.connect(process.kill)
    patience.start(patience_ms)
    process.closeWriteChannel()


def see_all_leave() -> None:
    """Wait until every process that was closed is gone, none longer than it was given."""
    app = QCoreApplication.instance()
    for process in app.findChildren(QProcess, _LEAVING) if app is not None else []:
        patience = process.findChild(QTimer)
        if patience is not None and not process.waitForFinished(max(1, patience.remainingTime())):
            process.kill()
            process.waitForFinished(_KILLED_MS)


def _worded(line: str) -> str:
    """Return an error line of the command line without its trimmings."""
    with suppress(ValueError):
        said = json.loads(line)
        if isinstance(said, dict) and "error" in said:
            return str(said["error"])
    return line.removeprefix("labpgt: ")
