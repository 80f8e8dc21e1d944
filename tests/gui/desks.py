"""A desk without a process: the real answers, given at once, or kept back until a test lets them go."""

from collections.abc import Callable
from typing import Any

from labpgt.errors import LabpgtError
from procedures.desk import forms

ESTIMATE = {
    "training_shots": 480,
    "calibration_shots": 64,
    "baseline_shots": 120,
    "evaluation_shots": 300,
    "total_shots": 964,
    "steps": 60,
    "parameters": 339,
    "seconds": 1.9,
    "per_shot_s": 2e-3,
    "how": "two timed passes of 8 shots",
}


class DeskInPlace:
    """Stands in for `gui.desk.Desk.ask`; `asked` has every question."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.refuse = ""
        """Why nothing is answered, if nothing is."""

    def __call__(
        self, do: str, then: Callable[[Any], None], failed: Callable[[str], None] = lambda why: None, **given: Any
    ) -> None:
        self.asked.append(do)
        if self.refuse:
            failed(self.refuse)
            return
        try:
            value = self._answer(do, given)
        except LabpgtError as error:
            failed(str(error))
        else:
            then(value)

    def _answer(self, do: str, given: dict[str, Any]) -> Any:
        match do:
            case "estimate":
                return ESTIMATE
            case "check":
                return forms.check(given["config"], None)
        return getattr(forms, do)(**given)
