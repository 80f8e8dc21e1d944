"""A child process that says JSON objects, a line each, and obeys lines: it lives no longer than the window."""

import json
import sys
from collections.abc import Sequence
from contextlib import suppress

from PyQt6.QtCore import QObject, QProcess, pyqtSignal

_LEAVE_MS = 500
_KEPT_BYTES = 4000


class JsonProcess(QObject):
    """`python -P -m MODULE WORDS...` with its standard input and output."""

    said = pyqtSignal(dict)
    gone = pyqtSignal(str)
    """It ended although nobody asked it to; the last line of its standard error, in words."""

    def __init__(self, module: str, words: Sequence[str] = ()) -> None:
        super().__init__()
        self._words = ["-P", "-m", module, *words]
        self._rest = self._errors = b""
        self._closed = False
        self._process = QProcess(self)
        self._process.readyReadStandardOutput.connect(self._hear)
        self._process.readyReadStandardError.connect(self._hear_errors)
        self._process.finished.connect(self._gone)
        self._process.errorOccurred.connect(self._not_started)

    @property
    def going(self) -> bool:
        """Whether the process lives, or is being started."""
        return self._process.state() != QProcess.ProcessState.NotRunning

    def start(self) -> None:
        """Start it; again, if it is gone."""
        if not self.going:
            self._closed, self._rest, self._errors = False, b"", b""
            self._process.start(sys.executable, self._words)

    def write(self, line: str) -> None:
        """Send a line; to a process that is gone, nothing."""
        if self.going:
            self._process.write(line.encode() + b"\n")

    def close(self) -> None:
        """Let it leave: it reads the end of its input, and is ended if that does not help."""
        self._closed = True
        if self.going:
            self._process.closeWriteChannel()
            if not self._process.waitForFinished(_LEAVE_MS):
                self._process.kill()
                self._process.waitForFinished(_LEAVE_MS)

    def _hear(self) -> None:
        *lines, self._rest = (self._rest + bytes(self._process.readAllStandardOutput().data())).split(b"\n")
        for line in lines:
            with suppress(ValueError):
                said = json.loads(line)
                if isinstance(said, dict):
                    self.said.emit(said)

    def _hear_errors(self) -> None:
        self._errors = (self._errors + bytes(self._process.readAllStandardError().data()))[-_KEPT_BYTES:]

    def _not_started(self, error: QProcess.ProcessError) -> None:
        if error is QProcess.ProcessError.FailedToStart and not self._closed:
            self.gone.emit(f"{sys.executable} cannot be started: {self._process.errorString()}")

    def _gone(self) -> None:
        self._hear()
        self._hear_errors()
        if not self._closed:
            lines = self._errors.decode("utf-8", "replace").strip().splitlines()
            self.gone.emit(_worded(lines[-1]) if lines else f"ended with code {self._process.exitCode()}")


def _worded(line: str) -> str:
    """Return an error line of the command line without its trimmings."""
    with suppress(ValueError):
        said = json.loads(line)
        if isinstance(said, dict) and "error" in said:
            return str(said["error"])
    return line.removeprefix("labpgt: ")
