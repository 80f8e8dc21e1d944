"""A plot: curves that take arrays, their values in words, cursors, and a view that goes along with what comes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyqtgraph as pg
from PyQt6.QtCore import QEvent, QPoint, Qt, QTimer, pyqtSignal
from PyQt6.QtGui import QContextMenuEvent, QFocusEvent, QResizeEvent
from PyQt6.QtWidgets import QHBoxLayout, QLabel, QMenu, QSizePolicy, QVBoxLayout, QWidget

from gui.lab import Lab
from gui.plots import export
from gui.plots.axis import Axis
from gui.plots.commands import commands_of
from gui.plots.cursors import Cursors
from gui.plots.curves import Curve, Line, Shape
from gui.plots.words import number, quantity

_ROOM = 0.3
"""A view that goes along with a growing curve gets so much more room than it needs, so that axes are drawn seldom."""
_PADDING = 0.06
_FARTHEST = 1e300
"""No axis reaches further: with some room around it there would be no number for its end."""
_HYPHEN = "\u2011"
_TELL_MS = 150
"""Between two changes of the values in the legend."""


class Plot(QWidget):
    """One plot with title, legend and cursors. Its actions (`gui.plots.commands`) work on the plot that has the focus.

    `x_label` and `y_label` are shown as given; `x_unit` and `y_unit` follow values in words.
    """

    zoomed = pyqtSignal()
    """A person has changed the view."""
    fitted = pyqtSignal()
    """Everything is shown again."""
    scaled = pyqtSignal()
    """The y axis has become logarithmic, or linear."""
    pointed = pyqtSignal(float)
    """The crosshair is at this x; NaN when it has gone."""

    def __init__(self, lab: Lab, title: str, x_label: str, y_label: str, x_unit: str = "", y_unit: str = "") -> None:
        super().__init__()
        self.lab = lab
        self.title = title
        self.x_label, self.y_label = x_label, y_label
        self.x_unit, self.y_unit = x_unit, y_unit
        self.curves: list[Curve] = []
        self.lines: list[Line] = []
        self.log_y = False
        self.can_log = True
        """Whether a logarithmic axis makes sense."""
        self.growing = False
        """Whether more is to come: the view then has some room ahead of the newest."""
        self.following = True
        """Whether the view goes along with what is drawn; ends when a person zooms, until `fit`."""
        self.x_bounds: tuple[float, float] | None = None
        """What the x axis shows while following, if that is not what the curves need."""
        self.y_bounds: tuple[float, float] | None = None
        """The same of the y axis."""
        self.remark = ""
        """What the legend says besides."""
        self.describe: Callable[[float], str] = lambda x: f"at {quantity(x, self.x_unit)}"
        """What an x is, in words."""
        self.legend_lines = 2
        """How many lines the legend has, whatever stands in it; 0 for as many as it needs."""
        self.floor = 0.0
        """Part of the height that is kept free below the curves."""
        self._empty = ""
        self._make(title)
        self.view = self.item.getViewBox()
        self.view.setMenuEnabled(False)
        self.view.disableAutoRange()
        self.view.sigRangeChangedManually.connect(self._manual)
        self.item.hideButtons()
        self.item.showGrid(x=True, y=True, alpha=0.35)
        self.cursors = Cursors(self)
        self._telling = QTimer(self)
        self._telling.setSingleShot(True)
        self._telling.setInterval(_TELL_MS)
        self._telling.timeout.connect(self.tell_values)
        self.commands = commands_of(lab)
        self.commands.serve(self)
        lab.theme.changed.connect(self.paint)
        self.label_axes(x_label, y_label)
        self.paint()

    def _make(self, title: str) -> None:
        self.canvas = pg.PlotWidget(axisItems={side: Axis(side) for side in ("left", "bottom")})
        self.item: pg.PlotItem = self.canvas.getPlotItem()
        self.setObjectName(f"plot:{title.lower()}")
        self.setAccessibleName(f"Plot: {title}")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.canvas.setFocusProxy(self)
        self.canvas.setAccessibleName(f"{title}, drawn")
        self._title = QLabel(title)
        font = self._title.font()
        font.setBold(True)
        self._title.setFont(font)
        self._values = QLabel()
        self._values.setTextFormat(Qt.TextFormat.RichText)
        self._values.setWordWrap(True)
        self._values.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        self._values.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._note = QLabel(self.canvas)
        self._note.setWordWrap(True)
        self._note.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._note.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self._note.hide()
        head = QHBoxLayout()
        head.setSpacing(self.fontMetrics().horizontalAdvance("  "))
        head.addWidget(self._title, 0, Qt.AlignmentFlag.AlignTop)
        head.addWidget(self._values, 1, Qt.AlignmentFlag.AlignTop)
        layout = QVBoxLayout(self)
        gap = self.fontMetrics().height() // 4
        layout.setContentsMargins(gap, gap, gap, gap)
        layout.setSpacing(gap)
        layout.addLayout(head)
        layout.addWidget(self.canvas, 1)
        self._values.setFixedHeight(2 * self.fontMetrics().lineSpacing())
        self.setMinimumSize(13 * self.fontMetrics().height(), 7 * self.fontMetrics().height())

    def curve(self, name: str, number: int, shape: Shape = Shape.LINE, *, width: float = 1.0) -> Curve:
        """Add a curve in the colour of this number; it is in the legend under this name."""
        curve = Curve(self, name, number, shape, width)
        self.curves.append(curve)
        self.item.addItem(curve.item)
        curve.item.setLogMode(False, self.log_y)
        curve.paint()
        return curve

    def line(
        self,
        name: str,
        y: float | None = None,
        style: Qt.PenStyle = Qt.PenStyle.DashLine,
        *,
        position: float = 0.5,
    ) -> Line:
        """Add a horizontal line with its name on it, at this part of the width."""
        line = Line(self, name, style, position)
        self.lines.append(line)
        self.item.addItem(line.item, ignoreBounds=True)
        line.paint()
        line.set(y)
        return line

    def remove(self, drawn: Curve | Line) -> None:
        """Take a curve or a line out of the plot."""
        self.item.removeItem(drawn.item)
        if isinstance(drawn, Curve):
            self.curves.remove(drawn)
        else:
            self.lines.remove(drawn)
        self.refit()

    def label_axes(self, x_label: str | None = None, y_label: str | None = None) -> None:
        """Say what the axes show."""
        self.x_label = self.x_label if x_label is None else x_label
        self.y_label = self.y_label if y_label is None else y_label
        for side, label in (("bottom", self.x_label), ("left", self.y_label)):
            axis = self.item.getAxis(side)
            if axis.labelText != label:
                axis.setLabel(label)

    def say(self, text: str) -> None:
        """Write in the middle why there is nothing to see, instead of numbers at the axes; an empty text ends that."""
        if text == self._empty:
            return
        self._empty = text
        self._note.setText(text)
        self._note.setVisible(bool(text))
        self._place_note()
        for side in ("left", "bottom"):
            self.item.getAxis(side).setStyle(showValues=not text)

    def set_log(self, log: bool) -> None:
        """Make the y axis logarithmic, or linear."""
        log = log and self.can_log
        if log == self.log_y:
            return
        self.log_y = log
        self.item.getAxis("left").setLogMode(y=log)
        for curve in self.curves:
            curve.item.setLogMode(False, log)
        for line in self.lines:
            line.place()
        self.fit()
        self.scaled.emit()

    def fit(self) -> None:
        """Show everything, and go along with what comes."""
        self.following = True
        self.fitted.emit()
        self._refit(anew=True)

    def refit(self) -> None:
        """Have the view go along, if it does.

        At once: a dashed curve that is painted far out of view takes Qt seconds.
        """
        self._refit()

    def set_x_range(self, low: float, high: float) -> None:
        """Show this part of the x axis, and do not go along any more."""
        self.following = False
        self.view.setXRange(low, high, padding=0)

    def x_range(self) -> tuple[float, float]:
        """Return what part of the x axis is shown."""
        (low, high), _ = self.view.viewRange()
        return float(low), float(high)

    def tell_values(self) -> None:
        """Write the legend, with the values at the crosshair, or else the newest."""
        at = self.cursors.x
        parts = []
        for curve in self.curves:
            if not curve.visible or not curve.name:
                continue
            value = curve.value_at(at) if at is not None else (float(curve.y[-1]) if len(curve.y) else float("nan"))
            if curve.shape is Shape.TICKS:
                continue
            told = "" if np.isnan(value) else f" <b>{quantity(value, self.y_unit)}</b>"
            # Nothing in it is a line's end.
            parts.append(f"{curve.mark}&nbsp;{f'{curve.name}{told}'.replace(' ', '&nbsp;').replace('-', _HYPHEN)}")
        self.show_values([*parts, *([self.describe(at)] if at is not None else [])])

    def show_values(self, parts: list[str]) -> None:
        """Write these texts (rich) in the legend's place, and what the cursors tell."""
        text = " &nbsp; ".join([*parts, *([self.remark] if self.remark else []), *self.cursors.words()])
        if text != self._values.text():
            self._values.setText(text)
            self._values.setToolTip(text)
        self._give_room()

    def _give_room(self) -> None:
        """Always the same, so that nothing moves when a value gets longer; more for the markers."""
        height = (self.legend_lines or 1) * self.fontMetrics().lineSpacing()
        if self.cursors.markers or not self.legend_lines:
            self._values.setMinimumHeight(0)  # what it needs would be no less than it has
            height = max(height, self._values.heightForWidth(self._values.width()))
        self._values.setFixedHeight(height)

    @property
    def values_text(self) -> str:
        """What the legend says (rich text)."""
        return self._values.text()

    def save_image(self, path: Path) -> None:
        """Write the plot as it is seen: as SVG if the path ends so, otherwise as PNG. Raises `OSError`."""
        export.save_image(self, path)

    def save_data(self, path: Path) -> None:
        """Write what is shown as CSV. Raises `OSError`."""
        export.save_data(self, path)

    def data(self) -> dict[str, np.ndarray]:
        """Return what is shown, column by column: x and y of each curve, between the ends of the x axis."""
        return export.columns(self)

    def paint(self) -> None:
        """Take the colours in use."""
        theme = self.lab.theme
        theme.paint_plot(self.item)
        self.canvas.setBackground(theme.colours["base"])
        for drawn in (*self.curves, *self.lines):
            drawn.paint()
        self.cursors.paint()
        self._note.setStyleSheet(f"color: {theme.colours['muted']}; background: transparent;")
        self.mark_current(self.commands.current is self)
        self._tell_soon()

    def mark_current(self, current: bool) -> None:
        """Show whether this is the plot that the actions work on."""
        colour = self.lab.theme.colours["accent" if current else "text"]
        self._title.setText(f"▸ {self.title}" if current else self.title)
        self._title.setStyleSheet(f"color: {colour};")

    def menu(self) -> QMenu:
        """Return what can be done with the plot."""
        menu = QMenu(self)
        menu.setToolTipsVisible(True)
        menu.addActions(self.commands.actions)
        return menu

    def contextMenuEvent(self, event: QContextMenuEvent | None) -> None:  # noqa: N802
        """Offer what can be done with the plot."""
        if event is not None:
            self.commands.choose(self)
            menu = self.menu()
            menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
            menu.popup(event.globalPos())

    def focusInEvent(self, event: QFocusEvent | None) -> None:  # noqa: N802
        """Become the plot that the actions work on."""
        self.commands.choose(self)
        super().focusInEvent(event)

    def leaveEvent(self, event: QEvent | None) -> None:  # noqa: N802
        """Take the crosshair away."""
        self.cursors.leave()
        super().leaveEvent(event)

    def resizeEvent(self, event: QResizeEvent | None) -> None:  # noqa: N802
        """Keep the note in the middle."""
        super().resizeEvent(event)
        self._place_note()
        self._telling.start()

    def _place_note(self) -> None:
        width, height = self.canvas.width(), self.canvas.height()
        self._note.setGeometry(width // 6, height // 6, width * 2 // 3, height * 2 // 3)

    def _manual(self) -> None:
        self.following = False
        self.zoomed.emit()

    def _refit(self, anew: bool = False) -> None:
        if self.following:
            self._fit_x(anew)
            self._fit_y(anew)
        self._tell_soon()

    def _tell_soon(self) -> None:
        """Have the legend written: that takes as long as drawing some curves, and nobody reads ten in a second."""
        if not self._telling.isActive():
            self._telling.start()

    def _fit_x(self, anew: bool) -> None:
        found = [b for curve in self.curves if (b := curve.bounds(False)) is not None]
        bounds = self.x_bounds
        if bounds is None and found:
            bounds = min(b[0] for b in found), max(b[1] for b in found)
        if bounds is None:
            return
        low, high = bounds
        if high <= low:
            low, high = low - 0.5, high + 0.5
        shown_low, shown_high = self.x_range()
        width = high - low
        fits = shown_low <= low and high <= shown_high and width > (1 - _ROOM) / 1.1 * (shown_high - shown_low)
        if fits and self.growing and not anew:
            return
        ahead = (_ROOM if self.growing else 0.01) * width
        if (shown_low, shown_high) != (low, high + ahead):
            self.view.setXRange(low, high + ahead, padding=0)

    def _fit_y(self, anew: bool) -> None:
        if self.y_bounds is not None:
            if anew or tuple(self.view.viewRange()[1]) != self.y_bounds:
                self.view.setYRange(*self.y_bounds, padding=0)
            return
        between = self.x_range()
        curves = [curve for curve in self.curves if not curve.apart]
        found = [b for curve in curves if (b := curve.bounds(self.log_y, between)) is not None]
        lows = [*(b[2] for b in found), *(line.height for line in self.lines)]
        highs = [*(b[3] for b in found), *(line.height for line in self.lines)]
        lows, highs = [v for v in lows if np.isfinite(v)], [v for v in highs if np.isfinite(v)]
        if not lows or not highs:
            return
        low, high = max(min(lows), -_FARTHEST), min(max(highs), _FARTHEST)
        if high <= low:
            room = 0.5 * abs(low) or 0.5
            low, high = low - room, high + room
        low -= self.floor / (1 - self.floor) * (high - low)
        height = high - low
        _, (shown_low, shown_high) = self.view.viewRange()
        if not anew and shown_low <= low and high <= shown_high and height > 0.6 * (shown_high - shown_low):
            return
        self.view.setYRange(low - _PADDING * height, high + _PADDING * height, padding=0)

    def at(self, place: QPoint) -> tuple[float, float]:
        """Return the x and y under a place of the canvas, as its axes are (y the logarithm on a logarithmic one)."""
        point = self.view.mapSceneToView(self.canvas.mapToScene(place))
        return float(point.x()), float(point.y())

    def y_words(self, height: float) -> str:
        """Return a height of the axis in words."""
        return quantity(10.0**height if self.log_y else height, self.y_unit, 3)

    def x_words(self, x: float) -> str:
        """Return a difference along x in words."""
        return f"{number(x)} {self.x_unit}".strip()
