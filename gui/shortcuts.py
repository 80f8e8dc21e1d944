"""The list of everything that can be done, with its shortcut."""

from PyQt6.QtCore import QSize, Qt
from PyQt6.QtGui import QKeySequence
from PyQt6.QtWidgets import QDialog, QLineEdit, QTreeWidget, QTreeWidgetItem, QVBoxLayout, QWidget

from gui.actions import Actions

_PLACES = {
    "bench": "Bench",
    "run": "Runs",
    "form": "Runs",
    "queue": "Runs",
    "sweep": "Runs, sweep",
    "live": "Live",
    "plot": "any plot",
    "replay": "Replay",
    "log": "Log",
}
"""Where an action works, by the first part of its name; the rest works everywhere."""


class Shortcuts(QDialog):
    """A table that can be searched."""

    def __init__(self, actions: Actions, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Shortcuts")
        self.search = QLineEdit(objectName="shortcuts.search")
        self.search.setPlaceholderText("Search")
        self.search.setAccessibleName("Search")
        self.search.setToolTip("Show only actions that contain this text")
        self.list = QTreeWidget(objectName="shortcuts.list")
        self.list.setAccessibleName("Actions")
        self.list.setToolTip("Every action of the window")
        self.list.setHeaderLabels(["Shortcut", "Action", "Where", "What it does"])
        self.list.setRootIsDecorated(False)
        for action in actions:
            keys = action.shortcut().toString(QKeySequence.SequenceFormat.NativeText)
            anywhere = action.shortcutContext() is Qt.ShortcutContext.WindowShortcut
            place = "everywhere" if anywhere else _PLACES[action.objectName().partition(".")[0]]
            item = QTreeWidgetItem([keys, action.text().replace("&", ""), place, action.statusTip()])
            self.list.addTopLevelItem(item)
        for column in (0, 1, 2):
            self.list.resizeColumnToContents(column)
        box = QVBoxLayout(self)
        box.addWidget(self.search)
        box.addWidget(self.list)
        self.search.textChanged.connect(self._narrow)
        em = self.fontMetrics().horizontalAdvance("m")
        whole = self.screen()
        room = QSize(em * 70, em * 42) if whole is None else whole.availableGeometry().size() * 0.9
        self.resize(QSize(em * 70, em * 42).boundedTo(room))

    def _narrow(self, text: str) -> None:
        for row in range(self.list.topLevelItemCount()):
            item = self.list.topLevelItem(row)
            if item is not None:
                words = " ".join(item.text(column) for column in range(4)).casefold()
                item.setHidden(text.casefold() not in words)
