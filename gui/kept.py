"""What is kept on disk of a job that goes on, so that the next window finds it again: what it is, and its process."""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from labpgt.processes import is_same, start_mark


@dataclass(frozen=True)
class Kept:
    """What a file says of a job."""

    title: str
    argv: tuple[str, ...]
    session: Path | None
    pid: int
    created: float
    """When the process was created, in seconds since 1970 by the clock of then."""
    mark: str
    """What `start_mark` said of it."""

    @property
    def process(self) -> psutil.Process | None:
        """The process, if it is still there."""
        with suppress(psutil.Error):
            process = psutil.Process(self.pid)
            if is_same(process, self.created, self.mark):
                return process
            # Where there are no marks: the clock may have been set, and nobody else has these words.
            if not self.mark and self.argv and tuple(process.cmdline()[-len(self.argv) :]) == self.argv:
                return process
        return None

    @property
    def in_doubt(self) -> bool:
        """Whether its number is that of a process of labpgt, of which nobody can say for sure that it is another."""
        if self.mark:
            return False
        with suppress(psutil.Error):
            command = " ".join(psutil.Process(self.pid).cmdline())
            return "labpgt" in command or "procedures" in command
        return False


def keep(file: Path, title: str, argv: Sequence[str], session: Path | None, pid: int) -> None:
    """Write what is known of a job, whole or not at all. Raises `OSError` when it cannot be kept."""
    created = 0.0
    with suppress(psutil.Error):
        created = psutil.Process(pid).create_time()
    told: dict[str, Any] = {
        "title": title,
        "argv": list(argv),
        "session": None if session is None else str(session),
        "pid": pid,
        "created": created,
        "mark": start_mark(pid),
    }
    part = file.with_name(f"{file.name}-{os.getpid()}.part")
    try:
        part.write_text(json.dumps(told), "utf-8")
        part.replace(file)
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def read(file: Path) -> Kept:
    """Return what was kept. Raises `OSError` when the file cannot be read, `ValueError` when it says no such thing."""
    try:
        told = json.loads(file.read_bytes())
        session = told["session"]
        argv = tuple(str(word) for word in told["argv"])
        place = Path(session) if session else None
        mark = str(told.get("mark", ""))
        return Kept(str(told["title"]), argv, place, int(told["pid"]), float(told["created"]), mark)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file}: not what is kept of a job ({type(error).__name__}: {error})") from error


def forget(file: Path) -> None:
    """Remove what was kept; in a folder that cannot be written, it stays."""
    with suppress(OSError):
        file.unlink(missing_ok=True)
