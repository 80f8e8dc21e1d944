"""Questions that nobody has to wait for: an instrument that hangs must not hold up the others, nor whoever asks."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Asked(Generic[T]):
    """One question, asked again and again, each time in a thread of its own; never twice at the same time."""

    def __init__(self, name: str, question: Callable[[], T]) -> None:
        self._name, self._question = name, question
        self._thread: threading.Thread | None = None
        self._answer: T | None = None

    @property
    def busy(self) -> bool:
        """Whether the last one is still being waited for."""
        return self._thread is not None and self._thread.is_alive()

    def ask(self) -> None:
        """Begin, unless the last one is still being waited for."""
        if not self.busy:
            self._answer = None
            # A daemon: the program may end while an instrument does not answer.
            self._thread = threading.Thread(target=self._run, name=f"asking-{self._name}", daemon=True)
            self._thread.start()

    def answer(self, deadline: float) -> T | None:
        """Return what came of it by `deadline` (of `time.monotonic`), or `None`."""
        if self._thread is not None:
            self._thread.join(max(0.0, deadline - time.monotonic()))
        return self._answer

    def _run(self) -> None:
        self._answer = self._question()
