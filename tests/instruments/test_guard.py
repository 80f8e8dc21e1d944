"""The guard turns RF off whatever happens to the run, tried with real processes against instruments on loopback."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from instruments import guard as module
from instruments.bench import Bench, Entry, SupplyEntry
from instruments.guard import Guard
from instruments.safety import about, places
from labpgt import locks
from labpgt.errors import DeviceFault
from tests.instruments.plain_server import PlainAttenuator, PlainInstrument, wait_for

ROOT = Path(__file__).parents[2]


@pytest.fixture
def source() -> Iterator[PlainInstrument]:
    with PlainInstrument() as instrument:
        yield instrument


@pytest.fixture
def attenuator() -> Iterator[PlainAttenuator]:
    with PlainAttenuator() as instrument:
        yield instrument


@pytest.fixture
def bench(source: PlainInstrument, attenuator: PlainAttenuator) -> Bench:
    return Bench(
        guard_s=3.0,
        source=Entry(model="N5182B", address=source.address, timeout_s=1.0),
        analyzer=Entry(model="N9020A", address="TCPIP0::127.0.0.1::1::SOCKET"),
        attenuator=Entry(model="RCDAT-6000-90", address=attenuator.address, timeout_s=1.0),
    )


def hasty(bench: Bench) -> Bench:
    """The same bench with a guard that waits less for a silent run."""
    return bench.model_copy(update={"guard_s": 0.4})


@contextlib.contextmanager
def run_of(bench: Bench, folder: Path, how: str = "") -> Iterator[tuple[subprocess.Popen[str], psutil.Process]]:
    """A run in a process group of its own, guarded; with it, the guard's process."""
    description = folder / "bench.json"
    description.write_text(bench.model_dump_json())
    with (
        (folder / "stderr").open("w") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "tests.instruments.guarded_run", str(description), *([how] if how else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            start_new_session=True,
        ) as run,
    ):
        assert run.stdout is not None
        guard = psutil.Process(int(run.stdout.readline()))
        try:
            assert run.stdout.readline() == "running\n"
            yield run, guard
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)
            # While its instruments are still there: without them it would go on trying for a minute.
            assert wait_for(lambda: gone(guard))


def said(run: "subprocess.Popen[str]") -> str:
    assert run.stdin is not None
    assert run.stdout is not None
    run.stdin.write("\n")
    run.stdin.flush()
    return run.stdout.readline().strip()


def safe(source: PlainInstrument, attenuator: PlainAttenuator) -> bool:
    return not source.rf_on and attenuator.attenuation_db == 90


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("how", ["", "work"])
def test_a_run_killed_with_its_group_ends_with_rf_off(
    bench: Bench, source: PlainInstrument, attenuator: PlainAttenuator, tmp_path: Path, how: str
) -> None:
    with run_of(bench.model_copy(update={"guard_s": 1.0}), tmp_path, how) as (run, guard):
        if how:
            # The work holds the interpreter's attention, but the beats come all the same.
            time.sleep(1.5)
        assert source.rf_on
        os.killpg(run.pid, signal.SIGKILL)
        assert wait_for(lambda: safe(source, attenuator))
        assert wait_for(lambda: gone(guard))
    # RF was off before the gain was touched, and both were asked whether they are safe.
    assert source.got == ["*IDN?", ":OUTP OFF", ":OUTP?"]
    assert attenuator.got == [":MN?", ":SETATT=90", ":ATT?"]
    told = (tmp_path / "stderr").read_text()
    assert "the run ended without stopping its guard" in told
    assert "RF off" in told


def test_a_stopped_run_finds_rf_off_when_it_wakes(
    bench: Bench, source: PlainInstrument, attenuator: PlainAttenuator, tmp_path: Path
) -> None:
    with run_of(hasty(bench), tmp_path) as (run, guard):
        run.send_signal(signal.SIGSTOP)
        assert wait_for(lambda: safe(source, attenuator))
        assert wait_for(lambda: gone(guard))
        # The question is asked before the run's threads have read what the guard had to say.
        run.send_signal(signal.SIGCONT)
        assert "no beat for 0.4 s" in said(run)


def test_a_child_that_holds_the_pipe_does_not_hide_the_death(
    bench: Bench, source: PlainInstrument, attenuator: PlainAttenuator, tmp_path: Path
) -> None:
    with run_of(hasty(bench), tmp_path, "fork") as (run, _):
        child = psutil.Process(run.pid).children()
        run.kill()
        assert wait_for(lambda: safe(source, attenuator))
        assert "no beat for 0.4 s" in (tmp_path / "stderr").read_text()
        assert any(process.is_running() for process in child)


def test_a_guard_that_is_dropped_makes_the_bench_safe(
    bench: Bench, source: PlainInstrument, attenuator: PlainAttenuator
) -> None:
    guard = Guard(bench)
    guard.start()
    pid = guard.pid
    assert pid is not None
    assert source.rf_on
    del guard
    assert wait_for(lambda: safe(source, attenuator))
    assert wait_for(lambda: not psutil.pid_exists(pid))


def test_signals_to_the_guard_do_not_end_it(
    bench: Bench, source: PlainInstrument, attenuator: PlainAttenuator, tmp_path: Path
) -> None:
    with run_of(bench, tmp_path) as (run, guard):
        assert os.getpgid(guard.pid) != os.getpgid(run.pid)
        assert os.getsid(guard.pid) != os.getsid(run.pid)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            guard.send_signal(number)
        assert said(run) == "guarded"
        assert source.rf_on
        os.killpg(run.pid, signal.SIGTERM)
        assert run.wait() == -signal.SIGTERM
        assert wait_for(lambda: safe(source, attenuator))


def let_go(guard: Guard) -> None:
    """Do to the guard what the death of the run does to it: the pipe closes."""
    assert guard._link is not None
    guard._link._close_pipe()


def test_a_lost_connection_of_the_guard_is_replaced(
    bench: Bench, source: PlainInstrument, attenuator: PlainAttenuator
) -> None:
    with Guard(bench) as guard:
        source.drop()
        assert wait_for(lambda: source.connections == 0)
        let_go(guard)
        assert wait_for(lambda: safe(source, attenuator))


def test_an_instrument_that_hangs_is_made_safe_and_keeps_no_other_waiting(
    bench: Bench, source: PlainInstrument, attenuator: PlainAttenuator
) -> None:
    with Guard(bench) as guard:
        source.deaf_until = time.monotonic() + 1.0
        let_go(guard)
        assert wait_for(lambda: attenuator.attenuation_db == 90)
        assert source.rf_on
        assert wait_for(lambda: safe(source, attenuator))
        assert wait_for(lambda: guard.fired == "the run ended without stopping its guard")


def test_an_instrument_that_says_it_is_not_safe_is_tried_again(
    bench: Bench, source: PlainInstrument, attenuator: PlainAttenuator
) -> None:
    source.stuck_on.add(":OUTP OFF")
    with Guard(bench) as guard:
        let_go(guard)
        assert wait_for(lambda: source.got.count(":OUTP OFF") >= 2)
        assert psutil.pid_exists(guard.pid or 0)
        source.stuck_on.clear()
        assert wait_for(lambda: safe(source, attenuator))


def test_the_run_notices_that_its_guard_was_killed(bench: Bench) -> None:
    guard = Guard(bench)
    guard.start()
    guard.check()
    assert guard.fired is None
    assert guard.pid is not None
    os.kill(guard.pid, signal.SIGKILL)
    assert wait_for(lambda: guard.fired is not None)
    assert guard.fired is not None
    assert "died (exit code -9)" in guard.fired
    with pytest.raises(DeviceFault, match="died"):
        guard.check()
    # Another one takes its place.
    dead = guard.pid
    guard.start()
    assert guard.pid != dead
    guard.check()
    assert guard.stop() == []


def test_the_run_notices_that_its_guard_is_stuck(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WORD_S", 0.2)
    with Guard(hasty(bench)) as guard:
        assert guard.pid is not None
        os.kill(guard.pid, signal.SIGSTOP)
        try:
            time.sleep(0.4)
            with pytest.raises(DeviceFault, match="has not answered"):
                guard.check()
        finally:
            os.kill(guard.pid, signal.SIGCONT)


def test_a_clean_stop_makes_safe_once_more_and_leaves_nothing(
    bench: Bench, source: PlainInstrument, attenuator: PlainAttenuator, tmp_path: Path
) -> None:
    guard = Guard(bench)
    guard.start()
    pid = guard.pid
    guard.start()
    assert guard.pid == pid
    assert source.got == ["*IDN?"]
    assert guard.stop() == []
    assert safe(source, attenuator)
    assert guard.stop() == []
    assert guard.fired is None
    assert pid is not None
    assert not psutil.pid_exists(pid)
    assert list(locks.folder().iterdir()) == []  # no lock is left
    assert wait_for(lambda: source.connections == attenuator.connections == 0)
    with pytest.raises(DeviceFault, match="not started"):
        guard.check()


def test_stopping_says_what_is_not_safe_and_the_guard_goes_on_trying(
    bench: Bench, source: PlainInstrument, attenuator: PlainAttenuator
) -> None:
    guard = Guard(bench)
    guard.start()
    pid = guard.pid
    source.stuck_on.add(":OUTP OFF")
    (problem,) = guard.stop(wait_s=0.1)
    assert "still trying" in problem
    assert pid is not None
    assert psutil.pid_exists(pid)
    source.stuck_on.clear()
    assert wait_for(lambda: safe(source, attenuator))
    # Reaped: no zombie stays behind.
    assert wait_for(lambda: not psutil.pid_exists(pid))


def test_every_instrument_that_the_guard_cannot_reach_is_told_at_the_start(
    bench: Bench, source: PlainInstrument, attenuator: PlainAttenuator
) -> None:
    source.identity = "Keysight Technologies,E8257D,MY1,C.1"
    attenuator.mute = True
    assert bench.attenuator is not None
    impatient = bench.attenuator.model_copy(update={"timeout_s": 0.3})
    with pytest.raises(DeviceFault) as fault:
        Guard(bench.model_copy(update={"attenuator": impatient})).start()
    lines = str(fault.value).splitlines()
    assert any("source" in line and source.address in line and "expected the model N5182B" in line for line in lines)
    assert any("attenuator" in line and attenuator.address in line for line in lines)
    assert source.rf_on  # Nothing but the identity was asked.
    assert source.got == ["*IDN?"]


def test_an_address_where_nothing_listens_is_told_at_the_start(bench: Bench, source: PlainInstrument) -> None:
    source.close()
    with pytest.raises(DeviceFault, match=r"guard: source at TCPIP0::127\.0\.0\.1::"):
        Guard(bench).start()


def test_a_model_that_nobody_can_make_safe_is_refused() -> None:
    place = "TCPIP0::127.0.0.1::1::SOCKET"
    with pytest.raises(DeviceFault) as fault:
        Guard(
            Bench(
                source=Entry(model="SMB100A", address=place),
                analyzer=Entry(model="anything", address=place),
                amplifier=SupplyEntry(model="PL303", address=place, voltage_v=1, current_a=1),
            )
        )
    assert "SMB100A" in str(fault.value)
    assert "PL303" in str(fault.value)
    assert "anything" not in str(fault.value)


def test_a_second_run_on_the_bench_is_refused(
    bench: Bench, source: PlainInstrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_OTHERS_S", 0.1)
    with Guard(bench) as first:
        with pytest.raises(DeviceFault, match=f"another run is using it .*its guard is process {first.pid}"):
            Guard(bench).start()
        # The first one's bench was not touched.
        first.check()
        assert source.rf_on
        assert source.got == ["*IDN?"]


def test_the_next_run_waits_for_the_guard_of_one_that_was_killed(
    bench: Bench, source: PlainInstrument, attenuator: PlainAttenuator
) -> None:
    killed = Guard(bench)
    killed.start()
    source.deaf_until = time.monotonic() + 0.5
    let_go(killed)
    with Guard(bench) as guard:
        # Nobody turns off what this run has on from here.
        assert safe(source, attenuator)
        source.state[":OUTP"] = "1"
        guard.check()
        assert source.got[-1] == "*IDN?"
        assert source.rf_on
    assert killed.stop() == []


def test_a_run_that_dies_while_its_guard_starts_is_noticed(
    bench: Bench, source: PlainInstrument, attenuator: PlainAttenuator
) -> None:
    source.mute = True
    guard = Guard(bench)
    guard.claim()
    link = guard._link
    assert link is not None
    link.write(b"watch")
    assert wait_for(lambda: source.got == ["*IDN?"])
    source.mute = False
    link.let_go()
    assert not source.rf_on
    assert safe(source, attenuator)


def test_a_bench_is_claimed_before_anything_is_sent_and_made_safe_when_the_run_dies(
    bench: Bench, source: PlainInstrument, attenuator: PlainAttenuator
) -> None:
    guard = Guard(bench)
    guard.claim()
    assert source.got == attenuator.got == []
    assert not guard.on_watch
    # Somebody has another instrument at an address: nothing is set there.
    attenuator.model = "RCDAT-6000-30"
    let_go(guard)
    assert wait_for(lambda: not source.rf_on)
    assert wait_for(lambda: not guard._link or guard._link.process.poll() is not None)
    assert source.got == ["*IDN?", ":OUTP OFF", ":OUTP?"]
    assert attenuator.got == [":MN?"]
    assert any("RCDAT-6000-90" in line and "RCDAT-6000-30" in line for line in guard.stop())


def test_a_bench_that_is_safe_is_left_without_a_word(bench: Bench, source: PlainInstrument, tmp_path: Path) -> None:
    guard = Guard(bench)
    guard.claim()
    assert list(locks.folder().iterdir())
    assert guard.leave() == []
    assert source.got == []
    assert list(locks.folder().iterdir()) == []


def test_a_run_that_is_refused_the_bench_does_nothing_to_it_however_it_ends(
    bench: Bench, source: PlainInstrument, attenuator: PlainAttenuator, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = locks.Locks(places(bench))
    held.take(0.0, os.getpid())
    monkeypatch.setattr(module, "_OTHERS_S", 10.0)
    orders = {
        "guard_s": 3.0,
        "wait_s": 10.0,
        "run": os.getpid(),
        "places": places(bench),
        "about": about(bench),
        "targets": module.safe_targets(bench),
    }
    for word in (b"stop", b""):
        link = module._Link(3.0, 0.1)
        link.begin(orders)
        time.sleep(0.3)
        link.write(word) if word else link.let_go()
        assert wait_for(lambda link=link: link.process.poll() is not None)  # type: ignore[misc]
        link.let_go()
    held.free()
    assert source.got == attenuator.got == []
    assert source.rf_on


def test_one_lock_for_everybody_wherever_their_files_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(locks.VARIABLE)
    script = "from labpgt.locks import folder; print(folder())"
    found = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "TMPDIR": place, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=True,
        ).stdout
        for place in (str(tmp_path), "/var/tmp")
    }
    assert len(found) == 1


def test_who_has_the_bench_is_known_also_when_the_guard_is_gone(bench: Bench) -> None:
    mine, other = Guard(bench), locks.Locks(places(bench))
    with mine.held() as who:
        assert who == ""
        with pytest.raises(RuntimeError, match=f"another run is using it .process {os.getpid()}"):
            other.take(0.0, 1)
    other.take(0.0, 4711)
    with mine.held() as who:
        assert "process 4711" in who
    other.free()
    with mine, mine.held() as who:
        assert who == ""
        with pytest.raises(RuntimeError, match="its guard is process"):
            other.take(0.0, 1)


def test_locks_are_taken_all_or_none(tmp_path: Path) -> None:
    first, both = locks.Locks({"a": "1"}), locks.Locks({"a": "1", "b": "2", "c": "0"})
    first.take(0.0, 1)
    with pytest.raises(RuntimeError, match="a: another run"):
        both.take(0.0, 2)
    assert len(list(locks.folder().iterdir())) == 1
    first.free()
    both.take(0.0, 2)
    for path in locks.folder().iterdir():
        assert path.stat().st_mode & 0o666 == 0o666, "for every user"
    both.free()
    assert list(locks.folder().iterdir()) == []


def test_the_guard_needs_no_heavy_library_and_no_descriptor_of_the_run(bench: Bench, tmp_path: Path) -> None:
    with (tmp_path / "data").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        with Guard(bench) as guard:
            process = psutil.Process(guard.pid)
            opened = [Path(found.path).name for found in process.open_files()]
            assert any(name.endswith(".lock") for name in opened)
            assert "data" not in opened
            loaded = " ".join(found.path for found in process.memory_maps())
            assert "python" in loaded
            assert not any(name in loaded for name in ("/torch/", "/pydantic", "/h5py/", "/scipy/"))
