"""`labpgt train`: what it prints, what it writes, and what a failing device or disk does to it."""

import importlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from labpgt.config import from_toml_text, load_config
from labpgt.events import Status
from labpgt.session import Session
from labpgt.session.disk import RESERVE_BYTES
from simulators.echo_state import EchoStateRingConfig
from simulators.llg_ring import LLGRing
from tests.procedures.conftest import Labpgt
from tests.runs import SMALL, configured, record

ALWAYS = {
    *("status", "session", "device", "estimator", "epochs", "shots", "train_loss", "test_loss", "test_accuracy"),
    *("readout_only_loss", "prior_loss", "parameters_sha256", "wall_s", "device_s", "overhead_us_per_shot"),
}
FULL = ["--set", "training.baseline=true", "--set", "training.evaluation=full"]


def test_json_is_one_object_that_says_what_the_file_says(labpgt: Labpgt, small: Path, folder: Path) -> None:
    done = labpgt("train", small, *FULL, "--json")
    assert done.code == 0
    report = done.json
    assert report.keys() >= ALWAYS
    assert (report["status"], report["device"], report["estimator"]) == ("success", "echo-state-ring", "jacobian-twin")
    # 120 of the 150 irises train, with two shots each; three classes as often: prior loss 1/3 - 1/9 by hand.
    assert (report["shots"], report["epochs"]) == (240, 1.0)
    assert report["prior_loss"] == pytest.approx(2 / 9, rel=1e-6)
    assert report["overhead_us_per_shot"] > 0
    assert [path.relative_to(folder) for path in folder.rglob("*.h5")] == [Path(report["session"])]
    assert Path(report["session"]).parent == Path("sessions")
    assert report["session"].endswith("-iris-jacobian-twin.h5")
    with Session(folder / report["session"]) as session:
        assert session.status is Status.SUCCESS
        assert session.parameters_sha256 == report["parameters_sha256"]
        assert session.results["shots"] == np.count_nonzero(session.shots()["purpose"] == 0) == 240
        for name in ("train_loss", "test_loss", "test_accuracy", "readout_only_loss", "prior_loss", "wall_s"):
            assert session.results[name] == report[name]
        # Configured with every setting of the device, so that the file can be read without the device's defaults.
        assert from_toml_text(session.configuration).device.settings.keys() == EchoStateRingConfig.model_fields.keys()
    assert "session file: sessions/" in done.err
    assert "epoch 1: 240 shots" in done.err


def test_what_was_not_measured_is_null(labpgt: Labpgt, small: Path) -> None:
    report = labpgt("train", small, "--json").json
    assert report.keys() >= ALWAYS
    assert [key for key in sorted(ALWAYS) if report[key] is None] == ["readout_only_loss", "test_accuracy", "test_loss"]


def test_without_json_a_table_goes_to_standard_output(labpgt: Labpgt, small: Path) -> None:
    done = labpgt("train", small, *FULL, "--out", "run.h5")
    assert done.code == 0
    for expected in ("status", "success", "run.h5", "echo-state-ring", "240", "class-prior loss", "0.22222"):
        assert expected in done.out


def test_options_win_over_set_and_set_over_the_file(labpgt: Labpgt, small: Path) -> None:
    given = ["--set", "training.seed=3", "--set", "training.estimator=pgt", "--set", "training.batch=4"]
    text = labpgt("train", small, *given, "--seed", 5, "--estimator", "node", "--out", "a.h5", "--print-config").out
    config = from_toml_text(text)
    assert (config.training.seed, config.training.estimator, config.training.batch) == (5, "node", 4)
    assert config.session.file == "a.h5"
    assert config.training.learning_rate == SMALL["training"]["learning_rate"]


def test_printed_configuration_is_whole_and_repeats_the_run(labpgt: Labpgt, small: Path, folder: Path) -> None:
    given = [small, "--seed", 7, "--set", "device.noise=0.01", "--set", "device.ring_nodes=4"]
    printed = labpgt("train", *given, "--print-config")
    assert printed.code == 0
    assert printed.err == ""
    assert list(folder.iterdir()) == []
    config = from_toml_text(printed.out)
    assert config.task == load_config(small).task
    assert config.device.settings == EchoStateRingConfig(n_nodes=5, noise=0.01, ring_nodes=4).model_dump()
    for section in (config.task, config.network, config.training, config.session):
        for key in type(section).model_fields:
            assert f"{key} = " in printed.out
    (folder / "printed.toml").write_text(printed.out)
    first = labpgt("train", *given, "--out", "first.h5", "--json").json
    second = labpgt("train", "printed.toml", "--out", "second.h5", "--json").json
    third = labpgt("train", "printed.toml", "--seed", 8, "--out", "third.h5", "--json").json
    assert first["parameters_sha256"] == second["parameters_sha256"] != third["parameters_sha256"]
    assert first["train_loss"] == second["train_loss"]
    assert labpgt("train", "printed.toml", "--print-config").out == printed.out


def test_defaults_print_every_setting_of_the_default_device(labpgt: Labpgt) -> None:
    config = from_toml_text(labpgt("train", "--print-config").out)
    assert config.device.name == "llg-ring"
    assert config.device.settings == LLGRing.Config().model_dump()
    assert config.task.name == "breast-cancer"


def test_own_table(labpgt: Labpgt, small: Path, folder: Path) -> None:
    rows = [f"{x};{x * 0.5 - y};{'red' if y else 'green'}" for x in range(-10, 10) for y in (0, 1)]
    (folder / "own.csv").write_text("\n".join(["width;height;colour", *rows]))
    given = ["--set", "task.name=csv", "--set", "task.path=own.csv"]
    report = labpgt("train", small, *given, *FULL, "--json").json
    assert report["task"] == "csv"
    assert report["shots"] == 2 * 32
    assert report["prior_loss"] == pytest.approx(0.25, rel=1e-6)
    with Session(Path(report["session"])) as session:
        assert session.targets == ("green", "red")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("device.nan_at=100", r"shot 100 came back with a value that is not finite"),
        ("device.raise_at=100", "RuntimeError: the cable fell out"),
        ("device.shape_at=100", "expected (16, 4, 5) (shots, symbols, nodes)"),
    ],
)
def test_a_failing_device_ends_the_run_in_order(
    fault: str, reason: str, labpgt: Labpgt, bench: Path, tmp_path: Path
) -> None:
    done = labpgt("train", bench, "--set", fault, "--out", "run.h5", "--json")
    assert done.code == 3
    assert done.json["status"] == "failed"
    assert reason in done.json["reason"]
    assert reason in done.err
    assert (tmp_path / "log").read_text().split() == ["open", "safe", "close"]
    record(configured(), tmp_path / "whole.h5")
    with Session(Path("run.h5")) as session, Session(tmp_path / "whole.h5") as whole:
        assert session.status is Status.FAILED
        assert reason in session.reason
        shots = session.shots()
        # Shots come in batches of 16: the one with the fault is not kept, everything before it is.
        assert 100 - 16 < len(shots) <= 100
        np.testing.assert_array_equal(shots["response"], whole.shots()[: len(shots)]["response"])
        np.testing.assert_array_equal(shots["loss"], whole.shots()[: len(shots)]["loss"])
    replayed = labpgt("replay", "run.h5", "--verify", "--json")
    assert replayed.code == 0
    assert replayed.json["shots"] == len(shots)


def test_an_error_on_the_way_out_does_not_hide_the_first(labpgt: Labpgt, bench: Path, tmp_path: Path) -> None:
    faults = ["--set", "device.raise_at=100", "--set", 'device.fails=["safe"]']
    done = labpgt("train", bench, *faults, "--out", "run.h5")
    assert done.code == 3
    with Session(Path("run.h5")) as session:
        assert session.status is Status.FAILED
        for text in (done.err, session.reason):
            assert (
                0 <= text.index("the cable fell out") < text.index("making it safe failed: OSError: no answer to safe")
            )
            assert "make sure by hand that its RF is off" in text
        assert session.n_shots > 80
    assert (tmp_path / "log").read_text().split() == ["open", "safe", "close"], "closed although not made safe"


@pytest.mark.parametrize("step", ["safe", "close"])
def test_a_device_that_cannot_be_made_safe_fails_a_good_run(step: str, labpgt: Labpgt, bench: Path) -> None:
    done = labpgt("train", bench, "--set", f'device.fails=["{step}"]', "--out", "run.h5")
    assert done.code == 3
    assert f"OSError: no answer to {step}" in done.err
    with Session(Path("run.h5")) as session:
        assert session.status is Status.FAILED
        assert f"no answer to {step}" in session.reason
        assert session.results["shots"] == 240


def test_a_device_that_cannot_be_opened_leaves_no_file(
    labpgt: Labpgt, bench: Path, folder: Path, tmp_path: Path
) -> None:
    done = labpgt("train", bench, "--set", 'device.fails=["open"]', "--json")
    assert done.code == 3
    assert done.json["session"] is None
    assert "cannot be opened: OSError: no answer to open; check that it is switched on" in done.err
    assert list(folder.iterdir()) == []
    assert (tmp_path / "log").read_text().split() == ["open", "safe", "close"], "it may be half open"


class Disk(NamedTuple):
    free: int


def test_a_full_disk_ends_the_run_in_order(
    labpgt: Labpgt, bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def disk_usage(path: Path) -> Disk:
        asked.append(path)
        return Disk(1 << 40 if len(asked) < 8 else RESERVE_BYTES // 2)

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    done = labpgt("train", bench, "--set", "session.flush_shots=16", "--out", "run.h5", "--json")
    assert done.code == 5
    assert "Free some space or choose another --out" in done.err
    assert (tmp_path / "log").read_text().split() == ["open", "safe", "close"]
    with Session(Path("run.h5")) as session:
        assert session.status is Status.FAILED
        assert "MB are free" in session.reason
        shots = session.shots()
    assert len(shots) > 16
    np.testing.assert_array_equal(shots["index"], np.arange(len(shots)))
    assert np.isfinite(shots["response"]).all()
    monkeypatch.undo()
    assert labpgt("replay", tmp_path / "work" / "run.h5", "--verify", "--json").json["shots"] == len(shots)


def at_shot(number: int, act: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Do something while the device of `bench` answers this shot."""
    bench = importlib.import_module("bench").Bench
    forward = bench.forward

    def forward_and_act(self: Any, drives: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.next <= number < self.next + len(drives):
            act()
        answers: NDArray[np.float64] = forward(self, drives)
        return answers

    monkeypatch.setattr(bench, "forward", forward_and_act)


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_session_deleted_under_the_run_ends_it_in_order(
    what: str, labpgt: Labpgt, bench: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "runs" / "run.h5"
    at_shot(100, path.unlink if what == "file" else lambda: shutil.rmtree(path.parent), monkeypatch)
    done = labpgt("train", bench, "--set", "session.flush_shots=16", "--out", "runs/run.h5", "--json")
    assert done.code == 5
    assert done.json["status"] == "failed"
    assert "runs/run.h5: the file, or its folder, was deleted while the run went on" in done.err
    assert (tmp_path / "log").read_text().split() == ["open", "safe", "close"]
    assert not path.exists()
    rescued = (path.parent if what == "file" else folder) / f"rescued-{os.getpid()}-run.h5"
    with Session(rescued) as session:
        assert session.status is Status.FAILED
        assert "was deleted while the run went on" in session.reason
        shots = session.shots()
        assert f"its {len(shots)} shots are rescued in {rescued}" in done.err
    # Shot 100 was answered after the deletion: every shot that was taken is there, with all that was read out of it.
    assert 100 < len(shots) < 140
    record(configured(), tmp_path / "whole.h5")
    with Session(tmp_path / "whole.h5") as whole:
        for column in ("response", "loss"):
            np.testing.assert_array_equal(shots[column], whole.shots()[: len(shots)][column])
    assert labpgt("replay", rescued, "--verify", "--json").json["shots"] == len(shots)


def test_a_session_whose_folder_is_moved_goes_on_at_its_new_place(
    labpgt: Labpgt, bench: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_shot(100, lambda: (folder / "runs").rename(folder / "elsewhere"), monkeypatch)
    done = labpgt("train", bench, "--set", "session.flush_shots=16", "--out", "runs/run.h5", "--json")
    assert done.code == 0
    assert done.json["status"] == "success"
    assert [path.relative_to(folder).as_posix() for path in folder.rglob("*")] == ["elsewhere", "elsewhere/run.h5"]
    with Session(folder / "elsewhere" / "run.h5") as session:
        assert session.status is Status.SUCCESS
        assert session.parameters_sha256 == done.json["parameters_sha256"]
        assert session.results["shots"] == 240
    assert labpgt("replay", folder / "elsewhere" / "run.h5", "--verify").code == 0


def test_a_damaged_configuration_is_bad_input(labpgt: Labpgt, small: Path, folder: Path) -> None:
    assert labpgt("train", small, "--out", "run.h5").code == 0
    content = (folder / "run.h5").read_bytes()
    place = content.index(b"learning_rate = ")
    (folder / "run.h5").write_bytes(content[:place] + b"x" + content[place + 1 :])
    for command in ("show", "replay", "resume"):
        done = labpgt(command, "run.h5", "--json")
        assert (done.code, done.out) == (2, "")
        assert "configuration, settings and provenance do not match their checksum" in done.err
