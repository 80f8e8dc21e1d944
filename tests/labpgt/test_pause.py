"""Devices that fall ill: spoiled shots are taken again, the run pauses and goes on, and the record replays."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labpgt import pause
from labpgt.errors import DeviceFault
from labpgt.events import SPOILED, Event, Flag, Purpose, RunContinued, RunPaused, Status
from labpgt.replay import Verdict, replay
from labpgt.session import Session
from labpgt.tasks import load_dataset
from procedures.resume import resume
from procedures.train import StopRequest, run
from simulators.echo_state import EchoStateRing
from tests.faults import Ill
from tests.runs import configured

CALLS_BEFORE_TRAINING = 5
"""Calibration: the shots, their repeats, random drives, and two of the first delta tried."""


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pause, "FIRST_WAIT_S", 1e-3)
    monkeypatch.setattr(pause, "LONGEST_WAIT_S", 4e-3)


def device(**illness: Any) -> Ill:
    return Ill(EchoStateRing(n_nodes=5, ring_nodes=5), **illness)


def recorded(path: Path, ill: Ill, told: list[Event] | None = None, **training: Any) -> str:
    """Train with this device into a file; return the hash of the parameters."""
    subscribers = [] if told is None else [told.append]
    return run(configured(training=training), path, subscribers, device=ill).parameters_sha256


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> str:
    return recorded(tmp_path_factory.mktemp("healthy") / "run.h5", device())


def verified(path: Path) -> Verdict:
    with Session(path) as session:
        config = configured()
        *_, verdict = replay(session, config, load_dataset(config.task, config.training.seed))
    assert isinstance(verdict, Verdict)
    return verdict


SPOILT = {
    "calibration": {0: {3: Flag.OVERLOAD}, 2: {0: Flag.OSCILLATION}},
    "drift": {CALLS_BEFORE_TRAINING + 1: dict.fromkeys(range(16), int(Flag.DRIFT))},
    "one half of a pair": {CALLS_BEFORE_TRAINING + 1: {5: Flag.OVERLOAD}},
    "all of a step": {CALLS_BEFORE_TRAINING + 2: dict.fromkeys(range(16), int(Flag.OSCILLATION))},
    "again when taken again": {7: {2: Flag.OVERLOAD}, 8: {0: Flag.OVERLOAD}, 9: {1: Flag.OSCILLATION}},
}


@pytest.mark.parametrize("case", SPOILT)
def test_spoiled_shots_are_kept_flagged_and_taken_again(tmp_path: Path, healthy: str, case: str) -> None:
    path = tmp_path / "run.h5"
    ill = device(flags_at=SPOILT[case])
    assert recorded(path, ill) == healthy, "nothing was learned from a spoiled shot"
    spoiled = sum(len(shots) for shots in SPOILT[case].values())
    with Session(path) as session:
        shots = session.shots()
        assert session.n_shots == len(shots)
    assert shots["index"].tolist() == list(range(len(shots)))
    bad = (shots["flags"] & SPOILED) != 0
    assert bad.sum() == spoiled
    assert np.all(shots["response"][bad] == 7.0), "what the device answered is on record"
    assert np.isnan(shots["loss"][bad]).all()
    again = (shots["flags"] & Flag.RETAKEN) != 0
    assert again.any()
    signs = shots["sign"][shots["sign"] != 0]
    assert signs.tolist() == [1, -1] * (len(signs) // 2), "pairs are whole"
    # Whoever was taken again was asked exactly what it was asked before.
    for row in shots[again & (shots["purpose"] == Purpose.TRAIN)]:
        same = (shots["step"] == row["step"]) & (shots["sample"] == row["sample"]) & (shots["sign"] == row["sign"])
        assert len(np.unique(shots["drive"][same], axis=0)) == 1
    assert verified(path).shots == len(shots)


@pytest.mark.parametrize("call", [0, 4, CALLS_BEFORE_TRAINING, 9])
def test_a_lost_device_pauses_the_run_which_goes_on(tmp_path: Path, healthy: str, call: int) -> None:
    told: list[Event] = []
    ill = device(fails_at=[call], ill_for=3)
    path = tmp_path / "run.h5"
    assert recorded(path, ill, told) == healthy
    assert ill.happened[:6] == ["fault", "safe", "try", "try", "try", "try"], "safe before anything is tried"
    kinds = [type(event) for event in told if isinstance(event, RunPaused | RunContinued)]
    assert kinds == [RunPaused, RunContinued]
    with Session(path) as session:
        assert session.warnings[0] == "paused: analyzer: no answer within 2 s"
        assert session.warnings[1].startswith("goes on after a pause of 0.0 s")
        assert session.status is Status.SUCCESS
    verified(path)


def test_a_pair_that_the_device_tore_is_taken_again_whole(tmp_path: Path, healthy: str) -> None:
    """One shot a call: the fault comes between the halves of a pair."""
    path = tmp_path / "run.h5"
    counted = device()
    recorded(tmp_path / "counted.h5", counted, device_batch=1)
    first = counted.calls - 2 * 120  # iris has 120 training samples, one epoch of pairs
    ill = device(fails_at=[first + 33], ill_for=0)
    assert recorded(path, ill, device_batch=1) == healthy
    with Session(path) as session:
        shots = session.shots()
        torn = np.flatnonzero(shots["flags"] & Flag.TORN)
        assert len(torn) == 1
        assert shots["sign"][torn] == -1
        again = shots[(shots["flags"] & Flag.RETAKEN) != 0]
        assert again["sign"].tolist() == [1, -1]
        assert again["sample"].tolist() == [shots["sample"][torn[0]]] * 2
        config = configured(training={"device_batch": 1})
        *_, verdict = replay(session, config, load_dataset(config.task, 0))
    assert verdict.shots == len(shots)


def test_shots_that_stay_spoiled_pause_the_run_with_the_reason(tmp_path: Path, healthy: str) -> None:
    told: list[Event] = []
    every = {call: {0: int(Flag.OSCILLATION)} for call in range(6, 6 + 1 + 3)}
    ill = device(flags_at=every, ill_for=0)
    path = tmp_path / "run.h5"
    assert recorded(path, ill, told) == healthy
    paused = [event for event in told if isinstance(event, RunPaused)]
    assert len(paused) == 1
    assert "oscillates by itself: raise its attenuation" in paused[0].reason
    assert "training.retakes = 3" in paused[0].reason
    verified(path)


def test_patience_ends_with_what_was_tried_and_the_run_can_be_resumed(tmp_path: Path, healthy: str) -> None:
    path = tmp_path / "run.h5"
    ill = device(fails_at=[9], ill_for=10**9)
    with pytest.raises(DeviceFault, match=r"no answer within 2 s \(the run has waited .* 0\.02 s; last try: still no"):
        recorded(path, ill, patience_s=0.02)
    with Session(path) as session:
        assert session.status is Status.FAILED
        assert "no answer within 2 s" in session.reason
    assert resume(path, device=device()).last.parameters_sha256 == healthy
    verified(path)


def test_without_patience_a_fault_ends_the_run_at_once(tmp_path: Path) -> None:
    ill = device(fails_at=[9])
    with pytest.raises(DeviceFault, match=r"no answer within 2 s$"):
        recorded(tmp_path / "run.h5", ill, patience_s=0)
    assert ill.happened == ["fault", "safe"], "made safe on the way out, and not asked again"


def test_a_device_that_cannot_be_brought_back_is_not_waited_for(tmp_path: Path) -> None:
    from tests.faults import Faulty

    broken = Faulty(EchoStateRing(n_nodes=5, ring_nodes=5), raise_at=60)
    with pytest.raises(DeviceFault, match="cable fell out"):
        run(configured(), tmp_path / "run.h5", device=broken)


@pytest.mark.parametrize("steps_before", [0, 1])
def test_a_stop_while_the_run_is_paused_ends_it_resumable(tmp_path: Path, healthy: str, steps_before: int) -> None:
    path = tmp_path / "run.h5"
    request = StopRequest()

    def watch(event: Event) -> None:
        if isinstance(event, RunPaused):
            request.reason = "Ctrl-C"

    ill = device(fails_at=[CALLS_BEFORE_TRAINING + steps_before], ill_for=10**9)
    last = run(configured(), path, [watch], request, ill)
    assert last.status is Status.ABORTED
    assert ill.happened.count("safe") >= 2
    assert resume(path, device=device()).last.parameters_sha256 == healthy


@pytest.mark.parametrize("stop_at", [6, 7, 8, 9, 10])
def test_a_run_with_spoiled_shots_is_resumed_wherever_it_ended(tmp_path: Path, healthy: str, stop_at: int) -> None:
    """The device dies for good at a call; the record, spoiled shots included, is gone through again."""
    path = tmp_path / "run.h5"
    flags = {6: {2: int(Flag.OVERLOAD)}, 7: {0: int(Flag.OVERLOAD)}, 9: {4: int(Flag.OSCILLATION)}}
    with pytest.raises(DeviceFault):
        recorded(path, device(flags_at=flags, fails_at=[stop_at]), patience_s=0)
    assert resume(path, device=device()).last.parameters_sha256 == healthy
    verified(path)


def test_a_device_that_is_being_resumed_can_be_waited_for(tmp_path: Path, healthy: str) -> None:
    path = tmp_path / "run.h5"
    with pytest.raises(DeviceFault):
        recorded(path, device(fails_at=[8]), patience_s=0.0)
    # The configuration on record has no patience: an ill device ends the resumed run, too.
    with pytest.raises(DeviceFault, match="no answer"):
        resume(path, device=device(fails_at=[0]))
    assert resume(path, device=device()).last.parameters_sha256 == healthy
    patient = tmp_path / "patient.h5"
    with pytest.raises(DeviceFault):
        recorded(patient, device(fails_at=[8], ill_for=10**9), patience_s=0.02)
    ill = device(fails_at=[0, 2], ill_for=1)
    assert resume(patient, device=ill).last.parameters_sha256 == healthy
    assert ill.happened.count("fault") == 2


def test_flags_of_another_number_than_of_shots_are_a_fault(tmp_path: Path) -> None:
    class Confused(Ill):
        def flags(self) -> Any:
            return np.zeros(3, np.uint32)

    with pytest.raises(DeviceFault, match=r"flags of shape \(3,\), expected \(16,\)"):
        recorded(tmp_path / "run.h5", Confused(EchoStateRing(n_nodes=5, ring_nodes=5)), patience_s=0)


@pytest.mark.parametrize("illness", ["shots stay spoiled", "the next call fails"])
def test_patience_counts_although_the_device_seems_well_in_between(tmp_path: Path, illness: str) -> None:
    always = range(6, 10**6)
    ill = (
        device(fails_at=always, ill_for=0)
        if illness == "the next call fails"
        else device(flags_at={call: {0: int(Flag.OVERLOAD)} for call in range(6, 20_000)}, ill_for=0)
    )
    path = tmp_path / "run.h5"
    with pytest.raises(DeviceFault, match=r"training\.patience_s = 0\.1 s; it seemed well [1-9]\d* times in between"):
        recorded(path, ill, patience_s=0.1)
    with Session(path) as session:
        assert session.status is Status.FAILED
        shots = session.shots()
    assert shots["index"].tolist() == list(range(len(shots))), "what was spoiled is on record"


def test_waits_grow_from_one_try_to_the_next(tmp_path: Path, healthy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(pause.Pause, "_wait", lambda self, seconds: waits.append(1e3 * seconds))
    assert recorded(tmp_path / "run.h5", device(fails_at=[7, 9], ill_for=4)) == healthy
    assert waits == pytest.approx([0, 1, 2, 4, 4] * 2), "anew for another illness, and not beyond the longest"


def test_without_retakes_a_spoiled_shot_pauses_at_once(tmp_path: Path, healthy: str) -> None:
    told: list[Event] = []
    path = tmp_path / "run.h5"
    assert recorded(path, device(flags_at={7: {0: Flag.DRIFT}}, ill_for=0), told, retakes=0) == healthy
    paused = [event for event in told if isinstance(event, RunPaused)]
    assert [("taken again" in event.reason, "let it settle" in event.reason) for event in paused] == [(False, True)]
