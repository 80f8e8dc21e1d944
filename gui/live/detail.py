"""Looks closely: reads the steps of a part of the run anew, in a thread, with finer bins."""

import threading
from pathlib import Path

from PyQt6.QtCore import QObject, pyqtSignal

from gui.live.run import step_columns
from gui.series import Series
from labpgt.errors import LabpgtError
from labpgt.session import Session

MOST_ROWS = 400_000
"""More steps than these are not read again."""
_BLOCK = 4096


class Detail(QObject):
    """Reads parts of one session; only the last part that was asked for is handed over."""

    found = pyqtSignal(int, int, object)
    """First row, row after the last, and a `Series` of these steps."""
    _read_out = pyqtSignal(int, int, int, object)
    """The same, with the number of the question before it."""

    def __init__(self) -> None:
        super().__init__()
        self._asked = 0
        self._read_out.connect(self._hand_over)

    def ask(self, path: Path, first: int, last: int) -> None:
        """Read steps first to last of a session, unless they are too many."""
        self._asked += 1
        if 0 < last - first <= MOST_ROWS:
            threading.Thread(target=self._read, args=(path, first, last, self._asked), daemon=True).start()

    def close(self) -> None:
        """Want nothing any more."""
        self._asked += 1

    def _read(self, path: Path, first: int, last: int, asked: int) -> None:
        series = Series(("shots", "time"), ("loss", "difference", "angle"))
        try:
            with Session(path) as session:
                for start in range(first, last, _BLOCK):
                    if asked != self._asked:
                        return
                    series.add(step_columns(session.steps(start, min(last, start + _BLOCK))))
        except LabpgtError:
            return  # whoever follows the session says so
        self._read_out.emit(asked, first, last, series)

    def _hand_over(self, asked: int, first: int, last: int, series: object) -> None:
        # Here, in the window's thread, nobody asks for something else between the question and the answer.
        if asked == self._asked:
            self.found.emit(first, last, series)
