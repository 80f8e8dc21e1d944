"""The training loop: it learns, it is deterministic, it ends when and as it should, and its numbers add up."""

from collections import Counter
from hashlib import sha256
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from labpgt.errors import DeviceFault, InputError, LabpgtError
from labpgt.events import TEST_SAMPLE, Measured, Purpose, RunStarted, RunStopped, Status, StepDone
from labpgt.tasks import load_dataset
from labpgt.training import Trainer
from simulators.echo_state import EchoStateRing
from tests.faults import Faulty
from tests.runs import Analytic, Run, configured, train

ESTIMATORS = ["pgt", "node", "jacobian-twin", "readout", "backprop"]
FULL = {"evaluation": "full"}


def noisy(noise: float = 0.02) -> EchoStateRing:
    return EchoStateRing(n_nodes=5, ring_nodes=5, noise=noise)


@pytest.mark.parametrize(
    ("estimator", "settings", "share"),
    [
        ("backprop", {}, 0.6),
        ("jacobian-twin", {}, 0.65),
        ("node", {}, 0.65),
        ("readout", {}, 0.95),
        ("pgt", {"epochs": 20}, 0.85),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_each_estimator_learns(estimator: str, settings: dict[str, Any], share: float, seed: int) -> None:
    """Iris in a few hundred shots: below a share of the class prior, which is 0.2222, and better than guessing."""
    training = {**FULL, "estimator": estimator, "epochs": 4, "learning_rate": 1e-2, "seed": seed, **settings}
    run = train(configured(network={"readout_deviation": 0.5}, training=training), noisy(0.01))
    results = run.last.results
    assert results["prior_loss"] == pytest.approx(2 / 9)
    assert results["train_loss"] < share * results["prior_loss"]
    assert results["test_accuracy"] > 0.5
    assert run.epochs["train_loss"][-1] < run.epochs["train_loss"][0]
    assert run.last.status is Status.SUCCESS


def test_better_gradients_need_fewer_shots() -> None:
    """backprop < jacobian-twin < pgt in training loss after the same number of shots."""
    losses = {
        name: np.mean(
            [
                train(
                    configured(
                        network={"readout_deviation": 0.5},
                        training={**FULL, "estimator": name, "epochs": 50, "max_shots": 960, "seed": seed}
                        | {"learning_rate": 1e-2},
                    )
                ).last.results["train_loss"]
                for seed in range(2)
            ]
        )
        for name in ("backprop", "jacobian-twin", "pgt")
    }
    assert losses["backprop"] < losses["jacobian-twin"] < losses["pgt"]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_same_seed_is_the_same_run_and_another_is_not(estimator: str) -> None:
    def run(seed: int, device_batch: int | None) -> Run:
        training = {"estimator": estimator, "max_shots": 96, "seed": seed, **FULL}
        limit = {} if device_batch is None else {"device_batch": device_batch}
        return train(configured(training=training | limit), None if estimator == "backprop" else Faulty(noisy()))

    first, again, by_ones, by_threes = (run(3, size) for size in (None, None, 1, 3))
    for other in (again, by_ones, by_threes):
        assert other.last.parameters_sha256 == first.last.parameters_sha256
        for column in set(first.shots.dtype.names or ()) - {"time", "duration"}:
            assert np.array_equal(first.shots[column], other.shots[column], equal_nan=True), column
        assert other.epochs["train_loss"].tolist() == first.epochs["train_loss"].tolist()
    assert run(4, None).last.parameters_sha256 != first.last.parameters_sha256


def test_a_run_neither_uses_nor_disturbs_the_caller_s_random_numbers() -> None:
    torch.manual_seed(1)
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]  # noqa: NPY002
    first = train(configured())
    assert torch.equal(torch.get_rng_state(), state)
    assert np.random.get_state()[1].tolist() == numpy_state  # type: ignore[index, union-attr]  # noqa: NPY002
    torch.manual_seed(2)
    assert train(configured()).last.parameters_sha256 == first.last.parameters_sha256


def test_noise_of_the_device_changes_the_run() -> None:
    hashes = {train(configured(), noisy(noise)).last.parameters_sha256 for noise in (0.0, 0.01, 0.02)}
    assert len(hashes) == 3


def test_gain_drift_across_the_run_is_survived() -> None:
    """5 % over the run; the network still beats the prior clearly."""
    config = configured(network={"readout_deviation": 0.5}, training={**FULL, "epochs": 4, "learning_rate": 1e-2})
    run = train(config, Faulty(noisy(0.01), drift_per_shot=0.05 / 2000))
    assert run.last.results["train_loss"] < 0.65 * run.last.results["prior_loss"]


@pytest.mark.parametrize("estimator", ["pgt", "jacobian-twin", "readout"])
def test_the_device_sees_exactly_what_is_recorded(estimator: str) -> None:
    device = Faulty(noisy())
    run = train(configured(training={"estimator": estimator, "max_shots": 64, "baseline": True, **FULL}), device)
    seen = np.concatenate(device.seen)
    assert np.array_equal(seen, run.shots["drive"].astype(np.float64))
    assert seen.shape == (len(run.shots), 4)
    assert run.shots["index"].tolist() == list(range(len(run.shots)))


def test_every_event_comes_in_its_place() -> None:
    run = train(configured(training={"epochs": 2, "baseline": True, **FULL}))
    kinds = [type(event).__name__ for event in run.events]
    assert kinds[0] == "RunStarted"
    assert kinds[-1] == "RunStopped"
    steps = 2 * 15  # 120 samples in batches of 8
    assert Counter(kinds)["StepDone"] == steps
    assert Counter(kinds)["EpochDone"] == 2
    # One checkpoint of the prepared run, and one behind each epoch, with the epoch in it.
    places = [i for i, kind in enumerate(kinds) if kind == "Checkpoint"]
    assert [kinds[i - 1] for i in places] == ["Measured", "EpochDone", "EpochDone"]
    assert places[0] < kinds.index("StepDone")
    assert "CALIBRATION" not in {Purpose(row["purpose"]).name for row in run.shots[run.checkpoints[0].shot :]}
    assert [(c.step, c.epoch) for c in run.checkpoints] == [(-1, -1), (14, 0), (29, 1)]
    for checkpoint in run.checkpoints[1:]:
        of_epoch = run.epochs[checkpoint.epoch]
        assert sha256(checkpoint.parameters.tobytes()).hexdigest() == of_epoch["parameters_sha256"].decode()
        assert checkpoint.state["results"]["train_loss"] == of_epoch["train_loss"]
    assert run.checkpoints[-1].shot == len(run.shots)
    assert run.steps["step"].tolist() == list(range(steps))
    assert run.steps["epoch"].tolist() == [0] * 15 + [1] * 15
    assert run.steps["shots"].tolist() == [16 * (i + 1) for i in range(steps)]
    assert run.epochs["epoch"].tolist() == [0, 1]
    assert run.epochs["step"].tolist() == [14, 29]
    assert run.epochs["shots"].tolist() == [240, 480]
    assert run.checkpoints[-1].parameters.tobytes() == run.trainer.network.values.tobytes()
    assert run.epochs["parameters_sha256"][-1].decode() == run.last.parameters_sha256


def test_what_the_run_starts_with_is_what_it_has() -> None:
    config = configured(training={"epochs": 3})
    run = train(config)
    started = run.events[0]
    assert isinstance(started, RunStarted)
    assert (started.symbols, started.nodes, started.drive_limits) == (4, 5, (-1.0, 1.0))
    assert (started.training_samples, started.test_samples) == (120, 30)
    assert started.parameters == run.trainer.network.values.size == 4 * 8 + 8 + 8 * 4 + 4 + 20 * 3 + 3
    assert started.planned_shots == 3 * 240 == run.last.results["shots"]
    assert started.targets == ("setosa", "versicolor", "virginica")
    assert started.dataset_sha256 == load_dataset(config.task, 0).sha256


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("optimizer", ["Adam", "AdamW", "SGD", "RMSprop"])
def test_the_start_says_what_every_checkpoint_will_hold(estimator: str, optimizer: str) -> None:
    """A session file makes room for it once; nothing can be added later."""
    run = train(configured(training={"estimator": estimator, "optimizer": optimizer, "max_shots": 32}))
    started = run.events[0]
    assert isinstance(started, RunStarted)
    kinds = {name: (array.shape, array.dtype) for name, array in started.state.items()}
    assert {"results", "seconds", "shots_taken", "step_losses"} <= kinds.keys()
    assert len(run.checkpoints) == 2
    for checkpoint in run.checkpoints:
        assert {name: (array.shape, array.dtype) for name, array in checkpoint.state.items()} == kinds


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("evaluation", ["full", "test", "none"])
def test_shots_are_counted_by_purpose_and_add_up(estimator: str, evaluation: str) -> None:
    training = {"estimator": estimator, "evaluation": evaluation, "baseline": True, "epochs": 2}
    run = train(configured(training=training))
    results = run.last.results
    names = {"shots": Purpose.TRAIN, "calibration_shots": Purpose.CALIBRATION}
    names |= {"baseline_shots": Purpose.BASELINE, "evaluation_shots": Purpose.EVALUATION}
    for name, purpose in names.items():
        assert results[name] == len(run.shots_for(purpose)), name
    assert sum(results[name] for name in names) == len(run.shots)
    cost = run.trainer.estimator.shots_per_sample
    assert cost == {"pgt": 2, "node": 2, "jacobian-twin": 2}.get(estimator, 1)
    assert results["shots"] == 2 * 120 * cost
    assert results["baseline_shots"] == 150
    assert results["evaluation_shots"] == 2 * {"full": 150, "test": 30, "none": 0}[evaluation]
    assert results["epochs"] == 2.0


def test_each_sample_is_trained_on_once_an_epoch_and_in_another_order_the_next() -> None:
    run = train(configured(training={"epochs": 2, "estimator": "readout"}))
    rows = run.shots_for(Purpose.TRAIN)
    first, second = (rows[rows["epoch"] == epoch]["sample"] for epoch in (0, 1))
    assert sorted(first) == sorted(second) == list(range(120))
    assert first.tolist() != second.tolist()
    assert first.tolist() != sorted(first)


def test_evaluation_measures_the_parts_it_says() -> None:
    run = train(configured(training=FULL))
    rows = run.shots_for(Purpose.EVALUATION)
    is_test = rows["sample"] >= TEST_SAMPLE
    assert rows["sample"][~is_test].tolist() == list(range(120))
    assert (rows["sample"][is_test] - TEST_SAMPLE).tolist() == list(range(30))
    assert rows[~is_test]["loss"].mean() == pytest.approx(run.epochs["train_loss"][0], rel=1e-12)
    assert rows[is_test]["loss"].mean() == pytest.approx(run.epochs["test_loss"][0], rel=1e-12)
    # The outputs again from the recorded responses, in numpy.
    network, dataset = run.trainer.network, run.trainer.dataset
    weight, bias = (p.detach().double().numpy() for p in network.readout.parameters())
    responses = rows["response"].reshape(len(rows), -1).astype(np.float64)
    outputs = (responses - network.offset) * (network.deviation / network.scale) @ weight.T + bias
    labels = np.concatenate([dataset.train_y, dataset.test_y])
    assert np.allclose(((outputs - np.eye(3)[labels]) ** 2).mean(1), rows["loss"], rtol=1e-4, atol=1e-6)
    right = outputs.argmax(1) == labels
    assert run.epochs["train_accuracy"][0] == pytest.approx(right[:120].mean())
    assert run.epochs["test_accuracy"][0] == pytest.approx(right[120:].mean())


def test_without_evaluation_the_running_loss_stands_in() -> None:
    run = train(configured())
    rows = run.shots_for(Purpose.TRAIN)
    assert run.epochs["train_loss"][0] == pytest.approx(rows["loss"].mean(), rel=1e-9)
    assert np.isnan(run.epochs["test_loss"][0])
    assert np.isnan(run.epochs["train_accuracy"][0])


@pytest.mark.parametrize(
    ("training", "reason", "shots"),
    [
        ({"epochs": 2}, "training.epochs = 2 done", 480),
        ({"epochs": 9, "max_shots": 100}, "training.max_shots = 100 reached", 96),
        ({"epochs": 9, "max_shots": 240}, "training.max_shots = 240 reached", 240),
        ({"epochs": 1, "max_shots": 1000}, "training.epochs = 1 done", 240),
        ({"epochs": 9, "target_loss": 10.0, **FULL}, "training.target_loss = 10 reached", 240),
        ({"epochs": 9, "target_loss": 10.0}, "training.target_loss = 10 reached", 240),
        ({"epochs": 2, "target_loss": 1e-9, **FULL}, "training.epochs = 2 done", 480),
    ],
)
def test_a_run_ends_at_its_first_limit_and_says_which(training: dict[str, Any], reason: str, shots: int) -> None:
    run = train(configured(training=training))
    assert run.last.reason == reason
    assert run.last.status is Status.SUCCESS
    assert run.last.results["shots"] == shots == len(run.shots_for(Purpose.TRAIN))


def test_a_run_that_max_shots_ends_inside_an_epoch_is_evaluated() -> None:
    run = train(configured(training={"epochs": 9, "max_shots": 300, **FULL}))
    assert run.epochs["shots"].tolist() == [240, 288]
    assert run.last.results["train_loss"] == run.epochs["train_loss"][-1]
    assert run.last.results["epochs"] == 1.2
    assert run.epochs["step"][-1] == run.steps["step"][-1]


@pytest.mark.parametrize("estimator", ["pgt", "node", "jacobian-twin"])
@pytest.mark.parametrize("steps", [0, 1, 7, 15, 16])
def test_a_stop_leaves_whole_steps(estimator: str, steps: int) -> None:
    device = Faulty(noisy())
    config = configured(training={"estimator": estimator, "epochs": 3, "directions": 2, **FULL})
    taken = [0]

    def stop() -> str | None:
        return "enough" if taken[0] >= steps else None

    events = []
    with device:
        trainer = Trainer(config, device, load_dataset(config.task, 0))
        for event in trainer.events(stop):
            events.append(event)
            taken[0] += isinstance(event, StepDone)
    run = Run(trainer, events)
    assert run.last.status is Status.ABORTED
    assert run.last.reason == "enough"
    assert len(run.steps) == steps
    rows = run.shots_for(Purpose.TRAIN)
    assert len(rows) == steps * 8 * trainer.estimator.shots_per_sample
    assert rows["sign"].tolist() == [1, -1] * (len(rows) // 2)
    assert (rows["sample"][0::2] == rows["sample"][1::2]).all()
    # An aborted run is the beginning of the whole one.
    whole = train(config, Faulty(noisy()))
    assert np.array_equal(whole.shots["response"][: len(run.shots)], run.shots["response"])
    if steps:
        assert run.last.parameters_sha256 != whole.last.parameters_sha256


def test_a_device_fault_passes_through_and_the_run_can_be_worded() -> None:
    config = configured()
    with Faulty(noisy(), nan_at=100) as device:
        trainer = Trainer(config, device, load_dataset(config.task, 0))
        events = trainer.events()
        with pytest.raises(DeviceFault, match="shot 100 came back"):
            list(events)
        last = trainer.stopped(Status.FAILED, "shot 100")
    assert isinstance(last, RunStopped)
    assert (last.status, last.reason) == (Status.FAILED, "shot 100")
    assert last.parameters_sha256 == trainer.network.sha256()
    assert 0 < last.results["shots"] + last.results["calibration_shots"] <= 100


def test_more_symbols_than_the_device_takes_are_an_input_error() -> None:
    device = Analytic(lambda u, _: u[..., np.newaxis], nodes=1)
    with pytest.raises(InputError, match=r"network\.symbols = 65: formula takes at most 64"):
        train(configured(network={"symbols": 65}), device)


def scaled(run: Run, rows: NDArray[np.void]) -> NDArray[np.float64]:
    flat = rows["response"].reshape(len(rows), -1).astype(np.float64)
    return (flat - run.trainer.network.offset) / run.trainer.network.scale


@pytest.mark.parametrize("task", ["iris", "breast-cancer"])
def test_the_readout_baseline_is_the_best_linear_readout(task: str) -> None:
    """Against numpy's least squares on the recorded baseline shots."""
    run = train(configured(task={"name": task}, training={"baseline": True, "max_shots": 16}), noisy())
    rows, dataset, results = run.shots_for(Purpose.BASELINE), run.trainer.dataset, run.last.results
    classes, n = len(dataset.target_names), len(dataset.train_y)
    responses = scaled(run, rows)
    with_bias = np.column_stack([responses, np.ones(len(responses))])
    solution = np.linalg.lstsq(with_bias[:n], np.eye(classes)[dataset.train_y], rcond=None)[0]
    outputs = with_bias @ solution
    labels = np.concatenate([dataset.train_y, dataset.test_y])
    losses = np.mean((outputs - np.eye(classes)[labels]) ** 2, axis=1)
    assert losses[:n].mean() <= results["readout_only_loss"] * (1 + 1e-9), "least squares is the minimum"
    assert results["readout_only_loss"] == pytest.approx(losses[:n].mean(), rel=1e-3)
    assert results["readout_only_test_loss"] == pytest.approx(losses[n:].mean(), rel=1e-2)
    right = outputs[n:].argmax(1) == dataset.test_y
    assert results["readout_only_test_accuracy"] == pytest.approx(right.mean(), abs=1.5 / len(right))
    assert results["readout_only_loss"] < results["prior_loss"]


def test_the_readout_baseline_with_cross_entropy_beats_the_prior() -> None:
    run = train(configured(training={"baseline": True, "max_shots": 16, "loss": "cross-entropy"}))
    assert run.last.results["prior_loss"] == pytest.approx(np.log(3))
    assert run.last.results["readout_only_loss"] < np.log(3)


def test_what_was_measured_before_training_is_announced() -> None:
    run = train(configured(training={"delta": 0.07, "baseline": True}))
    (measured,) = (event.values for event in run.events if isinstance(event, Measured))
    assert measured["delta"] == 0.07
    assert set(run.shots_for(Purpose.TRAIN)["delta"]) == {0.07}
    for key, value in measured.items():
        assert run.last.results[key] == value, key
    automatic = train(configured(training={"delta": "auto"}), noisy())
    assert set(automatic.shots_for(Purpose.TRAIN)["delta"]) == {automatic.last.results["delta"]}
    assert "delta" not in train(configured(training={"estimator": "readout"})).last.results


def test_responses_have_the_configured_deviation_at_the_readout() -> None:
    run = train(configured(network={"readout_deviation": 0.3}, training={"calibration_shots": 120}))
    rows = run.shots_for(Purpose.CALIBRATION)[:120]
    with torch.no_grad():
        run.trainer.network.readout = torch.nn.Identity()
        inputs = run.trainer.network.read(torch.from_numpy(rows["response"].reshape(120, -1).copy()))
    assert float(inputs.mean()) == pytest.approx(0, abs=1e-6)
    assert float(inputs.std(correction=0)) == pytest.approx(0.3, rel=1e-5)


def test_a_step_s_row_is_what_its_shots_say() -> None:
    run = train(configured(training={"estimator": "node", "max_shots": 64, "directions": 2}))
    rows = run.shots_for(Purpose.TRAIN)
    for step in run.steps:
        shots = rows[rows["step"] == step["step"]]
        assert step["loss"] == pytest.approx(shots["loss"].mean())
        differences = shots["loss"][0::2] - shots["loss"][1::2]
        assert step["difference"] == pytest.approx(np.sqrt(np.mean(differences**2)))
        assert step["gradient_norm"] > 0
        assert np.isnan(step["cosine"])


@pytest.mark.filterwarnings("ignore:overflow")
def test_diverged_training_is_not_blamed_on_the_device() -> None:
    config = configured(training={"optimizer": "SGD", "learning_rate": 1e30, "estimator": "backprop"})
    with pytest.raises(LabpgtError, match=r"diverged; lower training\.learning_rate") as caught:
        train(config)
    assert not isinstance(caught.value, DeviceFault)
