"""`labpgt rf-off` without a file, and on a bench whose file is not any more what its run has read."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from instruments import in_use as module
from instruments.bench import Bench, load_bench
from instruments.in_use import Everywhere, bench_of, sentinel_of
from instruments.rf_off import rf_off
from instruments.safety import about, places
from labpgt import locks
from labpgt.errors import DeviceFault, InputError, LabpgtError
from labpgt.locks import Locks
from tests import forked
from tests.gui.test_jobs import write_config
from tests.instruments.benches import TriedBench
from tests.instruments.plain_server import PlainAttenuator, PlainInstrument, wait_for

RUN = """
import json, os, signal, sys, time
from labpgt.locks import Locks

if sys.argv[2] == "deaf":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
lock = Locks(**json.loads(sys.argv[1]))
lock.take(0.0, os.getpid())
try:
    print("has it", flush=True)
    time.sleep(100)
except KeyboardInterrupt:
    lock.free()
"""
"""What has a bench, until Ctrl-C; with "deaf" it does not heed that."""


class Table:
    """A bench of a source that is on and an attenuator at 20 dB, with a file."""

    def __init__(self, path: Path) -> None:
        self.path, self.source, self.attenuator = path, PlainInstrument(), PlainAttenuator()
        self.path.write_text(
            f'name = "{path.stem}"\ntimeout_s = 0.4\n'
            f'[analyzer]\nmodel = "N9020A"\naddress = "TCPIP0::127.0.0.1::1::{path.stem}"\n'
            f'[source]\nmodel = "N5182B"\naddress = "{self.source.address}"\n'
            f'[attenuator]\nmodel = "RCDAT-6000-90"\naddress = "{self.attenuator.address}"\n'
        )
        self.bench = load_bench(path)
        self._runs: list[subprocess.Popen[str]] = []

    def used(self, how: str = "", **words: object) -> "subprocess.Popen[str]":
        """Let a process have it."""
        orders = json.dumps({"places": places(self.bench), "about": {**about(self.bench), **words}})
        run = subprocess.Popen([sys.executable, "-c", RUN, orders, how], stdout=subprocess.PIPE, text=True)
        assert run.stdout is not None
        self._runs.append(run)
        assert run.stdout.readline() == "has it\n"
        return run

    @property
    def safe(self) -> bool:
        return not self.source.rf_on and self.attenuator.attenuation_db == 90

    def close(self) -> None:
        for run in self._runs:
            run.kill()
            run.communicate()
        self.source.close()
        self.attenuator.close()


@pytest.fixture
def left(tmp_path: Path) -> Iterator[Table]:
    table = Table(tmp_path / "left.toml")
    yield table
    table.close()


@pytest.fixture
def right(tmp_path: Path) -> Iterator[Table]:
    table = Table(tmp_path / "right.toml")
    yield table
    table.close()


@pytest.mark.skipif(os.name != "posix", reason="a run is asked by a signal")
def test_every_bench_in_use_is_turned_off_and_its_runs_end(
    left: Table, right: Table, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [left.used(), right.used()]
    left.path.unlink()  # what the run has read is in its lock
    rf_off()
    assert [run.wait(10) for run in runs] == [0, 0]
    assert left.safe
    assert right.safe
    said = capsys.readouterr().out
    assert f"left ({left.path}), in use by process {runs[0].pid}:\n  source at {left.source.address}: RF off" in said
    assert f"process {runs[1].pid}, which had {right.path}, was asked to stop" in said
    left.source.state[":OUTP"] = right.source.state[":OUTP"] = "1"
    run = right.used()
    rf_off(as_json=True)
    assert run.wait(10) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["off"] is True
    assert [(found["bench"], found["in_use"], found["off"]) for found in report["benches"]] == [
        ("right", f"process {run.pid}", True)
    ]
    assert left.source.rf_on, "nobody uses it: it is not labpgt's to switch"


def test_when_nobody_has_a_bench_it_is_said_that_nothing_was_switched(left: Table) -> None:
    with pytest.raises(InputError, match=r"nothing was switched.*labpgt rf-off BENCH\.toml"):
        rf_off()
    assert left.source.rf_on
    with pytest.raises(InputError, match="no bench is named"):
        rf_off(serve=True)


def test_a_dead_bench_keeps_no_other_one_on(left: Table, right: Table, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [left.used(), right.used()]
    left.source.close()
    with pytest.raises(typer.Exit) as ended:
        rf_off(as_json=True)
    assert ended.value.exit_code == 3
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert problem.startswith("left: source at")
    assert "make it safe by hand" in problem
    assert right.safe
    assert left.attenuator.attenuation_db == 90
    assert all(run.wait(10) is not None for run in runs)


def test_a_run_that_does_not_stop_is_told_and_its_rf_goes_off_again(left: Table) -> None:
    run = left.used("deaf")
    everywhere = Everywhere()
    turning = threading.Thread(target=everywhere.turn_off, args=(3.0,))
    turning.start()
    assert wait_for(lambda: left.safe)
    left.source.state[":OUTP"] = "1"
    assert wait_for(lambda: not left.source.rf_on), "before the time is over"
    assert turning.is_alive()
    turning.join()
    (problem,) = everywhere.problems
    assert problem.startswith(f"process {run.pid} still has {left.path} after 3 s and may turn RF on again")
    assert left.safe


def test_a_run_that_is_gone_is_not_blamed_for_its_guard(left: Table) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    guard = Locks(places(left.bench), about(left.bench))
    guard.take(0.0, gone.pid)
    everywhere = Everywhere()
    everywhere.turn_off(stop_s=0.2)
    guard.free()
    (problem,) = everywhere.problems
    assert problem.startswith(f"the guard (process {os.getpid()}) of a run that is gone still has {left.path}")
    assert left.safe


def test_another_users_run_is_turned_off_and_it_is_said_that_it_goes_on(
    left: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(pid: int, number: int) -> None:
        raise PermissionError("Operation not permitted")

    run = left.used()
    with monkeypatch.context() as patched:
        patched.setattr("os.kill", refused)
        everywhere = Everywhere()
        everywhere.turn_off(stop_s=0.2)
    assert left.safe
    assert any(f"process {run.pid}" in text and "cannot be stopped from here" in text for text in everywhere.problems)
    assert run.poll() is None


def test_a_lock_that_does_not_describe_its_bench_is_told(left: Table) -> None:
    run = left.used(bench={"source": {"model": "N5182B"}})
    (use,) = locks.in_use()
    with pytest.raises(LabpgtError, match=rf"lock of process {run.pid} does not describe it \(source\.address"):
        bench_of(use)
    with pytest.raises(DeviceFault, match=r"NOT SAFE: bench .*another version of labpgt"):
        rf_off()
    assert left.source.rf_on
    assert run.wait(10) is not None, "it is asked to stop all the same"


def test_a_hostile_folder_of_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.setenv(locks.VARIABLE, str(tmp_path / "link"))
    with pytest.raises(DeviceFault, match=r"link is a link.*labpgt rf-off BENCH\.toml"):
        rf_off()


def test_what_is_read_from_a_lock_is_the_bench(left: Table) -> None:
    run = left.used()
    (use,) = locks.in_use()
    assert (use.run, use.file) == (run.pid, left.path)
    assert bench_of(use) == left.bench


def test_a_file_that_has_changed_reaches_the_old_instruments_too(left: Table, right: Table) -> None:
    left.used()
    left.path.write_text(right.path.read_text())
    sentinel = sentinel_of(left.path)
    assert len(sentinel.roles) == 4
    (note,) = sentinel.notes
    assert "has changed since a run has read it" in note
    right.source.state[":OUTP"] = "0"
    state = sentinel.state()
    assert (state["rf"], state["problems"]) == ("on", [note])
    assert state["roles"]["source"]["rf"] == "off"
    found = sentinel.off()
    assert found.off
    assert found.rf_off_s is not None
    assert len(found.done) == 4
    assert left.safe
    assert right.safe
    assert sentinel.state()["rf"] == "off"
    left.source.close()
    assert sentinel.off().rf_off_s is None


def test_a_file_that_is_gone_or_cannot_be_read_does_not_matter_while_a_run_has_the_bench(
    left: Table, capsys: pytest.CaptureFixture[str]
) -> None:
    left.used("deaf")
    left.path.write_text("no bench")
    assert "is not TOML" in sentinel_of(left.path).notes[0]
    left.path.unlink()
    rf_off(left.path)
    assert left.safe
    said = capsys.readouterr().out
    assert "cannot be read" in said
    assert "what the run that has the bench has read there is used" in said


def test_a_file_that_is_gone_is_an_error_when_nobody_has_the_bench(left: Table) -> None:
    left.path.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        rf_off(left.path)


def test_a_use_that_appears_meanwhile_is_ended_too(left: Table, right: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    first = left.used()
    later: list[subprocess.Popen[str]] = []
    asked = module.interrupt

    def begin_another(pid: int) -> bool:
        if not later:
            later.append(right.used())
        return asked(pid)

    monkeypatch.setattr(module, "interrupt", begin_another)
    Everywhere().turn_off()
    assert [first.wait(10), later[0].wait(10)] == [0, 0]
    assert right.safe


@pytest.mark.skipif(not forked.POSSIBLE, reason="processes in sessions of their own")
def test_a_real_run_that_was_started_with_a_relative_path_is_found_stopped_and_dark(
    bench: TriedBench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    device = {"name": "magnonic-ring", "bench": os.path.relpath(bench.path, tmp_path), "n_nodes": 4}
    config = write_config(tmp_path / "run.toml", device, epochs=100_000, batch=12)
    argv = ["train", str(config), "--out", str(tmp_path / "run.h5")]
    run = forked.start_command(argv, tmp_path, tmp_path / "out", tmp_path / "err")
    try:
        assert wait_for(lambda: bench.rf_on, 60)
        (use,) = locks.in_use()
        assert (use.run, use.file) == (run.pid, bench.path)
        assert use.guard != run.pid
        assert bench_of(use) == load_bench(bench.path)
        rf_off(as_json=True)
        report = json.loads(capsys.readouterr().out)
        assert report["off"]
        assert [found["file"] for found in report["benches"]] == [str(bench.path)]
        assert run.wait(60) in (3, 4)  # its last call met a dark ring, or it stopped before
        assert locks.in_use() == []
        assert not bench.rf_on
    finally:
        run.send_signal(signal.SIGKILL)


def test_a_bench_that_was_made_without_a_file_is_turned_off_too(left: Table) -> None:
    left.bench = Bench(**{role: getattr(left.bench, role) for role in ("source", "analyzer", "attenuator")})
    assert about(left.bench)["file"] is None
    run = left.used()
    rf_off()
    assert left.safe
    assert run.wait(10) is not None
