"""Follows a run of another process: the events that it yields, made from its session file while that grows.

Whoever shows a run of its own can show another's just so. Following only reads, and locks nothing.
"""

import errno
import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from labpgt.errors import InputError, StorageFault
from labpgt.events import (
    CONTINUED,
    PAUSED,
    EpochDone,
    Event,
    Measured,
    Purpose,
    RunContinued,
    RunPaused,
    RunStarted,
    RunStopped,
    RunWarning,
    ShotsTaken,
    Status,
    StepDone,
)
from labpgt.session import Session
from labpgt.session.checked import NotReady, reported
from labpgt.session.schema import WARNING_DTYPE

T = TypeVar("T")

SELDOM_S = 0.5
"""Between two looks at what changes rarely: status, warnings, results."""
PATIENCE_S = 2.0
"""A file that is gone, being created or unreadable for longer is worth a word, or an error."""
_PASSING = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENOTCONN, errno.EAGAIN}
"""What a disk of the network says when it cannot be reached for a moment."""
_NAP_S = 0.1
"""The longest time between two questions whether to stop."""


def follow(
    path: Path,
    *,
    interval_s: float = 0.2,
    stop: Callable[[], object] = lambda: None,
    tell: Callable[[str], None] = lambda _: None,
    wait: bool = True,
    resumed: bool = False,
    shots: int = 0,
    steps: int = 1_000_000,
    epochs: int = 1_000_000,
) -> Iterator[Event]:
    """Look at a session every `interval_s` seconds and yield what is new, until the run ends or `stop()` is true.

    The last event is `RunStopped`, with `Status.CRASHED` when the run's process is gone; when `stop` ended the
    following there is none. A file that is missing or being created is waited for, unless `wait` is false. With
    `resumed`, a run that ended in anything but success is waited for as well, until somebody resumes it. A file that
    replaces the one at `path` and holds the same run goes on where that one was; any other run begins with
    `RunStarted`. `tell` gets what a person should know besides the events.

    Of the shots, steps and epochs that are new at one look, the newest `shots`, `steps` and `epochs` are read and
    yielded, and the others passed over; the first look finds steps and epochs of the past, and no shots. There is no
    `Checkpoint`, and of pauses the time of day is not known. The events of one look come in the run's order, the
    warnings and pauses last; what was flushed at the moment of a look may be parted by it.

    Raises `InputError` when the file is not a session, `StorageFault` when it stays unreadable for `PATIENCE_S`.
    """
    door = Door(Path(path), interval_s, stop, tell, wait)
    news = Untold(shots, steps, epochs)
    while (session := door.opened()) is not None:
        with session:
            if started := news.begin(session):
                yield started
            elif door.changed:
                tell("the run was resumed and goes on")
            last = yield from until_the_end(
                session, door, lambda whole, seldom, last: news.look(whole, seldom, last is not None)
            )
        # The file is closed by now: some systems do not replace an open one.
        if last is None:
            continue
        if last.status is Status.SUCCESS or not resumed:
            yield last
            return
        tell(f"the run {_ENDED[last.status]} ({last.reason}); waiting for somebody to resume it")
        door.await_another()


_ENDED = {Status.CRASHED: "crashed", Status.ABORTED: "was aborted", Status.FAILED: "failed"}


def until_the_end(
    session: Session, door: "Door", look: Callable[[Session, bool, RunStopped | None], list[T]]
) -> Generator[T, None, RunStopped | None]:
    """Yield what each look finds; return how the run ended, None to open the file again or to end following.

    `look` gets the session, refreshed, whether it is time for what changes rarely, and how the run ended if it has.
    """
    looked = -np.inf
    suspected = False
    while True:
        seldom = time.monotonic() - looked >= SELDOM_S
        try:
            # Asked before the rows are counted, so that none is missed which came before the end.
            status = session.status if seldom else Status.RUNNING
            session.refresh()
            # A run that is just ending, or being taken up again, can look like a crashed one for a moment.
            over = status is not Status.RUNNING and (status is not Status.CRASHED or suspected)
            last = ending(session, status) if over else None
            found = look(session, seldom, last)
        except StorageFault:
            if not door.bears_it():
                raise
            door.pause()
            return None
        door.failing_since = None
        yield from found
        if last is not None:
            return last
        if seldom:
            looked, suspected = time.monotonic(), status is Status.CRASHED
        if not door.pause() or door.is_another():
            return None


class Door:
    """Where the file is: waits until there is a session, and notices when another file has taken its place."""

    def __init__(
        self,
        path: Path,
        interval_s: float,
        stop: Callable[[], object],
        tell: Callable[[str], None],
        wait: bool,
    ) -> None:
        self.path = path
        self.changed = False
        """Whether the session was in another file when it was opened last."""
        self.failing_since: float | None = None
        self._interval_s = interval_s
        self._stop = stop
        self._tell = tell
        self._wait = wait
        self._opened: tuple[int, int] | None = None
        self._lack, self._since, self._said = "", 0.0, False
        """What is waited for, since when, and whether that was told."""

    def opened(self) -> Session | None:
        """Return the session once there is one; None when following is to stop."""
        refused = False
        while not self._stop():
            place = self._place()
            try:
                if place is not None:
                    session = Session(self.path)
                    # Had the file been replaced before it was opened, the next look would notice.
                    self.changed, self._opened, self._lack = place != self._opened, place, ""
                    return session
                missing = InputError(f"session {self.path} cannot be opened: No such file; check the path")
                if self._opened is None:
                    self._endure(f"{self.path} is not there yet", missing, 0.0)
                else:
                    self._endure(f"{self.path} is gone", missing, PATIENCE_S)
            except NotReady as error:
                self._endure(
                    f"{self.path} is being created, or its writer died before the first shot", error, PATIENCE_S
                )
            except InputError:
                # It may have been empty for an instant, or have gone since: no mistake is told before the second look.
                if refused or place is None:
                    raise
                refused = True
                time.sleep(_NAP_S)
            self.pause()
        return None

    def _endure(self, lack: str, error: InputError, patience_s: float) -> None:
        """Wait for what is lacking, and say so, or raise the error, when it has lacked for so long."""
        if lack != self._lack:
            self._lack, self._since, self._said = lack, time.monotonic(), False
        if self._said or time.monotonic() - self._since < patience_s:
            return
        if not self._wait:
            raise error
        self._tell(f"{lack}; waiting for it")
        self._said = True

    def is_another(self) -> bool:
        """Say whether the file that was opened is no longer the one at the path."""
        return self._place() != self._opened

    def await_another(self) -> None:
        """Return when another file has come to the path, or following is to stop."""
        gone = False
        while self.pause():
            place = self._place()
            # A file system may give the number of a deleted file to the next one.
            if place is not None and (gone or place != self._opened):
                return
            gone = gone or place is None

    def bears_it(self) -> bool:
        """Say whether a file that cannot be read may be tried again."""
        if self.failing_since is None:
            self.failing_since = time.monotonic()
        return time.monotonic() - self.failing_since < PATIENCE_S

    def pause(self) -> bool:
        """Wait until the next look is due; return whether there shall be one."""
        due = time.monotonic() + self._interval_s
        while not self._stop():
            left = due - time.monotonic()
            if left <= 0:
                return True
            time.sleep(min(left, _NAP_S))
        return False

    def _place(self) -> tuple[int, int] | None:
        """Return what tells the file from one that replaces it; None when there is none."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            if self._opened is not None and error.errno in _PASSING:
                return self._opened  # reading it says how long that may last
            raise InputError(f"session {self.path} cannot be opened: {error.strerror}; check the path") from error
        return found.st_dev, found.st_ino


class Untold:
    """What has not been told of a run; it stays so when the run goes on in another file."""

    def __init__(self, shots: int, steps: int, epochs: int) -> None:
        self._most = shots, steps, epochs
        self._run = ""
        self._forget()

    def _forget(self) -> None:
        self._shots = self._steps = self._epochs = self._warnings = 0
        self._results: dict[str, float] | None = {}
        """As of the last look, None once they were told."""

    def begin(self, session: Session) -> RunStarted | None:
        """Return how the run began; None when that is known."""
        # To the microsecond, and kept by whoever resumes the run.
        if session.start_time == self._run:
            return None
        self._forget()
        self._run = session.start_time
        self._shots = session.n_shots
        return RunStarted(
            time=_seconds(session, session.start_time),
            config_toml=session.configuration,
            device=session.device,
            settings=session.settings,
            symbols=session.symbols,
            nodes=session.nodes,
            drive_limits=session.drive_limits,
            parameters=session.n_parameters,
            training_samples=session.training_samples,
            test_samples=session.test_samples,
            targets=session.targets,
            dataset_sha256=session.provenance.get("dataset_sha256", ""),
            planned_shots=session.planned_shots,
        )

    def look(self, session: Session, seldom: bool, over: bool) -> list[Event]:
        """Return what is new in a session that has just been refreshed; everything when the run is `over`."""
        shots, steps, epochs = self._most
        events: list[tuple[tuple[int, int, int, int], Event]] = []
        if shots and session.n_shots > self._shots:
            rows = session.shots(max(self._shots, session.n_shots - shots), session.n_shots)
            events += [(_order(same[0]), ShotsTaken(same)) for same in _alike(rows)]
        if session.n_steps > self._steps:
            rows = session.steps(max(self._steps, session.n_steps - steps), session.n_steps)
            numbers = zip(rows["epoch"].tolist(), rows["step"].tolist(), strict=True)
            events += [((epoch, 0, step, 1), StepDone(rows[i, ...])) for i, (epoch, step) in enumerate(numbers)]
        if session.n_epochs > self._epochs:
            rows = session.epochs(max(self._epochs, session.n_epochs - epochs), session.n_epochs)
            events += [((epoch, 2, 0, 0), EpochDone(rows[i, ...])) for i, epoch in enumerate(rows["epoch"].tolist())]
        warnings = session.warning_rows()[self._warnings :] if seldom or over else np.empty(0, WARNING_DTYPE)
        measured = self._measured(session, seldom, over)
        # Only now, when nothing more can fail: what could not be read is looked for again.
        self._warnings += len(warnings)
        self._shots = max(self._shots, session.n_shots)
        self._steps = max(self._steps, session.n_steps)
        self._epochs = max(self._epochs, session.n_epochs)
        in_order = [event for _, event in sorted(events, key=lambda keyed: keyed[0])]
        return [*measured, *in_order, *_warned(warnings, session.n_shots)]

    def _measured(self, session: Session, seldom: bool, over: bool) -> list[Event]:
        """Return what was measured before training, once, when all of it is there."""
        training = session.n_steps > 0
        if self._results is None or not (seldom or over or training):
            return []
        found = session.results
        # The numbers come into the file one by one.
        whole = training or over or found == self._results
        told = whole and "response_noise" in found
        self._results = None if told else found
        return [Measured(found)] if told else []


def _warned(rows: NDArray[np.void], shots: int) -> Iterator[Event]:
    """Yield the events that the writer has made these warnings of.

    A run that ends while it is paused leaves no word of going on, when it is resumed later: with shots after it, a
    pause that was the last is over, and told as a warning.
    """
    texts = [row["message"].decode("utf-8", "replace") for row in rows]
    for number, text in enumerate(texts):
        goes_on = any(later.startswith(CONTINUED) for later in texts[number + 1 :])
        over = 0 <= rows["shot"][number] < shots and not goes_on
        yield RunWarning(text) if text.startswith(PAUSED) and over else _warning(text)


def _warning(text: str) -> Event:
    if text.startswith(PAUSED):
        return RunPaused(math.nan, text.removeprefix(PAUSED))
    if text.startswith(CONTINUED):
        with suppress(ValueError):
            return RunContinued(math.nan, float(text.removeprefix(CONTINUED).removesuffix(" s")))
    return RunWarning(text)


def _order(shot: np.void) -> tuple[int, int, int, int]:
    """Where a shot comes among steps and epochs: before its step, or after all steps of its epoch."""
    training = shot["purpose"] == Purpose.TRAIN
    return int(shot["epoch"]), 0 if training else 1, int(shot["step"]), 0


def _alike(rows: NDArray[np.void]) -> list[NDArray[np.void]]:
    """Part shots where purpose, epoch or step change."""
    change = np.zeros(len(rows) - 1, bool)
    for name in ("purpose", "epoch", "step"):
        change |= rows[name][1:] != rows[name][:-1]
    return np.split(rows, np.flatnonzero(change) + 1)


def ending(session: Session, status: Status) -> RunStopped:
    """Return how a run has ended, as its last event says it."""
    end = session.end_time
    with reported(session.path, StorageFault, "asking for the time of the last write"):
        written = session.path.stat().st_mtime
    return RunStopped(
        status=status,
        reason=session.reason or ("its process is gone" if status is Status.CRASHED else ""),
        time=_seconds(session, end) if end else written,
        results=session.results,
        parameters_sha256=session.parameters_sha256,
    )


def _seconds(session: Session, moment: str) -> float:
    """Return an ISO 8601 time in seconds since 1970."""
    with reported(session.path, StorageFault, f"reading the time {moment!r}"):
        return datetime.fromisoformat(moment).timestamp()
