from pathlib import Path

import numpy as np
import pytest

from labpgt import insight
from labpgt.events import Flag, Purpose, RunStopped, ShotsTaken, Status, shot_dtype
from labpgt.perturbations import draw_perturbation
from labpgt.rng import Draw, generator
from labpgt.session import Session, SessionWriter
from tests.runs import configured, record
from tests.sessions import STARTED


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("insight") / "pgt.h5"
    record(configured(training={"estimator": "pgt", "dropout": 0.4}), path, steps=3)
    return path


def test_a_pair_is_found_from_either_half_with_what_was_perturbed(recorded: Path) -> None:
    with Session(recorded) as session:
        rows = session.shots()
        plus = rows[(rows["purpose"] == Purpose.TRAIN) & (rows["sign"] == 1)][-1]
        minus = insight.pair_of(session, plus)
        assert minus is not None
        assert minus["index"] == plus["index"] + 1
        assert insight.pair_of(session, minus)["index"] == plus["index"]
        assert insight.pair_of(session, rows[0]) is None

        perturbations = insight.Perturbations(session)
        of_plus, of_minus = perturbations.of(plus, minus), perturbations.of(minus, plus)
        expected = (plus["drive"] - minus["drive"]) / 2
        np.testing.assert_array_equal(of_plus.half, expected)
        np.testing.assert_array_equal(of_minus.half, expected)
        assert perturbations.of(plus, None).half is None
        assert perturbations.of(rows[0], None) is None


def test_the_perturbation_of_the_parameters_is_the_one_that_was_drawn(recorded: Path) -> None:
    with Session(recorded) as session:
        row = session.shots(session.n_shots - 1)[0]
        told = insight.Perturbations(session).of(row, None).parameters
        where, values = draw_perturbation(
            session.n_parameters, 1, 0.4, generator(0, int(row["seed"]), Draw.PERTURBATION)
        )
        every = np.zeros(session.n_parameters, int)
        every[where] = values
        assert told.parameters == session.n_parameters
        assert told.first == tuple(every[: insight.FIRST])
        assert (told.plus, told.minus) == (np.sum(every == 1), np.sum(every == -1))
        assert told.zero + told.left_out == np.sum(every == 0)
        assert told.left_out == session.n_parameters - len(values)


def test_the_update_of_a_shot(recorded: Path) -> None:
    with Session(recorded) as session:
        rows = session.shots()
        for row in rows[rows["purpose"] == Purpose.TRAIN][::5]:
            assert insight.update_of(session, row)["step"] == row["step"]
        assert insight.update_of(session, rows[0]) is None
        # Of an update that was not made: the run ended before.
        beyond = rows[-1].copy()
        beyond["step"] = session.n_steps
        assert insight.update_of(session, beyond) is None


def noisy(path: Path, deviation: float, spoil: bool = False) -> Path:
    """Pairs of eight samples at two deltas, taken twice, with noise on every loss; one pair taken again if spoiled."""
    random = np.random.default_rng(1)
    rows = []
    for delta in (0.01, 0.02):
        for _ in range(2):
            request = np.zeros(400, shot_dtype(STARTED.symbols, STARTED.nodes))
            request["purpose"] = Purpose.CALIBRATION
            request["sample"] = np.repeat(np.arange(200), 2)
            request["sign"] = np.tile((1, -1), 200)
            request["delta"] = delta
            request["loss"] = request["sign"] * request["sample"] * delta + random.normal(0, deviation, 400)
            if spoil:
                again = request[10:12].copy()
                request["loss"][10:12] = 1e6, -1e6
                request["flags"][11] = Flag.DRIFT
                again["flags"] = Flag.RETAKEN
                request = np.concatenate([request, again])
            rows.append(request)
    after = np.zeros(1, rows[0].dtype)
    together = np.concatenate([*rows, after])
    together["index"] = np.arange(len(together))
    with SessionWriter(path) as writer:
        writer(STARTED)
        writer(ShotsTaken(together))
        writer(RunStopped(Status.SUCCESS, "done", 1.75e9 + 60, {}, "cd" * 32))
    return path


@pytest.mark.parametrize("spoil", [False, True])
def test_the_noise_of_a_difference_is_that_between_repeats(tmp_path: Path, spoil: bool) -> None:
    with Session(noisy(tmp_path / "noisy.h5", 0.3, spoil)) as session:
        # L+ - L- has the noise of both.
        assert insight.difference_noise(session) == pytest.approx(0.3 * np.sqrt(2), rel=0.1)


def test_the_noise_of_a_difference_is_what_delta_was_chosen_by(tmp_path: Path) -> None:
    path = tmp_path / "node.h5"
    record(configured(training={"estimator": "node"}, device={"noise": 0.02}), path, steps=1)
    with Session(path) as session:
        rows = session.shots()
        pairs = rows[(rows["purpose"] == Purpose.CALIBRATION) & (rows["sign"] != 0)]
        pairs = pairs[pairs["delta"] == session.results["delta"]]
        first, second = (half["loss"][0::2] - half["loss"][1::2] for half in np.split(pairs, 2))
        assert insight.difference_noise(session) == pytest.approx(np.std(first - second) / np.sqrt(2))


def test_there_is_no_noise_of_a_difference_where_delta_was_given(tmp_path: Path) -> None:
    path = tmp_path / "given.h5"
    record(configured(training={"estimator": "node", "delta": 0.1}), path, steps=1)
    with Session(path) as session:
        assert insight.difference_noise(session) is None
