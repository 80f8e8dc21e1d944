"""An axis whose numbers people can read."""

import math
from typing import Any

import numpy as np
import pyqtgraph as pg
from PyQt6.QtGui import QFontMetrics
from PyQt6.QtWidgets import QGraphicsItem

from gui.plots.words import number, short_numbers

_NAMED = tuple(range(1, 10)), (1, 2, 5), (1, 3)
"""Parts of a decade that are named at a logarithmic axis, if there is room."""
_PARTS = np.log10(np.arange(1, 10))
_FEWEST = 2
_GAP = 1.5
"""Least distance between two numbers, in lines."""
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Axis(pg.AxisItem):  # type: ignore[misc]
    """Writes 250k and 1.5M, and of a logarithm the value itself."""

    def __init__(self, side: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(side, *args, **kwargs)
        self.enableAutoSIPrefix(False)
        # Drawing axis and grid takes as long as all curves together, and they seldom change.
        self.setCacheMode(QGraphicsItem.CacheMode.DeviceCoordinateCache)

    def logTickValues(  # noqa: N802
        self, low: float, high: float, size: float, _linear: object
    ) -> list[tuple[float | None, list[float]]]:
        """Return the ticks that are named, as many as there is room for, and the others."""
        per_decade = size / max(high - low, 1e-9)
        line = self.fontMetrics().height() if self.orientation in ("left", "right") else 6 * self.fontMetrics().height()
        every = math.ceil(_GAP * line / per_decade)
        decades = [float(n) for n in range(math.ceil(low), math.floor(high) + 1) if n % every == 0]
        fine = [n + float(part) for n in range(math.floor(low), math.ceil(high)) for part in _PARTS]
        fine = [value for value in fine if low < value < high]
        for named in _NAMED:
            logs = np.log10([*named, 10])
            if np.diff(logs).min() * per_decade >= _GAP * line:
                values = [n + log for n in range(math.floor(low), math.ceil(high)) for log in logs[:-1]]
                values = [float(value) for value in values if low <= value <= high]
                if len(values) >= _FEWEST:
                    return [(1.0, values), (None, [value for value in fine if value not in values])]
        if len(decades) >= _FEWEST:
            return [(1.0, decades), (None, fine)]
        return [(1.0, _even(10.0**low, 10.0**high, max(_FEWEST, size / (2 * _GAP * line)))), (None, fine)]

    def tickSpacing(self, low: float, high: float, size: float) -> list[tuple[float, float]]:  # noqa: N802
        """Return the distances of ticks, the wide ones first; on a low axis none that would put numbers over others."""
        levels: list[tuple[float, float]] = super().tickSpacing(low, high, size)
        if self.orientation in ("left", "right") and high > low:
            least = self.fontMetrics().height() * (high - low) / size
            wide, start = levels[0]
            while wide < least:
                wide *= 2
            levels = [(wide, start), *(level for level in levels[1:] if wide > level[0] >= least)]
        return levels

    def tickStrings(  # noqa: N802
        self, values: list[float], scale: float, spacing: float | None
    ) -> list[str | None]:
        """Return the texts at the ticks; None for those that are not named."""
        if spacing is None:
            return [None] * len(values)
        if self.logMode:
            numbers = [10.0**value for value in values]
            if all(abs(value - round(value)) < 1e-9 for value in values):
                return [_power(value) for value in numbers]
            # Beside each other 0.0009 and 0.001 are read faster than 9×10⁻⁴ and 0.001.
            plain = min(numbers) > 0.99e-4 and max(numbers) < 1e6
            return [number(value) if plain else _power(value, digits=3) for value in numbers]
        return [*short_numbers([value * scale for value in values], spacing * scale)]

    def fontMetrics(self) -> QFontMetrics:  # noqa: N802
        """Return the metrics of the numbers' font."""
        return QFontMetrics(self.font())


def _even(low: float, high: float, most: float) -> list[float]:
    """Return the logarithms of round numbers at even distances between two that are close to each other."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [math.log10(n * step) for n in range(math.ceil(low / step), math.floor(high / step) + 1) if n > 0]


def _power(value: float, digits: int = 1) -> str:
    if 1e-3 * (1 - 1e-9) <= value < 1e4:
        return f"{value:.6f}".rstrip("0").rstrip(".")
    exponent = math.floor(math.log10(value) + 1e-9)
    mantissa = f"{value / 10.0**exponent:.{digits}g}"
    power = "10" + str(exponent).translate(_RAISED)
    return power if mantissa == "1" else f"{mantissa}×{power}"
