"""The form of a run: a row for every key of the configuration, and for every setting of the device that is chosen."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from PyQt6.QtCore import Qt, QTimer, pyqtSignal
from PyQt6.QtWidgets import QApplication, QScrollArea, QVBoxLayout, QWidget

from gui.form.editors import ChoiceEditor, PathEditor
from gui.form.fields import Field, Kind, fields_of
from gui.form.group import Group
from gui.form.row import Row
from gui.lab import Lab
from labpgt.config import Config

Values = dict[str, dict[str, Any]]
"""Section, key, value: what TOML holds."""
_OTHER = "further settings"
"""Of a device that does not describe its settings: all of them in one row."""


class ConfigForm(QScrollArea):
    """What is entered is given to the run; what is not, is left to the defaults, which are shown."""

    changed = pyqtSignal()
    """Something was entered: once for all that comes at once."""
    device_changed = pyqtSignal(str)
    """Another device was chosen; `describe_device` has to follow."""

    def __init__(self, lab: Lab) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._theme = lab.theme
        self._current: Row | None = None
        self._loading = False
        self._device = ""
        self._described = False
        """Whether the device's rows are those of `_device`."""
        self._kept: dict[str, dict[str, Any]] = {}
        """Settings of the devices that were chosen before, and of one that is not described yet."""
        add = lab.actions.add
        self.reset_action = add(
            self, "form.reset-field", "Reset field", "Ctrl+Shift+Z", "Give a field its default again", self._reset
        )
        self.reset_action.setIconText("↺")
        self._browse = add(self, "form.browse", "Choose file", "Ctrl+Shift+B", "Find the file of a field", self._find)
        self._browse.setIconText("Choose…")
        self._groups: dict[str, Group] = {}
        inside = QWidget()
        column = QVBoxLayout(inside)
        for number, (section, model) in enumerate(Config(), start=1):
            heading = add(
                self,
                f"form.section-{section}",
                f"Section {section}",
                f"Ctrl+Alt+{number}",
                f"Fold or unfold the section {section}",
                lambda on: None,
                checkable=True,
            )
            kept = lab.state.settings.value(f"form/{section}", section != "session", type=bool)
            heading.setChecked(bool(kept))
            heading.toggled.connect(partial(lab.state.settings.setValue, f"form/{section}"))
            about = (Config.model_fields[section].description or "").removesuffix(".")
            group = Group(section, about, self._theme, heading, self._row)
            group.fill(fields_of(section, type(model).model_json_schema()))
            self._groups[section] = group
            column.addWidget(group)
        column.addStretch(1)
        self.setWidget(inside)
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(0)
        self._soon.timeout.connect(self._tell_change)
        self._theme.changed.connect(self._repaint)
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        app.focusChanged.connect(self._focus_moved)
        self._follow_device()

    def __iter__(self) -> Iterator[Row]:
        for group in self._groups.values():
            yield from group

    @property
    def device(self) -> str:
        """Name of the device that is chosen."""
        return self._device

    @property
    def groups(self) -> list[Group]:
        """The sections."""
        return list(self._groups.values())

    @property
    def problems(self) -> list[Row]:
        """Rows with something wrong in them."""
        return [row for row in self if row.problem]

    @property
    def unreadable(self) -> list[Row]:
        """Rows that no check is needed for to see that they are wrong."""
        return [row for row in self if row.held().problem]

    def row(self, name: str) -> Row | None:
        """Return the row of section.key."""
        return next((row for row in self if row.field.name == name), None)

    def values(self) -> Values:
        """Return what was entered, by section and key."""
        found: Values = {section: {} for section in self._groups}
        for row in self:
            held = row.held()
            if held.given and row.field.key == _OTHER and isinstance(held.value, dict):
                found[row.field.section].update(held.value)
            elif held.given:
                found[row.field.section][row.field.key] = held.value
        if not self._described:
            found["device"] = {**self._kept.get(self._device, {}), **found["device"]}
        return {section: given for section, given in found.items() if given}

    def load(self, values: Mapping[str, Any]) -> None:
        """Hold these values and no others. Keys that nobody knows get rows too: nothing is lost unseen."""
        device = values.get("device", {})
        settings = dict(device) if isinstance(device, dict) else {}
        name = str(settings.pop("name", Config().device.name))
        # Rows that are there need not be made again.
        there = self._described and name == self._device and self.row(f"device.{_OTHER}") is None
        self._loading = True
        for section, group in self._groups.items():
            for row in list(group):
                if row.held().given:
                    row.editor.forget()
                if not row.field.known:
                    group.drop(row)
            given = values.get(section, {})
            for key, value in given.items() if isinstance(given, dict) else ():
                if section != "device" or key == "name" or there:
                    self._give(group, key, value)
        self._loading = False
        if not there:
            self._kept[name] = settings
            self._described = False
            self._device = ""
            self._follow_device()
        self._soon.start()

    def offer_devices(self, names: list[str]) -> None:
        """Offer these devices."""
        row = self.row("device.name")
        if row is not None and isinstance(row.editor, ChoiceEditor):
            row.editor.offer(names)

    def describe_device(self, name: str, schema: Mapping[str, Any] | None) -> None:
        """Have a row for each setting of a device, from the schema of its model; None: it has none."""
        if name != self._device or self._described:
            return
        group = self._groups["device"]
        other = Field("device", _OTHER, Kind.TABLE, description="What the device is made with, as key = value.")
        fields = [other] if schema is None else fields_of("device", schema)
        group.fill([] if name.startswith("replay:") else fields, keep=1)
        self._described = True
        given = self._kept.pop(name, {})
        if schema is None and given:
            given = {_OTHER: given}
        for key, value in given.items():
            self._give(group, key, value)
        group.say("")
        self._soon.start()

    def device_unknown(self, name: str, why: str) -> None:
        """Say why the settings of a device cannot be shown."""
        if name == self._device and not self._described:
            self._groups["device"].say(f"The settings of {name} cannot be shown: {why}")

    def tell(self, problems: Mapping[str, str]) -> None:
        """Show the problems that the check has found, each beside its field."""
        for section, group in self._groups.items():
            known = set()
            for row in group:
                row.tell(problems.get(row.field.name, ""))
                known.add(row.field.name)
            rest = [f"{k}: {v}" for k, v in problems.items() if k.startswith(f"{section}.") and k not in known]
            said = "; ".join(([problems[section]] if section in problems else []) + rest)
            if said or section != "device" or self._described:
                group.say(said, wrong=True)

    def show_effective(self, whole: Mapping[str, Any]) -> None:
        """Show what holds where nothing is entered: defaults may depend on what is entered elsewhere."""
        for row in self:
            section = whole.get(row.field.section, {})
            if row.field.key in section and not row.held().given:
                row.show_default(section[row.field.key])

    def search(self, text: str, *, changed_only: bool = False) -> int:
        """Show only the fields that have all these words in them; return how many those are."""
        words = text.lower().split()
        wanted: Callable[[Row], bool] | None = None
        if words or changed_only:
            wanted = lambda row: row.answers(words) and (row.changed or bool(row.problem) or not changed_only)  # noqa: E731
        return sum(group.show_only(wanted) for group in self._groups.values())

    def go_to(self, row: Row) -> None:
        """Bring a row into view, with the focus in it."""
        self._groups[row.field.section].unfold()
        row.editor.setFocus(Qt.FocusReason.ShortcutFocusReason)
        # Rows that have just been unfolded have no place yet.
        QTimer.singleShot(0, lambda: self._show_row(row))

    def _show_row(self, row: Row) -> None:
        if row in list(self):
            self.ensureWidgetVisible(row)

    def show_wrong_group(self) -> None:
        """Bring the first section into view that something is wrong with as a whole."""
        for group in self._groups.values():
            if group.wrong:
                group.unfold()
                self.ensureWidgetVisible(group, 0, 0)
                return

    def _give(self, group: Group, key: str, value: Any) -> None:
        row = self.row(f"{group.section}.{key}")
        if row is None:
            unknown = Field(group.section, key, Kind.ANY, description="No key of this section.", known=False)
            row = group.add(unknown)
        row.editor.give(value)

    def _row(self, field: Field, parent: QWidget) -> Row:
        row = Row(field, self._theme, self.reset_action, self._browse, parent)
        row.edited.connect(self._soon_changed)
        row.pressed.connect(self._come_to)
        if field.name == "device.name":
            row.edited.connect(self._follow_device)
        return row

    def _name(self) -> str:
        row = self.row("device.name")
        assert row is not None
        held = row.held()
        return str(held.value if held.given else row.field.default)

    def _follow_device(self) -> None:
        name = self._name()
        if self._loading or name == self._device:
            return
        group = self._groups["device"]
        if self._described:
            self._kept[self._device] = {k: v for k, v in self.values().get("device", {}).items() if k != "name"}
        self._device, self._described = name, False
        group.fill([], keep=1)
        group.say(f"Asking for the settings of {name}…")
        self.device_changed.emit(name)

    def _soon_changed(self) -> None:
        self._soon.start()

    def _tell_change(self) -> None:
        for group in self._groups.values():
            group.sum_up()
        self.changed.emit()

    def _come_to(self, row: Row) -> None:
        self._current = row

    def _focus_moved(self, _before: QWidget | None, now: QWidget | None) -> None:
        row = now.parentWidget() if now is not None else None
        if isinstance(row, Row):
            self._current = row

    def _row_in_hand(self) -> Row | None:
        return self._current if self._current in list(self) else None

    def _reset(self) -> None:
        row = self._row_in_hand()
        if row is None:
            return
        row.editor.forget()
        if not row.field.known:
            self._groups[row.field.section].drop(row)

    def _find(self) -> None:
        row = self._row_in_hand()
        if row is not None and isinstance(row.editor, PathEditor):
            row.editor.browse()

    def _repaint(self) -> None:
        for group in self._groups.values():
            group.repaint_problems()
