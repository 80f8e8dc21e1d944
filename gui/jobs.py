"""Jobs: labpgt's own command line in child processes, which the window starts, listens to, and can lose without harm.

What a job says goes into files, not into pipes: a window that crashes takes nothing with it, and the next one finds
the job again.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import psutil
from PyQt6.QtCore import QObject, QTimer, pyqtSignal

from gui import kept
from gui.asking import ask_in_thread
from gui.standby import Standby
from gui.tail import Tail, clear_away
from labpgt.control import Request

LISTEN_MS = 100
"""Between two looks at what the jobs say."""
ENVIRONMENT = {"LABPGT_PROGRESS": "json"}


class JobState(StrEnum):
    """How a job stands, or a run of the queue, which waits before it has one."""

    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def over(self) -> bool:
        """Whether nothing goes on, and nothing will by itself."""
        return self in (JobState.DONE, JobState.STOPPED, JobState.FAILED)

    @property
    def going(self) -> bool:
        """Whether a process is at it."""
        return not self.over and self is not JobState.WAITING


EXIT_WORDS = {
    0: "done",
    1: "failed",
    2: "bad input",
    3: "device fault",
    4: "stopped",
    5: "storage fault",
}


@dataclass
class Progress:
    """How far a job is, by its own account."""

    description: str = ""
    figures: str = ""
    completed: float = 0.0
    total: float = 0.0
    """0 while it is not known."""

    @property
    def share(self) -> float:
        """Part that is done, of 1."""
        return min(1.0, self.completed / self.total) if self.total else 0.0


class Job(QObject):
    """One command of the command line in a process of its own."""

    changed = pyqtSignal()
    """State, progress or message changed."""
    said = pyqtSignal(str, str)
    """A level ("info", "warning", "error") and a text."""
    ended = pyqtSignal()

    def __init__(
        self, title: str, argv: Sequence[str], files: Path, session: Path | None = None, *, found_again: bool = False
    ) -> None:
        """Of what one that is found again has said, only the end is taken in."""
        super().__init__()
        self.title = title
        self.argv = tuple(argv)
        self.session = session
        """The session file that it writes, if it is a run."""
        self.files = files
        """Where it says what: this path with .err (messages), .out (its report, JSON) and .job (what it is)."""
        self.state = JobState.STARTING
        self.progress = Progress()
        self.message = ""
        """The last thing it said."""
        self.exit_code: int | None = None
        self.report: dict[str, Any] = {}
        """What its `--json` printed."""
        self.process: psutil.Process | subprocess.Popen[bytes] | None = None
        self._tail = Tail(files.with_suffix(".err"), only_end=found_again)
        self._stops = 0
        self._told_code: int | None = None
        """The exit code by its own account, if it told why it fails."""

    @property
    def serves(self) -> bool:
        """Whether it is there for others, as a virtual bench is: it ends with the window, not with RF OFF."""
        return self.argv[:1] == ("virtual-bench",)

    @property
    def pid(self) -> int | None:
        """Its process."""
        return None if self.process is None else int(self.process.pid)

    def pause(self) -> None:
        """Ask a run to pause, the device made safe; if it cannot be asked, that is `said` as an error."""
        self._ask(Request.PAUSE)

    def go_on(self) -> None:
        """Ask a paused run to go on; if it cannot be asked, that is `said` as an error."""
        self._ask(Request.CONTINUE)

    def stop(self) -> None:
        """Ask it to stop: after the device call in hand, the second time at once; the device is left safe."""
        if self.state.over:
            return
        self._stops += 1
        self._become(JobState.STOPPING)
        if os.name == "posix":
            self._signal(signal.SIGINT)
        elif self.session is not None and self._stops == 1:
            self._ask(Request.STOP)  # no signal that a process here could take in order
        else:
            self.kill()

    def kill(self) -> None:
        """End its process whatever it does. A guard turns RF off; the session stays whole and can be resumed."""
        if self.process is not None and not self.state.over:
            with suppress(psutil.Error, OSError):
                self.process.kill()

    def _ask(self, request: Request) -> None:
        if self.session is None:
            self.said.emit("error", f"only a run can {request}, and this is none")
        else:
            ask_in_thread(self.session, request, lambda why: self.said.emit("error", why))

    def _signal(self, number: int) -> None:
        if self.process is not None:
            with suppress(psutil.Error, OSError):
                self.process.send_signal(number)

    def listen(self) -> None:
        """Take in what it has said since the last time, and whether it has ended."""
        code = self._exit_code()
        lines, more = self._tail.take()
        for line in lines:
            self._line(line)
        if lines:
            self.changed.emit()
        # The next looks take in what is left.
        if code is not None and not more and not self.state.over:
            self._end(code)

    def _exit_code(self) -> int | None:
        """Return how the process ended, -1 when nobody can tell, None while it lives."""
        if isinstance(self.process, subprocess.Popen):
            return self.process.poll()
        if self.process is not None and self.process.is_running():
            with suppress(psutil.Error):
                if self.process.status() != psutil.STATUS_ZOMBIE:
                    return None
        return -1

    def _line(self, line: str) -> None:
        if not line.strip():
            return
        said: Any = None
        with suppress(ValueError):
            said = json.loads(line)
        match said:
            case {"progress": dict() as figures}:
                if self.state in (JobState.STARTING, JobState.PAUSED):
                    self.state = JobState.RUNNING
                if figures.get("description") == "waiting" and self.state is JobState.RUNNING:
                    self.state = JobState.PAUSED
                with suppress(TypeError, ValueError):  # no number
                    self.progress = Progress(
                        str(figures.get("description") or ""),
                        str(figures.get("figures") or ""),
                        float(figures.get("completed") or 0),
                        float(figures.get("total") or 0),
                    )
            case {"say": str(text)}:
                self._say("info", text)
            case {"warn": str(text)}:
                self._say("warning", text)
            case {"error": str(text)}:
                if isinstance(code := said.get("exit_code"), int):
                    self._told_code = code
                self._say("error", text)
            case _:
                self._say("info", line)

    def _say(self, level: str, text: str) -> None:
        if self.state is JobState.STARTING:
            self.state = JobState.RUNNING
        self.message = text
        self.said.emit(level, text)

    def _end(self, code: int) -> None:
        self._line(self._tail.last())
        with suppress(OSError, ValueError):
            report = json.loads(self.files.with_suffix(".out").read_text("utf-8"))
            self.report = report if isinstance(report, dict) else {}
        if code == -1:  # found again after a restart: what it said last tells how it ended
            code = self._code_as_told()
        self.exit_code = code
        if code == 0:
            state = JobState.DONE
        elif code in (4, -signal.SIGINT) or (self._stops and (code < 0 or code == 3)):
            # Whoever turns RF off and stops the run makes its last shot fail, too.
            state = JobState.STOPPED
        else:
            state = JobState.FAILED
        self._become(state)
        kept.forget(self.files.with_suffix(".job"))
        self.ended.emit()

    def _code_as_told(self) -> int:
        """Return the exit code that follows from what it said; -1 when it said neither why it fails nor a report."""
        if self._told_code is not None:
            return self._told_code
        if not self.report:
            return -1
        status = str(self.report.get("status", "success"))  # a measurement's report is there when it is done
        return {"success": 0, "aborted": 4}.get(status, 1)

    def _become(self, state: JobState) -> None:
        self.state = state
        self.changed.emit()

    @property
    def outcome(self) -> str:
        """How it ended, in words; nothing while it goes on."""
        if self.exit_code is None:
            return ""
        if self.exit_code < 0:
            return "its process was killed" if self.state is JobState.FAILED else EXIT_WORDS[4]
        return EXIT_WORDS.get(self.exit_code, f"exit code {self.exit_code}")


class Jobs(QObject):
    """Starts jobs and listens to them."""

    started = pyqtSignal(object)
    """A `Job` that was started, or found again."""
    standby_changed = pyqtSignal(str)

    def __init__(self, folder: Path, preload: Sequence[str] = (), *, standby: bool = True) -> None:
        """`folder` is for what they say; `preload` names devices whose code is loaded before it is needed."""
        super().__init__()
        self._folder = folder
        self._jobs: list[Job] = []
        self._count = 0
        self._standby = Standby(preload) if standby else None
        if self._standby is not None:
            self._standby.state_changed.connect(self.standby_changed)
        self._timer = QTimer(self)
        self._timer.setInterval(LISTEN_MS)
        self._timer.timeout.connect(self._listen)
        self._timer.start()

    def __iter__(self) -> Iterator[Job]:
        return iter(list(self._jobs))

    @property
    def going(self) -> list[Job]:
        """Jobs whose process lives."""
        return [job for job in self._jobs if not job.state.over]

    @property
    def working(self) -> list[Job]:
        """Those of them that may use a device."""
        return [job for job in self.going if not job.serves]

    def begin(self) -> None:
        """Have a process ready for the next run; it loads in the background."""
        if self._standby is not None:
            self._standby.prepare()

    def start(
        self,
        title: str,
        argv: Sequence[str],
        *,
        session: Path | None = None,
        ready: bool = False,
        cwd: Path | None = None,
    ) -> Job:
        """Start `labpgt ARGV`. With `ready` in the process that has everything loaded, if there is one.

        Raises `OSError` when no process can be started.
        """
        self._count += 1
        name = re.sub(r"[^\w.-]+", "-", title)[:40]
        files = self._folder / f"{datetime.now():%Y%m%d-%H%M%S-%f}-{self._count}-{name}"
        job = Job(title, argv, files.with_name(files.name.replace(".", "_")), session)
        place = (cwd or Path.cwd()).resolve()
        process = None
        if ready and self._standby is not None:
            process = self._standby.take(argv, place, job.files, ENVIRONMENT)
        job.process = process or _started(argv, place, job.files)
        self._take_up(job)
        try:
            kept.keep(job.files.with_suffix(".job"), title, argv, session, int(job.process.pid))
        except OSError as error:
            job.said.emit(
                "warning",
                f"{title} goes on, but a later window will not find it again: {error.filename or files.parent} cannot "
                f"be written ({error.strerror}). Its session says how it goes",
            )
        return job

    def find_again(self) -> None:
        """Take up the jobs of an earlier window that still go on; clear away what is left of others."""
        for place in sorted(self._folder.glob("*.job")):
            try:
                found = kept.read(place)
            except (OSError, ValueError):
                kept.forget(place)
                continue
            process = found.process
            if process is None:
                if not found.in_doubt:
                    kept.forget(place)
                continue
            job = Job(found.title, found.argv, place.with_suffix(""), found.session, found_again=True)
            job.process = process
            self._take_up(job)
        threading.Thread(target=clear_away, args=(self._folder,), name="clearing away", daemon=True).start()

    def close(self) -> None:
        """Let go of the jobs, which go on; the process that stood by leaves."""
        self._timer.stop()
        if self._standby is not None:
            self._standby.close()

    def _take_up(self, job: Job) -> None:
        self._jobs.append(job)
        self.started.emit(job)

    def _listen(self) -> None:
        for job in self.going:
            try:
                job.listen()
            except Exception:  # no job goes unheard for another's sake
                sys.excepthook(*sys.exc_info())


def _started(argv: Sequence[str], place: Path, files: Path) -> subprocess.Popen[bytes]:
    with files.with_suffix(".out").open("wb") as out, files.with_suffix(".err").open("wb") as err:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "procedures.cli", *argv],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            cwd=place,
            env={**os.environ, **ENVIRONMENT},
            # Ctrl-C in the window's terminal is not for its runs.
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
