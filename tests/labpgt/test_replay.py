"""Replay: a session proves what it learned, and a changed shot is named."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

import labpgt.replay
from labpgt.config import Config, from_toml_text
from labpgt.errors import DeviceFault, InputError, RunAborted
from labpgt.events import Purpose, RunStopped, ShotsTaken, Status
from labpgt.replay import ELSEWHERE, ReplayMismatch, Verdict, replay, same_machine
from labpgt.session import Session
from labpgt.tasks import load_dataset
from simulators.echo_state import EchoStateRing
from tests.faults import Faulty
from tests.forging import forged
from tests.runs import configured, record

SMALL = {"max_shots": 96, "evaluation": "test", "baseline": True}


def noisy() -> EchoStateRing:
    return EchoStateRing(n_nodes=5, ring_nodes=5, noise=0.02)


def verdict_on(path: Path, **options: Any) -> Verdict:
    """Replay a session as it was configured, to the verdict."""
    with Session(path) as session:
        config = from_toml_text(session.configuration)
        *_, last = replay(session, config, load_dataset(config.task, config.training.seed), **options)
    assert isinstance(last, Verdict)
    return last


def rewrite(path: Path, change: Callable[[NDArray[np.void]], None]) -> None:
    """Change the shots of a finished session, as a forger would."""
    with forged(path) as file:
        rows = file["entry/shots"][()]
        change(rows)
        file["entry/shots"][...] = rows


class Recorded(NamedTuple):
    path: Path
    shots: NDArray[np.void]

    def row(self, purpose: Purpose, nth: int) -> int:
        """The number of the nth shot for this purpose."""
        return int(np.flatnonzero(self.shots["purpose"] == purpose)[nth])


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("original") / "run.h5"
    record(configured(training={**SMALL, "estimator": "jacobian-twin"}), path, noisy())
    return path


@pytest.fixture
def recorded(original: Path, tmp_path: Path) -> Recorded:
    """A copy of one finished run, to be tampered with."""
    path = tmp_path / "copy.h5"
    shutil.copy(original, path)
    with Session(path) as session:
        return Recorded(path, session.shots())


@pytest.mark.parametrize("estimator", ["pgt", "node", "jacobian-twin", "readout"])
@pytest.mark.parametrize(
    "training",
    [
        {"epochs": 2, "evaluation": "full", "baseline": True},
        {"max_shots": 90, "batch": 7, "device_batch": 3, "loss": "cross-entropy"},
    ],
)
def test_a_session_of_every_estimator_is_reproduced(estimator: str, training: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    last = record(configured(training={"estimator": estimator, **training}), path, noisy())
    verdict = verdict_on(path)
    with Session(path) as session:
        assert verdict.shots == session.n_shots > 90
        assert verdict.hashes == len(session.epochs()) + 1
        assert session.parameters_sha256 == last.parameters_sha256
    assert verdict.tolerance == 0
    assert verdict.note == "to the end of the run"


def test_options_of_the_estimators_are_reproduced_too(tmp_path: Path) -> None:
    """Those with random draws or state of their own."""
    for number, training in enumerate(
        (
            {"estimator": "pgt", "dropout": 0.5, "perturbation_range": 3, "directions": 2, "optimizer": "RMSprop"},
            {"estimator": "node", "directions": 3, "delta": 0.1, "optimizer": "SGD", "scheduler": "none"},
            {"estimator": "jacobian-twin", "twin_rate": 1.5, "optimizer": "AdamW", "scheduler": "CosineAnnealingLR"},
        )
    ):
        path = tmp_path / f"{number}.h5"
        record(configured(training={"max_shots": 96, **training}), path, noisy())
        assert verdict_on(path).tolerance == 0


def test_a_backprop_session_is_replayed_through_the_recorded_devices_derivative(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    record(configured(training={**SMALL, "estimator": "backprop"}), path)
    assert verdict_on(path).tolerance == 0


def test_the_replay_of_a_whole_run_ends_with_the_recorded_results(recorded: Recorded) -> None:
    with Session(recorded.path) as session:
        config = from_toml_text(session.configuration)
        events = list(replay(session, config, load_dataset(config.task, 0)))
        stopped = events[-2]
        assert isinstance(stopped, RunStopped)
        assert stopped.reason == session.reason
        for key, value in session.results.items():
            if not key.endswith("_s") and key != "overhead_us_per_shot":
                assert stopped.results[key] == value, key
    rows = np.concatenate([event.rows for event in events if isinstance(event, ShotsTaken)])
    for column in ("index", "drive", "response", "loss", "seed", "sample"):
        assert np.array_equal(rows[column], recorded.shots[column], equal_nan=True), column


def flip_last_bit(rows: NDArray[np.void], column: str, shot: int, place: tuple[int, ...] = ()) -> None:
    """Change one value by as little as its type can."""
    values = rows[column]
    value = np.array(values[(shot, *place)])
    value.view(f"u{value.itemsize}")[...] ^= 1
    values[(shot, *place)] = value


@pytest.mark.parametrize("purpose", list(Purpose))
@pytest.mark.parametrize("column", ["index", "purpose", "epoch", "step", "sample", "sign", "seed", "delta", "drive"])
def test_the_last_bit_of_what_was_asked_is_missed_and_named(recorded: Recorded, column: str, purpose: Purpose) -> None:
    shot = recorded.row(purpose, 5)
    place = (2,) if column == "drive" else ()
    rewrite(recorded.path, lambda rows: flip_last_bit(rows, column, shot, place))
    with Session(recorded.path) as session:
        before, after = (rows[column][(shot, *place)] for rows in (recorded.shots, session.shots()))
    assert before != after
    with pytest.raises(ReplayMismatch, match=rf"^shot {shot} differs: {column}") as caught:
        verdict_on(recorded.path)
    told = str(caught.value)
    assert f"recorded as {after:.9g}," in told or column == "delta"
    assert f"replay computes {before:.9g}" in told
    if column == "drive":
        assert "drive symbol 2 " in told


@pytest.mark.parametrize("purpose", [Purpose.TRAIN, Purpose.BASELINE, Purpose.EVALUATION])
def test_the_last_bit_of_a_loss_is_missed_and_named(recorded: Recorded, purpose: Purpose) -> None:
    shot = recorded.row(purpose, -3)
    rewrite(recorded.path, lambda rows: flip_last_bit(rows, "loss", shot))
    with pytest.raises(ReplayMismatch, match=rf"^shot {shot} differs: loss was recorded as .* replay computes"):
        verdict_on(recorded.path)


@pytest.mark.parametrize("column", ["drive", "loss"])
def test_a_nan_is_not_taken_for_equal(recorded: Recorded, column: str) -> None:
    shot = recorded.row(Purpose.TRAIN, 10)

    def spoil(rows: NDArray[np.void]) -> None:
        rows[column][shot] = np.nan

    rewrite(recorded.path, spoil)
    for tolerance in (0.0, 0.1):
        with pytest.raises(ReplayMismatch, match=rf"^shot {shot} differs: {column}.* recorded as nan"):
            verdict_on(recorded.path, tolerance=tolerance)


@pytest.mark.parametrize("purpose", [Purpose.TRAIN, Purpose.BASELINE, Purpose.EVALUATION])
def test_a_changed_response_is_named_by_the_loss_it_gives(recorded: Recorded, purpose: Purpose) -> None:
    shot = recorded.row(purpose, 20)

    def spoil(rows: NDArray[np.void]) -> None:
        rows["response"][shot, 1, 2] += np.float32(1e-3)

    rewrite(recorded.path, spoil)
    with pytest.raises(ReplayMismatch, match=rf"^shot {shot} differs: loss was recorded as") as caught:
        verdict_on(recorded.path)
    assert f"recorded as {recorded.shots['loss'][shot]:.9g}," in str(caught.value)


def test_a_changed_response_of_the_calibration_shows_in_what_follows(recorded: Recorded) -> None:
    shot = recorded.row(Purpose.CALIBRATION, 3)

    def spoil(rows: NDArray[np.void]) -> None:
        rows["response"][shot, 1, 2] += np.float32(0.1)

    rewrite(recorded.path, spoil)
    with pytest.raises(ReplayMismatch, match=r"^shot \d+ differs"):
        verdict_on(recorded.path)


@pytest.mark.parametrize("end", ["epoch", "run"])
def test_another_hash_of_the_parameters_is_shown(recorded: Recorded, end: str) -> None:
    wrong = b"0123456789abcdef" * 4
    with forged(recorded.path) as file:
        if end == "epoch":
            rows = file["entry/epochs"][()]
            rows["parameters_sha256"][0] = wrong
            file["entry/epochs"][...] = rows
        else:
            file["entry/parameters_sha256"][()] = wrong
    when = {"epoch": "after epoch 1", "run": "at the end"}[end]
    with pytest.raises(ReplayMismatch, match=f"parameters {when} hash to 0123456789abcdef… in the file, replay"):
        verdict_on(recorded.path)


def test_of_several_changed_shots_the_first_is_named(recorded: Recorded) -> None:
    """Both come back in one call of the device."""
    shot = recorded.row(Purpose.EVALUATION, 10)
    rewrite(recorded.path, lambda rows: flip_last_bit(rows, "loss", shot))
    rewrite(recorded.path, lambda rows: flip_last_bit(rows, "sample", shot + 1))
    with pytest.raises(ReplayMismatch, match=rf"^shot {shot} differs: loss"):
        verdict_on(recorded.path)


def test_another_configuration_is_another_run(recorded: Recorded) -> None:
    with Session(recorded.path) as session:
        config = from_toml_text(session.configuration)
        for training in ({"learning_rate": 2.1e-3}, {"batch": 4}, {"delta": 0.03}, {"calibration_shots": 17}):
            changed = config.model_copy(update={"training": config.training.model_copy(update=training)})
            with pytest.raises(ReplayMismatch, match=r"^(shot|update) \d+ differs"):
                list(replay(session, changed, load_dataset(config.task, 0)))


def test_a_shorter_configuration_leaves_shots_unexplained(recorded: Recorded) -> None:
    with Session(recorded.path) as session:
        config = from_toml_text(session.configuration)
        training = config.training.model_copy(update={"evaluation": "none"})
        changed = config.model_copy(update={"training": training})
        dataset = load_dataset(config.task, 0)
        with pytest.raises(ReplayMismatch, match=r"^epoch 1 differs: test_loss"):
            list(replay(session, changed, dataset))
        # Where only drives and losses are compared, as on another machine, the missing shots are what shows.
        done = session.n_shots - 30
        with pytest.raises(ReplayMismatch, match=rf"done after {done} shots, {session.n_shots} are recorded"):
            list(replay(session, changed, dataset, tolerance=1e-4))


@pytest.mark.parametrize("estimator", ["pgt", "node", "jacobian-twin", "readout"])
def test_an_aborted_run_is_reproduced_to_its_last_shot(estimator: str, tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    last = record(configured(training={"estimator": estimator, "epochs": 2}), path, noisy(), steps=5)
    assert last.status is Status.ABORTED
    verdict = verdict_on(path)
    with Session(path) as session:
        assert session.status is Status.ABORTED
        assert verdict.shots == session.n_shots
    assert verdict.hashes == 1, "the parameters at the end"
    assert "aborted" in verdict.note


@pytest.mark.parametrize("estimator", ["pgt", "node", "jacobian-twin", "readout"])
@pytest.mark.parametrize("fault", [{"nan_at": 150}, {"raise_at": 151}, {"shape_at": 3}])
def test_a_failed_run_is_reproduced_to_its_last_shot(estimator: str, fault: dict[str, int], tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    with pytest.raises(DeviceFault):
        record(configured(training={"estimator": estimator, "epochs": 2}), path, Faulty(noisy(), **fault))
    verdict = verdict_on(path)
    with Session(path) as session:
        assert session.status is Status.FAILED
        assert verdict.shots == session.n_shots
        assert verdict.shots <= next(iter(fault.values()))
    assert verdict.hashes == 1
    assert "failed" in verdict.note


def test_a_tampered_shot_of_a_failed_run_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    with pytest.raises(DeviceFault):
        record(configured(), path, Faulty(noisy(), nan_at=150))
    rewrite(path, lambda rows: flip_last_bit(rows, "drive", 100, (0,)))
    with pytest.raises(ReplayMismatch, match=r"^shot 100 differs"):
        verdict_on(path)


def test_other_data_is_refused_by_its_hash(recorded: Recorded, tmp_path: Path) -> None:
    with Session(recorded.path) as session:
        config = from_toml_text(session.configuration)
        other = load_dataset(config.task, seed=1)
        known = session.provenance["dataset_sha256"]
        with pytest.raises(InputError, match="recorded on other data than iris is here") as caught:
            list(replay(session, config, other))
    assert known[:12] in str(caught.value)
    assert other.sha256[:12] in str(caught.value)


def test_a_replay_can_be_stopped(recorded: Recorded) -> None:
    with pytest.raises(RunAborted, match=r"replay of .*copy\.h5 stopped by Ctrl-C after \d+ shots"):
        verdict_on(recorded.path, stop=lambda: "Ctrl-C")


def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labpgt.replay, "same_machine", lambda session: False)


def test_this_machine_is_the_same_machine(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    with Session(recorded.path) as session:
        assert same_machine(session)
        monkeypatch.setattr("platform.node", lambda: "elsewhere")
        assert not same_machine(session)


def test_elsewhere_a_replay_compares_within_a_tolerance_and_says_so(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere(monkeypatch)

    def nudge(rows: NDArray[np.void]) -> None:
        random = np.random.default_rng(0)
        rows["drive"] = np.clip(rows["drive"] + random.uniform(-5e-5, 5e-5, rows["drive"].shape), -1, 1)
        rows["loss"] += random.uniform(-5e-5, 5e-5, len(rows))

    rewrite(recorded.path, nudge)
    verdict = verdict_on(recorded.path)
    assert verdict.tolerance == ELSEWHERE == 1e-4
    assert verdict.shots == len(recorded.shots)
    assert verdict.hashes == 0, "hashes cannot agree within a tolerance"
    with pytest.raises(ReplayMismatch):
        verdict_on(recorded.path, tolerance=0.0)


@pytest.mark.parametrize("column", ["drive", "loss"])
def test_elsewhere_more_than_the_tolerance_is_named(
    recorded: Recorded, column: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere(monkeypatch)
    shot = recorded.row(Purpose.TRAIN, 40)

    def spoil(rows: NDArray[np.void]) -> None:
        rows[column][shot] += np.where(rows[column][shot] > 0, -2e-4, 2e-4)

    rewrite(recorded.path, spoil)
    with pytest.raises(ReplayMismatch, match=f"^shot {shot} differs: {column}"):
        verdict_on(recorded.path)


def test_elsewhere_another_seed_is_still_another_run(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere(monkeypatch)
    shot = recorded.row(Purpose.TRAIN, 40)
    rewrite(recorded.path, lambda rows: flip_last_bit(rows, "seed", shot))
    with pytest.raises(ReplayMismatch, match=f"^shot {shot} differs: seed"):
        verdict_on(recorded.path)


def test_configurations_survive_the_file(recorded: Recorded) -> None:
    with Session(recorded.path) as session:
        assert from_toml_text(session.configuration) == configured(training={**SMALL, "estimator": "jacobian-twin"})
        assert isinstance(from_toml_text(session.configuration), Config)
