"""What every display of progress does: a live line where there is a terminal, plain lines elsewhere."""

from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from procedures.text import printable

PLAIN_INTERVAL_S = 10.0
"""Between progress lines where the output is not a terminal."""
_LONGEST_S = 1e9


class Display:
    """A context manager with one line that is drawn anew (`_show`) and lines that stay (`_say`).

    Of the live line nothing is left in the end, and nothing of it is printed where there is no terminal.
    """

    def __init__(self, console: Console, bar_width: int = 12) -> None:
        self.console = console
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
        if self.console.is_terminal:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _begin(self, description: str) -> None:
        """Show the live line, which from now on has something to tell, but no total yet."""
        if self._task is None:
            self._task = self._progress.add_task(escape(description), total=None, figures="")

    def _show(self, **fields: Any) -> None:
        """Change the live line: `description`, `figures`, `completed`, `total`."""
        if self._task is not None and self.console.is_terminal:
            shown = {name: escape(value) if isinstance(value, str) else value for name, value in fields.items()}
            self._progress.update(self._task, **shown)

    def _say(self, text: str) -> None:
        self.console.print(printable(text), highlight=False, markup=False, soft_wrap=True)

    def _warn(self, text: str) -> None:
        line = f"[yellow]warning:[/yellow] {escape(printable(text))}"
        self.console.print(line, highlight=False, soft_wrap=True)

    def _stop(self) -> None:
        # Elsewhere it was not started, and would print an empty line.
        if self.console.is_terminal:
            self._progress.stop()


def time_left(seconds: float) -> str:
    """Word the time left, such as "2:05 left"."""
    return f"{str(timedelta(seconds=round(min(max(0.0, seconds), _LONGEST_S)))).removeprefix('0:')} left"
