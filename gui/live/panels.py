"""The plots of a run: each knows what of the run it shows, and draws it anew when there is news."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from PyQt6.QtCore import QRectF, Qt

from gui.lab import Lab
from gui.live.run import FLAGS, Against, Run
from gui.plots import ImagePlot, Line, Plot, Shape, ShotPlot
from gui.plots.words import number, quantity
from gui.series import Series

SPECTRA = 64
"""Shots whose spectra are averaged."""
_FLAG_COLOURS = (1, 3, 6, 2, 7)


@dataclass
class How:
    """How a run is drawn."""

    against: Against = Against.SHOTS
    smoothing: int | None = None
    """Steps that the mean curve is over; 0 for none, None for a hundredth of the run."""
    newest: bool = False
    """Only the newest tenth."""
    detail: Series | None = None
    """Steps of the part that is looked at closely, finer than the run's."""

    def steps(self, run: Run) -> Series:
        """Return the steps to draw."""
        return run.picture.steps if self.detail is None else self.detail

    def over(self, run: Run) -> int:
        """Return over how many steps the mean curve is."""
        return max(1, run.n_steps // 100) if self.smoothing is None else self.smoothing


class Panel(ABC):
    """One plot of the page."""

    key: str
    """Short, for the window's settings."""
    along_run = True
    """Whether its x axis is the run's."""

    def __init__(self, plot: Plot) -> None:
        self.plot = plot

    @abstractmethod
    def draw(self, run: Run, how: How) -> None:
        """Show the run as it is."""


class _StepCurve:
    """A value of the steps: its range in each bin, and its mean over some steps."""

    def __init__(self, plot: Plot, value: str, colour: int) -> None:
        self._plot, self._value = plot, value
        self._band = plot.curve("", colour, Shape.BAND)
        self._each = plot.curve("steps", colour)
        self._mean = plot.curve("mean", colour + 1, width=2.0)

    def draw(self, run: Run, how: How) -> bool:
        """Show it; return whether there was anything."""
        steps = how.steps(run).coarser(self._most(run, how))
        x = run.step_places(steps, how.against)
        mean = steps.mean(self._value)
        there = bool(np.isfinite(mean).any())
        over = how.over(run)
        of_these = round(over * steps.rows / run.n_steps) if run.sampled and run.n_steps else over
        smooth = of_these > steps.per
        self._each.name = "steps" if steps.per == 1 else f"{number(steps.per)} steps each"
        self._band.show(steps.per > 1)
        self._mean.show(smooth)
        if steps.per > 1:
            self._band.set(x, mean, steps.least(self._value), steps.greatest(self._value))
        self._each.set(x, mean)
        if smooth:
            self._mean.name = f"mean of {number(over)}"
            self._mean.set(x, steps.smoothed(self._value, of_these))
        return there

    def _most(self, run: Run, how: How) -> int:
        """Return how many bins are enough: two for each dot of the screen."""
        low, high = self._plot.x_range()
        span = run.newest(how.against)
        seen = min(1.0, (high - low) / span) if span > 0 and how.detail is None else 1.0
        width: int = self._plot.canvas.width()
        return round(2 * width / max(seen, 1e-3)) + 16


class _EpochCurves:
    """What was measured at the end of each epoch, on both parts of the data; drawn when there is another one."""

    def __init__(self, plot: Plot, train: str, test: str) -> None:
        self._plot = plot
        self._curves = {
            train: plot.curve("train", 2, Shape.CIRCLES),
            test: plot.curve("test", 3, Shape.TRIANGLES),
        }
        self._drawn: object = None
        self._there = False

    def draw(self, run: Run, how: How) -> bool:
        """Show them; return whether there was anything."""
        epochs = run.picture.epochs
        drawn = epochs, epochs.rows, how.against, run.time_unit(), self._plot.log_y
        if drawn == self._drawn:
            return self._there
        self._drawn, self._there = drawn, False
        x = run.step_places(epochs, how.against)
        for name, curve in self._curves.items():
            y = epochs.mean(name)
            known = np.isfinite(y)
            curve.show(bool(known.any()))
            curve.set(x[known], y[known])
            self._there |= bool(known.any())
        return self._there


class LossPanel(Panel):
    """Loss of each step and each epoch, and what would cost nothing."""

    key = "loss"

    def __init__(self, lab: Lab) -> None:
        super().__init__(Plot(lab, "Loss", "", "loss"))
        self.plot.set_log(True)
        self._steps = _StepCurve(self.plot, "loss", 0)
        self._epochs = _EpochCurves(self.plot, "train_loss", "test_loss")
        self._prior = self.plot.line("prior", position=0.25)
        self._readout = self.plot.line("readout only", style=Qt.PenStyle.DotLine, position=0.75)

    def draw(self, run: Run, how: How) -> None:
        """Show the run as it is."""
        there = self._steps.draw(run, how)
        there |= self._epochs.draw(run, how)
        for line, name, key in (
            (self._prior, "prior", "prior_loss"),
            (self._readout, "readout only", "readout_only_loss"),
        ):
            _baseline(line, name, run.results.get(key))
        self.plot.say("" if there or run.started is None else "No update of the parameters yet")


class AccuracyPanel(Panel):
    """Accuracy of each epoch."""

    key = "accuracy"

    def __init__(self, lab: Lab) -> None:
        super().__init__(Plot(lab, "Accuracy", "", "accuracy"))
        self._epochs = _EpochCurves(self.plot, "train_accuracy", "test_accuracy")
        self._readout = self.plot.line("readout only, test part", style=Qt.PenStyle.DotLine, position=0.6)

    def draw(self, run: Run, how: How) -> None:
        """Show the run as it is."""
        there = self._epochs.draw(run, how)
        _baseline(self._readout, "readout only, test part", run.results.get("readout_only_test_accuracy"))
        why = (
            "No epoch yet" if not run.n_epochs else "No accuracy: the run evaluates none, or its targets are no classes"
        )
        self.plot.say("" if there or run.started is None else why)


class ShotPanel(Panel):
    """The newest shot."""

    key = "shot"
    along_run = False

    def __init__(self, lab: Lab) -> None:
        self.shot = ShotPlot(lab, "Last response")
        super().__init__(self.shot)

    def draw(self, run: Run, how: How) -> None:
        """Show the run as it is."""
        del how
        if run.recent is None:
            self.shot.clear()
        else:
            newest = run.recent[-1]
            self.shot.show_shot(newest["drive"], newest["response"])
        self.plot.say("" if run.recent is not None or run.started is None else "No shot yet")


class FallPanel(Panel):
    """The responses of the newest shots, one line each."""

    key = "waterfall"
    along_run = False

    def __init__(self, lab: Lab) -> None:
        self.image = ImagePlot(lab, "Waterfall", "symbol", "shots ago", "response")
        self.image.describe = lambda x: f"symbol {int(x)}"
        self.image.row_words = lambda y: f"{int(y)} shots ago"  # type: ignore[method-assign]
        super().__init__(self.image)

    def draw(self, run: Run, how: How) -> None:
        """Show the run as it is."""
        del how
        fall = run.fall
        symbols = run.started.symbols if run.started is not None else 1
        self.image.set(fall, QRectF(0, 0, symbols, len(fall)))
        self.plot.say("" if fall.size or run.started is None else "No shot yet")


_IN_TIME = ("cycles per symbol (nodes as samples)", "power")
_IN_BINS = ("spectral bin (node)", "response")


class SpectrumPanel(Panel):
    """Power of the newest responses against frequency, their nodes taken as samples in time.

    A device whose nodes are spectral bins (`device.use = "spectrum"`) has measured its spectrum: that is shown, as the
    mean over the symbols of a shot.
    """

    key = "spectrum"
    along_run = False

    def __init__(self, lab: Lab) -> None:
        plot = Plot(lab, "Spectrum", *_IN_TIME)
        plot.set_log(True)
        super().__init__(plot)
        self._last = plot.curve("last shot", 1)
        self._mean = plot.curve("mean", 0, width=2.0)

    def draw(self, run: Run, how: How) -> None:
        """Show the run as it is."""
        del how
        rows = run.recent
        in_bins = run.configuration.get("device", {}).get("use") == "spectrum"
        labels = _IN_BINS if in_bins else _IN_TIME
        if (self.plot.x_label, self.plot.y_label) != labels:
            self.plot.label_axes(*labels)
        if rows is None or rows["response"][0].size < 4:
            for curve in (self._last, self._mean):
                curve.set([], [])
            why = "No shot yet" if rows is None else "No spectrum: a response is fewer than four values"
            self.plot.say("" if run.started is None else why)
            return
        self.plot.say("")
        responses = rows["response"][-SPECTRA:]
        if in_bins:
            frequency, power = np.arange(responses.shape[2]), responses.mean(axis=1, dtype=np.float64)
        else:
            frequency, power = spectrum(responses)
        self._mean.name = f"mean of {len(responses)} shots"
        self._last.set(frequency, power[-1])
        self._mean.set(frequency, power.mean(0))


def spectrum(responses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return frequencies in cycles per symbol (n,), and the power of each response (shots, n) there.

    `responses` is (shots, symbols, nodes). The mean of a response is taken away, and its ends are faded out (Hann); a
    sine of amplitude a gives a²/2 at its frequency.
    """
    shots, symbols, nodes = responses.shape
    series = responses.reshape(shots, -1).astype(np.float64)
    window = np.hanning(series.shape[1] + 2)[1:-1]
    faded = (series - series.mean(1, keepdims=True)) * window
    power = 2 * np.abs(np.fft.rfft(faded, axis=1)) ** 2 / window.sum() ** 2
    return np.fft.rfftfreq(symbols * nodes, 1 / nodes)[1:], power[:, 1:]


class DifferencePanel(Panel):
    """What the ± pairs of each step differ by, and what noise alone would give."""

    key = "difference"

    def __init__(self, lab: Lab) -> None:
        super().__init__(Plot(lab, "|L₊ − L₋|", "", "rms difference"))
        self.plot.set_log(True)
        self._steps = _StepCurve(self.plot, "difference", 0)
        self._noise = self.plot.line("noise alone", position=0.3)

    def draw(self, run: Run, how: How) -> None:
        """Show the run as it is."""
        there = self._steps.draw(run, how)
        _baseline(self._noise, "noise alone", run.noise)
        why = "No ± pairs: this way to a gradient takes none" if run.n_steps else "No update of the parameters yet"
        self.plot.say("" if there or run.started is None else why)
        unknown = there and not np.isfinite(run.noise)
        self.plot.remark = "noise alone: not known" if unknown else "noise alone: none" if run.noise == 0 else ""


class AnglePanel(Panel):
    """How far the gradient in use is from the measured one."""

    key = "angle"

    def __init__(self, lab: Lab) -> None:
        super().__init__(Plot(lab, "Gradient angle", "", "angle to the measured gradient (°)", y_unit="°"))
        self.plot.can_log = False
        self.plot.y_bounds = 0.0, 180.0
        self._steps = _StepCurve(self.plot, "angle", 0)
        self.plot.line("90°: no better than chance", 90.0, position=0.5)

    def draw(self, run: Run, how: How) -> None:
        """Show the run as it is."""
        there = self._steps.draw(run, how)
        why = "No gradient angle: this way to a gradient has no other to compare with"
        self.plot.say("" if there or run.started is None else why if run.n_steps else "No update of the parameters yet")


class FlagsPanel(Panel):
    """What shots suffered from: a lane for each flag."""

    key = "flags"

    def __init__(self, lab: Lab) -> None:
        super().__init__(Plot(lab, "Device flags", "", ""))
        self.plot.can_log = False
        self.plot.y_bounds = -0.6, len(FLAGS) - 0.4
        self._lanes = [
            self.plot.curve(str(flag.name).lower(), colour, Shape.TICKS, width=1.5)
            for flag, colour in zip(FLAGS, _FLAG_COLOURS, strict=True)
        ]
        self._counts: list[int] = []

    def draw(self, run: Run, how: How) -> None:
        """Show the run as it is."""
        x = run.mark_places(how.against)
        counts = []
        for i, (flag, lane) in enumerate(zip(FLAGS, self._lanes, strict=True)):
            per_bin = run.picture.marks.sum(str(flag.name))
            here = x[per_bin > 0]
            lane.set(here, np.full(len(here), float(i)))
            counts.append(int(per_bin.sum()))
        if counts != self._counts:
            self._counts = counts
            ticks = [
                (i, f"{lane.name} {number(n)}") for i, (lane, n) in enumerate(zip(self._lanes, counts, strict=True))
            ]
            self.plot.item.getAxis("left").setTicks([ticks])
        shots = quantity(run.picture.marks.rows, "shots", 7)
        self.plot.remark = (
            f"{'none' if not any(counts) else 'some'} in {shots}{' (a sample so far)' if run.sampled else ''}"
        )
        self.plot.refit()


def _baseline(line: Line, name: str, value: float | None) -> None:
    known = value is not None and np.isfinite(value)
    line.set(value if known else None)
    if known and value is not None:
        line.rename(f"{name} {number(value, 3)}")


PANELS = (
    LossPanel,
    AccuracyPanel,
    ShotPanel,
    FallPanel,
    SpectrumPanel,
    DifferencePanel,
    AnglePanel,
    FlagsPanel,
)
AT_FIRST = ("loss", "accuracy", "shot", "waterfall", "spectrum", "difference")
