"""The window's side of the process that stands by for the next run, with everything loaded."""

import json
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from PyQt6.QtCore import QObject, pyqtSignal


class Standby(QObject):
    """Keeps one process of `procedures.standby` ready; it becomes the job it is given, and the next one is made."""

    state_changed = pyqtSignal(str)
    """What it is doing, for the status bar."""

    def __init__(self, preload: Sequence[str]) -> None:
        super().__init__()
        self._preload = tuple(preload)
        self._process: subprocess.Popen[bytes] | None = None
        self._leaving: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Start the process, unless there is one; what it loads takes some seconds of its own time."""
        if self._process is not None and self._process.poll() is None:
            return
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "procedures.standby", *self._preload],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        except OSError as error:
            self._process = None
            self.state_changed.emit(f"runs start slowly: no process can stand by ({error.strerror})")
            return
        self.state_changed.emit("loading torch and kernels for the next run")
        threading.Thread(target=self._hear, args=(self._process,), name="standby", daemon=True).start()

    def take(
        self, argv: Sequence[str], place: Path, files: Path, environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes] | None:
        """Have the process do `labpgt ARGV` in a folder; return it, None when there is none."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return None
        order = {
            "argv": list(argv),
            "cwd": str(place),
            "stdout": str(files.with_suffix(".out")),
            "stderr": str(files.with_suffix(".err")),
            "env": dict(environment),
        }
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(order).encode() + b"\n")
            process.stdin.close()
        except OSError:
            return None
        self.prepare()
        return process

    def close(self) -> None:
        """Let it leave."""
        process, self._process = self._process, None
        if process is not None:
            self._leaving = process
            assert process.stdin is not None
            with suppress(OSError):
                process.stdin.close()

    def _hear(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                with suppress(ValueError, RuntimeError):  # no JSON, or the window is gone
                    if "ready" in json.loads(line):
                        self.state_changed.emit("ready for a run")
        if process is self._leaving:
            process.wait()  # so that no dead process is left behind
