"""The window's side of a sentinel: a process with connections of its own that turns the RF of one bench off."""

from pathlib import Path
from typing import Any

from PyQt6.QtCore import QObject, QTimer, pyqtSignal

from gui.json_process import JsonProcess

LOOK_MS = 1000
"""Between two questions for the RF's state."""
ANSWER_MS = 5000
"""After which a question counts as unanswered."""
_MOST_PASSED_OVER = 15
"""Looks that are passed over at most before a process that ended without an answer is started anew."""
SILENT = 3
"""So many questions in a row without any word, and the process hangs: another takes its place."""


class Sentinel(QObject):
    """`labpgt rf-off BENCH --serve`, kept warm: turning RF off must not wait for a program to load."""

    looked = pyqtSignal(dict)
    """The RF's state: rf ("on", "off", "unknown"), in_use, roles, problems."""
    turned_off = pyqtSignal(dict)
    """The answer to `turn_off`: off, problems, took_s."""

    def __init__(self, bench: Path) -> None:
        super().__init__()
        self.bench = bench
        self._pending_off = False
        self._deaths = self._pass_over = 0
        """So many times it ended since its last answer, and looks until it is started anew."""
        self._silent = 0
        self._process = JsonProcess("procedures.cli", ["rf-off", str(bench), "--serve"])
        self._process.said.connect(self._hear)
        self._process.gone.connect(self._gone)
        self._looks = QTimer(self)
        self._looks.setInterval(LOOK_MS)
        self._looks.timeout.connect(self._look)
        self._overdue = QTimer(self)
        self._overdue.setSingleShot(True)
        self._overdue.setInterval(ANSWER_MS)
        self._overdue.timeout.connect(self._no_answer)
        self._process.start()
        self._looks.start()

    def turn_off(self) -> None:
        """Have RF turned off now, whoever uses the bench; `turned_off` tells whether it is."""
        self._process.start()
        self._pending_off = True
        self._process.write("off")
        self._overdue.start()

    def close(self) -> None:
        """Let the process leave; RF stays as it is."""
        self._looks.stop()
        self._overdue.stop()
        if self._pending_off:
            self._process.close(ANSWER_MS)  # turning off is never cut short
        else:
            self._process.close()

    def _look(self) -> None:
        if self._pass_over:
            self._pass_over -= 1
        elif not self._overdue.isActive():
            self._process.start()  # one that died is no watch
            self._process.write("state")
            self._overdue.start()

    def _hear(self, said: dict[str, Any]) -> None:
        if "error" not in said:
            self._deaths = 0
        self._silent = 0
        match said:
            case {"ready": True}:
                self._look()
            case {"off": bool()}:
                self._pending_off = False
                self._overdue.stop()
                self.turned_off.emit(said)
            case {"rf": str()}:
                if not self._pending_off:
                    self._overdue.stop()
                self.looked.emit(said)

    def _no_answer(self) -> None:
        self._silent += 1
        if self._silent >= SILENT:
            self._silent = 0
            self._process.close(patience_ms=0)  # the next look starts another
        self._failed(f"no answer within {ANSWER_MS / 1000:g} s")

    def _gone(self, why: str) -> None:
        self._overdue.stop()
        # A bench's file with a mistake in it would have a program started every second.
        self._pass_over = min(2**self._deaths - 1, _MOST_PASSED_OVER)
        self._deaths += 1
        self._failed(why)

    def _failed(self, why: str) -> None:
        if self._pending_off:
            self._pending_off = False
            self.turned_off.emit({"off": False, "problems": [why], "took_s": None})
        self.looked.emit({"rf": "unknown", "in_use": None, "roles": {}, "problems": [why]})
