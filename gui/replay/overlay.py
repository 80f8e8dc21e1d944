"""Learning curves of the ticked runs over each other, with their baselines."""

from collections.abc import Sequence

import numpy as np
from PyQt6.QtWidgets import QComboBox, QLabel, QVBoxLayout, QWidget

from gui.flow import Flow
from gui.lab import Lab
from gui.plots import Plot, Shape
from gui.replay.curves import POINTS, Curve, Run
from gui.replay.naming import baseline_names, short_names

MOST = 8
"""Runs that are drawn: as many as there are colours."""
_QUANTITIES = {"loss": "Loss", "accuracy": "Accuracy"}
_AXES = {"shots": "training shots", "epochs": "epochs", "time": "time"}
_UNITS = ((2 * 86400, 3600, "h"), (2 * 3600, 60, "min"), (0, 1, "s"))
_LINES = (Shape.LINE, Shape.DASHES, Shape.DOTS)
_MARKS = (Shape.CIRCLES, Shape.TRIANGLES, Shape.SQUARES)
_NOTHING = "Tick runs in the table to lay their learning curves over each other"


class OverlayTab(QWidget):
    """Loss or accuracy of several runs."""

    def __init__(self, lab: Lab) -> None:
        super().__init__()
        self._lab = lab
        self._runs: list[Run] = []
        self.quantity = QComboBox(objectName="replay.quantity")
        self.quantity.setAccessibleName("Quantity")
        self.quantity.setToolTip("What is drawn")
        for key, text in _QUANTITIES.items():
            self.quantity.addItem(text, key)
        self.axis = QComboBox(objectName="replay.axis")
        self.axis.setAccessibleName("Against")
        self.axis.setToolTip("What it is drawn against")
        for key, text in _AXES.items():
            self.axis.addItem(text, key)
        self.quantity.currentIndexChanged.connect(self._chose_quantity)
        self.axis.currentIndexChanged.connect(self._chose_axis)
        self.note = QLabel(objectName="replay.overlay.note")
        self.note.setAccessibleName("What the curves are")
        self.plot = Plot(lab, "Learning curves", "training shots", "loss")
        self.plot.legend_lines = 0
        row = Flow()
        row.add(self.quantity)
        row.add(QLabel("against"))
        row.add(self.axis)
        row.add(self.note)
        column = QVBoxLayout(self)
        column.addWidget(row)
        column.addWidget(self.plot, 1)
        self._chose_quantity()

    def show_runs(self, runs: Sequence[Run]) -> None:
        """Draw these runs. The view stays where a person has put it while the same runs go on."""
        others = [run.path for run in runs] != [run.path for run in self._runs]
        self._runs = list(runs)
        self._draw()
        if others:
            self.plot.fit()

    def _chose_quantity(self) -> None:
        # Losses fall by orders of magnitude; accuracies do not.
        self.plot.set_log(self.quantity.currentData() == "loss")
        self._chose_axis()

    def _chose_axis(self) -> None:
        self._draw()
        self.plot.fit()

    def _draw(self) -> None:
        plot, quantity, axis = self.plot, self.quantity.currentData(), self.axis.currentData()
        for drawn in (*plot.curves, *plot.lines):
            plot.remove(drawn)
        shown = self._runs[:MOST]
        scale, unit = _time_unit(shown) if axis == "time" else (1.0, "")
        plot.label_axes(f"time / {unit}" if unit else _AXES[axis], quantity)
        plot.x_unit = unit or axis
        for number, (run, name) in enumerate(zip(shown, short_names(shown), strict=True)):
            self._draw_run(run, name, number, scale)
        self._draw_baselines(shown)
        plot.say("" if any(len(curve.x) for curve in plot.curves) else self._nothing())
        self.note.setText(self._note())

    def _draw_run(self, run: Run, name: str, number: int, scale: float) -> None:
        def add(label: str, curve: Curve, shape: Shape) -> None:
            if len(curve.values):
                drawn = self.plot.curve(label, number, shape, width=1.5)
                drawn.set(_along(curve, self.axis.currentData()) / scale, curve.values)

        line, mark = _LINES[number % len(_LINES)], _MARKS[number % len(_MARKS)]
        if self.quantity.currentData() == "loss":
            add(name, run.updates, line)
            add(f"{name}, test", run.epochs["test_loss"], mark)
        else:
            add(f"{name}, training", run.epochs["train_accuracy"], line)
            add(f"{name}, test", run.epochs["test_accuracy"], mark)

    def _draw_baselines(self, runs: Sequence[Run]) -> None:
        """Draw what the readout alone reaches; runs that share it share the line."""
        key = "readout_only_loss" if self.quantity.currentData() == "loss" else "readout_only_test_accuracy"
        own: list[Run] = []
        for run in runs:
            value = run.results.get(key)
            if value is not None and not any(np.isclose(value, other.results[key], rtol=1e-6) for other in own):
                own.append(run)
        several = len(self._runs) > 1
        named = sorted((run.results[key], name) for run, name in zip(own, baseline_names(own), strict=True))
        for number, (value, name) in enumerate(named):
            # The names of lines that lie close together do not.
            line = self.plot.line(
                f"readout alone ({name})" if several else "readout alone", value, position=0.82 - 0.3 * (number % 3)
            )
            above = 2 * number + 1 > len(named)
            line.item.label.anchors = [(0.5, 1.0 if above else 0.0)] * 2

    def _nothing(self) -> str:
        if not self._runs:
            return _NOTHING
        return f"No {self.quantity.currentText().lower()} was measured in these runs"

    def _note(self) -> str:
        if not self._runs:
            return ""
        line = (
            f"updates, of long runs means in {POINTS} points"
            if self.quantity.currentData() == "loss"
            else "training part"
        )
        text = f"lines: {line}; marks: test part after each epoch"
        left_out = len(self._runs) - MOST
        return f"{text}; the first {MOST} of {len(self._runs)} runs" if left_out > 0 else text


def _along(curve: Curve, axis: str) -> np.ndarray:
    return {"shots": curve.shots, "epochs": curve.epochs, "time": curve.seconds}[axis]


def _time_unit(runs: Sequence[Run]) -> tuple[float, str]:
    longest = max((float(run.updates.seconds.max()) for run in runs if len(run.updates.seconds)), default=0.0)
    return next((seconds, unit) for least, seconds, unit in _UNITS if longest >= least)
