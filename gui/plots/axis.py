"""An axis whose numbers people can read."""

from typing import Any

import pyqtgraph as pg
from PyQt6.QtWidgets import QGraphicsItem

from gui.plots.words import short_numbers

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Axis(pg.AxisItem):  # type: ignore[misc]
    """Writes 250k and 1.5M, and of a logarithm the value itself."""

    def __init__(self, side: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(side, *args, **kwargs)
        self.enableAutoSIPrefix(False)
        # Drawing axis and grid takes as long as all curves together, and they seldom change.
        self.setCacheMode(QGraphicsItem.CacheMode.DeviceCoordinateCache)

    def tickStrings(self, values: list[float], scale: float, spacing: float) -> list[str]:  # noqa: N802
        """Return the texts at the ticks."""
        if self.logMode:
            return [_power(10.0**value) for value in values]
        return short_numbers([value * scale for value in values], spacing * scale)


def _power(value: float) -> str:
    if 1e-3 <= value < 1e4:
        return f"{value:.6f}".rstrip("0").rstrip(".")
    mantissa, exponent = f"{value:.0e}".split("e")
    power = "10" + str(int(exponent)).translate(_RAISED)
    return power if mantissa == "1" else f"{mantissa}×{power}"
