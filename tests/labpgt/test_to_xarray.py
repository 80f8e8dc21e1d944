"""A session as a dataset has every value, unit and attribute, and reads what is asked for and no more."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import labpgt.session.to_xarray as module
from labpgt.errors import StorageFault
from labpgt.events import EPOCH_DTYPE, STEP_DTYPE, Flag, Purpose, shot_dtype
from labpgt.session import Session
from labpgt.session.description import COLUMNS, datetimes
from tests.sessions import assert_same, random_rows, recorded, write


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with Session(write(tmp_path / "run.h5")) as session:
        yield session


def tables(session: Session) -> dict[str, Any]:
    return {"shots": session.shots(), "steps": session.steps(), "epochs": session.epochs()}


def assert_holds(dataset: xr.Dataset, session: Session) -> None:
    """Every column of every table is in the dataset."""
    for table, rows in tables(session).items():
        for name, column in COLUMNS[table].items():
            found = dataset[column.name]
            if name == "time":
                assert_same(found.values, datetimes(rows[name]))
            elif name == "parameters_sha256":
                assert found.values.tolist() == [text.decode() for text in rows[name]]
            else:
                assert_same(found.values, rows[name])


def test_every_column_is_described() -> None:
    assert {table: tuple(columns) for table, columns in COLUMNS.items()} == {
        "shots": shot_dtype(1, 1).names,
        "steps": STEP_DTYPE.names,
        "epochs": EPOCH_DTYPE.names,
    }
    names = [column.name for columns in COLUMNS.values() for column in columns.values()]
    assert len(names) == len(set(names))


def test_every_value(session: Session) -> None:
    dataset = session.to_xarray()
    assert dict(dataset.sizes) == {"shot": 300, "symbol": 4, "node": 3, "step": 20, "epoch": 3}
    assert dataset.response.dims == ("shot", "symbol", "node")
    assert dataset.drive.dims == ("shot", "symbol")
    assert dataset.train_loss.dims == ("epoch",)
    assert dataset.step_loss.dims == ("step",)
    assert_holds(dataset, session)


@pytest.mark.parametrize("name", ["success", "crashed"])
def test_recorded_sessions(name: str, tmp_path: Path) -> None:
    with Session(recorded(name, tmp_path)) as session:
        dataset = session.to_xarray()
        assert dataset.attrs["status"] == name
        assert_holds(dataset, session)
        rows = session.shots()
        assert_same(dataset.response.sel(shot=17).values, rows["response"][17])
        assert_same(dataset.loss.sel(shot=slice(10, 20)).values, rows["loss"][10:21])
        plus = dataset.response.sel(node=2).where(dataset.sign == 1, drop=True)
        assert_same(plus.values, rows["response"][rows["sign"] == 1][:, :, 2])


def test_units_and_descriptions(session: Session) -> None:
    dataset = session.to_xarray()
    for name, variable in dataset.variables.items():
        assert variable.attrs["long_name"], name
        if name in ("time", "step_time", "epoch_time"):
            assert variable.dtype == "datetime64[ns]"
            assert variable.encoding["units"] == "seconds since 1970-01-01"
        else:
            assert variable.attrs["units"] == ("s" if name == "duration" else "1"), name
    purpose = dataset.purpose.attrs
    assert purpose["flag_values"].tolist() == list(Purpose)
    assert purpose["flag_meanings"] == "train calibration baseline evaluation"
    assert dataset.flags.attrs["flag_masks"].tolist() == list(Flag)
    assert dataset.flags.attrs["flag_meanings"] == "overload drift oscillation retaken torn"


def test_attributes(session: Session) -> None:
    found = session.to_xarray().attrs
    expected = {
        "Conventions": "CF-1.9",
        "title": "Training through test ring",
        "status": "success",
        "reason": "done",
        "device": "test ring",
        "start_time": "2025-06-15T15:06:40.000000+00:00",
        "end_time": "2025-06-15T15:07:40.000000+00:00",
        "configuration": '# für "alles"\nseed = 1\n',
        "schema_version": session.schema_version,
        "targets": ["a", "b"],
        "drive_limits": [0.0, 1.0],
        "training_samples": 10,
        "test_samples": 5,
        "planned_shots": 1000,
        "warnings": "warmer than usual",
        "parameters_sha256": "cd" * 32,
        "result_delta": 0.05,
        "result_train_loss": 0.25,
        "setting_frequency": 2.5e9,
        "setting_frequency_units": "Hz",
        "setting_power": -10,
        "setting_power_units": "dBm",
        "setting_locked": 1,
        "setting_locked_units": "",
        "setting_film": "YIG, 5 µm",
        "setting_film_units": "",
    }
    provenance = {f"provenance_{name}": value for name, value in session.provenance.items()}
    assert found == {**expected, **provenance}


@pytest.mark.parametrize("chosen", [slice(10, 20), slice(250, None), slice(-5, None), slice(0, 100, 7), slice(50, 10)])
def test_some_shots(chosen: slice, session: Session) -> None:
    dataset = session.to_xarray(shots=chosen)
    rows = session.shots()[chosen]
    np.testing.assert_array_equal(dataset.shot, np.arange(300)[chosen])
    for name in ("response", "loss", "seed"):
        assert_same(dataset[name].values, rows[name])
    assert dict(dataset.sizes) == {"shot": len(rows), "symbol": 4, "node": 3, "step": 20, "epoch": 3}


KEYS = [
    {"shot": 3},
    {"shot": -1, "symbol": 2, "node": 0},
    {"shot": slice(None, None, -1)},
    {"shot": slice(200, 20, -13), "symbol": [3, 0]},
    {"shot": [5, 299, 5, 0], "node": [2, 1]},
    {"shot": [5, 299], "symbol": 1, "node": [2, 1]},
    {"symbol": -1},
    {"node": slice(1, None), "symbol": slice(None, None, 2)},
    {"shot": []},
    {"shot": np.arange(300) % 3 == 1},
]


@pytest.mark.parametrize("block", [1, 1000, 1 << 24])
@pytest.mark.parametrize("key", KEYS, ids=str)
def test_any_selection(key: dict[str, Any], block: int, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK_BYTES", block)
    dataset = session.to_xarray()
    held = xr.Variable(("shot", "symbol", "node"), session.shots()["response"])
    assert_same(dataset.response.isel(key).values, held.isel(key).values)
    points = {"shot": xr.Variable("point", [9, 0, 200]), "node": xr.Variable("point", [0, 2, 1])}
    assert_same(dataset.response.isel(points).values, held.isel(points).values)


class Reads:
    """Counts the rows that a session is asked for."""

    def __init__(self, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        self.blocks: list[int] = []
        read = session.shots

        def counted(start: int = 0, stop: int | None = None) -> Any:
            rows = read(start, stop)
            self.blocks.append(len(rows))
            return rows

        monkeypatch.setattr(session, "shots", counted)


def test_shots_are_read_when_they_are_used(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = Reads(session, monkeypatch)
    dataset = session.to_xarray()
    repr(dataset)
    chosen = dataset.response.sel(shot=slice(100, 109))
    assert reads.blocks == []
    chosen.values  # noqa: B018
    assert reads.blocks == [10]
    # What was read whole is not read again.
    dataset.loss.values  # noqa: B018
    dataset.loss.isnull().sum()
    assert reads.blocks == [10, 300]
    # A deep copy does not copy the file.
    assert_same(dataset.copy(deep=True).seed.values, session.shots()["seed"])


def test_a_column_is_read_in_blocks_and_what_lies_between_is_not(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BLOCK_BYTES", 64 * shot_dtype(4, 3).itemsize)
    reads = Reads(session, monkeypatch)
    dataset = session.to_xarray()
    dataset.loss.values  # noqa: B018
    assert reads.blocks == [64, 64, 64, 64, 44]
    reads.blocks.clear()
    dataset.response.isel(shot=[299, 1, 2]).values  # noqa: B018
    assert reads.blocks == [2, 1]


def test_closed_session(tmp_path: Path) -> None:
    with Session(write(tmp_path / "run.h5")) as session:
        dataset = session.to_xarray()
        loaded = dataset.loss.load()
        expected = session.shots()["loss"]
    assert_same(loaded.values, expected)
    with pytest.raises(StorageFault, match=r"run\.h5"):
        dataset.response.values  # noqa: B018


def test_through_netcdf(session: Session, tmp_path: Path) -> None:
    """A person may write the dataset; times keep the precision of what reads them."""
    dataset = session.to_xarray()
    dataset.to_netcdf(tmp_path / "run.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "run.nc", engine="h5netcdf") as found:
        for name, variable in dataset.variables.items():
            if variable.dtype.kind == "M":
                assert abs(found[name] - variable).max() < np.timedelta64(1, "us")
            else:
                assert found[name].dims == variable.dims
                assert_same(found[name].values, variable.values)
        assert set(found.coords) == set(dataset.coords)


def test_nothing_recorded(tmp_path: Path) -> None:
    with Session(write(tmp_path / "run.h5", shots=0, steps=0, epochs=0, targets=())) as session:
        dataset = session.to_xarray()
        assert dict(dataset.sizes) == {"shot": 0, "symbol": 4, "node": 3, "step": 0, "epoch": 0}
        assert dataset.response.values.shape == (0, 4, 3)
        assert "targets" not in dataset.attrs
        assert_holds(dataset, session)


def test_times_to_the_nanosecond() -> None:
    seconds = random_rows(STEP_DTYPE, 1000)["time"]
    found = datetimes(seconds)
    whole = found.astype("datetime64[s]")
    again = whole.astype(np.int64) + (found - whole).astype(np.int64) / 1e9
    assert_same(again, seconds)
    odd = datetimes(np.array([np.nan, np.inf, -np.inf, 1e300, 0.0, -0.25]))
    assert np.isnat(odd).tolist() == [True] * 4 + [False] * 2
    assert odd[4:].tolist() == [0, -250_000_000]


def test_sessions_do_not_import_xarray() -> None:
    script = "import sys, labpgt.session; assert not {'xarray', 'pandas', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_datasets_do_not_import_torch(tmp_path: Path) -> None:
    path = write(tmp_path / "run.h5")
    script = f"import sys, labpgt; labpgt.Session({str(path)!r}).to_xarray(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
