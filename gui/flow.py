"""A row of widgets that goes on in a further line where the window is narrow, or the letters are large."""

from PyQt6.QtCore import QEvent, QPoint, QRect, QSize
from PyQt6.QtGui import QResizeEvent
from PyQt6.QtWidgets import QSizePolicy, QStyle, QWidget


class Flow(QWidget):
    """Lays widgets out like words: as wide as they like to be, from the left, line by line.

    A widget, and no layout: Qt deletes the items of a layout that Python holds, at times before Python lets go of them.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._widgets: list[QWidget] = []
        self._spacing: int | None = None
        policy = QSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Minimum)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)

    def add(self, widget: QWidget) -> None:
        """Put a widget at the end."""
        widget.setParent(self)
        self._widgets.append(widget)
        self.updateGeometry()

    def set_spacing(self, spacing: int) -> None:
        """Set the room between widgets and between lines, in pixels; else it is what the style wants."""
        self._spacing = spacing

    @property
    def spacing(self) -> int:
        """Room between widgets and between lines, in pixels."""
        style = self.style()
        if self._spacing is not None or style is None:
            return self._spacing or 0
        return style.pixelMetric(QStyle.PixelMetric.PM_LayoutHorizontalSpacing, None, self)

    def heightForWidth(self, width: int) -> int:  # noqa: D102, N802  # these are Qt's own, to the end of the class
        return self._place(width, move=False)

    def sizeHint(self) -> QSize:  # noqa: D102, N802
        sizes = [widget.sizeHint() for widget in self._shown]
        gaps = max(0, len(sizes) - 1) * self.spacing
        return QSize(sum(size.width() for size in sizes) + gaps, max((size.height() for size in sizes), default=0))

    def minimumSizeHint(self) -> QSize:  # noqa: D102, N802
        sizes = [widget.minimumSizeHint().expandedTo(widget.minimumSize()) for widget in self._shown]
        return QSize(max((s.width() for s in sizes), default=0), max((s.height() for s in sizes), default=0))

    def resizeEvent(self, event: QResizeEvent | None) -> None:  # noqa: D102, N802
        super().resizeEvent(event)
        self._place(self.width(), move=True)

    def event(self, event: QEvent | None) -> bool:  # noqa: D102
        if event is not None and event.type() == QEvent.Type.LayoutRequest:  # one was shown, hidden or became larger
            self._place(self.width(), move=True)
            self.updateGeometry()
        return super().event(event)

    @property
    def _shown(self) -> list[QWidget]:
        return [widget for widget in self._widgets if not widget.isHidden()]

    def _place(self, width: int, *, move: bool) -> int:
        """Return how tall all lines together are at this width, and put the widgets there."""
        x, y, tall = 0, 0, 0
        line: list[tuple[QWidget, int, QSize]] = []

        def end_line() -> None:
            for widget, left, size in line if move else ():
                widget.setGeometry(QRect(QPoint(left, y + (tall - size.height()) // 2), size))
            line.clear()

        for widget in self._shown:
            size = widget.sizeHint().expandedTo(widget.minimumSize()).boundedTo(widget.maximumSize())
            size.setWidth(min(size.width(), max(1, width)))
            if line and x + size.width() > width:
                end_line()
                x, y, tall = 0, y + tall + self.spacing, 0
            line.append((widget, x, size))
            x += size.width() + self.spacing
            tall = max(tall, size.height())
        end_line()
        return y + tall
