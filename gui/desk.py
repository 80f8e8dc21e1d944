"""The window's side of the desk: the process that knows devices and checks and estimates configurations."""

import json
from collections.abc import Callable
from typing import Any

from PyQt6.QtCore import QObject, QTimer, pyqtSignal

from gui.json_process import JsonProcess

_AGAIN_MS = 1000
"""Before a desk that died is started again."""


class Desk(QObject):
    """Asks `procedures.desk`, and calls back in the window's own thread."""

    state_changed = pyqtSignal(str)
    """What it is doing: "loading torch", "ready" and so on."""

    def __init__(self) -> None:
        super().__init__()
        self.state = "not started"
        self._waiting: dict[int, tuple[Callable[[Any], None], Callable[[str], None]]] = {}
        self._count = 0
        self._process = JsonProcess("procedures.desk")
        self._process.said.connect(self._hear)
        self._process.gone.connect(self._gone)
        self._again = QTimer(self)
        self._again.setSingleShot(True)
        self._again.setInterval(_AGAIN_MS)
        self._again.timeout.connect(self.begin)

    def begin(self) -> None:
        """Start the process."""
        self._become("starting")
        self._process.start()

    def ask(
        self, do: str, then: Callable[[Any], None], failed: Callable[[str], None] = lambda why: None, **given: Any
    ) -> None:
        """Ask the desk; `then` gets the value, or `failed` the reason why there is none."""
        if not self._process.going:
            failed("the desk is not running")
            return
        self._count += 1
        self._waiting[self._count] = then, failed
        self._process.write(json.dumps({"id": self._count, "do": do, **given}))

    def close(self) -> None:
        """Let it leave."""
        self._again.stop()
        self._process.close()

    def _hear(self, said: dict[str, Any]) -> None:
        match said:
            case {"id": int(number), "ok": True, "value": value} if number in self._waiting:
                self._waiting.pop(number)[0](value)
            case {"id": int(number), "error": str(why)} if number in self._waiting:
                self._waiting.pop(number)[1](why)
            case {"state": str(state)}:
                self._become(state)

    def _gone(self, why: str) -> None:
        waiting, self._waiting = self._waiting, {}
        for _, failed in waiting.values():
            failed(f"the desk has stopped: {why}")
        self._become(f"stopped ({why}); starting it again")
        self._again.start()

    def _become(self, state: str) -> None:
        self.state = state
        self.state_changed.emit(state)
