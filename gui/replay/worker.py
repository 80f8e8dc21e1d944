"""A thread that reads files, so that the window never waits for a disk."""

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from PyQt6.QtCore import QCoreApplication, QObject, pyqtSignal

from labpgt.errors import LabpgtError

T = TypeVar("T")


class Worker(QObject):
    """Does one thing after the other in a thread of its own; of several requests of one name only the latest waits."""

    _answered = pyqtSignal(object, object)

    def __init__(self, name: str, at_end: Callable[[], object] = lambda: None) -> None:
        """`at_end` is called in the thread when it leaves."""
        super().__init__()
        self._waiting: dict[str, tuple[Callable[[], Any], Callable[[Any], None], Callable[[str], None]]] = {}
        self._wake = threading.Condition()
        self._closed = False
        self._at_end = at_end
        self._answered.connect(self._hand_over)
        application = QCoreApplication.instance()
        assert application is not None
        application.aboutToQuit.connect(self.close)
        # A daemon: a disk that does not answer keeps nobody from leaving.
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def ask(self, name: str, work: Callable[[], T], then: Callable[[T], None], failed: Callable[[str], None]) -> None:
        """Have `work` done in the thread; then `then` gets its value in the window's, or `failed` the error's text."""
        with self._wake:
            self._waiting.pop(name, None)
            self._waiting[name] = work, then, failed
            self._wake.notify()

    def close(self) -> None:
        """Let the thread leave after what it has in hand; nothing is answered any more."""
        with self._wake:
            self._closed = True
            self._waiting.clear()
            self._wake.notify()

    def _work(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    break
                work, then, failed = self._waiting.pop(next(iter(self._waiting)))
            try:
                answer = then, work()
            except LabpgtError as error:
                answer = failed, str(error)
            except Exception as error:  # a file may hold anything, and the thread has to go on
                answer = failed, f"{type(error).__name__}: {error}"
            with suppress(RuntimeError):  # the window is gone
                self._answered.emit(*answer)
        self._at_end()

    def _hand_over(self, callback: Callable[[Any], None], value: Any) -> None:
        if not self._closed:
            callback(value)
