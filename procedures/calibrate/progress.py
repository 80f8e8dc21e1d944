"""How far a calibration is."""

from typing import Any

from rich.console import Console

from labpgt.events import Measured, Purpose, RunContinued, RunPaused, RunWarning, ShotsTaken
from procedures.calibrate.run import RUN, STEPS, StepBegins, Suggested
from procedures.characterize.progress import CharacterizeProgress
from procedures.console import continued_line, measured_lines, paused_line

_DOING = {
    "gain": "threshold and memory of the ring",
    "ring": "noise, repeatability and compression",
    RUN: "scale, noise and size of the perturbation, as a run measures them",
}


class CalibrateProgress(CharacterizeProgress):
    """Shows each step of a calibration and what it finds."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._shots = 0

    def __call__(self, event: Any) -> None:
        """Show one event."""
        match event:
            case StepBegins():
                self._say(f"step {event.number} of {len(STEPS)}: {_DOING[event.name]}; session file: {event.file}")
                self._show(description=event.name, completed=0, figures="")
            case Suggested():
                was = "" if event.before is None else f" (was {event.before})"
                self._say(f"set {event.key} = {event.value:g}{was}")
            case ShotsTaken():
                self._shots += len(event.rows)
                self._show(description=Purpose.CALIBRATION.name.lower(), figures=f"{self._shots} shots")
            case Measured():
                for line in measured_lines(event.values):
                    if not line.startswith("baseline"):
                        self._say(line)
            case RunWarning():
                self._warn(event.message)
            case RunPaused():
                self._warn(paused_line(event))
            case RunContinued():
                self._say(continued_line(event))
            case _:
                super().__call__(event)
