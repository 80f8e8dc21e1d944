"""Looks at the instruments of one bench while no run uses them."""

from pathlib import Path
from typing import Any

from PyQt6.QtCore import QObject, QTimer, pyqtSignal

from gui.json_process import JsonProcess

EVERY_S = 1.0
_AGAIN_MS, _LATER_MS = 2000, 16_000
"""Before a look that failed is tried again: at first, and at most when it fails again and again."""


class BenchWatch(QObject):
    """`labpgt bench FILE --watch`: it gives way to a run, and asks nothing while one has the bench."""

    looked = pyqtSignal(dict)
    """What the command prints: in_use, limits, instruments."""
    failed = pyqtSignal(str)
    """Why nothing can be seen, once for each reason; it is tried again."""

    def __init__(self, bench: Path) -> None:
        super().__init__()
        self.bench = bench
        self._said = ""
        self._process = JsonProcess("procedures.cli", ["bench", str(bench), "--watch", f"{EVERY_S:g}", "--json"])
        self._process.said.connect(self._hear)
        self._process.gone.connect(self._gone)
        self._again = QTimer(self)
        self._again.setSingleShot(True)
        self._again.setInterval(_AGAIN_MS)
        self._again.timeout.connect(self._process.start)
        self._process.start()

    def close(self) -> None:
        """Look no more; the connections are closed."""
        self._again.stop()
        self._process.close()

    def _hear(self, said: dict[str, Any]) -> None:
        if "instruments" in said:
            self._said = ""
            self._again.setInterval(_AGAIN_MS)
            self.looked.emit(said)
        elif "error" in said:
            self._fail(str(said["error"]))

    def _gone(self, why: str) -> None:
        self._fail(why)
        self._again.start()
        self._again.setInterval(min(2 * self._again.interval(), _LATER_MS))

    def _fail(self, why: str) -> None:
        if why != self._said:
            self._said = why
            self.failed.emit(why)
