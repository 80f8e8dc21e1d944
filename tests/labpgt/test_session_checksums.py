"""What was changed in a session without renewing its checksum is refused and named; so is a row out of its place."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from labpgt.device import Setting
from labpgt.errors import InputError, StorageFault
from labpgt.events import (
    EPOCH_DTYPE,
    STEP_DTYPE,
    Checkpoint,
    EpochDone,
    RunStarted,
    RunStopped,
    RunWarning,
    ShotsTaken,
    Status,
    StepDone,
    shot_dtype,
)
from labpgt.session import Session, SessionWriter
from labpgt.session.checksum import CRC_DTYPE, row_crcs, table_key, values_crc
from tests.forging import renew

STARTED = RunStarted(
    time=1.75e9,
    config_toml="seed = 1\n",
    device="test ring",
    settings={"frequency": Setting(2.5e9, "Hz"), "film": Setting("YIG", ""), "locked": Setting(True, "")},
    symbols=4,
    nodes=3,
    drive_limits=(0.0, 1.0),
    parameters=6,
    training_samples=10,
    test_samples=5,
    targets=("a", "b"),
    dataset_sha256="ab" * 32,
    state={"moment": np.zeros(6), "count": np.zeros((), np.int64)},
)


def checkpoint(step: int) -> Checkpoint:
    state = {"moment": np.full(6, step / 8), "count": np.array(step)}
    return Checkpoint(100 * step, step, 0, np.full(6, step, np.float32), state)


def written(path: Path) -> Path:
    """Record 200 shots, three steps, an epoch, two warnings and two checkpoints."""
    rows = np.zeros(200, shot_dtype(4, 3))
    rows["response"] = np.random.default_rng(0).normal(size=(200, 4, 3))
    rows["index"] = np.arange(200)
    rows["time"] = 1.75e9
    steps = np.zeros(3, STEP_DTYPE)
    steps["step"] = range(3)
    with SessionWriter(path) as writer:
        writer(STARTED)
        writer(ShotsTaken(rows))
        for step in steps:
            writer(StepDone(step))
        writer(EpochDone(np.zeros((), EPOCH_DTYPE)))
        writer(RunWarning("first"))
        writer(RunWarning("second"))
        writer(checkpoint(1))
        writer(checkpoint(2))
        writer(RunStopped(Status.SUCCESS, "done", 1.75e9, {"train_loss": 0.125}, "cd" * 32))
    return path


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("original") / "run.h5")


@pytest.fixture
def path(original: Path, tmp_path: Path) -> Path:
    """A copy of one finished session, to be damaged."""
    return Path(shutil.copy(original, tmp_path / "run.h5"))


Edit = Callable[[h5py.File], None]


def cell(table: str, row: int, column: str, value: Any) -> Edit:
    def edit(file: h5py.File) -> None:
        rows = file[f"entry/{table}"][row : row + 1]
        rows[column] = value
        file[f"entry/{table}"][row : row + 1] = rows

    return edit


def value(name: str, new: Any) -> Edit:
    def edit(file: h5py.File) -> None:
        dataset = file[f"entry/{name}"]
        dataset[()] = np.asarray(new, dataset.dtype)

    return edit


def unit(name: str, new: str) -> Edit:
    def edit(file: h5py.File) -> None:
        file[f"entry/{name}"].attrs["units"] = new

    return edit


CONSTANT = "reading the session failed: configuration, settings and provenance do not match their checksum"


@pytest.mark.parametrize(
    "edit",
    [
        value("configuration", b"seed = 2\n"),
        value("title", b"Training through another"),
        value("start_time", b"2025-06-15T15:06:41.000000+00:00"),
        value("provenance/dataset_sha256", b"ac" * 32),
        value("provenance/host", b"elsewhere"),
        value("task/targets", np.array([b"a", b"c"])),
        value("task/planned_shots", 7),
        value("instrument/name", b"toast ring"),
        value("instrument/drive_limits", np.array([0.0, 2.0])),
        value("instrument/settings/frequency", 2.6e9),
        value("instrument/settings/film", b"YIX"),
        value("instrument/settings/locked", False),
        unit("instrument/settings/frequency", "kHz"),
        unit("instrument/settings/film", "m"),
        value("checksums/constants", 1),
        lambda file: file.__setitem__("entry/instrument/settings/field", 0.5),
        lambda file: file.__delitem__("entry/instrument/settings/field_before"),
    ],
)
def test_a_changed_constant_is_refused_at_opening(path: Path, edit: Edit) -> None:
    with h5py.File(path, "r+") as file:
        file["entry/instrument/settings/field_before"] = 0.25
        renew(file)
    Session(path).close()
    with h5py.File(path, "r+") as file:
        edit(file)
    with pytest.raises(InputError, match=CONSTANT) as refusal:
        Session(path)
    assert str(path) in str(refusal.value)


ROW = r"reading rows 0 to {} of /entry/{} failed: row {} does not match its checksum; the file is damaged there"
STATE = "status, reason, end time and hash do not match their checksum; the file is damaged"
RESULTS = "reading the results failed: results do not match their checksum; the file is damaged"


@pytest.mark.parametrize(
    ("edit", "read", "message"),
    [
        (cell("shots", 150, "loss", 0.5), Session.shots, ROW.format(200, "shots", 150)),
        (cell("shots", 0, "flags", 8), Session.shots, ROW.format(200, "shots", 0)),
        (cell("shots", 199, "response", 1.0), lambda s: list(s.iter_shots()), ROW.format(200, "shots", 199)),
        (cell("shots", 7, "crc32", 7), lambda s: s.shots(0, 8), ROW.format(8, "shots", 7)),
        (cell("steps", 2, "gradient_norm", 1.0), Session.steps, ROW.format(3, "steps", 2)),
        (cell("epochs", 0, "parameters_sha256", b"ab"), Session.epochs, ROW.format(1, "epochs", 0)),
        (cell("warnings", 1, "message", b"nothing"), lambda s: s.warnings, ROW.format(2, "warnings", 1)),
        (cell("warnings", 0, "shot", 3), Session.warning_rows, ROW.format(2, "warnings", 0)),
        (value("results/train_loss", 0.25), lambda s: s.results, RESULTS),
        (value("results/delta", 0.25), lambda s: s.results, RESULTS),
        (lambda file: file.__delitem__("entry/results/delta"), lambda s: s.results, RESULTS),
        (value("checksums/results", 1), lambda s: s.results, RESULTS),
        (value("status", b"failed"), lambda s: s.status, f"reading the status failed: {STATE}"),
        (value("reason", b"dune"), lambda s: s.reason, f"reading the reason failed: {STATE}"),
        (value("end_time", b""), lambda s: s.end_time, f"reading the end time failed: {STATE}"),
        (
            value("parameters_sha256", b"ce" * 32),
            lambda s: s.parameters_sha256,
            f"reading the hash of the parameters failed: {STATE}",
        ),
    ],
)
def test_a_change_is_refused_where_it_is_read(
    path: Path, edit: Edit, read: Callable[[Session], object], message: str
) -> None:
    with Session(path) as session:
        read(session)
    with h5py.File(path, "r+") as file:
        edit(file)
    with Session(path) as session:
        with pytest.raises(StorageFault, match=message) as fault:
            read(session)
        assert str(path) in str(fault.value)
        # What is whole is still read.
        assert len(session.shots(20, 30)) == 10
    with h5py.File(path, "r+") as file:
        renew(file)
    with Session(path) as session:
        read(session)


@pytest.mark.parametrize(
    ("name", "index"), [("parameters", 3), ("state/moment", 0), ("state/count", ()), ("cursor", None)]
)
def test_a_damaged_checkpoint_is_passed_over_for_the_other_one(path: Path, name: str, index: Any) -> None:
    def damage(slot: int) -> None:
        with h5py.File(path, "r+") as file:
            arrays = file[f"entry/checkpoints/{name}"]
            array = arrays[slot]
            if index is None:
                array["shot"] -= 1
            else:
                array = np.array(array)
                array[index] += 1
            arrays[slot] = array

    for slot, left in ((1, 1), (0, None)):
        damage(slot)
        with Session(path) as session:
            found, state = session.checkpoint(), session.training_state()
            assert (None if found is None else found[0].step) == left
            assert (None if state is None else state.cursor.step) == left
            if state is not None:
                assert state.parameters.tolist() == [1.0] * 6
                assert (state.state["moment"].tolist(), state.state["count"]) == ([0.125] * 6, 1)


def test_arrays_of_one_checkpoint_are_not_mixed_with_those_of_the_other(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["entry/checkpoints/state/moment"][...] = file["entry/checkpoints/state/moment"][()][::-1]
    with Session(path) as session:
        assert session.training_state() is None


def test_of_two_checkpoints_at_one_shot_the_later_is_taken(tmp_path: Path) -> None:
    """Whichever of the two places it has: after the last update of an epoch, and again after the epoch."""
    for number, order in enumerate(((0, 1), (1, 0, 1))):
        with SessionWriter(tmp_path / f"{number}.h5") as writer:
            writer(STARTED)
            for late in order:
                writer(dataclasses.replace(checkpoint(late), shot=0, step=3, epoch=late - 1))
        with Session(tmp_path / f"{number}.h5") as session:
            found = session.checkpoint()
            assert found is not None
            assert (found[0], found[1].tolist()) == ((0, 3, 0), [1.0] * 6)


def moved(from_row: int, to_row: int) -> Callable[[h5py.File, h5py.File], None]:
    def edit(file: h5py.File, _other: h5py.File) -> None:
        file["entry/shots"][to_row] = file["entry/shots"][from_row]

    return edit


def swapped(file: h5py.File, _other: h5py.File) -> None:
    file["entry/shots"][10:12] = file["entry/shots"][10:12][::-1]


def of_another_session(file: h5py.File, other: h5py.File) -> None:
    file["entry/shots"][10] = other["entry/shots"][10]


def all_of_another_session(file: h5py.File, other: h5py.File) -> None:
    file["entry/shots"][10:] = other["entry/shots"][10:]


def left_out(file: h5py.File, _other: h5py.File) -> None:
    rows = file["entry/shots"]
    rows[10:199] = rows[11:200]


@pytest.mark.parametrize(
    "edit", [moved(9, 10), moved(199, 10), swapped, of_another_session, all_of_another_session, left_out]
)
def test_a_right_row_in_a_wrong_place_is_refused(
    path: Path, tmp_path: Path, edit: Callable[[h5py.File, h5py.File], None]
) -> None:
    other_path = written(tmp_path / "other.h5")
    with Session(path) as session, Session(other_path) as other:
        assert session.shots().tobytes() == other.shots().tobytes(), "both say the same"
        assert session.run_id != other.run_id
    with h5py.File(path, "r+") as file, h5py.File(other_path, "r") as other_file:
        edit(file, other_file)
    with Session(path) as session:
        assert len(session.shots(0, 10)) == 10
        with pytest.raises(StorageFault, match="row 10 does not match its checksum"):
            session.shots()


def test_an_identity_taken_from_another_session_does_not_let_its_rows_in(path: Path, tmp_path: Path) -> None:
    """The run's number is under the checksum of the constants, and every row of the session under that number."""
    other_path = written(tmp_path / "other.h5")
    with h5py.File(path, "r+") as file, h5py.File(other_path, "r") as other:
        file["entry/entry_identifier_uuid"][()] = other["entry/entry_identifier_uuid"][()]
        file["entry/shots"][...] = other["entry/shots"][()]
    with pytest.raises(InputError, match=CONSTANT):
        Session(path)
    with h5py.File(path, "r+") as file, h5py.File(other_path, "r") as other:
        steps = file["entry/steps"][()]
        renew(file)
        file["entry/steps"][...] = steps
    with Session(path) as session, pytest.raises(StorageFault, match="row 0 does not match its checksum"):
        session.steps()


def test_a_row_counts_for_its_table_alone() -> None:
    """The same bytes have another checksum in each run, each table and each place."""
    row = np.ones(1, STEP_DTYPE)
    places = [(run, table, first) for run in "ab" for table in ("entry/steps", "entry/epochs") for first in range(50)]
    crcs = {int(row_crcs(row, table_key(run, table), first)[0]) for run, table, first in places}
    assert len(crcs) == len(places)
    rows = np.ones(50, STEP_DTYPE)
    assert row_crcs(rows, 7, 0)[20:] == row_crcs(rows[20:], 7, 20), "however they are read"
    assert row_crcs(rows, (1 << 32) - 3, 0)[5] == row_crcs(rows[:1], 2, 0)[0], "wraps round"


def test_values_count_with_name_type_shape_and_unit() -> None:
    one = ("a", np.array(1.0), "Hz")
    others = [
        ("b", np.array(1.0), "Hz"),
        ("a", np.array(1.0), "kHz"),
        ("a", np.array([1.0]), "Hz"),
        ("a", np.array(1.0).view("<i8"), "Hz"),
        ("a", np.array(-1.0), "Hz"),
    ]
    assert len({values_crc([value], 5) for value in (one, *others)}) == 1 + len(others)
    assert values_crc([one, others[0]], 5) == values_crc([others[0], one], 5), "in whatever order"
    assert CRC_DTYPE.type(values_crc([one], 5)) == values_crc([one], 5) != values_crc([one], 6)


def test_a_damaged_row_of_an_unfinished_session_is_named_unless_it_is_the_last(tmp_path: Path) -> None:
    """Only rows at the end may be there in name only."""
    path = tmp_path / "left.h5"
    with SessionWriter(tmp_path / "run.h5") as writer:
        writer(STARTED)
        rows = np.zeros(200, shot_dtype(4, 3))
        writer(ShotsTaken(rows))
        shutil.copy(writer.path, path)
    with h5py.File(path, "r", swmr=True) as file:
        shots = file["entry/shots"]
        places = [shots.id.get_chunk_info_by_coord((row,)).byte_offset for row in (150, 199)]
        places = [
            place + row % shots.chunks[0] * shots.dtype.itemsize for place, row in zip(places, (150, 199), strict=True)
        ]
    with path.open("rb+") as raw:
        for place in places:
            raw.seek(place)
            raw.write(b"\x01")
    with Session(path) as session:
        assert session.n_shots == 199
        assert len(session.shots(0, 150)) == 150
        with pytest.raises(StorageFault, match=ROW.format(199, "shots", 150)):
            session.shots()
