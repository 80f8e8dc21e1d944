"""One session that is open: its shots are read in a thread, whoever writes the file and whatever becomes of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PyQt6.QtCore import QObject, QTimer, pyqtSignal

from gui.replay.catalogue import sections
from gui.replay.worker import Worker
from labpgt.device import Setting
from labpgt.errors import InputError, LabpgtError, StorageFault
from labpgt.events import Purpose, Status
from labpgt.insight import Perturbation, Perturbations, difference_noise, pair_of, update_of
from labpgt.session import Session

LOOK_MS = 500
_SOME_S = 0.03
"""After so long, going through the shots gives way to what a person asks."""
_BLOCK_BYTES = 4 << 20


class Choice(Enum):
    """Which shots are gone through."""

    ALL = "all shots"
    TRAINING = "training"
    CALIBRATION = "calibration"
    BASELINE = "baseline"
    EVALUATION = "evaluation"
    FLAGGED = "flagged"


_PURPOSES = {
    Choice.TRAINING: Purpose.TRAIN,
    Choice.CALIBRATION: Purpose.CALIBRATION,
    Choice.BASELINE: Purpose.BASELINE,
    Choice.EVALUATION: Purpose.EVALUATION,
}


@dataclass(frozen=True)
class Overview:
    """What never changes in a session, and how it stood at the last look."""

    path: Path
    status: Status
    reason: str
    shots: int
    device: str
    configuration: dict[str, dict[str, Any]] = field(repr=False)
    settings: dict[str, Setting] = field(repr=False)
    drive_limits: tuple[float, float]
    started: float
    """Seconds since 1970."""
    noise: float | None
    """Of L+ - L-, see `labpgt.insight.difference_noise`."""
    trouble: str
    """What is wrong with the file now, for a person; empty when nothing is."""


@dataclass(frozen=True)
class ShotView:
    """One shot with all that belongs to it."""

    index: int
    row: np.void
    other: np.void | None
    perturbation: Perturbation | None
    update: np.void | None


class OpenSession(QObject):
    """Opens a session in its thread and tells what it finds; `close` it when it is no longer shown."""

    opened = pyqtSignal(object)
    """The first `Overview`."""
    looked = pyqtSignal(object)
    """An `Overview`, every half second."""
    shown = pyqtSignal(object)
    """A `ShotView` that was asked for."""
    chosen = pyqtSignal(object, float)
    """Numbers of the shots of the choice, (n,), or None for all; and the share of the file that was gone through."""
    refused = pyqtSignal(str)
    """The file cannot be opened, and why."""
    failed = pyqtSignal(int, str)
    """A shot that cannot be read, and why."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.overview: Overview | None = None
        self._choice = Choice.ALL
        self._reader = _Reader(path)
        self._worker = Worker(f"session {path.name}", self._reader.close)
        self._worker.ask("open", self._reader.open, self._opened, self.refused.emit)
        self._timer = QTimer(self)
        self._timer.setInterval(LOOK_MS)
        self._timer.timeout.connect(self._look)

    def show(self, index: int) -> None:
        """Have a shot read; the latest that was asked for is shown."""
        failed: Callable[[str], None] = lambda why: self.failed.emit(index, why)  # noqa: E731
        self._worker.ask("shot", lambda: self._reader.shot(index), self.shown.emit, failed)

    def choose(self, choice: Choice) -> None:
        """Have the shots of a choice looked for."""
        self._choice = choice
        if choice is Choice.ALL:
            self.chosen.emit(None, 1.0)
        else:
            self._go_through()

    def close(self) -> None:
        """Let the thread close the file."""
        self._timer.stop()
        self._worker.close()

    def _opened(self, overview: Overview) -> None:
        self.overview = overview
        self.opened.emit(overview)
        self._timer.start()

    def _look(self) -> None:
        self._worker.ask("look", self._reader.look, self._has_looked, lambda why: None)

    def _has_looked(self, overview: Overview) -> None:
        grown = self.overview is None or overview.shots != self.overview.shots
        self.overview = overview
        self.looked.emit(overview)
        if grown and self._choice is not Choice.ALL:
            self._go_through()

    def _go_through(self) -> None:
        choice = self._choice
        if choice is not Choice.ALL:
            self._worker.ask(
                "choose",
                lambda: self._reader.go_through(choice),
                self._gone_through,
                lambda why: self.failed.emit(-1, why),
            )

    def _gone_through(self, found: tuple[Choice, NDArray[np.int64], float]) -> None:
        choice, numbers, share = found
        if choice is self._choice:
            self.chosen.emit(numbers, share)
        if share < 1:
            self._go_through()


class _Reader:
    """The file, in the hands of one thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._session: Session | None = None
        self._place: tuple[int, int] | None = None
        self._mark: tuple[int, int, int] | None = None
        self._perturbations: Perturbations | None = None
        self._noise: float | None = None
        self._calibrated = False
        self._last: Overview | None = None
        self._trouble = ""
        self._purposes = np.zeros(0, np.uint8)
        self._flags = np.zeros(0, np.uint8)
        self._indexed = 0

    def open(self) -> Overview:
        self._session = Session(self._path)
        stat = self._session.stat()
        self._place = stat.st_dev, stat.st_ino
        try:
            self._perturbations = Perturbations(self._session)
        except LabpgtError:
            self._perturbations = None  # its configuration is no run's: the shots can be seen all the same
        self._last = self._overview()
        return self._last

    def close(self) -> None:
        if self._session is not None:
            self._session.close()

    def look(self) -> Overview:
        """See what has become of the file and of the run."""
        assert self._last is not None
        self._trouble = ""
        try:
            changed = self._reopen_if_replaced()
            if changed or self._last.status is Status.RUNNING:
                self._there.refresh()
                self._last = self._overview()
            self._last = replace(self._last, trouble=self._trouble)
            return self._last
        except LabpgtError as error:
            return replace(self._last, trouble=str(error))

    def _reopen_if_replaced(self) -> bool:
        """Go on in the file that a resumed run continues in: it takes the place of the one that is open.

        Return whether the file is another one, or has been written to since the last look.
        """
        try:
            found = self._path.stat()
        except FileNotFoundError:
            self._trouble = (
                f"{self._path.name} was deleted or moved away while it is open here: what is shown is still read from "
                "it, and is gone when it is closed"
            )
            return False
        except OSError as error:
            raise InputError(f"{self._path} cannot be looked at: {error.strerror}") from error
        if (found.st_dev, found.st_ino) != self._place:
            session = Session(self._path)
            self._indexed = 0  # shots that were torn have been taken again
            self._session, old = session, self._there
            self._place = found.st_dev, found.st_ino
            old.close()
            self._perturbations, self._calibrated = Perturbations(session), False
        mark = found.st_ino, found.st_mtime_ns, found.st_size
        self._mark, before = mark, self._mark
        return mark != before

    @property
    def _there(self) -> Session:
        assert self._session is not None
        return self._session

    def _overview(self) -> Overview:
        session = self._there
        if not self._calibrated:
            self._calibrated = session.n_steps > 0
            try:
                self._noise = difference_noise(session)
            except StorageFault:
                self._noise = None  # a shot of the calibration is damaged: the others can be seen all the same
        return Overview(
            path=self._path,
            status=session.status,
            reason=session.reason,
            shots=session.n_shots,
            device=session.device,
            configuration=sections(session.configuration),
            settings=session.settings,
            drive_limits=session.drive_limits,
            started=datetime.fromisoformat(session.start_time).timestamp(),
            noise=self._noise,
            trouble=self._trouble,
        )

    def shot(self, index: int) -> ShotView:
        session = self._there
        row = session.shots(index, index + 1)[0]
        other = pair_of(session, row)
        perturbation = None if self._perturbations is None else self._perturbations.of(row, other)
        return ShotView(index, row, other, perturbation, update_of(session, row))

    def go_through(self, choice: Choice) -> tuple[Choice, NDArray[np.int64], float]:
        """Read on for a moment; return the shots of the choice that were found, and how far it got."""
        session, until = self._there, time.monotonic() + _SOME_S
        total = session.n_shots
        if len(self._purposes) < total:
            room = np.zeros(total + total // 4 - len(self._purposes), np.uint8)
            self._purposes, self._flags = np.append(self._purposes, room), np.append(self._flags, room)
        block = max(1, min(1024, _BLOCK_BYTES // session.shots(0, 0).dtype.itemsize))
        while self._indexed < total and time.monotonic() < until:
            rows = session.shots(self._indexed, min(self._indexed + block, total))
            here = slice(self._indexed, self._indexed + len(rows))
            self._purposes[here] = rows["purpose"]
            self._flags[here] = np.minimum(rows["flags"], 255)
            self._indexed += len(rows)
        done = slice(0, self._indexed)
        wanted = self._flags[done] != 0 if choice is Choice.FLAGGED else self._purposes[done] == _PURPOSES[choice]
        return choice, np.flatnonzero(wanted), self._indexed / total if total else 1.0
