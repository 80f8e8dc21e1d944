"""A section of the form, which can be folded."""

from collections.abc import Callable, Iterator, Sequence

from PyQt6.QtCore import Qt
from PyQt6.QtGui import QAction, QPalette
from PyQt6.QtWidgets import QLabel, QToolButton, QVBoxLayout, QWidget

from gui.form.fields import Field
from gui.form.row import WRONG, Row
from gui.theme import Theme


class Group(QWidget):
    """The rows of one section under a heading."""

    def __init__(
        self, section: str, about: str, theme: Theme, heading: QAction, make: Callable[[Field, QWidget], Row]
    ) -> None:
        """`heading` folds and unfolds it, `make` makes a row."""
        super().__init__()
        self.section = section
        self._theme = theme
        self._about = about
        self._make = make
        self._rows: list[Row] = []
        self._action = heading
        self._heading = QToolButton(self)
        self._heading.setDefaultAction(heading)
        self._heading.setObjectName(f"heading:{section}")
        self._heading.setAccessibleName(heading.text())
        self._heading.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextOnly)
        self._heading.setAutoRaise(True)
        font = self._heading.font()
        font.setBold(True)
        self._heading.setFont(font)
        self._note = QLabel(self)
        self._note.setWordWrap(True)
        self._note.setObjectName(f"note:{section}")
        self._note.hide()
        self.wrong = False
        """Whether something is wrong with the section as a whole."""
        self._body = QWidget(self)
        self._lines = QVBoxLayout(self._body)
        self._lines.setContentsMargins(0, 0, 0, 0)
        self._lines.setSpacing(2)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self._heading, alignment=Qt.AlignmentFlag.AlignLeft)
        column.addWidget(self._note)
        column.addWidget(self._body)
        heading.toggled.connect(self._unfold)
        self._unfold(heading.isChecked())

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    @property
    def heading(self) -> QToolButton:
        """What folds and unfolds it."""
        return self._heading

    def unfold(self) -> None:
        """Show the rows."""
        self._action.setChecked(True)

    @property
    def unfolded(self) -> bool:
        """Whether the rows show."""
        return self._action.isChecked()

    def fill(self, fields: Sequence[Field], keep: int = 0) -> None:
        """Have rows for these fields, after the first few that are there, which stay."""
        for row in self._rows[keep:]:
            self.drop(row)
        for field in fields:
            self.add(field)

    def say(self, text: str, *, wrong: bool = False) -> None:
        """Say something about the whole section; nothing is said with an empty text."""
        self.wrong = wrong and bool(text)
        self._note.setText(f"{WRONG} {text}" if self.wrong else text)
        self._note.setVisible(bool(text))
        self.repaint_problems()
        self.sum_up()

    def repaint_problems(self) -> None:
        """Take the colours in use."""
        palette = self._note.palette()
        palette.setColor(QPalette.ColorRole.WindowText, self._theme.colour("error" if self.wrong else "muted"))
        self._note.setPalette(palette)
        for row in self._rows:
            row.repaint_problem()

    def add(self, field: Field) -> Row:
        """Have one more row."""
        row = self._make(field, self._body)
        # What is made last would otherwise be the last that Tab comes to in the whole window.
        QWidget.setTabOrder(self._rows[-1].editor if self._rows else self._heading, row.editor)
        self._rows.append(row)
        self._lines.addWidget(row)
        return row

    def drop(self, row: Row) -> None:
        """Have a row no longer."""
        self._rows.remove(row)
        self._lines.removeWidget(row)
        row.hide()
        row.deleteLater()

    def show_only(self, wanted: Callable[[Row], bool] | None) -> int:
        """Show the rows that are wanted, without a heading if there is none; None: all. Return how many."""
        shown = 0
        for row in self._rows:
            visible = wanted is None or wanted(row)
            row.setVisible(visible)
            shown += visible
        self.setVisible(wanted is None or shown > 0)
        self._body.setVisible(self.unfolded if wanted is None else True)
        return shown

    def sum_up(self) -> None:
        """Say in the heading what is in the rows."""
        changed = sum(row.changed for row in self._rows)
        wrong = sum(bool(row.problem) for row in self._rows) + self.wrong
        told = [f"{changed} changed"] if changed else []
        told += [f"{wrong} wrong"] if wrong else []
        arrow = "▾" if self.unfolded else "▸"
        note = f"  ({', '.join(told)})" if told else ""
        self._action.setIconText(f"{arrow} {self.section.capitalize()}: {self._about}{note}")

    def _unfold(self, on: bool) -> None:
        self._body.setVisible(on)
        self.sum_up()
