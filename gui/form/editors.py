"""One editor for each kind of value. An editor that holds nothing stands for the default, which it shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PyQt6.QtCore import Qt, pyqtSignal
from PyQt6.QtGui import QWheelEvent
from PyQt6.QtWidgets import QCheckBox, QComboBox, QFileDialog, QLineEdit, QWidget

from gui.form.fields import Field, Kind


@dataclass(frozen=True)
class Entered:
    """What an editor holds."""

    given: bool = False
    value: Any = None
    problem: str = ""
    """What is wrong with it, as far as the field itself can tell."""


class LineEditor(QLineEdit):
    """For numbers, texts, lists and tables, as they stand in TOML; the default is the placeholder."""

    edited = pyqtSignal()

    def __init__(self, field: Field, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.field = field
        self.textChanged.connect(self.edited)

    def entered(self) -> Entered:
        """Return the value; what cannot be read comes as it was written, with the reason."""
        text = self.text().strip()
        if not text:
            return Entered()
        try:
            value = self.field.parse(text)
        except ValueError as error:
            return Entered(True, text, str(error))
        return Entered(True, value, self.field.problem(value))

    def give(self, value: Any) -> None:
        """Write a value."""
        self.setText(self.field.show(value))

    def forget(self) -> None:
        """Write nothing."""
        self.clear()

    def show_default(self, value: Any) -> None:
        """Show the default, or an example of what may be written."""
        if value is not None:
            shown = self.field.show(value) if value not in ("", [], {}) else "none"
        elif self.field.required:
            shown = "must be given"
        else:
            shown = "not set" if self.field.example is None else f"not set, e.g. {self.field.show(self.field.example)}"
        self.setPlaceholderText(shown)


class PathEditor(LineEditor):
    """For the place of a file, which a dialog can find."""

    def browse(self) -> None:
        """Ask for the file."""
        if self.field.section == "session":
            chosen, _ = QFileDialog.getSaveFileName(self, "Session file to write", self.text(), "Sessions (*.h5)")
        else:
            kinds = "Benches (*.toml);;All files (*)" if self.field.key == "bench" else "Tables (*.csv);;All files (*)"
            chosen, _ = QFileDialog.getOpenFileName(self, self.field.label, self.text(), kinds)
        if chosen:
            self.setText(chosen)


class ChoiceEditor(QComboBox):
    """For one of a few words; with `open_ended` others may be written."""

    edited = pyqtSignal()

    def __init__(self, field: Field, parent: QWidget | None = None, *, open_ended: bool = False) -> None:
        super().__init__(parent)
        self.field = field
        self._given = False
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(12)
        self.addItems(field.choices)
        self._default = str(field.default)
        if open_ended:
            self.setEditable(True)
            self.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
            line = self.lineEdit()
            assert line is not None
            line.textEdited.connect(self._choose)
        self.activated.connect(self._choose)

    def offer(self, choices: Sequence[str]) -> None:
        """Offer other words; what is chosen stays."""
        text = self.currentText()
        self.clear()
        self.addItems(choices)
        self._show(text)

    def entered(self) -> Entered:
        """Return the word that was chosen."""
        return Entered(True, self.currentText()) if self._given and self.currentText() else Entered()

    def give(self, value: Any) -> None:
        """Choose a word, also one that is not offered: the check says so."""
        self._show(str(value))
        self._choose()

    def forget(self) -> None:
        """Choose nothing."""
        self._show(self._default)
        self._given = False
        self.edited.emit()

    def show_default(self, value: Any) -> None:
        """Show the word that holds unless another is chosen."""
        self._default = str(value)
        if not self._given:
            self._show(self._default)

    def wheelEvent(self, event: QWheelEvent | None) -> None:  # noqa: N802  (Qt's name)
        """Leave the wheel to the page unless the editor has the focus: scrolling must not change a value."""
        if event is None or self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()

    def _choose(self, _how: object = None) -> None:
        self._given = True
        self.edited.emit()

    def _show(self, text: str) -> None:
        if self.findText(text) < 0 and not self.isEditable():
            self.addItem(text)
        self.setCurrentText(text)


class YesNoEditor(QCheckBox):
    """For yes or no."""

    edited = pyqtSignal()

    def __init__(self, field: Field, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.field = field
        self._given: Any = None
        self._default = bool(field.default)
        self.toggled.connect(lambda on: self.setText("yes" if on else "no"))
        self.clicked.connect(self._choose)
        self.setText("no")
        self.setChecked(self._default)

    def entered(self) -> Entered:
        """Return what was chosen; a value that is neither comes as it was given."""
        if self._given is None:
            return Entered()
        return Entered(True, self._given, "" if isinstance(self._given, bool) else "must be yes or no")

    def give(self, value: Any) -> None:
        """Choose."""
        if isinstance(value, bool):
            self.setChecked(value)
        self._given = value
        self.edited.emit()

    def forget(self) -> None:
        """Choose nothing."""
        self._given = None
        self.setChecked(self._default)
        self.edited.emit()

    def show_default(self, value: Any) -> None:
        """Show what holds unless something is chosen."""
        self._default = bool(value)
        if self._given is None:
            self.setChecked(self._default)

    def _choose(self, on: bool) -> None:
        self._given = on
        self.edited.emit()


AnyEditor = LineEditor | ChoiceEditor | YesNoEditor


def editor_for(field: Field, parent: QWidget | None = None) -> AnyEditor:
    """Return an editor that holds nothing."""
    if field.name == "device.name":
        editor: AnyEditor = ChoiceEditor(field, parent, open_ended=True)
    elif field.kind is Kind.CHOICE:
        editor = ChoiceEditor(field, parent)
    elif field.kind is Kind.YES_NO:
        editor = YesNoEditor(field, parent)
    elif field.kind is Kind.PATH:
        editor = PathEditor(field, parent)
    else:
        editor = LineEditor(field, parent)
    editor.show_default(field.default)
    return editor
