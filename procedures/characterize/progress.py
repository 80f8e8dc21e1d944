"""How far a characterisation is: a live line where there is a terminal, a line a measure elsewhere."""

import time
from typing import Any

from rich.console import Console

from labpgt.characterisation.outcome import OUTCOMES, VALUES
from procedures.characterize.report import formatted
from procedures.characterize.run import Done, Planned
from procedures.characterize.share import Share
from procedures.display import Display, time_left


class CharacterizeProgress(Display):
    """Counts the symbols that the device has answered, and shows each measure when it is done."""

    def __init__(self, console: Console, heading: str = "") -> None:
        super().__init__(console)
        self._heading = heading
        self._share = Share()
        self._began = time.monotonic()
        self._begin("opening")

    def __call__(self, event: Any) -> None:
        """Show one event."""
        self._share(event)
        match event:
            case Planned():
                self._began = time.monotonic()
                if self._heading:
                    self._say(self._heading)
            case Done():
                self._say(f"{event.measure}: {_found(event)}")
        self._draw()

    def _draw(self) -> None:
        done, total = self._share.done, self._share.total
        figures = f"{done / total:.0%}" if total else ""
        spent = time.monotonic() - self._began
        if done and spent > 1:
            figures += f", {time_left(spent * (total - done) / done)}"
        self._show(description=self._share.measure, total=max(1, total), completed=done, figures=figures)


def _found(event: Done) -> str:
    """Word the first number of a measure, or why there is none."""
    values, missing = event.outcome.values, event.outcome.missing
    for name in OUTCOMES[event.measure][0]:
        if name in values:
            return f"{name} {formatted(values[name], VALUES[name].unit)}"
        if name in missing:
            return f"not measured: {missing[name]}"
    return "nothing found"
