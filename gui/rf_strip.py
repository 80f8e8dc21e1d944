"""The RF's state and RF OFF, as they are seen in the window, and in every dialog that is open over it."""

from typing import TypeGuard

from PyQt6.QtCore import QEvent, QObject, Qt
from PyQt6.QtGui import QKeyEvent, QPalette, QResizeEvent, QWindow
from PyQt6.QtWidgets import (
    QApplication,
    QDialog,
    QFrame,
    QHBoxLayout,
    QLabel,
    QMainWindow,
    QSizePolicy,
    QToolButton,
    QWidget,
)

from gui.lab import Lab
from gui.rf import Rf

_RF_WORDS = {
    Rf.NO_BENCH: ("○", "RF: no bench", "muted", "No bench is connected, and no run on this computer has one"),
    Rf.OFF: ("○", "RF off", "ok", "The instruments say that RF is off"),
    Rf.ON: ("●", "RF ON", "warn", "An instrument says that its RF is on"),
    Rf.TURNING_OFF: ("◐", "RF: turning off", "warn", "RF is being turned off"),
    Rf.IN_DOUBT: ("?", "RF IN DOUBT", "error", "Nobody can say whether RF is on: take it to be on"),
}


_STRIP = "rf.strip"


class RfState(QLabel):
    """How the RF of all benches stands: a shape, a word and a colour."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(objectName="rf.state")
        self._lab = lab
        self.setAccessibleName("RF state")
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setFixedWidth(self.fontMetrics().horizontalAdvance("◐  RF: turning off") * 5 // 4 + 24)
        lab.rf.changed.connect(self._show)
        lab.theme.changed.connect(self._show)
        self._show()

    def _show(self) -> None:
        state = self._lab.rf.state
        shape, word, role, meaning = _RF_WORDS[state]
        c = self._lab.theme.colours
        self.setText(f"{shape}  {word}")
        detail = self._lab.rf.detail
        self.setToolTip(f"{meaning}\n{detail}" if detail else meaning)
        loud = state in (Rf.ON, Rf.IN_DOUBT, Rf.TURNING_OFF)
        colours = f"background: {c[role]}; color: {c['base']};" if loud else f"color: {c[role]};"
        self.setStyleSheet(
            f"QLabel {{ {colours} border: 2px solid {c[role]}; border-radius: 4px; padding: 2px 8px; "
            "font-weight: bold; }"
        )


class RfOff(QObject):
    """Looks after a button for RF OFF: large, and in the colour of danger."""

    def __init__(self, lab: Lab) -> None:
        self.button: QToolButton = lab.actions.button(lab.actions["rf.off"])
        super().__init__(self.button)
        self._lab = lab
        self.button.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Expanding)
        lab.theme.changed.connect(self._paint)
        self._paint()

    def _paint(self) -> None:
        c = self._lab.theme.colours
        large = QApplication.font().pointSizeF() * 1.6
        self.button.setStyleSheet(
            f"QToolButton {{ background: {c['danger']}; color: {c['on_danger']}; font-weight: bold; "
            f"font-size: {large:g}pt; border: 2px solid {c['danger']}; border-radius: 4px; padding: 2px 18px; }}"
            f"QToolButton:hover, QToolButton:focus {{ border-color: {c['text']}; }}"
        )


class _Strip(QFrame):
    """State and button in a row; in a question that is narrow the button alone."""

    def __init__(self, lab: Lab, parent: QWidget) -> None:
        super().__init__(parent, objectName=_STRIP)
        self._state, self.off = RfState(lab), RfOff(lab).button
        row = QHBoxLayout(self)
        row.setContentsMargins(8, 6, 8, 6)
        row.addWidget(self._state)
        row.addWidget(self.off)
        row.addStretch(1)
        self.setAutoFillBackground(True)
        self.setBackgroundRole(QPalette.ColorRole.Button)
        self.setFixedHeight(round(self.fontMetrics().height() * 3))

    def resizeEvent(self, event: QResizeEvent | None) -> None:  # noqa: N802  # Qt's own
        """Show the state where there is room for it."""
        super().resizeEvent(event)
        self._state.setVisible(self.width() >= self._state.width() + self.off.sizeHint().width() + 24)


class RfInDialogs(QObject):
    """Gives every dialog over a window the RF's state and RF OFF, and has F12 heard there and in open menus.

    A modal dialog keeps mouse and keyboard from the window, a menu the shortcuts; RF OFF must not wait until a question
    is answered.
    """

    def __init__(self, lab: Lab, window: QMainWindow) -> None:
        super().__init__(window)
        self._lab, self._window = lab, window
        self._strips: list[_Strip] = []
        window.installEventFilter(self)
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        app.focusChanged.connect(self._focus_changed)
        app.focusWindowChanged.connect(self._window_changed)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802  # Qt's own
        """See that a modal dialog opens over the window or over another dialog, and hear F12."""
        if event is None:
            return False
        if event.type() == QEvent.Type.WindowBlocked:
            self._take(QApplication.activeModalWidget())
        elif watched is not self._window and _is_f12(event):
            if not event.isAutoRepeat():
                self._lab.actions["rf.off"].trigger()
            return True
        return super().eventFilter(watched, event)

    def _focus_changed(self, _before: QWidget | None, now: QWidget | None) -> None:
        if now is not None:
            self._take(now.window())

    def _window_changed(self, now: QWindow | None) -> None:
        """Hear the keys of whatever has the keyboard, before a menu that is open over it takes them."""
        shown = next((widget for widget in QApplication.topLevelWidgets() if widget.windowHandle() is now), None)
        if now is not None and self._is_over(shown):
            now.removeEventFilter(self)
            now.installEventFilter(self)

    def _is_over(self, widget: QWidget | None) -> bool:
        """Return whether it is the window, or was opened by it."""
        while widget is not None and widget is not self._window:
            widget = widget.parentWidget()
        return widget is not None

    def _take(self, dialog: QWidget | None) -> None:
        """Take on a dialog, or whatever else has the keyboard and is not the window."""
        if dialog is None or dialog is self._window or not self._is_over(dialog):
            return
        dialog.removeEventFilter(self)
        dialog.installEventFilter(self)
        if isinstance(dialog, QDialog) and dialog.findChild(QFrame, _STRIP) is None:
            self._add_strip(dialog)

    def _add_strip(self, dialog: QDialog) -> None:
        layout = dialog.layout()
        if layout is None:
            return
        strip = _Strip(self._lab, dialog)
        # Nobody else may hold it: Qt's own questions are unknown to Python but for this moment.
        self._strips.append(strip)
        strip.destroyed.connect(lambda: self._strips.remove(strip))
        strip.show()
        # The place for a menu, above all that a dialog has, whatever its layout is.
        layout.setMenuBar(strip)
        dialog.resize(dialog.width(), dialog.height() + strip.height())
        layout.activate()


def _is_f12(event: QEvent) -> TypeGuard[QKeyEvent]:
    pressed = isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress
    return pressed and event.key() == Qt.Key.Key_F12
