"""What is drawn in a plot: curves, points and bands that take arrays, and horizontal lines with a word to them."""

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from numpy.typing import ArrayLike, NDArray
from PyQt6.QtCore import Qt
from PyQt6.QtGui import QColor

if TYPE_CHECKING:
    from gui.plots.plot import Plot

LARGE = 20_000
"""Points from which on a curve is drawn by its extremes in each pixel."""
MANY = 120
"""More points than these are drawn as their line alone."""
_BAND_ALPHA = 90
_LABEL_ALPHA = 190
_FAINT = 5.0
"""Per cent of a band's lowest values that need not be in view on a logarithmic axis."""
_EMPTY: NDArray[np.float64] = np.empty(0)


class Shape(StrEnum):
    """How a curve is drawn, so that no two are told apart by colour alone."""

    LINE = "line"
    DASHES = "dashes"
    DOTS = "dots"
    STEPS = "steps"
    """Filled down to zero; x are the n + 1 edges."""
    CIRCLES = "circles"
    """Joined by a thin line, as the other points are; when there are many the line alone is drawn."""
    TRIANGLES = "triangles"
    SQUARES = "squares"
    TICKS = "ticks"
    """Short upright strokes."""
    BAND = "band"
    """From a lowest to a highest value at each x, behind everything else."""


MARKS = {
    Shape.LINE: "━━",
    Shape.DASHES: "╍╍",
    Shape.DOTS: "┄┄",
    Shape.STEPS: "━━",
    Shape.CIRCLES: "●",
    Shape.TRIANGLES: "▲",
    Shape.SQUARES: "■",
    Shape.TICKS: "┃",
    Shape.BAND: "▒",
}
_SYMBOLS = {Shape.CIRCLES: "o", Shape.TRIANGLES: "t1", Shape.SQUARES: "s"}
_JOINED = {
    Shape.CIRCLES: Qt.PenStyle.SolidLine,
    Shape.TRIANGLES: Qt.PenStyle.DashLine,
    Shape.SQUARES: Qt.PenStyle.DotLine,
}
_STYLES = {Shape.DASHES: Qt.PenStyle.DashLine, Shape.DOTS: Qt.PenStyle.DotLine}


class Curve:
    """One curve of a `Plot`; made by `Plot.curve`."""

    def __init__(self, plot: "Plot", name: str, number: int, shape: Shape, width: float) -> None:
        self.name = name
        self.shape = shape
        self.x: NDArray[np.float64] = _EMPTY
        self.y: NDArray[np.float64] = _EMPTY
        self.low: NDArray[np.float64] = _EMPTY
        """Lowest values of a band, with `high`; empty otherwise."""
        self.high: NDArray[np.float64] = _EMPTY
        self.apart = False
        """Whether it has a y axis of its own, and the view does not go along with it."""
        self._plot = plot
        self._number = number
        self._width = width
        self.item = pg.PlotDataItem(
            stepMode="center" if shape is Shape.STEPS else None,
            connect="pairs" if shape in (Shape.BAND, Shape.TICKS) else "finite",
        )
        if shape in (Shape.BAND, Shape.TICKS):
            self.item.setZValue(-10)
        self._large = False

    @property
    def visible(self) -> bool:
        """Whether it is drawn."""
        return bool(self.item.isVisible())

    def show(self, visible: bool) -> None:
        """Draw it, or do not."""
        if visible != self.visible:
            self.item.setVisible(visible)
            self._plot.refit()

    def rename(self, name: str) -> None:
        """Give it another name in the legend."""
        self.name = name
        self._plot.tell_values()

    def set(
        self, x: ArrayLike, y: ArrayLike = _EMPTY, low: ArrayLike | None = None, high: ArrayLike | None = None
    ) -> None:
        """Draw these values (n,), x in rising order. Of a band, `low` and `high` are drawn, and y is what is told."""
        self.x, self.y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        match self.shape:
            case Shape.BAND:
                self.low, self.high = np.asarray(low, np.float64), np.asarray(high, np.float64)
                if self._plot.log_y:
                    self.low = np.where(self.low > 0, self.low, self.high)
                there = np.isfinite(self.low) & np.isfinite(self.high)
                self.item.setData(*pairs(self.x[there], self.low[there], self.high[there]))
            case Shape.TICKS:
                height = 0.36
                self.item.setData(*pairs(self.x, self.y - height, self.y + height))
            case _:
                self._sample(len(self.x) >= LARGE)
                self.item.setData(self.x, self.y)
                if self.shape in _SYMBOLS and (len(self.x) > MANY) != (self.item.opts["symbol"] is None):
                    self.paint()
        self._plot.refit()

    def value_at(self, x: float) -> float:
        """Return y of the point that is nearest to x; NaN where there is none."""
        if not len(self.y):
            return float("nan")
        if self.shape is Shape.STEPS:
            place = int(np.searchsorted(self.x, x, "right")) - 1
            return float(self.y[place]) if 0 <= place < len(self.y) else float("nan")
        right = min(int(np.searchsorted(self.x, x)), len(self.x) - 1)
        left = max(0, right - 1)
        nearest = left if abs(self.x[left] - x) <= abs(self.x[right] - x) else right
        return float(self.y[nearest])

    def bounds(self, log_y: bool, between: tuple[float, float] | None = None) -> Sequence[float] | None:
        """Return least x, greatest x, least y, greatest y of what is shown, as drawn; None when there is nothing.

        With `between`, y is that of the points between these x.
        """
        if not len(self.x) or not self.visible:
            return None
        lows, highs = (self.low, self.high) if self.shape is Shape.BAND else (self.y, self.y)
        if between is not None and self.shape is not Shape.STEPS:
            part = slice(*np.searchsorted(self.x, between))
            lows, highs = lows[part], highs[part]
        with np.errstate(invalid="ignore", divide="ignore"):
            if log_y:
                lows, highs = np.log10(lows), np.log10(highs)
        lows, highs = lows[np.isfinite(lows)], highs[np.isfinite(highs)]
        if not len(lows) or not len(highs):
            return float(self.x[0]), float(self.x[-1]), float("nan"), float("nan")
        # On a logarithmic axis a few values next to nothing would leave no room for the others.
        low = float(np.percentile(lows, _FAINT)) if log_y and self.shape is Shape.BAND else float(lows.min())
        return float(self.x[0]), float(self.x[-1]), low, float(highs.max())

    def paint(self) -> None:
        """Take the colours in use."""
        theme = self._plot.lab.theme
        # Qt draws a pen as wide in dots however fine the screen is.
        width = self._width * self._plot.devicePixelRatioF()
        pen = theme.pen(self._number, width, _STYLES.get(self.shape, Qt.PenStyle.SolidLine))
        if self.shape in _SYMBOLS:
            self.item.setPen(theme.pen(self._number, width, _JOINED[self.shape]))
            self.item.setSymbol(_SYMBOLS[self.shape] if len(self.x) <= MANY else None)
            self.item.setSymbolSize(max(6, self._plot.fontMetrics().height() * 0.5))
            self.item.setSymbolPen(None)
            self.item.setSymbolBrush(pg.mkBrush(pen.color()))
        elif self.shape is Shape.BAND:
            colour = QColor(pen.color())
            colour.setAlpha(_BAND_ALPHA)
            self.item.setPen(pg.mkPen(colour, width=1))
        else:
            self.item.setPen(pen)
        if self.shape is Shape.STEPS:
            colour = QColor(pen.color())
            colour.setAlpha(_BAND_ALPHA)
            self.item.setFillLevel(0.0)
            self.item.setFillBrush(pg.mkBrush(colour))

    @property
    def mark(self) -> str:
        """Its sign in the legend, in its colour (rich text)."""
        colour = self._plot.lab.theme.pen(self._number).color().name()
        return f'<span style="color:{colour}">{MARKS[self.shape]}</span>'

    def _sample(self, large: bool) -> None:
        if large != self._large:
            self._large = large
            self.item.setDownsampling(auto=large, method="peak")
            self.item.setClipToView(large)


class Line:
    """A horizontal line with its name on it; made by `Plot.line`."""

    def __init__(self, plot: "Plot", name: str, style: Qt.PenStyle, position: float) -> None:
        self.name = name
        self.y = float("nan")
        self._plot = plot
        self._style = style
        self.item = pg.InfiniteLine(
            angle=0, label=name, labelOpts={"position": position, "anchors": [(0.5, 0), (0.5, 1)], "movable": False}
        )
        self.item.setZValue(5)  # its name is to be read over the curves
        self.item.setVisible(False)
        self.item.label.setVisible(bool(name))  # without one there would be an empty box

    def set(self, y: float | None) -> None:
        """Draw it at this height; None for nowhere."""
        value = float("nan") if y is None else float(y)
        if value == self.y or (value != value and self.y != self.y):
            return
        self.y = value
        self.place()
        self._plot.refit()

    def rename(self, name: str) -> None:
        """Write something else on it."""
        self.name = name
        self.item.label.setFormat(name)

    @property
    def height(self) -> float:
        """Where it is drawn, with the axis as it is; NaN for nowhere."""
        if self._plot.log_y:
            return float(np.log10(self.y)) if self.y > 0 else float("nan")
        return self.y

    def place(self) -> None:
        """Draw it where the axis, as it is now, has its value."""
        height = self.height
        self.item.setVisible(bool(np.isfinite(height)))
        if np.isfinite(height):
            self.item.setValue(height)

    def paint(self) -> None:
        """Take the colours in use."""
        theme = self._plot.lab.theme
        width = self._plot.devicePixelRatioF()
        self.item.setPen(pg.mkPen(theme.colours["muted"], width=width, style=self._style))
        self.item.label.setColor(theme.colours["muted"])
        behind = theme.colour("base")
        behind.setAlpha(_LABEL_ALPHA)
        self.item.label.fill = pg.mkBrush(behind)


def pairs(
    x: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return x and y of upright strokes, to be connected in pairs."""
    return np.repeat(x, 2), np.column_stack((low, high)).ravel()
