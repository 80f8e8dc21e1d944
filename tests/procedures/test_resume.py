"""A run that ended too early goes on in its file, and ends as if it had never stopped."""

import os
import shutil
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

import labpgt.session.recovery as recovery_module
from labpgt.config import Config, to_toml
from labpgt.device import Setting
from labpgt.errors import DeviceFault, InputError, RunAborted, StorageFault
from labpgt.events import Event, Purpose, RunResumed, ShotsTaken, Status, StepDone, Subscriber
from labpgt.losses import Loss
from labpgt.replay import ELSEWHERE, ReplayMismatch, Verdict, replay
from labpgt.session import Session
from labpgt.session.buffer import RowBuffer
from labpgt.session.disk import part_path
from labpgt.session.layout import sum_up
from labpgt.session.provenance import provenance
from labpgt.tasks import load_dataset
from procedures.resume import resume
from procedures.train import StopRequest, run
from simulators.echo_state import EchoStateRing
from tests import forked
from tests.faults import Faulty
from tests.kills import running, start_forked
from tests.labpgt.test_optimizers import OPTIMIZERS, SCHEDULERS, UNUSABLE
from tests.procedures.conftest import Labpgt
from tests.runs import configured, record

TIMES = {"wall_s", "device_s", "logging_s", "overhead_us_per_shot"}
PASSED_OVER = "passed over: the disk may be failing"
EVERY_STEP = {"checkpoint_shots": 1}


def ring(noise: float = 0.02) -> EchoStateRing:
    return EchoStateRing(n_nodes=5, ring_nodes=5, noise=noise)


class Disguised(Faulty):
    """A faulty ring that calls itself what the ring does."""

    @property
    def name(self) -> str:
        return self.inner.name


def of_ring(session: dict[str, Any] | None = None, **training: Any) -> Config:
    noise = 0.0 if training.get("estimator") == "backprop" else 0.02
    return configured(training=training, session=session or {}, device={"noise": noise})


def stop_live(steps: int) -> tuple[StopRequest, Subscriber]:
    """A request to stop so many updates after the device has come in."""
    request, seen = StopRequest(), [-1]

    def watch(event: Event) -> None:
        if isinstance(event, RunResumed):
            seen[0] = 0
        if isinstance(event, StepDone) and seen[0] >= 0:
            seen[0] += 1
            if seen[0] == steps:
                request.reason = "enough seen"

    return request, watch


def same_but_for_times(left: NDArray[np.void], right: NDArray[np.void]) -> None:
    """Check that two tables are equal, NaN for NaN, in everything but when it was."""
    assert len(left) == len(right)
    for name in set(left.dtype.names or ()) - {"time", "duration"}:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def same_runs(path: Path, whole: Path) -> None:
    """Check that a resumed session holds what the one of the run that never stopped holds."""
    with Session(path) as resumed, Session(whole) as never_stopped:
        assert resumed.status is Status.SUCCESS
        assert resumed.reason == never_stopped.reason
        assert resumed.parameters_sha256 == never_stopped.parameters_sha256 != ""
        for table in ("shots", "steps", "epochs"):
            same_but_for_times(getattr(resumed, table)(), getattr(never_stopped, table)())
        assert [text for text in resumed.warnings if PASSED_OVER not in text] == never_stopped.warnings
        mine, theirs = ({k: v for k, v in s.results.items() if k not in TIMES} for s in (resumed, never_stopped))
        assert mine == theirs
        assert resumed.configuration == never_stopped.configuration
        assert resumed.settings == never_stopped.settings
    with h5py.File(path) as file, h5py.File(whole) as other:
        for name in other["entry/learning_curve"]:
            np.testing.assert_array_equal(file[f"entry/learning_curve/{name}"], other[f"entry/learning_curve/{name}"])


def stopped_and_resumed(tmp_path: Path, config: Config, steps: int) -> None:
    """Compare a run aborted after so many updates, and resumed, with one that was not."""
    whole, path = tmp_path / "whole.h5", tmp_path / "run.h5"
    record(config, whole)
    assert record(config, path, steps=steps).status is Status.ABORTED
    done = resume(path)
    assert done.resumed is not None
    same_runs(path, whole)


@pytest.mark.parametrize("every", [1, 1_000_000], ids=["from a checkpoint", "from the first checkpoint"])
@pytest.mark.parametrize("estimator", ["pgt", "node", "jacobian-twin", "readout", "backprop"])
def test_an_aborted_run_of_every_estimator_goes_on(estimator: str, every: int, tmp_path: Path) -> None:
    training = {"estimator": estimator, "epochs": 3, "evaluation": "full", "baseline": True}
    stopped_and_resumed(tmp_path, of_ring({"checkpoint_shots": every}, **training), steps=20)


@pytest.mark.parametrize(
    "training",
    [
        {"estimator": "pgt", "dropout": 0.5, "perturbation_range": 3, "directions": 2},
        {"estimator": "node", "directions": 3, "delta": 0.1},
        {"batch": 7, "device_batch": 3, "loss": "cross-entropy", "evaluation": "test"},
        {"max_shots": 300, "epochs": 9, "evaluation": "full"},
        {"target_loss": 10.0, "epochs": 9},
    ],
    ids=["pgt", "node", "small device batches", "max_shots", "target_loss"],
)
def test_whatever_the_options(training: dict[str, Any], tmp_path: Path) -> None:
    stopped_and_resumed(tmp_path, of_ring(EVERY_STEP, **training), steps=11)


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name not in UNUSABLE])
def test_every_optimiser_goes_on_with_what_it_had_gathered(name: str, tmp_path: Path) -> None:
    options = {"momentum": 0.9} if name in ("SGD", "RMSprop") else {}
    training = {"optimizer": name, "optimizer_options": options, "estimator": "readout"}
    stopped_and_resumed(tmp_path, of_ring(EVERY_STEP, **training), steps=6)


@pytest.mark.parametrize("name", list(SCHEDULERS))
def test_every_schedule_goes_on_where_it_was(name: str, tmp_path: Path) -> None:
    training = {"scheduler": name, "scheduler_options": SCHEDULERS[name], "estimator": "readout"}
    stopped_and_resumed(tmp_path, of_ring(EVERY_STEP, **training), steps=6)


def test_again_and_again(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.h5", tmp_path / "run.h5"
    config = of_ring({"checkpoint_shots": 50}, epochs=3)
    record(config, whole)
    record(config, path, steps=1)
    for _ in range(5):
        request, watch = stop_live(4)
        assert resume(path, [watch], request).last.status is Status.ABORTED
    resume(path)
    same_runs(path, whole)
    with Session(path) as session:
        assert len(session.resumptions) == 6
        shots = [resumption.shot for resumption in session.resumptions]
        assert shots == sorted(set(shots))
        assert {resumption.status for resumption in session.resumptions} == {"aborted"}
        assert session.resumptions[0].reason == "enough seen"
        assert session.resumptions[0].provenance["pid"] == str(os.getpid())
        verdict = list(replay(session, config, load_dataset(config.task, 0)))[-1]
    assert isinstance(verdict, Verdict)
    assert verdict.tolerance == 0


def test_only_what_came_after_the_checkpoint_is_gone_through_again(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    record(of_ring({"checkpoint_shots": 64}, epochs=3), path, steps=21)
    with Session(path) as session:
        recorded = session.n_shots
    seen: list[Event] = []
    done = resume(path, [seen.append])
    assert done.resumed == RunResumed(done.resumed.time if done.resumed else 0.0, recorded, 32)
    at = seen.index(done.resumed)
    assert sum(len(e.rows) for e in seen[:at] if isinstance(e, ShotsTaken)) == 32


def test_a_step_cut_short_by_a_fault_keeps_its_shots_and_gets_their_losses(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.h5", tmp_path / "run.h5"
    config = of_ring(device_batch=1, delta=0.1, epochs=2)
    record(config, whole)
    with pytest.raises(DeviceFault):
        record(config, path, Disguised(ring(), nan_at=150))
    with Session(path) as session:
        before = session.shots()
        assert session.status is Status.FAILED
    assert np.isnan(before["loss"][-1])
    resume(path)
    same_runs(path, whole)
    with Session(path) as session:
        np.testing.assert_array_equal(session.shots()["time"][: len(before)], before["time"])
        assert "cable" not in session.reason
        assert "not finite" in session.resumptions[0].reason


def test_a_stop_between_device_calls_ends_after_the_pair(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.h5", tmp_path / "run.h5"
    config = of_ring(device_batch=1, delta=0.1, epochs=2)
    record(config, whole)
    request, device = StopRequest(), Disguised(ring())
    forward = device.forward

    def asked(drives: NDArray[np.float64]) -> NDArray[np.float64]:
        if device.next == 100:  # the first half of a pair, in the middle of a step of 16
            request.reason = "Ctrl-C"
        return forward(drives)

    device.forward = asked  # type: ignore[method-assign]
    assert run(config, path, [], request, device).status is Status.ABORTED
    with Session(path) as session:
        assert session.n_shots == 102
        assert session.shots()["sign"][-2:].tolist() == [1, -1]
        assert len(session.steps()) * 16 < (session.shots()["purpose"] == Purpose.TRAIN).sum()
        verdict = list(replay(session, config, load_dataset(config.task, 0)))[-1]
        assert isinstance(verdict, Verdict)
        assert verdict.hashes == 1
    resume(path)
    same_runs(path, whole)


def test_half_a_pair_at_the_end_is_taken_again_whole(tmp_path: Path) -> None:
    """So a file looks whose disk lost its last block in a power cut."""
    whole, path = tmp_path / "whole.h5", tmp_path / "run.h5"
    config = of_ring(epochs=2)
    record(config, whole)
    record(config, path, steps=20)
    with h5py.File(path, "r+") as file:
        shots = file["entry/shots"]
        assert shots["sign"][-8] == 1
        shots.resize((len(shots) - 7,))
        file["entry/steps"].resize((len(file["entry/steps"]) - 1,))
        kept = len(shots)
        sum_up(file, ended=True)
    done = resume(path)
    assert done.resumed is not None
    assert done.resumed.shot == kept - 1
    same_runs(path, whole)


def test_a_run_that_lacks_only_its_end_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, path = tmp_path / "whole.h5", tmp_path / "run.h5"
    config = of_ring(epochs=2, evaluation="test")
    record(config, whole)
    shutil.copy(whole, path)
    with pytest.raises(InputError, match=r"ended in success \(training.epochs = 2 done\); there is nothing to resume"):
        resume(path)
    with h5py.File(path, "r+") as file:
        for name in ("end_time", "reason", "parameters_sha256"):
            file[f"entry/{name}"][()] = b""
        file["entry/status"][()] = b"running"
        sum_up(file, ended=False)
    monkeypatch.setattr("labpgt.session.recorded.process_runs", lambda *_: False)
    done = resume(path)
    assert done.resumed is None, "the device was not asked"
    same_runs(path, whole)


def test_the_device_is_made_safe_and_untouched_by_the_record(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    record(of_ring(epochs=2), path, steps=10)
    device = Disguised(ring())
    with Session(path) as session:
        recorded = session.n_shots
    resume(path, device=device)
    with Session(path) as session:
        assert sum(len(drives) for drives in device.seen) == session.n_shots - recorded


def changed(path: Path) -> None:
    record(of_ring(epochs=2), path, steps=10)


def test_changed_settings_stop_it_with_a_table_and_leave_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    changed(path)
    before = path.read_bytes()
    device = EchoStateRing(n_nodes=5, ring_nodes=5, noise=0.03)
    device.settings = lambda: {  # type: ignore[method-assign]
        **EchoStateRing.settings(device),
        "temperature": Setting(293.0, "K"),
    }
    with pytest.raises(InputError) as caught:
        resume(path, device=device)
    lines = str(caught.value).splitlines()
    assert "not set as it was" in lines[0]
    assert [line.split() for line in lines[1:4]] == [
        ["setting", "recorded", "now"],
        ["noise", "0.02", "0.03"],
        ["temperature", "-", "293.0", "K"],
    ]
    assert "--accept-changed-settings" in lines[-1]
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["run.h5"]


def test_changed_settings_can_be_accepted_and_are_written_down(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    changed(path)
    request, watch = stop_live(5)
    device = EchoStateRing(n_nodes=5, ring_nodes=5, noise=0.03)
    resume(path, [watch], request, device=device, accept_changed_settings=True)
    with Session(path) as session:
        assert session.settings["noise"].value == 0.02
        assert session.resumptions[0].settings["noise"].value == 0.03
    # What counts now is what was accepted.
    with pytest.raises(InputError, match=r"noise +0\.03 +0\.02"):
        resume(path)
    resume(path, device=device)
    with Session(path) as session:
        assert session.status is Status.SUCCESS
        config = of_ring(epochs=2)
        assert isinstance(list(replay(session, config, load_dataset(config.task, 0)))[-1], Verdict)


def test_a_run_that_goes_on_is_not_resumed(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    refused: list[str] = []

    def try_it(event: Event) -> None:
        if isinstance(event, StepDone) and not refused:
            with pytest.raises(InputError, match="still going on") as caught:
                resume(path)
            refused.append(str(caught.value))

    run(of_ring(), path, [try_it])
    assert f"process {os.getpid()} on " in refused[0]


def test_two_at_once(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    record(of_ring(epochs=2), path, steps=10)
    refused: list[str] = []

    def try_it(event: Event) -> None:
        if isinstance(event, ShotsTaken) and not refused:
            with pytest.raises(InputError, match="another process is resuming it") as caught:
                resume(path)
            refused.append(str(caught.value))

    resume(path, [try_it])
    assert refused


def test_another_device_than_the_recorded_one_is_found_before_it_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    record(of_ring(epochs=2), path, steps=10)
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"n_nodes +5 +6"):
        resume(path, device=EchoStateRing(n_nodes=6, ring_nodes=5, noise=0.02))
    assert path.read_bytes() == before


def test_stopped_while_it_goes_through_the_record_nothing_has_happened(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    record(of_ring(epochs=2), path, steps=10)
    before = path.read_bytes()
    request = StopRequest()

    def watch(event: Event) -> None:
        if isinstance(event, StepDone):
            request.reason = "Ctrl-C"

    done = resume(path, [watch], request)
    assert (done.last.status, done.resumed) == (Status.ABORTED, None)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["run.h5"]


def test_a_second_ctrl_c_at_once_keeps_every_shot(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.h5", tmp_path / "run.h5"
    config = of_ring(epochs=2)
    record(config, whole)
    record(config, path, steps=10)

    def twice(event: Event) -> None:
        if isinstance(event, StepDone) and event.row["step"] == 15:
            for _ in range(2):
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(RunAborted, match="aborted at once"):
        resume(path, [twice])
    with Session(path) as session:
        assert session.status is Status.ABORTED
        assert len(session.steps()) == 16
    resume(path)
    same_runs(path, whole)


def test_a_disk_without_room_for_a_copy_leaves_the_session_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.h5"
    record(of_ring(epochs=2), path, steps=10)
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(1, 1, 64 << 20))  # type: ignore[attr-defined]
        with pytest.raises(StorageFault, match=r"MB are free.*second copy"):
            resume(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["run.h5"]
    resume(path)


def test_a_copy_that_reads_back_otherwise_never_takes_the_place_of_the_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.h5"
    record(of_ring(epochs=2), path, steps=10)
    before = path.read_bytes()

    class Forgetful(RowBuffer):
        def add(self, rows: NDArray[Any]) -> None:
            rows = np.array(rows)
            if "response" in (rows.dtype.names or ()):
                rows["response"][3, 0, 0] += 1
            super().add(rows)

    with monkeypatch.context() as patch:
        patch.setattr(recovery_module, "RowBuffer", Forgetful)
        with pytest.raises(StorageFault, match="does not read back"):
            resume(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["run.h5"]


def test_on_other_data_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.h5"
    record(of_ring(epochs=2), path, steps=10)
    monkeypatch.setattr("procedures.resume.load_dataset", lambda task, seed: load_dataset(task, seed + 1))
    with pytest.raises(InputError, match="recorded on other data"):
        resume(path)


def test_other_arithmetic_than_the_recorded_is_named_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.h5"
    record(of_ring({"checkpoint_shots": 200}, epochs=2), path, steps=10)
    before = path.read_bytes()
    from labpgt.network import Network

    encode = Network.encode
    monkeypatch.setattr(Network, "encode", lambda self, x: encode(self, x) * 0.999)
    with pytest.raises(ReplayMismatch, match=r"^shot \d+ differs: drive symbol 0 was recorded as"):
        resume(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["run.h5"]


def test_without_any_whole_checkpoint_it_starts_from_the_first_shot(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.h5", tmp_path / "run.h5"
    config = of_ring(epochs=2)
    record(config, whole)
    record(config, path, steps=20)
    with h5py.File(path, "r+") as file:
        file["entry/checkpoints/parameters"][:, 0] += 1
    done = resume(path)
    assert done.resumed is not None
    assert done.resumed.replayed == done.resumed.shot
    same_runs(path, whole)
    with Session(path) as session:
        assert any(text.startswith("2 of the checkpoints") for text in session.warnings)


def test_a_damaged_newest_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.h5", tmp_path / "run.h5"
    config = of_ring(EVERY_STEP, epochs=2)
    record(config, whole)
    record(config, path, steps=20)
    with h5py.File(path, "r+") as file:
        newest = int(np.argmax(file["entry/checkpoints/cursor"]["shot"]))
        file["entry/checkpoints/state/estimator/jacobian"][newest, 0, 0] += 1
    done = resume(path)
    assert done.resumed is not None
    assert done.resumed.replayed == 16
    same_runs(path, whole)
    with Session(path) as session:
        assert any(text.startswith("1 of the checkpoints") for text in session.warnings)


def test_the_command(labpgt: Labpgt, small: Path, bench: Path, tmp_path: Path) -> None:
    """Ctrl-C, then `labpgt resume`: as a person does it."""
    whole = labpgt("train", bench, "--set", "training.epochs=2", "--out", "whole.h5", "--json")
    stop = ["--set", "training.epochs=2", "--set", "device.signal_at=100", "--set", 'device.signals=["SIGINT"]']
    assert labpgt("train", bench, *stop, "--out", "run.h5", "--json").code == 4
    refused = labpgt("resume", "run.h5")
    assert refused.code == 2
    assert "--allow bench:Bench" in refused.err
    done = labpgt("resume", "run.h5", "--allow", "bench:Bench", "--json")
    assert done.code == 0
    assert done.json["status"] == "success"
    assert done.json["parameters_sha256"] == whole.json["parameters_sha256"]
    assert done.json["shots"] == whole.json["shots"]
    assert 100 < done.json["resumed_at_shot"] < 120
    assert done.json["tolerance"] == 0
    assert "the device answers from shot" in done.err
    assert (tmp_path / "log").read_text().split() == ["open", "safe", "close"] * 3
    again = labpgt("resume", "run.h5", "--allow", "bench:Bench")
    assert again.code == 2
    assert "nothing to resume" in again.err
    shown = labpgt("show", "run.h5")
    assert "resumed at shot" in shown.out


def test_the_command_on_what_is_no_session(labpgt: Labpgt, folder: Path) -> None:
    assert labpgt("resume", "nothing.h5").code == 2
    (folder / "text.h5").write_text("hello")
    refused = labpgt("resume", "text.h5", "--json")
    assert (refused.code, refused.out) == (2, "")
    assert "not an HDF5 file" in refused.err


def test_a_device_that_fails_again_fails_the_run_again_and_it_can_still_be_resumed(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.h5", tmp_path / "run.h5"
    config = of_ring(epochs=2)
    record(config, whole)
    for at in (60, 130, 200):
        device = Disguised(ring(), raise_at=at)
        go = partial(resume, path, device=device) if path.exists() else partial(record, config, path, device)
        with pytest.raises(DeviceFault, match="cable fell out"):
            go()
        with Session(path) as session:
            assert session.status is Status.FAILED
    resume(path)
    same_runs(path, whole)


def test_where_open_files_cannot_be_renamed_as_on_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("disk", "writer"):
        monkeypatch.setattr(f"labpgt.session.{module}.RENAMES_OPEN_FILES", False)
    stopped_and_resumed(tmp_path, of_ring(epochs=2), steps=10)


def test_elsewhere_it_goes_on_within_a_tolerance_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.h5"
    record(of_ring({"checkpoint_shots": 200}, epochs=2), path, steps=10)
    monkeypatch.setattr("platform.node", lambda: "elsewhere")
    # An unfinished run of another machine counts as going on while its file is fresh; this one says that it ended.
    done = resume(path)
    assert done.tolerance == ELSEWHERE
    with Session(path) as session:
        assert session.status is Status.SUCCESS
        assert any(text.startswith("resumed on elsewhere with torch") for text in session.warnings)
        assert session.resumptions[0].provenance["host"] == "elsewhere"
        assert session.provenance["host"] != "elsewhere"


def test_what_somebody_else_did_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    """Two that do not see each other's locks: on two machines, or one restores a backup."""
    path, other = tmp_path / "run.h5", tmp_path / "other" / "run.h5"
    other.parent.mkdir()
    record(of_ring(epochs=2), path, steps=10)
    shutil.copy(path, other)
    device = Disguised(ring())
    opened = device.open

    def slow() -> None:
        opened()
        resume(other)
        other.replace(path)

    device.open = slow  # type: ignore[method-assign]
    with pytest.raises(StorageFault, match="has changed since it was read, so somebody else goes on with it"):
        resume(path, device=device)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other", "run.h5"]
    with Session(path) as session:
        assert session.status is Status.SUCCESS


def test_the_lock_is_beside_the_session_whoever_holds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.h5"
    record(of_ring(epochs=2), path, steps=10)
    refused: list[int] = []

    def try_it(event: Event) -> None:
        if isinstance(event, ShotsTaken) and not refused:
            environment = {"TMPDIR": str(tmp_path / "elsewhere")}
            out, err = tmp_path / "other" / "out", tmp_path / "other" / "err"
            out.parent.mkdir()
            refused.append(forked.start_command(["resume", str(path)], tmp_path, out, err, environment).wait())
            assert "another process is resuming it" in err.read_text()

    resume(path, [try_it])
    assert refused == [2]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other", "run.h5"]


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"run-\xff.h5")
    record(of_ring(epochs=2), path, steps=10)
    resume(path)
    with Session(path) as session:
        assert session.status is Status.SUCCESS


def test_a_lock_that_cannot_be_made_is_worded(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    record(of_ring(epochs=2), path, steps=10)
    part_path(path).with_name(part_path(path).name.rpartition("-")[0] + ".lock").mkdir()
    with pytest.raises(InputError, match="cannot be resumed where it is"):
        resume(path)


@pytest.mark.parametrize("shots_left", [0, 20])
def test_other_arithmetic_is_noticed_wherever_the_last_checkpoint_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shots_left: int
) -> None:
    path = tmp_path / "run.h5"
    # 15 updates an epoch: the run stops right after an epoch and its checkpoint, or between two.
    record(of_ring(EVERY_STEP, epochs=3), path, steps=15 + shots_left // 4)
    per_shot = Loss.per_shot
    monkeypatch.setattr(Loss, "per_shot", lambda self, outputs, targets: 1.5 * per_shot(self, outputs, targets))
    with pytest.raises(ReplayMismatch, match=r"^shot \d+ differs: loss"):
        resume(path)


def test_another_version_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.h5"
    record(of_ring(epochs=2), path, steps=10)
    here = provenance("")
    monkeypatch.setattr("procedures.resume.provenance", lambda data: {**here, "labpgt": "9.9.9"})
    resume(path)
    with Session(path) as session:
        assert any("resumed by 9.9.9" in text for text in session.warnings)


@pytest.mark.parametrize(
    ("attribute", "value", "line"),
    [
        ("name", "another-ring", "device +echo-state-ring +another-ring"),
        ("drive_limits", (-0.5, 1.0), "lowest drive +-1.0 +-0.5"),
    ],
)
def test_another_device_with_the_same_settings(tmp_path: Path, attribute: str, value: object, line: str) -> None:
    path = tmp_path / "run.h5"
    record(of_ring(epochs=2), path, steps=10)
    before = path.read_bytes()
    kind = type("Other", (EchoStateRing,), {attribute: value})
    with pytest.raises(InputError, match=line):
        resume(path, device=kind(n_nodes=5, ring_nodes=5, noise=0.02), accept_changed_settings=True)
    assert path.read_bytes() == before


def test_a_mistake_of_a_watcher_is_not_blamed_on_the_device(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    record(of_ring(epochs=2), path, steps=10)

    def watch(event: Event) -> None:
        if isinstance(event, RunResumed):
            raise ValueError("a watcher's own")

    with pytest.raises(ValueError, match="a watcher's own"):
        resume(path, [watch])


def crashed_with_a_hole(tmp_path: Path, row: int) -> Path:
    """A run killed by SIGKILL whose disk has lost a block in the middle, as a power cut may leave it."""
    config = of_ring({"checkpoint_shots": 400}, epochs=6)
    (tmp_path / "run.toml").write_text(to_toml(config))
    with running(start_forked, tmp_path, "train", tmp_path / "run.toml", "--out", tmp_path / "run.h5") as child:
        while child.acknowledged < 1300:
            assert child.process.poll() is None, child.err
            time.sleep(0.001)
        child.process.kill()
        child.process.wait()
    path = tmp_path / "run.h5"
    with Session(path) as session:
        lost = session.shots(row, row + 1)["drive"].tobytes()
    data = path.read_bytes()
    at = data.index(lost)
    path.write_bytes(data[: at - 100] + bytes(1000) + data[at + 900 :])
    return path


def test_a_hole_after_a_checkpoint_as_a_power_cut_leaves_it(tmp_path: Path) -> None:
    path = crashed_with_a_hole(tmp_path, 1280)
    with Session(path) as session:
        assert session.n_shots >= 1300
        with pytest.raises(StorageFault, match="does not match its checksum"):
            session.shots()
    done = resume(path)
    assert done.resumed is not None
    assert 1270 <= done.resumed.shot <= 1280
    with Session(path) as session:
        assert session.status is Status.SUCCESS
        assert any("were not whole" in text for text in session.warnings)
        record(of_ring(epochs=6), tmp_path / "whole.h5")
        with Session(tmp_path / "whole.h5") as whole:
            assert session.parameters_sha256 == whole.parameters_sha256
            same_but_for_times(session.shots(), whole.shots())


def test_a_hole_before_every_checkpoint_is_damage(tmp_path: Path) -> None:
    path = crashed_with_a_hole(tmp_path, 30)
    before = path.read_bytes()
    with pytest.raises(StorageFault, match="every checkpoint is later; the file is damaged there"):
        resume(path)
    assert path.read_bytes() == before
