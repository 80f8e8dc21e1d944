"""The runs under pymeasure's own Worker and Manager: same results as the command line, and honest about their end."""

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from pymeasure.experiment import FloatParameter, IntegerParameter, ListParameter, Procedure, Results
from pymeasure.experiment.workers import Worker

from labpgt.characterisation.reader import Characterisation
from labpgt.config import Config, load_config
from labpgt.errors import InputError
from labpgt.events import Status
from labpgt.session import Session
from procedures.configured import with_device_defaults
from procedures.pymeasured import (
    CalibrateProcedure,
    CharacterizeProcedure,
    SessionResults,
    SweepProcedure,
    TrainProcedure,
)
from procedures.pymeasured.base import STOPPED, RunProcedure
from tests.procedures.conftest import Labpgt
from tests.runs import configured

ROOT = Path(__file__).resolve().parents[2]
KINDS = (TrainProcedure, CharacterizeProcedure, CalibrateProcedure, SweepProcedure)


class Worked(NamedTuple):
    """What a Worker said and left."""

    results: SessionResults
    statuses: list[int]
    progress: list[float]
    records: list[dict[str, Any]]

    @property
    def status(self) -> int:
        """The last one; that of the procedure, too."""
        assert self.results.procedure.status == self.statuses[-1]
        return self.statuses[-1]


def work(
    procedure: RunProcedure,
    place: Path,
    on_record: Callable[[Worker, dict[str, Any]], None] = lambda worker, record: None,
) -> Worked:
    """Run a procedure under pymeasure's Worker; `on_record` is told of every record of results."""
    results = SessionResults(procedure, place)
    worker = Worker(results)
    records: list[dict[str, Any]] = []

    def handle(record: dict[str, Any]) -> None:
        records.append(record)
        results.format(record)  # as a Recorder with a file would
        on_record(worker, record)

    worker.handle_record = handle
    worker.start()
    threading.Thread.join(worker, 60)
    assert not worker.is_alive()
    said = list(worker.monitor_queue.queue)
    assert said.pop() is None
    assert {topic for topic, _ in said} <= {"status", "progress"}
    assert list(place.parent.glob("*.csv")) == []
    return Worked(
        results,
        [value for topic, value in said if topic == "status"],
        [value for topic, value in said if topic == "progress"],
        records,
    )


def test_training_is_that_of_the_command_line(labpgt: Labpgt, small: Path, tmp_path: Path) -> None:
    config = configured(training={"epochs": 2, "evaluation": "test"})
    worked = work(TrainProcedure.of(config), tmp_path / "run.h5")
    assert worked.statuses == [Procedure.RUNNING, Procedure.FINISHED]
    assert worked.progress[0] == 0
    assert worked.progress[-1] == 100
    assert worked.progress == sorted(worked.progress)
    assert len(worked.progress) > 10
    options = ("--set", "training.epochs=2", "--set", "training.evaluation=test", "--json")
    alone = labpgt("train", small, *options).json
    with Session(tmp_path / "run.h5") as session:
        assert session.status is Status.SUCCESS
        assert session.parameters_sha256 == alone["parameters_sha256"]
        steps, epochs = session.steps(), session.epochs()
    # What was emitted is what is on record: a row a step, and after the last of an epoch one for it.
    data = worked.results.data
    assert list(data.columns) == TrainProcedure.DATA_COLUMNS
    pd.testing.assert_frame_equal(data, pd.DataFrame(worked.records)[TrainProcedure.DATA_COLUMNS], check_dtype=False)
    assert len(data) == len(steps) + len(epochs) == 32
    np.testing.assert_array_equal(data["loss"].dropna(), steps["loss"])
    assert data["test_accuracy"].dropna().tolist() == epochs["test_accuracy"].tolist()
    assert data["test_accuracy"].last_valid_index() == 31


def stop_at(count: int) -> Callable[[Worker, dict[str, Any]], None]:
    seen = []

    def stop(worker: Worker, record: dict[str, Any]) -> None:
        seen.append(record)
        if len(seen) == count:
            worker.stop()

    return stop


def slow(config: Config, **settings: Any) -> Config:
    """The configuration of a device that takes its time, as a Worker's watcher is told of a step a moment later."""
    device = type(config.device)(name="bench:Bench", **{"pause_s": 1e-3, **settings})
    return config.model_copy(update={"device": device})


@pytest.mark.usefixtures("bench")
def test_a_run_that_is_aborted_is_so_in_its_file_and_can_go_on(labpgt: Labpgt, tmp_path: Path) -> None:
    config = slow(configured(), log=str(tmp_path / "log"), pause_s=3e-3)
    worked = work(TrainProcedure.of(config), tmp_path / "run.h5", stop_at(3))
    assert worked.statuses == [Procedure.RUNNING, Procedure.ABORTED]
    assert worked.progress[-1] < 100
    assert (tmp_path / "log").read_text().split()[-2:] == ["safe", "close"]
    with Session(tmp_path / "run.h5") as session:
        assert (session.status, session.reason) == (Status.ABORTED, STOPPED)
        assert 3 <= session.n_steps < 15
    assert SessionResults.load(tmp_path / "run.h5").procedure.status == Procedure.ABORTED
    whole = work(TrainProcedure.of(config), tmp_path / "whole.h5")
    resumed = labpgt("resume", tmp_path / "run.h5", "--allow", "bench:Bench", "--json").json
    with Session(tmp_path / "whole.h5") as session:
        assert resumed["parameters_sha256"] == session.parameters_sha256
    again = SessionResults.load(tmp_path / "run.h5")
    assert again.procedure.status == Procedure.FINISHED
    np.testing.assert_array_equal(again.data["loss"], whole.results.data["loss"])


def test_a_request_to_stop_after_the_last_shot_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    procedure = TrainProcedure.of(configured())
    conduct = procedure.conduct
    monkeypatch.setattr(procedure, "should_stop", lambda: False)

    def late(*arguments: Any) -> Status:
        try:
            return conduct(*arguments)
        finally:
            procedure.should_stop.__self__.stop()  # type: ignore[attr-defined]  # the Worker's

    procedure.conduct = late  # type: ignore[method-assign]
    worked = work(procedure, tmp_path / "run.h5")
    assert worked.statuses == [Procedure.RUNNING, Procedure.FINISHED]
    assert SessionResults.load(tmp_path / "run.h5").procedure.status == Procedure.FINISHED


@pytest.mark.usefixtures("bench")
@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"nan_at": 70}, "not finite"),
        ({"raise_at": 70}, "the cable fell out"),
        ({"raise_at": 70, "fails": ["safe", "close"]}, "make sure by hand that its RF is off"),
    ],
)
def test_a_device_that_fails_is_failed_then_and_when_it_is_loaded(
    tmp_path: Path, settings: dict[str, Any], reason: str
) -> None:
    worked = work(TrainProcedure.of(slow(configured(), log=str(tmp_path / "log"), **settings)), tmp_path / "run.h5")
    assert worked.statuses == [Procedure.RUNNING, Procedure.FAILED]
    assert (tmp_path / "log").read_text().split()[-2:] == ["safe", "close"]
    loaded = SessionResults.load(tmp_path / "run.h5")
    assert loaded.procedure.status == Procedure.FAILED
    assert loaded.procedure.configuration().device.settings["log"] == str(tmp_path / "log")
    with Session(tmp_path / "run.h5") as session:
        assert session.status is Status.FAILED
        assert reason in session.reason
        assert 0 < session.n_shots <= 72


@pytest.mark.usefixtures("bench")
def test_a_device_that_cannot_be_opened_is_failed_and_leaves_no_file(tmp_path: Path) -> None:
    config = slow(configured(), log=str(tmp_path / "log"), fails=["open"])
    worked = work(TrainProcedure.of(config), tmp_path / "run.h5")
    assert worked.statuses == [Procedure.RUNNING, Procedure.FAILED]
    assert not (tmp_path / "run.h5").exists()
    assert worked.results.data.empty
    assert list(worked.results.data.columns) == TrainProcedure.DATA_COLUMNS


def test_a_file_that_is_there_is_not_written(tmp_path: Path) -> None:
    done = work(TrainProcedure.of(configured()), tmp_path / "run.h5")
    before = (tmp_path / "run.h5").read_bytes()
    again = SessionResults(TrainProcedure.of(configured()), tmp_path / "run.h5")
    assert again.procedure.status == Procedure.FINISHED
    assert work(TrainProcedure.of(configured()), tmp_path / "run.h5").status == Procedure.FAILED
    assert (tmp_path / "run.h5").read_bytes() == before
    assert done.results.data.equals(again.data)


def test_what_crashed_is_loaded_as_failed(tmp_path: Path) -> None:
    crashed = shutil.copy(ROOT / "tests" / "labpgt" / "sessions" / "schema-1-crashed.h5", tmp_path / "crashed.h5")
    os.utime(crashed, (0, 0))  # or it might be going on, on the machine that wrote it
    assert SessionResults.load(crashed).procedure.status == Procedure.FAILED
    with pytest.raises(InputError, match="cannot be opened"):
        SessionResults.load(tmp_path / "none.h5")


def test_results_belong_to_such_a_procedure(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a labpgt procedure"):
        SessionResults(Procedure(), tmp_path / "a.h5")  # type: ignore[arg-type]
    assert isinstance(SessionResults(TrainProcedure(), tmp_path / "a.h5"), Results)
    assert list(tmp_path.iterdir()) == []


def test_characterising_is_that_of_the_command_line(labpgt: Labpgt, small: Path, tmp_path: Path) -> None:
    procedure = CharacterizeProcedure.of(configured(), only="noise, stm,threshold", quick=True)
    worked = work(procedure, tmp_path / "a.h5")
    assert worked.statuses == [Procedure.RUNNING, Procedure.FINISHED]
    assert worked.progress[-1] == 100
    alone = labpgt("characterize", small, "--only", "noise,stm,threshold", "--quick", "--no-plots", "--json").json
    found = {row["quantity"]: row["value"] for row in worked.records}
    assert found == {name: alone[name] for name in found}
    assert found.keys() == {"noise_floor", "stm", "stm_uncorrected"}
    pd.testing.assert_frame_equal(worked.results.data, pd.DataFrame(worked.records))
    loaded = SessionResults.load(tmp_path / "a.h5")
    assert isinstance(loaded.procedure, CharacterizeProcedure)
    assert loaded.procedure.only == "noise,threshold,stm"
    assert loaded.procedure.status == Procedure.FINISHED
    assert loaded.data.equals(worked.results.data)


def test_an_unknown_measure_is_failed_before_the_device_is_opened(tmp_path: Path) -> None:
    worked = work(CharacterizeProcedure.of(configured(), only="stn"), tmp_path / "a.h5")
    assert worked.statuses == [Procedure.RUNNING, Procedure.FAILED]
    assert not (tmp_path / "a.h5").exists()


@pytest.mark.usefixtures("bench")
def test_a_characterisation_can_be_aborted(tmp_path: Path) -> None:
    procedure = CharacterizeProcedure.of(slow(configured(), log=str(tmp_path / "log"), pause_s=5e-3), quick=True)
    assert work(procedure, tmp_path / "a.h5", stop_at(1)).statuses[-1] == Procedure.ABORTED
    with Characterisation(tmp_path / "a.h5") as recorded:
        assert (recorded.status, recorded.reason) == (Status.ABORTED, STOPPED)
    assert SessionResults.load(tmp_path / "a.h5").procedure.status == Procedure.ABORTED


def test_calibrating_is_that_of_the_command_line(labpgt: Labpgt, small: Path, tmp_path: Path) -> None:
    ring = configured(device={"name": "tests.rings:TunableRing", "n_nodes": None, "ring_nodes": None, "noise": 1e-3})
    procedure = CalibrateProcedure.of(ring, gain_share=0.5, quick=True, out=str(tmp_path / "a.toml"))
    worked = work(procedure, tmp_path / "sessions")
    assert worked.statuses == [Procedure.RUNNING, Procedure.FINISHED]
    device = ("--device", "tests.rings:TunableRing", "--set", "device.noise=1e-3")
    small.write_text(small.read_text().replace("n_nodes = 5\n", "").replace("ring_nodes = 5\n", ""))
    alone = labpgt("calibrate", small, *device, "--gain-share", "0.5", "--quick", "--json", "--out", "b.toml").json
    assert load_config(tmp_path / "a.toml") == load_config(Path("b.toml"))
    found = {row["quantity"]: row["value"] for row in worked.records}
    for name in ("threshold_gain", "noise_floor", "response_scale", "delta"):
        assert found[name] == alone[name]
    assert found["training.delta"] == alone["delta"]
    assert found["device.attenuation_db"] == 12.25
    loaded = SessionResults.load(tmp_path / "sessions")
    assert isinstance(loaded.procedure, CalibrateProcedure)
    assert loaded.procedure.status == Procedure.FINISHED
    on_file = dict(zip(loaded.data["quantity"], loaded.data["value"], strict=True))
    assert on_file.items() <= found.items()
    assert {"threshold_gain", "noise_floor", "delta"} <= on_file.keys()
    (tmp_path / "sessions" / "run.h5").unlink()
    assert CalibrateProcedure.recorded(tmp_path / "sessions")[0] is Status.CRASHED


def test_sweeping_is_that_of_the_command_line(labpgt: Labpgt, small: Path, tmp_path: Path) -> None:
    over = ("training.estimator=pgt,node", "training.batch=8,16")
    worked = work(SweepProcedure.of(configured(), over="; ".join(over), seeds=2), tmp_path / "s")
    assert worked.statuses == [Procedure.RUNNING, Procedure.FINISHED]
    assert worked.progress == sorted(worked.progress)
    options = [option for text in over for option in ("--over", text)]
    assert labpgt("sweep", small, *options, "--seeds", "2", "--out", "alone").code == 0
    alone = pd.read_csv("alone/index.csv")
    data = worked.results.data
    for column in ("file", "seed", "training.batch", "train_loss", "parameters_sha256"):
        assert data[column].tolist() == alone[column].tolist()
    assert [row["parameters_sha256"] for row in worked.records] == alone["parameters_sha256"].tolist()
    loaded = SessionResults.load(tmp_path / "s")
    assert isinstance(loaded.procedure, SweepProcedure)
    assert loaded.procedure.status == Procedure.FINISHED
    assert loaded.procedure.over == "; ".join(over)
    assert loaded.procedure.seeds == 2


@pytest.mark.usefixtures("bench")
def test_a_sweep_that_is_aborted_says_so_and_goes_on(tmp_path: Path) -> None:
    procedure = SweepProcedure.of(slow(configured(), log=str(tmp_path / "log")), seeds=3)
    worked = work(procedure, tmp_path / "s", stop_at(1))
    assert worked.statuses == [Procedure.RUNNING, Procedure.ABORTED]
    statuses = worked.results.data["status"].tolist()
    assert statuses[0] == "success"
    assert "aborted" in statuses[1:]
    loaded = SessionResults.load(tmp_path / "s")
    assert loaded.procedure.status == Procedure.ABORTED
    assert work(loaded.procedure, tmp_path / "s").status == Procedure.FINISHED
    assert loaded.data["status"].tolist() == ["success"] * 3


@pytest.mark.usefixtures("bench")
def test_a_sweep_on_a_device_that_fails_is_failed(tmp_path: Path) -> None:
    procedure = SweepProcedure.of(slow(configured(), log=str(tmp_path / "log"), nan_at=100), seeds=2)
    assert work(procedure, tmp_path / "s").statuses == [Procedure.RUNNING, Procedure.FAILED]
    loaded = SessionResults.load(tmp_path / "s")
    assert loaded.procedure.status == Procedure.FAILED
    assert loaded.data["status"].tolist() == ["failed", "planned"]


def test_parameters_are_those_of_the_configuration() -> None:
    parameters = TrainProcedure().parameter_objects()
    for section, defaults in Config():
        for key, field in type(defaults).model_fields.items():
            parameter = parameters[f"{section}_{key}"]
            assert parameter.name == f"{section}.{key}"
            assert parameter.description == field.description
            assert parameter.is_set()
    batch, rate, estimator = (parameters[f"training_{key}"] for key in ("batch", "learning_rate", "estimator"))
    assert isinstance(batch, IntegerParameter)
    assert (batch.minimum, batch.maximum, batch.default) == (1, 4096, 4)
    assert isinstance(rate, FloatParameter)
    assert isinstance(estimator, ListParameter)
    assert estimator.choices == ("pgt", "node", "jacobian-twin", "readout", "backprop")
    assert parameters["session_flush_ms"].units == "ms"
    assert parameters["session_checkpoint_s"].units == "s"
    assert CalibrateProcedure.gain_share.default == 0.6
    assert CalibrateProcedure.gain_share.maximum == 0.99
    for name, value, message in (
        ("training_batch", 0, "below the minimum"),
        ("training_learning_rate", 0.0, "below the minimum"),
        ("training_estimator", "pgd", "Invalid choice"),
        ("training_delta", "much", "'auto'"),
        ("network_hidden", "[8, -1]", "greater than or equal to 1"),
        ("training_seed", "-1", "greater than or equal to 0"),
        ("network_pre", "nothing", "module:function"),
    ):
        with pytest.raises(ValueError, match=message):
            TrainProcedure().set_parameters({name: value})


def test_a_parameter_is_read_as_the_configuration_reads_it() -> None:
    procedure = TrainProcedure()
    values = {
        "device_name": "echo-state-ring",
        "device_settings": "n_nodes = 7, noise = 1e-2",
        "network_hidden": "[8, 4]",
        "training_delta": "0.5",
        "training_max_shots": 400,
        "training_seed": 2**62,
        "training_optimizer_options": {"betas": [0.8, 0.9]},
        "training_target_loss": "",
        "session_file": "1.5",
    }
    procedure.set_parameters(values)
    config = procedure.configuration()
    assert config.device.settings["n_nodes"] == 7
    assert config.device.settings["ring_nodes"] == 10
    assert config.network.hidden == [8, 4]
    assert (config.training.delta, config.training.max_shots, config.training.seed) == (0.5, 400, 2**62)
    assert config.training.optimizer_options == {"betas": [0.8, 0.9]}
    assert config.training.target_loss is None
    assert config.session.file == "1.5"
    procedure.set_parameters({"device_settings": "gain: 7"})
    with pytest.raises(InputError, match="expected key = value"):
        procedure.configuration()
    procedure.set_parameters({"device_settings": "nose = 7"})
    with pytest.raises(InputError, match='Did you mean "noise"'):
        procedure.configuration()


@pytest.mark.parametrize("path", sorted((ROOT / "data").glob("*.toml")), ids=lambda path: path.name)
@pytest.mark.parametrize("own", [False, True])
def test_a_configuration_goes_through_the_parameters_unchanged(path: Path, own: bool) -> None:
    config = with_device_defaults(load_config(path))
    kind = TrainProcedure.on_device(config.device.name) if own else TrainProcedure
    assert kind.of(config).configuration() == config


def test_a_device_can_have_parameters_of_its_own(tmp_path: Path) -> None:
    kind = CharacterizeProcedure.on_device("envelope-ring")
    parameters = kind().parameter_objects()
    assert "device_settings" not in parameters
    assert parameters["device_carrier_hz"].units == "Hz"
    assert parameters["device_bias_t"].units == "T"
    assert parameters["device_drive_field_a_per_m"].units == "A/m"
    assert parameters["device_detector"].choices == ("diode", "iq")
    assert parameters["device_gain"].description == kind.device_gain.description != ""
    with pytest.raises(InputError, match="declares no settings"):
        TrainProcedure.on_device("tests.rings:TunableRing")
    small = TrainProcedure.on_device("echo-state-ring").of(configured())
    assert small.device_n_nodes == 5
    assert work(small, tmp_path / "run.h5").status == Procedure.FINISHED


@pytest.fixture
def application(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    widgets = pytest.importorskip("pymeasure.display.Qt").QtWidgets
    return widgets.QApplication.instance() or widgets.QApplication([])


def test_pymeasures_manager_runs_them_one_after_the_other(application: Any, tmp_path: Path) -> None:
    from pymeasure.display.browser import Browser, BrowserItem
    from pymeasure.display.manager import Experiment, Manager
    from pymeasure.display.Qt import QtGui

    def experiment(results: SessionResults) -> Any:
        item = BrowserItem(results, QtGui.QColor("blue"))
        item.setStatus(results.procedure.status)
        return Experiment(results, [], item)

    browser = Browser(TrainProcedure, ["training_seed"], [], sort_by_filename=False)
    manager = Manager([], browser)
    ended: list[str] = []
    for signal, name in ((manager.finished, "finished"), (manager.failed, "failed"), (manager.aborted, "aborted")):
        signal.connect(lambda done, name=name: ended.append(f"{name} {Path(done.data_filename).stem}"))
    wrong = TrainProcedure.of(configured())
    wrong.network_symbols = 100_000
    for name, procedure in {
        "a": TrainProcedure.of(configured(training={"seed": 1})),
        "b": CharacterizeProcedure.of(configured(), only="noise", quick=True),
        "c": wrong,
    }.items():
        manager.queue(experiment(SessionResults(procedure, tmp_path / f"{name}.h5")))
    deadline = time.monotonic() + 60
    while len(ended) < 3:
        assert time.monotonic() < deadline
        application.processEvents()
        time.sleep(0.01)
    assert ended == ["finished a", "finished b", "failed c"]
    assert [e.procedure.status for e in manager.experiments.queue] == [
        *(Procedure.FINISHED, Procedure.FINISHED, Procedure.FAILED)
    ]
    manager.load(experiment(SessionResults.load(tmp_path / "a.h5")))
    assert browser.topLevelItemCount() == 4
    assert len(manager.experiments.queue[-1].results.data) == 16


@pytest.mark.parametrize("kind", KINDS)
def test_pymeasures_inputs_show_every_parameter_and_change_none(application: Any, kind: type[RunProcedure]) -> None:
    from pymeasure.display.widgets import InputsWidget

    given = kind.on_device("echo-state-ring").of(configured(training={"learning_rate": 2.5e-7, "delta": 0.01}))
    widget = InputsWidget(type(given), inputs=list(given.parameter_objects()))
    widget.set_parameters(given.parameter_objects())
    assert widget.get_procedure().parameter_values() == given.parameter_values()
    assert widget.get_procedure().configuration() == given.configuration()
