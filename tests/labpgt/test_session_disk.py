"""A disk that fills up ends a run with an error, and takes nothing that was acknowledged."""

import dataclasses
import shutil
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from labpgt.errors import StorageFault
from labpgt.events import STEP_DTYPE, RunStarted, RunStopped, ShotsTaken, Status, StepDone, shot_dtype
from labpgt.session import Session, SessionWriter
from labpgt.session.disk import RESERVE_BYTES

STARTED = RunStarted(1.75e9, "", "test ring", {}, 3, 2, (0.0, 1.0), 7, 10, 5, ("a", "b"), "ab" * 32)


def shots(n: int) -> NDArray[np.void]:
    rows = np.zeros(n, shot_dtype(3, 2))
    rows["index"] = np.arange(n)
    rows["response"] = np.random.default_rng(n).normal(size=(n, 3, 2))
    rows["time"] = 1.75e9
    return rows


class Disk(NamedTuple):
    free: int


@pytest.fixture
def free_bytes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The free space that the writer sees."""
    free = [1 << 40]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Disk(free[0]))
    return free


def test_nearly_full_disk_ends_the_run_before_hdf5_meets_it(tmp_path: Path, free_bytes: list[int]) -> None:
    rows = shots(200)
    with SessionWriter(tmp_path / "run.h5", flush_s=1000) as writer:
        writer(STARTED)
        writer(ShotsTaken(rows[:64]))
        writer(ShotsTaken(rows[64:100]))
        assert writer.acknowledged == 64
        free_bytes[0] = RESERVE_BYTES
        with pytest.raises(
            StorageFault,
            match=r"run\.h5: going on safely takes 67\.2 MB of free disk, and 67\.1 MB are free; 64 shots are safe",
        ):
            writer(ShotsTaken(rows[100:150]))
        assert writer.acknowledged == 64
        with pytest.raises(StorageFault, match="Free some space"):
            writer(ShotsTaken(rows[150:]))
        # The reserve is there to end the run in order.
        writer(RunStopped(Status.FAILED, "disk full", 1.75e9 + 1, {"shots": 150.0}))
    with Session(tmp_path / "run.h5") as session:
        assert session.status is Status.FAILED
        assert session.reason == "disk full"
        assert session.results == {"shots": 150.0}
        np.testing.assert_array_equal(session.shots(), rows[:150])


@pytest.mark.parametrize("free", [64 << 20, 0])
def test_a_run_that_the_disk_ended_keeps_its_acknowledged_shots(
    tmp_path: Path, free_bytes: list[int], free: int
) -> None:
    rows = shots(200)
    with SessionWriter(tmp_path / "run.h5", flush_s=1000) as writer:
        writer(STARTED)
        writer(ShotsTaken(rows[:100]))
        free_bytes[0] = free
        with pytest.raises(StorageFault, match="100 shots are safe"):
            writer(ShotsTaken(rows[100:]))
    with Session(tmp_path / "run.h5") as session:
        np.testing.assert_array_equal(session.shots(), rows[:100])
        if free:
            assert session.status is Status.FAILED
            assert "100 shots are safe" in session.reason


def test_a_disk_that_fills_between_shots_is_reported_at_the_next(tmp_path: Path, free_bytes: list[int]) -> None:
    with SessionWriter(tmp_path / "run.h5", flush_s=0.01) as writer:
        writer(STARTED)
        writer(ShotsTaken(shots(3)))
        free_bytes[0] = 0
        deadline = time.monotonic() + 30
        while writer._fault is None and time.monotonic() < deadline:
            time.sleep(0.002)
        with pytest.raises(StorageFault, match="0 shots are safe"):
            writer(StepDone(np.zeros((), STEP_DTYPE)))


def test_full_disk_at_the_start_leaves_nothing(tmp_path: Path, free_bytes: list[int]) -> None:
    free_bytes[0] = 1000
    with SessionWriter(tmp_path / "run.h5") as writer, pytest.raises(StorageFault, match="MB are free"):
        writer(STARTED)
    assert list(tmp_path.iterdir()) == []


def test_space_is_asked_of_the_open_file_before_every_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path | int] = []
    monkeypatch.setattr(shutil, "disk_usage", lambda place: asked.append(place) or Disk(1 << 40))
    with SessionWriter(tmp_path / "run.h5", flush_s=1000) as writer:
        writer(STARTED)
        assert asked == [tmp_path]
        for n in range(1, 41):
            writer(ShotsTaken(shots(64)))
            assert writer.acknowledged == 64 * n
            assert len(asked) == 1 + n
        assert writer._file is not None
        assert set(asked[1:]) == {writer._file.id.get_vfd_handle()}


def test_space_is_asked_for_what_waits(tmp_path: Path, free_bytes: list[int]) -> None:
    """The reserve stays free beside the rows that wait, checksums and all."""
    rows = np.zeros(1, shot_dtype(3000, 3000))
    with SessionWriter(tmp_path / "run.h5", flush_s=1000) as writer:
        writer(dataclasses.replace(STARTED, symbols=3000, nodes=3000))
        free_bytes[0] = RESERVE_BYTES + rows.nbytes
        with pytest.raises(StorageFault, match="0 shots are safe"):
            writer(ShotsTaken(rows))
        writer(RunStopped(Status.FAILED, "disk full", 1.75e9 + 1))
    with Session(tmp_path / "run.h5") as session:
        assert session.n_shots == 1
