"""Locks: one run at a time, in a folder that every user shares, and what they tell of who uses which bench."""

import json
import multiprocessing
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from labpgt import locks
from labpgt.locks import Locks, Use, holder, in_use

posix = pytest.mark.skipif(os.name != "posix", reason="modes and links of POSIX")
ABOUT = {"file": os.path.abspath("bench.toml"), "bench": {"name": "left table"}}  # noqa: PTH100


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for locks that is not there yet, where every user can make one."""
    folder = tmp_path / "locks"
    monkeypatch.setenv(locks.VARIABLE, str(folder))
    return folder


@pytest.fixture
def taken() -> Iterator[Callable[..., Locks]]:
    """Take locks that are free again at the end."""
    held: list[Locks] = []

    def take(places: dict[str, str], run: int = 4711, about: Any = ABOUT) -> Locks:
        held.append(Locks(places, about))
        held[-1].take(0.0, run)
        return held[-1]

    yield take
    for lock in held:
        lock.free()


def path_of(place: str) -> Path:
    return locks._path(locks.folder(), place)


def test_who_has_which_bench_is_known_once_for_each_run(taken: Callable[..., Locks]) -> None:
    assert in_use() == []
    first = taken({"source": "1", "analyzer": "2"})
    taken({"source": "3"}, 815, {"file": None, "bench": {}})
    assert in_use() == [
        Use(815, os.getpid(), None, {}),
        Use(4711, os.getpid(), Path(ABOUT["file"]), {"name": "left table"}),  # type: ignore[arg-type]
    ]
    first.free()
    assert [use.run for use in in_use()] == [815]


def test_a_lock_whose_process_is_gone_is_none_and_its_file_is_removed(taken: Callable[..., Locks]) -> None:
    taken({"source": "1"})
    held = path_of("1")
    stale = path_of("2")
    stale.write_bytes(held.read_bytes())
    assert [use.run for use in in_use()] == [4711]
    assert not stale.exists()
    assert held.exists()
    stale.write_bytes(held.read_bytes())
    assert holder({"source": "2"}) is None
    assert not stale.exists()


def test_an_old_and_longer_word_in_a_file_does_not_spoil_a_new_one(taken: Callable[..., Locks]) -> None:
    path_of("1").write_bytes(b"\0" + b"x" * 5000)
    taken({"source": "1"})
    (use,) = in_use()
    assert use.run == 4711
    assert b"x" * 100 not in path_of("1").read_bytes()


@pytest.mark.parametrize(
    "words",
    [
        b"",
        b"[1, 2]\n",
        b"not json\n",
        b'{"run": -1, "guard": 5}\n',
        b'{"run": "7", "guard": 5}\n',
        b'{"run": 1e999, "guard": 5}\n',
        b"[" * 60_000,
        b"\xff\xfe\n",
    ],
)
def test_a_lock_that_says_nonsense_is_held_by_another_process(taken: Callable[..., Locks], words: bytes) -> None:
    taken({"source": "1"})
    path_of("1").write_bytes(b"\0" + words)
    assert holder({"source": "1"}) == "another process"
    assert in_use() == []
    with pytest.raises(RuntimeError, match=r"source: another run is using it, or a guard"):
        Locks({"source": "1"}).take(0.0, 2)


@pytest.mark.parametrize("file", [7, "bench.toml", "/bench\0.toml", None])
def test_a_file_that_cannot_be_one_is_left_out(taken: Callable[..., Locks], file: Any) -> None:
    taken({"source": "1"}, about={"file": file, "bench": ["no", "table"]})
    assert in_use() == [Use(4711, os.getpid(), None, {})]


@posix
def test_what_is_no_file_among_the_locks_is_passed_over(taken: Callable[..., Locks], tmp_path: Path) -> None:
    taken({"source": "1"})
    folder = locks.folder()
    os.mkfifo(folder / "0.lock")
    (folder / "1.lock").mkdir()
    target = tmp_path / "precious"
    target.write_text("kept")
    (folder / "2.lock").symlink_to(target)
    assert [use.run for use in in_use()] == [4711]
    path_of("3").symlink_to(target)
    assert holder({"source": "3"}) is None
    with pytest.raises(OSError, match="symbolic links"):
        Locks({"source": "3"}).take(0.0, 1)
    assert target.read_text() == "kept"


@posix
def test_the_folder_is_made_for_every_user(place: Path, taken: Callable[..., Locks]) -> None:
    assert in_use() == []
    assert holder({"source": "1"}) is None
    assert not place.exists(), "looking makes nothing"
    before = os.umask(0o077)
    try:
        taken({"source": "1"})
    finally:
        os.umask(before)
    assert stat.S_IMODE(place.stat().st_mode) == 0o1777
    assert stat.S_IMODE(path_of("1").stat().st_mode) == 0o666
    place.chmod(0o700)
    taken({"source": "2"})
    assert stat.S_IMODE(place.stat().st_mode) == 0o1777


@posix
@pytest.mark.parametrize("kind", ["file", "link", "link to nothing"])
def test_a_folder_that_is_none_is_refused_in_words(place: Path, tmp_path: Path, kind: str) -> None:
    if kind == "file":
        place.write_text("")
    else:
        other = tmp_path / "other"
        if kind == "link":
            other.mkdir(mode=0o777)
        place.symlink_to(other)
    what = "no folder" if kind == "file" else "a link"
    for act in (lambda: Locks({"source": "1"}).take(0.0, 1), in_use):
        with pytest.raises(OSError, match=rf"locks: .*locks is {what}, expected the folder .* remove it"):
            act()
    assert holder({"source": "1"}) is None
    assert not (tmp_path / "other").exists() or list((tmp_path / "other").iterdir()) == []


def _race(uid: int, folder: str, begin: Any, ends: Any, found: Any) -> None:
    os.environ[locks.VARIABLE] = folder
    os.setgid(uid)
    os.setuid(uid)
    own, common = Locks({"own": str(uid)}, ABOUT), Locks({"common": "0"}, ABOUT)
    begin.wait()
    try:
        own.take(5.0, os.getpid())
        for _ in range(20):
            common.take(20.0, os.getpid())
            common.free()
        found.put("")
    except Exception as error:
        found.put(repr(error))
    ends.wait()
    own.free()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only an administrator can be several users")
def test_several_users_at_once_make_the_folder_and_see_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as shared:  # a test's own folder is closed to others
        Path(shared).chmod(0o777)
        monkeypatch.setenv(locks.VARIABLE, f"{shared}/locks")
        _let_users_race()


def _let_users_race() -> None:
    context = multiprocessing.get_context("forkserver")
    users = (20_001, 20_002, 20_003, 20_004)
    begin, ends, found = context.Barrier(len(users)), context.Event(), context.Queue()
    processes = [context.Process(target=_race, args=(uid, str(locks.folder()), begin, ends, found)) for uid in users]
    for process in processes:
        process.start()
    assert [found.get(timeout=60) for _ in users] == [""] * len(users)
    assert {use.run for use in in_use()} == {process.pid for process in processes}
    ends.set()
    for process in processes:
        process.join()
    assert in_use() == []
    found.close()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only an administrator can give files away")
def test_a_folder_that_its_owner_keeps_to_himself_is_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_OPENED_S", 0.05)
    place.mkdir(mode=0o755)
    os.chown(place, 20_001, 20_001)
    with pytest.raises(OSError, match="is not open to every user, expected mode 1777; let its owner"):
        Locks({"source": "1"}).take(0.0, 1)
    assert stat.S_IMODE(place.stat().st_mode) == 0o755, "not this user's to open"


def test_words_of_a_lock_are_one_line_after_the_byte_that_is_locked(taken: Callable[..., Locks]) -> None:
    taken({"source": "1"})
    content = path_of("1").read_bytes()
    assert content[:1] == b"\0"
    assert content.endswith(b"\n")
    assert json.loads(content[1:]) == {"run": 4711, "guard": os.getpid(), **ABOUT}
