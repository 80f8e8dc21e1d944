"""A strip across the window for what a person has to know now; never a box that stops everything."""

from PyQt6.QtCore import Qt
from PyQt6.QtWidgets import QFrame, QHBoxLayout, QLabel, QWidget

from gui.actions import Actions
from gui.theme import Theme

_SHAPES = {"info": "i", "warning": "▲", "error": "✖"}
_ROLES = {"info": "accent", "warning": "warn", "error": "error"}
_LONGEST = 600
_MOST_ERRORS = 2


class Banner(QFrame):
    """Shows the last message, and what went wrong before it, until it is closed."""

    def __init__(self, actions: Actions, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent, objectName="banner")
        self._theme = theme
        self._level = "info"
        self._errors: list[str] = []
        self.text = QLabel(objectName="banner.text")
        self.text.setWordWrap(True)
        self.text.setTextFormat(Qt.TextFormat.PlainText)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.text.setAccessibleName("Message")
        close = actions.add(self, "banner.close", "Dismiss", "Esc", "Take this message away", self.hide, anywhere=True)
        row = QHBoxLayout(self)
        row.setContentsMargins(10, 4, 6, 4)
        row.addWidget(self.text, 1)
        row.addWidget(actions.button(close), 0, Qt.AlignmentFlag.AlignTop)
        theme.changed.connect(self._paint)
        self.hide()

    def tell(self, level: str, text: str) -> None:
        """Show a message."""
        if self.isHidden():
            self._errors = []  # somebody has seen them
        short = text if len(text) <= _LONGEST else text[:_LONGEST] + " … (the whole of it is in the log)"
        line = f"{_SHAPES[level]}  {short}"
        before = [error for error in self._errors if error != line]
        if level == "error":
            self._errors = [*before, line][-_MOST_ERRORS:]
        # An error stays though something harmless comes after it: RF may be on.
        lines = self._errors if level == "error" else [*before, line]
        self._level = "error" if self._errors else level
        self.text.setText("\n".join(lines))
        self._paint()
        self.show()

    def _paint(self) -> None:
        c = self._theme.colours
        self.setStyleSheet(f"#banner {{ background: {c['raised']}; border-left: 5px solid {c[_ROLES[self._level]]}; }}")
