"""Asks a run of another process to pause, go on or stop, through a small file beside its session.

The file holds what was asked last, and of which process. A run looks for it while it goes, and removes it when it ends.
"""

import getpass
import json
import os
import platform
import stat
import threading
import time
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, Self

from labpgt.errors import InputError, StorageFault
from labpgt.events import ASKED, Status
from labpgt.session import Session
from labpgt.session.disk import companion
from labpgt.session.provenance import process_runs

POLL_S = 0.05
"""Between two looks of a run for a request."""
_MOST_BYTES = 1 << 16
"""What is longer is no request."""


class Request(StrEnum):
    """What a run can be asked."""

    PAUSE = "pause"
    CONTINUE = "continue"
    STOP = "stop"


class _Asked(NamedTuple):
    """What the file says."""

    request: Request
    by: str
    pid: str
    created: str
    start: str

    @classmethod
    def read(cls, place: Path) -> Self:
        """Return what a file says. Raises `OSError` when it cannot be read, `ValueError` for what is no request."""
        # Not everything that can be opened ends.
        if not stat.S_ISREG(place.stat().st_mode):
            raise ValueError("not a file")
        with place.open("rb") as file:
            found = json.loads(file.read(_MOST_BYTES))
        try:
            by, pid, created = (str(found[key]) for key in ("by", "pid", "process_create_time"))
            return cls(Request(found["request"]), by, pid, created, str(found.get("process_start", "")))
        except (TypeError, KeyError) as error:
            raise ValueError("no request") from error

    @property
    def of_this_process(self) -> bool:
        return self.pid == str(os.getpid()) and self.stands

    @property
    def stands(self) -> bool:
        """Whether the process that is asked is there."""
        return process_runs(self.pid, self.created, self.start)


def ask(session: Path, request: Request, by: str = "") -> None:
    """Ask the run that writes this session file to pause, go on or stop; `by` is who asks, else the user's name.

    The run obeys after the device call in hand, never inside a ± pair. Of several requests the last one counts; a stop
    that the run has seen cannot be taken back. Raises `InputError` when no process on this computer is at the run, and
    says how it stands; `StorageFault` when the request cannot be written beside the file.
    """
    path = Path(session).resolve()
    with Session(path) as recorded:
        _check_asked_here(recorded)
        place = companion(path, ".request")
        asked = {
            "request": str(request),
            "by": by or _user(),
            "pid": recorded.writer.get("pid", ""),
            "process_create_time": recorded.writer.get("process_create_time", ""),
            "process_start": recorded.writer.get("process_start", ""),
        }
        part = place.with_name(f"{place.name}-{os.getpid()}-{threading.get_ident()}")
        try:
            try:
                part.write_text(json.dumps(asked), encoding="utf-8")
                part.replace(place)
            finally:
                part.unlink(missing_ok=True)
        except OSError as error:
            raise StorageFault(
                f"{path}: the request to {request} cannot be written to {place} ({error.strerror}); the folder must be "
                f"writable. Or stop the run where it goes on (process {asked['pid']}): Ctrl-C"
            ) from error
        try:
            _check_asked_here(recorded)
        except InputError:
            # It ended meanwhile, and nobody is left to remove the file.
            with suppress(OSError):
                place.unlink(missing_ok=True)
            raise


def _check_asked_here(recorded: Session) -> None:
    """Raise `InputError` with how the run stands, unless a process of this computer is at it."""
    status, writer = recorded.status, recorded.writer
    if status is Status.RUNNING:
        if writer.get("host") == platform.node():
            return
        raise InputError(
            f"{recorded.path}: the run goes on on another computer, {writer.get('host')} (process "
            f"{writer.get('pid')}), and can be asked only there"
        )
    if companion(recorded.path, ".lock").exists():
        raise InputError(f"{recorded.path}: the run is being resumed, it seems; ask again when it goes on")
    if status is Status.CRASHED:
        raise InputError(
            f"{recorded.path}: the run crashed, its process {writer.get('pid')} is gone, so there is nobody to ask. To "
            f"go on with it: labpgt resume {recorded.path}"
        )
    raise InputError(f"{recorded.path}: the run has ended ({status}: {recorded.reason}), so there is nobody to ask")


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a system without names
        return "somebody"


class Requests:
    """The run's side: what this process was asked to do with the run in this session file.

    Looks for the file when it is asked itself, every `POLL_S` at most. What cannot be read, or was asked of another
    process, changes nothing; what was asked stands until something else is asked.
    """

    def __init__(self, session: Path) -> None:
        # The working directory may change, or vanish.
        self._place = companion(Path(session).absolute(), ".request")
        self._looked = -POLL_S
        self._seen: tuple[int, int] | None = None
        self._pause: str | None = None
        self._stop: str | None = None

    def stop(self) -> str | None:
        """Return why the run shall stop, or None."""
        self._look()
        return self._stop

    def paused(self) -> str | None:
        """Return why the run shall be paused, or None."""
        self._look()
        return self._pause

    def close(self) -> None:
        """Remove the file, unless it is for another process that is there."""
        with suppress(OSError, ValueError):
            asked = _Asked.read(self._place)
            if asked.of_this_process or not asked.stands:
                self._place.unlink()

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked < POLL_S:
            return
        self._looked = now
        with suppress(OSError):
            found = self._place.stat()
            # Every request is a new file.
            mark = found.st_ino, found.st_mtime_ns
            if mark == self._seen:
                return
            with suppress(ValueError):
                self._take(_Asked.read(self._place))
            self._seen = mark

    def _take(self, asked: _Asked) -> None:
        if not asked.of_this_process:
            return
        match asked.request:
            case Request.PAUSE:
                self._pause = f"{ASKED}{asked.by}"
            case Request.CONTINUE:
                self._pause = None
            case Request.STOP:
                self._pause = None
                self._stop = f"asked to stop by {asked.by}"
