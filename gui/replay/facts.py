"""What is known of one shot, its pair and its update, in words under each other."""

from collections.abc import Mapping
from dataclasses import dataclass

from PyQt6.QtCore import Qt
from PyQt6.QtWidgets import QGridLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from gui.replay import words
from gui.replay.opened import Overview, ShotView
from labpgt.events import TEST_SAMPLE, Purpose
from labpgt.insight import ParameterPerturbation

_PURPOSES = {
    Purpose.TRAIN: "training",
    Purpose.CALIBRATION: "calibration",
    Purpose.BASELINE: "baseline of the readout alone",
    Purpose.EVALUATION: "evaluation",
}
_SHOT = {
    "Taken for": "What the shot was taken for, and when in the training",
    "Sample": "Number of the sample in its part of the data",
    "Time": "When it was taken, and its share of the device call",
    "Flags": "What the shot suffered from",
    "Loss": "Loss of this shot",
}
_PAIR = {
    "Half": "Which half of a ± pair this shot is",
    "L+ and L−": "Losses of the two halves",
    "L+ − L−": "What the pair tells of the gradient, and how far it stands out of its noise",
    "Delta": "Size of the perturbation",
    "Seed": "Seed that the perturbation is drawn from",
    "Parameters": "Perturbation of the parameters (pgt): how many went up, stayed, went down, were dropped",
    "First ones": "Perturbation of the first parameters, in units of delta",
}
_UPDATE = {
    "Update": "Number of the update that the shot was taken for",
    "Mean loss": "Mean over the update's shots",
    "|L+ − L−|": "Root mean square over the update's pairs",
    "Gradient": "Norm of the gradient",
    "Rate": "Learning rate",
    "Cosine": "Of the twin's gradient with the measured one",
}
_NONE = "–"


@dataclass(frozen=True)
class Facts:
    """The values of each section, by label; what is missing is not known or does not apply."""

    shot: Mapping[str, str]
    pair: Mapping[str, str]
    update: Mapping[str, str]


def facts_of(view: ShotView, overview: Overview) -> Facts:
    """Put one shot into words."""
    return Facts(_shot(view), _pair(view, overview), _update(view))


def _shot(view: ShotView) -> dict[str, str]:
    row = view.row
    purpose = int(row["purpose"])
    taken_for = _PURPOSES.get(purpose, f"unknown purpose {purpose}")  # type: ignore[call-overload]
    if row["epoch"] >= 0:
        taken_for += f", epoch {int(row['epoch']) + 1}"
    return {
        "Taken for": taken_for,
        "Sample": _sample(int(row["sample"])),
        "Time": f"{words.moment(float(row['time']))}\n{float(row['duration']) * 1e3:.3g} ms on the device",
        "Flags": words.flags(int(row["flags"])),
        "Loss": words.number(float(row["loss"]), 6),
    }


def _sample(number: int) -> str:
    if number < 0:
        return "none: random drive"
    return f"{number - TEST_SAMPLE} of the test part" if number >= TEST_SAMPLE else str(number)


def _pair(view: ShotView, overview: Overview) -> dict[str, str]:
    row, other = view.row, view.other
    sign = int(row["sign"])
    if sign == 0:
        return {"Half": "none: an unperturbed shot"}
    told = {
        "Half": f"{'+' if sign > 0 else '−'}; the other one is not on record",
        "Delta": words.number(float(row["delta"])),
        "Seed": str(int(row["seed"])),
    }
    if other is not None:
        plus, minus = (row, other) if sign > 0 else (other, row)
        difference = float(plus["loss"] - minus["loss"])
        told["Half"] = f"{'+' if sign > 0 else '−'}; the other is shot {int(other['index']):,}"
        told["L+ and L−"] = f"{words.number(float(plus['loss']), 6)} and {words.number(float(minus['loss']), 6)}"
        told["L+ − L−"] = words.number(difference)
        if overview.noise:
            told["L+ − L−"] += (
                f"\n{abs(difference) / overview.noise:.2g} × its noise of {words.number(overview.noise, 2)}"
            )
    if view.perturbation is not None and view.perturbation.parameters is not None:
        told |= _parameters(view.perturbation.parameters)
    return told


def _parameters(pm: ParameterPerturbation) -> dict[str, str]:
    counts = f"{pm.plus:,} up, {pm.zero:,} not, {pm.minus:,} down"
    left_out = f"\n{pm.left_out:,} of {pm.parameters:,} dropped" if pm.left_out else f"\nof {pm.parameters:,}"
    first = " ".join("0" if value == 0 else f"{value:+d}".replace("-", "−") for value in pm.first)
    if all(abs(value) <= 1 for value in pm.first):
        first = first.replace("+1", "+").replace("−1", "−")
    return {"Parameters": counts + left_out, "First ones": f"{first} …"}


def _update(view: ShotView) -> dict[str, str]:
    update = view.update
    if update is None:
        belongs = view.row["purpose"] == Purpose.TRAIN
        return {
            "Update": f"{int(view.row['step']):,}: not made, or not yet" if belongs else "none: not a training shot"
        }
    cosine = float(update["cosine"])
    return {
        "Update": f"{int(update['step']):,}",
        "Mean loss": words.number(float(update["loss"]), 6),
        "|L+ − L−|": words.number(float(update["difference"])),
        "Gradient": words.number(float(update["gradient_norm"])),
        "Rate": words.number(float(update["learning_rate"])),
        "Cosine": _NONE if cosine != cosine else f"{cosine:.3f}",
    }


class FactsPanel(QWidget):
    """Shows `Facts`; every line keeps its place, so that the eye finds it again from shot to shot."""

    def __init__(self) -> None:
        super().__init__()
        self._values: dict[str, QLabel] = {}
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, self.fontMetrics().averageCharWidth(), 0)
        for title, labels in (("Shot", _SHOT), ("Pair", _PAIR), ("Update", _UPDATE)):
            column.addWidget(self._heading(title))
            column.addLayout(self._section(labels))
        column.addStretch(1)

    def tell(self, facts: Facts) -> None:
        """Show these."""
        told = {**facts.shot, **facts.pair, **facts.update}
        for label, value in self._values.items():
            value.setText(told.get(label, _NONE))

    def value(self, label: str) -> str:
        """Return what is shown under a label."""
        return self._values[label].text()

    def _heading(self, title: str) -> QLabel:
        heading = QLabel(title)
        font = heading.font()
        font.setBold(True)
        heading.setFont(font)
        return heading

    def _section(self, labels: Mapping[str, str]) -> QGridLayout:
        grid = QGridLayout()
        gap = self.fontMetrics().averageCharWidth()
        grid.setContentsMargins(gap, 0, 0, gap)
        grid.setHorizontalSpacing(2 * gap)
        grid.setVerticalSpacing(gap // 3)
        grid.setColumnStretch(1, 1)
        grid.setColumnMinimumWidth(0, self.fontMetrics().horizontalAdvance("Parameters"))
        two_lines = ("Time", "L+ − L−", "Parameters")
        for row, (label, tip) in enumerate(labels.items()):
            name, value = QLabel(label), QLabel(_NONE)
            name.setForegroundRole(name.palette().ColorRole.PlaceholderText)
            name.setToolTip(tip)
            name.setAlignment(Qt.AlignmentFlag.AlignTop)
            value.setObjectName(f"replay.fact:{label}")
            value.setAccessibleName(label)
            value.setToolTip(tip)
            value.setTextFormat(Qt.TextFormat.PlainText)
            value.setWordWrap(True)
            value.setAlignment(Qt.AlignmentFlag.AlignTop)
            value.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            value.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
            value.setMinimumHeight(value.fontMetrics().lineSpacing() * (2 if label in two_lines else 1))
            grid.addWidget(name, row, 0)
            grid.addWidget(value, row, 1)
            self._values[label] = value
        return grid
