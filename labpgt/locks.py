"""Locks that keep two runs off one bench, whoever started them; they tell which benches this computer uses now.

A lock says which run has it, in which file the run's bench is described, and what it has read there: RF can be turned
off by whoever finds the lock, also when that file is gone, changed or somebody else's. Needs the standard library
alone, for the guard's process uses it.
"""

import contextlib
import hashlib
import json
import os
import stat
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VARIABLE = "LABPGT_LOCKS"
"""Environment variable that names another folder. For tests only: two runs with different ones do not see each other,
and both get the bench."""
_FOLDER = Path("/tmp" if os.name == "posix" else tempfile.gettempdir()) / "labpgt-locks"
"""One place for every user of this computer, whatever TMPDIR says, so that they see each other's locks."""
_MODE = 0o1777
"""Everybody may make a lock, and nobody may remove another's."""
_OPENED_S = 1.0
"""Time that another user who is just making the folder gets to open it to all."""
_MOST_BYTES = 1 << 16
"""What is longer is not what a lock says."""
_FLAGS = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


@dataclass(frozen=True)
class Use:
    """What has a bench at this moment."""

    run: int
    """Process of the run."""
    guard: int
    """Process that holds the lock: the run itself, or its guard, which may outlive it."""
    file: Path | None
    """Absolute path of the bench's file as the run knows it; `None` for a bench that was not read from a file."""
    bench: Mapping[str, Any]
    """What the run has read there."""


class Locks:
    """Locks on the instruments of a bench: all or none, of one process at a time. They go with it, however it ends."""

    def __init__(self, places: Mapping[str, str], about: Mapping[str, Any] | None = None) -> None:
        """`places` says what is locked, by "role at address"; `about` is what the locks say: `file`, `bench`."""
        self._places, self._about = places, dict(about or {})
        self._held: list[tuple[Path, int]] = []

    def take(self, wait_s: float, run: int) -> None:
        """Take all, or `RuntimeError` says who still had one after `wait_s`. `run` is the process they are for.

        Raises `OSError` when there is no place for locks.
        """
        deadline = time.monotonic() + wait_s
        folder = _made()
        try:
            # In one order for all, or two that each have some would wait for each other.
            for where, place in sorted(self._places.items(), key=lambda item: item[1]):
                self._take(where, _path(folder, place), deadline, run)
        except BaseException:
            self.free()
            raise

    def _take(self, where: str, path: Path, deadline: float, run: int) -> None:
        while (handle := _locked(path, make=True)) is None:
            if time.monotonic() >= deadline:
                raise RuntimeError(
                    f"{where}: another run is using it{_holder(path)}, or a guard is still trying to make it safe "
                    "after a run died; wait for it to end, or end it"
                )
            time.sleep(0.02)
        self._held.append((path, handle))
        words = json.dumps({"run": run, "guard": os.getpid(), **self._about}).encode() + b"\n"
        # The first byte is what is locked; Windows lets nobody else read a locked byte.
        os.lseek(handle, 1, os.SEEK_SET)
        os.write(handle, words)
        # Only now, so that nobody finds the lock without a word: whoever reads it takes the first line.
        os.ftruncate(handle, 1 + len(words))

    def free(self) -> None:
        """Free them all, and remove their files."""
        while self._held:
            path, handle = self._held.pop()
            with contextlib.suppress(OSError):
                path.unlink()
            os.close(handle)


def folder() -> Path:
    """Return where locks are."""
    return Path(os.environ.get(VARIABLE) or _FOLDER)


def holder(places: Mapping[str, str]) -> str | None:
    """Say who has any of these instruments, "process 123", or return `None` when all are free.

    Nothing is kept and nobody is kept from anything: whoever only looks at a bench asks this before each question, so
    that no run is ever refused for somebody who was looking.
    """
    for place in places.values():
        path = _path(folder(), place)
        with contextlib.suppress(OSError):
            if _held(path):
                use = _use(path)
                return "another process" if use is None else f"process {use.run}"
    return None


def in_use() -> list[Use]:
    """Return every bench that a process of this computer has now, whoever's it is; some ten microseconds a lock.

    Raises `OSError` when there is something else where the folder of the locks belongs.
    """
    found: list[Use] = []
    for path in _listed():
        with contextlib.suppress(OSError):
            if _held(path) and (use := _use(path)) is not None and use not in found:
                found.append(use)
    return sorted(found, key=lambda use: use.run)


def _made() -> Path:
    """Return the folder of the locks, made if need be; `OSError` says why there can be none."""
    place = folder()
    with contextlib.suppress(FileExistsError):
        place.mkdir()
    deadline = time.monotonic() + _OPENED_S
    while not _open_to_all(place):
        if time.monotonic() >= deadline:
            raise OSError(
                f"locks: the folder {place} is not open to every user, expected mode {_MODE:o}; let its owner set that "
                "or remove it, or no user knows which bench another one uses"
            )
        time.sleep(0.02)
    return place


def _open_to_all(place: Path) -> bool:
    """Return whether everybody may make locks in a folder, after opening it if it is this user's."""
    if os.name != "posix":
        _see_folder(place)
        return True
    _see_folder(place)
    try:
        handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except PermissionError:
        return False
    try:
        found = os.fstat(handle)
        if stat.S_IMODE(found.st_mode) != _MODE and found.st_uid == os.geteuid():
            os.fchmod(handle, _MODE)  # by its handle: a path may be a link by now
            found = os.fstat(handle)
    finally:
        os.close(handle)
    return stat.S_IMODE(found.st_mode) == _MODE


def _see_folder(place: Path) -> None:
    """Raise `OSError` for what is no folder; a link is none: whoever made it could lead every lock elsewhere."""
    if not stat.S_ISDIR(place.lstat().st_mode):
        kind = "a link" if place.is_symlink() else "no folder"
        raise OSError(f"locks: {place} is {kind}, expected the folder that labpgt makes there itself; remove it")


def _listed() -> list[Path]:
    """Return every file that may be a lock."""
    place = folder()
    try:
        _see_folder(place)
        return sorted(place.glob("*.lock"))
    except FileNotFoundError:
        return []


def _path(folder: Path, place: str) -> Path:
    return folder / f"{hashlib.sha256(place.encode()).hexdigest()[:16]}.lock"


def _held(path: Path) -> bool:
    """Return whether a process has this lock; a file that nobody has is removed."""
    # As a rule there is no file, and this is all.
    if not os.path.lexists(path):
        return False
    handle = _locked(path, make=False)
    if handle is None:
        return path.exists()
    # Left by a computer that went down, or freed just now.
    try:
        path.unlink(missing_ok=True)
    finally:
        os.close(handle)
    return False


def _locked(path: Path, make: bool) -> int | None:
    """Open and lock a file that guards of every user of this computer share, or return `None` while another has it."""
    try:
        handle = os.open(path, _FLAGS)
    except FileNotFoundError:
        if not make:
            return None
        try:
            handle = os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            return None
        with contextlib.suppress(OSError):
            path.chmod(0o666)
    except PermissionError:
        return None  # Another user has just made it, and has not yet opened it to all.
    # A guard that leaves removes its file: a lock counts only on the one that is still there.
    if _try_lock(handle) and path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
        return handle
    os.close(handle)
    return None


def _holder(path: Path) -> str:
    """Say which process has the lock, if that can be read."""
    use = _use(path)
    if use is None:
        return ""
    return f" (process {use.run}" + (f", its guard is process {use.guard})" if use.guard != use.run else ")")


def _use(path: Path) -> Use | None:
    """Return what a lock says, if that can be read. Anybody may have written it: it is looked at before it is used."""
    try:
        with _read(path) as handle:
            os.lseek(handle, 1, os.SEEK_SET)
            words = json.loads(os.read(handle, _MOST_BYTES).partition(b"\n")[0])
        run, guard, file, bench = (words.get(key) for key in ("run", "guard", "file", "bench"))
        # Signals go to the process: 0 and less would be many.
        if not (isinstance(run, int) and isinstance(guard, int) and min(run, guard) > 0):
            return None
        named = isinstance(file, str) and Path(file).is_absolute() and "\0" not in file
        return Use(run, guard, Path(file) if named else None, bench if isinstance(bench, dict) else {})
    except (OSError, ValueError, AttributeError, RecursionError):
        return None


@contextlib.contextmanager
def _read(path: Path) -> Iterator[int]:
    """Open a regular file for reading, and nothing else: not everything that can be opened ends."""
    handle = os.open(path, os.O_RDONLY | _FLAGS & ~os.O_RDWR)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError("not a file")
        yield handle
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    """Lock the first byte of a file for this process, if nobody else has."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(handle, 0, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
