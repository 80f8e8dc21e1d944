"""The page of live plots, with sessions that runs have written, and with a run in a process of its own."""

import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PyQt6.QtCore import QTimer
from PyQt6.QtWidgets import QFileDialog, QLabel, QMenu
from pytestqt.qtbot import QtBot

from gui.lab import Lab
from gui.live import LivePage
from gui.live.panels import Panel, spectrum
from gui.live.run import Against, Run
from labpgt import follow_rows
from labpgt.events import (
    EpochDone,
    Event,
    Measured,
    RunContinued,
    RunPaused,
    RunStarted,
    RunStopped,
    RunWarning,
    ShotsTaken,
    Status,
    StepDone,
)
from labpgt.follow_rows import News, Part
from procedures.resume import resume
from procedures.train import run as train_into_file
from tests.long_sessions import events, started, write
from tests.runs import configured, record


@pytest.fixture
def page(lab: Lab, qtbot: QtBot) -> Iterator[LivePage]:
    page = LivePage(lab)
    qtbot.addWidget(page)
    page.resize(1280, 720)
    page.show()
    yield page
    page.close_session()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three epochs with everything that can be measured."""
    path = tmp_path_factory.mktemp("runs") / "run.h5"
    train_into_file(configured(training={"epochs": 3, "evaluation": "full", "baseline": True}), path)
    return path


def panel(page: LivePage, key: str) -> Panel:
    return next(panel for panel in page.panels if panel.key == key)


def opened(page: LivePage, path: Path, qtbot: QtBot) -> None:
    page.show_session(path)
    qtbot.waitUntil(lambda: page.run.stopped is not None and not page.run.sampled, timeout=20_000)
    page.draw()
    for each in page.panels:
        each.plot.tell_values()


def as_news(event: Event, counts: dict[str, int]) -> News:
    """What following would make of an event."""
    new, shots = Part(), None
    match event:
        case ShotsTaken(rows=rows):
            shots = rows[-256:]
            marks = np.empty(len(rows), follow_rows.MARK_DTYPE)
            marks["time"], marks["flags"] = rows["time"], rows["flags"]
            new = Part(marks=marks)
            counts["n_shots"] += len(rows)
        case StepDone(row=rows):
            new = Part(steps=rows)
            counts["n_steps"] += len(rows)
        case EpochDone(row=rows):
            new = Part(epochs=rows)
            counts["n_epochs"] += len(rows)
        case _:
            return News(events=[event], **counts)
    return News(new=new, shots=shots, **counts)


def fed(run: Run, shots: int) -> Run:
    counts = {"n_shots": 0, "n_steps": 0, "n_epochs": 0}
    for event in events(shots):
        run.take(as_news(event, counts))
    return run


def test_a_finished_run_is_shown_in_every_plot(page: LivePage, finished: Path, qtbot: QtBot, lab: Lab) -> None:
    for key in ("angle", "flags"):
        lab.actions[f"live.plot.{key}"].trigger()
    opened(page, finished, qtbot)
    assert [each.key for each in page.shown] == [each.key for each in page.panels]
    loss = panel(page, "loss").plot
    steps = next(curve for curve in loss.curves if curve.name == "steps")
    assert len(steps.y) == page.run.n_steps
    assert {line.name.split()[0] for line in loss.lines} == {"prior", "readout"}
    assert all(np.isfinite(line.y) for line in loss.lines)
    accuracy = panel(page, "accuracy").plot
    assert [len(curve.y) for curve in accuracy.curves] == [3, 3]
    assert accuracy.curves[0].x[-1] == page.run.training_shots
    for each in page.panels:
        assert not each.plot._note.isVisible(), each.key
        assert each.plot.data() or each.key == "flags"
    assert "done" in page.headline.state.text()
    assert "jacobian-twin" in page.headline.state.text()
    assert "flags: none" in page.headline.figures.text()


def test_a_run_is_watched_while_it_goes(page: LivePage, qtbot: QtBot, lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    # A device that takes its time: however slow the window is here, it is drawn more than once.
    words = ["train", "--device", "tests.paced:PacedRing", "--set", "training.estimator=node", "--out", str(path)]
    job = lab.jobs.start(
        "node run", [*words, "--json", "--set", "training.epochs=3", "--set", "training.baseline=false"]
    )
    page.show_session(path)
    qtbot.waitUntil(lambda: page.run.n_steps > 0, timeout=60_000)
    qtbot.waitUntil(lambda: page.run.status is Status.SUCCESS, timeout=60_000)
    qtbot.waitUntil(lambda: job.state.over, timeout=10_000)
    assert job.exit_code == 0
    assert page.run.training_shots == job.report["shots"]
    assert page.run.picture.steps.rows == page.run.n_steps
    assert page.drawn > 1
    assert page.run.recent is not None
    assert "No gradient angle" in _note(page, "angle", lab)


def _note(page: LivePage, key: str, lab: Lab) -> str:
    lab.actions[f"live.plot.{key}"].trigger()
    return panel(page, key).plot._note.text()


def test_x_is_shots_epochs_or_time(page: LivePage, finished: Path, qtbot: QtBot, lab: Lab) -> None:
    opened(page, finished, qtbot)
    plot = panel(page, "accuracy").plot
    train = plot.curves[0]
    assert plot.x_label == "training shots"
    lab.actions["live.against"].trigger()
    np.testing.assert_allclose(train.x, [1, 2, 3])
    assert plot.x_label == "epochs"
    plot.cursors.point(1.2)
    assert "at epoch 1.2" in plot.values_text
    lab.actions["live.against"].trigger()
    assert plot.x_label == "time since the start (s)"
    assert np.all(np.diff(train.x) > 0)
    assert plot.cursors.x is None


def test_smoothing_and_the_newest_part(page: LivePage, finished: Path, qtbot: QtBot, lab: Lab) -> None:
    opened(page, finished, qtbot)
    plot = panel(page, "loss").plot
    mean = next(curve for curve in plot.curves if curve.name.startswith("mean"))
    lab.actions["live.smoothing"].trigger()
    assert not mean.visible
    lab.actions["live.smoothing"].trigger()
    assert mean.name == "mean of 10"
    loss = page.run.picture.steps.mean("loss")
    assert mean.y[20] == pytest.approx(loss[15:26].mean())
    lab.actions["live.part"].trigger()
    low, high = plot.x_range()
    assert low == pytest.approx(0.9 * page.run.training_shots)
    assert high >= page.run.training_shots


def test_plots_are_chosen_enlarged_and_remembered(page: LivePage, qtbot: QtBot, lab: Lab) -> None:
    lab.actions["live.plots"].trigger()
    menu = page.controls.findChild(QMenu, "live.plots")
    assert menu is not None
    assert menu.isVisible()
    menu.hide()
    menu.actions()[4].trigger()
    assert "spectrum" not in [each.key for each in page.shown]
    plot = panel(page, "shot").plot
    plot.commands.choose(plot)
    lab.actions["live.large"].trigger()
    assert [each.key for each in page.shown] == ["shot"]
    lab.actions["live.large"].trigger()
    assert len(page.shown) == 5
    lab.actions["live.against"].trigger()
    panel(page, "accuracy").plot.set_log(True)
    other_lab = Lab(lab.state, lab.theme, standby=False)
    other = LivePage(other_lab)
    # Only a fixture's page is held until it is closed: the collector would take this one in the middle of its picture.
    page.other = other  # type: ignore[attr-defined]
    qtbot.addWidget(other)
    other.show()
    assert [each.key for each in other.shown] == ["loss", "accuracy", "shot", "waterfall", "difference"]
    assert other.how.against is Against.EPOCHS
    assert panel(other, "accuracy").plot.log_y
    other_lab.close()


def test_nodes_of_the_last_shot_are_shown_apart(page: LivePage, finished: Path, qtbot: QtBot, lab: Lab) -> None:
    opened(page, finished, qtbot)

    def names() -> list[str]:
        return [curve.name for curve in panel(page, "shot").plot.curves if curve.visible]

    together = names()
    lab.actions["live.nodes"].trigger()
    assert {"node 0", "node 4"} <= set(names())
    lab.actions["live.nodes"].trigger()
    assert names() == together


def test_what_is_held_stays_while_the_run_goes_on(page: LivePage, qtbot: QtBot, lab: Lab, finished: Path) -> None:
    lab.actions["live.hold"].trigger()
    drawn = page.drawn
    page.show_session(finished)
    after = page.drawn
    qtbot.waitUntil(lambda: page.run.stopped is not None, timeout=20_000)
    assert page.drawn == after > drawn
    assert "done" in page.headline.state.text()  # how the run stands is not held
    lab.actions["live.hold"].trigger()
    assert page.drawn > after


def test_zooming_one_plot_moves_the_others_and_looks_closer(
    page: LivePage, qtbot: QtBot, lab: Lab, tmp_path: Path
) -> None:
    opened(page, write(tmp_path / "long.h5", 20_000), qtbot)
    plot, other = panel(page, "loss").plot, panel(page, "accuracy").plot
    per = page.run.picture.steps.per
    assert per > 1
    plot.commands.choose(plot)
    plot.cursors.point(10_000)
    for _ in range(7):
        lab.actions["plot.closer"].trigger()
    assert other.x_range() == plot.x_range()
    qtbot.waitUntil(lambda: page.how.detail is not None, timeout=10_000)
    detail = page.how.detail
    assert detail is not None
    assert detail.per == 1
    low, high = plot.x_range()
    steps = next(curve for curve in plot.curves if curve.name == "steps")
    seen = steps.x[(steps.x >= low) & (steps.x <= high)]
    np.testing.assert_array_equal(np.diff(seen), 2.0)
    lab.actions["live.all"].trigger()
    assert page.how.detail is None
    assert other.x_range()[0] == 0
    plot.set_x_range(low, high)
    plot.zoomed.emit()
    qtbot.waitUntil(lambda: page.how.detail is not None, timeout=10_000)
    lab.actions["plot.fit"].trigger()
    assert page.how.detail is None
    assert steps.x[0] < per * 2
    assert steps.x[-1] > page.run.training_shots - per * 4
    plot.set_x_range(low, high)
    plot.zoomed.emit()
    plot.fit()  # before the part was read
    page._detail._read_out.emit(page._detail._asked - 1, 0, 10, page.run.picture.steps)  # or as it was handed over
    assert page.how.detail is None


def test_a_session_that_cannot_be_followed_keeps_no_run_from_being_shown(
    page: LivePage, qtbot: QtBot, tmp_path: Path, finished: Path
) -> None:
    assert not page.goes_on
    foreign = tmp_path / "foreign.h5"
    foreign.write_bytes(b"no session")
    page.show_session(foreign)
    assert page.goes_on
    qtbot.waitUntil(lambda: not page.goes_on, timeout=20_000)
    assert "foreign.h5" in page.banner.text()
    assert "opening" not in page.headline.state.text()
    opened(page, finished, qtbot)
    page.run.stopped = None
    assert page.goes_on
    page._lost("it is gone")
    assert not page.goes_on


def test_a_long_past_is_shown_by_a_sample_first(
    page: LivePage, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow_rows, "_READING_S", 0.0)
    seen: list[bool] = []
    path = write(tmp_path / "long.h5", 50_000)
    page.show_session(path)
    assert page.follower is not None
    page.follower.drained.connect(lambda: seen.append(page.run.sampled))
    qtbot.waitUntil(lambda: bool(seen) and not seen[-1] and page.run.picture.steps.rows == 25_000, timeout=20_000)
    assert seen.count(True) > 0
    assert page.run.picture.marks.sum("OVERLOAD").sum() == 1


def test_a_run_that_is_resumed_goes_on_in_the_plots(page: LivePage, qtbot: QtBot, tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    record(configured(training={"epochs": 2}), path, steps=10)
    opened(page, path, qtbot)
    assert "aborted" in page.headline.state.text()
    resume(path)
    qtbot.waitUntil(lambda: page.run.status is Status.SUCCESS, timeout=20_000)
    assert page.run.picture.steps.rows == 30
    assert "resumed" in page.banner.text()


def test_a_foreign_file_and_one_that_is_gone_are_told_above_the_plots(
    page: LivePage, qtbot: QtBot, tmp_path: Path, finished: Path
) -> None:
    (tmp_path / "foreign.h5").write_text("loss\n0.1\n")
    page.show_session(tmp_path / "foreign.h5")
    qtbot.waitUntil(lambda: "not an HDF5 file" in page.banner.text(), timeout=10_000)
    page.show_session(tmp_path / "none.h5")
    qtbot.waitUntil(lambda: "not there yet; waiting for it" in page.banner.text(), timeout=10_000)
    opened(page, finished, qtbot)
    assert not page.banner.isVisible()


def test_a_session_is_chosen_in_a_dialog(page: LivePage, qtbot: QtBot, lab: Lab, finished: Path) -> None:
    lab.actions["live.open"].trigger()
    dialog = page.findChild(QFileDialog, "live.choose")
    assert dialog is not None
    dialog.fileSelected.emit(str(finished))
    dialog.close()
    qtbot.waitUntil(lambda: page.run.stopped is not None, timeout=20_000)


def test_pauses_warnings_and_ends_are_told_in_words(page: LivePage) -> None:
    page.path = Path("run.h5")
    state, figures = page.findChild(QLabel, "live.state"), page.findChild(QLabel, "live.figures")
    assert state is not None
    assert figures is not None

    def said(event: Event) -> str:
        page.run.take(News(events=[event]))
        page.headline.reset()
        page.draw()
        return f"{state.text()} {figures.text()}"

    assert "running" in said(started())
    assert "paused</b></span> (the supply &lt;E36312A&gt; is lost" not in said(RunWarning("warm"))
    assert "▲ 1 warning: warm" in said(Measured({"prior_loss": 0.25}))
    assert "paused</b></span> (lost the <supply>".replace("<supply>", "&lt;supply>") in said(
        RunPaused(0.0, "lost the <supply>")
    )
    assert "running" in said(RunContinued(1.0, 1.0))
    assert "failed</b></span> (no supply)" in said(RunStopped(Status.FAILED, "no supply", 2.0))


def test_the_run_takes_the_same_memory_however_long_it_is() -> None:
    """Ten million shots are in the benchmark; what is kept is counted here."""

    def kept(run: Run) -> int:
        picture = run.picture
        series = (picture.steps, picture.epochs, picture.marks)
        assert run.recent is not None
        return sum(len(one) for one in series) // 4096 + run.recent.nbytes + run.fall.nbytes

    assert kept(fed(Run(), 40_000)) == kept(fed(Run(), 400_000))


def test_every_thousandth_flag_is_counted_and_lies_where_its_step_does() -> None:
    run = fed(Run(), 200_000)
    marks = run.picture.marks
    assert marks.sum("OVERLOAD").sum() == marks.sum("RETAKEN").sum() == 4
    x = run.mark_places(Against.SHOTS)[marks.sum("OVERLOAD") > 0]
    np.testing.assert_allclose(x, [50_000, 100_000, 150_000, 200_000], atol=3 * marks.per)


def test_spectrum_has_the_power_of_a_sine_at_its_frequency() -> None:
    symbols, nodes = 40, 10
    at = np.arange(symbols * nodes) / nodes
    responses = 1.0 + 0.5 * np.sin(2 * np.pi * 1.5 * at).reshape(1, symbols, nodes)
    frequency, power = spectrum(np.repeat(responses, 3, 0))
    assert power.shape == (3, len(frequency))
    assert frequency[np.argmax(power[0])] == pytest.approx(1.5)
    assert power[0].max() == pytest.approx(0.5**2 / 2, rel=0.02)
    assert frequency[-1] == pytest.approx(nodes / 2)


def test_nodes_that_are_spectral_bins_are_the_spectrum(page: LivePage, finished: Path, qtbot: QtBot) -> None:
    opened(page, finished, qtbot)
    shown = panel(page, "spectrum")
    assert shown.plot.x_label.startswith("cycles")
    page.run.configuration = {"device": {"use": "spectrum"}}
    page.draw()
    assert shown.plot.x_label.startswith("spectral bin")
    last, mean = shown.plot.curves
    assert page.run.recent is not None
    np.testing.assert_allclose(last.y, page.run.recent["response"][-1].mean(0), rtol=1e-6)
    assert len(mean.x) == len(last.y)


def test_rf_off_reaches_the_bench_of_a_run_that_goes_on_and_of_no_other(
    page: LivePage, finished: Path, lab: Lab, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = tmp_path / "bench.toml"
    bench.touch()
    watched: list[Path] = []
    monkeypatch.setattr(lab.rf, "watch_over", watched.append)
    opened(page, finished, qtbot)
    page.run.configuration = {"device": {"bench": str(bench)}}
    page._bench_known = False
    page._drained()
    assert watched == []
    page.run.stopped, page.run.time = None, time.time() - 3600
    page._drained()
    assert watched == []
    page.run.time = time.time()
    page._drained()
    page._drained()
    assert watched == [bench]


def test_closing_ends_the_thread(page: LivePage, qtbot: QtBot, tmp_path: Path) -> None:
    page.show_session(tmp_path / "none.h5")
    follower = page.follower
    assert follower is not None
    page.close()
    deadline = time.monotonic() + 10
    while follower._thread.is_alive() and time.monotonic() < deadline:
        qtbot.wait(5)
    assert not follower._thread.is_alive()
    assert page.run.started is None


def test_an_epoch_that_was_cut_short_moves_no_other(page: LivePage, qtbot: QtBot, tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    train_into_file(configured(training={"epochs": 5, "max_shots": 330, "batch": 7}), path)
    opened(page, path, qtbot)
    run = page.run
    first, *_, last = (float(x) for x in run.step_places(run.picture.epochs, Against.EPOCHS))
    assert first == pytest.approx(1.0)
    assert run.newest(Against.EPOCHS) == pytest.approx(last)
    assert last == pytest.approx(run.stopped.results["epochs"])
    assert last % 1 > 0


def test_a_run_begins_with_what_it_plans(page: LivePage) -> None:
    run = Run()
    run.take(News(events=[started(planned=1000)]))
    assert isinstance(run.started, RunStarted)
    assert run.shots_per_epoch == 10


def test_plots_are_drawn_one_in_each_turn_so_that_nothing_waits_for_all_of_them(
    page: LivePage, qtbot: QtBot, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page.show_session(finished)
    qtbot.waitUntil(lambda: page.run.stopped is not None, timeout=20_000)
    qtbot.waitUntil(lambda: not page._due and not page._turn.isActive(), timeout=20_000)
    turns: list[str] = []
    for panel in page.panels:
        monkeypatch.setattr(panel, "draw", lambda _run, _how, key=panel.key: turns.append(key))
    others = QTimer()
    others.timeout.connect(lambda: turns.append(""))
    others.start(0)
    page._drained()
    page._drained()  # more news before all are drawn: each waits for one turn still
    shown = [panel.key for panel in page.shown]
    qtbot.waitUntil(lambda: len([turn for turn in turns if turn]) == len(shown))
    others.stop()
    assert [turn for turn in turns if turn] == shown
    assert not any(one and other for one, other in pairwise(turns))
