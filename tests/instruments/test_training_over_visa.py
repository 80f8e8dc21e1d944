"""Runs on the virtual bench: the same result as the ring used directly, faults, and a bench that is not in order.

The ring behind the bench has no noise, so that every shot has one right answer.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from instruments.magnonic_ring import MagnonicRing
from labpgt.config import Config
from labpgt.control import Request, ask
from labpgt.events import Event, RunPaused, Status, StepDone
from labpgt.session import Session
from procedures.train import run
from simulators.virtual_bench.bench import VirtualBench
from simulators.virtual_bench.faults import KINDS
from tests.bench_faults import FaultyBench, Injected, draw
from tests.procedures.conftest import Labpgt, folder, labpgt  # noqa: F401
from tests.virtual_runs import RING, Quantised, small, write_bench

HEARD: list[tuple[str, str, bytes]] = []
"""Role, direction and text of every message and reply."""


@pytest.fixture(scope="module")
def bench() -> Iterator[VirtualBench]:
    with VirtualBench(settings=RING, watch=lambda *what: HEARD.append(what)) as bench:
        yield bench


@pytest.fixture(scope="module")
def faulty(bench: VirtualBench, tmp_path_factory: pytest.TempPathFactory) -> FaultyBench:
    return FaultyBench(bench, tmp_path_factory.mktemp("faulty"))


def rf_on(bench: VirtualBench) -> bool:
    return bool(bench.instruments["source"].rf_on)  # type: ignore[attr-defined]


def test_breast_cancer_over_visa_is_the_run_on_the_ring_itself(bench: VirtualBench, tmp_path: Path) -> None:
    config = Config.model_validate({"training": {"epochs": 1}})
    device = MagnonicRing(bench=write_bench(bench, tmp_path / "bench.toml"))
    over_visa = run(config, tmp_path / "visa.h5", device=device)
    directly = run(config, tmp_path / "direct.h5", device=Quantised())
    assert over_visa.parameters_sha256 == directly.parameters_sha256
    assert over_visa.status is Status.SUCCESS
    assert not rf_on(bench)
    assert [what for what in HEARD if what[0] == "source" and b":OUTP ON" in what[2]], "there was something to turn off"
    with Session(tmp_path / "visa.h5") as visa, Session(tmp_path / "direct.h5") as direct:
        assert np.array_equal(visa.shots()["response"], direct.shots()["response"])
        assert visa.shots()["flags"].max() == 0


@pytest.mark.parametrize("device_batch", [1, 5])
def test_the_result_does_not_depend_on_how_shots_are_batched(
    bench: VirtualBench, faulty: FaultyBench, tmp_path: Path, device_batch: int
) -> None:
    device = MagnonicRing(bench=write_bench(bench, tmp_path / "bench.toml"))
    last = run(small(device_batch=device_batch), tmp_path / "run.h5", device=device)
    assert last.parameters_sha256 == faulty.hash


def test_a_run_that_somebody_pauses_has_its_rf_off_and_comes_out_the_same(
    bench: VirtualBench, faulty: FaultyBench, tmp_path: Path
) -> None:
    path = tmp_path / "run.h5"
    rf: list[bool] = []

    def watch(event: Event) -> None:
        if isinstance(event, StepDone) and not rf:
            rf.append(rf_on(bench))
            ask(path, Request.PAUSE)
        elif isinstance(event, RunPaused):
            rf.append(rf_on(bench))
            ask(path, Request.CONTINUE)

    last = run(small(), path, [watch], device=MagnonicRing(bench=write_bench(bench, tmp_path / "bench.toml")))
    assert rf == [True, False]
    assert (last.status, last.parameters_sha256) == (Status.SUCCESS, faulty.hash)


@pytest.mark.parametrize(("kind", "another"), list(zip(KINDS[::2], (*KINDS, KINDS[0])[1::2], strict=True)))
def test_a_fault_of_each_kind(faulty: FaultyBench, kind: str, another: str) -> None:
    """The table of a thousand (`python -m tests.fault_table`) in small: two faults a run."""
    random = np.random.default_rng([7, KINDS.index(kind)])
    found = faulty.outcome(draw(random, kind, 1) + draw(random, another, 1))
    assert found.rf_off, found
    assert found.wrong == 0, found
    assert found.same, found


@pytest.mark.parametrize("kind", ["overload", "drift", "oscillate"])
def test_shots_with_a_bad_flag_are_on_record_and_taken_again(faulty: FaultyBench, kind: str) -> None:
    found = faulty.outcome((Injected(False, kind, "analyzer", 30, 0.05, 1),))
    assert found.struck == 1
    assert found.spoiled > 0, "the spoiled shots are in the file, with their flags"
    assert (found.end, found.same, found.wrong) == ("success", True, 0)


def swapped(line: str, other: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert line in text, text
        return text.replace(line, other, 1)

    return change


BAD: dict[str, tuple[Callable[[str], str], dict[str, object], str]] = {
    "nothing listens": (swapped("127.0.0.1::", '127.0.0.1::1::SOCKET"  #'), {}, r"source at .*: nothing listens there"),
    "wrong model": (swapped('"N9020A"', '"FSV-7"'), {}, r"analyzer at .* expected .*FSV-7.* found .*N9020A"),
    "limit below the power": (
        swapped("power_dbm = 10.0", "power_dbm = -3.0"),
        {},
        r"power_dbm = 0: .* limit is -3 dBm",
    ),
    "power above the limit": (lambda text: text, {"power_dbm": 12}, r"power_dbm = 12: .* limit is 10 dBm"),
    "option missing": (swapped('serial = "VB000001"', 'options = ["UNT"]'), {}, r"source at .* option.* UNT"),
    "serial of another": (swapped('serial = "VB000001"', 'serial = "MY1"'), {}, r"source at .* serial .*MY1"),
    "no file": (lambda text: text, {"bench": "elsewhere.toml"}, r"bench /.*elsewhere\.toml: cannot be read"),
    "symbols off the grid": (lambda text: text, {"symbol_s": 33e-9}, r"symbol_s = 3\.3e-08: is 3\.3 samples"),
    "more bandwidth than there is": (
        lambda text: text,
        {"source_rate_hz": 400e6},
        r"source_rate_hz = 4e\+08: .* go up",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_found_before_rf_is_on(
    bench: VirtualBench,
    labpgt: Labpgt,  # noqa: F811
    folder: Path,  # noqa: F811
    case: str,
) -> None:
    change, settings, message = BAD[case]
    write_bench(bench, folder / "bench.toml", change)
    keys = {"bench": "bench.toml", **settings}
    sets = [f"--set=device.{key}={value!r}".replace("'", '"') for key, value in keys.items()]
    HEARD.clear()
    done = labpgt("train", "--device", "magnonic-ring", *sets, "--out", "run.h5")
    assert done.code == (2 if case == "no file" else 3), done.err
    assert re.search(message, done.err), done.err
    assert not rf_on(bench)
    assert not [what for what in HEARD if what[0] == "source" and b":OUTP ON" in what[2]], "not for a moment"
    assert not (folder / "run.h5").exists()


def test_all_that_is_wrong_is_told_at_once(bench: VirtualBench, labpgt: Labpgt, folder: Path) -> None:  # noqa: F811
    def change(text: str) -> str:
        text = text.replace('serial = "VB000002"', 'serial = "OTHER"').replace('serial = "VB000003"', 'serial = "X"')
        return text.replace("power_dbm = 10.0", "power_dbm = -3.0")

    write_bench(bench, folder / "bench.toml", change)
    done = labpgt("train", "--device", "magnonic-ring", "--set", "device.bench=bench.toml")
    assert done.code == 3
    for part in ("power_dbm = 0", "analyzer at", "attenuator at"):
        assert sum(part in line for line in done.err.splitlines()) == 1, done.err


def test_two_parts_on_one_address(bench: VirtualBench, labpgt: Labpgt, folder: Path) -> None:  # noqa: F811
    def change(text: str) -> str:
        return text.replace(bench.addresses["analyzer"], bench.addresses["source"])

    write_bench(bench, folder / "bench.toml", change)
    done = labpgt("train", "--device", "magnonic-ring", "--set", "device.bench=bench.toml")
    assert done.code == 3
    assert "source and analyzer both have the address" in done.err


def test_a_loopback_is_no_ring(bench: VirtualBench, labpgt: Labpgt, folder: Path) -> None:  # noqa: F811
    write_bench(bench, folder / "bench.toml")
    done = labpgt("characterize", "--device", "loopback", "--set", "device.bench=bench.toml", "--only", "noise")
    assert done.code == 3
    assert "the bench has an attenuator and an amplifier, so a ring and no cable" in done.err
