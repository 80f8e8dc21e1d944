"""`labpgt doctor --bench`: each thing that can be wrong at an instrument is found, and comes with what to do."""

import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import pyvisa

from instruments import doctor as module
from instruments.bench import load_bench
from instruments.doctor import bench_checks
from instruments.safety import places
from labpgt import locks
from labpgt.checks import Check
from tests.instruments.plain_server import PlainAttenuator, PlainInstrument


class Bench:
    """A bench of three instruments that are in order, and its file."""

    def __init__(self, folder: Path) -> None:
        self.source = PlainInstrument()
        self.source.state[":OUTP"] = "0"
        self.analyzer = PlainInstrument("Keysight Technologies,N9020A,MY2,A.18")
        self.attenuator = PlainAttenuator()
        self.path = folder / "bench.toml"
        self.source_keys = ""
        self.addresses = [self.source.address, self.analyzer.address, self.attenuator.address]

    def checks(self) -> dict[str, Check]:
        source, analyzer, attenuator = self.addresses
        self.path.write_text(
            "timeout_s = 0.4\n"
            f'[source]\nmodel = "N5182B"\naddress = "{source}"\n{self.source_keys}\n'
            f'[analyzer]\nmodel = "N9020A"\naddress = "{analyzer}"\n'
            f'[attenuator]\nmodel = "RCDAT-6000-90"\naddress = "{attenuator}"\n'
        )
        found = bench_checks(self.path)
        assert len({check.name for check in found}) == len(found)
        assert all(check.ok or check.advice for check in found)
        return {check.name: check for check in found}

    def close(self) -> None:
        for instrument in (self.source, self.analyzer, self.attenuator):
            instrument.close()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    # Looking for instruments asks the whole network.
    monkeypatch.setattr(pyvisa.ResourceManager, "list_resources", lambda self, query: ("USB0::1::2::3::INSTR",))
    made = Bench(tmp_path)
    yield made
    made.close()


def failed(checks: dict[str, Check]) -> list[str]:
    return [name for name, check in checks.items() if not check.ok]


def test_a_bench_in_order_passes_and_nothing_is_set(bench: Bench) -> None:
    checks = bench.checks()
    assert failed(checks) == []
    for role in ("source", "analyzer", "attenuator"):
        for what in ("reachable", "termination", "identity", "round trip"):
            assert checks[f"{role}: {what}"].ok
    assert "N5182B" in checks["source: identity"].detail
    assert checks["source: RF"].detail == "off"
    assert checks["source: error queue"].detail == "empty"
    assert checks["attenuator: state"].detail == ":ATT? 20.00"
    assert checks["attenuator: second connection"].ok
    assert "carriage return and line feed" in checks["attenuator: termination"].detail
    assert "USB0::1::2::3::INSTR" in checks["VISA resources"].detail
    asked = bench.source.got + bench.analyzer.got + bench.attenuator.got
    assert all(message.endswith("?") for message in asked)
    assert bench.source.got.count("*IDN?") > module.ROUND_TRIPS


def nothing_listens(bench: Bench) -> None:
    bench.source.close()


def another_model(bench: Bench) -> None:
    bench.source.identity = "Agilent Technologies, E8257D, US1, C.06"


def exchanged(bench: Bench) -> None:
    bench.addresses[:2] = bench.addresses[1::-1]


def wants_cr_lf(bench: Bench) -> None:
    bench.source.wanted_end = b"\r\n"


def answers_with_cr(bench: Bench) -> None:
    bench.source.termination = b"\r"


def answers_without_end(bench: Bench) -> None:
    bench.source.termination = b""


def garbage(bench: Bench) -> None:
    bench.source.identity = "\x01\xfe~~"


def a_web_page(bench: Bench) -> None:
    bench.source.identity = "HTTP/1.1 400 Bad Request"


def hung(bench: Bench) -> None:
    bench.source.mute = True


def busy(bench: Bench) -> None:
    bench.source.busy_until = time.monotonic() + 0.7


def errors_left(bench: Bench) -> None:
    bench.source.errors = ['-113,"Undefined header"', '-222,"Data out of range"']


def slow(bench: Bench) -> None:
    bench.source.delay_s = 0.12


def rf_is_on(bench: Bench) -> None:
    bench.source.state[":OUTP"] = "1"


def option_missing(bench: Bench) -> None:
    bench.source_keys = 'options = ["653", "656"]'


def another_serial(bench: Bench) -> None:
    bench.source_keys = 'serial = "MY42"'


def falls_silent(bench: Bench) -> None:
    bench.source._reply = lambda message: bench.source.identity if message == "*IDN?" else None  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("change", "name", "detail", "advice"),
    [
        (nothing_listens, "source: reachable", "nothing listens", "Switch the instrument on"),
        (another_model, "source: identity", "expected the model N5182B", "Correct address or model of [source]"),
        (exchanged, "source: identity", "found Keysight Technologies,N9020A", "source and analyzer exchanged"),
        (wants_cr_lf, "source: termination", "only to messages that end with carriage return", "a line feed in its"),
        (answers_with_cr, "source: termination", "ends with a carriage return", "Set the end of answers"),
        (answers_without_end, "source: termination", "ends with nothing", "Set the end of answers"),
        (garbage, "source: identity", "is not an identity", "Give the port"),
        (a_web_page, "source: identity", "this is a web page's port", "5025"),
        (hung, "source: answers", "no answer to *IDN? within 1.2 s", "switch it off and on"),
        (busy, "source: answers", "no answer to *IDN? within 0.4 s", "busy"),
        (errors_left, "source: error queue", '-113,"Undefined header"; -222,"Data out', "gone from the instrument"),
        (slow, "source: round trip", "median of", "by a cable"),
        (rf_is_on, "source: RF", "on (:OUTP? answers 1)", "press RF Off"),
        (option_missing, "source: options", "needed 653, 656; installed 653, 657", "option 656"),
        (another_serial, "source: identity", "expected serial number MY42", "serial of [source]"),
        (falls_silent, "source: answers", "no answer to a later question", "busy"),
    ],
)
def test_each_problem_is_found_with_what_to_do(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, change: Callable[[Bench], None], name: str, detail: str, advice: str
) -> None:
    monkeypatch.setattr(module, "ROUND_TRIPS", 3)
    monkeypatch.setattr(module, "_BUSY", 3)
    change(bench)
    checks = bench.checks()
    assert name in failed(checks)
    assert detail in checks[name].detail
    assert advice in checks[name].advice
    # The others are examined all the same.
    if change is not exchanged:
        assert all(problem.startswith("source: ") for problem in failed(checks))
        assert checks["analyzer: identity"].ok
        assert checks["attenuator: round trip"].ok


def test_a_busy_instrument_is_examined_further(bench: Bench) -> None:
    busy(bench)
    checks = bench.checks()
    assert failed(checks) == ["source: answers"]
    assert checks["source: RF"].ok


def test_a_model_without_driver_is_named(bench: Bench) -> None:
    bench.source_keys = ""
    bench.checks()
    bench.path.write_text(bench.path.read_text().replace('"N5182B"', '"N5182C"'))
    checks = {check.name: check for check in bench_checks(bench.path)}
    assert "did you mean N5182B" in checks["source: driver"].detail
    assert "make a N5182C safe" in checks["source: safety"].detail


def test_a_file_that_is_no_bench_is_told_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "bench.toml"
    path.write_text('[source]\nmodel = "N5182B"\n')
    checks = bench_checks(path)
    assert len(checks) >= 2
    assert not any(check.ok for check in checks)
    assert any("source.address" in check.detail for check in checks)
    (missing,) = bench_checks(tmp_path / "nowhere.toml")
    assert "cannot be read" in missing.detail


def test_nothing_is_asked_while_a_run_is_on_the_bench(bench: Bench) -> None:
    bench.checks()
    run = locks.Locks(places(load_bench(bench.path)))
    run.take(0.0, 4711)
    bench.source.errors = ['-113,"Undefined header"']
    for instrument in (bench.source, bench.analyzer, bench.attenuator):
        instrument.got.clear()
    checks = bench.checks()
    assert failed(checks) == ["bench: in use"]
    assert "process 4711" in checks["bench: in use"].detail
    assert "Nothing was asked" in checks["bench: in use"].advice
    assert bench.source.got == bench.analyzer.got == bench.attenuator.got == []
    assert bench.source.errors, "they are the run's to read"
    run.free()
    assert failed(bench.checks()) == ["source: error queue"]
    assert list(locks.folder().iterdir()) == []


def test_looking_for_instruments_warns_of_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def listed(self: object, query: str) -> tuple[str, ...]:
        warnings.warn("needs the zeroconf package", UserWarning, stacklevel=2)
        return ()

    monkeypatch.setattr(pyvisa.ResourceManager, "list_resources", listed)
    assert failed(bench.checks()) == []
