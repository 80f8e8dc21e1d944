"""How much of a sweep is done: runs, and the shots of the one in hand."""

from typing import Any

from labpgt.events import RunStarted, StepDone
from procedures.sweep.run import RunBegins, RunEnds, SweepBegins


class Share:
    """Takes in what `procedures.sweep.run.sweep` tells."""

    def __init__(self) -> None:
        self.planned = 0
        self.done = 0
        """Runs done, those found done among them."""
        self.here = 0
        """Runs done since the start."""
        self._shots = (0, 0)
        """Of the run in hand: taken, planned."""

    def __call__(self, event: Any) -> None:
        """Take in one event."""
        match event:
            case SweepBegins():
                self.planned, self.done = event.planned, event.done
            case RunBegins():
                self._shots = (0, 0)
            case RunStarted():
                self._shots = (0, event.planned_shots)
            case StepDone():
                self._shots = (int(event.row["shots"]), self._shots[1])
            case RunEnds():
                self.done += 1
                self.here += 1
                self._shots = (0, 0)

    @property
    def part(self) -> float:
        """How much of the run in hand is done, as a share of 1."""
        taken, planned = self._shots
        return min(1.0, taken / planned) if planned else 0.0

    @property
    def share(self) -> float:
        """Done as a share of 1, taking all runs to last equally long."""
        return (self.done + self.part) / self.planned if self.planned else 0.0
