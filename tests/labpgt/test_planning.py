"""What a run comes to, against runs that were made."""

import pytest

from labpgt.errors import InputError
from labpgt.planning import Plan, plan
from tests.runs import configured, train

ESTIMATORS = ["pgt", "node", "jacobian-twin", "readout", "backprop"]


def planned(**training: object) -> tuple[Plan, dict[str, float], int]:
    """The plan of a small run, its results and its updates."""
    config = configured(training={"baseline": True, "evaluation": "full", "batch": 32, **training})
    run = train(config)
    data = run.trainer.dataset
    return plan(config, len(data.train_x), len(data.test_x)), dict(run.last.results), len(run.steps)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_run_takes_the_shots_of_its_plan(estimator: str) -> None:
    found, results, steps = planned(estimator=estimator, epochs=2, delta=0.01)
    assert found == Plan(
        steps=steps,
        epochs=2,
        training_shots=int(results["shots"]),
        calibration_shots=int(results["calibration_shots"]),
        baseline_shots=int(results["baseline_shots"]),
        evaluation_shots=int(results["evaluation_shots"]),
    )
    assert found.total_shots == sum(
        int(results[f"{kind}shots"]) for kind in ("", "calibration_", "baseline_", "evaluation_")
    )


@pytest.mark.parametrize(
    ("max_shots", "epochs"),
    [
        (64, 1),  # one update
        (130, 1),  # two, and two shots that buy nothing
        (239, 1),  # all but the last update of an epoch, which is smaller
        (240, 1),  # a whole epoch
        (300, 2),  # not an update of the second
        (304, 2),  # one
        (1000, 2),  # more than there are
    ],
)
def test_a_limit_on_shots_ends_a_run_where_the_plan_says(max_shots: int, epochs: int) -> None:
    found, results, steps = planned(estimator="node", max_shots=max_shots, epochs=epochs, delta=0.1, evaluation="test")
    assert (found.steps, found.training_shots) == (steps, results["shots"])
    assert found.evaluation_shots == results["evaluation_shots"]


@pytest.mark.parametrize("estimator", ["pgt", "node"])
def test_choosing_delta_takes_no_more_than_planned(estimator: str) -> None:
    config = configured(
        device={"noise": 0.5}, training={"estimator": estimator, "delta": "auto", "max_shots": 32}
    )  # so noisy that the whole ladder is climbed
    run = train(config)
    assert plan(config, 120, 30).calibration_shots == run.last.results["calibration_shots"]


def test_few_calibration_shots_leave_nonlinearity_out() -> None:
    config = configured(network={"symbols": 8}, training={"estimator": "readout", "max_shots": 8})
    assert plan(config, 120, 30).calibration_shots == train(config).last.results["calibration_shots"] == 16 + 8


def test_a_limit_below_one_update_is_refused() -> None:
    config = configured(training={"estimator": "node", "batch": 8, "max_shots": 15})
    with pytest.raises(InputError, match=r"training.max_shots = 15: one update costs 16 shots; give at least that"):
        plan(config, 120, 30)


def test_a_batch_larger_than_the_data_is_all_of_it() -> None:
    found = plan(configured(training={"batch": 4096, "epochs": 3}), 120, 30)
    assert (found.steps, found.training_shots) == (3, 720)
