"""The page of runs: on the left the form of the next run, on the right the queue."""

import json
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import tomlkit
from PyQt6.QtCore import QByteArray, Qt
from PyQt6.QtGui import QAction, QDragEnterEvent, QDropEvent, QPalette
from PyQt6.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from gui.form.checking import CheckedOneByOne, Checker
from gui.form.form import ConfigForm
from gui.form.reading import InThread, configuration_in, parsed
from gui.form.row import WRONG
from gui.lab import Lab
from gui.own_code import ask, named_in
from gui.runs.entry import Entry
from gui.runs.panel import QueuePanel
from gui.runs.queue import RunQueue
from gui.runs.summary import estimate_words
from gui.runs.sweep import SweepDialog
from labpgt.errors import LabpgtError

_NO_PRESET = "Presets…"
_CHECKING = "Checking before it goes into the queue…"


class RunsPage(QWidget):
    """Configures runs, starts them, and shows how they go."""

    def __init__(self, lab: Lab) -> None:
        super().__init__()
        self.setObjectName("runs")
        self.setAcceptDrops(True)
        self._lab = lab
        self._presets: list[dict[str, str]] = []
        self._starting: list[CheckedOneByOne] = []
        self._wrong = False
        self._file = lab.state.folder / "form.json"
        self.form = ConfigForm(lab)
        self.form.setObjectName("form")
        self.queue = RunQueue(lab)
        self.panel = QueuePanel(lab, self.queue, self)
        self.sweep = SweepDialog(lab, self.form)
        self.search = QLineEdit(self)
        self.presets = QComboBox(self)
        self.told = QLabel(self)
        self.estimate = QLabel(self)
        self._make_actions()
        self._lay_out()
        self._restore()
        self.checker = Checker(self.form, lab.desk, lambda: lab.sessions)
        self.checker.checked.connect(self._checked)
        self.checker.estimated.connect(self._estimated)
        self.form.changed.connect(self._form_changed)
        self.sweep.wanted.connect(self._add_sweep)
        self.panel.edit_wanted.connect(lambda entry: self.fill(entry.config, entry.title))
        lab.configuration_wanted.connect(self.open)
        lab.device_wanted.connect(self.use_device)
        lab.desk.state_changed.connect(self._desk_changed)
        lab.theme.changed.connect(self._paint)
        self._desk_changed(lab.desk.state)
        self._checked()

    def activate(self) -> None:
        """Take the focus, unless something here has it."""
        focus = self.window().focusWidget() if self.window() is not None else None
        # Qt gives it to the first widget there is, where a turn of the wheel would fill the form.
        if focus is None or focus is self.presets or not self.isAncestorOf(focus):
            self.search.setFocus()

    def open(self, path: Path) -> None:
        """Fill the form from a configuration or a session."""
        InThread(
            lambda: configuration_in(path),
            lambda found: self.fill(found, path.name),
            lambda why: self._lab.notice("error", why),
        )

    def fill(self, values: dict[str, Any], source: str) -> None:
        """Fill the form from the values of a configuration."""
        self.form.load(values)
        self._lab.notice("info", f"form filled from {source}")

    def use_device(self, device: dict[str, Any]) -> None:
        """Have the form's run on this device: its name and settings; what else was set for the same one stays."""
        values = self.form.values()
        before = values.get("device", {})
        kept = before if before.get("name") == device.get("name") else {}
        self.form.load({**values, "device": {**kept, **device}})
        self._lab.notice("info", f"the form's device is {device.get('name')} now")

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:  # noqa: N802  (Qt's name)
        """Take configurations; sessions are for whoever opens them."""
        if event is not None and _dropped(event):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:  # noqa: N802  (Qt's name)
        """Fill the form from a file that is dropped."""
        if event is not None and (path := _dropped(event)):
            event.acceptProposedAction()
            self.open(path)

    # How it is made.

    def _make_actions(self) -> None:
        def add(name: str, text: str, keys: str, tip: str, do: Callable[[], object]) -> QAction:
            return self._lab.actions.add(self, name, text, keys, tip, do)

        self._start = add("run.start", "Start", "Ctrl+Return", "Start this run as the next one", self.start)
        self._add = add("run.add", "Add", "Ctrl+Shift+Return", "Add this run at the end of the queue", self.add)
        self._sweep = add("run.sweep", "Sweep…", "Ctrl+Shift+W", "Add runs with several values", self.sweep.begin)
        self._open = add(
            "form.open", "Open…", "Ctrl+Shift+O", "Fill the form from a configuration or a session", self._ask_open
        )
        self._save = add("form.save", "Save…", "Ctrl+Shift+S", "Write what is set into a TOML file", self._ask_save)
        self._clear = add("form.clear", "Reset", "Ctrl+Shift+N", "Give every field its default", self._reset_all)
        self._find = add("form.find", "Find", "Ctrl+Shift+F", "Find a field", self.search.setFocus)
        self._problem = add("form.problem", "Next problem", "Ctrl+Shift+G", "Go to the next problem", self._next)
        self._only = self._lab.actions.add(
            *(self, "form.changed-only", "Changed", "Ctrl+Shift+D", "Show only fields that are changed or wrong"),
            lambda on: self._search(),
            checkable=True,
        )
        self._buttons = {
            action.objectName(): self._lab.actions.button(action, self)
            for action in (
                *(self._start, self._add, self._sweep, self._problem),
                *(self._open, self._save, self._clear, self._only),
            )
        }

    def _lay_out(self) -> None:
        self.search.setObjectName("form-search")
        self.search.setAccessibleName("Find a field")
        self.search.setToolTip("Words of a key or of what it does")
        self.search.setPlaceholderText("Find a field")
        self.search.setClearButtonEnabled(True)
        self.search.textChanged.connect(self._search)
        self.presets.setObjectName("form-presets")
        self.presets.setAccessibleName("Presets")
        self.presets.setToolTip("Configurations to start from")
        self.presets.addItem(_NO_PRESET)
        self.presets.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.presets.setMinimumContentsLength(12)
        self.presets.activated.connect(self._take_preset)
        for label, name in ((self.told, "form-told"), (self.estimate, "form-estimate")):
            label.setObjectName(name)
            label.setWordWrap(True)
        # Room for all of it, so that the form above does not jump.
        self.estimate.setMinimumHeight(3 * self.estimate.fontMetrics().lineSpacing())
        self.estimate.setAlignment(Qt.AlignmentFlag.AlignTop)
        top = QHBoxLayout()
        top.addWidget(self.presets)
        top.addWidget(self.search, 1)
        for name in ("form.changed-only", "form.open", "form.save", "form.clear"):
            top.addWidget(self._buttons[name])
        bottom = QHBoxLayout()
        says = QVBoxLayout()
        says.setSpacing(0)
        says.addWidget(self.told)
        says.addWidget(self.estimate)
        bottom.addLayout(says, 1)
        for name in ("form.problem", "run.start", "run.add", "run.sweep"):
            bottom.addWidget(self._buttons[name], alignment=Qt.AlignmentFlag.AlignBottom)
        font = self._buttons["run.start"].font()
        font.setBold(True)
        self._buttons["run.start"].setFont(font)
        left = QWidget(self)
        column = QVBoxLayout(left)
        column.setContentsMargins(0, 0, self.fontMetrics().averageCharWidth() // 2, 0)
        column.addLayout(top)
        column.addWidget(self.form, 1)
        column.addLayout(bottom)
        self.splitter = QSplitter(Qt.Orientation.Horizontal, self)
        self.splitter.addWidget(left)
        self.splitter.addWidget(self.panel)
        self.splitter.setStretchFactor(0, 4)
        self.splitter.setStretchFactor(1, 3)
        self.splitter.setChildrenCollapsible(False)
        settings = self._lab.state.settings
        self.splitter.restoreState(settings.value("runs/splitter", QByteArray(), type=QByteArray))
        self.splitter.splitterMoved.connect(lambda: settings.setValue("runs/splitter", self.splitter.saveState()))
        whole = QVBoxLayout(self)
        whole.addWidget(self.splitter)
        self._order_tabs()

    def _order_tabs(self) -> None:
        """Let Tab go as one reads: from the line above the form through the form to what starts it."""
        above = [self._buttons[name] for name in ("form.changed-only", "form.open", "form.save", "form.clear")]
        below = [self._buttons[name] for name in ("form.problem", "run.start", "run.add", "run.sweep")]
        last = list(self.form.groups[-1])[-1].editor
        order = [self.presets, self.search, *above, self.form.groups[0].heading]
        for before, after in (*pairwise(order), *pairwise([last, *below, self.panel.view])):
            self.setTabOrder(before, after)

    # The form.

    def _form_changed(self) -> None:
        self._tell("Checking…", wrong=False)
        if self._only.isChecked() or self.search.text():
            self._search()

    def _restore(self) -> None:
        with suppress(OSError, ValueError):
            found = json.loads(self._file.read_text("utf-8"))
            if isinstance(found, dict):
                self.form.load(found)

    def _search(self) -> None:
        self.form.search(self.search.text(), changed_only=self._only.isChecked())

    def _reset_all(self) -> None:
        self.form.load({})

    def _checked(self) -> None:
        with suppress(OSError):  # it is there at the next start
            self._file.write_text(json.dumps(self.form.values(), default=str), "utf-8")
        wrong = len(self.form.problems) + sum(group.wrong for group in self.form.groups)
        if wrong:
            self._tell(f"{WRONG} {wrong} problem{'s' if wrong > 1 else ''}: nothing can be started yet", wrong=True)
        elif self.checker.why_not:
            self._tell(f"Not checked: {self.checker.why_not}", wrong=False)
        else:
            self._tell("✓ In order", wrong=False)
            self.estimate.setText(f"Estimating… ({self._lab.desk.state})")

    def _tell(self, text: str, *, wrong: bool) -> None:
        self._wrong = wrong
        self.told.setText(text)
        self.estimate.setText("")
        self._problem.setEnabled(wrong)
        self._buttons["form.problem"].setVisible(wrong)
        self._paint()

    def _paint(self) -> None:
        palette = self.told.palette()
        palette.setColor(QPalette.ColorRole.WindowText, self._lab.theme.colour("error" if self._wrong else "text"))
        self.told.setPalette(palette)

    def _estimated(self) -> None:
        self.estimate.setText(estimate_words(self.checker.estimate, self.checker.why_no_estimate))

    def _desk_changed(self, state: str) -> None:
        if self.presets.count() == 1:
            self._lab.desk.ask("presets", self._offer_presets)
            self._lab.desk.ask("devices", self.form.offer_devices)

    def _offer_presets(self, presets: list[dict[str, str]]) -> None:
        self._presets = presets
        while self.presets.count() > 1:
            self.presets.removeItem(1)
        for number, preset in enumerate(presets, start=1):
            self.presets.addItem(preset["name"])
            tip = "\n".join(text for text in (preset["title"], preset["description"]) if text)
            self.presets.setItemData(number, tip, Qt.ItemDataRole.ToolTipRole)

    def _take_preset(self, number: int) -> None:
        if number < 1:
            return
        preset = self._presets[number - 1]
        try:
            self.fill(parsed(preset["toml"], f"the preset {preset['name']}"), f"the preset {preset['name']}")
        except LabpgtError as error:
            self._lab.notice("error", str(error))
        self.presets.setCurrentIndex(0)

    def _next(self) -> None:
        """Go to the problem after the one in hand."""
        rows = self.form.problems
        if not rows:
            self.form.show_wrong_group()
            return
        self.search.clear()
        at = next((n for n, row in enumerate(rows) if row.editor.hasFocus()), -1)
        self.form.go_to(rows[(at + 1) % len(rows)])

    def _ask_open(self) -> None:
        kinds = "Configurations and sessions (*.toml *.h5);;All files (*)"
        chosen, _ = QFileDialog.getOpenFileName(self, "Fill the form from", str(self._lab.sessions), kinds)
        if chosen:
            self.open(Path(chosen))

    def _ask_save(self) -> None:
        chosen, _ = QFileDialog.getSaveFileName(self, "Save the configuration", "run.toml", "Configurations (*.toml)")
        if chosen:
            self.save(Path(chosen))

    def save(self, path: Path) -> None:
        """Write what is set into a TOML file."""
        try:
            path.write_text(tomlkit.dumps(self.form.values()), "utf-8")
        except OSError as error:
            self._lab.notice("error", f"cannot write {path}: {error.strerror}; choose another place")
        else:
            self._lab.notice("info", f"configuration saved in {path}")

    # Runs.

    def start(self) -> None:
        """Check what is in the form, and make it the next run, also while the queue is held."""
        self._add_checked(next_one=True)

    def add(self) -> None:
        """Check what is in the form, and add it at the end of the queue."""
        self._add_checked(next_one=False)

    def _add_sweep(self, entries: list[Entry]) -> None:
        named = {name: key for entry in entries for name, key in named_in(entry.config).items()}
        ask(self, f"run {len(entries)} runs", named, lambda _names: self.queue.add(entries))

    def _add_checked(self, *, next_one: bool) -> None:
        if self.form.unreadable:
            self._next()
            return
        if self._starting:  # pressed twice, as a rule
            self._lab.notice("info", "the run before is still being checked; press again when it is in the queue")
            return
        entry = Entry(self.form.values())
        doing = f"run {entry.title}"
        ask(self, doing, named_in(entry.config), lambda _names: self._add_allowed(entry, next_one=next_one))

    def _add_allowed(self, entry: Entry, *, next_one: bool) -> None:
        times_held, before = self.queue.times_held, self.told.text()

        def answered(problems: dict[int, dict[str, str]], why: str) -> None:
            self._starting.remove(asked)
            if self.told.text() == _CHECKING:
                self.told.setText(before)
            if problems:
                self.checker.take(problems[0])
                self._next()
                return
            if why:
                self._lab.notice("warning", f"the run was not checked before its start ({why}); it checks itself")
            self.queue.add([entry], next_one=next_one)
            self.panel.select(entry)
            if next_one and self.queue.times_held == times_held:  # RF OFF, and whoever else holds it, comes first
                self.queue.let(entry)

        asked = CheckedOneByOne(self._lab.desk, [entry.config], answered)
        self._starting.append(asked)
        self.told.setText(_CHECKING)
        asked.begin()


def _dropped(event: QDropEvent) -> Path | None:
    """Return the configuration that is dropped, if it is one."""
    data = event.mimeData()
    places = [Path(url.toLocalFile()) for url in data.urls() if url.isLocalFile()] if data is not None else []
    return places[0] if len(places) == 1 and places[0].suffix.lower() == ".toml" else None
