"""The page of live plots."""

import time
from pathlib import Path

import numpy as np
from PyQt6.QtCore import QTimer
from PyQt6.QtGui import QCloseEvent
from PyQt6.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from gui.following import Follower
from gui.lab import Lab
from gui.live.controls import Controls
from gui.live.detail import Detail
from gui.live.grid import PlotGrid
from gui.live.headline import Headline
from gui.live.hold import HoldButtons
from gui.live.panels import PANELS, How, Panel
from gui.live.run import Against, Run
from gui.plots import Plot
from gui.plots.words import number, quantity
from gui.series import Series
from labpgt.events import Status
from labpgt.follow_rows import News

_SIGNS = {"error": "✖ ", "warning": "▲ "}
_LATELY_S = 60.0
"""A run whose last shot is no older uses its device."""
_COARSE = 400
"""Fewer bins than these in view are worth a closer look."""


class LivePage(QWidget):
    """Follows one session, the window's own run or any other, and draws it. Watching never touches the run."""

    def __init__(self, lab: Lab) -> None:
        super().__init__()
        self.lab = lab
        self.setObjectName("page:live")
        self.setAccessibleName("Live")
        self.run = Run()
        self.how = How()
        self.path: Path | None = None
        self.follower: Follower | None = None
        self._failed = False
        """Whether the session cannot be followed (any more)."""
        self._bench_known = False
        self.drawn = 0
        """How often the plots were drawn."""
        self._due: list[Panel] = []
        """Plots to be drawn, one in each turn of the event loop: nothing else waits for more than one of them."""
        self._anew: set[Panel] = set()
        """Those that shall show everything then, and go along: the run is another one."""
        self._turn = QTimer(self)
        self._turn.setSingleShot(True)
        self._turn.setInterval(0)
        self._turn.timeout.connect(self._draw_next)
        self._detail = Detail()
        self._detail.found.connect(self._closer)
        self._detail_rows = 0, 0
        self._level = ""
        """Of what is told above the plots."""
        self.panels: list[Panel] = [kind(lab) for kind in PANELS]
        self.alone: Panel | None = None
        """The one plot that is shown large."""
        self.headline = Headline(lab)
        self.banner = QLabel()
        self.banner.setObjectName("live.banner")
        self.banner.setWordWrap(True)
        self.banner.hide()
        self.grid = PlotGrid()
        self.controls = Controls(lab, self)
        self.hold = HoldButtons(lab, self)
        self.hold.refused.connect(lambda why: self.tell("error", why))
        top = QHBoxLayout()
        top.addWidget(self.headline, 1)
        top.addWidget(self.hold)
        layout = QVBoxLayout(self)
        gap = self.fontMetrics().height() // 2
        layout.setContentsMargins(gap, gap, gap, gap)
        layout.setSpacing(gap // 2)
        layout.addLayout(top)
        for widget in (self.banner, self.controls):
            layout.addWidget(widget)
        layout.addWidget(self.grid, 1)
        for panel in self.panels:
            panel.plot.setParent(self.grid.widget())
            panel.plot.hide()
            panel.plot.zoomed.connect(lambda panel=panel: self._zoomed(panel))
            panel.plot.fitted.connect(self._look_no_closer)
        self.controls.restore()
        lab.theme.changed.connect(self._paint)
        self._paint_banner()

    def activate(self) -> None:
        """The page is shown: draw what has come meanwhile."""
        self.draw()

    def show_session(self, path: Path) -> None:
        """Follow this session from now on, from its beginning."""
        self.close_session()
        self.path = Path(path)
        self.follower = Follower(self.path)
        self.follower.news.connect(self._take)
        self.follower.drained.connect(self._drained)
        self.follower.said.connect(lambda text: self.tell("info", text))
        self.follower.lost.connect(self._lost)
        self.follower.failed.connect(self._cannot_follow)
        self.follower.noise_known.connect(self._know_noise)
        self.headline.state.setText(f"opening {self.path.name}")
        self.headline.figures.setText("")
        self.tell("", "")
        self.follower.begin()

    def closeEvent(self, event: QCloseEvent | None) -> None:  # noqa: N802  # Qt's own
        """Follow nothing any more."""
        self.close_session()
        super().closeEvent(event)

    @property
    def goes_on(self) -> bool:
        """Whether a run is watched that has not ended, as far as its file can tell."""
        known = self.follower is not None and not self._failed and not self.run.lost
        return known and self.run.stopped is None

    def close_session(self) -> None:
        """Follow nothing any more; the plots are empty."""
        self._detail.close()
        if self.follower is not None:
            self.follower.close()
            self.follower.deleteLater()
        self.follower = self.path = None
        self._failed = False
        self.run = Run()
        self.how.detail = None
        self.headline.reset()
        self._begin_anew()
        if self.controls.held:
            self.draw()
        else:
            self._draw_soon()

    def tell(self, level: str, text: str) -> None:
        """Show a text above the plots; an empty one takes it away."""
        self.banner.setText(f"{_SIGNS.get(level, '')}{text}")
        self.banner.setVisible(bool(text))
        self._level = level
        self._paint_banner()

    @property
    def shown(self) -> list[Panel]:
        """The panels in view."""
        return [panel for panel in self.panels if not panel.plot.isHidden()]

    def arrange(self, chosen: list[Panel], alone: Panel | None = None) -> None:
        """Show these plots in a grid, or one of them alone."""
        self.alone = alone
        visible = chosen if alone is None else [alone]
        for panel in self.panels:
            panel.plot.setVisible(panel in visible)
        self.grid.arrange([panel.plot for panel in visible])
        for panel in visible:
            panel.plot.refit()
        self.draw()

    def draw(self) -> None:
        """Draw the plots in view as the run is now."""
        self._due = []
        for panel in self.shown:
            self._draw_one(panel)
        self._draw_words()
        self.drawn += 1

    def _begin_anew(self) -> None:
        """Have every plot show everything and go along: those in view when it is their turn to be drawn."""
        self._anew = set(self.shown)
        for panel in self.panels:
            if panel not in self._anew:
                panel.plot.say("")
                panel.plot.fit()

    def _draw_soon(self) -> None:
        """Say how the run stands, and draw the plots in view by turns; who waits for its turn keeps its place."""
        self._draw_words()
        self._due += [panel for panel in self.shown if panel not in self._due]
        self._turn.start()

    def _draw_next(self) -> None:
        if self.controls.held:
            return
        if self._due:
            self._draw_one(self._due.pop(0))
        if self._due:
            self._turn.start()
        else:
            self.drawn += 1

    def _draw_one(self, panel: Panel) -> None:
        plot = panel.plot
        if panel.along_run:
            plot.growing, plot.x_bounds = self.run.status is Status.RUNNING, self._x_bounds()
            plot.describe = self._describe
            label, plot.x_unit = self._x_words()
            plot.label_axes(x_label=label)
        if panel in self._anew:
            plot.say("")
        panel.draw(self.run, self.how)
        if self.path is None:
            plot.say("No run is watched")
        if panel in self._anew:
            self._anew.remove(panel)
            plot.fit()

    def _draw_words(self) -> None:
        if self.path is not None:
            self.headline.draw(self.run, self.path.name)
        self.hold.draw(self.run, self.path)

    def fit_all(self) -> None:
        """Let every plot show everything, and go along."""
        self.how.detail = None
        self.draw()
        for panel in self.panels:
            panel.plot.fit()

    def ask_for_session(self) -> None:
        """Ask which session to watch; the window goes on meanwhile."""
        dialog = QFileDialog(self, "Watch a session", str(self.lab.sessions), "Sessions (*.h5)")
        dialog.setObjectName("live.choose")
        dialog.fileSelected.connect(lambda chosen: self.show_session(Path(chosen)))
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def change_axis(self) -> None:
        """The x axis is another one: what was zoomed in on is elsewhere now."""
        self.how.detail = None
        for panel in self.panels:
            if panel.along_run:
                panel.plot.cursors.clear()
        self.fit_all()

    def _x_words(self) -> tuple[str, str]:
        unit = self.run.time_unit()[1]
        match self.how.against:
            case Against.SHOTS:
                return "training shots", "training shots"
            case Against.EPOCHS:
                return "epochs", "epochs"
            case Against.TIME:
                return f"time since the start ({unit})", unit

    def _describe(self, x: float) -> str:
        if self.how.against is Against.EPOCHS:
            return f"at epoch {number(x)}"
        return f"at {quantity(round(x) if self.how.against is Against.SHOTS else x, self._x_words()[1], 7)}"

    def _x_bounds(self) -> tuple[float, float] | None:
        """Return what part of the run the x axes show while they go along."""
        run = self.run
        if run.started is None:
            return None
        newest = run.newest(self.how.against)
        if not np.isfinite(newest) or newest <= 0:
            return None
        return (0.9 * newest if self.how.newest else 0.0), newest

    def _take(self, news: News) -> None:
        before, lost = self.run.started, self.run.lost
        self.run.take(news)
        if self.run.started is not before or lost:
            self.tell("", "")
            self.headline.reset()
            self._begin_anew()
            self._bench_known = False

    def _watch_over_bench(self) -> None:
        """Have RF OFF reach the bench of a run that goes on, whoever has started it; a recorded one uses none."""
        lately = time.time() - self.run.time < _LATELY_S or bool(self.run.paused)
        if self._bench_known or self.run.started is None or self.run.stopped is not None or not lately:
            return
        self._bench_known = True
        bench = self.run.configuration.get("device", {}).get("bench")
        if isinstance(bench, str) and Path(bench).is_file():
            self.lab.rf.watch_over(Path(bench))

    def _drained(self) -> None:
        self.hold.draw(self.run, self.path)
        self._watch_over_bench()
        if self.isVisible() and self.path is not None:
            # At once: how the run stands waits for no plot, and is not held with them.
            self.headline.draw(self.run, self.path.name)
        if self.isVisible() and not self.controls.held:
            self._draw_soon()

    def _cannot_follow(self, why: str) -> None:
        self._failed = True
        self.headline.state.clear()  # else it would be "opening" for ever
        self._lost(why)
        self.tell("error", why)

    def _lost(self, text: str) -> None:
        if self.run.started is not None:
            self.run.lost = text
        self.tell("info" if self.run.started is None else "warning", text)

    def _know_noise(self, noise: float) -> None:
        self.run.noise = noise

    def _zoomed(self, panel: Panel) -> None:
        """Let the plots of the run show the same part of it, and look closely where little is in view."""
        if not panel.along_run:
            return
        low, high = panel.plot.x_range()
        for other in self.panels:
            if other.along_run and other is not panel:
                other.plot.set_x_range(low, high)
        steps = self.run.picture.steps
        x = self.run.step_places(steps, self.how.against)
        first, last = (int(i) for i in np.searchsorted(x, (low, high)))
        if self.path is None or steps.per == 1 or self.run.sampled or last - first > _COARSE or last <= first:
            self._look_no_closer()
            return
        # Some more at both ends, so that the view can be moved a little without reading again.
        wanted = max(0, first - (last - first)) * steps.per, min(self.run.n_steps, (2 * last - first) * steps.per)
        rows = self._detail_rows
        if self.how.detail is None or not (rows[0] <= first * steps.per and last * steps.per <= rows[1]):
            self._look_no_closer()
            self._detail.ask(self.path, *wanted)

    def _look_no_closer(self) -> None:
        self._detail.close()
        if self.how.detail is not None:
            self.how.detail = None
            self.draw()

    def _closer(self, first: int, last: int, series: object) -> None:
        assert isinstance(series, Series)
        self._detail_rows, self.how.detail = (first, last), series
        self.draw()

    def _paint(self) -> None:
        self._paint_banner()
        self.headline.reset()
        self.draw()

    def _paint_banner(self) -> None:
        role = {"error": "error", "warning": "warn"}.get(self._level, "muted")
        self.banner.setStyleSheet(f"color: {self.lab.theme.colours[role]};")

    def plot_in_hand(self) -> Plot | None:
        """Return the plot that the plots' actions work on, if it is one of this page."""
        current = self.panels[0].plot.commands.current
        return current if any(panel.plot is current for panel in self.panels) else None
