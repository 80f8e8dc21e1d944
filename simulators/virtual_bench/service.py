"""How long the instruments of a bench were at work."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Busy:
    """Counts the time in which at least one instrument was servicing a command."""

    def __init__(self) -> None:
        self._working = 0
        self._since = 0.0
        self._total = 0.0

    @property
    def total_s(self) -> float:
        """Seconds so far."""
        return self._total + (time.perf_counter() - self._since if self._working else 0.0)

    def enter(self) -> None:
        """Begin to work."""
        if not self._working:
            self._since = time.perf_counter()
        self._working += 1

    def leave(self) -> None:
        """Stop working."""
        self._working -= 1
        if not self._working:
            self._total += time.perf_counter() - self._since

    @contextmanager
    def working(self) -> Iterator[None]:
        """Work for the length of the block."""
        self.enter()
        try:
            yield
        finally:
            self.leave()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Wait for somebody else, in the middle of work."""
        self.leave()
        try:
            yield
        finally:
            self.enter()
