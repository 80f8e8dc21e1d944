"""Devices that fail in the middle: what was answered is kept, the status says why, a replay vouches for the rest."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from labpgt.errors import DeviceFault, InputError
from labpgt.events import Purpose, Status
from labpgt.registry import make_device
from labpgt.replay import ReplayMismatch, Verdict, replay
from labpgt.session import Session
from labpgt.tasks import load_dataset
from procedures.train import StopRequest, run
from tests.faults import Faulty
from tests.forging import forged
from tests.runs import Analytic, configured, record, train


def ring() -> Any:
    return make_device("echo-state-ring", {"n_nodes": 5, "ring_nodes": 5})


def answers(wrong: Callable[[NDArray[np.float64]], Any]) -> Analytic:
    def formula(drives: NDArray[np.float64], shots: NDArray[np.int64]) -> Any:
        return wrong(np.repeat(np.tanh(drives)[:, :, None], 5, axis=2))

    return Analytic(formula, 5)


class TornSeek(Faulty):
    def seek(self, shot: int) -> None:
        if shot > 40:
            raise OSError("no trigger")
        super().seek(shot)


@pytest.mark.parametrize(
    ("device", "message"),
    [
        (answers(lambda r: r + 1j), "expected real numbers"),
        (answers(lambda r: r.astype(str)), "expected real numbers"),
        (answers(lambda r: [[1.0], [1.0, 2.0]]), "failed: ValueError"),
        (TornSeek(ring()), "failed: OSError: no trigger"),
    ],
    ids=["complex", "text", "ragged", "seek"],
)
def test_whatever_a_device_does_wrong_is_a_device_fault(tmp_path: Path, device: Any, message: str) -> None:
    path = tmp_path / "run.h5"
    with pytest.raises(DeviceFault, match=message):
        run(configured(), path, device=device)
    with Session(path) as session:
        assert session.status is Status.FAILED
        assert message.split(":")[0] in session.reason


def test_a_setting_without_a_value_is_a_device_fault_before_the_first_shot(tmp_path: Path) -> None:
    device = ring()
    device.settings = lambda: {"bias": (None, "T")}
    with pytest.raises(DeviceFault, match="bias is None"):
        run(configured(), tmp_path / "run.h5", device=device)


@pytest.mark.parametrize(("bad", "kept"), [(42, 42), (43, 42)])
def test_shots_answered_before_the_fault_are_kept_in_whole_pairs(tmp_path: Path, bad: int, kept: int) -> None:
    """The step of 16 shots goes shot by shot, and one in the middle of it fails."""
    path = tmp_path / "run.h5"
    config = configured(training={"device_batch": 1, "delta": 0.1})
    with pytest.raises(DeviceFault, match=f"shot {bad} "):
        run(config, path, device=Faulty(ring(), nan_at=bad))
    whole = train(config).shots
    with Session(path) as session:
        rows = session.shots()
        assert len(rows) == kept
        np.testing.assert_array_equal(rows["response"], whole["response"][:kept])
        verdict = list(replay(session, config, load_dataset(config.task, 0)))[-1]
    assert isinstance(verdict, Verdict)


def test_pre_layers_without_parameters_train_the_readout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bare_pre.py").write_text("import torch\n\ndef build(n, m):\n    return torch.nn.Identity()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for estimator in ("jacobian-twin", "node", "backprop"):
        done = train(configured(network={"pre": "bare_pre:build"}, training={"estimator": estimator}))
        assert done.last.status is Status.SUCCESS
        assert done.steps["gradient_norm"].min() > 0


def test_one_signal_ends_a_run_in_its_calibration(tmp_path: Path) -> None:
    request = StopRequest()

    def asked(_event: object) -> None:
        request.reason = "Ctrl-C"

    last = run(configured(training={"baseline": True}), tmp_path / "run.h5", [asked], request)
    assert last.status is Status.ABORTED
    with Session(tmp_path / "run.h5") as session:
        assert set(session.shots()["purpose"]) == {Purpose.CALIBRATION}
        assert session.n_shots == 16


def test_signals_cannot_interrupt_making_the_device_safe(tmp_path: Path) -> None:
    device, done = ring(), []

    def make_safe() -> None:
        for _ in range(3):
            signal.raise_signal(signal.SIGINT)
        done.append("safe")

    device.make_safe = make_safe
    last = run(configured(), tmp_path / "run.h5", device=device)
    assert done == ["safe"]
    assert last.status is Status.SUCCESS


def test_a_success_with_shots_missing_does_not_verify(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    record(configured(), path)
    with forged(path) as file:
        file["entry/shots"].resize((100,))
    with Session(path) as session, pytest.raises(ReplayMismatch, match="shots are missing"):
        list(replay(session, configured(), load_dataset(configured().task, 0), tolerance=1e-4))


@pytest.mark.parametrize("place", ["results/train_loss", "epochs/train_loss", "steps/gradient_norm"])
def test_forged_figures_do_not_verify(tmp_path: Path, place: str) -> None:
    path = tmp_path / "run.h5"
    record(configured(), path)
    table, column = place.split("/")
    with forged(path) as file:
        if table == "results":
            file[f"entry/{place}"][()] = 1e-9
        else:
            rows = file[f"entry/{table}"][()]
            rows[column][-1] *= 0.5
            file[f"entry/{table}"][()] = rows
    with Session(path) as session, pytest.raises(ReplayMismatch, match=column):
        list(replay(session, configured(), load_dataset(configured().task, 0)))


def test_fewer_shots_than_an_update_costs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one update costs 16 shots"):
        run(configured(training={"max_shots": 15}), tmp_path / "run.h5")
    assert not list(tmp_path.iterdir())


def test_a_run_that_ends_above_the_prior_says_so() -> None:
    done = train(configured(training={"learning_rate": 1e-7, "evaluation": "full"}))
    assert done.last.results["train_loss"] > done.last.results["prior_loss"]
    assert any("it has not learned yet" in message for message in done.warnings)


def test_a_constant_device_is_noticed_when_only_the_test_part_is_measured() -> None:
    config = configured(training={"evaluation": "test", "epochs": 12, "learning_rate": 0.02})
    done = train(config, Faulty(ring(), constant=0.25))
    assert any("class frequencies" in message and "epoch" in message for message in done.warnings)
