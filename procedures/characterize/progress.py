"""How far a characterisation is: a live line where there is a terminal, a line a measure elsewhere."""

import time
from typing import Any

from rich.console import Console

from labpgt.characterisation.outcome import OUTCOMES, VALUES
from procedures.characterize.report import formatted
from procedures.characterize.run import Done, Planned, Taken
from procedures.display import Display, time_left


class CharacterizeProgress(Display):
    """Counts the symbols that the device has answered, and shows each measure when it is done."""

    def __init__(self, console: Console, heading: str) -> None:
        super().__init__(console)
        self._heading = heading
        self._planned: dict[str, int] = {}
        self._done: dict[str, int] = {}
        self._began = time.monotonic()
        self._taken = 0
        self._before = 0
        self._begin("opening")

    def _restart(self) -> None:
        """Forget what was done: other measures follow."""
        self._planned, self._done = {}, {}
        self._taken = self._before = 0

    def __call__(self, event: Any) -> None:
        """Show one event."""
        match event:
            case Planned():
                self._planned = event.symbols
                self._began = time.monotonic()
                if self._heading:
                    self._say(self._heading)
                self._draw()
            case Taken():
                self._taken += event.symbols
                self._draw()
            case Done():
                self._done[event.measure] = self._planned.get(event.measure, 0)
                self._before = self._taken
                self._say(f"{event.measure}: {_found(event)}")
                self._draw()

    def _draw(self) -> None:
        total = sum(self._planned.values())
        now = next((name for name in self._planned if name not in self._done), "")
        # A plan is an estimate: what a measure really took counts for no more and no less than its share.
        done = sum(self._done.values()) + min(self._taken - self._before, self._planned.get(now, 0))
        figures = f"{done / total:.0%}" if total else ""
        spent = time.monotonic() - self._began
        if done and spent > 1:
            figures += f", {time_left(spent * (total - done) / done)}"
        self._show(description=now, total=max(1, total), completed=done, figures=figures)


def _found(event: Done) -> str:
    """Word the first number of a measure, or why there is none."""
    values, missing = event.outcome.values, event.outcome.missing
    for name in OUTCOMES[event.measure][0]:
        if name in values:
            return f"{name} {formatted(values[name], VALUES[name].unit)}"
        if name in missing:
            return f"not measured: {missing[name]}"
    return "nothing found"
