"""Ctrl-C, SIGTERM, SIGKILL: whatever ends a run, the device is safe where that can be, and the shots are kept."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labpgt.errors import DeviceFault, InputError
from labpgt.events import Purpose, Status
from labpgt.session import Session
from procedures.train import StopRequest, opened
from tests import forked
from tests.procedures.conftest import Labpgt

AT_SHOT = ["--set", "device.signal_at=100", "--set"]


Handling = Callable[[signal.Signals, signal.Handlers], None]


@pytest.fixture
def handling() -> Iterator[Handling]:
    """Sets how a signal is handled, for one test."""
    before: dict[signal.Signals, Any] = {}

    def handle(number: signal.Signals, how: signal.Handlers) -> None:
        before.setdefault(number, signal.getsignal(number))
        signal.signal(number, how)

    yield handle
    for number, how in before.items():
        signal.signal(number, how)


def whole_pairs(session: Session) -> int:
    """Training shots in the file, once it is sure that each + has its -."""
    shots = session.shots()
    np.testing.assert_array_equal(shots["index"], np.arange(len(shots)))
    training = shots[shots["purpose"] == Purpose.TRAIN]
    steps = np.unique(training["step"])
    np.testing.assert_array_equal(steps, np.arange(len(steps)))
    for sign in (1, -1):
        half = training[training["sign"] == sign]
        assert len(half) * 2 == len(training)
        np.testing.assert_array_equal(half["sample"], training[training["sign"] == 1]["sample"])
    return len(training)


@pytest.mark.parametrize(("name", "reason"), [("SIGINT", "Ctrl-C"), ("SIGTERM", "SIGTERM"), ("SIGHUP", "SIGHUP")])
def test_one_signal_ends_the_run_after_the_step(
    name: str, reason: str, labpgt: Labpgt, bench: Path, tmp_path: Path, handling: Handling
) -> None:
    listened = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handling(signal.SIGHUP, signal.SIG_DFL)  # whatever the tests themselves were started with, such as nohup
    handlers = [signal.getsignal(number) for number in listened]
    done = labpgt("train", bench, *AT_SHOT, f'device.signals=["{name}"]', "--out", "run.h5", "--json")
    assert done.code == 4
    report = done.json
    assert (report["status"], report["reason"]) == ("aborted", reason)
    assert (tmp_path / "log").read_text().split() == ["open", "safe", "close"]
    assert [signal.getsignal(number) for number in listened] == handlers
    with Session(Path("run.h5")) as session:
        assert (session.status, session.reason) == (Status.ABORTED, reason)
        assert session.parameters_sha256 == report["parameters_sha256"]
        assert whole_pairs(session) == report["shots"]
        assert 100 < session.n_shots < 100 + 16, "the step in hand is done, and none after it"
        assert len(session.steps()) * 16 == report["shots"]
        taken = session.n_shots
    replayed = labpgt("replay", "run.h5", "--verify", "--json")
    assert replayed.code == 0
    assert (replayed.json["shots"], replayed.json["parameter_hashes"]) == (taken, 1)


def test_nohup_is_respected(labpgt: Labpgt, bench: Path, handling: Handling) -> None:
    handling(signal.SIGHUP, signal.SIG_IGN)
    done = labpgt("train", bench, *AT_SHOT, 'device.signals=["SIGHUP"]', "--out", "run.h5", "--json")
    assert (done.code, done.json["status"]) == (0, "success")


@pytest.mark.parametrize("impatient", ["false", "true"])
def test_a_second_signal_ends_it_at_once_and_a_third_changes_nothing(
    impatient: str, labpgt: Labpgt, bench: Path, tmp_path: Path
) -> None:
    twice = [*AT_SHOT, 'device.signals=["SIGINT", "SIGINT"]', "--set", f"device.signal_in_make_safe={impatient}"]
    done = labpgt("train", bench, *twice, "--out", "run.h5", "--json")
    assert done.code == 4
    assert done.json["status"] == "aborted"
    assert "aborted at once" in done.err
    assert (tmp_path / "log").read_text().split() == ["open", "safe", "close"]
    with Session(Path("run.h5")) as session:
        assert (session.status, session.reason) == (Status.ABORTED, "interrupted")
        whole_pairs(session)
        assert 100 - 16 < session.n_shots <= 100, "the step in hand is given up"
        taken = session.n_shots
    assert labpgt("replay", "run.h5", "--verify", "--json").json["shots"] == taken


def test_ctrl_c_outside_of_a_run_is_no_traceback(
    labpgt: Labpgt, small: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("procedures.train.load_dataset", interrupted)
    done = labpgt("train", small, "--json")
    assert done.code == 4
    assert done.out == ""
    assert "stopped by Ctrl-C" in done.err
    assert list(folder.iterdir()) == []


def environment(tmp_path: Path) -> dict[str, str]:
    root = Path(__file__).resolve().parents[2]
    return os.environ | {"PYTHONPATH": f"{tmp_path / 'modules'}{os.pathsep}{root}"}


def started(bench: Path, tmp_path: Path, *options: str) -> "subprocess.Popen[str]":
    command = [str(Path(sys.executable).parent / "labpgt"), "train", str(bench), "--json", "--out", "run.h5"]
    return subprocess.Popen(
        [*command, *options],
        cwd=tmp_path / "work",
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_ctrl_c_in_another_process(labpgt: Labpgt, bench: Path, tmp_path: Path) -> None:
    path = tmp_path / "work" / "run.h5"
    # At 5 ms a shot the run would take half a minute.
    with started(bench, tmp_path, "--set", "device.pause_s=5e-3", "--set", "training.epochs=25") as process:
        deadline = time.monotonic() + 60
        updates = 0
        while updates < 2:
            assert process.poll() is None
            assert time.monotonic() < deadline
            try:
                with Session(path) as session:
                    assert session.status is Status.RUNNING
                    updates = len(session.steps())
            except InputError:
                pass  # not there yet, or being laid out
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 4, err
    assert '"status": "aborted"' in out
    assert (tmp_path / "log").read_text().split() == ["open", "safe", "close"]
    with Session(path) as session:
        assert session.status is Status.ABORTED
        assert 2 * 16 <= whole_pairs(session) < 25 * 240
    assert labpgt("replay", path, "--verify").code == 0


def test_a_killed_run_is_a_crashed_one_with_its_shots(labpgt: Labpgt, bench: Path, tmp_path: Path) -> None:
    kill = [*AT_SHOT, 'device.signals=["SIGKILL"]', "--set", "session.flush_shots=1"]
    out, err, path = tmp_path / "out", tmp_path / "err", tmp_path / "work" / "run.h5"
    argv = ["train", str(bench), "--json", "--out", "run.h5", *kill]
    assert forked.start_command(argv, path.parent, out, err).wait(60) == -signal.SIGKILL
    assert out.read_text() == ""
    shown = labpgt("show", path, "--json")
    assert shown.code == 0
    assert shown.json["status"] == "crashed"
    with Session(path) as session:
        whole_pairs(session)
        assert 100 - 16 < session.n_shots <= 100
        taken = session.n_shots
    replayed = labpgt("replay", path, "--verify", "--json")
    assert replayed.code == 0
    assert (replayed.json["shots"], replayed.json["status"]) == (taken, "crashed")


@pytest.mark.parametrize("lost", [True, False])
def test_a_signal_just_before_nothing_can_interrupt_any_more_still_leaves_the_device_safe(lost: bool) -> None:
    done: list[str] = []

    class Device:
        name = "device"

        def open(self) -> None: ...

        def make_safe(self) -> None:
            done.append("safe")

        def close(self) -> None:
            done.append("close")

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), opened(Device(), interrupted):  # type: ignore[arg-type]  # noqa: PT012
        if lost:
            raise DeviceFault("the cable fell out")
    assert done == ["safe", "close"]


def test_a_second_signal_that_python_dropped_is_not_the_last_chance() -> None:
    """What is raised while Python tidies up is printed and forgotten; the next signal must count."""
    stop = StopRequest()
    with stop.on_signals():
        signal.raise_signal(signal.SIGINT)
        for _ in range(3):
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        stop.shield()
        signal.raise_signal(signal.SIGINT)
    assert stop() == "Ctrl-C"


def test_of_a_second_signal_that_python_drops_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[type[BaseException]] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda dropped: said.append(dropped.exc_type))
    before = sys.unraisablehook

    class Tidied:
        def __init__(self, error: BaseException) -> None:
            self.error = error

        def __del__(self) -> None:
            raise self.error

    with StopRequest().on_signals():
        Tidied(KeyboardInterrupt())
        assert said == []
        Tidied(ValueError("a fault"))
        assert said == [ValueError], "what is wrong is shown all the same"
    assert sys.unraisablehook is before
