"""Series in a fixed amount of memory: what is told of the bins is what the rows were."""

import numpy as np
import pytest

from gui.series import Series


def filled(n: int, capacity: int, block: int, seed: int = 0) -> tuple[Series, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    rows = {"time": np.cumsum(rng.random(n)), "loss": rng.normal(size=n)}
    rows["loss"][rng.random(n) < 0.3] = np.nan
    series = Series(("time",), ("loss",), capacity)
    for start in range(0, n, block):
        series.add({name: column[start : start + block] for name, column in rows.items()})
    return series, rows


@pytest.mark.parametrize(("n", "block"), [(0, 1), (1, 1), (64, 64), (65, 7), (1000, 13), (4097, 1000), (5000, 5000)])
def test_bins_tell_what_the_rows_were(n: int, block: int) -> None:
    series, rows = filled(n, 64, block)
    assert len(series) == -(-n // series.per) <= 64
    assert series.rows == n
    for i in range(len(series)):
        part = slice(i * series.per, (i + 1) * series.per)
        assert series.place("time")[i] == pytest.approx(rows["time"][part].mean())
        values = rows["loss"][part]
        values = values[~np.isnan(values)]
        if len(values):
            assert series.mean("loss")[i] == pytest.approx(values.mean())
            assert (series.least("loss")[i], series.greatest("loss")[i]) == (values.min(), values.max())
            assert series.sum("loss")[i] == pytest.approx(values.sum())
        else:
            assert np.isnan([series.mean("loss")[i], series.least("loss")[i], series.greatest("loss")[i]]).all()


def test_it_does_not_matter_how_rows_come() -> None:
    one, other = filled(3000, 128, 1)[0], filled(3000, 128, 700)[0]
    np.testing.assert_allclose(one.mean("loss"), other.mean("loss"))
    np.testing.assert_array_equal(one.greatest("loss"), other.greatest("loss"))


def test_a_mean_over_more_rows_is_that_of_the_rows_around() -> None:
    series, rows = filled(1000, 2048, 100)
    smooth = series.smoothed("loss", 101)
    assert smooth[500] == pytest.approx(np.nanmean(rows["loss"][450:551]))
    assert smooth[0] == pytest.approx(np.nanmean(rows["loss"][:51]))
    assert smooth[-1] == pytest.approx(np.nanmean(rows["loss"][-51:]))


@pytest.mark.parametrize("over", [3, 5, 64, 999, 5000])
def test_one_huge_value_blots_out_no_mean_after_it(over: int) -> None:
    loss = np.random.default_rng(0).random(1000)
    loss[10] = 1e30
    series = Series(("time",), ("loss",))
    series.add({"time": np.arange(1000.0), "loss": loss})
    half = over // 2
    expected = [loss[max(0, i - half) : i + half + 1].mean() for i in range(1000)]
    np.testing.assert_allclose(series.smoothed("loss", over), expected, rtol=1e-12)


def test_a_coarser_one_has_the_same_rows_and_leaves_the_other_alone() -> None:
    series, rows = filled(1000, 2048, 100)
    coarse = series.coarser(300)
    assert (len(coarse), coarse.per) == (250, 4)
    assert coarse.greatest("loss")[0] == np.nanmax(rows["loss"][:4])
    assert len(series) == 1000
    assert series.coarser(1000) is series


def test_values_that_are_not_finite_spoil_nothing() -> None:
    series = Series(("x",), ("y",), 4)
    series.add({"x": np.arange(4.0), "y": np.array([1.0, np.inf, np.nan, 2.0])})
    np.testing.assert_array_equal(series.smoothed("y", 3), [1.0, 1.0, 2.0, 2.0])
