"""A plot of a picture: numbers as colours that survive colour blindness and printing in grey."""

import numpy as np
import pyqtgraph as pg
from numpy.typing import ArrayLike, NDArray
from PyQt6.QtCore import QRectF

from gui.lab import Lab
from gui.plots.plot import Plot
from gui.plots.words import number

_COLOURS = pg.colormap.get("cividis").getLookupTable(nPts=256, alpha=False)


class ImagePlot(Plot):
    """One picture, its rows from the top."""

    def __init__(
        self, lab: Lab, title: str, x_label: str, y_label: str, value: str, x_unit: str = "", y_unit: str = ""
    ) -> None:
        super().__init__(lab, title, x_label, y_label, x_unit, y_unit)
        self.can_log = False
        self._value = value
        self._numbers: NDArray[np.float32] = np.empty((0, 0), np.float32)
        self._place = QRectF()
        self._range = 0.0, 1.0
        self._picture = pg.ImageItem(axisOrder="row-major", autoDownsample=False)
        self._picture.setLookupTable(_COLOURS)
        self._picture.setLevels((0, 255))
        self._picture.setZValue(-20)
        self.item.addItem(self._picture)
        self.item.showGrid(x=False, y=False)
        self.view.invertY(True)

    def set(self, numbers: ArrayLike, place: QRectF) -> None:
        """Show numbers (rows, columns) over this part of the axes; the colours span nearly all of them."""
        before, self._numbers = self._numbers.shape, np.asarray(numbers, np.float32)
        if not self._numbers.size:
            self._picture.clear()
            return
        low, high = self._levels(self._numbers)
        with np.errstate(over="ignore", invalid="ignore"):  # what is far outside has the last colour
            scaled = (self._numbers - low) * np.float32(255.99 / (high - low))
        shades = np.clip(np.nan_to_num(scaled, copy=False), 0, 255).astype(np.uint8)
        self._picture.setImage(shades, autoLevels=False)
        if place != self._place or before != self._numbers.shape:  # it is scaled from its own size
            self._place = place
            self._picture.setRect(place)
            self.refit()
        self.tell_values()

    def _levels(self, numbers: NDArray[np.float32]) -> tuple[float, float]:
        """Return what the first and the last colour stand for; they change only when they have to."""
        sample = numbers.ravel()[:: max(1, numbers.size // 4096)]
        sample = sample[np.isfinite(sample)].astype(np.float64)
        if not sample.size:
            return self._range
        low, high = (float(level) for level in np.percentile(sample, (1, 99)))
        if high <= low:
            room = max(0.5, 1e-3 * abs(low))  # some instruments say 9.91e37 for "no value"
            low, high = low - room, high + room
        shown_low, shown_high = self._range
        room = 0.1 * (high - low)
        if abs(low - shown_low) > room or abs(high - shown_high) > room:
            self._range = low, high
        return self._range

    def data(self) -> dict[str, np.ndarray]:
        """Return the picture's numbers, a column for each of its columns."""
        left, width = self._place.left(), self._place.width()
        count = self._numbers.shape[1]
        return {
            f"{self._value} at {self.x_label} {left + width * (i + 0.5) / count:.6g}": self._numbers[:, i]
            for i in range(count)
        }

    def tell_values(self) -> None:
        """Write what the colours span, or the value under the crosshair."""
        low, high = self._range
        parts = [f"{self._value} {number(low, 3)} (dark) to {number(high, 3)} (light)"] if self._numbers.size else []
        x, y = self.cursors.x, self.cursors.y
        if x is not None and y is not None and self._numbers.size and self._place.contains(x, y):
            rows, columns = self._numbers.shape
            row = min(rows - 1, int((y - self._place.top()) / self._place.height() * rows))
            column = min(columns - 1, int((x - self._place.left()) / self._place.width() * columns))
            parts = [f"{self.describe(x)}, {self.row_words(y)}: <b>{number(float(self._numbers[row, column]))}</b>"]
        self.show_values(parts)

    def row_words(self, y: float) -> str:
        """Return what a height is, in words."""
        return f"{number(y)} {self.y_unit}".strip()

    def _fit_x(self, anew: bool) -> None:
        if self._place.width():
            self.view.setXRange(self._place.left(), self._place.right(), padding=0)

    def _fit_y(self, anew: bool) -> None:
        if self._place.height():
            self.view.setYRange(self._place.top(), self._place.bottom(), padding=0.025)
