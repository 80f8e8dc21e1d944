"""Plots beside and below each other, none smaller than can be read."""

from collections.abc import Sequence

from PyQt6.QtWidgets import QGridLayout, QWidget

from gui.plots import Plot
from gui.roomy import Roomy

_COLUMNS = {1: 1, 2: 2, 3: 2, 4: 2, 5: 3, 6: 3, 7: 4, 8: 4}
"""For so many plots, where there is room for them beside each other."""
_LETTERS, _LINES = 34, 12
"""A plot has at least so many mean letters of room across, and so many lines up and down."""


class PlotGrid(Roomy):
    """The plots in view; where they have no room they are fewer beside each other, and scroll."""

    def __init__(self) -> None:
        inner = QWidget()
        self._plots: list[Plot] = []
        self._columns = 0
        self._grid = QGridLayout(inner)
        super().__init__(inner, self._height)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(self.fontMetrics().height() // 3)

    def arrange(self, plots: Sequence[Plot]) -> None:
        """Show these plots."""
        while self._grid.count():
            self._grid.takeAt(0)
        self._plots, self._columns = list(plots), 0
        self.fit()

    def fit(self) -> None:
        """Give each plot its place and size."""
        super().fit()
        inner = self.widget()
        assert inner is not None
        columns = self._beside(inner.width())
        if columns == self._columns:
            return
        self._columns = columns
        rows = -(-len(self._plots) // columns)
        for i in range(max(self._grid.rowCount(), self._grid.columnCount(), len(self._plots))):
            self._grid.setRowStretch(i, 1 if i < rows else 0)
            self._grid.setColumnStretch(i, 1 if i < columns else 0)
        for i, plot in enumerate(self._plots):
            self._grid.addWidget(plot, i // columns, i % columns)

    def _beside(self, width: int) -> int:
        fitting = width // (_LETTERS * self.fontMetrics().averageCharWidth())
        return max(1, min(fitting, _COLUMNS.get(len(self._plots), 1)))

    def _height(self, width: int) -> int:
        rows = -(-len(self._plots) // self._beside(width))
        return rows * _LINES * self.fontMetrics().lineSpacing()
