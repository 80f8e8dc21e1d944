"""Watching a run from another terminal: before, during and after it, and never in its way."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest
from rich.console import Console

from labpgt.errors import DeviceFault
from labpgt.events import EPOCH_DTYPE, STEP_DTYPE, EpochDone, RunStarted, StepDone
from labpgt.session import Session
from procedures.console import ConsoleWatcher
from tests.labpgt.test_session_reader import STARTED
from tests.procedures.conftest import Labpgt
from tests.runs import configured, record

ROOT = Path(__file__).resolve().parents[2]
CRASHED = ROOT / "tests" / "labpgt" / "sessions" / "schema-1-crashed.h5"


@pytest.fixture(autouse=True)
def no_way_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process must not slow down for the tests to come."""
    monkeypatch.setattr("procedures.watch.give_way", lambda: None)


@contextmanager
def watching(*arguments: object) -> Iterator["subprocess.Popen[str]"]:
    """Run `labpgt watch` in a process of its own."""
    command = [sys.executable, "-m", "procedures.cli", "watch", *map(str, arguments), "--interval", "0.01", "--json"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: "subprocess.Popen[str]", part: str) -> str:
    """Read what it says to the person, up to the line with this in it."""
    assert process.stderr is not None
    for said in process.stderr:
        if part in said:
            return said
    raise AssertionError(f"the watcher never said {part!r}")


def test_a_watcher_that_came_first_sees_the_run_and_changes_nothing(labpgt: Labpgt, small: Path) -> None:
    alone = labpgt("train", small, "--out", "alone.h5", "--json").json
    with watching("run.h5") as watcher:
        line(watcher, "run.h5 is not there yet; waiting for it")
        trained = labpgt("train", small, "--out", "run.h5", "--json").json
        out, err = watcher.communicate(timeout=60)
    assert watcher.returncode == 0
    seen = json.loads(out)
    # Where one command knows that it does not know, the other may say nothing.
    assert {k: v for k, v in seen.items() if v is not None} == {k: v for k, v in trained.items() if v is not None}
    assert seen["parameters_sha256"] == alone["parameters_sha256"]
    for part in ("watching run.h5; Ctrl-C ends the watching", "echo-state-ring: 4 symbols of 5 nodes", "epoch 1: 240"):
        assert part in err


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_ending_the_watching_does_not_end_the_run(name: str, labpgt: Labpgt, tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    watchers = []

    def watch_and_end(_: object) -> None:
        if not watchers:
            with watching(path) as watcher:
                line(watcher, "watching")
                watcher.send_signal(signal.Signals[name])
                watchers.append((*watcher.communicate(timeout=60), watcher.returncode))

    from procedures.train import run as train_into_file

    config = configured(training={"epochs": 2})
    last = train_into_file(config, path, [lambda event: watch_and_end(event) if isinstance(event, StepDone) else None])
    ((out, err, code),) = watchers
    assert code == 0
    assert "watching ended; the run goes on" in err
    assert "Traceback" not in err
    seen = json.loads(out)
    assert (seen["status"], seen["device"], seen["parameters_sha256"]) == ("running", "echo-state-ring", None)
    assert last.parameters_sha256 == record(config, tmp_path / "alone.h5").parameters_sha256


def test_ending_the_watching_before_there_is_a_run(tmp_path: Path) -> None:
    with watching(tmp_path / "none.h5") as watcher:
        line(watcher, "not there yet")
        assert psutil.Process(watcher.pid).nice() == max(psutil.Process().nice(), 10), "the run goes first"
        watcher.send_signal(signal.SIGINT)
        out, err = watcher.communicate(timeout=60)
    assert watcher.returncode == 0
    assert json.loads(out) == {"status": None, "reason": None, "session": str(tmp_path / "none.h5")}
    assert err == "watching ended\n"


def test_ending_the_watching_of_a_crashed_run_says_that_it_crashed() -> None:
    with watching(CRASHED, "--follow-resume") as watcher:
        line(watcher, "waiting for somebody to resume it")
        watcher.send_signal(signal.SIGINT)
        out, _ = watcher.communicate(timeout=60)
    assert watcher.returncode == 0
    assert json.loads(out)["status"] == "crashed"


def test_a_run_that_ended_is_shown_with_its_summary(labpgt: Labpgt, small: Path) -> None:
    trained = labpgt("train", small, "--out", "run.h5")
    before = Path("run.h5").read_bytes()
    shown = labpgt("watch", "run.h5")
    assert shown.code == 0
    assert "epoch 1: 240 shots" in shown.err
    assert set(trained.out.splitlines()) == set(shown.out.splitlines())
    assert Path("run.h5").read_bytes() == before


def test_the_exit_code_says_how_the_run_ended(labpgt: Labpgt, bench: Path, tmp_path: Path) -> None:
    record(configured(), tmp_path / "aborted.h5", steps=3)
    seen = labpgt("watch", tmp_path / "aborted.h5", "--json")
    assert (seen.code, seen.json["status"], seen.json["reason"]) == (4, "aborted", "enough seen")
    assert seen.json["shots"] == 3 * 16
    failed = labpgt("train", bench, "--set", "device.raise_at=100", "--out", "failed.h5")
    assert failed.code == DeviceFault.exit_code
    seen = labpgt("watch", "failed.h5", "--json")
    assert (seen.code, seen.json["status"]) == (1, "failed")


def test_a_crashed_run_is_shown_as_far_as_it_went(labpgt: Labpgt) -> None:
    seen = labpgt("watch", CRASHED, "--json")
    assert seen.code == 1
    with Session(CRASHED) as session:
        steps, epochs = session.steps(), session.epochs()
    assert seen.json["status"] == "crashed"
    assert seen.json["reason"] == "its process is gone"
    assert seen.json["shots"] == steps["shots"][-1]
    assert seen.json["epochs"] == len(epochs)
    if len(epochs):
        assert seen.json["train_loss"] == epochs["train_loss"][-1]
    shown = labpgt("watch", CRASHED)
    assert "status                      crashed" in shown.out


def test_of_a_long_run_the_last_epochs_are_shown(labpgt: Labpgt, tmp_path: Path) -> None:
    record(configured(training={"epochs": 25, "batch": 120}), tmp_path / "long.h5")
    shown = labpgt("watch", tmp_path / "long.h5").err.splitlines()
    lines = [said.partition(":")[0] for said in shown if said.startswith(("…", "epoch"))]
    assert lines == ["…", *(f"epoch {i}" for i in range(6, 26))]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"epoch,loss\n0,1.0\n", "run.h5 is not an HDF5 file; give a session that labpgt has written"),
        (b"", "run.h5 is not an HDF5 file"),
        (None, "run.h5 cannot be opened: No such file; check the path"),
    ],
)
def test_what_is_no_session_is_refused(content: bytes | None, message: str, labpgt: Labpgt) -> None:
    if content is not None:
        Path("run.h5").write_bytes(content)
    done = labpgt("watch", "run.h5", "--json", *([] if content is not None else ["--no-wait"]))
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("labpgt: ")
    assert message in done.err


def test_an_hdf5_file_of_another_kind_is_refused(labpgt: Labpgt) -> None:
    h5py.File("other.h5", "w").close()
    done = labpgt("watch", "other.h5")
    assert (done.code, done.out) == (2, "")
    assert "other.h5 is an HDF5 file but not a session" in done.err


def test_watching_needs_no_network_library(folder: Path) -> None:
    code = f"""
import sys
sys.argv = ["labpgt", "watch", {str(CRASHED)!r}]
from procedures.cli import main
try:
    main()
except SystemExit as end:
    assert end.code == 1, end.code
print(*sorted({{name.split(".")[0] for name in sys.modules}}))
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "h5py" in loaded
    assert loaded & {"torch", "numba", "sklearn", "scipy", "PyQt6", "simulators", "instruments"} == set()


def test_the_rate_is_the_runs_however_its_steps_come() -> None:
    """A look finds the steps of a while at once, and a resumed run has a hole in its time."""
    out = io.StringIO()
    with ConsoleWatcher(Console(file=out, force_terminal=True, width=80)) as watcher:
        watcher(RunStarted(**{**vars(STARTED), "planned_shots": 200_000}))
        for shots, when in ((500, 0.0), (100_000, 995.0), (101_000, 1005.0), (102_000, 9000.0), (103_000, 9010.0)):
            row = np.zeros((), STEP_DTYPE)
            row["shots"], row["time"], row["loss"] = shots, when, 0.0123
            watcher(StepDone(row))
            figures = watcher._figures()
        watcher.hold()
        assert watcher._figures() == "103000/200000, loss 0.0123"
    assert figures == "103000/200000, loss 0.0123, 100/s, 16:10 left"


def test_an_infinite_loss_is_forgotten() -> None:
    with ConsoleWatcher(Console(file=io.StringIO(), force_terminal=True, width=80)) as watcher:
        watcher(RunStarted(**{**vars(STARTED), "planned_shots": 1000}))
        told = []
        for shots, loss in enumerate((1.0, float("inf"), 2.0, 1.0, float("nan"), 0.5), 1):
            row = np.zeros((), STEP_DTYPE)
            row["shots"], row["loss"] = shots, loss
            watcher(StepDone(row))
            told.append(watcher._figures().partition(", ")[2])
    assert told == ["loss 1.0000", "loss inf", "loss 2.0000", "loss 1.9000", "", "loss 0.5000"]


def test_the_time_left_has_the_evaluations_in_it() -> None:
    """On a slow device an epoch takes minutes, and its evaluation more of them: the rate knows nothing of it."""
    shot_s, steps, evaluation_s, epochs = 0.16, 100, 60.0, 6
    now, told = 0.0, []
    with ConsoleWatcher(Console(file=io.StringIO(), force_terminal=True, width=80)) as watcher:
        watcher(RunStarted(**{**vars(STARTED), "planned_shots": 8 * steps * epochs}))
        for epoch in range(epochs):
            for step in range(steps):
                now += 8 * shot_s
                row = np.zeros((), STEP_DTYPE)
                row["shots"], row["time"], row["loss"] = 8 * (epoch * steps + step + 1), now, 0.5
                watcher(StepDone(row))
                if step == 30 and epoch == 2:
                    watcher.hold()
                    now += 1000.0
                if step == 50:
                    whole = (epochs - epoch) * (8 * steps * shot_s + evaluation_s)
                    told.append(watcher._seconds_left() / (whole - 8 * 51 * shot_s))
            now += evaluation_s
            end = np.zeros((), EPOCH_DTYPE)
            end["epoch"], end["shots"], end["time"] = epoch, 8 * (epoch + 1) * steps, now
            watcher(EpochDone(end))
    assert told[0] < 0.8  # nobody knows yet how long an evaluation is
    assert told[1:] == pytest.approx([1.0] * 5, rel=1e-6)


def test_the_live_line_fits_a_terminal_of_80_columns() -> None:
    out = io.StringIO()
    with ConsoleWatcher(Console(file=out, force_terminal=True, width=80)) as watcher:
        watcher(RunStarted(**{**vars(STARTED), "planned_shots": 273_000}))
        watcher._accuracy = 0.9474
        for shots in (123_456, 124_456):
            row = np.zeros((), STEP_DTYPE)
            row["shots"], row["time"], row["loss"] = shots, shots / 500, 0.0123
            watcher(StepDone(row))
        watcher._show(description="evaluation")
        watcher._progress.refresh()
    assert "124456/273000, loss 0.0123, test 94.7%, 500/s, 04:57 left" in out.getvalue()
