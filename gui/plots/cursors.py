"""The crosshair of a plot, and two markers that tell the difference between them."""

from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from PyQt6.QtCore import QPointF, Qt

from gui.plots.words import signed

if TYPE_CHECKING:
    from gui.plots.plot import Plot


class Cursors:
    """What is laid over the curves of one plot to read values off."""

    def __init__(self, plot: "Plot") -> None:
        self.on = True
        """Whether the crosshair goes with the mouse."""
        self.x: float | None = None
        """Where the crosshair is."""
        self.y: float | None = None
        self._plot = plot
        self._upright, self._level = pg.InfiniteLine(angle=90), pg.InfiniteLine(angle=0)
        self._markers: list[pg.InfiniteLine] = []
        for line in (self._upright, self._level):
            line.setZValue(50)
            line.setVisible(False)
            plot.item.addItem(line, ignoreBounds=True)
        scene = plot.canvas.scene()
        scene.sigMouseMoved.connect(self._moved)

    @property
    def markers(self) -> list[float]:
        """Where the markers are."""
        return [float(marker.value()) for marker in self._markers]

    def switch(self) -> None:
        """Switch the crosshair on or off."""
        self.on = not self.on
        if not self.on:
            self.leave()

    def point(self, x: float, y: float | None = None) -> None:
        """Put the crosshair at x; y as the axis has it."""
        self.x, self.y = x, y
        self._upright.setValue(x)
        self._upright.setVisible(True)
        self._level.setVisible(y is not None)
        if y is not None:
            self._level.setValue(y)
        self._plot.tell_values()
        self._plot.pointed.emit(x)

    def step(self, part: float) -> None:
        """Move the crosshair by this part of the axis, from the middle at first."""
        low, high = self._plot.x_range()
        start = (low + high) / 2 if self.x is None else self.x
        self.point(min(high, max(low, start + part * (high - low))))

    def leave(self) -> None:
        """Take the crosshair away."""
        if self.x is None:
            return
        self.x = self.y = None
        self._upright.setVisible(False)
        self._level.setVisible(False)
        self._plot.tell_values()
        self._plot.pointed.emit(float("nan"))

    def mark(self) -> None:
        """Put a marker where the crosshair is, or in the middle; take both away when there are two."""
        if len(self._markers) == 2:
            self.clear()
        else:
            low, high = self._plot.x_range()
            at = (low + high) / 2 if self.x is None else self.x
            name = str(len(self._markers) + 1)
            marker = pg.InfiniteLine(at, 90, movable=True, label=name, labelOpts={"position": 0.94})
            marker.setZValue(40)
            marker.sigPositionChanged.connect(lambda _: self._plot.tell_values())
            self._markers.append(marker)
            self._plot.item.addItem(marker, ignoreBounds=True)
            self.paint()
        self._plot.tell_values()

    def clear(self) -> None:
        """Take crosshair and markers away."""
        self.leave()
        for marker in self._markers:
            self._plot.item.removeItem(marker)
        self._markers.clear()
        self._plot.tell_values()

    def words(self) -> list[str]:
        """Return what the cursors tell besides the values at the crosshair."""
        said = []
        if self.y is not None:
            said.append(f"height {self._plot.y_words(self.y)}")
        if len(self._markers) == 1:
            said.append(f"marker 1 {self._plot.describe(self.markers[0])}")
        elif self._markers:
            first, second = self.markers
            differences = [f"Δ = {self._plot.x_words(second - first)}"]
            for curve in self._plot.curves:
                change = curve.value_at(second) - curve.value_at(first)
                if curve.visible and curve.name and np.isfinite(change):
                    differences.append(f"{curve.name} {_change(change, self._plot.y_unit)}")
            said.append(f"2 − 1: {', '.join(differences)}")
        return said

    def paint(self) -> None:
        """Take the colours in use."""
        colours = self._plot.lab.theme.colours
        for line in (self._upright, self._level):
            line.setPen(pg.mkPen(colours["muted"], width=1))
        for marker in self._markers:
            marker.setPen(pg.mkPen(colours["text"], width=1, style=Qt.PenStyle.DashDotLine))
            marker.setHoverPen(pg.mkPen(colours["accent"], width=2))
            marker.label.setColor(colours["text"])

    def _moved(self, place: QPointF) -> None:
        if not self.on:
            return
        if not self._plot.view.sceneBoundingRect().contains(place):
            self.leave()
            return
        point = self._plot.view.mapSceneToView(place)
        self.point(float(point.x()), float(point.y()))


def _change(value: float, unit: str) -> str:
    return f"{signed(value)} {unit}" if unit else signed(value)
