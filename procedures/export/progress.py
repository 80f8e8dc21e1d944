"""How far an export is: a live line where there is a terminal, plain lines elsewhere."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from procedures.console import PLAIN_INTERVAL_S


class ExportProgress:
    """Counts bytes of rows up to `total`; `name` is the file in hand."""

    def __init__(self, console: Console, total: int) -> None:
        self.name = ""
        self._console = console
        self._total = total
        self._done = 0
        self._began = self._last_line = time.monotonic()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=12),
            TaskProgressColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._progress.add_task("", total=max(1, total))

    def advance(self, nbytes: int) -> None:
        """Count rows that were written."""
        self._done += nbytes
        if self._console.is_terminal:
            self._progress.update(self._task, description=escape(self.name), completed=self._done)
            return
        now = time.monotonic()
        if now - self._last_line > PLAIN_INTERVAL_S:
            self._last_line = now
            left = (now - self._began) * (self._total / self._done - 1)
            self._console.print(
                f"{self.name}: {self._done / self._total:.0%}, about {left:.0f} s left",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._progress.stop()
