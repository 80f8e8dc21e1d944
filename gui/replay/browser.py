"""The sessions of a folder as a table: filtered, sorted, opened, and ticked to be laid over each other."""

from pathlib import Path
from typing import Any

from PyQt6.QtCore import QAbstractTableModel, QModelIndex, QSortFilterProxyModel, Qt, QTimer, pyqtSignal
from PyQt6.QtGui import QHideEvent, QShowEvent
from PyQt6.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from gui.lab import Lab
from gui.replay import words
from gui.replay.catalogue import Catalogue, Entry
from gui.replay.worker import Worker
from gui.theme import Theme

LOOK_MS = 2000
_COLUMNS = ("Name", "Status", "Loss", "Accuracy", "Shots", "Task", "Estimator", "Device", "Started")
_HELP = {
    "Name": "File, as seen from the folder; tick several to lay their curves over each other",
    "Status": "How the run stands",
    "Loss": "Training loss, so far or at the end",
    "Accuracy": "Accuracy on the test part",
    "Shots": "All shots in the file, those of calibration and evaluation too",
    "Started": "When the run was started, in this computer's time zone",
}
_SORT = Qt.ItemDataRole.UserRole
_WIDEST = (
    "…jacobian-twin.h5",
    "○ unreadable",
    "-1.234e-05",
    "Accuracy ▾",
    "10,000,000",
    "breast-cancer",
    "jacobian-twin",
    "echo-state-ring",
    "2000-00-00 00:00",
)
"""What fits into each column; of longer names the end is seen."""


class Model(QAbstractTableModel):
    """The entries of a folder, and which are ticked."""

    ticked = pyqtSignal(list)
    """Paths that are ticked, in the order in which they were."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._theme = theme
        self._entries: list[Entry] = []
        self._ticked: dict[Path, None] = {}
        theme.changed.connect(self._recoloured)

    def entry(self, row: int) -> Entry:
        """Return the entry of a row."""
        return self._entries[row]

    def fill(self, entries: list[Entry]) -> None:
        """Show these entries; rows that stay are only changed, so that selection and place are kept."""
        if [e.path for e in entries] != [e.path for e in self._entries]:
            self.layoutAboutToBeChanged.emit()
            old = self.persistentIndexList()
            places = {entry.path: row for row, entry in enumerate(entries)}
            new = []
            for index in old:
                row = places.get(self._entries[index.row()].path, -1)
                new.append(self.createIndex(row, index.column()) if row >= 0 else QModelIndex())
            self._entries = entries
            self.changePersistentIndexList(old, new)
            self.layoutChanged.emit()
        else:
            others = [row for row, (old, new) in enumerate(zip(self._entries, entries, strict=True)) if old != new]
            self._entries = entries
            for row in others:  # not all: each that has changed is filtered and sorted anew
                self.dataChanged.emit(self.index(row, 0), self.index(row, len(_COLUMNS) - 1))
        gone = [path for path in self._ticked if path not in {e.path for e in entries}]
        if gone:
            self._ticked = {path: None for path in self._ticked if path not in gone}
            self.ticked.emit(list(self._ticked))

    def tick(self, row: int, on: bool) -> None:
        """Tick a run, or not."""
        entry = self._entries[row]
        if entry.is_run and on != (entry.path in self._ticked):
            if on:
                self._ticked[entry.path] = None
            else:
                del self._ticked[entry.path]
            self._changed()
            self.ticked.emit(list(self._ticked))

    def is_ticked(self, row: int) -> bool:
        """Say whether a run is ticked."""
        return self._entries[row].path in self._ticked

    def untick_all(self) -> None:
        """Untick every run."""
        if self._ticked:
            self._ticked.clear()
            self._changed()
            self.ticked.emit([])

    def rowCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: B008, D102, N802
        return 0 if parent.isValid() else len(self._entries)

    def columnCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: B008, D102, N802
        return 0 if parent.isValid() else len(_COLUMNS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:  # noqa: D102, N802
        if orientation is not Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return _COLUMNS[section]
        return _HELP.get(_COLUMNS[section]) if role == Qt.ItemDataRole.ToolTipRole else None

    def flags(self, index: QModelIndex) -> Qt.ItemFlag:  # noqa: D102
        flags = super().flags(index)
        if index.isValid() and index.column() == 0 and self._entries[index.row()].is_run:
            flags |= Qt.ItemFlag.ItemIsUserCheckable
        return flags

    def data(self, index: QModelIndex, role: int = 0) -> Any:  # noqa: D102
        entry, column = self._entries[index.row()], _COLUMNS[index.column()]
        if role == Qt.ItemDataRole.DisplayRole:
            return _text(entry, column)
        if role == _SORT:
            return _sort_key(entry, column)
        if role == Qt.ItemDataRole.ToolTipRole:
            return f"{entry.path}\n{words.state(entry.status)}{': ' if entry.problem else ''}{entry.problem}"
        if role == Qt.ItemDataRole.CheckStateRole and column == "Name" and entry.is_run:
            return Qt.CheckState.Checked if entry.path in self._ticked else Qt.CheckState.Unchecked
        if role == Qt.ItemDataRole.ForegroundRole:
            if column == "Status":
                return self._theme.colour(words.SHAPES.get(entry.status, ("", "muted"))[1])  # type: ignore[call-overload]
            return None if entry.is_run else self._theme.colour("muted")
        if role == Qt.ItemDataRole.TextAlignmentRole and column in ("Loss", "Accuracy", "Shots"):
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        return None

    def setData(self, index: QModelIndex, value: Any, role: int = 0) -> bool:  # noqa: D102, N802
        if role != Qt.ItemDataRole.CheckStateRole:
            return False
        self.tick(index.row(), Qt.CheckState(value) is Qt.CheckState.Checked)
        return True

    def _changed(self) -> None:
        if self._entries:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self._entries) - 1, len(_COLUMNS) - 1))

    def _recoloured(self) -> None:
        self._changed()


def _text(entry: Entry, column: str) -> str:
    match column:
        case "Name":
            return entry.name
        case "Status":
            return words.state(entry.status)
        case "Loss":
            return words.number(entry.loss) if entry.is_run else ""
        case "Accuracy":
            return words.percent(entry.accuracy) if entry.is_run else ""
        case "Shots":
            return f"{entry.shots:,}" if entry.is_run else ""
        case "Started":
            return words.date(entry.date)
        case _:
            return str(getattr(entry, column.lower()))


def _sort_key(entry: Entry, column: str) -> Any:
    match column:
        case "Loss":
            return float("inf") if entry.loss is None else entry.loss
        case "Accuracy":
            return -1.0 if entry.accuracy is None else entry.accuracy
        case "Shots":
            return entry.shots
        case "Started":
            return entry.date
        case _:
            return _text(entry, column).lower()


class _Name(QStyledItemDelegate):
    """Leaves out the beginning of a name that is too long: names begin with the date, and end with what they are."""

    def initStyleOption(self, option: QStyleOptionViewItem | None, index: QModelIndex) -> None:  # noqa: N802
        super().initStyleOption(option, index)
        if option is not None:
            option.textElideMode = Qt.TextElideMode.ElideLeft


class _Filter(QSortFilterProxyModel):
    """Shows the rows in which every word that was typed occurs, in whatever column."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self._words: list[str] = []
        self.setSourceModel(model)
        self.setSortRole(_SORT)

    def look_for(self, text: str) -> None:
        self._words = text.lower().split()
        self.invalidateFilter()

    def filterAcceptsRow(self, row: int, parent: QModelIndex) -> bool:  # noqa: N802
        model = self.sourceModel()
        assert isinstance(model, Model)
        entry = model.entry(row)
        line = " ".join(_text(entry, column) for column in _COLUMNS).lower()
        return all(word in line for word in self._words)


class Browser(QWidget):
    """A folder of sessions."""

    wanted = pyqtSignal(Path)
    """Open this session."""
    ticked = pyqtSignal(list)

    def __init__(self, lab: Lab) -> None:
        super().__init__()
        self._lab = lab
        self._catalogue = Catalogue()
        self._worker = Worker("sessions")
        self._folder = lab.sessions
        add = lab.actions.add
        choose = add(
            self, "replay.folder", "Folder…", "Ctrl+Shift+O", "Look for sessions in another folder", self._choose_folder
        )
        find = add(self, "replay.filter", "Filter", "Ctrl+Shift+F", "Go to the filter of the table", self._go_to_filter)
        tick = add(
            self, "replay.tick", "Tick", "Ctrl+T", "Tick the marked run, or not: ticked runs are compared", self._tick
        )
        untick = add(self, "replay.untick", "Untick all", "Ctrl+Shift+T", "Compare no runs", self._untick)
        open_ = add(self, "replay.open", "Open", "Ctrl+Return", "Open the marked run", self._open_current)

        self.place = QLabel(objectName="replay.place")
        self.place.setAccessibleName("Folder of the sessions")
        self.place.setTextFormat(Qt.TextFormat.PlainText)
        self.place.setMinimumWidth(1)
        self.filter = QLineEdit(objectName="replay.filter.text")
        self.filter.setAccessibleName("Filter of the sessions")
        self.filter.setPlaceholderText("Filter, such as: iris failed")
        self.filter.setToolTip(f"Only runs whose line has all these words ({find.shortcut().toString()})")
        self.filter.setClearButtonEnabled(True)
        self.model = Model(lab.theme)
        self._proxy = _Filter(self.model)
        self.filter.textChanged.connect(self._filtered)
        self.model.ticked.connect(self.ticked)
        self.table = self._made_table()
        self.count = QLabel(objectName="replay.count")
        self.count.setAccessibleName("How many sessions there are")

        top, bottom = QHBoxLayout(), QHBoxLayout()
        top.addWidget(self.place, 1)
        top.addWidget(lab.actions.button(choose))
        bottom.addWidget(self.count, 1)
        for action in (open_, tick, untick):
            bottom.addWidget(lab.actions.button(action))
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(top)
        column.addWidget(self.filter)
        column.addWidget(self.table, 1)
        column.addLayout(bottom)
        self._timer = QTimer(self)
        self._timer.setInterval(LOOK_MS)
        self._timer.timeout.connect(self.look)
        self._name_folder()

    def _made_table(self) -> QTableView:
        table = QTableView(objectName="replay.sessions")
        table.setAccessibleName("Sessions")
        table.setToolTip("Recorded runs; Enter or a double click opens one")
        table.setModel(self._proxy)
        table.setSortingEnabled(True)
        table.sortByColumn(len(_COLUMNS) - 1, Qt.SortOrder.DescendingOrder)
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        table.setAlternatingRowColors(True)
        table.setShowGrid(False)
        table.setTabKeyNavigation(False)
        table.setWordWrap(False)
        table.setItemDelegateForColumn(0, _Name(table))
        rows, header = table.verticalHeader(), table.horizontalHeader()
        assert rows is not None
        assert header is not None
        rows.hide()
        rows.setDefaultSectionSize(round(table.fontMetrics().height() * 1.5))
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        header.setHighlightSections(False)
        metrics = table.fontMetrics()
        box = metrics.height() * 2  # of the tick
        for column, sample in enumerate(_WIDEST):
            width = metrics.horizontalAdvance(sample) + metrics.averageCharWidth() * 2
            table.setColumnWidth(column, width + (0 if column else box))
        table.activated.connect(self._activated)
        return table

    def look(self) -> None:
        """See what is in the folder now."""
        folder = self._folder
        self._worker.ask("look", lambda: (folder, *self._catalogue.look(folder)), self._looked, self._cannot_look)

    def close_down(self) -> None:
        """Let the thread leave."""
        self._timer.stop()
        self._worker.close()

    def show_folder(self, folder: Path) -> None:
        """Show another folder from now on."""
        self._lab.choose_sessions(folder)
        self._folder = folder
        self._name_folder()
        self.look()

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: D102, N802
        super().showEvent(event)
        self.look()
        self._timer.start()

    def hideEvent(self, event: QHideEvent | None) -> None:  # noqa: D102, N802
        super().hideEvent(event)
        self._timer.stop()

    def _looked(self, found: tuple[Path, list[Entry], bool]) -> None:
        folder, entries, more = found
        if folder == self._folder:
            self.model.fill(entries)
            self._tell(" so far" if more else "")
            if more:
                self.look()

    def _cannot_look(self, why: str) -> None:
        self.model.fill([])
        self.count.setText(f"The folder cannot be read: {why}")

    def _tell(self, so_far: str = "") -> None:
        there, shown = self.model.rowCount(), self._proxy.rowCount()
        hidden = f"{shown} of " if shown != there else ""
        self.count.setText(
            f"{hidden}{there} session{'' if there == 1 else 's'}{so_far}" if there else "No sessions here"
        )

    def _name_folder(self) -> None:
        self.place.setText(str(self._folder))
        self.place.setToolTip(f"Folder of the sessions: {self._folder}")

    def _choose_folder(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "Folder of sessions", str(self._folder))
        if chosen:
            self.show_folder(Path(chosen))

    def _go_to_filter(self) -> None:
        self.filter.setFocus()
        self.filter.selectAll()

    def _filtered(self, text: str) -> None:
        self._proxy.look_for(text)
        self._tell()

    def _current(self) -> int | None:
        index = self._proxy.mapToSource(self.table.currentIndex())
        return index.row() if index.isValid() else None

    def _tick(self) -> None:
        row = self._current()
        if row is not None:
            self.model.tick(row, not self.model.is_ticked(row))

    def _untick(self) -> None:
        self.model.untick_all()

    def _open_current(self) -> None:
        row = self._current()
        if row is not None:
            self.wanted.emit(self.model.entry(row).path)

    def _activated(self, index: QModelIndex) -> None:
        self.wanted.emit(self.model.entry(self._proxy.mapToSource(index).row()).path)
