"""What needs more room than there is, as with large letters in a small window, scrolls rather than being squeezed."""

from collections.abc import Callable

from PyQt6.QtCore import QEvent, Qt
from PyQt6.QtGui import QResizeEvent
from PyQt6.QtWidgets import QFrame, QScrollArea, QWidget


class Roomy(QScrollArea):
    """Shows a widget as wide as there is room, and as tall, but no less tall than it needs."""

    def __init__(self, inner: QWidget, least: Callable[[int], int]) -> None:
        """`least` returns the height that it needs, in pixels, at a width."""
        super().__init__()
        self._least = least
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWidget(inner)
        for widget in (self.viewport(), inner):
            assert widget is not None
            widget.setAutoFillBackground(False)

    def fit(self) -> None:
        """Give the widget its size; to be called when what it needs has changed."""
        inner, bar, room = self.widget(), self.verticalScrollBar(), self.maximumViewportSize()
        assert inner is not None
        assert bar is not None
        width = room.width()
        if self._least(width) > room.height():
            width -= bar.sizeHint().width()
        inner.resize(width, max(room.height(), self._least(width)))

    def resizeEvent(self, event: QResizeEvent | None) -> None:  # noqa: D102, N802  # Qt's own
        super().resizeEvent(event)
        self.fit()

    def changeEvent(self, event: QEvent | None) -> None:  # noqa: D102, N802  # Qt's own
        super().changeEvent(event)
        if event is not None and event.type() == QEvent.Type.FontChange and self.widget() is not None:
            self.fit()
