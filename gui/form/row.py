"""One line of the form: what is entered, how it is called, in what unit, what it does, and what is wrong with it."""

from typing import Any

import pyqtgraph as pg
from PyQt6.QtCore import Qt, pyqtSignal
from PyQt6.QtGui import QAction, QPalette
from PyQt6.QtWidgets import QGridLayout, QLabel, QSizePolicy, QToolButton, QWidget

from gui.form.editors import Entered, PathEditor, editor_for
from gui.form.fields import Field, Kind, number_text
from gui.theme import Theme

CHANGED = "●"
WRONG = "✕"
_SCALED = ("Hz", "s", "m", "T", "A/m", "W", "V")
"""Units that take prefixes: 3.205e9 Hz is 3.205 GHz."""
LABEL_LETTERS = 21


class Row(QWidget):
    """One field."""

    edited = pyqtSignal()
    pressed = pyqtSignal(object)
    """One of its buttons was pressed."""

    def __init__(self, field: Field, theme: Theme, reset: QAction, browse: QAction, parent: QWidget) -> None:
        super().__init__(parent)
        self.field = field
        self._theme = theme
        self._default = field.default
        self._told = ""
        """What the check said."""
        self.label = QLabel(field.label, self)
        self.label.setWordWrap(True)
        self.editor = editor_for(field, self)
        self.editor.setObjectName(field.name)
        self.editor.setAccessibleName(f"{field.label}{f' in {field.unit}' if field.unit else ''} ({field.name})")
        self.label.setBuddy(self.editor)
        self.unit = QLabel(field.unit, self)
        self.help = _small(QLabel(_help(field), self))
        self.help.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        self.error = _small(QLabel(self))
        self.error.setObjectName(f"error:{field.name}")
        self.error.hide()
        self.reset = self._button(reset, "reset")
        self._lay_out(self._button(browse, "browse") if isinstance(self.editor, PathEditor) else None)
        tip = self._tip()
        for widget in (self.label, self.editor, self.unit, self.help):
            widget.setToolTip(tip)
        self.editor.edited.connect(self._edited)
        self._mark()

    @property
    def changed(self) -> bool:
        """Whether it holds something else than the default."""
        held = self.held()
        return held.given and held.value != self._default

    @property
    def problem(self) -> str:
        """What is wrong with it."""
        return self.held().problem or self._told

    def held(self) -> Entered:
        """Return what is entered."""
        return self.editor.entered()

    def show_default(self, value: Any) -> None:
        """Show what holds while nothing is entered."""
        if value != self._default:
            self._default = value
            self.editor.show_default(value)
            self.editor.setToolTip(self._tip())
            self._mark()

    def tell(self, problem: str) -> None:
        """Say what the check found wrong with it; nothing if it is right."""
        if problem != self._told:
            self._told = problem
            self._mark()

    def repaint_problem(self) -> None:
        """Take the colours in use."""
        if not self.error.isHidden():
            palette = self.error.palette()
            palette.setColor(QPalette.ColorRole.WindowText, self._theme.colour("error"))
            self.error.setPalette(palette)

    def answers(self, words: list[str]) -> bool:
        """Say whether a search for these words finds it."""
        text = f"{self.field.name} {self.field.label} {self.field.description} {' '.join(self.field.choices)}".lower()
        return all(word in text for word in words)

    def _edited(self) -> None:
        self._told = ""
        self._mark()
        self.edited.emit()

    def _mark(self) -> None:
        held, changed = self.held(), self.changed
        self.label.setText(f"{CHANGED} {self.field.label}" if changed else self.field.label)
        font = self.label.font()
        if font.bold() != changed:
            font.setBold(changed)
            self.label.setFont(font)
        self.reset.setEnabled(held.given)
        self.unit.setText(_unit(self.field, held.value if held.given and not held.problem else self._default))
        problem = held.problem or self._told
        self.error.setText(f"{WRONG} {problem}")
        self.error.setVisible(bool(problem))
        self.repaint_problem()

    def _button(self, action: QAction, name: str) -> QToolButton:
        button = QToolButton(self)
        button.setDefaultAction(action)
        button.setObjectName(f"{name}:{self.field.name}")
        button.setAccessibleName(f"{action.text()}: {self.field.label}")
        button.setAutoRaise(True)
        # By keyboard the action's shortcut does it for the field that has the focus.
        button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        button.pressed.connect(lambda: self.pressed.emit(self))
        return button

    def _lay_out(self, browse: QToolButton | None) -> None:
        grid = QGridLayout(self)
        em = self.fontMetrics().averageCharWidth()
        grid.setContentsMargins(em, 0, 0, em // 2)
        grid.setHorizontalSpacing(em)
        grid.setVerticalSpacing(1)
        self.label.setFixedWidth(em * LABEL_LETTERS)
        self.unit.setMinimumWidth(em * 12)
        self.editor.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        grid.addWidget(self.label, 0, 0)
        grid.addWidget(self.editor, 0, 1)
        grid.addWidget(browse or self.unit, 0, 2)
        grid.addWidget(self.reset, 0, 3)
        grid.addWidget(self.help, 1, 1, 1, 2)
        grid.addWidget(self.error, 2, 1, 1, 2)
        grid.setColumnStretch(1, 1)
        if browse is not None:
            self.unit.hide()

    def _tip(self) -> str:
        field = self.field
        lines = [field.name, _help(field)]
        if self._default is not None:
            lines.append(f"Default: {field.show(self._default) or 'none'}{f' {field.unit}' if field.unit else ''}")
        return "\n".join(line for line in lines if line)


def _small(label: QLabel) -> QLabel:
    font = label.font()
    font.setPointSizeF(font.pointSizeF() * 0.88)
    label.setFont(font)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.NoTextInteraction)
    return label


def _help(field: Field) -> str:
    if not field.limits or field.limits in field.description:
        return field.description
    return f"{field.description} {field.limits[:1].upper()}{field.limits[1:]}."


def _unit(field: Field, value: Any) -> str:
    """Return the unit; where the number is hard to read also the number with a prefix."""
    plain = field.kind is Kind.NUMBER and isinstance(value, int | float) and not isinstance(value, bool)
    if not plain or field.unit not in _SCALED or not value or 0.01 <= abs(value) < 1e4:
        return field.unit
    scale, prefix = pg.siScale(value)
    return f"{field.unit} = {number_text(round(value * scale, 6))} {prefix}{field.unit}"
