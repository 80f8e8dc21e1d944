"""Asks the desk, a moment after the last change, whether what was entered can be run, and what it will take."""

import json
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PyQt6.QtCore import QObject, QTimer, pyqtSignal

from gui.desk import Desk
from gui.form.form import ConfigForm, Values

CHECK_MS = 300
ESTIMATE_MS = 500
_AGAIN_MS = 50
SUPERSEDED = "superseded"
"""What the desk answers to a question that a newer one has overtaken."""


class Checker(QObject):
    """Keeps the problems of a form, and the estimate of its run, up to date."""

    checked = pyqtSignal()
    """`problems` and `why_not` are those of what is in the form."""
    estimated = pyqtSignal()
    """`estimate`, or `why_no_estimate`, is that of what is in the form."""

    def __init__(self, form: ConfigForm, desk: Desk, sessions: Callable[[], Path]) -> None:
        """`sessions` tells the folder in which runs are written: those of an instrument tell how long a shot takes."""
        super().__init__(form)  # it asks no longer than the form is there
        self._form = form
        self._desk = desk
        self._sessions = sessions
        self.problems: dict[str, str] = {}
        self.why_not = "not checked yet"
        """Why there is no answer; empty when there is one."""
        self.estimate: dict[str, Any] | None = None
        self.why_no_estimate = ""
        self._schemas: dict[str, dict[str, Any]] = {}
        self._asked: Values | None = None
        self._complete = False
        """Whether the desk could check everything; before it has torch it cannot."""
        self._check_soon = self._timer(CHECK_MS, self._check)
        self._estimate_soon = self._timer(ESTIMATE_MS, self._ask_estimate)
        self._describe_soon = self._timer(CHECK_MS, self._describe)
        form.changed.connect(self._changed)
        form.device_changed.connect(self._device_changed)
        desk.state_changed.connect(self._desk_changed)
        self._device_changed(form.device)
        self._changed()

    def _timer(self, after_ms: int, do: Callable[[], None]) -> QTimer:
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.setInterval(after_ms)
        timer.timeout.connect(do)
        return timer

    def _changed(self) -> None:
        self._asked = None
        self.estimate, self.why_no_estimate = None, ""
        self._estimate_soon.stop()
        self._check_soon.start()

    def _check(self) -> None:
        values = self._asked = self._form.values()
        self._desk.ask(
            "check",
            lambda answer: self._take(values, answer),
            lambda why: self._not_checked(values, why),
            config=plain(values),
        )

    def _take(self, values: Values, answer: dict[str, Any]) -> None:
        if values is not self._asked:
            return
        self._complete = bool(answer.get("complete", True))
        self.take(dict(answer.get("problems") or {}))
        if answer.get("toml"):
            self._form.show_effective(tomllib.loads(answer["toml"]))
        if not self.problems and not self._form.unreadable:
            self._estimate_soon.start()

    def take(self, problems: dict[str, str]) -> None:
        """Take these as the problems of what is in the form."""
        self.problems = problems
        self.why_not = ""
        self._form.tell(problems)
        self.checked.emit()

    def _not_checked(self, values: Values, why: str) -> None:
        if values is self._asked and why != SUPERSEDED:
            self.problems = {}
            self.why_not = why
            self._form.tell({})
            self.checked.emit()
        elif values is self._asked:
            self._check_soon.start()

    def _ask_estimate(self) -> None:
        values = self._asked
        if values is None:
            return
        config = plain(values)
        session = config.setdefault("session", {})
        session["file"] = str(self._sessions() / str(session.get("file", "new.h5")))
        self._desk.ask(
            "estimate",
            lambda answer: self._take_estimate(values, answer, ""),
            lambda why: self._take_estimate(values, None, why),
            config=config,
        )

    def _take_estimate(self, values: Values, answer: dict[str, Any] | None, why: str) -> None:
        if values is self._asked and why != SUPERSEDED:
            self.estimate, self.why_no_estimate = answer, why
            self.estimated.emit()

    def _device_changed(self, name: str) -> None:
        if name in self._schemas:
            self._fill(name, self._schemas[name])
        else:
            self._describe_soon.start()

    def _describe(self) -> None:
        name = self._form.device
        if name in self._schemas:
            return
        self._desk.ask(
            "device",
            lambda found: self._described(name, found),
            # What is wrong with the name, the check says beside it.
            lambda why: self._form.device_unknown(name, why if why.startswith("the desk") else "no such device"),
            name=name,
        )

    def _described(self, name: str, found: dict[str, Any]) -> None:
        self._schemas[name] = found
        self._fill(name, found)

    def _fill(self, name: str, found: dict[str, Any]) -> None:
        self._form.describe_device(name, found.get("schema"))

    def _desk_changed(self, _state: str) -> None:
        # A desk that has just come up, or can do more than before: what it could not answer is asked again.
        self._device_changed(self._form.device)
        if self.why_not or not self._complete:
            self._check_soon.start()
        elif self.why_no_estimate:
            self._estimate_soon.start()


class CheckedOneByOne(QObject):
    """Asks the desk about several configurations, one after the other, for a newer question supersedes an older one."""

    def __init__(
        self, desk: Desk, configs: Sequence[Values], then: Callable[[dict[int, dict[str, str]], str], None]
    ) -> None:
        """`then` gets the problems by number of the configuration, and why something could not be checked."""
        super().__init__()
        self._desk = desk
        self._configs = list(configs)
        self._then = then
        self._found: dict[int, dict[str, str]] = {}

    def begin(self) -> None:
        """Ask; it may be answered at once, when there is no desk."""
        self._next(0)

    def _next(self, number: int) -> None:
        if number == len(self._configs):
            self._then(self._found, "")
            return

        def answered(answer: dict[str, Any]) -> None:
            if answer.get("problems"):
                self._found[number] = dict(answer["problems"])
            self._next(number + 1)

        def failed(why: str) -> None:
            if why == SUPERSEDED:
                QTimer.singleShot(_AGAIN_MS, lambda: self._next(number))
            else:
                self._then(self._found, why)

        self._desk.ask("check", answered, failed, config=plain(self._configs[number]))


def plain(values: Values) -> Values:
    """Return values as JSON has them; dates, which TOML knows, become texts."""
    found: Values = json.loads(json.dumps(values, default=str))
    return found
