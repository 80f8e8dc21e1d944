"""A row of widgets that goes on in a further line where the window is narrow, or the letters are large."""

from PyQt6.QtCore import QPoint, QRect, QSize, Qt
from PyQt6.QtWidgets import QLayout, QLayoutItem, QWidget


class Flow(QLayout):
    """Lays widgets out like words: as wide as they like to be, from the left, line by line."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._items: list[QLayoutItem] = []

    def addItem(self, item: QLayoutItem | None) -> None:  # noqa: D102, N802  # these are Qt's own, to the end of the class
        if item is not None:
            self._items.append(item)

    def count(self) -> int:  # noqa: D102
        return len(self._items)

    def itemAt(self, index: int) -> QLayoutItem | None:  # noqa: D102, N802
        return self._items[index] if 0 <= index < len(self._items) else None

    def takeAt(self, index: int) -> QLayoutItem | None:  # noqa: D102, N802
        return self._items.pop(index) if 0 <= index < len(self._items) else None

    def expandingDirections(self) -> Qt.Orientation:  # noqa: D102, N802
        return Qt.Orientation(0)

    def hasHeightForWidth(self) -> bool:  # noqa: D102, N802
        return True

    def heightForWidth(self, width: int) -> int:  # noqa: D102, N802
        return self._place(QRect(0, 0, width, 0), move=False)

    def setGeometry(self, rect: QRect) -> None:  # noqa: D102, N802
        super().setGeometry(rect)
        self._place(rect, move=True)

    def sizeHint(self) -> QSize:  # noqa: D102, N802
        shown = [item.sizeHint() for item in self._items if not item.isEmpty()]
        gaps = max(0, len(shown) - 1) * self.spacing()
        return QSize(sum(size.width() for size in shown) + gaps, max((size.height() for size in shown), default=0))

    def minimumSize(self) -> QSize:  # noqa: D102, N802
        shown = [item.minimumSize() for item in self._items if not item.isEmpty()]
        return QSize(max((s.width() for s in shown), default=0), max((s.height() for s in shown), default=0))

    def _size(self, item: QLayoutItem, width: int) -> QSize:
        size = item.sizeHint()
        return QSize(min(size.width(), max(1, width)), size.height())

    def _place(self, rect: QRect, *, move: bool) -> int:
        """Return how tall all lines together are at this width, and put the widgets there."""
        x, y, tall = rect.x(), rect.y(), 0
        line: list[tuple[QLayoutItem, int]] = []

        def end_line() -> None:
            for item, left in line if move else ():
                size = self._size(item, rect.width())
                item.setGeometry(QRect(QPoint(left, y + (tall - size.height()) // 2), size))
            line.clear()

        for item in self._items:
            if item.isEmpty():
                continue
            size = self._size(item, rect.width())
            if line and x + size.width() > rect.x() + rect.width():
                end_line()
                x, y, tall = rect.x(), y + tall + self.spacing(), 0
            line.append((item, x))
            x += size.width() + self.spacing()
            tall = max(tall, size.height())
        end_line()
        return y + tall - rect.y()
