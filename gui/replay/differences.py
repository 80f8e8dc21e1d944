"""What runs were set to, side by side: configuration and the device's settings, with units."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from PyQt6.QtGui import QFont
from PyQt6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from gui.lab import Lab
from gui.replay.curves import Run
from gui.replay.naming import short_names
from labpgt.units import unit_of

_SECTIONS = ("task", "network", "device", "training", "session")
_SETTINGS = "settings of the device"
_ABSENT = "–"
_LONGEST = 300
_LEAST, _MOST, _WIDEST = 8, 22, 36
"""Letters in a column, and in that of the names."""


class Line(NamedTuple):
    """One key, and what it is in each run; None where a run does not have it."""

    section: str
    key: str
    unit: str
    values: tuple[str | None, ...]

    @property
    def differs(self) -> bool:
        """Whether the runs differ in it."""
        return len(set(self.values)) > 1


def _settings_of(run: Run) -> tuple[Any, ...]:
    """What of a run is shown here; its curves grow while this stays."""
    return run.name, run.configuration, run.settings


def compare(runs: Sequence[Run]) -> list[Line]:
    """Return every key of the runs' configurations and of their devices' settings, section by section."""
    lines = []
    there = dict.fromkeys(name for run in runs for name in run.configuration)
    for section in sorted(there, key=lambda name: _SECTIONS.index(name) if name in _SECTIONS else len(_SECTIONS)):
        tables = [run.configuration.get(section, {}) for run in runs]
        for key in dict.fromkeys(key for table in tables for key in table):
            values = tuple(_text(table[key]) if key in table else None for table in tables)
            lines.append(Line(section, key, unit_of(key), values))
    for key in dict.fromkeys(key for run in runs for key in run.settings):
        found = [run.settings.get(key) for run in runs]
        units = [setting[1] for setting in found if setting is not None]
        # A unit that is not the same in all runs stands with the values, so that it is seen as a difference.
        common = units[0] if len(set(units)) == 1 else ""
        values = tuple(
            None if setting is None else _text(setting[0]) + ("" if common or not setting[1] else f" {setting[1]}")
            for setting in found
        )
        lines.append(Line(_SETTINGS, key, common, values))
    return lines


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.10g}"
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _differing(count: int) -> str:
    return f"{count} setting{' differs' if count == 1 else 's differ'} (≠)" if count else "nothing differs"


class SettingsTab(QWidget):
    """A table with a column for each run: of several only what differs, unless all is asked for."""

    def __init__(self, lab: Lab) -> None:
        super().__init__()
        self._lab = lab
        self._runs: list[Run] = []
        self._all = lab.actions.add(
            self,
            "replay.all",
            "All settings",
            "Ctrl+D",
            "Show also the settings in which the runs agree",
            lambda on: self._fill(),
            checkable=True,
        )
        self.filter = QLineEdit(objectName="replay.settings.filter")
        self.filter.setAccessibleName("Filter of the settings")
        self.filter.setPlaceholderText("Filter: part of a key or a value")
        self.filter.setToolTip("Only settings whose key or value contains this")
        self.filter.setClearButtonEnabled(True)
        self.filter.textChanged.connect(lambda text: self._fill())
        self.note = QLabel(objectName="replay.settings.note")
        self.note.setAccessibleName("What is compared")
        self.note.setWordWrap(True)
        self.tree = QTreeWidget(objectName="replay.settings")
        self.tree.setAccessibleName("Settings")
        self.tree.setToolTip("Configuration and device settings of the ticked runs")
        self.tree.setAlternatingRowColors(True)
        self.tree.setRootIsDecorated(True)
        self.tree.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.tree.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        row = QHBoxLayout()
        row.addWidget(self.note, 1)
        row.addWidget(self.filter)
        row.addWidget(lab.actions.button(self._all))
        column = QVBoxLayout(self)
        column.addLayout(row)
        column.addWidget(self.tree, 1)
        lab.theme.changed.connect(self._fill)
        self._fill()

    def show_runs(self, runs: Sequence[Run]) -> None:
        """Compare these runs, or show the settings of the only one."""
        if [_settings_of(run) for run in runs] != [_settings_of(run) for run in self._runs]:
            self._runs = list(runs)
            self._fill()

    def lines(self) -> list[Line]:
        """Return what is shown."""
        lines, wanted = compare(self._runs), self.filter.text().lower()
        if len(self._runs) > 1 and not self._all.isChecked():
            lines = [line for line in lines if line.differs]
        return [line for line in lines if wanted in " ".join(map(str, (line.section, line.key, *line.values))).lower()]

    def _fill(self) -> None:
        several = len(self._runs) > 1
        lines = self.lines()
        self._all.setEnabled(several)
        self.note.setText(self._note(lines))
        self.tree.clear()
        self.tree.setColumnCount(2 + max(1, len(self._runs)))
        names = [name.replace(", ", "\n") for name in short_names(self._runs)]
        self.tree.setHeaderLabels(["Setting", "Unit", *(names or ["Value"])])
        header = self.tree.header()
        assert header is not None
        for column, run in enumerate(self._runs, 2):
            self.tree.headerItem().setToolTip(column, str(run.path))  # type: ignore[union-attr]
        sections: dict[str, QTreeWidgetItem] = {}
        bold = QFont(self.tree.font())
        bold.setBold(True)
        for line in lines:
            if line.section not in sections:
                top = QTreeWidgetItem(self.tree, [line.section or "configuration"])
                top.setFont(0, bold)
                top.setFirstColumnSpanned(True)
                sections[line.section] = top
            mark = several and line.differs
            values = [_ABSENT if value is None else value for value in line.values]
            item = QTreeWidgetItem(sections[line.section], [f"≠ {line.key}" if mark else line.key, line.unit, *values])
            for column, value in enumerate(values, 2):
                item.setToolTip(column, value)
                if mark:
                    item.setForeground(column, self._lab.theme.colour("accent"))
                    item.setFont(column, bold)
            item.setForeground(1, self._lab.theme.colour("muted"))
        self.tree.expandAll()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        header.setStretchLastSection(True)
        letter = self.fontMetrics().averageCharWidth()
        for column in range(2 + len(self._runs)):
            self.tree.resizeColumnToContents(column)
            most = letter * (_MOST if column else _WIDEST)
            self.tree.setColumnWidth(column, max(letter * _LEAST, min(self.tree.columnWidth(column), most)))

    def _note(self, lines: Sequence[Line]) -> str:
        if not self._runs:
            return "Open a run, or tick several in the table, to see what they were set to"
        if len(self._runs) == 1:
            return f"Everything that {self._runs[0].name} was set to"
        count = sum(line.differs for line in lines)
        return f"{len(self._runs)} runs: {_differing(count)}"
