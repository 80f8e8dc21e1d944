"""What every display of progress does: a live line where there is a terminal, plain lines elsewhere.

With `LABPGT_PROGRESS=json` in the environment it writes JSON lines instead, for a program that shows them.
"""

import time
from datetime import timedelta
from types import TracebackType
from typing import IO, Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from procedures.text import for_programs, json_line, printable

PLAIN_INTERVAL_S = 10.0
"""Between progress lines where the output is not a terminal."""
JSON_INTERVAL_S = 1.0
"""Between progress lines for a program, which may be kept for weeks; of one that says what is done now, see below."""
_NEWS_INTERVAL_S = 0.1
_LONGEST_S = 1e9


class Display:
    """A context manager with one line that is drawn anew (`_show`) and lines that stay (`_say`).

    Of the live line nothing is left in the end, and nothing of it is printed where there is no terminal. For a program
    (`for_programs`) there are lines `{"progress": {"description", "figures", "completed", "total"}}`, one every
    `JSON_INTERVAL_S` at most besides a new description and what waits before another line, `{"say": text}` and
    `{"warn": text}`.
    """

    def __init__(self, console: Console, bar_width: int = 12) -> None:
        self.console = console
        self._lines = _JsonLines(console.file) if for_programs() else None
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=bar_width),
            TextColumn("{task.fields[figures]}"),
            console=console,
            transient=True,
            # Nobody else prints meanwhile, and the process's streams are not this display's to replace.
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if self._draws:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    @property
    def _draws(self) -> bool:
        """Whether there is a line on a terminal to draw."""
        return self.console.is_terminal and self._lines is None

    @property
    def _live(self) -> bool:
        """Whether what is shown is seen; elsewhere, lines at intervals take its place."""
        return self.console.is_terminal or self._lines is not None

    def _begin(self, description: str) -> None:
        """Show the live line, which from now on has something to tell, but no total yet."""
        if self._task is None:
            self._task = self._progress.add_task(escape(description), total=None, figures="")
            if self._lines is not None:
                self._lines.show(description=description)

    def _show(self, **fields: Any) -> None:
        """Change the live line: `description`, `figures`, `completed`, `total`."""
        if self._task is None:
            return
        if self._lines is not None:
            self._lines.show(**fields)
        elif self.console.is_terminal:
            shown = {name: escape(value) if isinstance(value, str) else value for name, value in fields.items()}
            self._progress.update(self._task, **shown)

    def _say(self, text: str) -> None:
        if self._lines is not None:
            self._lines.write(say=printable(text))
        else:
            self.console.print(printable(text), highlight=False, markup=False, soft_wrap=True)

    def _warn(self, text: str) -> None:
        if self._lines is not None:
            self._lines.write(warn=printable(text))
        else:
            line = f"[yellow]warning:[/yellow] {escape(printable(text))}"
            self.console.print(line, highlight=False, soft_wrap=True)

    def _stop(self) -> None:
        if self._lines is not None:
            self._lines.flush()
        # Elsewhere it was not started, and would print an empty line.
        elif self.console.is_terminal:
            self._progress.stop()


class _JsonLines:
    """What a program reads of a display."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._progress: dict[str, Any] = {"description": "", "figures": "", "completed": None, "total": None}
        self._waits = False
        """Whether the progress has changed since it was written."""
        self._written = -JSON_INTERVAL_S
        self._described = ""

    def show(self, **fields: Any) -> None:
        """Change the progress, and write it if that is due."""
        if fields.items() <= self._progress.items():
            return
        self._progress |= fields
        self._waits = True
        news = self._progress["description"] != self._described
        if time.monotonic() - self._written >= (_NEWS_INTERVAL_S if news else JSON_INTERVAL_S):
            self.flush()

    def flush(self) -> None:
        """Write the progress that waits."""
        if self._waits:
            self._waits, self._written = False, time.monotonic()
            self._described = self._progress["description"]
            self._put(progress=self._progress)

    def write(self, **line: str) -> None:
        """Write a line that stays, after the progress that came before it."""
        self.flush()
        self._put(**line)

    def _put(self, **line: Any) -> None:
        # In one piece, for other threads write there too.
        self._file.write(json_line(**line))
        self._file.flush()


def time_left(seconds: float) -> str:
    """Word the time left, such as "2:05 left"."""
    return f"{str(timedelta(seconds=round(min(max(0.0, seconds), _LONGEST_S)))).removeprefix('0:')} left"
