"""How an entry of the queue is drawn: title and state, progress, and in words why it failed and what to do."""

import re
from bisect import bisect_left
from functools import lru_cache

from PyQt6.QtCore import QModelIndex, QRect, QSize, Qt
from PyQt6.QtGui import QFont, QFontMetrics, QPainter
from PyQt6.QtWidgets import QListView, QStyle, QStyledItemDelegate, QStyleOptionViewItem

from gui.jobs import JobState
from gui.runs.entry import SHAPES, Entry
from gui.theme import Theme

_ROLES = {
    JobState.WAITING: "muted",
    JobState.PAUSED: "warn",
    JobState.STOPPING: "warn",
    JobState.STOPPED: "warn",
    JobState.DONE: "ok",
    JobState.FAILED: "error",
}
_TONES = {"quiet": "muted", "plain": "text", "bad": "error"}
_WRAP = Qt.TextFlag.TextWordWrap.value
_TOP = (Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop).value
_LEFT = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
_MOST_LINES = 6
"""Of a message; all of it is in the log."""
_CUT = " … (more in the log)"


class EntryDelegate(QStyledItemDelegate):
    """Draws entries in the colours of the theme."""

    def __init__(self, view: QListView, theme: Theme) -> None:
        super().__init__(view)
        self._view = view
        self._theme = theme
        self._width = 0
        self._heights: dict[Entry, int] = {}
        """At that width; Qt asks for all of them when one has changed."""

    def forget(self, entry: Entry) -> None:
        """Measure an entry anew when its height is wanted next: other words are in it."""
        self._heights.pop(entry, None)

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex) -> QSize:  # noqa: N802  (Qt's name)
        """Return the room that all lines of an entry need at the view's width."""
        entry: Entry = index.data(Qt.ItemDataRole.UserRole)
        viewport = self._view.viewport()
        width = viewport.width() if viewport is not None else 0
        if width != self._width:
            self._width = width
            self._heights.clear()
        if entry not in self._heights:
            self._heights[entry] = self._height(entry, option, width)
        return QSize(width, self._heights[entry])

    def _height(self, entry: Entry, option: QStyleOptionViewItem, width: int) -> int:
        metrics = option.fontMetrics
        lines = 2 if _bar_shows(entry) or entry.standing is JobState.DONE else 1
        height = _pad(metrics) * 2 + lines * self._line(metrics)
        for text, tone in entry.words:
            height += _fitted(text, tone == "quiet", width - 4 * _pad(metrics), option.font.toString())[1]
        return height

    def paint(self, painter: QPainter | None, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        """Draw an entry."""
        if painter is None:
            return
        entry: Entry = index.data(Qt.ItemDataRole.UserRole)
        metrics = option.fontMetrics
        pad, line = _pad(metrics), self._line(metrics)
        painter.save()
        selected = bool(option.state & QStyle.StateFlag.State_Selected)
        painter.fillRect(option.rect, self._theme.colour("raised" if selected else "base"))
        if selected:
            painter.fillRect(
                option.rect.adjusted(0, 0, pad // 2 - option.rect.width(), 0), self._theme.colour("accent")
            )
        painter.setPen(self._theme.colour("grid"))
        painter.drawLine(option.rect.bottomLeft(), option.rect.bottomRight())
        area = option.rect.adjusted(2 * pad, pad, -2 * pad, -pad)

        row = QRect(area.left(), area.top(), area.width(), line)
        state = f"{SHAPES[entry.standing]} {entry.doing}"
        room = metrics.horizontalAdvance(state) + 2 * pad
        painter.setFont(option.font)
        painter.setPen(self._theme.colour(_ROLES.get(entry.standing, "accent")))
        painter.drawText(row, _RIGHT, state)
        bold = QFont(option.font)
        bold.setBold(True)
        painter.setFont(bold)
        painter.setPen(self._theme.colour("text"))
        title = QFontMetrics(bold).elidedText(entry.title, Qt.TextElideMode.ElideRight, row.width() - room)
        painter.drawText(row, _LEFT, title)
        painter.setFont(option.font)

        figures = _figures(entry)
        if _bar_shows(entry) or entry.standing is JobState.DONE:
            row.moveTop(row.bottom() + 1)
            painter.setPen(self._theme.colour("text"))
            painter.drawText(row, _RIGHT, figures)
            if _bar_shows(entry):
                self._bar(painter, row, entry, metrics.horizontalAdvance(figures) + 2 * pad)
        top = row.bottom() + 1
        for text, tone in entry.words:
            painter.setPen(self._theme.colour(_TONES[tone]))
            shown, height = _fitted(text, tone == "quiet", area.width(), option.font.toString())
            painter.drawText(QRect(area.left(), top, area.width(), height), _TOP | _WRAP, shown)
            top += height
        if option.state & QStyle.StateFlag.State_HasFocus:
            painter.setPen(self._theme.colour("accent"))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(option.rect.adjusted(0, 0, -1, -1))
        painter.restore()

    def _bar(self, painter: QPainter, row: QRect, entry: Entry, taken: int) -> None:
        """Draw how far the run is, left of its figures."""
        height = max(4, row.height() // 3)
        percent = "" if entry.share is None else f"{entry.share:.0%}"
        percent_width = painter.fontMetrics().horizontalAdvance("100%") + 6
        width = max(0, row.width() - taken - percent_width)
        trough = QRect(row.left(), row.center().y() - height // 2, width, height)
        painter.setPen(self._theme.colour("grid"))
        painter.setBrush(self._theme.colour("window"))
        painter.drawRect(trough)
        if entry.share:
            done = trough.adjusted(1, 1, 0, 0)
            done.setWidth(round((trough.width() - 1) * entry.share))
            painter.fillRect(done, self._theme.colour("warn" if entry.standing is JobState.PAUSED else "accent"))
        painter.setPen(self._theme.colour("text"))
        painter.drawText(QRect(trough.right() + 6, row.top(), percent_width, row.height()), _LEFT, percent)

    @staticmethod
    def _line(metrics: QFontMetrics) -> int:
        return round(metrics.height() * 1.3)


def _bar_shows(entry: Entry) -> bool:
    return entry.standing.going or (entry.standing is not JobState.DONE and bool(entry.share))


def _figures(entry: Entry) -> str:
    parts = [f"loss {entry.loss}" if entry.loss else "", f"test {entry.accuracy}" if entry.accuracy else ""]
    return ", ".join(part for part in [*parts, f"{entry.left} left" if entry.left else ""] if part)


def _pad(metrics: QFontMetrics) -> int:
    return max(3, metrics.height() // 4)


@lru_cache(maxsize=1024)
def _fitted(text: str, quiet: bool, width: int, font: str) -> tuple[str, int]:
    """Return as much of a text as is shown at a width, and the height of that: one line if it is quiet."""
    described = QFont()
    described.fromString(font)
    metrics = QFontMetrics(described)
    if quiet:
        return metrics.elidedText(text, Qt.TextElideMode.ElideRight, width), metrics.lineSpacing() + 2
    # The paths of files can be broken too.
    breakable = re.sub(r"([/\\_.])(?=\w)", "\\1\u200b", text)
    room = QRect(0, 0, max(width, 20), 100_000)

    def height(shown: str) -> int:
        return metrics.boundingRect(room, _WRAP, shown).height()

    most = _MOST_LINES * metrics.lineSpacing()
    if height(breakable) <= most:
        return breakable, height(breakable) + 2
    ends = range(len(breakable))
    end = bisect_left(ends, True, key=lambda n: height(breakable[:n] + _CUT) > most) - 1
    shown = breakable[:end] + _CUT
    return shown, height(shown) + 2
