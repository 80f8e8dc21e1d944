"""`labpgt bench`: what is there and how it is set, without setting anything and without keeping a run waiting."""

import json
import os
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from pymeasure.test import expected_protocol

from instruments import bench_command as module
from instruments.bench import load_bench
from instruments.bench_command import bench as command
from instruments.connect import close, connect_each
from instruments.keysight_n9020a import KeysightN9020A
from instruments.looking import BenchWatch
from instruments.magnonic_ring import MagnonicRing
from instruments.rohdeschwarz_fsv import RohdeSchwarzFSV
from instruments.safety import places
from labpgt import locks
from labpgt.device import Setting
from labpgt.errors import DeviceFault, InputError
from procedures.commands.registered import help_line, loaded
from tests.instruments.benches import TriedBench
from tests.instruments.plain_server import PlainAttenuator, PlainInstrument, wait_for

DRIVES = np.random.default_rng(6).uniform(0, 1, (3, 4))
WAIT_S = 20.0


def rows(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    json.dumps(report, allow_nan=False)
    return {row["role"]: row for row in report["instruments"]}


@pytest.fixture
def looked(bench: TriedBench) -> Iterator[BenchWatch]:
    watching = BenchWatch(load_bench(bench.path), bench.path)
    yield watching
    watching.let_go()


def test_every_instrument_is_shown_as_it_is_set_and_nothing_is_set(bench: TriedBench, looked: BenchWatch) -> None:
    drivers, fault = connect_each(load_bench(bench.path))
    assert fault is None
    drivers["source"].power = -12.5
    drivers["source"].rf_on()
    drivers["amplifier"].output_enabled = True
    drivers["attenuator"].attenuation = 20
    assert drivers["amplifier"].output_enabled
    bench.forget()
    report = looked.look(WAIT_S)
    assert report["bench"] == "virtual envelope bench"
    assert report["in_use"] is None
    assert report["limits"]["attenuation_db"] == (4.0, 90.0)
    found = rows(report)
    assert list(found) == ["source", "analyzer", "attenuator", "amplifier"]
    assert all(row["state"] == "connected" and row["ok"] and not row["detail"] for row in found.values())
    assert found["source"]["identity"].startswith("Agilent Technologies, N5182B, VB")
    assert [found[role]["rf"] for role in found] == ["on", None, None, "on"]
    assert found["source"]["settings"]["power"] == {"value": -12.5, "unit": "dBm"}
    assert found["attenuator"]["settings"] == {"attenuation": {"value": 20.0, "unit": "dB"}}
    assert found["analyzer"]["settings"]["center"]["unit"] == "Hz"
    first = len(bench.sent)
    assert all(message.strip().endswith((b"?", b"?;", b"(@1)")) for _, message in bench.sent), "questions only"
    assert not any(b"ERR" in message for _, message in bench.sent), "errors are left to whoever made them"
    drivers["source"].rf_off()
    assert not drivers["source"].output_enabled
    assert rows(looked.look(WAIT_S))["source"]["rf"] == "off"
    assert len(bench.sent) - first < first, "connections were kept: nobody was asked again who it is"
    drivers["amplifier"].off()
    assert not drivers["amplifier"].output_enabled
    for driver in drivers.values():
        close(driver)


def test_a_run_is_never_refused_and_has_the_bench_to_itself(bench: TriedBench, looked: BenchWatch) -> None:
    reports: list[dict[str, Any]] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            reports.append(looked.look(WAIT_S))

    looking = threading.Thread(target=watch)
    looking.start()
    assert wait_for(lambda: any(rows(report)["source"]["ok"] for report in list(reports)))
    # Looked at without a pause, by something that asks before each question whether a run has the bench.
    with MagnonicRing(bench=str(bench.path)) as ring:
        good = ring.forward(DRIVES)
        state = f"in use by process {os.getpid()}"
        assert wait_for(lambda: all(row["state"] == state for row in rows(reports[-1]).values()))
        assert wait_for(lambda: all(instrument._driver is None for instrument in looked._instruments.values()))
        assert reports[-1]["in_use"] == f"process {os.getpid()}"
        bench.forget()
        assert np.array_equal(ring.forward(DRIVES), good)
        assert not ring.flags().any()
        assert not any(b"*IDN" in message or b":FREQ" in message for _, message in bench.sent)
    assert wait_for(lambda: reports[-1]["in_use"] is None and rows(reports[-1])["source"]["state"] == "connected")
    done.set()
    looking.join()
    assert list(locks.folder().iterdir()) == []


def test_connections_are_given_up_between_two_looks(bench: TriedBench, looked: BenchWatch) -> None:
    looked.look(WAIT_S)
    assert all(instrument._driver is not None for instrument in looked._instruments.values())
    run = locks.Locks(places(load_bench(bench.path)))
    run.take(0.0, 4711)
    looked.rest(time.monotonic() + 0.01)
    assert all(instrument._driver is None for instrument in looked._instruments.values())
    bench.forget()
    report = looked.look(WAIT_S)
    assert report["in_use"] == "process 4711"
    assert rows(report)["source"]["identity"].startswith("Agilent"), "known from before"
    assert bench.sent == []
    run.free()


def test_locks_of_the_dead_are_nobodys() -> None:
    instruments = {"source at X": "tcpip0::x"}
    assert locks.holder(instruments) is None
    assert list(locks.folder().iterdir()) == [], "asking makes no file"
    run = locks.Locks(instruments)
    run.take(0.0, 4711)
    assert locks.holder(instruments) == "process 4711"
    (path,) = locks.folder().iterdir()
    content = path.read_bytes()
    run.free()
    path.write_bytes(content)
    assert locks.holder(instruments) is None
    assert not path.exists()


class Plain:
    """A bench of three plain instruments, and its file."""

    def __init__(self, folder: Path) -> None:
        self.source = PlainInstrument()
        self.source.state |= {":FREQ": "3e9", ":POW": "-7", ":OUTP:MOD": "1", ":POW:ALC": "0"}
        self.source.replies = {":RAD:ARB:WAV?": '""'}
        self.analyzer = PlainInstrument("Keysight Technologies,N9020A,MY2,A.18")
        self.analyzer.replies = {":INST:SEL?": "WLAN"}
        self.attenuator = PlainAttenuator()
        self.path = folder / "bench.toml"
        self.path.write_text(
            "timeout_s = 0.4\n"
            f'[source]\nmodel = "N5182B"\naddress = "{self.source.address}"\n'
            f'[analyzer]\nmodel = "N9020A"\naddress = "{self.analyzer.address}"\n'
            f'[attenuator]\nmodel = "RCDAT-6000-90"\naddress = "{self.attenuator.address}"\n'
        )

    def watch(self) -> BenchWatch:
        return BenchWatch(load_bench(self.path), self.path)

    def close(self) -> None:
        for instrument in (self.source, self.analyzer, self.attenuator):
            instrument.close()


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Plain]:
    made = Plain(tmp_path)
    yield made
    made.close()


def test_what_is_wrong_with_one_is_said_and_the_others_are_shown(plain: Plain) -> None:
    plain.source.identity = "Agilent Technologies, E8257D, US1, C.06"
    plain.source.errors = ['-113,"Undefined header"']
    plain.attenuator.close()
    watching = plain.watch()
    found = rows(watching.look(WAIT_S))
    assert found["source"]["state"] == "wrong instrument"
    assert "expected the model N5182B, found Agilent Technologies E8257D" in found["source"]["detail"]
    assert found["source"]["rf"] == "unknown"
    assert found["attenuator"]["state"] == "unreachable: nothing listens there"
    assert "is it switched on" in found["attenuator"]["detail"]
    assert found["analyzer"]["state"] == "connected"
    assert found["analyzer"]["settings"] == {"mode": {"value": "WLAN", "unit": ""}}
    assert [row["ok"] for row in found.values()] == [False, True, False]
    plain.source.identity = "Keysight Technologies, N5182B, MY00000001, B.01.80"
    assert rows(watching.look(WAIT_S))["source"]["state"] == "connected", "tried again at each look"
    assert plain.source.errors, "they are left to whoever made them"
    watching.let_go()


def test_a_connection_that_was_lost_between_two_looks_is_made_anew(plain: Plain) -> None:
    watching = plain.watch()
    watching.look(WAIT_S)
    plain.source.drop()
    assert wait_for(lambda: plain.source.connections == 0)
    assert rows(watching.look(WAIT_S))["source"]["settings"]["power"] == {"value": -7.0, "unit": "dBm"}
    watching.let_go()


def test_an_instrument_that_hangs_does_not_hold_up_the_others(plain: Plain) -> None:
    plain.attenuator.mute = True
    watching = plain.watch()
    found = rows(watching.look(0.1))
    assert found["attenuator"]["state"] == "unreachable: no answer within 0.1 s"
    assert wait_for(lambda: not watching._asked["attenuator"].busy)
    said = rows(watching.look(WAIT_S))["attenuator"]["state"]
    assert said == "unreachable: no answer to its identity query within 0.4 s"
    # That is better than what is known while it is asked once more.
    assert rows(watching.look(0.0))["attenuator"]["state"] == said
    assert wait_for(lambda: not any(asked.busy for asked in watching._asked.values()))
    watching.let_go()


def test_an_analyser_is_asked_what_its_mode_knows() -> None:
    asked: list[tuple[str | bytes | None, str | bytes | None]] = [
        (":INST:SEL?", "BASIC"),
        (":FREQ:CENT?", "3.2E9"),
        (":WAV:SRAT?", "1E8"),
        (":WAV:SWE:TIME?", "1E-6"),
        (":DISP:WAV:VIEW:WIND:TRAC:Y:RLEV?", "-10"),
        (":POW:ATT?", "4"),
    ]
    with expected_protocol(KeysightN9020A, asked) as instrument:
        found = dict(instrument.live())
    assert found["sample_rate"] == Setting(1e8, "Hz")
    assert found["reference_level"] == Setting(-10.0, "dBm")
    asked = [
        ("FREQ:CENT?", "3.2E9"),
        ("FREQ:SPAN?", "4E7"),
        ("BAND:RES?", "1E6"),
        ("DISP:WIND:TRAC:Y:RLEV?", "-20"),
        ("SWE:POIN?", "501"),
    ]
    with expected_protocol(RohdeSchwarzFSV, asked) as instrument:
        assert dict(instrument.live())["points"] == Setting(501, "")


def test_the_command_shows_a_table_or_json_and_fails_when_one_is_not_there(
    plain: Plain, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    command(plain.path)
    shown = capsys.readouterr().out
    assert "frequency 3 GHz, power -7 dBm, modulation on, levelling off, waveform none" in shown
    assert "attenuation 20 dB" in shown
    plain.attenuator.close()
    with pytest.raises(typer.Exit) as ended:
        command(plain.path)
    assert ended.value.exit_code == 3
    shown = capsys.readouterr().out
    assert "unreachable: nothing listens there" in shown
    assert "is its remote control over this interface enabled?" in " ".join(shown.split())
    with pytest.raises(typer.Exit):
        command(plain.path, as_json=True)
    assert json.loads(capsys.readouterr().out)["instruments"][2]["ok"] is False
    with pytest.raises(InputError, match=r"--watch 0\.01: expected 0\.1 s or more"):
        command(plain.path, watch=0.01)
    with pytest.raises(InputError, match="give --health as well"):
        command(plain.path, overrides=["device.batch=1"])


@pytest.mark.parametrize("ends", ["stdout", "stdin"])
def test_watching_writes_a_line_at_each_look_until_whoever_reads_them_is_gone(plain: Plain, ends: str) -> None:
    program = "import typer; from instruments.bench_command import bench; typer.run(bench)"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(plain.path), "--watch", "0.1", "--json"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as watching:
        assert watching.stdout is not None
        assert watching.stderr is not None
        times = [json.loads(watching.stdout.readline())["time"] for _ in range(2)]
        assert times[1] > times[0]
        getattr(watching, ends).close()
        assert watching.wait(20) == 0
        assert watching.stderr.read() == ""


def test_both_commands_are_registered_with_a_line_of_help() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    commands = project["entry-points"]["labpgt.commands"]
    for name, start in (("bench", "Show the instruments of a bench"), ("rf-off", "Turn RF off on a bench")):
        entry = EntryPoint(name, commands[name], "labpgt.commands")
        assert help_line(entry).startswith(start)
        assert loaded(entry).name == name


def test_ctrl_c_ends_watching(plain: Plain, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    def table(report: dict[str, Any]) -> str:
        shown.append(report["bench"])
        if len(shown) == 2:
            raise KeyboardInterrupt
        return ""

    monkeypatch.setattr(module, "_table", table)
    command(plain.path, watch=0.1)
    assert len(shown) == 2
    assert wait_for(lambda: plain.source.connections == 0)


def test_health_is_that_of_the_ring_as_a_run_finds_it(bench: TriedBench, capsys: pytest.CaptureFixture[str]) -> None:
    ring = bench.ring()
    with pytest.raises(DeviceFault, match="health was asked of a closed device"):
        ring.health()
    with ring:
        found = ring.health()
        assert found["oscillation_margin_db"].value == -50.0 - found["rf_off_line_dbm"].value
        assert found["oscillation_margin_db"].value > 0
        assert found["pilot"].value > 4 * found["noise"].value
        assert found["drift"].value == 0
        ring.forward(DRIVES)
        assert 0 <= ring.health()["drift"].value < found["drift_limit"].value
    command(bench.path, health=True, as_json=True, overrides=["device.pilot_symbols=6"])
    report = json.loads(capsys.readouterr().out)
    assert report["device"] == "magnonic-ring"
    assert report["health"].keys() == found.keys()
    assert report["health"]["drift_limit"] == {"value": 0.1, "unit": ""}
    assert not bench.rf_on
    command(bench.path, health=True)
    assert "oscillation_limit_dbm -50 dBm\n" in capsys.readouterr().out
    with pytest.raises(InputError, match="expected a device on the bench"):
        command(bench.path, health=True, overrides=["device.name=tests.instruments.test_bench_command:NotOnABench"])


class NotOnABench:
    """A device that takes a file and is no ring."""

    name, n_nodes, max_symbols, drive_limits = "none", 1, 1, (0.0, 1.0)

    def __init__(self, bench: str) -> None: ...

    def open(self) -> None: ...

    close = make_safe = settings = forward = __enter__ = __exit__ = open
