"""RF of every bench that this computer uses: how it stands, and turning it off from any state."""

import time
from enum import StrEnum
from pathlib import Path
from typing import Any

from PyQt6.QtCore import QObject, QTimer, pyqtSignal

from gui.jobs import Job, Jobs
from gui.sentinel import Sentinel
from labpgt.interrupt import interrupt
from labpgt.locks import Use, in_use

TOLD_S = 15.0
"""RF OFF that takes longer than this says who still has a bench; it goes on turning RF off all the same."""
AGAIN_MS = 250
REPEAT_S = 10.0
"""A run that is still there so long after it was asked to stop is asked again, which then means at once."""
FILE_MS = 1000
"""Between two looks whether a bench's file has changed."""
QUIET_LOOKS = 60
"""After so many looks with nobody at the addresses that a file had before, these are let go."""
USES_MS = 500
"""Between two looks which benches are in use on this computer."""
Signature = tuple[int, int, int]


class Rf(StrEnum):
    """How the RF of all benches stands: the worst of them."""

    NO_BENCH = "no bench"
    OFF = "off"
    ON = "on"
    TURNING_OFF = "turning off"
    IN_DOUBT = "in doubt"


class Watched(QObject):
    """One bench: the sentinel that reads its file as it is, and those that have read it as it was.

    A run may have begun before the file was changed: RF OFF goes to the old addresses as well.
    """

    changed = pyqtSignal()
    said = pyqtSignal(str, str)

    def __init__(self, bench: Path) -> None:
        super().__init__()
        self.bench = bench
        self.wanted = True
        """Whether somebody wants it to be watched; one that is in use, or being turned off, is watched anyhow."""
        self.let_go = False
        """Whether somebody has said that it need not be, though its RF may be on."""
        self._signature = _signature(bench)
        self._found: dict[Sentinel, dict[str, Any]] = {}
        self._pending: set[Sentinel] = set()
        self._quiet: dict[Sentinel, int] = {}
        """Looks in a row at which nobody was there."""
        self._now = self._begin()
        self._looks = QTimer(self)
        self._looks.setInterval(FILE_MS)
        self._looks.timeout.connect(self._look_at_file)
        self._looks.start()

    @property
    def rf(self) -> str:
        """What is known: "on", "off" or "unknown"."""
        if any(found.get("rf") == "on" for found in self._found.values()):
            return "on"
        return str(self._found[self._now].get("rf", "unknown"))

    @property
    def in_use(self) -> str | None:
        """Who has the bench, such as "process 123"."""
        return next((str(found["in_use"]) for found in self._found.values() if found.get("in_use")), None)

    @property
    def has_file(self) -> bool:
        """Whether the bench's file is there."""
        return self._signature is not None

    @property
    def known(self) -> bool:
        """Whether it has been heard how it stands, or why that cannot be."""
        return bool(self._found[self._now])

    @property
    def pending(self) -> bool:
        """Whether RF is being turned off at this moment."""
        return bool(self._pending)

    @property
    def problems(self) -> list[str]:
        """What went wrong in looking."""
        gone = [] if self.has_file else ["its file is gone; the addresses that it had are used"]
        return [*gone, *map(str, self._found[self._now].get("problems", []))]

    def turn_off(self) -> None:
        """Turn RF off, whoever uses the bench."""
        for sentinel in list(self._found):
            if sentinel not in self._pending:
                self._pending.add(sentinel)
                sentinel.turn_off()

    def close(self) -> None:
        """Let the sentinels leave."""
        self._looks.stop()
        for sentinel in self._found:
            sentinel.close()

    def _begin(self) -> Sentinel:
        sentinel = Sentinel(self.bench)
        self._found[sentinel] = {}
        sentinel.looked.connect(lambda found: self._take(sentinel, found))
        sentinel.turned_off.connect(lambda answer: self._answered(sentinel, answer))
        return sentinel

    def _look_at_file(self) -> None:
        signature = _signature(self.bench)
        if signature != self._signature:
            self._signature = signature
            if signature is not None:
                self.said.emit("info", f"{self.bench.name} has changed: its instruments are asked anew")
                self._now = self._begin()
            self.changed.emit()

    def _take(self, sentinel: Sentinel, found: dict[str, Any]) -> None:
        if found != self._found[sentinel]:
            self._found[sentinel] = found
            self.changed.emit()
        if sentinel is not self._now:
            self._let_go_when_quiet(sentinel, found)

    def _let_go_when_quiet(self, sentinel: Sentinel, found: dict[str, Any]) -> None:
        """A run that began before the file was changed has the old addresses soon, or never.

        Each save of a file would else leave a process for good, with connections of which instruments have few.
        """
        quiet = found.get("rf") != "on" and not found.get("in_use") and sentinel not in self._pending
        self._quiet[sentinel] = self._quiet.get(sentinel, 0) + 1 if quiet else 0
        if self._quiet[sentinel] >= QUIET_LOOKS:
            del self._quiet[sentinel], self._found[sentinel]
            sentinel.close()
            self.changed.emit()

    def _answered(self, sentinel: Sentinel, answer: dict[str, Any]) -> None:
        self._pending.discard(sentinel)
        problems = [str(problem) for problem in answer.get("problems", [])]
        off = bool(answer["off"]) and not problems
        found = {**self._found[sentinel], "rf": "off" if answer["off"] else "unknown", "problems": problems}
        self._found[sentinel] = found
        if off:
            self.said.emit("info", f"RF of {self.bench.name} is off, as its instruments say")
        elif sentinel is self._now:
            why = "; ".join(problems) or "the source did not say so"
            self.said.emit("error", f"RF of {self.bench.name} may be on: {why}. Switch it off at the instrument")
        self.changed.emit()


class RfControl(QObject):
    """Every bench that the window has to do with, and every one that a run on this computer has."""

    changed = pyqtSignal()
    asked = pyqtSignal()
    """RF OFF was pressed."""
    said = pyqtSignal(str, str)
    """A level and a text, for the log and the banner."""

    def __init__(self, jobs: Jobs) -> None:
        super().__init__()
        self._jobs = jobs
        self._watched: dict[Path, Watched] = {}
        self._asked_at = 0.0
        self._told = False
        self._stopped: dict[Job | int, float] = {}
        """Whom RF OFF has asked to stop, and when."""
        self._uses: list[Use] = []
        """What has a bench on this computer, whoever has started it."""
        self._problem = ""
        """What kept it from being known at the last look."""
        self._again = QTimer(self)
        self._again.setInterval(AGAIN_MS)
        self._again.timeout.connect(self._see_to_it)
        self._looks = QTimer(self)
        self._looks.setInterval(USES_MS)
        self._looks.timeout.connect(self._look)
        self._looks.start()

    @property
    def benches(self) -> list[Path]:
        """The benches that are watched over."""
        return list(self._watched)

    @property
    def state(self) -> Rf:
        """How the RF stands."""
        states = {watched.rf for watched in self._watched.values()}
        lost = any(w.rf == "unknown" and w.problems and not w.pending for w in self._watched.values())
        if self._again.isActive() and not lost:
            return Rf.TURNING_OFF
        if not self._watched:
            return Rf.NO_BENCH
        if "unknown" in states:
            return Rf.IN_DOUBT
        return Rf.ON if "on" in states else Rf.OFF

    @property
    def others(self) -> list[str]:
        """Who uses a bench of this computer and was not started by the window: "process 123 at bench.toml"."""
        own = {job.pid for job in self._jobs}
        found = [use for use in self._uses if use.run not in own]
        return [f"process {use.run} at {'a bench' if use.file is None else use.file.name}" for use in found]

    def problems(self, bench: Path | None) -> list[str]:
        """Return what keeps the RF of a bench from being known, a line each."""
        watched = None if bench is None else self._watched.get(bench.resolve())
        return [] if watched is None else watched.problems

    @property
    def detail(self) -> str:
        """What is known besides: who has the bench, what went wrong."""
        lines = []
        for bench, watched in self._watched.items():
            if watched.in_use:
                lines.append(f"{bench.name}: in use by {watched.in_use}")
            lines += [f"{bench.name}: {problem}" for problem in watched.problems]
        return "\n".join(lines)

    def watch_over(self, bench: Path) -> None:
        """Keep a sentinel for this bench from now on."""
        watched = self._watch(bench.resolve())
        watched.wanted, watched.let_go = True, False
        self.changed.emit()

    def leave(self, bench: Path) -> None:
        """Watch over this bench no longer than it is in use, its RF is on, or RF OFF is at it."""
        watched = self._watched.get(bench.resolve())
        if watched is not None:
            watched.wanted, watched.let_go = False, True
            self._changed(watched)

    def turn_off(self) -> None:
        """Turn RF off on every bench, and stop whatever uses one, lest it turn RF on again; until nobody does."""
        self._look()
        for watched in list(self._watched.values()):
            watched.turn_off()
        self._stopped = {}
        self._asked_at, self._told = time.monotonic(), False
        self._again.start()
        self._stop_all()
        what = "RF is being turned off and every run on a bench is asked to stop, as are those of this window"
        if not self._watched and not self._uses:
            what = (
                "no bench is connected, and no run on this computer has one, so nothing was switched; every run of "
                "this window is asked to stop"
            )
        self.said.emit("warning", f"RF OFF: {what}")
        self.asked.emit()
        self.changed.emit()

    @property
    def unsettled(self) -> list[Path]:
        """The benches whose RF is not known to be off, and that no run of others uses."""
        own = {f"process {job.pid}" for job in self._jobs}
        others = {use.file for use in self._uses if f"process {use.run}" not in own}
        free = [w for w in self._watched.values() if w.bench not in others]
        ours = [w for w in free if w.in_use is None or w.in_use in own]
        return [w.bench for w in ours if w.pending or w.rf != "off"]

    def settle(self) -> None:
        """Turn RF off on the benches that no run of others uses; nobody is stopped."""
        for bench in self.unsettled:
            self._watched[bench].turn_off()

    def close(self) -> None:
        """Let the sentinels leave."""
        self._looks.stop()
        self._again.stop()
        for watched in self._watched.values():
            watched.close()
        self._watched = {}

    def _watch(self, bench: Path) -> Watched:
        if bench not in self._watched:
            watched = Watched(bench)
            watched.changed.connect(lambda: self._changed(watched))
            watched.said.connect(self.said)
            self._watched[bench] = watched
        return self._watched[bench]

    def _look(self) -> None:
        """Watch over every bench that is in use on this computer, for as long as it is."""
        before, problem = self._uses, ""
        try:
            self._uses = in_use()
        except OSError as error:
            self._uses, problem = [], f"{error}; RF OFF does not reach benches that this window was not shown"
        if problem and problem != self._problem:
            self.said.emit("error", problem)
        self._problem = problem
        for use in self._uses:
            if use not in before and use.file is None:
                self.said.emit("warning", f"process {use.run} has a bench of no file: `labpgt rf-off` reaches it")
            elif use.file is not None and use.file not in self._watched:
                watched = self._watch(use.file)
                watched.wanted = False
                if self._again.isActive():
                    watched.turn_off()
                self.said.emit("info", f"process {use.run} uses {use.file}: its RF is watched")
                self.changed.emit()
        for bench in {use.file for use in before} - {use.file for use in self._uses}:
            if bench in self._watched:
                self._changed(self._watched[bench])
        if self._uses != before:
            self.changed.emit()

    def _needed(self, watched: Watched) -> bool:
        used = watched.in_use or any(use.file == watched.bench for use in self._uses)
        # Where the file is gone too, nobody will ever know.
        doubtful = watched.rf == "on" or (watched.rf != "off" and watched.has_file and not watched.let_go)
        undecided = watched.pending or not watched.known or doubtful
        return bool(watched.wanted or used or undecided or self._again.isActive())

    def _changed(self, watched: Watched) -> None:
        if not self._needed(watched) and self._watched.get(watched.bench) is watched:
            if watched.rf != "off":
                self.said.emit("warning", f"RF of {watched.bench.name} is {watched.rf}, and is watched no longer")
            del self._watched[watched.bench]
            watched.close()
        self.changed.emit()

    def _see_to_it(self) -> None:
        """Turn off again what has come on again, and stop what has begun since, until nobody uses a bench."""
        self._look()
        self._stop_all()
        for watched in list(self._watched.values()):
            if watched.rf == "on":
                watched.turn_off()
        busy = [w for w in self._watched.values() if w.in_use or w.pending]
        if not busy and not self._uses and not self._jobs.working:
            self._again.stop()
            for watched in list(self._watched.values()):
                self._changed(watched)
            self.changed.emit()
        elif not self._told and time.monotonic() > self._asked_at + TOLD_S:
            self._told = True
            who = ", ".join(f"{w.in_use or 'RF OFF'} at {w.bench.name}" for w in busy)
            who = who or ", ".join(f"process {use.run}" for use in self._uses)
            who = who or ", ".join(job.title for job in self._jobs.working)
            self.said.emit(
                "error",
                f"RF OFF: after {TOLD_S:g} s there is still {who}. RF is turned off again whenever it comes on; end "
                "that run, or switch RF off at the instrument",
            )

    def _stop_all(self) -> None:
        own = set()
        for job in self._jobs.working:
            own.add(job.pid)
            if self._to_be_asked(job):
                job.stop()
        others = {use.run for use in self._uses}
        for watched in self._watched.values():
            word, _, number = (watched.in_use or "").partition(" ")
            if word == "process" and number.isdigit():
                others.add(int(number))
        for pid in others - own:
            if self._to_be_asked(pid):
                self._stop_other(pid)

    def _to_be_asked(self, run: Job | int) -> bool:
        """Say whether to ask a run to stop: the first time, and again when that has not helped for long."""
        now = time.monotonic()
        due = now - self._stopped.get(run, -REPEAT_S) >= REPEAT_S
        if due:
            self._stopped[run] = now
        return due

    def _stop_other(self, pid: int) -> None:
        """Ask a run that the window has not started to stop: it would turn RF on again."""
        try:
            asked = interrupt(pid)
        except PermissionError as error:
            self.said.emit(
                "error",
                f"RF OFF: process {pid}, which uses the bench, cannot be stopped from here ({error}): it may turn RF "
                "on again; end it where it was started",
            )
        else:
            if asked:
                self.said.emit("warning", f"RF OFF: process {pid}, which uses the bench, is asked to stop")


def _signature(path: Path) -> Signature | None:
    """Return what changes with a file; None when it is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
