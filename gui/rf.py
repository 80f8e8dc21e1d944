"""RF of everything the window knows of: how it stands, and turning it off from any state."""

import os
import signal
import time
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Any

import psutil
from PyQt6.QtCore import QObject, QTimer, pyqtSignal

from gui.jobs import Jobs
from gui.sentinel import Sentinel

PERSIST_S = 15.0
"""How long RF that comes on again after it was turned off is turned off again: a run may just be at it."""
AGAIN_MS = 250


class Rf(StrEnum):
    """How the RF of all benches stands: the worst of them."""

    NO_BENCH = "no bench"
    OFF = "off"
    ON = "on"
    TURNING_OFF = "turning off"
    IN_DOUBT = "in doubt"


class RfControl(QObject):
    """One sentinel for each bench in use."""

    changed = pyqtSignal()
    said = pyqtSignal(str, str)
    """A level and a text, for the log and the banner."""

    def __init__(self, jobs: Jobs) -> None:
        super().__init__()
        self._jobs = jobs
        self._sentinels: dict[Path, Sentinel] = {}
        self._found: dict[Path, dict[str, Any]] = {}
        self._asked_until = 0.0
        self._waiting: set[Path] = set()
        self._stopped: set[int] = set()
        self._again = QTimer(self)
        self._again.setInterval(AGAIN_MS)
        self._again.timeout.connect(self._see_to_it)

    @property
    def benches(self) -> list[Path]:
        """The benches that are watched over."""
        return list(self._sentinels)

    @property
    def state(self) -> Rf:
        """How the RF stands."""
        if not self._sentinels:
            return Rf.NO_BENCH
        states = {str(self._found.get(bench, {}).get("rf", "unknown")) for bench in self._sentinels}
        if self._again.isActive() and states != {"off"}:
            return Rf.TURNING_OFF
        if "unknown" in states:
            return Rf.IN_DOUBT
        return Rf.ON if "on" in states else Rf.OFF

    @property
    def detail(self) -> str:
        """What is known besides: who has the bench, what went wrong."""
        lines = []
        for bench, found in self._found.items():
            if found.get("in_use"):
                lines.append(f"{bench.name}: in use by {found['in_use']}")
            lines += [f"{bench.name}: {problem}" for problem in found.get("problems", [])]
        return "\n".join(lines)

    def found(self, bench: Path) -> dict[str, Any]:
        """Return what was last seen of a bench."""
        return self._found.get(bench.resolve(), {})

    def watch_over(self, bench: Path) -> None:
        """Keep a sentinel for this bench from now on."""
        bench = bench.resolve()
        if bench in self._sentinels:
            return
        sentinel = Sentinel(bench)
        sentinel.looked.connect(lambda found: self._take(bench, found))
        sentinel.turned_off.connect(lambda answer: self._answered(bench, answer))
        self._sentinels[bench] = sentinel
        self.changed.emit()

    def leave(self, bench: Path) -> None:
        """Watch over this bench no longer."""
        bench = bench.resolve()
        sentinel = self._sentinels.pop(bench, None)
        self._found.pop(bench, None)
        self._waiting.discard(bench)
        if sentinel is not None:
            sentinel.close()
        self.changed.emit()

    def turn_off(self) -> None:
        """Turn RF off on every bench, and stop whatever uses one: in that order of urgency, and until it is so."""
        for sentinel in self._sentinels.values():
            self._waiting.add(sentinel.bench)
            sentinel.turn_off()
        self._stopped = set()
        for job in self._jobs.working:
            job.stop()
        self._stop_others()
        self._asked_until = time.monotonic() + PERSIST_S
        self._again.start()
        self.said.emit("warning", "RF OFF: RF is being turned off, and every run of this window is asked to stop")
        self.changed.emit()

    def close(self) -> None:
        """Let the sentinels leave."""
        self._again.stop()
        for bench in self.benches:
            self.leave(bench)

    def _take(self, bench: Path, found: dict[str, Any]) -> None:
        if bench in self._sentinels and found != self._found.get(bench):
            self._found[bench] = found
            self.changed.emit()

    def _answered(self, bench: Path, answer: dict[str, Any]) -> None:
        self._waiting.discard(bench)
        if answer["off"] and not answer.get("problems"):
            self._found[bench] = {**self._found.get(bench, {}), "rf": "off", "problems": []}
            self.said.emit("info", f"RF of {bench.name} is off, as its instruments say")
        else:
            problems = "; ".join(answer.get("problems", [])) or "the source did not say so"
            self.said.emit("error", f"RF of {bench.name} may be on: {problems}. Switch it off at the instrument")
            self._found[bench] = {**self._found.get(bench, {}), "rf": "unknown", "problems": answer["problems"]}
        self.changed.emit()

    def _see_to_it(self) -> None:
        """Turn off again what has come on again, until nobody uses the bench."""
        self._stop_others()
        for bench, sentinel in self._sentinels.items():
            if self._found.get(bench, {}).get("rf") == "on" and bench not in self._waiting:
                self._waiting.add(bench)
                sentinel.turn_off()
        quiet = not any(found.get("in_use") for found in self._found.values()) and not self._waiting
        if (quiet and not self._jobs.working) or time.monotonic() > self._asked_until:
            self._again.stop()
            self.changed.emit()

    def _stop_others(self) -> None:
        """Ask runs that the window has not started to stop: they would turn RF on again."""
        own = {job.pid for job in self._jobs.working}
        for found in self._found.values():
            words = str(found.get("in_use") or "").split()
            if len(words) != 2 or not words[1].isdigit() or int(words[1]) in own | self._stopped:
                continue
            pid = int(words[1])
            with suppress(psutil.Error, OSError):
                command = " ".join(psutil.Process(pid).cmdline())
                if "labpgt" in command or "procedures" in command:
                    os.kill(pid, signal.SIGINT if os.name == "posix" else signal.SIGTERM)
                    self._stopped.add(pid)
                    self.said.emit("warning", f"RF OFF: process {pid}, which uses the bench, is asked to stop")
