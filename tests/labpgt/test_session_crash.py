"""What another process sees of a run, while it goes and after it died."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from labpgt.errors import InputError, StorageFault
from labpgt.events import Status, shot_dtype
from labpgt.session import Session

PRELUDE = """
import os, sys, time
from pathlib import Path
import numpy as np
from labpgt.events import *
from labpgt.session import SessionWriter

def rows(start, stop):
    made = np.zeros(stop - start, shot_dtype(5, 20))
    made["index"] = np.arange(start, stop)
    made["drive"] = made["index"][:, None] + np.arange(5) / 8
    made["response"] = made["drive"][:, :, None] * np.arange(1, 21)
    made["time"] = 1.75e9 + made["index"]
    return made

def step(i):
    row = np.zeros((), STEP_DTYPE)
    row["step"], row["time"] = i, 1.75e9
    return row

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

writer = SessionWriter(Path(sys.argv[1]), flush_s=float(sys.argv[2]))
writer(RunStarted(time.time(), "", "ring", {}, 5, 20, (0.0, 1.0), 1000, 10, 5, ("a", "b"), "ab"))
"""


def expected(n: int) -> NDArray[np.void]:
    """The rows that the script above makes."""
    rows = np.zeros(n, shot_dtype(5, 20))
    rows["index"] = np.arange(n)
    rows["drive"] = np.arange(n)[:, None] + np.arange(5) / 8
    rows["response"] = rows["drive"][:, :, None] * np.arange(1, 21)
    rows["time"] = 1.75e9 + np.arange(n)
    return rows


@contextmanager
def writing(path: Path, script: str, flush_s: float = 0.05) -> Iterator[subprocess.Popen[str]]:
    """Run a script in a process of its own that has a writer open on `path`."""
    command = [sys.executable, "-c", PRELUDE + textwrap.dedent(script), str(path), str(flush_s)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        with process:
            yield process
    finally:
        process.kill()


def ask(process: subprocess.Popen[str]) -> str:
    """Let the script go on, and return what it says next."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def test_another_process_follows_a_run(tmp_path: Path) -> None:
    script = """
        for stop in (70, 200):
            sys.stdin.readline()
            writer(ShotsTaken(rows(writer.acknowledged, stop)))
            writer(RunWarning(f"at {stop}"))
            writer(StepDone(step(stop)))
            while writer.acknowledged < stop:
                time.sleep(0.001)
            writer(Checkpoint(stop, stop, 0, np.full(1000, stop, np.float32)))
            say(writer.acknowledged)
        sys.stdin.readline()
        writer(RunStopped(Status.SUCCESS, "done", time.time(), {"train_loss": 0.5}, "cd"))
        say("stopped")
        sys.stdin.readline()
    """
    path = tmp_path / "run.h5"
    with writing(path, script) as process:
        assert ask(process) == "70"
        with Session(path) as session:
            assert session.status is Status.RUNNING
            np.testing.assert_array_equal(session.shots(), expected(70))
            assert session.warnings == ["at 70"]
            assert ask(process) == "200"
            assert session.n_shots == 70
            session.refresh()
            np.testing.assert_array_equal(session.shots(), expected(200))
            np.testing.assert_array_equal(session.steps()["step"], [70, 200])
            assert session.warnings == ["at 70", "at 200"]
            checkpoint = session.checkpoint()
            assert checkpoint is not None
            assert checkpoint[0] == (200, 200, 0)
            np.testing.assert_array_equal(checkpoint[1], np.full(1000, 200))
            assert (session.end_time, session.results) == ("", {})
            assert ask(process) == "stopped"
            assert session.status is Status.SUCCESS
            assert (session.reason, session.parameters_sha256, session.results) == ("done", "cd", {"train_loss": 0.5})
        with Session(path) as session:
            assert session.status is Status.SUCCESS
            assert session.n_shots == 200
        process.communicate("\n")
    assert process.returncode == 0


@pytest.mark.parametrize("attempt", range(8))
def test_no_acknowledged_shot_is_lost_to_sigkill(tmp_path: Path, attempt: int) -> None:
    script = """
        size = np.random.default_rng(int(Path(sys.argv[1]).stem)).integers(1, 100, 100_000)
        n = 0
        for i in range(100_000):
            writer(ShotsTaken(rows(n, n + size[i])))
            n += size[i]
            writer(StepDone(step(i)))
            if i % 7 == 0:
                writer(Checkpoint(n, i, i // 7, np.full(1000, i, np.float32)))
            say(writer.acknowledged)
    """
    path = tmp_path / f"{attempt}.h5"
    with writing(path, script) as process:
        assert process.stdout is not None
        kill_at = 500 + 1777 * attempt
        acknowledged = 0
        while acknowledged < kill_at:
            acknowledged = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        # Everything said before it died counts; it stays a zombie until the `with` ends, which is as dead.
        acknowledged = max([acknowledged, *(int(line) for line in process.stdout if line.endswith("\n"))])
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with Session(path) as session:
            assert session.status is Status.CRASHED
            assert session.n_shots >= acknowledged >= kill_at
            np.testing.assert_array_equal(session.shots(), expected(session.n_shots))
            steps = session.steps()
            np.testing.assert_array_equal(steps["step"], np.arange(len(steps)))
            checkpoint = session.checkpoint()
            assert checkpoint is not None
            cursor, parameters = checkpoint
            np.testing.assert_array_equal(parameters, np.full(1000, cursor.step))
            assert cursor.epoch == cursor.step // 7
            assert cursor.shot <= session.n_shots
    with Session(path) as session:
        assert session.status is Status.CRASHED


def test_a_disk_that_refuses_a_write_ends_in_an_error_not_in_a_segmentation_fault(tmp_path: Path) -> None:
    script = """
        writer(ShotsTaken(rows(0, 100)))
        # Whatever is written to this device is refused with "no space left".
        os.dup2(os.open("/dev/full", os.O_RDWR), writer._file.id.get_vfd_handle())
        try:
            writer(ShotsTaken(rows(100, 1000)))
        except Exception as error:
            say(type(error).__name__, writer.acknowledged, "No space left on device" in str(error))
        try:
            writer(RunStopped(Status.FAILED, "", time.time()))
        except Exception as error:
            say(type(error).__name__)
        writer.close()
    """
    path = tmp_path / "run.h5"
    with writing(path, script, flush_s=1000) as process:
        output, _ = process.communicate()
    assert output == "StorageFault 100 True\nStorageFault\n"
    assert process.returncode == 0
    with Session(path) as session:
        assert session.status is Status.CRASHED
        np.testing.assert_array_equal(session.shots(), expected(100))


def test_a_block_that_is_there_in_name_only_is_not_shown(tmp_path: Path) -> None:
    # So a file looks whose disk took the metadata of the last block but not its rows.
    script = """
        writer(ShotsTaken(rows(0, 128)))
        table = writer._buffers["entry/shots"]
        table.add(rows(128, 150))
        table.write()
        writer._file["entry/shots"].resize((300,))
        writer._file.flush()
        os._exit(1)
    """
    path = tmp_path / "run.h5"
    with writing(path, script) as process:
        process.communicate()
    with Session(path) as session:
        np.testing.assert_array_equal(session.shots(), expected(150))


ENDINGS = """
import os, sys
import h5py
import numpy as np
from pathlib import Path
from labpgt.events import *
from labpgt.session import SessionWriter

write = h5py.Dataset.__setitem__

def end(path, last):
    writes = [0]
    def write_and_die(dataset, place, value):
        write(dataset, place, value)
        writes[0] += 1
        if writes[0] == last:
            os._exit(1)
    writer = SessionWriter(path)
    writer(RunStarted(0.0, "", "ring", {}, 5, 20, (0.0, 1.0), 1000, 10, 5, ("a", "b"), "ab"))
    made = np.zeros(10, shot_dtype(5, 20))
    made["time"] = 1.75e9
    writer(ShotsTaken(made))
    writer(Measured({"delta": 0.25}))
    h5py.Dataset.__setitem__ = write_and_die
    writer(RunStopped(Status.SUCCESS, "done", 1.75e9, {"delta": 0.5, "train_loss": 0.5}, "cd" * 32))
    os._exit(0)

for last in range(1, 100):
    if not (pid := os.fork()):
        end(Path(sys.argv[1]) / f"{last:02}.h5", last)
    if not os.waitpid(pid, 0)[1]:
        break
"""


def test_a_process_that_dies_while_it_writes_the_end_has_crashed(tmp_path: Path) -> None:
    """Results and status are several values; when only some are written, none of them counts."""
    subprocess.run([sys.executable, "-c", ENDINGS, str(tmp_path)], check=True)
    seen = []
    for path in sorted(tmp_path.iterdir()):
        with Session(path) as session:
            assert session.n_shots == 10
            seen.append((session.status, session.reason, session.parameters_sha256, session.results))
    assert len(seen) > 6
    nothing, results = (Status.CRASHED, "", ""), {"delta": 0.5, "train_loss": 0.5}
    everything = (Status.SUCCESS, "done", "cd" * 32)
    assert seen[-1] == (*everything, results)
    for *end, measured in seen[:-1]:
        assert tuple(end) in (nothing, everything)
        assert measured in ({}, {"delta": 0.25}, results)
    assert (*nothing, {}) in seen, "results were half written"
    assert (*nothing, results) in seen, "results were written, but not the status"


def test_a_truncated_crashed_session_never_shows_zeros_as_shots(tmp_path: Path) -> None:
    script = """
        for i in range(10):
            writer(ShotsTaken(rows(64 * i, 64 * (i + 1))))
        os._exit(1)
    """
    path = tmp_path / "run.h5"
    with writing(path, script) as process:
        process.communicate()
    whole = path.read_bytes()
    shown = []
    for size in range(1000, len(whole), 20_011):
        path.write_bytes(whole[:size])
        try:
            with Session(path) as session:
                np.testing.assert_array_equal(session.shots(), expected(session.n_shots))
                shown.append(session.n_shots)
        except (InputError, StorageFault) as error:
            assert str(path) in str(error)  # noqa: PT017
    assert len(shown) > 5
    assert shown == sorted(shown)
    path.write_bytes(whole)
    with Session(path) as session:
        assert session.n_shots == 640


def test_two_readers_of_a_crashed_session_see_the_same(tmp_path: Path) -> None:
    """HDF5 confuses the chunks of a dataset that is refreshed while it is open twice in one process."""
    path = tmp_path / "run.h5"
    script = """
        sys.stdin.readline()
        writer(ShotsTaken(rows(0, 200)))
        while writer.acknowledged < 200:
            time.sleep(0.001)
        os.kill(os.getpid(), 9)
    """
    with writing(path, script) as process:
        process.communicate("\n")
    with Session(path) as one, Session(path) as other:
        for session in (one, other, one):
            session.refresh()
            np.testing.assert_array_equal(session.shots(), expected(200))
            np.testing.assert_array_equal(np.concatenate(list(other.iter_shots(64))), expected(200))
