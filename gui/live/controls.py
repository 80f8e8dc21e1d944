"""What can be chosen on the page of live plots."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from PyQt6.QtGui import QAction
from PyQt6.QtWidgets import QComboBox, QMenu, QToolButton, QVBoxLayout, QWidget

from gui.flow import Flow
from gui.lab import Lab
from gui.live.panels import AT_FIRST, Panel, ShotPanel
from gui.live.run import Against

if TYPE_CHECKING:
    from gui.live.page import LivePage

_SMOOTHING: tuple[tuple[str, int | None], ...] = (
    ("mean of 1 % of the run", None),
    ("no mean", 0),
    ("mean of 10 steps", 10),
    ("mean of 100 steps", 100),
    ("mean of 1 000 steps", 1_000),
    ("mean of 10 000 steps", 10_000),
)
_PARTS = ("whole run", "newest tenth")
_PREFIX = "live/"


class Controls(QWidget):
    """The row of choices and buttons above the plots; what is chosen is remembered."""

    def __init__(self, lab: Lab, page: "LivePage") -> None:
        super().__init__()
        self._lab, self._page = lab, page
        self._restoring = True
        self.held = False
        """Whether the plots stay as they are."""
        self._row = Flow(self)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._row)
        self._row.set_spacing(self.fontMetrics().height() // 3)
        self._button("open", "Open…", "O", "Watch a session, running or not", page.ask_for_session)
        self._against = self._choice(
            "against", "X axis", "X", "What the x axis of the run's plots is", [str(a) for a in Against]
        )
        self._smoothing = self._choice(
            "smoothing", "Smoothing", "S", "Over how many steps the mean curves are", [text for text, _ in _SMOOTHING]
        )
        self._part = self._choice("part", "Part", "N", "The whole run, or what came last", _PARTS)
        self._plots = self._plots_menu()
        self._button("hold", "Hold", "H", "Let the plots stay as they are; the run goes on", self._hold, checkable=True)
        self._button("large", "Large", "G", "Show the plot in hand alone, or all again", self._large)
        self._button("all", "Show all", "Shift+A", "Let every plot show everything, and go along", page.fit_all)
        apart = "Show some nodes of the last response as curves of their own"
        self._button("nodes", "Nodes apart", "P", apart, self._nodes, checkable=True)
        for name in ("log", "marker", "image", "data"):
            self._row.add(lab.actions.button(lab.actions[f"plot.{name}"], self))
        for panel in page.panels:
            panel.plot.scaled.connect(self._remember)

    def restore(self) -> None:
        """Choose what was chosen last."""
        settings = self._lab.state.settings
        known = {panel.key for panel in self._page.panels}
        chosen = set(str(settings.value(f"{_PREFIX}plots", "")).split(",")) & known or set(AT_FIRST)
        for panel in self._page.panels:
            log = settings.value(f"{_PREFIX}log/{panel.key}")
            if log is not None:
                panel.plot.set_log(str(log) == "true")
            self._plots[panel.key].setChecked(panel.key in chosen)
        for box in (self._against, self._smoothing, self._part):
            place = str(settings.value(f"{_PREFIX}{box.objectName()}", "0"))
            box.setCurrentIndex(int(place) if place.isdigit() and int(place) < box.count() else 0)
        self._restoring = False
        self._choose()
        self._choose_plots()

    def chosen(self) -> list[Panel]:
        """Return the plots that are to be shown."""
        return [panel for panel in self._page.panels if self._plots[panel.key].isChecked()]

    def _remember(self) -> None:
        if self._restoring:
            return
        settings = self._lab.state.settings
        settings.setValue(f"{_PREFIX}plots", ",".join(panel.key for panel in self.chosen()))
        for panel in self._page.panels:
            settings.setValue(f"{_PREFIX}log/{panel.key}", "true" if panel.plot.log_y else "false")
        for box in (self._against, self._smoothing, self._part):
            settings.setValue(f"{_PREFIX}{box.objectName()}", box.currentIndex())

    def _button(
        self, name: str, text: str, shortcut: str, tip: str, do: Callable[..., object], *, checkable: bool = False
    ) -> None:
        action = self._lab.actions.add(self._page, f"live.{name}", text, shortcut, tip, do, checkable=checkable)
        self._row.add(self._lab.actions.button(action, self))

    def _choice(self, name: str, title: str, shortcut: str, tip: str, choices: Sequence[str]) -> QComboBox:
        """Add a box with choices; its shortcut takes the next one."""
        box = QComboBox()
        box.addItems(choices)
        box.setObjectName(f"live.{name}")
        box.setAccessibleName(title)

        def take_next() -> None:
            box.setCurrentIndex((box.currentIndex() + 1) % box.count())

        action = self._lab.actions.add(
            self._page, f"live.{name}", title, shortcut, f"{title}: the next choice", take_next
        )
        box.setToolTip(f"{tip} (next: {action.shortcut().toString()})")
        box.currentIndexChanged.connect(lambda _: self._choose())
        self._row.add(box)
        return box

    def _plots_menu(self) -> dict[str, QAction]:
        """Add a button with a menu of all plots; each can be shown or not."""
        actions = {
            panel.key: self._lab.actions.add(
                self._page,
                f"live.plot.{panel.key}",
                panel.plot.title,
                str(number),
                f"Show the plot {panel.plot.title}, or do not",
                lambda _on: self._choose_plots(),
                checkable=True,
            )
            for number, panel in enumerate(self._page.panels, 1)
        }
        menu = QMenu(self)
        menu.setObjectName("live.plots")
        menu.setToolTipsVisible(True)
        menu.addActions(list(actions.values()))

        def pop_up() -> None:
            button = self.findChild(QToolButton, "button:live.plots")
            menu.popup(button.mapToGlobal(button.rect().bottomLeft()) if button else self.mapToGlobal(self.pos()))

        self._button("plots", "Plots…", "0", "Choose which plots are shown", pop_up)
        return actions

    def _choose(self) -> None:
        """Take what stands in the boxes."""
        if self._restoring:
            return
        how = self._page.how
        how.against = list(Against)[self._against.currentIndex()]
        how.smoothing = _SMOOTHING[self._smoothing.currentIndex()][1]
        how.newest = self._part.currentIndex() == 1
        self._page.change_axis()
        self._remember()

    def _choose_plots(self) -> None:
        if self._restoring:
            return
        self._page.arrange(self.chosen())
        self._remember()

    def _hold(self, held: bool) -> None:
        self.held = held
        if not held:
            self._page.draw()

    def _large(self) -> None:
        page = self._page
        in_hand = page.plot_in_hand()
        panel = next((panel for panel in page.shown if panel.plot is in_hand), next(iter(page.shown), None))
        page.arrange(self.chosen(), panel if page.alone is None else None)

    def _nodes(self, apart: bool) -> None:
        for panel in self._page.panels:
            if isinstance(panel, ShotPanel):
                panel.shot.set_nodes_apart(apart)
