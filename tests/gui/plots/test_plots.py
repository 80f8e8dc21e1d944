"""Plots: what their legend says, what the view shows, what the actions do, and what is saved."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PyQt6.QtCore import QRectF, Qt
from PyQt6.QtGui import QImage
from PyQt6.QtWidgets import QFileDialog
from pytestqt.qtbot import QtBot

from gui.lab import Lab
from gui.plots import ImagePlot, Plot, Shape, ShotPlot
from gui.plots.axis import Axis
from gui.plots.words import number, quantity, short_numbers, signed
from gui.theme import Mode


@pytest.fixture
def plot(lab: Lab, qtbot: QtBot) -> Plot:
    plot = Plot(lab, "Loss", "shots", "loss", "shots")
    qtbot.addWidget(plot)
    plot.resize(500, 300)
    plot.show()
    plot.commands.choose(plot)
    return plot


def settle(plot: Plot) -> None:
    """What would be done when control is back in the event loop."""
    plot._refit()
    plot.tell_values()


def test_numbers_are_written_as_people_read_them() -> None:
    assert [number(v) for v in (0.123456, 12345, 1e-9, -3, 1234567.8)] == [
        "0.1235", "12\u00a0345", "1e−09", "−3", "1\u00a0234\u00a0568",
    ]  # fmt: skip
    assert [number(v) for v in (np.nan, np.inf, -np.inf)] == ["none", "∞", "−∞"]
    assert quantity(3, "shots") == "3\u00a0shots"
    assert signed(0.5) == "+0.5"
    assert short_numbers([0, 250_000, 500_000], 250_000) == ["0", "250k", "500k"]
    assert short_numbers([0, 2.5e6], 2.5e6) == ["0", "2500k"]
    assert short_numbers([0, 1.25e7, 2.5e7], 1.25e7) == ["0", "12.5M", "25.0M"]
    assert short_numbers([0.0, 0.5, 1.0], 0.5) == ["0", "0.5", "1.0"]


def test_legend_tells_the_newest_values_or_those_at_the_crosshair(plot: Plot) -> None:
    curve = plot.curve("train", 0)
    other = plot.curve("test", 1, Shape.CIRCLES)
    curve.set([0, 10, 20], [3.0, 2.0, 1.0])
    other.set([5], [7.0])
    settle(plot)
    assert "train&nbsp;<b>1</b>" in plot.values_text
    plot.cursors.point(11, 2.5)
    assert "train&nbsp;<b>2</b>" in plot.values_text
    assert "test&nbsp;<b>7</b>" in plot.values_text
    assert "at 11\u00a0shots" in plot.values_text
    assert "height 2.5" in plot.values_text
    other.show(False)
    plot.cursors.leave()
    settle(plot)
    assert "test" not in plot.values_text


def test_two_markers_tell_the_difference(plot: Plot, lab: Lab) -> None:
    plot.curve("loss", 0).set([0, 10, 20], [3.0, 2.0, 0.5])
    for x in (0, 20):
        plot.cursors.point(x)
        lab.actions["plot.marker"].trigger()
    assert "2 − 1: Δ = 20 shots, loss −2.5" in plot.values_text
    lab.actions["plot.marker"].trigger()
    assert plot.cursors.markers == []
    assert "Δ" not in plot.values_text


@pytest.mark.parametrize("log", [False, True])
def test_the_largest_numbers_there_are_can_be_drawn(plot: Plot, log: bool) -> None:
    plot.set_log(log)
    plot.curve("loss", 0).set([0, 1], [1.0, 1.7e308])
    plot.fit()
    assert np.isfinite(plot.view.viewRange()).all()
    assert not plot.grab().isNull()


def test_view_goes_along_until_a_person_zooms(plot: Plot, lab: Lab) -> None:
    curve = plot.curve("loss", 0)
    plot.growing = True
    curve.set([0, 100], [0.0, 1.0])
    settle(plot)
    low, high = plot.x_range()
    assert low == 0
    assert high > 100
    curve.set([0, 100, high * 0.99], [0.0, 1.0, 2.0])
    settle(plot)
    assert plot.x_range() == (low, high)
    curve.set([0, 100, high * 1.5], [0.0, 1.0, 2.0])
    settle(plot)
    assert plot.x_range()[1] > high * 1.5
    plot.growing = False
    lab.actions["plot.fit"].trigger()
    assert plot.x_range()[1] == pytest.approx(high * 1.5, rel=0.02)
    lab.actions["plot.closer"].trigger()
    shown = plot.x_range()
    assert shown[1] - shown[0] < high
    curve.set([0, 1e6], [0.0, 1.0])
    settle(plot)
    assert plot.x_range() == shown
    lab.actions["plot.wider"].trigger()
    lab.actions["plot.fit"].trigger()
    assert plot.x_range()[1] > 1e6


def test_logarithmic_axis_moves_lines_and_fits_anew(plot: Plot, lab: Lab) -> None:
    curve, line = plot.curve("", 0, Shape.BAND), plot.line("prior", 0.1)
    curve.set([1, 2], [0.1, 0.01], low=[0.0, 0.001], high=[1.0, 0.1])
    lab.actions["plot.log"].trigger()
    assert plot.log_y
    assert line.item.value() == pytest.approx(-1)
    _, (low, high) = plot.view.viewRange()
    assert -4 < low < -2.5
    assert 0 < high < 1
    line.set(-1.0)
    assert not line.item.isVisible()
    lab.actions["plot.log"].trigger()
    assert line.item.value() == -1.0
    line.set(None)
    assert not line.item.isVisible()


def test_many_points_become_a_line_and_few_are_points_again(plot: Plot) -> None:
    points = plot.curve("train", 0, Shape.CIRCLES)
    points.set(np.arange(500), np.ones(500))
    assert points.item.opts["symbol"] is None
    points.set(np.arange(5), np.ones(5))
    assert points.item.opts["symbol"] == "o"


def test_crosshair_by_keyboard_and_off(plot: Plot, lab: Lab, qtbot: QtBot) -> None:
    plot.curve("loss", 0).set([0, 100], [0.0, 1.0])
    settle(plot)
    pointed: list[float] = []
    plot.pointed.connect(pointed.append)
    plot.setFocus()
    qtbot.keyClick(plot, Qt.Key.Key_Right, Qt.KeyboardModifier.ShiftModifier)
    lab.actions["plot.left"].trigger()
    lab.actions["plot.left"].trigger()
    assert len(pointed) >= 2
    assert pointed[-1] < pointed[-2]
    lab.actions["plot.right"].trigger()
    assert pointed[-1] == pytest.approx(pointed[-3])
    lab.actions["plot.crosshair"].trigger()
    assert not plot.cursors.on
    assert plot.cursors.x is None
    lab.actions["plot.crosshair"].trigger()
    assert plot.cursors.on


def test_actions_work_on_the_plot_that_had_the_focus_last(plot: Plot, lab: Lab, qtbot: QtBot) -> None:
    other = Plot(lab, "Other", "x", "y")
    other.commands.choose(other)
    lab.actions["plot.log"].trigger()
    assert (plot.log_y, other.log_y) == (False, True)
    assert {action.text() for action in other.menu().actions()} >= {"Log y", "Save picture…"}
    other.deleteLater()
    qtbot.waitUntil(lambda: plot.commands.current is None)
    lab.actions["plot.log"].trigger()
    assert not plot.log_y


def test_what_is_shown_is_saved(plot: Plot, lab: Lab, tmp_path: Path, qtbot: QtBot) -> None:
    plot.curve("loss", 0).set([0, 10, 20], [3.0, 2.0, 1.0])
    plot.curve("range", 0, Shape.BAND).set([0, 10], [1.0, 2.0], low=[0, 1], high=[2, 3])
    plot.line("prior", 0.25)
    plot.set_x_range(-1, 15)
    plot.save_data(tmp_path / "loss.csv")
    rows = list(csv.DictReader((tmp_path / "loss.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["loss"] for row in rows] == ["3.0", "2.0"]
    assert [row["shots of loss"] for row in rows] == ["0.0", "10.0"]
    assert [row["range, highest"] for row in rows] == ["2.0", "3.0"]
    assert rows[0]["prior"] == "0.25"
    plot.save_image(tmp_path / "loss.png")
    assert QImage(str(tmp_path / "loss.png")).width() > 2 * plot.width()
    plot.save_image(tmp_path / "loss.svg")
    svg = (tmp_path / "loss.svg").read_text(encoding="utf-8")
    assert "<svg" in svg
    assert "polyline" in svg or "<path" in svg
    told: list[tuple[str, str]] = []
    lab.noticed.connect(lambda level, text: told.append((level, text)))
    for name, place in (("image", tmp_path / "asked.svg"), ("data", tmp_path / "none" / "asked.csv")):
        lab.actions[f"plot.{name}"].trigger()
        dialog = plot.findChild(QFileDialog, "plot.save")
        assert dialog is not None
        dialog.fileSelected.emit(str(place))
        dialog.close()
        qtbot.waitUntil(lambda: plot.findChild(QFileDialog, "plot.save") is None)
    assert (tmp_path / "asked.svg").exists()
    assert [level for level, _ in told] == ["info", "error"]
    assert "asked.csv cannot be written: No such file" in told[1][1]


def test_colours_follow_the_theme(plot: Plot, lab: Lab) -> None:
    curve = plot.curve("loss", 0)
    light = curve.item.opts["pen"].color().name()
    lab.theme.choose(Mode.DARK)
    assert curve.item.opts["pen"].color().name() == lab.theme.series[0] != light
    lab.theme.choose(Mode.LIGHT)


def test_nothing_to_see_is_said_in_words(plot: Plot) -> None:
    plot.say("No step yet")
    assert plot._note.isVisible()
    assert plot._note.text() == "No step yet"
    plot.say("")
    assert not plot._note.isVisible()


def test_a_shot_is_drive_below_and_response_above(lab: Lab, qtbot: QtBot, tmp_path: Path) -> None:
    shot = ShotPlot(lab)
    qtbot.addWidget(shot)
    shot.resize(500, 300)
    shot.show()
    response = np.arange(12.0).reshape(4, 3)
    shot.show_shot([-1, 1, -1, 1], response, response + 1, name="plus", other_name="minus")
    settle(shot)
    assert "plus&nbsp;<b>11</b>" in shot.values_text
    assert "minus&nbsp;<b>12</b>" in shot.values_text
    shot.cursors.point(1.5)
    assert "drive&nbsp;<b>1</b>" in shot.values_text
    assert "plus&nbsp;<b>4</b>" in shot.values_text
    _, (low, _) = shot.view.viewRange()
    assert low < -4
    table = shot.data()
    assert table["plus"].tolist() == list(range(12))
    assert table["drive"].tolist() == [-1, 1, -1, 1]
    shot.set_nodes_apart(True)
    settle(shot)
    assert "node&nbsp;2&nbsp;<b>5</b>" in shot.values_text
    assert "plus" not in shot.values_text
    shot.show_shot([0.5], [[np.nan]])
    shot.clear()
    assert shot.data().get("plus") is None


def test_a_picture_tells_the_number_under_the_crosshair(lab: Lab, qtbot: QtBot, tmp_path: Path) -> None:
    image = ImagePlot(lab, "Waterfall", "symbol", "shots ago", "response")
    qtbot.addWidget(image)
    image.resize(500, 300)
    image.show()
    numbers = np.arange(8.0).reshape(2, 4)
    image.set(numbers, QRectF(0, 0, 4, 2))
    settle(image)
    assert "response" in image.values_text
    image.cursors.point(2.5, 1.5)
    assert "<b>6</b>" in image.values_text
    assert [column.tolist() for column in image.data().values()] == numbers.T.tolist()
    image.set(np.full((2, 4), np.nan), QRectF(0, 0, 4, 2))
    for alike in (9.91e37, -1e16, 0.0):  # the first is what some instruments say for "no value"
        image.set(np.full((2, 4), alike), QRectF(0, 0, 4, 2))
        low, high = image._range
        assert low < alike < high
    image.set(np.array([[3e38, -3e38]]), QRectF(0, 0, 2, 1))
    image.set(np.empty((0, 0)), QRectF())
    settle(image)
    assert image.data() == {}


def test_a_logarithmic_axis_names_what_it_has_room_for() -> None:
    axis = Axis("left")
    axis.setLogMode(y=True)
    line = axis.fontMetrics().height()

    def named(low: float, high: float, lines: float) -> list[str]:
        (spacing, values), (rest, others) = axis.logTickValues(np.log10(low), np.log10(high), lines * line, [])
        assert axis.tickStrings(others, 1.0, rest) == [None] * len(others)
        places = (np.array(values) - np.log10(low)) / np.log10(high / low) * lines
        assert np.diff(places).min(initial=np.inf) > 1, "numbers lie over each other"
        return [str(text) for text in axis.tickStrings(values, 1.0, spacing)]

    assert named(6e-4, 2.2e-3, 12) == ["0.001", "0.002"]
    assert named(0.04, 0.6, 20) == ["0.05", "0.1", "0.2", "0.5"]
    assert named(1e-7, 1.0, 12)[::2][-1] == "0.1"
    assert named(2e-6, 2e-3, 20)[:3] == ["2×10⁻⁶", "5×10⁻⁶", "10⁻⁵"]
    assert named(0.331, 0.334, 12) == ["0.331", "0.332", "0.333", "0.334"]
    assert named(1e-12, 1e12, 12) == ["10⁻¹²", "10⁻⁹", "10⁻⁶", "0.001", "1", "1000", "10⁶", "10⁹", "10¹²"]


def test_a_picture_of_another_size_fills_the_same_place(lab: Lab, qtbot: QtBot) -> None:
    image = ImagePlot(lab, "Waterfall", "symbol", "shots ago", "response")
    qtbot.addWidget(image)
    place = QRectF(0, 0, 8, 256)
    for nodes in (64, 32):
        image.set(np.arange(256.0 * nodes).reshape(256, nodes), place)
        assert image._picture.mapRectToParent(image._picture.boundingRect()) == place


def test_a_legend_may_have_all_its_lines(plot: Plot, qtbot: QtBot) -> None:
    plot.legend_lines = 0
    for number_ in range(8):
        plot.curve(f"jacobian-twin, magnonic-ring, {number_}", number_).set([0, 1], [1, 2])
    plot.tell_values()
    legend = plot._values
    assert legend.height() == legend.heightForWidth(legend.width()) > 4 * legend.fontMetrics().lineSpacing()
    tall = legend.height()
    plot.resize(1500, 300)
    qtbot.waitUntil(lambda: legend.height() < tall)


def test_the_name_that_is_offered_for_a_picture_is_one_of_a_file(lab: Lab, qtbot: QtBot, tmp_path: Path) -> None:
    lab.state.settings.setValue("exports", str(tmp_path))
    plot = Plot(lab, "Drive perturbation, (u+ − u−)/2 |a|", "x", "y")
    qtbot.addWidget(plot)
    plot.commands.current = plot
    lab.actions["plot.image"].trigger()
    dialog = plot.findChild(QFileDialog, "plot.save")
    assert dialog is not None
    assert Path(dialog.selectedFiles()[0]) == tmp_path / "drive-perturbation-u-u-2-a.svg"
    dialog.reject()
