"""A session file is in its place whole or not at all, and whatever happens to that place, its shots are kept."""

import dataclasses
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

import labpgt.session.disk as disk_module
from labpgt.errors import InputError, StorageFault
from labpgt.events import (
    STEP_DTYPE,
    Checkpoint,
    RunResumed,
    RunStarted,
    RunStopped,
    ShotsTaken,
    Status,
    StepDone,
    shot_dtype,
)
from labpgt.session import Recovery, Session, SessionWriter
from labpgt.session.disk import part_path, put_in_place

STARTED = RunStarted(1.75e9, "", "test ring", {}, 3, 2, (0.0, 1.0), 7, 10, 5, ("a", "b"), "ab" * 32)
SUCCESS = RunStopped(Status.SUCCESS, "done", 1.75e9 + 1, {"train_loss": 0.125}, "cd" * 32)


def shots(start: int, stop: int, signs: tuple[int, ...] = (0,)) -> NDArray[np.void]:
    rows = np.zeros(stop - start, shot_dtype(3, 2))
    rows["index"] = np.arange(start, stop)
    rows["response"] = rows["index"][:, None, None] + np.arange(2) / 4
    rows["sign"] = np.resize(signs, len(rows))
    rows["time"] = 1.75e9
    return rows


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def vanished(path: Path) -> None:
    path.unlink()


def vanished_with_its_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


def vanished_from_a_moved_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))
    shutil.rmtree(path.parent.with_name("elsewhere"))


@pytest.mark.parametrize(
    ("vanish", "place"),
    [(vanished, "runs"), (vanished_with_its_folder, "."), (vanished_from_a_moved_folder, ".")],
)
def test_a_session_deleted_under_its_run_is_rescued_with_every_shot(
    tmp_path: Path, vanish: Callable[[Path], None], place: str
) -> None:
    path = tmp_path / "runs" / "run.h5"
    with SessionWriter(path, flush_s=1000) as writer:
        writer(STARTED)
        writer(ShotsTaken(shots(0, 70)))
        vanish(path)
        writer(ShotsTaken(shots(70, 80)))
        with pytest.raises(StorageFault, match=r"run\.h5: the file, or its folder, was deleted while the run") as fault:
            writer(ShotsTaken(shots(80, 150)))
        with pytest.raises(StorageFault, match="was deleted"):
            writer(StepDone(np.zeros((), STEP_DTYPE)))
    rescued = tmp_path / place / f"rescued-{os.getpid()}-run.h5"
    assert fault.value.__notes__ == [f"{path}: its 150 shots are rescued in {rescued}"]
    assert not path.exists()
    assert names(rescued.parent) == [rescued.name]
    with Session(rescued) as session:
        assert session.status is Status.FAILED
        assert session.reason == str(fault.value)
        np.testing.assert_array_equal(session.shots(), shots(0, 150))


def test_a_deletion_is_noticed_while_nothing_happens(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    with SessionWriter(path, flush_s=0.01) as writer:
        writer(STARTED)
        path.unlink()
        writer(ShotsTaken(shots(0, 3)))
        deadline = time.monotonic() + 30
        while writer._fault is None and time.monotonic() < deadline:
            time.sleep(0.002)
        with pytest.raises(StorageFault, match="was deleted"):
            writer(StepDone(np.zeros((), STEP_DTYPE)))
    with Session(tmp_path / f"rescued-{os.getpid()}-run.h5") as session:
        assert session.status is Status.FAILED
        np.testing.assert_array_equal(session.shots(), shots(0, 3))


@pytest.mark.parametrize("end", [SUCCESS, None])
def test_a_deletion_that_shows_only_at_the_end_is_still_a_fault(tmp_path: Path, end: RunStopped | None) -> None:
    path = tmp_path / "run.h5"
    writer = SessionWriter(path, flush_s=1000)
    writer(STARTED)
    writer(ShotsTaken(shots(0, 5)))
    path.unlink()
    with pytest.raises(StorageFault, match="was deleted") as fault:
        writer(end) if end else writer.close()
    writer.close()
    assert "its 5 shots are rescued in" in fault.value.__notes__[0]
    with Session(tmp_path / f"rescued-{os.getpid()}-run.h5") as session:
        # The run itself had come to its end.
        assert session.status is (Status.SUCCESS if end else Status.FAILED)
        assert session.results == (end.results if end else {})
        np.testing.assert_array_equal(session.shots(), shots(0, 5))


def test_what_was_rescued_before_is_not_touched(tmp_path: Path) -> None:
    for n in (1, 2, 3):
        with SessionWriter(tmp_path / "run.h5", flush_s=1000) as writer:
            writer(STARTED)
            writer(ShotsTaken(shots(0, n)))
            (tmp_path / "run.h5").unlink()
            with pytest.raises(StorageFault, match="was deleted"):
                writer(SUCCESS)
    lengths = []
    for name in names(tmp_path):
        with Session(tmp_path / name) as session:
            lengths.append(session.n_shots)
    assert sorted(lengths) == [1, 2, 3]


def test_a_run_outlives_its_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with SessionWriter(Path("run.h5"), flush_s=1000) as writer:
        writer(STARTED)
        writer(ShotsTaken(shots(0, 70)))
        shutil.rmtree(folder)
        with pytest.raises(StorageFault, match="was deleted"):
            writer(ShotsTaken(shots(70, 140)))
    with Session(tmp_path / f"rescued-{os.getpid()}-run.h5") as session:
        np.testing.assert_array_equal(session.shots(), shots(0, 140))


class Disk(NamedTuple):
    free: int


@pytest.mark.parametrize("room", ["above", "nowhere"])
def test_the_nearest_folder_with_room_takes_what_is_rescued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: str
) -> None:
    path = tmp_path / "disk" / "runs" / "run.h5"

    def disk_usage(place: Path | int) -> Disk:
        full = isinstance(place, Path) and (room == "nowhere" or place.is_relative_to(tmp_path / "disk"))
        return Disk(10_000 if full and not path.exists() else 1 << 40)

    with SessionWriter(path, flush_s=1000) as writer:
        writer(STARTED)
        writer(ShotsTaken(shots(0, 70)))
        path.unlink()
        monkeypatch.setattr(shutil, "disk_usage", disk_usage)
        with pytest.raises(StorageFault, match="was deleted") as fault:
            writer(SUCCESS)
    told = fault.value.__notes__[0]
    if room == "nowhere":
        assert told == f"{path}: its 70 shots are lost with it: no folder took a copy"
        assert names(tmp_path) == ["disk"]
    else:
        rescued = tmp_path / f"rescued-{os.getpid()}-run.h5"
        assert told.endswith(f"are rescued in {rescued}")
        with Session(rescued) as session:
            assert session.n_shots == 70


def test_a_moved_session_goes_on_at_its_new_place(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "run.h5"
    with SessionWriter(path, flush_s=1000) as writer:
        writer(STARTED)
        for n in range(10):
            writer(ShotsTaken(shots(70 * n, 70 * n + 70)))
            if n == 3:
                path.parent.rename(tmp_path / "elsewhere")
            if n == 6:
                (tmp_path / "elsewhere" / "run.h5").rename(tmp_path / "elsewhere" / "renamed.h5")
        writer(SUCCESS)
    assert names(tmp_path) == ["elsewhere"]
    assert names(tmp_path / "elsewhere") == ["renamed.h5"]
    with Session(tmp_path / "elsewhere" / "renamed.h5") as session:
        assert session.status is Status.SUCCESS
        np.testing.assert_array_equal(session.shots(), shots(0, 700))


def refuse_hard_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)


@pytest.mark.parametrize("hard_links", [True, False])
def test_of_two_runs_that_create_one_file_the_second_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hard_links: bool
) -> None:
    if not hard_links:
        refuse_hard_links(monkeypatch)
    path = tmp_path / "run.h5"
    with SessionWriter(path, flush_s=1000) as first, SessionWriter(path, flush_s=1000) as second:
        first(STARTED)
        first(ShotsTaken(shots(0, 70)))
        before = path.read_bytes()
        with pytest.raises(StorageFault, match=r"another process has created it meanwhile; choose another --out"):
            second(dataclasses.replace(STARTED, device="another ring"))
        with pytest.raises(StorageFault, match="another process has created it"):
            second(ShotsTaken(shots(0, 70)))
        second.close()
        assert names(tmp_path) == ["run.h5"]
        assert path.read_bytes() == before
        first(ShotsTaken(shots(70, 80)))
        first(SUCCESS)
    with Session(path) as session:
        assert (session.status, session.device) == (Status.SUCCESS, "test ring")
        np.testing.assert_array_equal(session.shots(), shots(0, 80))
    with pytest.raises(InputError, match="exists already"):
        SessionWriter(path)


def test_a_refused_run_may_say_that_it_stopped(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    writer = SessionWriter(path)
    path.write_text("precious")
    with pytest.raises(StorageFault, match="another process has created it meanwhile"):
        writer(STARTED)
    writer(RunStopped(Status.FAILED, "", 1.75e9))
    writer.close()
    assert names(tmp_path) == ["run.h5"]
    assert path.read_text() == "precious"


def test_a_disk_without_hard_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_hard_links(monkeypatch)
    with SessionWriter(tmp_path / "run.h5", flush_s=1000) as writer:
        writer(STARTED)
        assert names(tmp_path) == ["run.h5"]
        writer(ShotsTaken(shots(0, 70)))
        writer(SUCCESS)
    with Session(tmp_path / "run.h5") as session:
        np.testing.assert_array_equal(session.shots(), shots(0, 70))


def dead_process() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_dead_processes_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    dead, living = dead_process(), os.getppid()
    mine, others = (part_path(tmp_path / name).name.rpartition("-")[0] for name in ("run.h5", "other.h5"))
    left = [f"{mine}-{dead}.part", f"{mine}-{os.getpid()}.part"]
    kept = [
        f"{mine}-{living}.part",
        f"{others}-{dead}.part",
        f"x{mine}-{dead}.part",
        f"{mine}-{dead}.part.h5",
        f"{mine}-x.part",
        f"{mine}.lock",
    ]
    for name in left + kept:
        (tmp_path / name).write_text("precious")
    with SessionWriter(tmp_path / "run.h5") as writer:
        writer(STARTED)
        writer(SUCCESS)
    assert names(tmp_path) == sorted([*kept, "run.h5"])


@pytest.mark.parametrize("refuses", ["iterdir", "unlink"])
def test_leftovers_that_cannot_be_removed_do_not_keep_a_run_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuses: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    mine = part_path(tmp_path / "run.h5")
    mine.with_name(mine.name.replace(str(os.getpid()), str(dead_process()))).write_text("another person's")
    with monkeypatch.context() as patched:
        patched.setattr(Path, refuses, refuse)
        part = part_path(tmp_path / "run.h5")
    assert part == mine
    assert part_path(tmp_path / "gone" / "run.h5").parent == tmp_path / "gone", "never the place of the file itself"


def test_a_process_killed_while_it_makes_its_file_leaves_nothing_in_the_place(tmp_path: Path) -> None:
    code = """
        import os, sys
        from pathlib import Path
        import labpgt.session.writer as writer_module
        from labpgt.events import RunStarted
        kept = writer_module.put_in_place
        writer_module.put_in_place = lambda *words, **options: os.kill(os.getpid(), 9)
        writer = writer_module.SessionWriter(Path(sys.argv[1]))
        writer(RunStarted(0.0, "", "ring", {}, 3, 2, (0.0, 1.0), 7, 10, 5, ("a",), ""))
    """
    path = tmp_path / "run.h5"
    killed = subprocess.run([sys.executable, "-c", "if True:" + code, str(path)], check=False)
    assert killed.returncode == -9
    (left,) = names(tmp_path)
    assert left.startswith(".labpgt-")
    with SessionWriter(path) as writer:
        writer(STARTED)
        writer(SUCCESS)
    assert names(tmp_path) == ["run.h5"]


@pytest.mark.parametrize(("umask", "hard_links"), [(0o022, True), (0o077, True), (0o002, True), (0o027, False)])
def test_permissions_follow_the_umask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, umask: int, hard_links: bool
) -> None:
    if not hard_links:
        refuse_hard_links(monkeypatch)
    before = os.umask(umask)
    try:
        with SessionWriter(tmp_path / "run.h5") as writer:
            writer(STARTED)
            writer(SUCCESS)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "run.h5").stat().st_mode) == 0o666 & ~umask


def test_a_copy_that_takes_the_place_of_a_session_takes_its_permissions(tmp_path: Path) -> None:
    part, path = tmp_path / ".run.h5.part", tmp_path / "run.h5"
    part.write_text("new")
    path.write_text("old")
    path.chmod(0o640)
    put_in_place(part, path, path.stat())
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("fsync", [True, False])
def test_with_fsync_every_flush_reaches_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fsync: bool) -> None:
    done: list[str] = []
    flush, sync = h5py.File.flush, os.fsync
    monkeypatch.setattr(h5py.File, "flush", lambda file: (flush(file), done.append("flush"))[0])
    monkeypatch.setattr(disk_module.os, "fsync", lambda descriptor: (sync(descriptor), done.append("fsync"))[0])
    with SessionWriter(tmp_path / "run.h5", flush_shots=16, flush_s=1000, fsync=fsync) as writer:
        writer(STARTED)
        assert done == ["fsync", "flush", "fsync", "fsync"], "the new file and the folder that lists it, always"
        done.clear()
        for n in range(10):
            writer(ShotsTaken(shots(16 * n, 16 * n + 16)))
            assert writer.acknowledged == 16 * n + 16
        assert done == (["flush", "fsync"] if fsync else ["flush"]) * 10
        done.clear()
        writer(Checkpoint(160, -1, -1, np.zeros(7, np.float32)))
        assert done == (["flush", "fsync"] if fsync else ["flush"]) * 2, "shots first, then the checkpoint"
        done.clear()
        writer(SUCCESS)
        assert done[-1] == "fsync", "the end always"
        assert done.count("fsync") == (done.count("flush") + 1 if fsync else 1)


@pytest.mark.parametrize(("flush_shots", "symbols"), [(1, 1), (2, 1), (5, 1), (64, 1), (64, 60_000)])
def test_a_pair_is_never_torn_by_a_flush(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flush_shots: int, symbols: int
) -> None:
    """Batches of pairs larger than the buffer, and single shots between that put them out of step with it."""
    flush = h5py.File.flush
    seen = [0]

    def flush_and_look(file: h5py.File) -> None:
        flush(file)
        signs = file["entry/shots"][seen[-1] :]["sign"]
        assert signs.sum() == 0
        assert (signs[1:][signs[:-1] > 0] == -1).all()
        seen.append(seen[-1] + len(signs))

    random = np.random.default_rng(flush_shots)
    n = 0
    with SessionWriter(tmp_path / "run.h5", flush_shots=flush_shots, flush_s=1000) as writer:
        writer(dataclasses.replace(STARTED, symbols=symbols))
        monkeypatch.setattr(h5py.File, "flush", flush_and_look)
        for _ in range(12 if symbols > 1 else 30):
            single = random.random() < 0.4
            size = int(random.integers(1, 4 if single else (5 if symbols > 1 else 5 * flush_shots)))
            rows = np.zeros(size if single else 2 * size, shot_dtype(symbols, 2))
            rows["sign"] = 0 if single else np.resize((1, -1), len(rows))
            rows["index"] = np.arange(n, n + len(rows))
            n += len(rows)
            writer(ShotsTaken(rows))
        monkeypatch.undo()
        writer(SUCCESS)
    assert len(set(seen)) > 3
    with Session(tmp_path / "run.h5") as session:
        assert session.n_shots == n


def test_an_event_without_shots_changes_nothing(tmp_path: Path) -> None:
    with SessionWriter(tmp_path / "run.h5") as writer:
        writer(STARTED)
        writer(ShotsTaken(shots(0, 0)))
        writer(SUCCESS)
    with Session(tmp_path / "run.h5") as session:
        assert session.n_shots == 0


RESUMABLE = dataclasses.replace(STARTED, state={"results": np.zeros((), [("train_loss", "<f8")])})


def crashed(path: Path) -> Path:
    """A run of 100 shots with a checkpoint at each 50, whose process ended too early."""
    with SessionWriter(path) as writer:
        writer(RESUMABLE)
        for n in (50, 100):
            writer(ShotsTaken(shots(n - 50, n, (1, -1))))
            results = np.full((), n / 8, [("train_loss", "<f8")])
            writer(Checkpoint(n, -1, -1, np.full(7, n, np.float32), {"results": results}))
    return path


def test_the_first_checkpoint_after_a_resumption_leaves_the_one_that_it_began_from(tmp_path: Path) -> None:
    path = crashed(tmp_path / "run.h5")
    with Session(path) as session, SessionWriter(path, resume=Recovery(session)) as writer:
        writer(RESUMABLE)
        writer(RunResumed(1.75e9, 100, 0))
        writer(ShotsTaken(shots(100, 150, (1, -1))))
        state = {"results": np.zeros((), [("train_loss", "<f8")])}
        writer(Checkpoint(150, -1, -1, np.full(7, 150, np.float32), state))
    with h5py.File(path, "r") as file:
        assert sorted(file["entry/checkpoints/cursor"]["shot"]) == [100, 150]


@pytest.mark.parametrize("end", [RunStopped(Status.ABORTED, "Ctrl-C", 1.75e9), None])
def test_a_resumption_that_ends_before_its_first_shot_leaves_the_session_as_it_was(
    tmp_path: Path, end: RunStopped | None
) -> None:
    path = crashed(tmp_path / "run.h5")
    before = path.read_bytes()
    with Session(path) as session, SessionWriter(path, resume=Recovery(session)) as writer:
        writer(RESUMABLE)
        assert len(names(tmp_path)) == 2
        if end:
            writer(end)
    assert names(tmp_path) == ["run.h5"]
    assert path.read_bytes() == before


def test_a_disk_that_refuses_the_copy_leaves_the_session_as_it_was(tmp_path: Path) -> None:
    code = """
        import os, sys
        from pathlib import Path
        import numpy as np
        from labpgt.errors import StorageFault
        from labpgt.session import Recovery, Session, SessionWriter
        from tests.labpgt.test_session_place import RESUMABLE
        path = Path(sys.argv[1])
        session = Session(path)
        recovery = Recovery(session)
        fill = recovery._fill
        def fill_a_full_disk(file):
            os.dup2(os.open("/dev/full", os.O_RDWR), file.id.get_vfd_handle())
            fill(file)
            file.flush()
        recovery._fill = fill_a_full_disk
        with SessionWriter(path, resume=recovery) as writer:
            try:
                writer(RESUMABLE)
            except StorageFault as fault:
                os.write(1, str(fault).encode())
                # HDF5 need not survive this.
                os._exit(0)
    """
    path = tmp_path / "run.h5"
    with SessionWriter(path) as writer:
        writer(RESUMABLE)
        writer(ShotsTaken(shots(0, 100)))
    before = path.read_bytes()
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", "if True:" + code, str(path)], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"{path}: copying it failed: ")
    assert "No space left on device" in done.stdout
    assert names(tmp_path) == ["run.h5"]
    assert path.read_bytes() == before


@pytest.mark.parametrize("letters", ["x", "\u00fc"])
def test_a_name_as_long_as_names_can_be(tmp_path: Path, letters: str) -> None:
    name = letters * ((255 - 3) // len(letters.encode())) + ".h5"
    with SessionWriter(tmp_path / name, flush_s=1000) as writer:
        writer(STARTED)
        writer(ShotsTaken(shots(0, 10)))
        (tmp_path / name).unlink()
        with pytest.raises(StorageFault, match="was deleted"):
            writer(SUCCESS)
    (rescued,) = tmp_path.iterdir()
    with Session(rescued) as session:
        assert session.n_shots == 10


def test_an_interruption_just_after_the_file_came_to_its_place_does_not_abandon_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = disk_module.put_in_place

    def interrupted(*words: object) -> None:
        put(*words)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr("labpgt.session.writer.put_in_place", interrupted)
    writer = SessionWriter(tmp_path / "run.h5")
    with pytest.raises(KeyboardInterrupt):
        writer(STARTED)
    writer(RunStopped(Status.ABORTED, "interrupted", 1.75e9))
    with Session(tmp_path / "run.h5") as session:
        assert (session.status, session.reason) == (Status.ABORTED, "interrupted")
