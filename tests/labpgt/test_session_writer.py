"""What goes into a session file comes out again, for labpgt and for any other HDF5 reader."""

import dataclasses
import os
import threading
import time
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from labpgt.device import Setting
from labpgt.errors import InputError, StorageFault
from labpgt.events import (
    EPOCH_DTYPE,
    RESULTS,
    STEP_DTYPE,
    Checkpoint,
    EpochDone,
    Event,
    Measured,
    RunStarted,
    RunStopped,
    RunWarning,
    ShotsTaken,
    Status,
    StepDone,
    shot_dtype,
)
from labpgt.session import Session, SessionWriter

SETTINGS = {
    "frequency": Setting(2.5e9, "Hz"),
    "power": Setting(-13, "dBm"),
    "film": Setting("YIG, 5 µm", ""),
    "locked": Setting(True, ""),
    "field": Setting(float(np.float64(0.0355)), "T"),
}
STARTED = RunStarted(
    time=1.75e9,
    config_toml='[task]\nname = "iris"  # µ, × and –\n',
    device="test ring",
    settings=SETTINGS,
    symbols=3,
    nodes=2,
    drive_limits=(-0.5, 1.5),
    parameters=7,
    training_samples=100,
    test_samples=50,
    targets=("setosa", "versicolor", "virginica"),
    dataset_sha256="ab" * 32,
    planned_shots=4000,
)
STOPPED = RunStopped(Status.SUCCESS, "training.epochs = 2 done", 1.75e9 + 60, {"train_loss": 0.125}, "cd" * 32)


def random_rows(dtype: np.dtype[np.void], n: int, seed: int = 0) -> NDArray[np.void]:
    """Rows of random bytes that are finite numbers in every floating-point field, with a time."""
    rng = np.random.default_rng(seed)
    rows = np.zeros(n, dtype)
    for name in dtype.names or ():
        column = rows[name]
        if column.dtype.kind == "f":
            column[...] = rng.normal(size=column.shape)
        elif column.dtype.kind in "iu":
            limits = np.iinfo(column.dtype)
            column[...] = rng.integers(limits.min, limits.max, column.shape, column.dtype, endpoint=True)
        else:
            column[...] = rng.bytes(32).hex().encode()
    rows["time"] = 1.75e9 + np.arange(n)
    return rows


def shots(n: int, seed: int = 0) -> NDArray[np.void]:
    return random_rows(shot_dtype(3, 2), n, seed)


class Recorded(NamedTuple):
    path: Path
    shots: NDArray[np.void]
    steps: NDArray[np.void]
    epochs: NDArray[np.void]


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    """A run with every kind of event in it."""
    run = Recorded(
        tmp_path / "run.h5", shots(301), random_rows(STEP_DTYPE, 130, seed=1), random_rows(EPOCH_DTYPE, 70, seed=2)
    )
    with SessionWriter(run.path) as writer:
        writer(STARTED)
        blocks = np.split(run.shots, [1, 2, 4, 36, 100, 229, 229, 300])
        for block in blocks:
            writer(ShotsTaken(block))
        for step in run.steps:
            writer(StepDone(step))
        writer(Measured({"delta": 0.05, "response_noise": 1e-3}))
        for i in range(len(run.epochs)):
            writer(Checkpoint(i, 2 * i, 3 * i, np.full(7, i, np.float32)))
            writer(EpochDone(run.epochs[i : i + 1].reshape(())))
        writer(RunWarning("the loss is that of always predicting the mean"))
        writer(RunWarning("é" * 2000))
        writer(STOPPED)
        assert writer.acknowledged == 301
    return run


def test_every_event_comes_back(recorded: Recorded) -> None:
    with Session(recorded.path) as session:
        assert session.status is Status.SUCCESS
        assert session.reason == STOPPED.reason
        assert session.start_time == "2025-06-15T15:06:40.000000+00:00"
        assert session.end_time == "2025-06-15T15:07:40.000000+00:00"
        assert session.schema_version == 2
        assert session.configuration == STARTED.config_toml
        assert session.device == "test ring"
        assert session.settings == SETTINGS
        assert {name: type(value) for name, (value, _) in session.settings.items()} == {
            name: type(value) for name, (value, _) in SETTINGS.items()
        }
        assert (session.symbols, session.nodes, session.drive_limits) == (3, 2, (-0.5, 1.5))
        assert session.targets == STARTED.targets
        assert (session.training_samples, session.test_samples, session.planned_shots) == (100, 50, 4000)
        assert session.parameters_sha256 == STOPPED.parameters_sha256
        assert session.results == {"delta": 0.05, "response_noise": 1e-3, "train_loss": 0.125}
        assert session.n_shots == 301
        np.testing.assert_array_equal(session.shots(), recorded.shots)
        np.testing.assert_array_equal(session.shots(250, 1000), recorded.shots[250:])
        np.testing.assert_array_equal(session.shots(60, 70), recorded.shots[60:70])
        assert session.shots(0, 0).dtype == shot_dtype(3, 2)
        assert len(session.shots(400, 500)) == 0
        np.testing.assert_array_equal(np.concatenate(list(session.iter_shots(block=64))), recorded.shots)
        np.testing.assert_array_equal(session.steps(), recorded.steps)
        np.testing.assert_array_equal(session.epochs(), recorded.epochs)
        checkpoint = session.checkpoint()
        assert checkpoint is not None
        assert checkpoint[0] == (69, 138, 207)
        np.testing.assert_array_equal(checkpoint[1], np.full(7, 69, np.float32))
        first, second = session.warnings
        assert first == "the loss is that of always predicting the mean"
        # A text that is too long is cut between two characters, never within one.
        assert second == "é" * 510 + "…"


def test_provenance_says_where_the_run_came_from(recorded: Recorded) -> None:
    with Session(recorded.path) as session:
        provenance = session.provenance
    assert provenance["numpy"] == np.__version__
    assert provenance["h5py"] == h5py.__version__
    assert provenance["libhdf5"] == h5py.version.hdf5_version
    assert provenance["pid"] == str(os.getpid())
    assert provenance["dataset_sha256"] == STARTED.dataset_sha256
    for key in ("labpgt", "python", "torch", "numba", "host", "machine", "platform", "process_create_time"):
        assert provenance[key], key
    assert {"git_commit", "git_dirty", "constraints_sha256", "threads"} <= provenance.keys()


def test_h5py_alone_reads_the_file_and_finds_the_learning_curve(recorded: Recorded) -> None:
    with h5py.File(recorded.path, "r") as file:
        assert file.attrs["NX_class"] == "NXroot"
        entry = file[file.attrs["default"]]
        assert entry.attrs["NX_class"] == "NXentry"
        data = entry[entry.attrs["default"]]
        assert data.attrs["NX_class"] == "NXdata"
        np.testing.assert_array_equal(data[data.attrs["signal"]][:], recorded.epochs["train_loss"])
        (axis,) = data.attrs["axes"]
        assert data.attrs[f"{axis}_indices"] == 0
        np.testing.assert_array_equal(data[axis][:], recorded.epochs["shots"])
        for name in data.attrs["auxiliary_signals"]:
            np.testing.assert_array_equal(data[name][:], recorded.epochs[name])
        assert all(data[name].attrs["long_name"] for name in (data.attrs["signal"], axis))
        for group in [file["entry"], *(item for item in file["entry"].values() if isinstance(item, h5py.Group))]:
            assert group.attrs["NX_class"].startswith("NX")
        assert entry["status"][()] == b"success"
        assert entry["instrument/settings/frequency"].attrs["units"].decode() == "Hz"
        assert set(entry["results"]) == set(RESULTS)
        assert entry["results/train_loss"].attrs["description"] == RESULTS["train_loss"]
        np.testing.assert_array_equal(entry["shots"]["response"], recorded.shots["response"])


def test_rows_are_copied_when_the_event_is_handled(tmp_path: Path) -> None:
    rows = shots(10)
    wanted = rows.copy()
    with SessionWriter(tmp_path / "run.h5", flush_s=1000) as writer:
        writer(STARTED)
        writer(ShotsTaken(rows))
        assert writer.acknowledged == 0
        rows["response"] = 0
        writer(STOPPED)
    with Session(tmp_path / "run.h5") as session:
        np.testing.assert_array_equal(session.shots(), wanted)


@pytest.mark.parametrize(("symbols", "nodes"), [(1, 1), (3000, 200)])
def test_shortest_and_long_shots_round_trip(tmp_path: Path, symbols: int, nodes: int) -> None:
    rows = random_rows(shot_dtype(symbols, nodes), 9)
    with SessionWriter(tmp_path / "run.h5", flush_s=1000) as writer:
        writer(dataclasses.replace(STARTED, symbols=symbols, nodes=nodes))
        writer(ShotsTaken(rows))
        # Long shots are acknowledged earlier than every 64, for the memory they take.
        assert writer.acknowledged == (0 if nodes == 1 else 9)
        writer(STOPPED)
    with Session(tmp_path / "run.h5") as session:
        assert [len(block) for block in session.iter_shots()] == [9]
        np.testing.assert_array_equal(session.shots(), rows)
    with h5py.File(tmp_path / "run.h5", "r") as file:
        (chunk,) = file["entry/shots"].chunks
        assert chunk == 1 or chunk * rows.dtype.itemsize <= 1 << 20


def test_at_every_moment_one_checkpoint_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Overwriting one never touches the other, and what is half overwritten is not taken."""
    path = tmp_path / "run.h5"
    write = h5py.Dataset.__setitem__
    found: list[int] = []

    def write_and_look(dataset: h5py.Dataset, place: object, value: object) -> None:
        write(dataset, place, value)
        if "checkpoints" in dataset.name:
            dataset.file.flush()
            with Session(path) as session:
                saved = session.training_state()
                found.append(0 if saved is None else saved.cursor.step)
                if saved is not None:
                    assert saved.cursor == (saved.cursor.step, saved.cursor.step, 0)
                    assert saved.parameters.tolist() == [saved.cursor.step] * 7
                    assert saved.state["moment"].tolist() == [saved.cursor.step] * 3

    with SessionWriter(path, flush_s=1000) as writer:
        writer(dataclasses.replace(STARTED, state={"moment": np.zeros(3)}))
        writer(ShotsTaken(shots(4)))
        for row in random_rows(STEP_DTYPE, 6):
            writer(StepDone(row))
        writer(EpochDone(random_rows(EPOCH_DTYPE, 1)[0]))
        monkeypatch.setattr(h5py.Dataset, "__setitem__", write_and_look)
        for step in range(1, 5):
            found.clear()
            state = {"moment": np.full(3, float(step))}
            writer(Checkpoint(step, step, 0, np.full(7, step, np.float32), state))
            assert found == [step - 1, step - 1, step]
        monkeypatch.undo()
        writer(STOPPED)


def test_a_block_is_acknowledged_when_it_is_full(tmp_path: Path) -> None:
    with SessionWriter(tmp_path / "run.h5", flush_shots=16, flush_s=1000) as writer:
        writer(STARTED)
        acknowledged = []
        for n in (15, 1, 1, 30, 3):
            writer(ShotsTaken(shots(n)))
            acknowledged.append(writer.acknowledged)
    # A batch that reaches the end of a block is acknowledged whole; the next block ends at 48 again.
    assert acknowledged == [0, 16, 16, 47, 50]


def test_memory_does_not_grow_with_the_run(tmp_path: Path) -> None:
    rows = shots(256)
    step = random_rows(STEP_DTYPE, 1)
    with SessionWriter(tmp_path / "run.h5") as writer:
        writer(STARTED)
        buffers = writer._buffers
        addresses = {name: (id(buffer._rows), buffer._rows.nbytes) for name, buffer in buffers.items()}
        for _ in range(200_000 // 256 + 1):
            writer(ShotsTaken(rows))
            writer(StepDone(step[0]))
        assert {name: (id(buffer._rows), buffer._rows.nbytes) for name, buffer in buffers.items()} == addresses
        assert sum(size for _, size in addresses.values()) < 1 << 20
        assert max(buffer.filled for buffer in buffers.values()) <= 256
        assert writer.acknowledged >= 200_000


def test_rows_are_flushed_while_nothing_happens(tmp_path: Path) -> None:
    with SessionWriter(tmp_path / "run.h5", flush_s=0.01) as writer:
        writer(STARTED)
        writer(ShotsTaken(shots(3)))
        deadline = time.monotonic() + 30
        while writer.acknowledged < 3 and time.monotonic() < deadline:
            time.sleep(0.002)
        assert writer.acknowledged == 3
        with Session(tmp_path / "run.h5") as session:
            np.testing.assert_array_equal(session.shots(), shots(3))


def test_the_thread_ends_with_the_run(tmp_path: Path) -> None:
    before = threading.active_count()
    with SessionWriter(tmp_path / "run.h5") as writer:
        writer(STARTED)
        assert threading.active_count() == before + 1
        writer(STOPPED)
        assert threading.active_count() == before
    assert writer.seconds > 0


def test_nothing_is_on_disk_before_the_run_starts(tmp_path: Path) -> None:
    with SessionWriter(tmp_path / "new" / "folder" / "run.h5") as writer:
        writer(RunStopped(Status.FAILED, "the device did not answer", 0.0))
    assert list(tmp_path.iterdir()) == []
    with SessionWriter(tmp_path / "new" / "folder" / "run.h5") as writer:
        writer(STARTED)
    assert (tmp_path / "new" / "folder" / "run.h5").exists()


def test_existing_output_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.h5").write_text("precious")
    with pytest.raises(
        InputError, match=r"run\.h5 exists already; choose another --out, or go on with it: labpgt resume"
    ):
        SessionWriter(tmp_path / "run.h5")
    (tmp_path / "link.h5").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="exists already"):
        SessionWriter(tmp_path / "link.h5")


def test_output_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be created.*choose another --out"):
        SessionWriter(tmp_path / "file" / "run.h5")
    with pytest.raises(InputError, match=r"cannot be created.*choose another --out"):
        SessionWriter(tmp_path / ("x" * 300 + ".h5"))


def test_unwritable_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(InputError, match="cannot be written to"):
        SessionWriter(tmp_path / "run.h5")


def test_a_file_that_appears_meanwhile_is_left_alone(tmp_path: Path) -> None:
    writer = SessionWriter(tmp_path / "run.h5")
    (tmp_path / "run.h5").write_text("precious")
    with pytest.raises(StorageFault, match=r"run\.h5"):
        writer(STARTED)
    writer.close()
    assert (tmp_path / "run.h5").read_text() == "precious"


def test_a_start_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with SessionWriter(tmp_path / "run.h5") as writer:
        with pytest.raises(StorageFault, match="'source/power' cannot be the name of a dataset") as fault:
            writer(dataclasses.replace(STARTED, settings={"source/power": Setting(1.0, "W")}))
        with pytest.raises(StorageFault, match="source/power"):
            writer(ShotsTaken(shots(1)))
    assert list(tmp_path.iterdir()) == []
    assert str(fault.value).startswith(f"{tmp_path / 'run.h5'}: ")
    for misleading in (".part", "check the disk"):
        assert misleading not in str(fault.value)


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (ShotsTaken(random_rows(shot_dtype(4, 2), 1)), "entry/shots takes rows of"),
        (Measured({"train_los": 1.0}), "train_los"),
        (Checkpoint(1, 1, 1, np.zeros(5, np.float32)), "recording Checkpoint failed"),
        (STARTED, "started already"),
    ],
)
def test_an_event_that_does_not_fit_is_fatal(tmp_path: Path, event: Event, message: str) -> None:
    with SessionWriter(tmp_path / "run.h5") as writer:
        writer(STARTED)
        writer(ShotsTaken(shots(5)))
        with pytest.raises(StorageFault, match=message) as fault:
            writer(event)
        assert str(fault.value).startswith(f"{tmp_path / 'run.h5'}: ")
        assert "check the disk" not in str(fault.value), "it is not to blame"
        with pytest.raises(StorageFault, match=message):
            writer(ShotsTaken(shots(1)))
    with Session(tmp_path / "run.h5") as session:
        assert session.status is Status.FAILED
        assert message in session.reason


def test_events_before_the_start_are_refused(tmp_path: Path) -> None:
    with SessionWriter(tmp_path / "run.h5") as writer, pytest.raises(StorageFault, match="no run is going on"):
        writer(ShotsTaken(shots(1)))


def test_a_writer_closed_too_early_leaves_a_crashed_run(tmp_path: Path) -> None:
    with SessionWriter(tmp_path / "run.h5", flush_s=1000) as writer:
        writer(STARTED)
        writer(ShotsTaken(shots(5)))
        with Session(tmp_path / "run.h5") as session:
            assert session.status is Status.RUNNING
            assert session.end_time == ""
    writer.close()
    with Session(tmp_path / "run.h5") as session:
        assert session.status is Status.CRASHED
        assert session.end_time != ""
        np.testing.assert_array_equal(session.shots(), shots(5))
