"""RF OFF by mouse and by F12 whatever is open over the window: questions, file dialogs, menus, lists."""

from collections.abc import Callable

import pytest
from PyQt6.QtCore import QPoint, Qt, QTimer
from PyQt6.QtTest import QTest
from PyQt6.QtWidgets import (
    QApplication,
    QComboBox,
    QDialog,
    QLabel,
    QLineEdit,
    QMenu,
    QMessageBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)
from pytestqt.qtbot import QtBot

from gui.lab import Lab
from gui.rf import Rf
from gui.window import MainWindow

BUTTON = "button:rf.off"


@pytest.fixture
def asked(lab: Lab) -> list[int]:
    """One entry for each time that RF OFF was asked for."""
    times: list[int] = []
    lab.rf.asked.connect(lambda: times.append(1))
    return times


def click(widget: QWidget) -> None:
    """Press and release the left button over a widget, as the window system tells its window."""
    window = widget.window()
    assert window is not None
    handle = window.windowHandle()
    assert handle is not None
    where = widget.mapTo(window, widget.rect().center())
    QTest.mouseClick(handle, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, where)


def press_f12() -> None:
    """Press F12, as the window system tells the window that has the keyboard."""
    window = QApplication.focusWindow()
    assert window is not None
    QTest.keyClick(window, Qt.Key.Key_F12)


def see_open(popup: QWidget | None, qtbot: QtBot) -> None:
    """Wait until a menu or list, or any, is open, and has the keyboard where it gets it."""
    qtbot.waitUntil(lambda: QApplication.activePopupWidget() is not None)
    assert popup is None or QApplication.activePopupWidget() is popup
    qtbot.wait(100)


def off_in(dialog: QWidget) -> QToolButton:
    button = dialog.findChild(QToolButton, BUTTON)
    assert button is not None
    return button


def in_dialog(do: Callable[[QDialog], None], opened: list[QDialog]) -> None:
    """Do something with the dialog that is opened next, and close it."""

    def wait() -> None:
        dialog = QApplication.activeModalWidget()
        if not isinstance(dialog, QDialog) or dialog in opened or not dialog.isActiveWindow():
            QTimer.singleShot(10, wait)
            return
        opened.append(dialog)
        try:
            do(dialog)
        finally:
            dialog.reject()

    QTimer.singleShot(10, wait)


KINDS: dict[str, Callable[[MainWindow], object]] = {
    "closing": lambda window: window.ask_closing([]),
    "session": lambda window: window._open(),
    "configuration": lambda window: window._open_configuration(),
    "question": lambda window: QMessageBox.question(window, "Overwrite", "Really?"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_click_on_rf_off_in_a_dialog(kind: str, window: MainWindow, lab: Lab, asked: list[int]) -> None:
    opened: list[QDialog] = []
    seen: list[object] = []

    def use(dialog: QDialog) -> None:
        click(window.top.off)
        seen.append(list(asked))  # it keeps the mouse from the window
        button = off_in(dialog)
        seen.append((button.text(), button.accessibleName(), button.styleSheet() == window.top.off.styleSheet()))
        inside = dialog.rect().contains(button.mapTo(dialog, QPoint(0, 0)))
        seen.append((inside, button.width() >= button.sizeHint().width(), button.isVisible()))
        click(button)
        seen.append(list(asked))
        press_f12()
        seen.append(list(asked))
        seen.append(dialog.isVisible())

    in_dialog(use, opened)
    KINDS[kind](window)
    assert seen == [[], ("RF OFF", "RF OFF", True), (True, True, True), [1], [1, 1], True]
    click(window.top.off)
    assert len(asked) == 3


def test_a_question_over_a_dialog_has_it_too_and_it_is_there_once(
    window: MainWindow, asked: list[int], qtbot: QtBot
) -> None:
    opened: list[QDialog] = []

    def inner(question: QDialog) -> None:
        click(off_in(question))
        press_f12()

    def outer(dialog: QDialog) -> None:
        in_dialog(inner, opened)
        QMessageBox.question(dialog, "Overwrite", "Really?")
        assert len(asked) == 2
        dialog.activateWindow()
        qtbot.waitUntil(dialog.isActiveWindow)
        assert len(dialog.findChildren(QToolButton, BUTTON)) == 1
        click(off_in(dialog))
        press_f12()

    in_dialog(outer, opened)
    window._open()
    assert len(opened) == 2
    assert len(asked) == 4


def test_a_dialog_that_is_not_modal_and_one_that_is_opened_again(
    window: MainWindow, lab: Lab, asked: list[int], qtbot: QtBot
) -> None:
    for times in (1, 2):
        lab.actions["help.shortcuts"].trigger()
        dialog = window._shortcuts
        assert dialog is not None
        qtbot.waitUntil(dialog.isActiveWindow)
        assert len(dialog.findChildren(QToolButton, BUTTON)) == 1
        click(off_in(dialog))
        assert len(asked) == 2 * times - 1
        press_f12()
        assert len(asked) == 2 * times
        dialog.close()
        window.activateWindow()
        qtbot.waitUntil(window.isActiveWindow)


def test_the_state_in_a_dialog_follows_the_rf(window: MainWindow, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    words: list[str] = []

    def use(dialog: QDialog) -> None:
        state = dialog.findChild(QLabel, "rf.state")
        assert state is not None
        assert state.isVisible()
        words.append(state.text())
        monkeypatch.setattr(type(lab.rf), "state", Rf.ON)
        lab.rf.changed.emit()
        words.append(state.text())

    in_dialog(use, [])
    window._open()
    assert words == ["○  RF: no bench", "●  RF ON"]
    lab.rf.changed.emit()  # the dialog is gone, and nothing of it hears
    assert window.top.rf.text() == "●  RF ON"


def test_f12_while_a_menu_is_open(window: MainWindow, asked: list[int], qtbot: QtBot) -> None:
    bar = window.menuBar()
    assert bar is not None
    menu = bar.actions()[0].menu()
    assert menu is not None
    own = QMenu(window)
    own.addAction("An action")
    for times, opened in enumerate((menu, own), 1):
        opened.popup(window.mapToGlobal(QPoint(60, 60)))
        see_open(opened, qtbot)
        press_f12()
        assert len(asked) == times
        opened.close()


def test_f12_while_a_list_is_open(window: MainWindow, asked: list[int], qtbot: QtBot) -> None:
    window.go("Bench")
    window.bench.file.addItems(["one.toml", "two.toml"])
    window.bench.file.showPopup()
    see_open(None, qtbot)
    press_f12()
    assert asked == [1]
    window.bench.file.hidePopup()


def test_f12_while_a_menu_or_a_list_of_a_dialog_is_open(window: MainWindow, asked: list[int], qtbot: QtBot) -> None:
    dialog = QDialog(window)
    dialog.setModal(True)
    line, choice = QLineEdit(), QComboBox()
    choice.addItems(["one", "two"])
    column = QVBoxLayout(dialog)
    for widget in (line, choice):
        column.addWidget(widget)
    with qtbot.waitActive(dialog):
        dialog.show()
    menu = line.createStandardContextMenu()
    assert menu is not None
    menu.popup(dialog.mapToGlobal(QPoint(5, 5)))
    see_open(menu, qtbot)
    press_f12()
    assert asked == [1]
    menu.close()
    choice.showPopup()
    see_open(None, qtbot)
    press_f12()
    assert asked == [1, 1]
    choice.hidePopup()
    dialog.close()
