"""Writes a plot into a file: as a picture, or what it shows as a table."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PyQt6.QtCore import QBuffer, QIODevice, QRect, QSize
from PyQt6.QtGui import QPainter, QPixmap
from PyQt6.QtSvg import QSvgGenerator
from PyQt6.QtWidgets import QWidget

from gui.plots.curves import Shape

if TYPE_CHECKING:
    from gui.plots.plot import Plot

_SCALE = 3.0
"""Dots of a picture to one of the screen, for print."""


def save_image(widget: QWidget, path: Path) -> None:
    """Write a widget as it is seen: as SVG if the path ends so, otherwise as PNG. Raises `OSError`.

    pyqtgraph's exporters know the scene alone, without title and legend; Qt draws the whole widget just as well.
    """
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    if path.suffix.lower() == ".svg":
        generator = QSvgGenerator()
        generator.setOutputDevice(buffer)
        generator.setSize(widget.size())
        generator.setViewBox(QRect(0, 0, widget.width(), widget.height()))
        generator.setResolution(widget.logicalDpiX())
        generator.setTitle(widget.accessibleName())
        painter = QPainter(generator)
        widget.render(painter)
        painter.end()
    else:
        picture = QPixmap(QSize(round(widget.width() * _SCALE), round(widget.height() * _SCALE)))
        picture.setDevicePixelRatio(_SCALE)
        widget.render(picture)
        picture.save(buffer, "PNG")
    path.write_bytes(bytes(buffer.data().data()))


def columns(plot: "Plot") -> dict[str, NDArray[np.float64]]:
    """Return what a plot shows, column by column: x and y of each curve, between the ends of the x axis."""
    low, high = plot.x_range()
    found: dict[str, NDArray[np.float64]] = {}
    for curve in plot.curves:
        if not curve.visible or not len(curve.y):
            continue
        x = curve.x[:-1] if curve.shape is Shape.STEPS else curve.x
        shown = (x >= low) & (x <= high)
        name = curve.name or plot.title.lower()
        found[f"{plot.x_label} of {name}"] = x[shown]
        found[name] = curve.y[shown]
        if curve.shape is Shape.BAND:
            found[f"{name}, lowest"], found[f"{name}, highest"] = curve.low[shown], curve.high[shown]
    for line in plot.lines:
        if np.isfinite(line.y):
            found[line.name] = np.array([line.y])
    return found


def save_data(plot: "Plot", path: Path) -> None:
    """Write what a plot shows as CSV, a column under each name. Raises `OSError`."""
    table = plot.data()
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        for i in range(max(map(len, table.values()), default=0)):
            writer.writerow([repr(float(column[i])) if i < len(column) else "" for column in table.values()])
