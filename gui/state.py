"""Where the window keeps what is its own: how it looked, its log, reports of crashes, and what its jobs say."""

import os
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import psutil
from filelock import BaseFileLock, FileLock, Timeout
from platformdirs import user_state_path
from PyQt6.QtCore import QSettings

VARIABLE = "LABPGT_WINDOW_STATE"
"""Environment variable that names another folder."""
_DIGITS = 16
"""No number that is kept has so many."""


class State:
    """A folder of this user's. Nothing in it is needed to read a session."""

    def __init__(self, folder: Path | None = None) -> None:
        """Raises `OSError` when the folder cannot be made."""
        chosen = os.environ.get(VARIABLE)
        self.folder = folder or (Path(chosen) if chosen else user_state_path("labpgt") / "window")
        self.jobs.mkdir(parents=True, exist_ok=True)
        self.settings = QSettings(str(self.folder / "window.ini"), QSettings.Format.IniFormat)
        self._lock = FileLock(self.folder / "window.lock")
        self._own: BaseFileLock | None = None
        """Of a queue of this window's own, if it is not the first one."""

    @cached_property
    def first(self) -> bool:
        """Whether no other window keeps its things in this folder; from now on until `ends`, this one does."""
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            return False
        except (OSError, NotImplementedError):  # where nothing can be written or locked, there is nothing to disturb
            return True
        return True

    def begins(self) -> str:
        """Note that a window is open; return a word about how the last one ended, if nobody closed it."""
        if not self.first:
            return ""
        pid = self._number("open")
        size = self.crashes.stat().st_size if self.crashes.exists() else 0
        grown = size > self._number("crashes")
        self.settings.setValue("open", os.getpid())
        self.settings.setValue("crashes", size)
        self.settings.sync()
        if not pid or psutil.pid_exists(pid):  # closed, or a window that could not lock
            return ""
        return f"its report is in {self.crashes}" if grown else "it was killed, or this computer stopped"

    def ends(self) -> None:
        """Note that the window was closed."""
        if self._number("open") == os.getpid():
            self.settings.setValue("open", 0)
        self.settings.sync()
        for lock in (self._lock, self._own):
            if lock is not None:
                lock.release()

    def _number(self, key: str) -> int:
        """Return a number of the settings; 0 for what is none: anybody can edit the file, and a disk can damage it."""
        text = str(self.settings.value(key, "0"))
        return int(text) if text.isascii() and text.isdigit() and len(text) < _DIGITS else 0

    @cached_property
    def queue(self) -> Path:
        """File with the runs of this window's queue; a second window has one of its own.

        It is this window's until `ends`; after that, the next window takes it over.
        """
        if self.first:
            return self.folder / "queue.json"
        place = self.folder / f"queue-{os.getpid()}.json"
        self._own = _lock_of(place)
        with suppress(Timeout, OSError, NotImplementedError):
            self._own.acquire(blocking=False)
        return place

    def left_queues(self) -> Iterator[Path]:
        """Yield the queues of second windows that are gone; whoever goes on to the next has taken one over."""
        for place in sorted(self.folder.glob("queue-*.json")) if self.first else ():
            lock = _lock_of(place)
            try:
                lock.acquire(blocking=False)
            except (Timeout, OSError, NotImplementedError):  # its window is open, or nobody can tell
                continue
            try:
                yield place
                with suppress(OSError):
                    place.unlink()
                    Path(lock.lock_file).unlink(missing_ok=True)
            finally:
                lock.release()

    @property
    def jobs(self) -> Path:
        """Folder with the output of what the window has started."""
        return self.folder / "jobs"

    @property
    def log(self) -> Path:
        """File of the log."""
        return self.folder / "window.log"

    @property
    def crashes(self) -> Path:
        """File with the reports of crashes."""
        return self.folder / "crashes.log"


def _lock_of(queue: Path) -> BaseFileLock:
    return FileLock(queue.with_suffix(".lock"))
