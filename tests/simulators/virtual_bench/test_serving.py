"""Several clients, clients that go away or send rubbish, and that nothing is left behind."""

import gc
import socket
import threading
import time
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labpgt.errors import InputError
from simulators.virtual_bench.bench import VirtualBench
from simulators.virtual_bench.models import ROLES
from tests.simulators.virtual_bench.support import arm, load, plain, still_bench, until, waveform


def test_instruments_answer_while_one_of_them_computes() -> None:
    with still_bench() as bench:
        world: Any = bench.world
        go_on = threading.Event()
        world.block = lambda: go_on.wait(10)
        with plain(bench, "source") as source, plain(bench, "analyzer") as analyzer:
            load(source, "A", waveform(128))
            arm(source, analyzer)
            source.send("*TRG")
            analyzer.send("*WAI;:FETC:WAV0?")
            until(lambda: len(world.asked) > 0)
            assert source.ask(":OUTP?") == "1"
            with plain(bench, "analyzer") as other:
                assert other.ask("*IDN?").split(",")[1] == "N9020A"
            source.send(":OUTP OFF")
            assert source.ask(":OUTP?") == "0"
            # The world goes on with what was sent out at the trigger, and knows of the change afterwards.
            assert world.output.rf_on
            go_on.set()
            assert len(analyzer.read_block()) == 128 * 8
            until(lambda: not world.output.rf_on)


def test_every_client_gets_its_own_answers() -> None:
    with still_bench(latency_s=1e-3) as bench:
        failed = []

        def talk(number: int) -> None:
            with plain(bench, "source") as client:
                for k in range(20):
                    query = ":FREQ?" if number % 2 else "*IDN?"
                    answer = client.ask(query)
                    if ("Agilent" in answer) == (number % 2 == 1) or client.ask("*OPC?") != "1":
                        failed.append((number, k, answer))

        threads = [threading.Thread(target=talk, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []


def test_messages_sent_in_one_go_are_answered_in_order() -> None:
    with still_bench() as bench, plain(bench, "source") as client:
        client.raw(b"".join(b":FREQ %dMHZ;FREQ?\n" % mhz for mhz in range(100, 400)))
        assert [float(client.read()) for _ in range(300)] == [1e6 * mhz for mhz in range(100, 400)]


def test_a_client_that_goes_away_disturbs_nobody() -> None:
    with still_bench() as bench, plain(bench, "source") as watcher:
        for leaving in (b':MMEM:DATA "WFM1:A",#6400000' + bytes(1000), b":FREQ", b"*IDN?\n*IDN?\n", b"#9", b"'"):
            client = plain(bench, "source")
            client.raw(leaving)
            # With SO_LINGER 0 the connection is torn down, not closed in order.
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            client.close()
            assert watcher.ask("*OPC?") == "1"
        assert watcher.ask(':MMEM:CAT? "WFM1:"').startswith("0,")
        assert watcher.errors() == []


def test_a_question_that_waits_ends_with_its_client() -> None:
    with still_bench() as bench, plain(bench, "source") as source, plain(bench, "analyzer") as analyzer:
        load(source, "A", waveform(128))
        arm(source, analyzer)
        with plain(bench, "analyzer") as other:
            other.send("*WAI;:FETC:WAV0?")
            assert other.silent(0.02)
        source.send("*TRG")
        assert len(analyzer.ask_block("*WAI;:FETC:WAV0?")) == 128 * 8
        assert analyzer.errors() == []


def test_what_came_before_the_end_is_still_done() -> None:
    with still_bench() as bench:
        with plain(bench, "source") as client:
            client.send(":FREQ 2GHZ")
            client.send(":OUTP ON")
        until(lambda: bench.instruments["source"].rf_on)
        assert bench.instruments["source"].values["frequency"] == 2e9


WORDS = st.sampled_from(
    [
        *(b":FREQ", b"FREQ?", b":OUTP", b" ON", b";", b",", b"*IDN?", b"*RST", b"#", b"#15", b'"', b"'", b"(@1", b":"),
        *(b"?", b":MMEM:DATA ", b'"WFM1:A"', b":RAD:ARB:WAV?", b"SYST:ERR?", b"MAX", b"1e9", b"-", b"\r\n", b"\n"),
        *(b"\0\xff", b"VOLT 3,(@1)", b":SETATT=", b"TRAC? TRACE1", b":INIT", b"*WAI", b"*OPC", b"CALC:MARK2:X?"),
        *(b"ARB:DATA 1,2,3", b"APPL 1,2", b"*TRG", b":LIST:POW 1,2", b"CALC:SGR ON", b":POW:MODE LIST", b":FORM "),
    ]
)


@pytest.fixture(scope="module")
def rubbish_bench() -> Any:
    with still_bench(models={"magnet": "HMP4040"}) as bench, still_bench("spectrum") as other:
        yield bench, other


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.lists(st.one_of(WORDS, st.binary(max_size=8)), max_size=30).map(b"".join))
def test_rubbish_never_stops_an_instrument(rubbish_bench: Any, data: bytes) -> None:
    for bench in rubbish_bench:
        for role in bench.models:
            with plain(bench, role) as client:
                client.raw(data + b"\n")
            with plain(bench, role) as client:
                assert client.ask(":MN?" if role == "attenuator" else "*IDN?")
            # An instrument may refuse, and never be at a loss.
            assert not [error for error in bench.instruments[role].errors if error.startswith("-310")]
            bench.call(bench.instruments[role].clear)


def test_latency_and_busy_time() -> None:
    with still_bench(latency_s=0.02) as bench, plain(bench, "source") as source, plain(bench, "analyzer") as analyzer:
        before = bench.busy_s
        start = time.perf_counter()
        for _ in range(5):
            source.ask("*OPC?")
        spent = time.perf_counter() - start
        assert spent >= 5 * 0.02
        assert 5 * 0.02 * 0.9 <= bench.busy_s - before <= spent
        load(source, "A", waveform(128))
        arm(source, analyzer)
        before = bench.busy_s
        analyzer.send("*WAI;:FETC:WAV0?")
        assert analyzer.silent(0.1)
        assert bench.busy_s - before < 0.05  # waiting for a trigger is not work


def test_nothing_is_left_behind() -> None:
    files = getattr(psutil.Process(), "num_fds", lambda: 0)  # Windows counts none
    gc.collect()
    threads, before = threading.active_count(), files()
    for kind in ("envelope", "spectrum", "loopback"):
        with still_bench(kind) as bench:
            ports = [int(address.split("::")[2]) for address in bench.addresses.values()]
            clients = [plain(bench, role) for role in bench.models]
            for client in clients:
                client.raw(b"*OPC?\n:MMEM:DATA 'A',#9")
            with plain(bench, "analyzer") as waiting:
                waiting.send(":TRIG:SOUR EXT;:INIT:CONT OFF;:INIT;*OPC;*OPC?")
                bench.faults.add("source", "hang", seconds=60)
                bench.faults.add("analyzer", "unplugged", seconds=60, after=1)
                with plain(bench, "source") as stuck:
                    stuck.send("*IDN?")
                    waiting.send("*CLS")
                    bench.close()
        bench.close()  # twice does nothing
        for client in clients:
            client.close()
        for port in ports:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), timeout=1)
    gc.collect()
    assert threading.active_count() == threads
    # Clients of earlier tests may have gone in the meantime.
    assert files() <= before


def test_it_listens_on_loopback_only() -> None:
    with still_bench() as bench:
        for server in bench._servers.values():
            assert server._server is not None
            assert {s.getsockname()[0] for s in server._server.sockets} == {"127.0.0.1"}


def test_what_cannot_be_a_bench() -> None:
    for arguments, words in (
        ({"kind": "envelop"}, 'Did you mean "envelope"'),
        ({"models": {"sauce": "N5182B"}}, 'Did you mean "source"'),
        ({"models": {"source": "N5182"}}, 'Did you mean "N5182B"'),
        ({"models": {"source": "N9020A"}}, "expected one of N5182B"),
        ({"latency_s": -1.0}, "0 to 60 s"),
        ({"ring": "no-ring"}, "no-ring"),
    ):
        with pytest.raises(InputError, match=words.replace("(", r"\(")):
            VirtualBench(**arguments)


def test_every_model_of_every_role_identifies_itself() -> None:
    for role, models in ROLES.items():
        for model in models:
            kind = "spectrum" if role == "source" else "envelope"
            with still_bench(kind, models={role: model}) as bench, plain(bench, role) as client:
                if role == "attenuator":
                    assert client.ask(":MN?") == f"MN={model}"
                else:
                    assert client.ask("*IDN?").split(",")[1] == model
                    assert client.ask("*WAI;*OPC?;*TST?;*OPC?") == "1;0;1"
                    assert client.ask("*OPT?;*STB?").endswith(";0")
                    assert client.errors() == []


def test_the_configuration_is_that_of_the_bench() -> None:
    import tomllib

    with still_bench("spectrum", models={"magnet": "E36312A"}) as bench:
        found = tomllib.loads(bench.config_text())
        for role, address in bench.addresses.items():
            assert found[role]["address"] == address
            assert found[role]["model"] == bench.models[role]
            assert found[role]["serial"] == bench.instruments[role].serial
        assert set(found) == {"name", "timeout_s", "guard_s", "limits", "wiring", *bench.addresses}
        assert found["wiring"] == {"full_scale_v": 0.25, "tesla_per_ampere": 0.05}
