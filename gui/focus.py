"""A frame around what has the keyboard, where the style draws none: tables, trees, plots, and whatever scrolls."""

from PyQt6 import sip
from PyQt6.QtCore import QEvent, QObject, QPoint, QRect, Qt
from PyQt6.QtGui import QPainter, QPaintEvent, QRegion
from PyQt6.QtWidgets import (
    QAbstractButton,
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLineEdit,
    QMainWindow,
    QMenu,
    QTabBar,
    QWidget,
)

from gui.theme import Theme

_SHOW_IT = (QAbstractButton, QAbstractSlider, QAbstractSpinBox, QComboBox, QLineEdit, QMainWindow, QMenu, QTabBar)
"""Widgets that the style draws otherwise when they have the focus."""
_WIDTH = 2


class FocusFrames(QObject):
    """Draws the frame; lives as long as its owner."""

    def __init__(self, theme: Theme, owner: QObject) -> None:
        super().__init__(owner)
        self._theme = theme
        self._frame: _Frame | None = None
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        app.focusChanged.connect(self._moved)

    def _moved(self, _before: QWidget | None, now: QWidget | None) -> None:
        if self._frame is not None and not sip.isdeleted(self._frame):
            self._frame.hide()
            self._frame.deleteLater()
        self._frame = None if now is None or isinstance(now, _SHOW_IT) else _Frame(now, self._theme)


class _Frame(QWidget):
    """Nothing but a border over a widget. It belongs to the window, so that it is in no picture of the widget."""

    def __init__(self, around: QWidget, theme: Theme) -> None:
        window = around.window()
        super().__init__(window, objectName="focus.frame")
        self._around, self._theme = around, theme
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        place: QWidget | None = around
        while place is not None and place is not window:
            place.installEventFilter(self)
            place = place.parentWidget()
        self._fit()
        self.show()
        self.raise_()

    def eventFilter(self, _moved: QObject | None, event: QEvent | None) -> bool:  # noqa: N802  # Qt's own
        """Go along when the widget, or something that it is in, gets another place."""
        if event is not None and event.type() in (QEvent.Type.Resize, QEvent.Type.Move):
            self._fit()
        return False

    def paintEvent(self, _event: QPaintEvent | None) -> None:  # noqa: N802
        """Draw the border: what is within is masked out."""
        QPainter(self).fillRect(self.rect(), self._theme.colour("accent"))

    def _fit(self) -> None:
        self.setGeometry(QRect(self._around.mapTo(self._around.window(), QPoint()), self._around.size()))
        area = self.rect()
        self.setMask(QRegion(area).subtracted(QRegion(area.adjusted(_WIDTH, _WIDTH, -_WIDTH, -_WIDTH))))
