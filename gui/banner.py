"""A strip across the window for what a person has to know now; never a box that stops everything."""

from PyQt6.QtCore import Qt
from PyQt6.QtWidgets import QFrame, QHBoxLayout, QLabel, QWidget

from gui.actions import Actions
from gui.theme import Theme

_SHAPES = {"info": "i", "warning": "▲", "error": "✖"}
_ROLES = {"info": "accent", "warning": "warn", "error": "error"}
_LONGEST = 600


class Banner(QFrame):
    """Shows the last message until it is closed or another one comes."""

    def __init__(self, actions: Actions, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent, objectName="banner")
        self._theme = theme
        self._level = "info"
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
        self._level = level
        short = text if len(text) <= _LONGEST else text[:_LONGEST] + " … (the whole of it is in the log)"
        self.text.setText(f"{_SHAPES[level]}  {short}")
        self._paint()
        self.show()

    def _paint(self) -> None:
        c = self._theme.colours
        self.setStyleSheet(f"#banner {{ background: {c['raised']}; border-left: 5px solid {c[_ROLES[self._level]]}; }}")
