"""The lines of the log: a bounded table, written to disk as it grows."""

import logging
import time
from collections import deque
from collections.abc import Callable
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, NamedTuple

from PyQt6.QtCore import QAbstractTableModel, QModelIndex, QObject, Qt, QTimer

from gui.theme import Theme

MOST = 20_000
"""Lines that are kept in the window; the file has more."""
SHOW_MS = 100
"""Lines wait so long and are shown together, so that a thousand of them cost no more than one."""
_FILE_BYTES = 5_000_000
_HEADINGS = ("Time", "Level", "From", "Message")


class Line(NamedTuple):
    """One line of the log."""

    time: float
    level: int
    source: str
    text: str


LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_SHAPES = {logging.DEBUG: "·", logging.INFO: "i", logging.WARNING: "▲", logging.ERROR: "✖"}
_ROLES = {logging.WARNING: "warn", logging.ERROR: "error"}


class LogModel(QAbstractTableModel):
    """The newest lines, oldest first. `add` may be called from any thread."""

    def __init__(self, theme: Theme, file: Path, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._lines: list[Line] = []
        self._new: deque[Line] = deque(maxlen=MOST)
        self._file = RotatingFileHandler(file, maxBytes=_FILE_BYTES, backupCount=1, encoding="utf-8", delay=True)
        self._file.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
        self._open = True
        self._timer = QTimer(self)
        self._timer.setInterval(SHOW_MS)
        self._timer.timeout.connect(self.take_in)
        self._timer.start()
        theme.changed.connect(self._repaint)

    def add(self, level: int, source: str, text: str) -> None:
        """Add a line; it is in the file at once, and in the window soon."""
        self._new.append(Line(time.time(), level, source, text))
        if self._open:  # a closed handler would open its file again
            self._file.handle(logging.LogRecord(source, level, "", 0, text, None, None))

    def take_in(self) -> None:
        """Show what was added."""
        new = [self._new.popleft() for _ in range(len(self._new))]
        if not new:
            return
        surplus = len(self._lines) + len(new) - MOST
        if surplus > 0:
            # A tenth more at once, for taking lines off the front costs the same however many they are.
            drop = min(len(self._lines), surplus + MOST // 10)
            self.beginRemoveRows(QModelIndex(), 0, max(0, drop - 1))
            del self._lines[:drop]
            self.endRemoveRows()
        first = len(self._lines)
        self.beginInsertRows(QModelIndex(), first, first + len(new) - 1)
        self._lines += new
        self.endInsertRows()

    def clear(self) -> None:
        """Empty the window's list; the file stays."""
        self.beginResetModel()
        self._lines = []
        self.endResetModel()

    def close(self) -> None:
        """Close the file."""
        self._timer.stop()
        self._open = False
        self._file.close()

    def line(self, row: int) -> Line:
        """Return a line."""
        return self._lines[row]

    def text_of(self, row: int) -> str:
        """Return a line as it is copied."""
        line = self._lines[row]
        return f"{_clock(line.time)}\t{_name(line.level)}\t{line.source}\t{line.text}"

    def rowCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: B008, N802  # Qt's own
        """Return how many lines there are."""
        return 0 if parent.isValid() else len(self._lines)

    def columnCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: B008, N802
        """Return how many columns there are."""
        return 0 if parent.isValid() else len(_HEADINGS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:  # noqa: N802
        """Return a heading."""
        if role == Qt.ItemDataRole.DisplayRole and orientation is Qt.Orientation.Horizontal:
            return _HEADINGS[section]
        return None

    def data(self, index: QModelIndex, role: int = 0) -> Any:
        """Return what is shown in a cell."""
        line = self._lines[index.row()]
        match role:
            case Qt.ItemDataRole.DisplayRole:
                shape = _SHAPES.get(line.level, "")
                return (_clock(line.time), f"{shape} {_name(line.level)}", line.source, line.text)[index.column()]
            case Qt.ItemDataRole.ToolTipRole:
                return line.text
            case Qt.ItemDataRole.ForegroundRole if line.level in _ROLES and index.column() == 1:
                return self._theme.colour(_ROLES[line.level])
        return None

    def _repaint(self) -> None:
        if self._lines:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self._lines) - 1, len(_HEADINGS) - 1))


class Handler(logging.Handler):
    """Brings what Python's `logging` is told into the log."""

    def __init__(self, add: Callable[[int, str, str], None]) -> None:
        super().__init__(logging.INFO)
        self._add = add

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record."""
        self._add(record.levelno, record.name, record.getMessage())


def _clock(seconds: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(seconds)) + f".{int(seconds % 1 * 10)}"


def _name(level: int) -> str:
    return logging.getLevelName(level).lower()
