"""What can be done with a plot: one set of actions for all plots of the window, which work on the one in hand."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from PyQt6 import sip
from PyQt6.QtCore import QObject, Qt, pyqtSignal
from PyQt6.QtGui import QAction
from PyQt6.QtWidgets import QFileDialog, QWidget

from gui.lab import Lab

if TYPE_CHECKING:
    from gui.plots.plot import Plot

_IMAGES = "Picture, sharp at every size (*.svg);;Picture (*.png)"
_TABLES = "Table (*.csv)"


class Commands(QObject):
    """The actions, and the plot that they work on: the one that has the focus, or had it last."""

    chosen = pyqtSignal()
    """Another plot is the one in hand."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab)
        self._lab = lab
        self._owner = QWidget()
        self.current: Plot | None = None
        self.actions: list[QAction] = [self._add(*offered) for offered in self._offered()]

    def _offered(self) -> "Iterator[tuple[str, str, str, str, Callable[[Plot], object]]]":
        yield "fit", "Show all", "A", "Show everything, and go along with what comes", lambda plot: plot.fit()
        yield "closer", "Zoom in", "Z", "Show half as much of the x axis", lambda plot: self._zoom(plot, 0.5)
        yield "wider", "Zoom out", "Shift+Z", "Show twice as much of the x axis", lambda plot: self._zoom(plot, 2.0)
        yield "log", "Log y", "L", "Logarithmic or linear y axis", lambda plot: plot.set_log(not plot.log_y)
        crosshair = "Crosshair at the mouse on or off"
        yield "crosshair", "Crosshair", "C", crosshair, lambda plot: plot.cursors.switch()
        left, right = "Move the crosshair left", "Move the crosshair right"
        yield "left", "Crosshair left", "Shift+Left", left, lambda plot: plot.cursors.step(-0.01)
        yield "right", "Crosshair right", "Shift+Right", right, lambda plot: plot.cursors.step(0.01)
        marker = "Put marker 1, then 2, at the crosshair; the third time take both away"
        yield "marker", "Marker", "M", marker, lambda plot: plot.cursors.mark()
        yield "image", "Save picture…", "I", "Save the plot as a picture (SVG or PNG)", self._ask_image
        yield "data", "Save data…", "D", "Save what the plot shows as a table (CSV)", self._ask_data

    def _add(self, name: str, text: str, shortcut: str, tip: str, do: "Callable[[Plot], object]") -> QAction:
        def act() -> None:
            if self.current is not None:
                do(self.current)

        return self._lab.actions.add(self._owner, f"plot.{name}", text, shortcut, tip, act)

    def serve(self, plot: "Plot") -> None:
        """Let a plot have the actions."""
        plot.addActions(self.actions)
        plot.destroyed.connect(self._forget)

    def choose(self, plot: "Plot") -> None:
        """Work on this plot from now on."""
        if plot is self.current:
            return
        before, self.current = self.current, plot
        if before is not None:
            before.mark_current(False)
        plot.mark_current(True)
        self.chosen.emit()

    def _forget(self) -> None:
        if self.current is not None and sip.isdeleted(self.current):
            self.current = None

    def _zoom(self, plot: "Plot", factor: float) -> None:
        low, high = plot.x_range()
        centre = plot.cursors.x if plot.cursors.x is not None else (low + high) / 2
        plot.set_x_range(centre + factor * (low - centre), centre + factor * (high - centre))
        plot.zoomed.emit()

    def _ask_image(self, plot: "Plot") -> None:
        self._ask(plot, "Save picture", _IMAGES, "svg", plot.save_image)

    def _ask_data(self, plot: "Plot") -> None:
        self._ask(plot, "Save data", _TABLES, "csv", plot.save_data)

    def _ask(self, plot: "Plot", title: str, kinds: str, ending: str, save: Callable[[Path], None]) -> None:
        """Ask where to, and save; the window goes on meanwhile."""
        folder = str(self._lab.state.settings.value("exports", "") or Path.cwd())
        name = re.sub(r"[^\w.]+", "-", plot.title.lower()).strip("-")  # "/" and "|" stand in titles
        dialog = QFileDialog(plot, title, str(Path(folder) / f"{name}.{ending}"), kinds)
        dialog.setObjectName("plot.save")
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setDefaultSuffix(ending)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.fileSelected.connect(lambda chosen: self._save(save, Path(chosen)))
        dialog.open()

    def _save(self, save: Callable[[Path], None], path: Path) -> None:
        try:
            save(path)
        except OSError as error:
            self._lab.notice("error", f"{path} cannot be written: {error.strerror or error}; choose another place")
            return
        self._lab.state.settings.setValue("exports", str(path.parent))
        self._lab.notice("info", f"saved {path}")


def commands_of(lab: Lab) -> Commands:
    """Return the actions for the plots of this window."""
    return lab.findChild(Commands) or Commands(lab)
