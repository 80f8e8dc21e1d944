"""A run of another process, told from its file: what is told, in which order, and what is never told twice."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import psutil
import pytest

from labpgt import follow as module
from labpgt.errors import InputError, StorageFault
from labpgt.events import (
    EpochDone,
    Event,
    Measured,
    Purpose,
    RunStarted,
    RunStopped,
    RunWarning,
    ShotsTaken,
    Status,
    StepDone,
)
from labpgt.follow import follow
from labpgt.session import Session
from procedures.resume import resume
from procedures.train import run as train_into_file
from tests.runs import configured, record

PRELUDE = """
import errno
import os, sys, time
from pathlib import Path
import numpy as np
from labpgt.events import *
from labpgt.session import SessionWriter

def shots(n, purpose=Purpose.TRAIN, epoch=0, step=0):
    made = np.zeros(n, shot_dtype(2, 3))
    made["purpose"], made["epoch"], made["step"], made["time"] = purpose, epoch, step, 1.75e9
    return ShotsTaken(made)

def step(i, epoch=0):
    row = np.zeros((), STEP_DTYPE)
    row["step"], row["epoch"], row["shots"], row["time"] = i, epoch, 4 * (i + 1), 1.75e9 + i
    return StepDone(row)

def epoch(i, step):
    row = np.zeros((), EPOCH_DTYPE)
    row["epoch"], row["step"], row["shots"], row["time"] = i, step, 4 * (step + 1), 1.75e9
    return EpochDone(row)

def write(*events):
    for event in events:
        writer(event)
    with writer._lock:
        if writer._file is not None:
            writer._flush()

def ready():
    os.write(1, b"ready\\n")
    sys.stdin.readline()

writer = SessionWriter(Path(sys.argv[1]), flush_s=1000)
writer(RunStarted(float(sys.argv[2]), "", "ring", {}, 2, 3, (0.0, 1.0), 1000, 10, 5, ("a", "b"), "ab", 400))
ready()
"""

CALIBRATED = {"prior_loss": 0.25, "response_noise": 0.01}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at everything each time, and lose patience at once."""
    monkeypatch.setattr(module, "SELDOM_S", 0.0)
    monkeypatch.setattr(module, "PATIENCE_S", 0.0)
    monkeypatch.setattr(module, "_NAP_S", 0.002)


class Writing:
    """A process that writes a session, and stops wherever its script says `ready()`."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def until_ready(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def go_on(self) -> None:
        """Let it write what comes next, and wait until that is on disk."""
        self.let_go()
        self.until_ready()

    def let_go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def writing(path: Path, script: str, started: float = 1.7e9) -> Iterator[Writing]:
    command = [sys.executable, "-c", PRELUDE + textwrap.dedent(script), str(path), str(started)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        with process:
            writer = Writing(process)
            writer.until_ready()
            yield writer
    finally:
        process.kill()


def take(events: Iterator[Event], n: int) -> list[Event]:
    return [next(events) for _ in range(n)]


def brief(event: Event) -> tuple[object, ...]:
    """What an event is about, to compare."""
    match event:
        case ShotsTaken():
            return "shots", Purpose(int(event.rows["purpose"][0])).name, int(event.rows["epoch"][0]), len(event.rows)
        case StepDone():
            return "step", int(event.row["step"])
        case EpochDone():
            return "epoch", int(event.row["epoch"])
        case RunWarning():
            return "warning", event.message
        case RunStopped():
            return "stopped", str(event.status)
    return (type(event).__name__,)


def test_a_finished_run_is_told_as_it_went(tmp_path: Path) -> None:
    lived: list[Event] = []
    config = configured(training={"epochs": 3, "evaluation": "full", "baseline": True, "learning_rate": 1e-9})
    train_into_file(config, tmp_path / "run.h5", [lived.append])
    told = list(follow(tmp_path / "run.h5"))
    (started,), (last,) = ([e for e in told if isinstance(e, kind)] for kind in (RunStarted, RunStopped))
    assert isinstance(lived[0], RunStarted)
    assert replace(started, time=lived[0].time) == replace(lived[0], state={})
    assert started.time == pytest.approx(lived[0].time, abs=1e-5)
    assert isinstance(lived[-1], RunStopped)
    assert replace(last, time=lived[-1].time) == lived[-1]
    for kind in (StepDone, EpochDone):
        rows = [np.array([event.row for event in events if isinstance(event, kind)]) for events in (lived, told)]
        assert rows[0].tobytes() == rows[1].tobytes()
    assert [e.message for e in told if isinstance(e, RunWarning)] == [
        e.message for e in lived if isinstance(e, RunWarning)
    ]
    (measured,), (then,) = ([e for e in events if isinstance(e, Measured)] for events in (told, lived))
    finite = {key: value for key, value in then.values.items() if value == value}
    assert {key: measured.values[key] for key in finite} == finite
    order = [brief(event) for event in told if isinstance(event, StepDone | EpochDone)]
    assert order == [brief(event) for event in lived if isinstance(event, StepDone | EpochDone)]
    assert told[0] is started
    assert told[1] is measured
    assert told[-1] is last


def test_a_run_in_another_process_is_told_as_it_goes(tmp_path: Path) -> None:
    script = """
        write(shots(7, Purpose.CALIBRATION, -1, -1))
        ready()
        write(Measured({"prior_loss": 0.25, "response_noise": 0.01}))
        ready()
        write(shots(4), step(0), shots(4, step=1), step(1), shots(5, Purpose.EVALUATION, 0, -1), epoch(0, 1),
              shots(4, epoch=1, step=2), step(2, 1), RunWarning("look"))
        ready()
        write(RunStopped(Status.SUCCESS, "done", 1.8e9, {"train_loss": 0.5}, "cd"))
        ready()
    """
    with writing(tmp_path / "run.h5", script) as writer:
        events = follow(tmp_path / "run.h5", interval_s=0.002, shots=100)
        (started,) = take(events, 1)
        assert isinstance(started, RunStarted)
        assert (started.parameters, started.planned_shots, started.dataset_sha256) == (1000, 400, "ab")
        writer.go_on()
        assert brief(next(events)) == ("shots", "CALIBRATION", -1, 7)
        writer.go_on()
        assert next(events) == Measured(CALIBRATED)
        writer.go_on()
        assert [brief(event) for event in take(events, 9)] == [
            ("shots", "TRAIN", 0, 4),
            ("step", 0),
            ("shots", "TRAIN", 0, 4),
            ("step", 1),
            ("shots", "EVALUATION", 0, 5),
            ("epoch", 0),
            ("shots", "TRAIN", 1, 4),
            ("step", 2),
            ("warning", "look"),
        ]
        writer.go_on()
        assert list(events) == [
            RunStopped(Status.SUCCESS, "done", 1.8e9, {**CALIBRATED, "train_loss": 0.5}, "cd"),
        ]
        writer.let_go()


def test_a_late_start_reads_the_newest_rows_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = """
        for i in range(100):
            write(shots(400, epoch=i, step=99 * i), *(step(100 * i + j, i) for j in range(100)), epoch(i, 100 * i + 99))
        ready()
        write(shots(3, epoch=100, step=10_000), step(10_000, 100))
        ready()
    """
    read = [0]

    def counted(name: str) -> None:
        original = getattr(h5py.Dataset, name)

        def reading(dataset: h5py.Dataset, first: object, *rest: object, **options: object) -> object:
            found = original(dataset, first, *rest, **options)
            read[0] += np.size(first if found is None else found)
            return found

        monkeypatch.setattr(h5py.Dataset, name, reading)

    with writing(tmp_path / "run.h5", script) as writer:
        writer.go_on()
        counted("__getitem__")
        counted("read_direct")
        events = follow(tmp_path / "run.h5", interval_s=0.002, shots=1, steps=1, epochs=3)
        assert [brief(event) for event in take(events, 5)] == [
            ("RunStarted",),
            ("epoch", 97),
            ("epoch", 98),
            ("step", 9999),
            ("epoch", 99),
        ]
        # Fewer than the 64 of a block of each table, and what is said once: names, settings, results.
        assert 4 < read[0] < 500
        writer.go_on()
        assert [brief(event) for event in take(events, 2)] == [("shots", "TRAIN", 100, 1), ("step", 10_000)]


def test_numbers_are_measured_once_and_when_all_are_there(tmp_path: Path) -> None:
    script = """
        write(Measured({"prior_loss": 0.25}))
        ready()
        write(Measured({"response_noise": 0.01}))
        ready()
        write(step(0))
        ready()
        write(Measured({"delta": 0.5}), step(1))
        ready()
    """
    looks = [0]

    def stop() -> bool:
        looks[0] += 1
        return looks[0] > 100

    with writing(tmp_path / "run.h5", script) as writer:
        writer.go_on()
        assert [brief(event) for event in follow(tmp_path / "run.h5", interval_s=0.002, stop=stop)] == [("RunStarted",)]
        writer.go_on()
        events = follow(tmp_path / "run.h5", interval_s=0.002)
        assert take(events, 2)[1] == Measured(CALIBRATED)
        writer.go_on()
        writer.go_on()
        assert [brief(event) for event in take(events, 2)] == [("step", 0), ("step", 1)]


def test_a_killed_run_ends_as_crashed_with_all_that_was_flushed(tmp_path: Path) -> None:
    script = """
        write(shots(4), step(0))
        ready()
        write(shots(4, step=1), step(1), RunWarning("hot"))
        ready()
    """
    path = tmp_path / "run.h5"
    with writing(path, script) as writer:
        events = follow(path, interval_s=0.002)
        writer.go_on()
        assert [brief(event) for event in take(events, 2)] == [("RunStarted",), ("step", 0)]
        writer.go_on()
        writer.kill()
        rest = list(events)
        assert [brief(event) for event in rest] == [("step", 1), ("warning", "hot"), ("stopped", "crashed")]
        assert isinstance(rest[-1], RunStopped)
        assert rest[-1].reason == "its process is gone"
    assert [brief(event) for event in follow(path, steps=1)][1:] == [brief(event) for event in rest]


def test_a_run_that_looks_dead_for_a_moment_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = iter([Status.RUNNING, Status.CRASHED, Status.RUNNING, Status.CRASHED, Status.SUCCESS])
    monkeypatch.setattr(Session, "status", property(lambda _: next(seen)))
    with writing(tmp_path / "run.h5", "write(step(0))\nready()") as writer:
        writer.go_on()
        told = [brief(event) for event in follow(tmp_path / "run.h5", interval_s=0.002)]
    assert told == [("RunStarted",), ("step", 0), ("stopped", "success")]


CRASHING = """
    write(shots(4), step(0), epoch(0, 0), shots(4, epoch=1, step=1), step(1, 1), RunWarning("hot"))
    ready()
"""
RESUMING = """
    write(shots(4), step(0), epoch(0, 0), RunWarning("hot"))
    ready()
    os.replace(sys.argv[1], "run.h5")
    writer.path = Path("run.h5")
    ready()
    write(shots(4, epoch=1, step=1), step(1, 1))
    ready()
    write(shots(4, epoch=1, step=2), step(2, 1), epoch(1, 2), RunWarning("cold"))
    ready()
    write(RunStopped(Status.SUCCESS, "done", 1.8e9))
"""


def test_a_resumed_run_goes_on_and_nothing_is_told_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    events = follow(Path("run.h5"), interval_s=0.002, resumed=True, tell=said.append)
    with writing(Path("run.h5"), CRASHING) as writer:
        writer.go_on()
        assert [brief(event) for event in take(events, 5)][1:] == [
            ("step", 0),
            ("epoch", 0),
            ("step", 1),
            ("warning", "hot"),
        ]
        writer.kill()
    # The copy begins where the newest whole step ended, and comes to what was told a second time.
    with writing(Path("copy.h5"), RESUMING) as writer:
        for _ in range(4):
            writer.go_on()
        assert [brief(event) for event in take(events, 3)] == [("step", 2), ("epoch", 1), ("warning", "cold")]
        writer.let_go()
        assert [brief(event) for event in events] == [("stopped", "success")]
    assert said[-1] == "the run was resumed and goes on"


def test_a_run_that_crashed_is_waited_for_when_it_may_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with writing(Path("run.h5"), CRASHING) as writer:
        writer.go_on()
        writer.kill()
    said: list[str] = []
    asked = [0]

    def resume_in_a_while() -> None:
        asked[0] += bool(said)
        if asked[0] == 30:
            # Not even open: some systems would not let it be replaced.
            assert not [file for file in psutil.Process().open_files() if Path(file.path) == tmp_path / "run.h5"]
            Path("copy.h5").replace("run.h5")

    finished = RESUMING.replace('"run.h5"', '"copy.h5"')
    with writing(Path("copy.h5"), finished) as writer:
        for _ in range(4):
            writer.go_on()
        writer.let_go()
        writer.process.wait()
    events = follow(Path("run.h5"), interval_s=0.002, resumed=True, tell=said.append, stop=resume_in_a_while)
    told = [brief(event) for event in events]
    assert told[-4:] == [("step", 2), ("epoch", 1), ("warning", "cold"), ("stopped", "success")]
    assert told.count(("step", 1)) == told.count(("RunStarted",)) == told.count(("warning", "hot")) == 1
    assert said == [
        "the run crashed (its process is gone); waiting for somebody to resume it",
        "the run was resumed and goes on",
    ]


def test_another_run_in_its_place_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    events = follow(Path("run.h5"), interval_s=0.002)
    with writing(Path("run.h5"), CRASHING) as writer, writing(Path("copy.h5"), RESUMING, started=1.6e9) as other:
        writer.go_on()
        assert len(take(events, 5)) == 5
        other.go_on()
        other.go_on()
        assert [brief(event) for event in take(events, 4)] == [
            ("RunStarted",),
            ("step", 0),
            ("epoch", 0),
            ("warning", "hot"),
        ]


def test_a_file_that_is_gone_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    said: list[str] = []

    def bring_back(message: str) -> None:
        said.append(message)
        if "gone" in message:
            (tmp_path / "away.h5").rename(path)

    with writing(path, "write(step(0))\nready()\nwrite(step(1))\nready()") as writer:
        events = follow(path, interval_s=0.002, tell=bring_back)
        writer.go_on()
        assert [brief(event) for event in take(events, 2)] == [("RunStarted",), ("step", 0)]
        path.rename(tmp_path / "away.h5")
        writer.go_on()
        assert brief(next(events)) == ("step", 1)
        assert said == [f"{path} is gone; waiting for it"]
        path.rename(tmp_path / "away.h5")
        refusing = follow(tmp_path / "away.h5", interval_s=0.002, wait=False)
        take(refusing, 3)
        (tmp_path / "away.h5").rename(path)
        with pytest.raises(InputError, match=r"away.h5 cannot be opened: No such file"):
            next(refusing)


def test_a_file_is_waited_for_from_nothing_to_the_first_shot(tmp_path: Path) -> None:
    path, ready = tmp_path / "run.h5", tmp_path / "ready.h5"
    said: list[str] = []

    def create(message: str) -> None:
        said.append(message)
        if "not there yet" in message:
            half = bytearray(ready.read_bytes())
            half[11] = 1  # open for writing, and not for reading meanwhile
            path.write_bytes(half)
        else:
            ready.rename(path)

    with writing(ready, "write(step(0))\nready()") as writer:
        writer.go_on()
        events = follow(path, interval_s=0.002, tell=create)
        assert [brief(event) for event in take(events, 2)] == [("RunStarted",), ("step", 0)]
    assert said == [
        f"{path} is not there yet; waiting for it",
        f"{path} is being created, or its writer died before the first shot; waiting for it",
    ]


def test_without_waiting_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none.h5 cannot be opened: No such file; check the path"):
        next(follow(tmp_path / "none.h5", wait=False))
    half = tmp_path / "half.h5"
    with writing(half, ""):
        content = bytearray(half.read_bytes())
    content[11] = 1
    half.write_bytes(content)
    with pytest.raises(InputError, match="being created just now"):
        next(follow(half, wait=False))


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "not an HDF5"), (b"loss\n0.1\n", "not an HDF5"), (None, "Is a")]
)
def test_what_is_no_session_is_refused_while_waiting_too(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "run.h5"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        next(follow(path))


def test_a_file_that_is_empty_for_an_instant_is_not_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, ready = tmp_path / "run.h5", tmp_path / "ready.h5"
    path.write_bytes(b"")
    monkeypatch.setattr(module.time, "sleep", lambda _: ready.exists() and ready.rename(path))
    with writing(ready, ""):
        assert isinstance(next(follow(path)), RunStarted)


def test_a_pause_that_ended_with_its_process_is_over_once_there_are_shots_after_it(tmp_path: Path) -> None:
    # As the file of a run that was stopped while it was paused, and is resumed.
    script = "write(shots(4), step(0), RunPaused(0, 'asked by anna'))\nready()\nwrite(shots(4), step(1))\nready()"
    with writing(tmp_path / "run.h5", script) as writer:
        writer.go_on()
        (*_, last) = take(follow(tmp_path / "run.h5", interval_s=0.002), 3)
        assert brief(last)[0] == "RunPaused"  # while it waits, it does
        writer.go_on()
        (*_, last) = take(follow(tmp_path / "run.h5", interval_s=0.002), 4)
        assert brief(last) == ("warning", "paused: asked by anna")


def test_a_look_that_fails_is_repeated_and_given_up_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 60.0)
    faults = [StorageFault("checksum"), StorageFault("checksum")]
    whole = Session.warning_rows

    def rows(session: Session) -> np.ndarray:
        if faults:
            raise faults.pop()
        return whole(session)

    monkeypatch.setattr(Session, "warning_rows", rows)
    with writing(tmp_path / "run.h5", "write(step(0), RunWarning('hot'))\nready()") as writer:
        writer.go_on()
        events = follow(tmp_path / "run.h5", interval_s=0.002)
        # What the failed look had read already is neither lost nor told twice.
        assert [brief(event) for event in take(events, 3)] == [("RunStarted",), ("step", 0), ("warning", "hot")]
        assert not faults
        monkeypatch.setattr(module, "PATIENCE_S", 0.0)
        faults.append(StorageFault("checksum"))
        with pytest.raises(StorageFault, match="checksum"):
            next(events)


def test_a_network_disk_that_does_not_answer_for_a_moment_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, whole = tmp_path / "run.h5", Path.stat
    faults: list[int] = []

    def stat(self: Path, **options: Any) -> os.stat_result:
        if self == path and faults:
            raise OSError(faults.pop(), "no answer")
        return whole(self, **options)

    monkeypatch.setattr(Path, "stat", stat)
    with writing(path, "for n in range(3):\n    write(step(n))\n    ready()") as writer:
        writer.go_on()
        events = follow(path, interval_s=0.002)
        take(events, 2)
        for number, fault in enumerate((errno.ESTALE, errno.EIO), 1):
            writer.go_on()
            faults.append(fault)
            assert brief(next(events)) == ("step", number)
            assert not faults
        faults.append(errno.EACCES)
        with pytest.raises(InputError, match="no answer"):
            next(events)


def test_a_run_is_resumed_while_it_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    record(configured(training={"epochs": 2}), path, steps=10)
    events = follow(path, interval_s=0.002, resumed=True, steps=1000)
    seen: list[Event] = []
    while sum(isinstance(event, StepDone) for event in seen) < 10:
        seen.append(next(events))
    resume(path)
    rest = list(events)
    assert [e.row["step"] for e in [*seen, *rest] if isinstance(e, StepDone)] == list(range(30))
    assert brief(rest[-1]) == ("stopped", "success")


def test_it_ends_when_it_is_asked_to(tmp_path: Path) -> None:
    assert list(follow(tmp_path / "none.h5", stop=lambda: "enough")) == []
    asked = [0]

    def stop() -> bool:
        asked[0] += 1
        return asked[0] > 5

    with writing(tmp_path / "run.h5", "write(step(0))\nready()") as writer:
        writer.go_on()
        told = list(follow(tmp_path / "run.h5", interval_s=30.0, stop=stop))
        assert [brief(event) for event in told] == [("RunStarted",), ("step", 0)]
        writer.process.send_signal(signal.SIGTERM)
