"""Watching a run without being able to slow it."""

import queue
import threading
from types import TracebackType
from typing import Self

from labpgt.events import Event, Subscriber


class Queued:
    """Hands events to a subscriber in a thread of its own, through a bounded queue; a full queue drops events.

    An exception of the subscriber ends the watching, never the run; it is kept in `error`.
    """

    def __init__(self, subscriber: Subscriber, size: int = 4096) -> None:
        self.dropped = 0
        self.error: Exception | None = None
        self._subscriber = subscriber
        self._queue: queue.Queue[Event | None] = queue.Queue(size)
        self._thread = threading.Thread(target=self._watch, name="labpgt-watcher", daemon=True)

    def __call__(self, event: Event) -> None:
        """Put an event into the queue, or count it as dropped."""
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            self.dropped += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the subscriber finish what is queued, but wait no longer than a second for it."""
        try:
            self._queue.put(None, timeout=1.0)
        except queue.Full:
            return
        self._thread.join(timeout=1.0)

    def _watch(self) -> None:
        while (event := self._queue.get()) is not None:
            if self.error is not None:
                continue
            try:
                self._subscriber(event)
            except Exception as error:
                self.error = error
