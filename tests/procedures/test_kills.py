"""SIGKILL at any moment: nothing acknowledged is lost, and the run ends as if it had never been killed."""

from pathlib import Path

import numpy as np
import pytest

from tests.kills import ESTIMATORS, Reference, kill_and_resume, reference, start_anew, start_forked

EPOCHS = 8


@pytest.fixture(scope="module")
def wholes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reference]:
    """A run of each estimator that is never killed."""
    folder = tmp_path_factory.mktemp("whole")
    return {name: reference(start_forked, folder / name, name, EPOCHS) for name in ESTIMATORS}


@pytest.mark.parametrize("attempt", range(2))
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_killed_run_goes_on_as_if_it_had_not_been(
    estimator: str, attempt: int, wholes: dict[str, Reference], tmp_path: Path
) -> None:
    moment = np.random.default_rng([attempt, ESTIMATORS.index(estimator)]).uniform(0, 0.95)
    outcome = kill_and_resume(start_forked, tmp_path, wholes[estimator], [float(moment)])
    assert outcome.problems == []
    assert outcome.kills == 1
    assert outcome.lost == 0
    assert (outcome.resumed, outcome.same_hash, outcome.verified) == (True, True, True)


def test_ten_times_in_a_row_half_of_them_while_it_is_being_resumed(
    wholes: dict[str, Reference], tmp_path: Path
) -> None:
    moments = [m for i in range(5) for m in (0.1 + 0.15 * i, -0.05 - 0.05 * i)]
    outcome = kill_and_resume(start_forked, tmp_path, wholes["jacobian-twin"], moments)
    assert outcome.problems == []
    assert outcome.kills == 10
    assert outcome.lost == 0
    assert (outcome.resumed, outcome.same_hash, outcome.verified) == (True, True, True)
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


def test_through_new_interpreters(wholes: dict[str, Reference], tmp_path: Path) -> None:
    outcome = kill_and_resume(start_anew, tmp_path, wholes["node"], [0.5])
    assert outcome.problems == []
    assert (outcome.kills, outcome.lost, outcome.same_hash) == (1, 0, True)
