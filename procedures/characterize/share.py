"""How much of a characterisation is done, by the symbols that the device has answered."""

from typing import Any

from procedures.characterize.run import Done, Planned, Taken


class Share:
    """Takes in what `procedures.characterize.run.characterize` tells."""

    def __init__(self) -> None:
        self._planned: dict[str, int] = {}
        self._done: dict[str, int] = {}
        self._taken = 0
        self._before = 0

    def __call__(self, event: Any) -> None:
        """Take in one event."""
        match event:
            case Planned():
                self._planned, self._done = event.symbols, {}
                self._taken = self._before = 0
            case Taken():
                self._taken += event.symbols
            case Done():
                self._done[event.measure] = self._planned.get(event.measure, 0)
                self._before = self._taken

    @property
    def measure(self) -> str:
        """The measure in hand; empty before the first and after the last."""
        return next((name for name in self._planned if name not in self._done), "")

    @property
    def total(self) -> int:
        """Symbols that are planned."""
        return sum(self._planned.values())

    @property
    def done(self) -> int:
        """Of the planned symbols, those that are done.

        A plan is an estimate: what a measure really took counts for no more and no less than its share.
        """
        return sum(self._done.values()) + min(self._taken - self._before, self._planned.get(self.measure, 0))

    @property
    def share(self) -> float:
        """Done as a share of 1."""
        return self.done / self.total if self.total else 0.0
