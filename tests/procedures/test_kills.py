"""SIGKILL at any moment: nothing acknowledged is lost, and the run ends as if it had never been killed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.kills import (
    ESTIMATORS,
    Reference,
    kill_and_resume,
    read_reference,
    reference,
    start_anew,
    start_forked,
)
from tests.shared import made_once

EPOCHS = 8
Whole = Callable[[str], Reference]


@pytest.fixture
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """The run of an estimator that is never killed."""

    def run(estimator: str) -> Reference:
        def make(folder: Path) -> None:
            reference(start_forked, folder, estimator, EPOCHS)

        return read_reference(made_once(tmp_path_factory, f"never-killed-{estimator}", make))

    return run


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_killed_run_goes_on_as_if_it_had_not_been(estimator: str, whole: Whole, tmp_path: Path) -> None:
    moment = np.random.default_rng(ESTIMATORS.index(estimator)).uniform(0, 0.95)
    outcome = kill_and_resume(start_forked, tmp_path, whole(estimator), [float(moment)])
    assert outcome.problems == []
    assert outcome.kills == 1
    assert outcome.lost == 0
    assert (outcome.resumed, outcome.same_hash, outcome.verified) == (True, True, True)


def test_ten_times_in_a_row_half_of_them_while_it_is_being_resumed(whole: Whole, tmp_path: Path) -> None:
    moments = [m for i in range(5) for m in (0.1 + 0.15 * i, -0.05 - 0.05 * i)]
    outcome = kill_and_resume(start_forked, tmp_path, whole("jacobian-twin"), moments)
    assert outcome.problems == []
    assert outcome.kills == 10
    assert outcome.lost == 0
    assert (outcome.resumed, outcome.same_hash, outcome.verified) == (True, True, True)
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


def test_through_new_interpreters(whole: Whole, tmp_path: Path) -> None:
    outcome = kill_and_resume(start_anew, tmp_path, whole("node"), [0.5])
    assert outcome.problems == []
    assert (outcome.kills, outcome.lost, outcome.same_hash) == (1, 0, True)
