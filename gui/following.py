"""Follows a session in a thread of its own, and hands on what is new in the window's thread."""

import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from PyQt6.QtCore import QObject, QTimer, pyqtSignal

from labpgt.errors import LabpgtError
from labpgt.follow_rows import follow_rows
from labpgt.insight import difference_noise
from labpgt.session import Session

LOOK_S = 0.025
"""Between two looks at the file."""
DRAIN_MS = 33
_DRAINING_S = 0.010
"""Most time given to what has come before it is drawn."""
_WAITING = 8
"""News that may wait; the thread does not read on before there is room."""
_NAP_S = 0.1


class Follower(QObject):
    """Follows the session at `path` until it is closed. Its signals come in the thread it was made in."""

    news = pyqtSignal(object)
    """A `labpgt.follow_rows.News`."""
    drained = pyqtSignal()
    """There was news, and it has all been handed on for now: time to draw."""
    said = pyqtSignal(str)
    """What a person should know: the file is waited for, the run was resumed."""
    lost = pyqtSignal(str)
    """The file is not there (any more), in words; it is waited for."""
    failed = pyqtSignal(str)
    """Why the session cannot be followed (any more)."""
    noise_known = pyqtSignal(float)
    """What noise alone gives L+ - L- of a pair; NaN when the session does not tell."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._queue: queue.Queue[Callable[[], None]] = queue.Queue(_WAITING)
        self._stop = threading.Event()
        self._timer = QTimer(self)
        self._timer.setInterval(DRAIN_MS)
        self._timer.timeout.connect(self._drain)
        self._thread = threading.Thread(target=self._follow, name=f"following {path.name}", daemon=True)

    def begin(self) -> None:
        """Start to follow."""
        self._timer.start()
        self._thread.start()

    def close(self) -> None:
        """End it; the thread leaves by itself, nothing is handed on any more."""
        self._stop.set()
        self._timer.stop()

    def _drain(self) -> None:
        began = time.monotonic()
        any_news = False
        while time.monotonic() - began < _DRAINING_S and not self._stop.is_set():
            try:
                hand_on = self._queue.get_nowait()
            except queue.Empty:
                break
            hand_on()
            any_news = True
        if any_news:
            self.drained.emit()

    def _follow(self) -> None:
        try:
            noise_told = False
            for found in follow_rows(self.path, interval_s=LOOK_S, stop=self._stop.is_set, tell=self._tell):
                self._put(lambda found=found: self.news.emit(found))  # type: ignore[misc]
                if found.n_steps and not noise_told:
                    noise_told = True
                    self._look_for_noise()
        except LabpgtError as error:
            self._put(lambda why=str(error): self.failed.emit(why))  # type: ignore[misc]

    def _tell(self, text: str) -> None:
        signal = self.said if self.path.exists() else self.lost
        self._put(lambda: signal.emit(text))

    def _look_for_noise(self) -> None:
        noise = None
        with suppress(LabpgtError), Session(self.path) as session:  # without it, the run can be followed all the same
            noise = difference_noise(session)
        self._put(lambda: self.noise_known.emit(float("nan") if noise is None else noise))

    def _put(self, hand_on: Callable[[], None]) -> None:
        while not self._stop.is_set():
            try:
                self._queue.put(hand_on, timeout=_NAP_S)
            except queue.Full:
                continue
            return
