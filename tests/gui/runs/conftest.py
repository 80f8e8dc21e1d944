"""Jobs of the queue whose command line is a script of the test's."""

import json
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gui import jobs

_SCRIPT = """
import json, os, sys, time
lines, code, until, report = json.loads(sys.argv[1])
for line in lines:
    sys.stderr.write(json.dumps(line) + "\\n")
sys.stderr.flush()
while until and not os.path.exists(until):
    time.sleep(0.01)
sys.stdout.write(json.dumps(report))
sys.exit(code)
"""


class Scripted:
    """What the next jobs say and how they end; `commands` are the command lines that were started."""

    def __init__(self) -> None:
        self.commands: list[Sequence[str]] = []
        self._next: deque[tuple[Any, ...]] = deque()

    def then(self, *lines: Any, code: int = 0, until: Path | None = None, report: dict[str, Any] | None = None) -> None:
        """One more job; with `until` it goes on until that file is there."""
        self._next.append((lines, code, None if until is None else str(until), report or {}))

    def start(self, argv: Sequence[str], place: Path, files: Path) -> "subprocess.Popen[bytes]":
        self.commands.append(argv)
        what = self._next.popleft() if self._next else ((), 0, None, {"status": "success"})
        command = [sys.executable, "-S", "-E", "-c", _SCRIPT, json.dumps(what)]
        with files.with_suffix(".out").open("wb") as out, files.with_suffix(".err").open("wb") as err:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    scripted = Scripted()
    monkeypatch.setattr(jobs, "_started", scripted.start)
    monkeypatch.setattr(jobs, "LISTEN_MS", 10)
    return scripted
