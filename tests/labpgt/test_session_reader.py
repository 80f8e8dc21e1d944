"""A file is taken for a session only if it is one, and a run for running only if it runs."""

import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest

from labpgt.device import Setting
from labpgt.errors import InputError, StorageFault
from labpgt.events import Checkpoint, RunStarted, RunStopped, ShotsTaken, Status, shot_dtype
from labpgt.processes import start_mark
from labpgt.session import Session, SessionWriter
from labpgt.session.checksum import stored_dtype
from labpgt.session.provenance import git_state, process_runs
from tests.forging import forged

STARTED = RunStarted(
    time=1.75e9,
    config_toml="seed = 1\n",
    device="test ring",
    settings={"frequency": Setting(2.5e9, "Hz")},
    symbols=4,
    nodes=3,
    drive_limits=(0.0, 1.0),
    parameters=6,
    training_samples=10,
    test_samples=5,
    targets=("a", "b"),
    dataset_sha256="ab" * 32,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A finished session of 200 shots."""
    path = tmp_path / "run.h5"
    rows = np.zeros(200, shot_dtype(4, 3))
    rows["time"] = 1.75e9
    with SessionWriter(path) as writer:
        writer(STARTED)
        writer(ShotsTaken(rows))
        writer(Checkpoint(200, 1, 1, np.ones(6, np.float32)))
        writer(RunStopped(Status.SUCCESS, "done", 1.75e9))
    return path


def refused(path: Path, message: str) -> None:
    """Check that opening the file is refused, with its name and this in the message."""
    with pytest.raises(InputError, match=message) as error:
        Session(path)
    assert str(path) in str(error.value)
    # The file was let go: on some systems it could not be deleted otherwise.
    assert not [file for file in psutil.Process().open_files() if file.path == str(path)]


def test_missing_file_and_folder(tmp_path: Path) -> None:
    refused(tmp_path / "nothing.h5", "No such file")
    refused(tmp_path, "directory")


@pytest.mark.parametrize("content", [b"", b"epoch,loss\n0,1.0\n", b"\x89HDF\r\n\x1a\n"])
def test_file_of_another_kind(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run.h5").write_bytes(content)
    refused(tmp_path / "run.h5", "not an HDF5 file")


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_hdf5_file_of_another_kind(tmp_path: Path, libver: str) -> None:
    with h5py.File(tmp_path / "other.h5", "w", libver=libver) as file:
        file["entry/schema_version"] = 1
    refused(tmp_path / "other.h5", "not a session")


def test_newer_schema(path: Path) -> None:
    with forged(path) as file:
        file["entry/schema_version"][()] = 3
    refused(path, "schema version 3, this labpgt reads 1 to 2; update labpgt")


@pytest.mark.parametrize("missing", [1, 1000, 30_000])
def test_truncated_file(path: Path, missing: int) -> None:
    with path.open("rb+") as file:
        file.truncate(path.stat().st_size - missing)
    refused(path, r"copied whole\?.*truncated file")


def test_file_that_is_being_created(path: Path) -> None:
    with path.open("rb+") as file:
        file.seek(11)
        file.write(b"\x01")
    refused(path, "being created just now")


def test_damaged_unfinished_file_is_refused_instead_of_read_for_ever(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[11] = 5
    path.write_bytes(content)
    refused(path, "checksum")


def replace_shots(file: h5py.File, dtype: object, **options: object) -> None:
    del file["entry/shots"]
    file.create_dataset("entry/shots", (10,), dtype, maxshape=(None,), **options)


def with_field(name: str, kind: object) -> np.dtype[np.void]:
    """The shots' dtype with one field of another kind."""
    dtype = shot_dtype(4, 3)
    return np.dtype([(field, kind if field == name else dtype[field]) for field in dtype.names or ()])


def soft_link(file: h5py.File) -> None:
    file.move("entry/shots", "elsewhere")
    file["entry/shots"] = h5py.SoftLink("/elsewhere")


def soft_linked_group(file: h5py.File) -> None:
    file.move("entry/provenance", "elsewhere")
    file["entry/provenance"] = h5py.SoftLink("/elsewhere")


def external_link(file: h5py.File) -> None:
    del file["entry/configuration"]
    file["entry/configuration"] = h5py.ExternalLink("/etc/passwd", "/")


def external_data(file: h5py.File) -> None:
    del file["entry/instrument/drive_limits"]
    file.create_dataset("entry/instrument/drive_limits", (2,), "f8", external=[("/etc/passwd", 0, 16)])


def virtual_data(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((10,), shot_dtype(4, 3))
    layout[:] = h5py.VirtualSource(file["entry/shots"])[:10]
    del file["entry/shots"]
    file.create_virtual_dataset("entry/shots", layout)


def huge_table(file: h5py.File) -> None:
    file["entry/shots"].resize((1 << 50,))


def huge_list(file: h5py.File) -> None:
    del file["entry/instrument/drive_limits"]
    file.create_dataset("entry/instrument/drive_limits", (1 << 40,), "f8", chunks=(1024,))


def huge_text(file: h5py.File) -> None:
    del file["entry/configuration"]
    file.create_dataset("entry/configuration", (), "S1000000000")


def replace(name: str, value: object) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        del file[name]
        file[name] = value

    return edit


def remove(name: str) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        del file[name]

    return edit


def shots_of(dtype: object, **options: object) -> Callable[[h5py.File], None]:
    """Shots of this type, with a column for their checksums where there are columns."""
    stored = stored_dtype(dtype) if np.dtype(dtype).names else dtype  # type: ignore[call-overload, arg-type]
    return lambda file: replace_shots(file, stored, **options)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (remove("entry/shots"), "/entry/shots is missing"),
        (remove("entry/provenance"), "/entry/provenance is missing"),
        (soft_link, "/entry/shots is missing, or a link"),
        (soft_linked_group, "/entry/provenance is missing, or a link"),
        (external_link, "/entry/configuration is missing, or a link"),
        (external_data, "/entry/instrument/drive_limits is virtual, external or filtered"),
        (virtual_data, "/entry/shots is virtual, external or filtered"),
        (shots_of(shot_dtype(4, 3), compression="gzip"), "/entry/shots is virtual, external or filtered"),
        (shots_of(shot_dtype(4, 3), chunks=(1 << 20,)), "chunks of .* larger than a session's"),
        (shots_of("f8"), "/entry/shots has columns None"),
        (
            lambda file: replace_shots(file, shot_dtype(4, 3)),
            "/entry/shots has columns .*'flags'\\), expected .*'crc32'",
        ),
        (shots_of(with_field("loss", "<f4")), "column loss of /entry/shots is float32, expected float64"),
        (shots_of(with_field("loss", ">f8")), "column loss of /entry/shots is >f8, expected float64"),
        (shots_of(with_field("drive", "<f4")), "column drive of /entry/shots is float32"),
        (shots_of(with_field("response", ("<f4", (4, 9)))), "column response of /entry/shots is"),
        (shots_of(with_field("response", h5py.string_dtype())), "column response of /entry/shots is object"),
        (huge_table, "claims 1125899906842624 rows, more than the file can hold"),
        (huge_list, "more than the file can hold"),
        (huge_text, "more than the file can hold"),
        (replace("entry/configuration", "of variable length"), "/entry/configuration is object"),
        (replace("entry/instrument/symbols", np.int64(5)), "column drive of /entry/shots is"),
        (replace("entry/instrument/symbols", np.int64(1 << 40)), "reading the session failed"),
        (replace("entry/instrument/n_nodes", np.int64(0)), "are no shot"),
        (replace("entry/instrument/n_nodes", np.float64(3)), "n_nodes is float64 .*expected one int64"),
        (replace("entry/instrument/drive_limits", np.zeros(3)), "reading the session failed"),
        (replace("entry/instrument/settings/frequency", np.zeros(9)), "expected one number or text"),
        (replace("entry/instrument/settings/frequency", h5py.Empty("f8")), "frequency holds no value"),
        (replace("entry/steps", np.zeros((2, 2))), "/entry/steps has columns None"),
        (replace("entry/epochs/deeper", 1), "/entry/epochs is not a dataset"),
    ],
)
def test_file_that_does_not_hold_what_a_session_holds(
    path: Path, edit: Callable[[h5py.File], None], message: str
) -> None:
    with forged(path) as file:
        if message.endswith("is not a dataset"):
            del file["entry/epochs"]
            file.create_group("entry/epochs/deeper")
        edit(file)
    refused(path, message)


def test_damage_found_later_is_a_storage_fault(path: Path) -> None:
    with forged(path) as file:
        replace("entry/status", np.bytes_("finished?"))(file)
        replace("entry/checkpoints/parameters", np.zeros((2, 6)))(file)
        replace("entry/results/shots", "many")(file)
    with Session(path) as session:
        for read in (lambda: session.status, session.checkpoint, lambda: session.results):
            with pytest.raises(StorageFault, match=re.escape(str(path))):
                read()


def test_a_result_that_an_older_file_lacks_is_not_missed(path: Path) -> None:
    with forged(path) as file:
        file["entry/results/delta"][()] = 0.5
        del file["entry/results/train_loss"]
        file["entry/results/unheard_of"] = 1.0
    with Session(path) as session:
        assert session.results == {"delta": 0.5}


def test_an_invalid_checkpoint_is_not_taken(path: Path) -> None:
    with Session(path) as session:
        checkpoint = session.checkpoint()
        assert checkpoint is not None
        assert checkpoint[0] == (200, 1, 1)
    with forged(path) as file:
        cursor = file["entry/checkpoints/cursor"][:]
        cursor["valid"] = 0
        file["entry/checkpoints/cursor"][:] = cursor
    with Session(path) as session:
        assert session.checkpoint() is None


def test_run_on_another_machine_runs_while_its_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.h5"
    with SessionWriter(path) as writer:
        writer(STARTED)
        monkeypatch.setattr(platform, "node", lambda: "another machine")
        with Session(path) as session:
            assert session.status is Status.RUNNING
            os.utime(path, (time.time() - 61, time.time() - 61))
            assert session.status is Status.CRASHED


def test_a_process_is_told_by_number_and_birth() -> None:
    me = psutil.Process()
    assert process_runs(str(me.pid), repr(me.create_time()))
    assert not process_runs(str(me.pid), repr(me.create_time() - 10))
    mark = start_mark(me.pid)
    assert bool(mark) is sys.platform.startswith("linux")
    # The clock was set by an hour: what the mark says counts.
    assert process_runs(str(me.pid), repr(me.create_time() - 3600), mark) is bool(mark)
    assert process_runs(str(me.pid), repr(me.create_time()), f"{mark}0") is not bool(mark)
    for pid, created in (("", ""), ("-1", "0"), ("9" * 30, "0"), ("x", "0"), (str(me.pid), "nan"), (str(me.pid), "")):
        assert not process_runs(pid, created)


def test_git_state_of_a_checkout(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        identity = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org")
        command = ["git", "-C", str(tmp_path), *identity, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert git_state(tmp_path) == ("", "")
    git("init")
    (tmp_path / "code.py").write_text("1\n")
    git("add", "code.py")
    git("commit", "-m", "first")
    commit = git("rev-parse", "HEAD")
    assert len(commit) >= 40
    assert git_state(tmp_path) == (commit, "no")
    (tmp_path / "notes.txt").write_text("not tracked")
    assert git_state(tmp_path) == (commit, "no")
    (tmp_path / "code.py").write_text("2\n")
    assert git_state(tmp_path) == (commit, "yes")
    (tmp_path / "folder").mkdir()
    assert git_state(tmp_path / "folder") == ("", "")
