"""Locks that keep two runs off one bench, whoever started them.

Needs the standard library alone, for the guard's process uses it.
"""

import contextlib
import hashlib
import os
import sys
import tempfile
import time
from pathlib import Path

LOCKS = Path("/tmp" if os.name == "posix" else tempfile.gettempdir())
"""Where locks are: one place for every user of this computer, whatever TMPDIR says, so that they see each other's."""


class Locks:
    """Locks on the instruments of a bench: all or none, of one process at a time. They go with it, however it ends."""

    def __init__(self, places: dict[str, str], folder: Path | None = None) -> None:
        """`places` says what is locked, by "role at address"."""
        self._places, self._folder = places, folder or LOCKS
        self._held: list[tuple[Path, int]] = []

    def take(self, wait_s: float, run: int) -> None:
        """Take all, or `RuntimeError` says who still had one after `wait_s`. `run` is the process they are for."""
        deadline = time.monotonic() + wait_s
        try:
            # In one order for all, or two that each have some would wait for each other.
            for where, place in sorted(self._places.items(), key=lambda item: item[1]):
                self._take(where, _path(self._folder, place), deadline, run)
        except BaseException:
            self.free()
            raise

    def _take(self, where: str, path: Path, deadline: float, run: int) -> None:
        while (handle := _locked(path)) is None:
            if time.monotonic() >= deadline:
                raise RuntimeError(
                    f"{where}: another run is using it{_holder(path)}, or a guard is still trying to make it safe "
                    "after a run died; wait for it to end, or end it"
                )
            time.sleep(0.02)
        self._held.append((path, handle))
        # The first byte is what is locked; Windows lets nobody else read a locked byte.
        os.lseek(handle, 1, os.SEEK_SET)
        os.write(handle, f"{run} {os.getpid()}".ljust(32).encode())

    def free(self) -> None:
        """Free them all, and remove their files."""
        while self._held:
            path, handle = self._held.pop()
            with contextlib.suppress(OSError):
                path.unlink()
            os.close(handle)


def holder(places: dict[str, str], folder: Path | None = None) -> str | None:
    """Say who has any of these instruments, "process 123", or return `None` when all are free.

    Nothing is kept and nobody is kept from anything: whoever only looks at a bench asks this before each question, so
    that no run is ever refused for somebody who was looking.
    """
    for place in places.values():
        path = _path(folder or LOCKS, place)
        with contextlib.suppress(OSError):
            # As a rule there is no file, and this is all.
            if not path.exists():
                continue
            handle = _locked(path)
            if handle is None:
                processes = _processes(path)
                return f"process {processes[0]}" if processes else "another process"
            # Left by a computer that went down, or freed just now.
            try:
                path.unlink(missing_ok=True)
            finally:
                os.close(handle)
    return None


def _path(folder: Path, place: str) -> Path:
    return folder / f"labpgt-guard-{hashlib.sha256(place.encode()).hexdigest()[:16]}.lock"


def _locked(path: Path) -> int | None:
    """Open and lock a file that guards of every user of this computer share, or return `None` while another has it."""
    flags = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
    try:
        handle = os.open(path, flags)
    except FileNotFoundError:
        try:
            handle = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
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
    processes = _processes(path)
    if processes is None:
        return ""
    run, guard = processes
    return f" (process {run}" + (f", its guard is process {guard})" if guard != run else ")")


def _processes(path: Path) -> tuple[int, int] | None:
    """Return the run that a lock is for and the process that has it, if that can be read."""
    try:
        run, guard = map(int, path.read_bytes()[1:].split())
    except (OSError, ValueError):
        return None
    return run, guard


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
