"""Pause and stop of the run that is watched, whoever has started it."""

from pathlib import Path

from PyQt6.QtCore import pyqtSignal
from PyQt6.QtWidgets import QHBoxLayout, QWidget

from gui.asking import ask_in_thread
from gui.lab import Lab
from gui.live.run import Run
from labpgt.control import Request
from labpgt.events import ASKED, Status


class HoldButtons(QWidget):
    """Two buttons; a run obeys after the device call in hand."""

    refused = pyqtSignal(str)
    """Why the run cannot be asked."""

    def __init__(self, lab: Lab, page: QWidget) -> None:
        """`page` is where the shortcuts work."""
        super().__init__()
        self._path: Path | None = None
        self._held = False
        add = lab.actions.add
        self.pause = add(
            page, "live.pause", "Pause", "Ctrl+Shift+P",
            "Pause the run that is watched, its device made safe; again to go on", self._pause,
        )  # fmt: skip
        self.stop = add(
            page, "live.stop", "Stop", "Ctrl+Shift+K", "Stop the run that is watched after the device call", self._stop
        )
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        for action in (self.pause, self.stop):
            row.addWidget(lab.actions.button(action, self))
        self.draw(Run(), None)

    def draw(self, run: Run, path: Path | None) -> None:
        """Let the buttons be on for what can be asked."""
        self._path = path
        self._held = run.paused.startswith(ASKED)
        self.pause.setText("Go on" if self._held else "Pause")
        for action in (self.pause, self.stop):
            action.setEnabled(path is not None and run.status is Status.RUNNING and not run.lost)

    def _pause(self) -> None:
        self._ask(Request.CONTINUE if self._held else Request.PAUSE)

    def _stop(self) -> None:
        self._ask(Request.STOP)

    def _ask(self, request: Request) -> None:
        if self._path is not None:
            ask_in_thread(self._path, request, self.refused.emit)
