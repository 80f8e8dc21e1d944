"""What runs beside each other are called."""

from pathlib import Path

import numpy as np

from gui.replay.curves import Curve, Run
from gui.replay.naming import baseline_names, short_names

NOTHING = Curve(*[np.zeros(0)] * 4)


def run(stem: str, task: str = "iris", estimator: str = "pgt", device: str = "ring", folder: str = "a") -> Run:
    configuration = {"task": {"name": task}, "training": {"estimator": estimator}, "device": {"name": device}}
    return Run(Path(folder) / f"{stem}.h5", "success", NOTHING, {}, {}, configuration, {})


def test_runs_are_called_by_what_they_differ_in() -> None:
    assert short_names([]) == []
    assert short_names([run("20261128-iris-pgt")]) == ["20261128-iris-pgt"]
    assert short_names([run("x", estimator="pgt"), run("y", estimator="node")]) == ["pgt", "node"]
    runs = [run("x", device="ring"), run("y", estimator="node", device="ring"), run("z", device="echo")]
    assert short_names(runs) == ["pgt, ring", "node, ring", "pgt, echo"]
    assert baseline_names([runs[0], runs[2]]) == ["ring", "echo"]
    assert baseline_names(runs) == short_names(runs)


def test_runs_that_are_alike_are_told_apart_by_their_files() -> None:
    assert short_names([run("20261128-190237-iris-pgt"), run("20261128-190313-iris-pgt")]) == ["190237", "190313"]
    assert short_names([run("iris-pgt"), run("iris-pgt-dropout")]) == ["iris-pgt", "iris-pgt-dropout"]
    assert short_names([run("best", folder="a"), run("best", folder="b")]) == ["a/best", "b/best"]
    runs = [run("1-iris-pgt"), run("2-iris-pgt"), run("3-iris-node", estimator="node")]
    assert short_names(runs) == ["pgt, 1", "pgt, 2", "node"]
