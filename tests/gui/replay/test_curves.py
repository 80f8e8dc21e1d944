"""The curves of runs that are laid over each other."""

from types import SimpleNamespace

import numpy as np
import pytest

from gui.replay import curves
from labpgt.events import STEP_DTYPE


def test_the_last_point_of_a_long_curve_is_no_worse_a_mean_than_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "POINTS", 10)
    rows = np.zeros(92, STEP_DTYPE)
    rows["step"] = np.arange(92)
    rows["shots"] = 4 * (rows["step"] + 1)
    rows["loss"] = np.where(rows["step"] >= 90, 7.0, 1.0)
    session = SimpleNamespace(n_steps=92, steps=lambda start, stop: rows[start:stop])
    curve = curves._updates(session, 0.0, 10)  # type: ignore[arg-type]
    assert len(curve.values) == 9
    assert curve.values[-1] == pytest.approx((10 * 1.0 + 2 * 7.0) / 12)
    assert (curve.shots[-1], curve.epochs[-1]) == (4 * 92, 9.2)
