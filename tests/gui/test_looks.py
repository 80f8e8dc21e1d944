"""What is seen whatever the window's size: rows of buttons go on in further lines, and the focus is always in view."""

from PyQt6.QtCore import QPoint, QRect
from PyQt6.QtTest import QTest
from PyQt6.QtWidgets import QLineEdit, QListView, QPushButton, QTableView, QVBoxLayout, QWidget
from pytestqt.qtbot import QtBot

from gui.flow import Flow
from gui.focus import FocusFrames
from gui.lab import Lab
from gui.live import LivePage
from gui.replay import ReplayPage


def test_a_row_goes_on_in_further_lines(qtbot: QtBot) -> None:
    whole = QWidget()
    qtbot.addWidget(whole)
    column = QVBoxLayout(whole)
    flow = Flow()
    buttons = [QPushButton(f"Button {number}") for number in range(6)]
    for button in buttons:
        flow.add(button)
    column.addWidget(flow)
    column.addStretch(1)
    wide = flow.sizeHint().width() + 60
    whole.resize(wide, 200)
    whole.show()
    QTest.qWait(0)
    assert len({button.y() for button in buttons}) == 1
    whole.resize(wide // 2, 200)
    QTest.qWait(0)
    assert len({button.y() for button in buttons}) > 1
    assert whole.rect().contains(flow.geometry())
    assert all(flow.rect().contains(button.geometry()) for button in buttons)
    # What is hidden leaves no gap, and what is shown again has its place.
    lines = len({button.y() for button in buttons})
    for button in buttons[2:]:
        button.hide()
    QTest.qWait(0)
    assert flow.height() == buttons[0].height()
    for button in buttons[2:]:
        button.show()
    QTest.qWait(0)
    assert len({button.y() for button in buttons}) == lines
    assert not any(a.geometry().intersects(b.geometry()) for a in buttons for b in buttons if a is not b)


def test_there_is_a_frame_around_what_does_not_show_the_focus_itself(lab: Lab, qtbot: QtBot) -> None:
    window, inner = QWidget(), QWidget()
    qtbot.addWidget(window)
    outer = QVBoxLayout(window)
    outer.addWidget(inner)
    column = QVBoxLayout(inner)
    line, table, rows = QLineEdit(), QTableView(), QListView()
    for widget in (line, table, rows):
        column.addWidget(widget)
    window.resize(300, 400)
    frames = FocusFrames(lab.theme, window)

    def framed() -> list[QRect]:
        found = [child.geometry() for child in window.findChildren(QWidget, "focus.frame") if child.isVisible()]
        # A window of an earlier test that is not quite gone draws its frame, too.
        return [place for number, place in enumerate(found) if place not in found[:number]]

    def place(widget: QWidget) -> QRect:
        return QRect(widget.mapTo(window, QPoint()), widget.size())

    with qtbot.waitActive(window):
        window.show()
        window.raise_()
        window.activateWindow()
    table.setFocus()
    qtbot.waitUntil(table.hasFocus)
    qtbot.waitUntil(lambda: framed() == [place(table)])
    window.resize(500, 600)
    qtbot.waitUntil(lambda: framed() == [place(table)] and table.width() > 300)
    rows.setFocus()
    assert framed() == [place(rows)]
    line.setFocus()
    assert framed() == []
    assert frames.parent() is window


def larger(widget: QWidget) -> None:
    """Have the letters of a widget twice as large."""
    font = widget.font()
    font.setPointSizeF(2 * font.pointSizeF())
    widget.setFont(font)


def test_plots_that_have_no_room_are_fewer_beside_each_other_and_scroll(lab: Lab, qtbot: QtBot) -> None:
    page = LivePage(lab)
    qtbot.addWidget(page)
    page.resize(1130, 600)
    page.show()
    QTest.qWait(0)

    def places() -> list[QRect]:
        return [QRect(panel.plot.mapTo(page, QPoint()), panel.plot.size()) for panel in page.shown]

    bar = page.grid.verticalScrollBar()
    assert bar is not None
    assert len({place.x() for place in places()}) == 3
    assert all(page.rect().contains(place) for place in places())
    assert bar.maximum() == 0
    larger(page)
    QTest.qWait(0)
    metrics = page.grid.fontMetrics()
    assert len({place.x() for place in places()}) == 2
    assert all(place.height() > 10 * metrics.lineSpacing() for place in places())
    assert all(place.width() > 30 * metrics.averageCharWidth() for place in places())
    assert all(page.rect().left() <= place.left() < place.right() <= page.rect().right() for place in places())
    assert bar.maximum() > 0
    last = page.shown[-1].plot
    last.setFocus()
    page.grid.ensureWidgetVisible(last)
    QTest.qWait(0)
    assert page.rect().intersects(places()[-1])
    page.arrange([page.shown[0]])  # one alone has all the room there is
    QTest.qWait(0)
    assert bar.maximum() == 0
    page.close_session()


def test_a_session_that_has_no_room_scrolls_and_its_facts_go_below_the_plots(lab: Lab, qtbot: QtBot) -> None:
    page = ReplayPage(lab)
    qtbot.addWidget(page, before_close_func=lambda page: page.close_down())
    page.resize(1130, 560)
    page.show()
    QTest.qWait(0)
    picture, facts = page.shots.picture, page.shots.facts

    def place(widget: QWidget) -> QRect:
        return QRect(widget.mapTo(page.shots, QPoint()), widget.size())

    assert place(facts).left() > place(picture).right()
    larger(page)
    QTest.qWait(0)
    assert place(facts).top() > place(picture).bottom()
    assert picture.height() > 8 * page.fontMetrics().lineSpacing()
    assert page.shots.height() > page.height()
