"""The plot of one shot: what the device was driven with, and what it answered."""

import numpy as np
import pyqtgraph as pg
from numpy.typing import ArrayLike, NDArray

from gui.lab import Lab
from gui.plots.curves import Curve, Shape
from gui.plots.plot import Plot
from gui.plots.words import number

MOST_NODES = 4
"""So many nodes are shown as curves of their own."""
_DRIVE = 6
"""Colour of the drive."""
_FLOOR = 0.34
"""Part of the height that is the drive's."""


class ShotPlot(Plot):
    """Drive as steps at the bottom (right axis), response above it (left axis), over the symbols of one shot.

    The nodes of a symbol follow each other as samples in time do; with `nodes_apart` some of them have a curve each.
    """

    def __init__(self, lab: Lab, title: str = "Shot") -> None:
        super().__init__(lab, title, "symbol", "response")
        self.can_log = False
        self.floor = _FLOOR
        self.describe = lambda x: f"at symbol {int(x)}"
        self._nodes_apart = False
        self._shown: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64] | None] | None = None
        self._names = "response", "other"
        self._limits = 0.0, 1.0
        self._series = self.curve("response", 0, width=1.5)
        self._other = self.curve("other", 1, Shape.DASHES)
        self._nodes: list[Curve] = []
        self._below = pg.ViewBox(enableMenu=False)
        self._below.setMouseEnabled(False, False)
        self._drive = self.curve("drive", _DRIVE, Shape.STEPS)
        self._drive.apart = True
        self._drive_axis()

    def _drive_axis(self) -> None:
        """Give the drive a y axis of its own, at the right, the lowest part of the height."""
        self.item.removeItem(self._drive.item)
        self._below.addItem(self._drive.item)
        self.item.showAxis("right")
        right = self.item.getAxis("right")
        right.enableAutoSIPrefix(False)
        right.setLabel("drive")
        right.setGrid(False)
        self.item.scene().addItem(self._below)
        right.linkToView(self._below)
        self._below.setXLink(self.view)
        self._place_drive()
        self._below.setZValue(-1)
        self.view.sigResized.connect(lambda _: self._below.setGeometry(self.view.sceneBoundingRect()))

    def show_shot(
        self,
        drive: ArrayLike,
        response: ArrayLike,
        other: ArrayLike | None = None,
        *,
        name: str = "response",
        other_name: str = "other",
    ) -> None:
        """Show a drive (symbols,) and its response (symbols, nodes), and another response (symbols, nodes) dashed."""
        self._shown = (
            np.asarray(drive, np.float64),
            np.asarray(response, np.float64),
            None if other is None else np.asarray(other, np.float64),
        )
        self._names = name, other_name
        self._draw()

    def clear(self) -> None:
        """Show no shot."""
        self._shown = None
        for curve in self.curves:
            curve.set([0, 0] if curve is self._drive else [], [0] if curve is self._drive else [])

    def set_nodes_apart(self, apart: bool) -> None:
        """Show some nodes as curves of their own over the symbols, or all of them one after the other."""
        self._nodes_apart = apart
        if self._shown is not None:
            self._draw()

    def _draw(self) -> None:
        assert self._shown is not None
        drive, response, other = self._shown
        symbols, nodes = response.shape
        self._show_drive(drive)
        apart = self._nodes_apart and nodes > 1
        picked: list[int] = np.unique(np.linspace(0, nodes - 1, MOST_NODES).astype(int)).tolist() if apart else []
        self._series.show(not apart)
        self._other.show(not apart and other is not None)
        times = (np.arange(symbols * nodes) + 0.5) / nodes
        if not apart:
            self._series.name, self._other.name = self._names
            self._series.set(times, response.ravel())
            if other is not None:
                self._other.set(times, other.ravel())
        while len(self._nodes) < len(picked):
            shape = (Shape.LINE, Shape.DASHES, Shape.DOTS)[len(self._nodes) % 3]
            self._nodes.append(self.curve("", len(self._nodes), shape, width=1.5))
        for i, curve in enumerate(self._nodes):
            curve.show(i < len(picked))
            if i < len(picked):
                curve.name = f"node {picked[i]}"
                curve.set(np.arange(symbols) + 0.5, response[:, picked[i]])

    def _show_drive(self, drive: NDArray[np.float64]) -> None:
        self._drive.set(np.arange(len(drive) + 1), drive)
        finite = drive[np.isfinite(drive)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        shown_low, shown_high = self._limits
        if low < shown_low or high > shown_high or high - low < 0.2 * (shown_high - shown_low):
            if high <= low:
                low, high = low - 0.5, high + 0.5
            self._limits = low, high
            self._place_drive()

    def _place_drive(self) -> None:
        low, high = self._limits
        height = high - low
        self._below.setYRange(low - 0.1 * height, low - 0.1 * height + height / (0.75 * _FLOOR), padding=0)
        self.item.getAxis("right").setTicks([[(low, number(low, 2)), (high, number(high, 2))]])
