"""The instruments of a bench as a tree: one line each, and under it its settings."""

from typing import Any

from PyQt6.QtCore import Qt
from PyQt6.QtGui import QBrush
from PyQt6.QtWidgets import QTreeWidget, QTreeWidgetItem

from gui.theme import Theme
from labpgt.units import worded

_COLUMNS = ("Instrument", "Value", "State", "Address")


class Instruments(QTreeWidget):
    """Shows what `labpgt bench --json` says. What is open, chosen or scrolled to stays so from look to look."""

    def __init__(self, theme: Theme) -> None:
        super().__init__(objectName="bench.instruments")
        self._theme = theme
        self._items: dict[str, QTreeWidgetItem] = {}
        self._said: dict[str, Any] = {}
        self.setHeaderLabels(list(_COLUMNS))
        self.setAccessibleName("Instruments")
        self.setToolTip("Instruments of the bench with their settings; they are asked while no run uses the bench")
        self.setAlternatingRowColors(True)
        self.setUniformRowHeights(True)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)  # addresses differ at their end
        em = self.fontMetrics().horizontalAdvance("m")
        for column, width in enumerate((16, 25, 14)):
            self.setColumnWidth(column, em * width)
        theme.changed.connect(self._paint)

    def show_bench(self, said: dict[str, Any]) -> None:
        """Show one look at the bench."""
        self._said = said
        for instrument in said["instruments"]:
            role = str(instrument["role"])
            item = self._item(role, None)
            state = str(instrument["state"])
            shape = "✔" if instrument["ok"] else "✖"
            if said.get("in_use"):
                shape = "▶"
            identity = instrument.get("identity") or f"{instrument['model']} (not asked)"
            for column, text in enumerate((role, identity, f"{shape} {state}", instrument["address"])):
                item.setText(column, text)
                item.setToolTip(column, str(instrument.get("detail") or text))
            settings = instrument.get("settings") or {}
            for name, setting in settings.items():
                line = self._item(f"{role}.{name}", item)
                line.setText(0, name)
                line.setText(1, worded(setting.get("value"), setting.get("unit") or ""))
                line.setToolTip(1, line.text(1))
            for row in range(item.childCount()):
                line = item.child(row)
                # What it was when it was last asked is no longer what it is.
                if line is not None and line.text(0) not in settings:
                    line.setText(1, "–")
        wanted = {str(instrument["role"]) for instrument in said["instruments"]}
        for key in [key for key in self._items if key.partition(".")[0] not in wanted]:
            self._take_away(key)
        self._paint()

    def empty(self) -> None:
        """Show no bench."""
        self.clear()
        self._items = {}
        self._said = {}

    def _item(self, key: str, parent: QTreeWidgetItem | None) -> QTreeWidgetItem:
        if key not in self._items:
            item = QTreeWidgetItem(self if parent is None else parent)
            self._items[key] = item
            item.setExpanded(True)
            if parent is not None:
                parent.setExpanded(True)
        return self._items[key]

    def _take_away(self, key: str) -> None:
        item = self._items.pop(key)
        if "." not in key:
            self.takeTopLevelItem(self.indexOfTopLevelItem(item))

    def _paint(self) -> None:
        for instrument in self._said.get("instruments", []):
            item = self._items[str(instrument["role"])]
            item.setForeground(2, QBrush(self._theme.colour("ok" if instrument["ok"] else "error")))
            font = item.font(0)
            font.setBold(True)
            item.setFont(0, font)
