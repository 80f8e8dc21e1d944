"""The window's side of the desk: the process that knows devices and checks and estimates configurations."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PyQt6.QtCore import QObject, QTimer, pyqtSignal

from gui.json_process import JsonProcess

_AGAIN_MS = 1000
"""Before a desk that died is started again."""
_LOOK_MS = 1000
"""Between two looks whether it still answers."""
_PATIENCE = 30
"""Looks after which a desk that is ready and has not answered hangs; it is started anew."""
_LONG_PATIENCE = 300
"""The same for estimates, for which a simulator is tried, and compiled before."""
_READY, _FAILED = "ready", "failed"


@dataclass
class _Waiting:
    """A question that is not answered yet."""

    do: str
    then: Callable[[Any], None]
    failed: Callable[[str], None]
    looks: int = 0
    """So many times it was looked for the answer since the desk is ready."""


class Desk(QObject):
    """Asks `procedures.desk`, and calls back in the window's own thread."""

    state_changed = pyqtSignal(str)
    """What it is doing: "loading torch", "ready" and so on."""

    def __init__(self) -> None:
        super().__init__()
        self.state = "not started"
        self._waiting: dict[int, _Waiting] = {}
        self._count = 0
        self._process = JsonProcess("procedures.desk")
        self._process.said.connect(self._hear)
        self._process.gone.connect(self._gone)
        self._again = QTimer(self)
        self._again.setSingleShot(True)
        self._again.setInterval(_AGAIN_MS)
        self._again.timeout.connect(self.begin)
        self._looks = QTimer(self)
        self._looks.setInterval(_LOOK_MS)
        self._looks.timeout.connect(self._look)

    def begin(self) -> None:
        """Start the process."""
        self._become("starting")
        self._process.start()
        self._looks.start()

    def ask(
        self, do: str, then: Callable[[Any], None], failed: Callable[[str], None] = lambda why: None, **given: Any
    ) -> None:
        """Ask the desk; `then` gets the value, or `failed` the reason why there is none; one of them is called."""
        if not self._process.going:
            failed("the desk is not running")
            return
        self._count += 1
        self._waiting[self._count] = _Waiting(do, then, failed)
        self._process.write(json.dumps({"id": self._count, "do": do, **given}))

    def close(self) -> None:
        """Let it leave."""
        self._again.stop()
        self._looks.stop()
        self._process.close()

    def _hear(self, said: dict[str, Any]) -> None:
        match said:
            case {"id": int(number), "ok": True, "value": value} if number in self._waiting:
                self._waiting.pop(number).then(value)
            case {"id": int(number), "error": str(why)} if number in self._waiting:
                self._waiting.pop(number).failed(why)
            case {"state": str(state)}:
                self._become(state)

    def _look(self) -> None:
        """Start anew a desk that hangs. Looks are counted, not time: while this process stood still, it heard none."""
        if self.state not in (_READY, _FAILED):
            return
        for asked in self._waiting.values():
            asked.looks += 1
            if asked.looks > (_LONG_PATIENCE if asked.do == "estimate" else _PATIENCE):
                self._process.close(patience_ms=0)
                self._gone(f"no answer to {asked.do!r} within {asked.looks - 1} s")
                return

    def _gone(self, why: str) -> None:
        waiting, self._waiting = self._waiting, {}
        for asked in waiting.values():
            asked.failed(f"the desk has stopped: {why}")
        self._become(f"stopped ({why}); starting it again")
        self._again.start()

    def _become(self, state: str) -> None:
        self.state = state
        self.state_changed.emit(state)
