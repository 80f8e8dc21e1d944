"""Each fault, as it looks on the wire."""

import socket
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from simulators.virtual_bench.bench import VirtualBench
from simulators.virtual_bench.faults import KINDS, Faults
from tests.simulators.virtual_bench.support import Plain, arm, load, plain, still_bench, until, waveform

LATE_S = 0.2
"""Long enough to be told from a quick answer by what comes first, not by a clock."""


@pytest.fixture(scope="module")
def bench() -> Iterator[VirtualBench]:
    with still_bench() as bench:
        yield bench


@pytest.fixture
def client(bench: VirtualBench) -> Iterator[Plain]:
    bench.faults.clear()
    with plain(bench, "analyzer") as client:
        client.send("*RST;*CLS")
        assert client.errors() == []
        yield client


def test_only_what_can_go_wrong_can_be_added() -> None:
    faults = Faults(["source", "analyzer"])
    for role, kind, more in (
        ("magnet", "late", {}),
        ("source", "later", {}),
        ("source", "overload", {}),
        ("source", "stale", {}),
        ("analyzer", "ignored", {}),
        ("analyzer", "rf-off", {}),
        ("source", "stuck", {}),
        ("source", "turned", {}),
        ("source", "late", {"after": -1}),
        ("source", "late", {"count": 0}),
        ("source", "late", {"seconds": float("nan")}),
    ):
        with pytest.raises(ValueError, match="fault"):
            faults.add(role, kind, **more)  # type: ignore[arg-type]
    assert faults.added == []


def test_a_fault_strikes_at_its_message_and_not_again(bench: VirtualBench, client: Plain) -> None:
    fault = bench.faults.add("analyzer", "missing", after=2)
    assert client.ask("*OPC?") == "1"
    assert client.ask("*OPC?") == "1"
    assert fault.struck == 0
    client.send("*OPC?")
    until(lambda: fault.struck == 1)
    assert client.silent()
    assert client.ask("*OPC?") == "1"


def test_a_fault_of_replies_waits_for_one(bench: VirtualBench, client: Plain) -> None:
    fault = bench.faults.add("analyzer", "missing", count=2)
    client.send(":INIT:CONT OFF")
    client.send("*OPC?")
    client.send("*OPC?")
    until(lambda: fault.struck == 2)
    assert client.silent()
    assert client.ask(":INIT:CONT?") == "0"  # all was done all the same


def test_late(bench: VirtualBench, client: Plain) -> None:
    bench.faults.add("analyzer", "late", seconds=LATE_S)
    client.send("*OPC?")
    with plain(bench, "analyzer") as other:
        assert other.ask("*OPC?") == "1"  # nobody else waits
    assert client.silent(0.01)
    assert client.read() == "1"


def test_truncated(bench: VirtualBench, client: Plain) -> None:
    whole = client.ask("*IDN?")
    bench.faults.add("analyzer", "truncated")
    client.send("*IDN?")
    client.send("*OPC?")
    # Half of the reply has no end, so that the next one is glued to it.
    assert client.read() == whole[: len(whole) // 2] + "1"


def test_garbage(bench: VirtualBench, client: Plain) -> None:
    whole = client.ask("*IDN?")
    bench.faults.add("analyzer", "garbage")
    found = client.ask("*IDN?")
    assert found != whole
    assert not found.isascii()
    assert client.ask("*IDN?") == whole


def test_identity(bench: VirtualBench, client: Plain) -> None:
    bench.faults.add("analyzer", "identity")
    assert client.ask("*OPC?") == "1"  # it waits for the question that it is about
    assert client.ask("*IDN?").split(",")[1] == "MODEL X"
    assert client.ask("*IDN?").split(",")[1] == "N9020A"
    bench.faults.add("attenuator", "identity")
    with plain(bench, "attenuator") as attenuator:
        assert attenuator.ask(":MN?") == "MN=RCDAT-9999-1"
        assert attenuator.ask(":MN?") == "MN=RCDAT-6000-90"


def test_not_a_number(bench: VirtualBench, client: Plain) -> None:
    bench.faults.add("analyzer", "nan", count=3)
    assert client.ask("*OPC?") == "1"
    assert client.ask(":FREQ:CENT?") == "9.91E+37"
    client.send(":SWE:POIN 10;:FORM ASC;:UNIT:POW V")
    values = [float(x) for x in client.ask("TRAC? TRACE1").split(",")]
    assert all(0 < value < 1 for value in values[:5])
    assert values[5:] == [9.91e37] * 5
    client.send(":FORM REAL,32;:FORM:BORD SWAP")
    found = np.frombuffer(client.ask_block("TRAC? TRACE1"), "<f4")
    assert len(found) == 10
    assert np.isnan(found).tolist() == [False] * 5 + [True] * 5


def test_dropped_before_and_after_it_was_done(bench: VirtualBench, client: Plain) -> None:
    source = bench.instruments["source"]
    for kind, done in (("drop", False), ("drop-after", True)):
        with plain(bench, "source") as victim, plain(bench, "source") as other:
            victim.send(":OUTP OFF")
            assert victim.ask("*OPC?") == "1"
            bench.faults.add("source", kind)
            victim.send(":OUTP ON")
            victim.send(":FREQ 1GHZ")
            with pytest.raises(ConnectionError):
                victim.ask("*OPC?")
            assert source.rf_on is done
            assert other.ask(":OUTP?") == str(int(done))
            assert float(other.ask(":FREQ?")) != 1e9  # what came behind is lost


def test_an_error_in_the_queue(bench: VirtualBench, client: Plain) -> None:
    bench.faults.add("analyzer", "error", after=1)
    assert client.ask("*OPC?") == "1"
    assert client.errors() == [-310]


def test_a_hung_instrument_does_later_what_it_was_told(bench: VirtualBench, client: Plain) -> None:
    source = bench.instruments["source"]
    with plain(bench, "source") as victim:
        victim.send("*RST")
        assert victim.ask("*OPC?") == "1"
        bench.faults.add("source", "hang", seconds=LATE_S)
        victim.send("*OPC?")
        with plain(bench, "source") as other:
            other.send(":FREQ 2GHZ")
            other.send(":OUTP ON")
            assert other.silent(0.02)
            assert not source.rf_on
        # The other one has gone; a command that came too late for it takes effect all the same.
        assert client.ask("*OPC?") == "1"  # another instrument is not touched
        until(lambda: source.rf_on)
        assert source.values["frequency"] == 2e9
        assert victim.read() == "1"
        victim.send("*RST")
        assert victim.ask(":OUTP?") == "0"


def test_unplugged(bench: VirtualBench, client: Plain) -> None:
    address = bench.addresses["source"]
    with plain(bench, "source") as victim, plain(bench, "source") as other:
        assert victim.ask("*OPC?") == other.ask("*OPC?") == "1"
        fault = bench.faults.add("source", "unplugged", seconds=LATE_S)
        victim.send(":OUTP ON")
        for gone in (victim, other):
            with pytest.raises(ConnectionError):
                gone.read()
    until(lambda: refused(address))
    assert fault.struck == 1
    until(lambda: not refused(address))
    assert bench.addresses["source"] == address
    assert not bench.instruments["source"].rf_on
    with plain(bench, "source") as again:
        assert again.ask("*OPC?") == "1"


def refused(address: str) -> bool:
    try:
        socket.create_connection(("127.0.0.1", int(address.split("::")[2])), timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


def capture(bench: VirtualBench, source: Plain, analyzer: Plain) -> tuple[Any, int]:
    """What the world was told to do to a capture, and the overload event afterwards."""
    assert analyzer.ask(":INIT:WAV;:STAT:OPER:COND?") == "32"
    source.send("*TRG")
    analyzer.ask_block("*WAI;:FETC:WAV0?")
    world: Any = bench.world
    return world.disturbed[-1], int(analyzer.ask(":STAT:QUES:INT?"))


def test_what_happens_to_the_signal(bench: VirtualBench, client: Plain) -> None:
    bench.faults.add("source", "oscillate", after=10**6)  # never
    with plain(bench, "source") as source:
        source.send("*RST;*CLS")
        load(source, "A", waveform(128))
        arm(source, client)
        assert capture(bench, source, client) == ((False, False, 1.0), 0)
        bench.faults.add("analyzer", "overload")
        assert capture(bench, source, client) == ((True, False, 1.0), 16)
        assert capture(bench, source, client) == ((False, False, 1.0), 0)
        for kind, expected in (("oscillate", (False, True, 1.0)), ("drift", (False, False, 1.3))):
            bench.faults.add("analyzer", kind, seconds=LATE_S)
            assert capture(bench, source, client)[0] == expected
            end = time.monotonic() + 20 * LATE_S
            while capture(bench, source, client)[0] != (False, False, 1.0):
                assert time.monotonic() < end


def fetched(source: Plain, analyzer: Plain) -> NDArray[np.float32]:
    """The samples of a capture, taken anew."""
    assert analyzer.ask(":INIT:WAV;:STAT:OPER:COND?") == "32"
    source.send("*TRG")
    return np.frombuffer(analyzer.ask_block("*WAI;:FETC:WAV0?"), "<f4")


def test_a_stale_capture_is_the_one_before(bench: VirtualBench, client: Plain) -> None:
    world: Any = bench.world
    with plain(bench, "source") as source:
        source.send("*RST;*CLS")
        load(source, "A", waveform(128))
        arm(source, client)
        assert source.errors() == []
        taken = []
        fault = None
        for level in (1.0, 2.0, 3.0, 4.0):
            world.level = level
            if level == 2.0:
                fault = bench.faults.add("analyzer", "stale", count=2)
            taken.append(fetched(source, client)[2] / 1e-3)
        assert taken == pytest.approx([1.0, 1.0, 2.0, 4.0])
        assert fault is not None
        assert fault.struck == 2
        # Another length cannot be the one before: the fault waits for one that can.
        fault = bench.faults.add("analyzer", "stale")
        world.level = 5.0
        client.send(":WAV:SWE:TIME 2560ns")
        assert fetched(source, client)[2] / 1e-3 == pytest.approx(5.0)
        assert fault.struck == 0
        world.level = 6.0
        assert fetched(source, client)[2] / 1e-3 == pytest.approx(5.0)
        assert fault.struck == 1
        world.level = 1.0
        assert client.errors() == []


def test_a_waveform_is_silently_not_taken(bench: VirtualBench) -> None:
    instrument = bench.instruments["source"]
    with plain(bench, "source") as source:
        source.send("*RST;*CLS")
        load(source, "B", waveform(128, peak=1000))
        assert source.errors() == []
        fault = bench.faults.add("source", "ignored")
        load(source, "B", waveform(256, peak=2000))  # of another length: its markers alone would be an error
        assert source.errors() == []
        assert fault.struck == 1
        assert instrument.codes["B"].shape == (128, 2)
        assert instrument.codes["B"].max() == 1000
        assert instrument.markers["B"].shape == (128,)
        load(source, "B", waveform(256, peak=2000))
        assert source.errors() == []
        assert instrument.codes["B"].shape == (256, 2)


def test_a_list_is_silently_not_taken() -> None:
    with still_bench("spectrum") as bench, plain(bench, "source") as source:
        instrument = bench.instruments["source"]
        source.send(":LIST:TYPE LIST;:LIST:POW -1,-2;:LIST:DWEL 0.1,0.1")
        assert source.errors() == []
        bench.faults.add("source", "ignored")
        source.send(":LIST:POW -3,-4,-5;:LIST:DWEL 0.1,0.1,0.1;:POW:MODE LIST;:TRIG:SOUR BUS;:INIT:CONT OFF;:INIT")
        assert source.errors() == []
        assert instrument.values["list_dbm"] == [-1, -2]
        source.send(":LIST:POW -3,-4,-5;:LIST:DWEL 0.1,0.1,0.1")
        assert source.errors() == []
        assert instrument.values["list_dbm"] == [-3, -4, -5]


def test_somebody_turns_rf_off(bench: VirtualBench) -> None:
    with plain(bench, "source") as source:
        source.send("*RST;*CLS")
        assert source.ask(":OUTP ON;:OUTP?") == "1"
        bench.faults.add("source", "rf-off", after=1)
        assert source.ask(":OUTP?") == "1"
        assert source.ask(":OUTP?") == "0"
        assert not bench.instruments["source"].rf_on
        assert not bench.world.output.rf_on
        assert source.ask(":OUTP ON;:OUTP?") == "1"  # at a button, not for ever
        assert source.errors() == []
        source.send("*RST")


def test_an_attenuator_that_does_not_move(bench: VirtualBench) -> None:
    with plain(bench, "attenuator") as attenuator:
        assert attenuator.ask(":SETATT=20") == "1"
        bench.faults.add("attenuator", "stuck", count=2)
        for _ in range(2):
            assert attenuator.ask(":SETATT=30") == "1"
            assert attenuator.ask(":ATT?") == "20.00"
            assert bench.world.attenuation_db == 20
        assert attenuator.ask(":SETATT=30") == "1"
        assert attenuator.ask(":ATT?") == "30.00"
        assert bench.world.attenuation_db == 30


def test_somebody_turns_the_attenuator_up(bench: VirtualBench) -> None:
    with plain(bench, "attenuator") as attenuator:
        assert attenuator.ask(":SETATT=20") == "1"
        bench.faults.add("attenuator", "turned")
        assert attenuator.ask(":ATT?") == "30.00"
        assert bench.world.attenuation_db == 30
        assert attenuator.ask(":SETATT=85") == "1"
        bench.faults.add("attenuator", "turned")
        assert attenuator.ask(":ATT?") == "90.00"


def test_an_overload_is_really_beyond_the_converter() -> None:
    with VirtualBench("loopback") as bench, plain(bench, "analyzer") as client:
        client.send(":INST:SEL BASIC;:CONF:WAV;:TRIG:WAV:SOUR IMM;:INIT:CONT OFF;:FORM REAL,32;:FORM:BORD SWAP")
        client.send(":WAV:SRAT 100MHZ;:WAV:SWE:TIME 2us;:DISP:WAV:VIEW:WIND:TRAC:Y:RLEV 0;:FREQ:CENT 6GHZ")
        bench.faults.add("analyzer", "overload")
        values = np.frombuffer(client.ask_block(":READ:WAV0?"), "<f4")
        assert client.ask("STAT:QUES:INT:COND?") == "16"
        assert client.ask("STAT:QUES:INT:COND?") == "16"
        assert np.abs(values).max() == pytest.approx(np.sqrt(0.1), rel=1e-4)
        assert np.abs(np.frombuffer(client.ask_block(":READ:WAV0?"), "<f4")).max() < 1e-2
        assert client.ask("STAT:QUES:INT:COND?;:SYST:ERR?") == '0;+0,"No error"'
        # The event is held over the capture that was well, until it is read.
        assert [client.ask("STAT:QUES:INT?") for _ in range(2)] == ["16", "0"]
        bench.faults.add("analyzer", "overload")
        client.ask_block(":READ:WAV0?")
        assert client.ask("*CLS;:STAT:QUES:INT:EVEN?") == "0"


def test_an_overload_of_a_sweep_is_held_until_it_is_read() -> None:
    with still_bench("spectrum") as bench, plain(bench, "analyzer") as client:
        client.send("INIT:CONT OFF")
        bench.faults.add("analyzer", "overload")
        assert client.ask("INIT;*WAI;:STAT:QUES:POW:COND?") == "1"
        assert client.ask("INIT;*WAI;:STAT:QUES:POW:COND?") == "0"
        assert [client.ask("STAT:QUES:POW?") for _ in range(2)] == ["1", "0"]
        assert client.errors() == []


def test_every_kind_is_tried_here() -> None:
    with open(__file__, encoding="utf-8") as file:  # noqa: PTH123
        text = file.read()
    assert [kind for kind in KINDS if f'"{kind}"' not in text] == []
