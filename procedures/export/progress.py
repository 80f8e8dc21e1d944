"""How far an export is: a live line where there is a terminal, plain lines elsewhere."""

import time

from rich.console import Console

from procedures.display import PLAIN_INTERVAL_S, Display, time_left


class ExportProgress(Display):
    """Counts bytes of rows up to `total`; `name` is the file in hand."""

    def __init__(self, console: Console, total: int) -> None:
        super().__init__(console)
        self.name = ""
        self._total = max(1, total)
        self._done = 0
        self._began = self._last_line = time.monotonic()
        self._begin("")

    def advance(self, nbytes: int) -> None:
        """Count rows that were written."""
        self._done += nbytes
        now = time.monotonic()
        figures = f"{self._done / self._total:.0%}"
        if self._done:
            figures += f", {time_left((now - self._began) * (self._total / self._done - 1))}"
        self._show(description=self.name, total=self._total, completed=self._done, figures=figures)
        if not self._live and now - self._last_line > PLAIN_INTERVAL_S:
            self._last_line = now
            self._say(f"{self.name}: {figures}")
