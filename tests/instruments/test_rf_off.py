"""RF off from outside: whoever has the bench, whatever else is wrong with it."""

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from instruments import guard_process
from instruments import rf_off as module
from instruments import sentinel as sentinel_module
from instruments.bench import load_bench
from instruments.magnonic_ring import MagnonicRing
from instruments.rf_off import rf_off
from instruments.safety import places, safe_targets
from instruments.sentinel import Sentinel
from labpgt import locks
from labpgt.errors import DeviceFault, InputError
from tests.instruments.benches import TriedBench
from tests.instruments.plain_server import PlainAttenuator, PlainInstrument, wait_for

DRIVES = np.random.default_rng(5).uniform(0, 1, (3, 4))


class Plain:
    """A bench of a source that is on and an attenuator at 20 dB; the supply of its amplifier answers, too."""

    def __init__(self, folder: Path) -> None:
        self.source, self.attenuator = PlainInstrument(), PlainAttenuator()
        self.amplifier = PlainInstrument("Keysight Technologies,E36312A,MY3,1.0")
        self.amplifier.replies = {"OUTP? (@1)": "0"}
        self.path = folder / "plain.toml"
        self.models = {"source": "N5182B", "attenuator": "RCDAT-6000-90", "amplifier": "E36312A"}

    def sentinel(self) -> Sentinel:
        text = 'timeout_s = 0.4\n[analyzer]\nmodel = "N9020A"\naddress = "TCPIP0::127.0.0.1::1::SOCKET"\n'
        for role, model in self.models.items():
            text += f'[{role}]\nmodel = "{model}"\naddress = "{getattr(self, role).address}"\n'
        self.path.write_text(text + "voltage_v = 5.0\ncurrent_a = 0.5\n")
        return Sentinel(load_bench(self.path))

    def close(self) -> None:
        for instrument in (self.source, self.attenuator, self.amplifier):
            instrument.close()


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Plain]:
    made = Plain(tmp_path)
    yield made
    made.close()


def test_rf_goes_off_first_then_the_gain_whoever_has_the_bench(plain: Plain, monkeypatch: pytest.MonkeyPatch) -> None:
    sentinel = plain.sentinel()
    run = locks.Locks(places(load_bench(plain.path)))
    run.take(0.0, 4711)
    plain.source.delay_s = 0.05
    rf_at_gain_down: list[bool] = []
    reply = plain.attenuator._reply

    def watched(message: str) -> str | None:
        if message.startswith(":SETATT"):
            rf_at_gain_down.append(plain.source.rf_on)
        return reply(message)

    monkeypatch.setattr(plain.attenuator, "_reply", watched)
    found = sentinel.off()
    run.free()
    assert found.off
    assert found.in_use == "process 4711"
    assert len(found.done) == 3
    assert found.rf_off_s is not None
    assert found.rf_off_s <= found.took_s
    assert not plain.source.rf_on
    assert rf_at_gain_down == [False]
    assert plain.attenuator.attenuation_db == 90
    assert "OUTP 0,(@1)" in plain.amplifier.got


def test_what_is_unplugged_keeps_nothing_else_on(plain: Plain) -> None:
    sentinel = plain.sentinel()
    plain.attenuator.close()
    found = sentinel.off()
    assert not plain.source.rf_on
    assert len(found.done) == 2
    (problem,) = found.problems
    assert problem.startswith("attenuator at TCPIP0::127.0.0.1::")
    assert "90 dB could not be reached within 0.4 s" in problem
    assert "by hand" in problem


def test_a_source_that_is_unplugged_keeps_nothing_else_on(plain: Plain) -> None:
    sentinel = plain.sentinel()
    plain.source.close()
    found = sentinel.off()
    assert found.rf_off_s is None
    assert [problem.partition(" at ")[0] for problem in found.problems] == ["source"]
    assert plain.attenuator.attenuation_db == 90


def test_an_instrument_that_stays_on_is_told(plain: Plain) -> None:
    plain.source.stuck_on.add(":OUTP OFF")
    found = plain.sentinel().off()
    assert not found.off
    assert "source" in found.problems[0]
    assert "answers '1' to :OUTP?, 0 was expected" in found.problems[0]


def test_another_model_is_left_alone_but_one_spoiled_answer_does_not_make_a_stranger(plain: Plain) -> None:
    sentinel = plain.sentinel()
    plain.source.identity = "Agilent Technologies, E8257D, US1, C.06"
    found = sentinel.off()
    assert plain.source.rf_on
    assert ":OUTP OFF" not in plain.source.got
    assert "expected the model N5182B, but 'Agilent" in found.problems[0]
    assert "left alone" in found.problems[0]
    answers = iter(["~~garbage"])
    usual = plain.source._reply
    plain.source.identity = "Keysight Technologies, N5182B, MY00000001, B.01.80"
    plain.source._reply = lambda message: next(answers, None) or usual(message)  # type: ignore[method-assign]
    assert sentinel.off().off
    assert not plain.source.rf_on


def test_a_model_that_nobody_can_make_safe_is_a_problem_and_the_rest_is_done(plain: Plain) -> None:
    plain.models["attenuator"] = "DIAL-30"
    sentinel = plain.sentinel()
    assert sentinel.roles == ["source", "amplifier"]
    found = sentinel.off()
    assert not plain.source.rf_on
    assert len(found.done) == 2
    assert "no commands are known that make it safe" in found.problems[0]
    assert found.problems[0] in sentinel.state()["problems"]


def test_off_does_not_wait_for_ever_for_a_driver_that_is_stuck(plain: Plain, monkeypatch: pytest.MonkeyPatch) -> None:
    sentinel, stuck, reached = plain.sentinel(), threading.Event(), sentinel_module._reached

    def hang(target: dict[str, Any], rf_off: threading.Event, first: bool) -> str:
        if target["role"] == "source":
            stuck.wait(60)
        return reached(target, rf_off, first)

    monkeypatch.setattr(sentinel_module, "_reached", hang)
    monkeypatch.setattr(sentinel_module, "STUCK_S", 0.7)
    found = sentinel.off()
    stuck.set()
    (problem,) = found.problems
    assert problem.startswith("source at TCPIP0::")
    assert problem.endswith("no word within 1.5 s; make it safe by hand")
    assert plain.attenuator.attenuation_db == 90
    assert wait_for(lambda: not plain.source.rf_on), "it goes on trying"


def test_a_guard_lets_go_of_the_bench_also_when_a_driver_is_stuck(
    plain: Plain, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    stuck, safe = threading.Event(), guard_process.make_safe

    def hang(target: dict[str, Any], *rest: Any, **words: Any) -> str:
        if target["role"] == "source":
            stuck.wait(60)
        return safe(target, *rest, **words)

    plain.sentinel()
    monkeypatch.setattr(guard_process, "make_safe", hang)
    monkeypatch.setattr(guard_process, "PERSIST_S", 1.0)
    monkeypatch.setattr(guard_process, "STUCK_S", 0.5)
    watch = guard_process.Watch()
    assert watch._secure(safe_targets(load_bench(plain.path)), unasked=False) == 1
    assert "gave no word in 1.5 s" in capfd.readouterr().out
    assert plain.attenuator.attenuation_db == 90
    stuck.set()
    assert wait_for(lambda: not plain.source.rf_on)


def test_off_does_not_wait_for_a_state_that_hangs(plain: Plain) -> None:
    sentinel = plain.sentinel()
    plain.attenuator.mute = True
    states: list[dict[str, Any]] = []
    asking = threading.Thread(target=lambda: states.append(sentinel.state()))
    asking.start()
    assert wait_for(lambda: ":MN?" in plain.attenuator.got)
    found = sentinel.off()
    assert not plain.source.rf_on
    assert found.rf_off_s is not None
    assert [problem.partition(" at ")[0] for problem in found.problems] == ["attenuator"]
    asking.join()
    (state,) = states
    assert state["roles"]["attenuator"] == {"rf": "unknown", "answer": None}
    assert ["no answer" in problem for problem in state["problems"]] == [True]


def test_the_state_is_asked_over_a_connection_that_is_kept_and_renewed(plain: Plain) -> None:
    sentinel = plain.sentinel()
    state = sentinel.state()
    assert state == {
        "rf": "on",
        "since": None,
        "in_use": None,
        "roles": {
            "source": {"rf": "on", "answer": "1"},
            "attenuator": {"rf": "on", "answer": "20.00"},
            "amplifier": {"rf": "off", "answer": "0"},
        },
        "problems": [],
    }
    assert sentinel.state() == state
    assert plain.source.connections == 1
    assert plain.source.got == ["*IDN?", ":OUTP?", ":OUTP?"], "questions only"
    plain.source.drop()
    assert wait_for(lambda: plain.source.connections == 0)
    plain.source.state[":OUTP"] = "0"
    assert sentinel.state()["rf"] == "off"
    plain.source.state[":OUTP"] = "perhaps"
    state = sentinel.state()
    assert state["rf"] == "unknown"
    assert "answers 'perhaps' to :OUTP?" in state["problems"][0]


def test_a_supply_whose_channels_a_run_selects_is_not_asked_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "bench.toml"
    supply = 'model = "HMP4040"\naddress = "TCPIP0::127.0.0.1::1::SOCKET"\nvoltage_v = 5.0\ncurrent_a = 0.5\n'
    path.write_text(
        '[source]\nmodel = "N5182B"\naddress = "TCPIP0::127.0.0.1::2::SOCKET"\n'
        '[analyzer]\nmodel = "N9020A"\naddress = "TCPIP0::127.0.0.1::3::SOCKET"\n'
        f"[amplifier]\nchannel = 1\n{supply}[magnet]\nchannel = 2\n{supply}[wiring]\ntesla_per_ampere = 0.05\n"
    )
    bench = load_bench(path)
    run = locks.Locks(places(bench))
    run.take(0.0, 4711)
    problems = Sentinel(bench).state()["problems"]
    run.free()
    assert any(text.startswith("amplifier at") and "not asked while a run" in text for text in problems)


class Talk:
    """Standard input and output of a command that is in this process; lines are asked for one by one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, command: Callable[[], None]) -> None:
        self._words: queue.Queue[str | None] = queue.Queue()
        self.said: queue.Queue[dict[str, Any]] = queue.Queue()
        monkeypatch.setattr(sys, "stdin", iter(self._words.get, None))
        monkeypatch.setattr(
            module._Voice, "__call__", lambda voice, words: self.said.put(json.loads(json.dumps(words)))
        )
        self._thread = threading.Thread(target=command)
        self._thread.start()

    def ask(self, word: str) -> dict[str, Any]:
        self._words.put(f"{word}\n")
        return self.said.get(timeout=20)

    def end(self) -> None:
        self._words.put(None)
        self._thread.join()


def test_the_panic_button_turns_rf_off_under_a_run_which_finds_out(
    bench: TriedBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with MagnonicRing(bench=str(bench.path)) as ring:
        good = ring.forward(DRIVES)
        talk = Talk(monkeypatch, lambda: rf_off(bench.path, serve=True))
        ready = talk.said.get(timeout=20)
        assert ready["ready"]
        assert ready["guarded"] == ["source", "attenuator", "amplifier"]
        state = talk.ask("state")
        assert (state["rf"], state["in_use"], state["problems"]) == ("on", f"process {os.getpid()}", [])
        assert np.array_equal(ring.forward(DRIVES), good), "questions change nothing"
        answer = talk.ask("off")
        assert answer["off"]
        assert answer["problems"] == []
        assert answer["in_use"] == f"process {os.getpid()}"
        assert "may turn RF on again" in answer["note"]
        assert not bench.rf_on
        assert talk.ask("state")["rf"] == "off"
        assert "expected one of the words off, state" in talk.ask("offf")["error"]
        with pytest.raises(DeviceFault):
            ring.forward(DRIVES)
        ring.recover()
        assert np.array_equal(ring.forward(DRIVES), good)
        talk.end()
        assert bench.rf_on, "the end of standard input leaves RF as it is"


def test_a_file_that_describes_no_bench_is_told_in_json(tmp_path: Path) -> None:
    path = tmp_path / "bench.toml"
    path.write_text('[source]\nmodel = "N5182B"\n')
    program = "import typer; from instruments.rf_off import rf_off; typer.run(rf_off)"
    served = subprocess.run(
        [sys.executable, "-c", program, str(path), "--serve"],
        input="",
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert served.returncode == 2
    words = json.loads(served.stdout)
    assert words["exit_code"] == 2
    assert "source.address" in words["error"]
    with pytest.raises(InputError, match=r"source\.address"):
        rf_off(path)


def test_the_command_says_what_is_safe_and_fails_when_something_is_not(
    plain: Plain, capsys: pytest.CaptureFixture[str]
) -> None:
    plain.sentinel()
    rf_off(plain.path)
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith(": RF off")
    assert sorted(line.partition(" at ")[0] for line in said) == ["amplifier", "attenuator", "source"]
    plain.attenuator.close()
    with pytest.raises(DeviceFault, match="NOT SAFE: attenuator at"):
        rf_off(plain.path)
    with pytest.raises(typer.Exit) as ended:
        rf_off(plain.path, as_json=True)
    assert ended.value.exit_code == 3
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["off"] is False
    assert len(report["done"]) == 2
