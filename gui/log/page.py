"""The page of the log."""

import logging
from pathlib import Path

from PyQt6.QtCore import QModelIndex, QSortFilterProxyModel, Qt, QUrl
from PyQt6.QtGui import QDesktopServices, QGuiApplication
from PyQt6.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from gui.lab import Lab
from gui.log.model import LEVELS, LogModel

_SHOWN = {"Everything": logging.DEBUG, "Warnings and errors": logging.WARNING, "Errors": logging.ERROR}


class _Filter(QSortFilterProxyModel):
    """Lines of a level and above that contain a text."""

    def __init__(self, model: LogModel) -> None:
        super().__init__()
        self._model = model
        self._level = logging.DEBUG
        self._text = ""
        self.setSourceModel(model)

    def show_only(self, level: int, text: str) -> None:
        """Show these lines alone."""
        self.beginFilterChange()
        self._level, self._text = level, text.casefold()
        self.endFilterChange()

    def filterAcceptsRow(self, row: int, _parent: QModelIndex) -> bool:  # noqa: N802  # Qt's own
        """Say whether a line is shown."""
        line = self._model.line(row)
        return line.level >= self._level and (not self._text or self._text in f"{line.source} {line.text}".casefold())


class LogPage(QWidget):
    """A table of lines, newest at the bottom, with a choice of level and a filter."""

    def __init__(self, lab: Lab, model: LogModel) -> None:
        super().__init__()
        self._lab = lab
        self.model = model
        self._proxy = _Filter(model)
        self.level = QComboBox(objectName="log.level")
        self.level.addItems(_SHOWN)
        self.level.setAccessibleName("Level")
        self.level.setToolTip("Least level of the lines that are shown")
        self.filter = QLineEdit(objectName="log.filter")
        self.filter.setPlaceholderText("Filter")
        self.filter.setAccessibleName("Filter")
        self.filter.setToolTip("Show only lines that contain this text")
        self.filter.setClearButtonEnabled(True)
        self.table = QTableView(objectName="log.table")
        self.table.setModel(self._proxy)
        self.table.setAccessibleName("Log")
        self.table.setToolTip("What has happened, newest at the bottom")
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setWordWrap(False)
        self.table.setShowGrid(False)
        self.table.setTabKeyNavigation(False)
        head, rows = self.table.horizontalHeader(), self.table.verticalHeader()
        assert head is not None
        assert rows is not None
        head.setStretchLastSection(True)
        head.setHighlightSections(False)
        # Not sized by contents: that looks at every line.
        for column, sample in enumerate(("00:00:00.0 ", "▲ warning  ", "breast-cancer, jacobian-twin")):
            head.resizeSection(column, self.fontMetrics().horizontalAdvance(sample) + 16)
        rows.hide()
        rows.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        rows.setDefaultSectionSize(round(self.fontMetrics().height() * 1.4))
        self.where = QLabel(f"The log is also in {lab.state.log}")
        self.where.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        actions = lab.actions
        copy = actions.add(self, "log.copy", "Copy", "Ctrl+Shift+C", "Copy the chosen lines", self._copy)
        clear = actions.add(
            self, "log.clear", "Clear", "Ctrl+Shift+Backspace", "Empty the list; the file stays", model.clear
        )
        find = actions.add(self, "log.find", "Find", "Ctrl+Shift+F", "Go to the filter", self.filter.setFocus)
        folder = actions.add(
            self, "log.folder", "Open folder", "Ctrl+Shift+D", "Open the folder with log and crash reports", self._open
        )
        bar = QHBoxLayout()
        for widget in (self.level, self.filter, *(actions.button(a) for a in (find, copy, clear, folder))):
            bar.addWidget(widget)
        bar.setStretchFactor(self.filter, 1)
        box = QVBoxLayout(self)
        box.addLayout(bar)
        box.addWidget(self.table, 1)
        box.addWidget(self.where)
        self.level.currentTextChanged.connect(self._narrow)
        self.filter.textChanged.connect(self._narrow)
        self._proxy.rowsAboutToBeInserted.connect(self._note_place)
        self._proxy.rowsInserted.connect(self._follow)
        self._at_end = True

    def activate(self) -> None:
        """Show the newest lines."""
        self.model.take_in()
        self.table.scrollToBottom()

    def add(self, level: str, text: str, source: str = "window") -> None:
        """Add a line of a level by its name."""
        self.model.add(LEVELS.get(level, logging.INFO), source, text)

    def _narrow(self) -> None:
        self._proxy.show_only(_SHOWN[self.level.currentText()], self.filter.text())
        self.table.scrollToBottom()

    def _note_place(self) -> None:
        bar = self.table.verticalScrollBar()
        self._at_end = bar is None or bar.value() >= bar.maximum() - 1

    def _follow(self) -> None:
        # Whoever has scrolled up to read is left there.
        if self._at_end:
            self.table.scrollToBottom()

    def _copy(self) -> None:
        chosen = self.table.selectionModel()
        clipboard = QGuiApplication.clipboard()
        if chosen is not None and clipboard is not None:
            rows = [self._proxy.mapToSource(index).row() for index in chosen.selectedRows()]
            clipboard.setText("\n".join(self.model.text_of(row) for row in sorted(rows)))

    def _open(self) -> None:
        folder: Path = self._lab.state.folder
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))
