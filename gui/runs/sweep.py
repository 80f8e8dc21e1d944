"""Several runs at once: every combination of the values of one or more keys, each checked before any is added."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PyQt6.QtCore import Qt, pyqtSignal
from PyQt6.QtGui import QPalette
from PyQt6.QtWidgets import QComboBox, QDialog, QGridLayout, QHBoxLayout, QLabel, QLineEdit, QSpinBox, QVBoxLayout

from gui.form.checking import CheckedOneByOne
from gui.form.fields import Field
from gui.form.form import ConfigForm, Values
from gui.form.row import WRONG
from gui.lab import Lab
from gui.runs.entry import Entry
from labpgt.config import Config
from procedures.text import split_values

MOST_RUNS = 1000
KEYS = 3
"""How many keys can be varied at once."""
_SEED = "training.seed"
_SHOWN = 4
"""So many problems are shown; there may be one for every run."""


class SweepDialog(QDialog):
    """Asks which keys take which values."""

    wanted = pyqtSignal(list)
    """The entries that shall be added."""

    def __init__(self, lab: Lab, form: ConfigForm) -> None:
        super().__init__(form)
        self.setWindowTitle("Add a sweep to the queue")
        self._lab = lab
        self._form = form
        self._checking: CheckedOneByOne | None = None
        self._keys: list[QComboBox] = []
        self._values: list[QLineEdit] = []
        column = QVBoxLayout(self)
        intro = QLabel("Every combination of these values becomes a run. All else is as in the form.", self)
        intro.setWordWrap(True)
        column.addWidget(intro)
        grid = QGridLayout()
        for number in range(1, KEYS + 1):
            grid.addWidget(self._key(number), number, 0)
            grid.addWidget(self._value(number), number, 1)
        grid.setColumnStretch(1, 1)
        column.addLayout(grid)
        self.seeds = QSpinBox(self)
        self.seeds.setObjectName("sweep-seeds")
        self.seeds.setAccessibleName("Seeds")
        self.seeds.setToolTip("So many runs of each combination, with seeds that count up from that of the form")
        self.seeds.setRange(1, 100)
        self.seeds.valueChanged.connect(self._follow)
        line = QHBoxLayout()
        label = QLabel("Se&eds of each", self)
        label.setBuddy(self.seeds)
        line.addWidget(label)
        line.addWidget(self.seeds)
        line.addStretch(1)
        column.addLayout(line)
        self.told = QLabel(self)
        self.told.setObjectName("sweep-told")
        self.told.setWordWrap(True)
        self.told.setMinimumHeight(self.fontMetrics().lineSpacing() * 3)
        column.addWidget(self.told, 1)
        add = lab.actions.add
        self._add = add(self, "sweep.add", "Add runs", "Ctrl+Alt+Return", "Check these runs and add them", self._check)
        leave = add(self, "sweep.leave", "Leave", "Ctrl+Alt+W", "Add nothing", self.hide)
        buttons = QHBoxLayout()
        buttons.addStretch(1)
        for action in (self._add, leave):
            buttons.addWidget(lab.actions.button(action, self))
        column.addLayout(buttons)
        self.resize(self.fontMetrics().averageCharWidth() * 90, self.sizeHint().height())

    def begin(self) -> None:
        """Show the dialog for what is in the form now."""
        names = ["", *(row.field.name for row in self._form if row.field.section != "session")]
        for box in self._keys:
            before = box.currentText()
            box.clear()
            box.addItems(names)
            box.setCurrentText(before if before in names else "")
        self._follow()
        self.show()
        self.raise_()
        self._keys[0].setFocus()

    def _key(self, number: int) -> QComboBox:
        box = QComboBox(self)
        box.setObjectName(f"sweep-key-{number}")
        box.setAccessibleName(f"Key {number}")
        box.setToolTip("Which key takes other values; type to find it")
        box.setEditable(True)
        box.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        box.setMinimumContentsLength(26)
        line, completer = box.lineEdit(), box.completer()
        if line is not None and completer is not None:
            line.setPlaceholderText("key")
            completer.setFilterMode(Qt.MatchFlag.MatchContains)
            completer.setCompletionMode(completer.CompletionMode.PopupCompletion)
        box.currentTextChanged.connect(self._follow)
        self._keys.append(box)
        return box

    def _value(self, number: int) -> QLineEdit:
        line = QLineEdit(self)
        line.setObjectName(f"sweep-values-{number}")
        line.setAccessibleName(f"Values of key {number}")
        line.setToolTip("Values with commas between; lists in brackets: [200], [100, 100]")
        line.setPlaceholderText("values, with commas between")
        line.textChanged.connect(self._follow)
        self._values.append(line)
        return line

    def entries(self) -> list[Entry]:
        """Return a run for each combination. Raises `ValueError` that says what is missing or wrong."""
        given: dict[str, list[Any]] = {}
        for box, line in zip(self._keys, self._values, strict=True):
            name = box.currentText().strip()
            if name in given:
                raise ValueError(f"{name}: every key once; write all of its values with commas between")
            if name:
                given[name] = _parsed(self._field(name), line.text())
        base = self._form.values()
        seeds = self.seeds.value()
        if seeds > 1:
            if _SEED in given:
                raise ValueError(f"{_SEED}: give its values, or a number of seeds, not both")
            first = base.get("training", {}).get("seed", Config().training.seed)
            if not isinstance(first, int):
                raise ValueError(f"{_SEED} = {first}: must be a whole number")
            given[_SEED] = list(range(first, first + seeds))
        if not given:
            raise ValueError("Choose a key and write its values, or ask for more than one seed.")
        count = 1
        for values in given.values():
            count *= len(values)
        if count > MOST_RUNS:
            raise ValueError(f"{count} runs: at most {MOST_RUNS} at once; take fewer values")
        shown = {name: self._field(name) for name in given}
        combinations = [dict(zip(given, chosen, strict=True)) for chosen in itertools.product(*given.values())]
        return [_entry(base, shown, chosen, number) for number, chosen in enumerate(combinations, start=1)]

    def _field(self, name: str) -> Field:
        row = self._form.row(name)
        if row is None:
            raise ValueError(f"{name}: no such key in the form")
        return row.field

    def _follow(self) -> None:
        if self._checking is not None:
            return
        try:
            count = len(self.entries())
        except ValueError as error:
            self._say(str(error))
            self._add.setEnabled(False)
        else:
            self._say(f"{count} run{'s' if count > 1 else ''}")
            self._add.setEnabled(True)

    def _check(self) -> None:
        entries = self.entries()
        self._add.setEnabled(False)
        self._say(f"Checking {len(entries)} runs…")

        def answered(problems: dict[int, dict[str, str]], why: str) -> None:
            self._checking = None
            self._add.setEnabled(True)
            if problems:
                lines = [
                    f"{entries[n].note}: {key}: {text}" for n, all_ in problems.items() for key, text in all_.items()
                ]
                more = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
                self._say("\n".join([*lines[:_SHOWN], *more]), wrong=True)
                return
            if why:
                self._lab.notice("warning", f"the runs of the sweep were not checked ({why}); each checks itself")
            self._follow()
            self.hide()
            self.wanted.emit(entries)

        self._checking = CheckedOneByOne(self._lab.desk, [entry.config for entry in entries], answered)
        self._checking.begin()

    def _say(self, text: str, *, wrong: bool = False) -> None:
        palette = self.told.palette()
        palette.setColor(QPalette.ColorRole.WindowText, self._lab.theme.colour("error" if wrong else "text"))
        self.told.setPalette(palette)
        self.told.setText(f"{WRONG} {text}" if wrong else text)


def _parsed(field: Field, text: str) -> list[Any]:
    texts = [part for part in split_values(text) if part]
    if not texts:
        raise ValueError(f"{field.name}: write its values with commas between")
    found: list[Any] = []
    for part in texts:
        try:
            value = field.parse(part)
        except ValueError as error:
            raise ValueError(f"{field.name} = {part}: {error}") from None
        if problem := field.problem(value):
            raise ValueError(f"{field.name} = {part}: {problem}")
        if value in found:
            raise ValueError(f"{field.name} = {part}: give each value once")
        found.append(value)
    return found


def _entry(base: Values, fields: Mapping[str, Field], chosen: Mapping[str, Any], number: int) -> Entry:
    config = {section: dict(given) for section, given in base.items()}
    for name, value in chosen.items():
        config.setdefault(fields[name].section, {})[fields[name].key] = value
    asked = config.get("session", {}).get("file")
    if isinstance(asked, str):  # one file for each
        place = Path(asked)
        config["session"]["file"] = str(place.with_name(f"{place.stem}-{number}{place.suffix}"))
    note = ", ".join(f"{fields[name].key} = {fields[name].show(value)}" for name, value in chosen.items())
    return Entry(config, note)
