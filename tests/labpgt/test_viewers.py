"""What other people's programs show of a session unasked: the learning curve, while a run goes on and afterwards.

silx and xarray read a file that is being written, or whose writer died, when HDF5 is told so (SWMR); nexusformat does
not pass that on, and reads a run that has ended.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import nexusformat.nexus as nx
import numpy as np
import pytest
import silx.io
import xarray as xr
from numpy.typing import NDArray
from silx.io import h5py_utils, nxdata

from labpgt.events import Status
from labpgt.session import Session
from tests.labpgt.test_session_crash import ask, writing
from tests.runs import configured, record
from tests.sessions import recorded

LABELS = {"train_loss": "training loss", "test_loss": "test loss", "test_accuracy": "test accuracy"}
RUNNING = """
    curve = np.zeros(3, EPOCH_DTYPE)
    for name in ("train_loss", "test_loss", "test_accuracy"):
        curve[name] = np.random.default_rng(1).random(3)
    curve["shots"], curve["time"] = (50, 100, 150), 1.75e9
    sys.stdin.readline()
    writer(ShotsTaken(rows(0, 150)))
    for row in curve:
        writer(EpochDone(row))
    writer(Measured({}))
    say("recorded")
    sys.stdin.readline()
"""


@contextmanager
def session(status: Status, folder: Path) -> Iterator[Path]:
    """A session that is finished, crashed, or being written by another process."""
    path = folder / "run.h5"
    if status is Status.SUCCESS:
        record(configured(training={"epochs": 3, "evaluation": "test"}), path)
        yield path
        return
    with writing(path, RUNNING) as process:
        assert ask(process) == "recorded"
        if status is Status.RUNNING:
            yield path
            process.communicate("\n")
        else:
            process.kill()
            process.wait()
    if status is Status.CRASHED:
        yield path


@pytest.fixture(params=[Status.SUCCESS, Status.CRASHED, Status.RUNNING], ids=str)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    with session(request.param, tmp_path) as path:
        with Session(path) as opened:
            assert opened.status is request.param
        yield path


@pytest.fixture(params=[Status.CRASHED, Status.RUNNING], ids=str)
def unfinished(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    with session(request.param, tmp_path) as path:
        yield path


def recorded_epochs(path: Path) -> NDArray[np.void]:
    with Session(path) as opened:
        epochs = opened.epochs()
    assert len(epochs)
    return epochs


def assert_curve(found: Mapping[str, NDArray[np.float64]], shots: NDArray[np.int64], epochs: NDArray[np.void]) -> None:
    np.testing.assert_array_equal(shots, epochs["shots"])
    assert set(found) == set(LABELS)
    for name, values in found.items():
        np.testing.assert_array_equal(values, epochs[name])


@pytest.mark.parametrize("opener", [silx.io.open, h5py_utils.File], ids=["silx.io.open", "h5py_utils.File"])
def test_silx(opener: Callable[[str], object], path: Path) -> None:
    """The default plot of `silx view FILE.h5`, which opens files in these two ways."""
    # Read before: silx locks no file, and HDF5 opens none twice in one process with and without a lock.
    epochs = recorded_epochs(path)
    with opener(str(path)) as file:
        plot = nxdata.get_default(file)
        assert plot is not None
        assert plot.is_valid, plot.issues
        assert plot.is_curve
        assert plot.group.name == "/entry/learning_curve"
        assert plot.title == "Learning curve"
        assert plot.signal_dataset_name == "train_loss"
        assert plot.auxiliary_signals_dataset_names == ["test_loss", "test_accuracy"]
        assert [plot.signal_name, *plot.auxiliary_signals_names] == list(LABELS.values())
        assert plot.axes_dataset_names == ["shots"]
        assert plot.axes_names == ["training shots"]
        names = [plot.signal_dataset_name, *plot.auxiliary_signals_dataset_names]
        curves = dict(zip(names, [plot.signal, *plot.auxiliary_signals], strict=True))
        assert_curve({name: curve[()] for name, curve in curves.items()}, plot.axes[0][()], epochs)


def test_nexusformat(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    record(configured(training={"epochs": 3, "evaluation": "test"}), path)
    plot = nx.nxload(str(path)).plottable_data
    assert plot.nxpath == "/entry/learning_curve"
    assert plot.nxtitle == "Learning curve"
    assert plot.nxsignal.nxname == "train_loss"
    assert plot.nxsignal.attrs["long_name"] == "training loss"
    assert list(plot.attrs["auxiliary_signals"]) == ["test_loss", "test_accuracy"]
    assert [axis.nxname for axis in plot.nxaxes] == ["shots"]
    signals = [plot.nxsignal.nxname, *plot.attrs["auxiliary_signals"]]
    assert_curve({name: plot[name].nxdata for name in signals}, plot.nxaxes[0].nxdata, recorded_epochs(path))


def test_nexusformat_says_that_a_run_is_not_finished(unfinished: Path) -> None:
    """It cannot be told how to open such a file: once it can, the README is to say so."""
    with pytest.raises(nx.NeXusError, match="already open for write"):
        nx.nxload(str(unfinished))


def test_xarray(path: Path) -> None:
    with xr.open_dataset(
        path, engine="h5netcdf", group="entry/learning_curve", phony_dims="sort", driver_kwds={"swmr": True}
    ) as curve:
        assert curve.attrs["signal"] == "train_loss"
        assert {name: curve[name].attrs["long_name"] for name in LABELS} == LABELS
        assert curve["train_loss"].dims == curve["test_loss"].dims == ("shots",)
        assert_curve({name: curve[name].values for name in LABELS}, curve["shots"].values, recorded_epochs(path))


def test_xarray_without_being_told(unfinished: Path) -> None:
    with pytest.raises(OSError, match="already open for write"):
        xr.open_dataset(unfinished, engine="h5netcdf", group="entry/learning_curve", phony_dims="sort")


def test_looking_changes_nothing(tmp_path: Path) -> None:
    """No viewer writes into a file, whatever its state."""
    for name in ("success", "crashed"):
        path = recorded(name, tmp_path)
        before = path.read_bytes()
        with silx.io.open(str(path)) as file:
            nxdata.get_default(file)
        if name == "success":
            nx.nxload(str(path)).plottable_data  # noqa: B018
        assert path.read_bytes() == before
