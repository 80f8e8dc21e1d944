"""Colours and fonts of the window, light and dark: the palette of Okabe and Ito, which survives colour blindness.

Colour is never the only sign: whoever uses one of these says the same with a word or a shape.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

import pyqtgraph as pg
from PyQt6.QtCore import QObject, Qt, pyqtSignal
from PyQt6.QtGui import QColor, QPalette, QPen
from PyQt6.QtWidgets import QApplication


class Mode(StrEnum):
    """What a person chooses; `SYSTEM` follows the desktop."""

    SYSTEM = "system"
    LIGHT = "light"
    DARK = "dark"


# Okabe and Ito, "Color Universal Design" (2008). Their yellow is too pale on white: there it is darkened.
_LIGHT = {
    "window": "#f3f4f6",
    "base": "#ffffff",
    "raised": "#e6e8ec",
    "text": "#16181d",
    "muted": "#5b6472",
    "grid": "#c9ced6",
    "accent": "#0072b2",
    "on_accent": "#ffffff",
    "ok": "#00795a",
    "warn": "#a85500",
    "error": "#b3261e",
    "danger": "#c62300",
    "on_danger": "#ffffff",
}
# The base is the brighter one: the style draws no outline around a field that is seen on a dark window.
_DARK = {
    "window": "#17191d",
    "base": "#272b32",
    "raised": "#3a404b",
    "text": "#eceef2",
    "muted": "#a2abba",
    "grid": "#4c535f",
    "accent": "#56b4e9",
    "on_accent": "#0c0d10",
    "ok": "#2fc796",
    "warn": "#f0a93a",
    "error": "#ff8a75",
    "danger": "#d53a10",
    "on_danger": "#ffffff",
}
_SERIES_LIGHT = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a7300", "#3a96c9", "#b87800", "#4d4d4d")
_SERIES_DARK = ("#56b4e9", "#e8763a", "#2fc796", "#e29cc6", "#f0e442", "#7c9cf0", "#e69f00", "#bdbdbd")


class Theme(QObject):
    """The colours in use; `changed` says that everything drawn by hand has to be drawn anew."""

    changed = pyqtSignal()

    def __init__(self, app: QApplication, mode: Mode = Mode.SYSTEM) -> None:
        super().__init__()
        self._app = app
        self._mode = mode
        hints = app.styleHints()
        assert hints is not None
        self._hints = hints
        hints.colorSchemeChanged.connect(self._desktop_changed)
        app.setStyle("Fusion")  # the same on every system, and it takes a palette as it is
        pg.setConfigOptions(antialias=False)
        self._apply()

    @property
    def mode(self) -> Mode:
        """What was chosen."""
        return self._mode

    @property
    def dark(self) -> bool:
        """Whether the window is dark now."""
        if self._mode is Mode.SYSTEM:
            return bool(self._hints.colorScheme() == Qt.ColorScheme.Dark)
        return self._mode is Mode.DARK

    @property
    def colours(self) -> Mapping[str, str]:
        """Colours by role: window, base, raised, text, muted, grid, accent, ok, warn, error, danger, on_…."""
        return MappingProxyType(_DARK if self.dark else _LIGHT)

    @property
    def series(self) -> tuple[str, ...]:
        """Colours for curves, in the order of use."""
        return _SERIES_DARK if self.dark else _SERIES_LIGHT

    def choose(self, mode: Mode) -> None:
        """Change the colours of the whole window."""
        self._mode = mode
        self._apply()

    def colour(self, role: str) -> QColor:
        """Return the colour of a role."""
        return QColor(self.colours[role])

    def pen(self, number: int, width: float = 1.5, style: Qt.PenStyle = Qt.PenStyle.SolidLine) -> QPen:
        """Return the pen of the curve with this number."""
        return pg.mkPen(self.series[number % len(self.series)], width=width, style=style)

    def paint_plot(self, plot: pg.PlotItem) -> None:
        """Give a plot the colours in use: axes, grid, title and background."""
        view = plot.getViewWidget()
        if view is not None:
            view.setBackground(self.colours["base"])
        for side in ("left", "bottom", "right", "top"):
            axis = plot.getAxis(side)
            axis.setPen(pg.mkPen(self.colours["grid"]))
            axis.setTextPen(pg.mkPen(self.colours["text"]))
        plot.titleLabel.setAttr("color", self.colours["text"])
        plot.titleLabel.setText(plot.titleLabel.text)

    def _desktop_changed(self, _scheme: Qt.ColorScheme) -> None:
        if self._mode is Mode.SYSTEM:
            self._apply()

    def _apply(self) -> None:
        c = self.colours
        palette = QPalette()
        roles = QPalette.ColorRole
        for role, name in (
            (roles.Window, "window"),
            (roles.WindowText, "text"),
            (roles.Base, "base"),
            (roles.AlternateBase, "window"),
            (roles.Text, "text"),
            (roles.Button, "raised"),
            (roles.ButtonText, "text"),
            (roles.ToolTipBase, "raised"),
            (roles.ToolTipText, "text"),
            (roles.PlaceholderText, "muted"),
            (roles.Highlight, "accent"),
            (roles.HighlightedText, "on_accent"),
            (roles.Link, "accent"),
        ):
            palette.setColor(role, QColor(c[name]))
        for role in (roles.WindowText, roles.Text, roles.ButtonText):
            palette.setColor(QPalette.ColorGroup.Disabled, role, QColor(c["muted"]))
        self._app.setPalette(palette)
        pg.setConfigOptions(background=c["base"], foreground=c["text"])
        self.changed.emit()
