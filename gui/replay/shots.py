"""Going through a session shot by shot: slider, number, keys, and playing; drive, response, perturbation, loss."""

import numpy as np
from numpy.typing import NDArray
from PyQt6.QtCore import Qt, QTimer, pyqtSignal
from PyQt6.QtGui import QAction, QResizeEvent
from PyQt6.QtWidgets import (
    QComboBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QScrollArea,
    QSlider,
    QSpinBox,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from gui.flow import Flow
from gui.lab import Lab
from gui.plots import Plot, Shape, ShotPlot
from gui.replay.facts import FactsPanel, facts_of
from gui.replay.opened import Choice, OpenSession, Overview, ShotView

PLAY_MS = 40
_BESIDE = 80
"""Mean letters across that plots and facts need beside each other."""
_MOST = 2**31 - 1
"""What a slider and a spin box of Qt hold."""


class ShotsTab(QWidget):
    """The shots of one open session."""

    failed = pyqtSignal(str)
    """A shot that cannot be read, and why; an empty text when one was read."""

    def __init__(self, lab: Lab) -> None:
        super().__init__()
        self._lab = lab
        self._session: OpenSession | None = None
        self._overview: Overview | None = None
        self._numbers: NDArray[np.int64] | None = None
        """Shots of the choice; None for all."""
        self._view: ShotView | None = None
        self._at = -1
        """The shot that is shown or was asked for last."""
        self._setting = False
        self._play_timer = QTimer(self)
        self._play_timer.setInterval(PLAY_MS)
        self._play_timer.timeout.connect(self._play_on)

        self._paint_timer = QTimer(self)
        self._paint_timer.setSingleShot(True)
        self._paint_timer.setInterval(1)
        self._paint_timer.timeout.connect(self._paint)

        self._make_actions()
        self.slider = QSlider(Qt.Orientation.Horizontal, objectName="replay.slider")
        self.slider.setAccessibleName("Shot")
        self.slider.setToolTip("Go through the shots (arrow keys, Page Up and Down, Home, End)")
        self.slider.valueChanged.connect(self._slid)
        self.spin = QSpinBox(objectName="replay.shot")
        self.spin.setAccessibleName("Number of the shot")
        self.spin.setToolTip("Number of the shot, counted from 0; the nearest one of the choice is shown")
        self.spin.setGroupSeparatorShown(True)
        self.spin.setKeyboardTracking(False)
        self.spin.setMinimumWidth(self.spin.fontMetrics().horizontalAdvance("0,000,000,000") + 40)
        self.spin.valueChanged.connect(self._entered)
        self.of = QLabel(objectName="replay.of")
        self.of.setAccessibleName("How many shots there are")
        self.choice = QComboBox(objectName="replay.choice")
        self.choice.setAccessibleName("Which shots")
        self.choice.setToolTip("Which shots are gone through: all, those of one purpose, or those with a flag")
        for choice in Choice:
            self.choice.addItem(choice.value, choice)
        self.choice.currentIndexChanged.connect(self._chose)

        self.picture = ShotPlot(lab)
        self.half = Plot(lab, "Drive perturbation, (u+ − u−)/2", "symbol", "drive")
        self.half.can_log = False
        self.half.legend_lines = 1
        self._half_curve = self.half.curve("", 1, Shape.STEPS, width=2)
        self._half_zero = self.half.line("", 0.0)
        self.facts = FactsPanel()
        self._lay_out()
        self._enable()

    def _make_actions(self) -> None:
        add = self._lab.actions.add
        steps = (
            ("replay.first", "First", "Home", "Go to the first shot", lambda: self._go(0)),
            ("replay.back", "Back", "PgUp", "Go a hundredth of the shots back", lambda: self._move(-self._page)),
            ("replay.previous", "Previous", "Left", "Go to the shot before", lambda: self._move(-1)),
            ("replay.next", "Next", "Right", "Go to the next shot", lambda: self._move(1)),
            ("replay.on", "On", "PgDown", "Go a hundredth of the shots on", lambda: self._move(self._page)),
            ("replay.last", "Last", "End", "Go to the newest shot", lambda: self._go(self._count - 1)),
        )
        self._steps: list[QAction] = [add(self, *step) for step in steps]
        signs = ("|◀", "◀◀", "◀", "▶", "▶▶", "▶|")
        for action, sign in zip(self._steps, signs, strict=True):
            action.setIconText(sign)
        self._other = add(
            self, "replay.other", "Other half", "H", "Go to the other half of the pair", self._go_to_other
        )
        self._play = add(
            self, "replay.play", "Play", "P", "Go on shot by shot until the end", self._played, checkable=True
        )
        self._newest = add(
            self,
            "replay.newest",
            "Follow newest",
            "N",
            "Stay at the newest shot while the run goes on",
            self._followed,
            checkable=True,
        )

    def _lay_out(self) -> None:
        button = self._lab.actions.button
        top, bottom = QHBoxLayout(), Flow()
        for action in self._steps[:3]:
            top.addWidget(button(action))
        top.addWidget(self.slider, 1)
        for action in self._steps[3:]:
            top.addWidget(button(action))
        bottom.add(QLabel("Shot"))
        bottom.add(self.spin)
        bottom.add(self.choice)
        for action in (self._other, self._play, self._newest):
            bottom.add(button(action))
        bottom.add(self.of)
        pictures = QSplitter(Qt.Orientation.Vertical)
        pictures.addWidget(self.picture)
        pictures.addWidget(self.half)
        pictures.setStretchFactor(0, 3)
        pictures.setStretchFactor(1, 1)
        pictures.setChildrenCollapsible(False)
        scroll = QScrollArea()
        scroll.setWidget(self.facts)
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        for widget in (scroll.viewport(), self.facts):
            assert widget is not None
            widget.setAutoFillBackground(False)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setMinimumWidth(self.fontMetrics().averageCharWidth() * 36)
        self._both = both = QSplitter(Qt.Orientation.Horizontal)
        both.addWidget(pictures)
        both.addWidget(scroll)
        both.setStretchFactor(0, 1)
        both.setChildrenCollapsible(False)
        letter = self.fontMetrics().averageCharWidth()
        both.setSizes([90 * letter, 47 * letter])
        column = QVBoxLayout(self)
        column.addLayout(top)
        column.addWidget(bottom)
        column.addWidget(both, 1)

    def stacked(self, width: int) -> bool:
        """Whether at this width the facts of a shot have no room beside its plots, and stand below them."""
        return width < _BESIDE * self.fontMetrics().averageCharWidth()

    def resizeEvent(self, event: QResizeEvent | None) -> None:  # noqa: D102, N802  # Qt's own
        super().resizeEvent(event)
        wanted = Qt.Orientation.Vertical if self.stacked(self.width()) else Qt.Orientation.Horizontal
        if self._both.orientation() != wanted:
            self._both.setOrientation(wanted)

    @property
    def shown(self) -> ShotView | None:
        """The shot that is shown."""
        return self._view

    def show_session(self, session: OpenSession | None, overview: Overview | None = None) -> None:
        """Go through this session from now on, its first shot first; a running one from its newest."""
        self._session, self._overview = session, overview
        self._numbers, self._view, self._at = None, None, -1
        self._play.setChecked(False)
        self.choice.setCurrentIndex(0)
        if session is not None and overview is not None:
            session.shown.connect(self._show)
            session.failed.connect(self._cannot_show)
            session.chosen.connect(self._have_chosen)
            self._newest.setChecked(overview.status == "running")
            self._resize()
            self._go(self._count - 1 if self._newest.isChecked() else 0)
        self._enable()

    def grow(self, overview: Overview) -> None:
        """Take in how the session stands now."""
        grown = self._overview is None or overview.shots != self._overview.shots
        self._overview = overview
        if grown and self._numbers is None:
            self._resize()
            if self._newest.isChecked():
                self._go(self._count - 1)
        self._enable()

    @property
    def _count(self) -> int:
        """Shots of the choice."""
        if self._numbers is not None:
            return len(self._numbers)
        return 0 if self._overview is None else self._overview.shots

    @property
    def _page(self) -> int:
        return max(1, self._count // 100)

    def _number(self, place: int) -> int:
        return int(place if self._numbers is None else self._numbers[place])

    def _place(self, number: int) -> int:
        """Return where the choice has this shot, or the one before."""
        if self._numbers is None:
            return number
        return max(0, int(np.searchsorted(self._numbers, number, "right")) - 1)

    def _go(self, place: int) -> None:
        if self._session is None or not self._count:
            return
        place = min(max(0, place), self._count - 1)
        number = self._number(place)
        self._setting = True
        self.slider.setValue(min(place, _MOST))
        self.spin.setValue(min(number, _MOST))
        self._setting = False
        if number != self._at:
            self._at = number
            self._session.show(number)

    def _move(self, by: int) -> None:
        self._newest.setChecked(False)
        self._go(self._place(self._at) + by)

    def _slid(self, place: int) -> None:
        if not self._setting:
            self._newest.setChecked(False)
            self._go(place)

    def _entered(self, number: int) -> None:
        if not self._setting:
            self._newest.setChecked(False)
            self._go(self._place(number))

    def _go_to_other(self) -> None:
        if self._view is not None and self._view.other is not None:
            self._newest.setChecked(False)
            number = int(self._view.other["index"])
            if self._numbers is not None and self._number(self._place(number)) != number:
                self.choice.setCurrentIndex(0)  # the other half is none of the choice
            self._go(self._place(number))

    def _followed(self, on: bool) -> None:
        if on:
            self._go(self._count - 1)

    def _played(self, on: bool) -> None:
        if on:
            self._newest.setChecked(False)
            self._play_timer.start()
        else:
            self._play_timer.stop()

    def _play_on(self) -> None:
        if self._view is None or self._view.index != self._at:
            return  # the one before is not shown yet
        place = self._place(self._at)
        if place + 1 < self._count:
            self._go(place + 1)
        elif self._overview is None or self._overview.status != "running":
            self._play.setChecked(False)

    def _chose(self) -> None:
        if self._session is not None:
            self._numbers = None if self.choice.currentData() is Choice.ALL else np.zeros(0, np.int64)
            self._session.choose(self.choice.currentData())

    def _have_chosen(self, numbers: NDArray[np.int64] | None, share: float) -> None:
        self._numbers = numbers
        self._resize(share)
        if self._count and (self._newest.isChecked() or self._number(self._place(self._at)) != self._at):
            self._go(self._count - 1 if self._newest.isChecked() else self._place(self._at))

    def _resize(self, share: float = 1.0) -> None:
        """Let slider, spin box and words know how many shots there are."""
        last = max(0, (0 if self._overview is None else self._overview.shots) - 1)
        self._setting = True
        self.slider.setRange(0, min(max(0, self._count - 1), _MOST))
        self.slider.setPageStep(self._page)
        self.spin.setRange(0, min(last, _MOST))
        self._setting = False
        if self._numbers is None:
            told = (
                f"of {last + 1:,}, counted from 0"
                if self._overview is not None and self._overview.shots
                else "none yet"
            )
        else:
            told = f"one of {self._count:,} of {last + 1:,}"
            if share < 1:
                told += f"; {share:.0%} gone through"
        self.of.setText(told)

    def _enable(self) -> None:
        there = self._session is not None and self._count > 0
        for widget in (self.slider, self.spin, *self._steps, self._play):
            widget.setEnabled(there)
        self.choice.setEnabled(self._session is not None)
        self._newest.setEnabled(self._overview is not None and self._overview.status == "running")
        if not self._newest.isEnabled():
            self._newest.setChecked(False)
        self._other.setEnabled(self._view is not None and self._view.other is not None)

    def _cannot_show(self, index: int, why: str) -> None:
        self._play.setChecked(False)
        self.failed.emit(f"shot {index:,} cannot be shown: {why}" if index >= 0 else why)

    def _show(self, view: ShotView) -> None:
        assert self._overview is not None
        self._view = view
        self.failed.emit("")
        self._other.setEnabled(view.other is not None)
        self.facts.tell(facts_of(view, self._overview))
        self._draw(view)

    def _draw(self, view: ShotView) -> None:
        # Painted once, when the axes have gone along, and not after each curve.
        for plot in (self.picture, self.half):
            plot.canvas.setUpdatesEnabled(False)
        self._paint_timer.start()
        row, other = view.row, view.other
        self.picture.show_shot(
            row["drive"],
            row["response"],
            None if other is None else other["response"],
            name=f"shot {view.index:,}",
            other_name="other half",
        )
        half = None if view.perturbation is None else view.perturbation.half
        if half is None:
            self._half_curve.set([0.0, 0.0], [0.0])
            self.half.say("no pair" if view.row["sign"] == 0 else "the other half is not on record")
        else:
            self._half_curve.set(np.arange(len(half) + 1), half)
            self.half.say("")

    def _paint(self) -> None:
        for plot in (self.picture, self.half):
            plot.canvas.setUpdatesEnabled(True)
