"""Follows a run of another process by the thousand: what `labpgt.follow` yields event by event, as arrays.

For whoever draws. A long past is shown at once by a sample, and then read whole, a little between two looks, so that
what is new comes as soon as ever.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labpgt.errors import StorageFault
from labpgt.events import EPOCH_DTYPE, STEP_DTYPE, Event, RunStopped, Status, shot_dtype
from labpgt.follow import PATIENCE_S, Door, Untold, until_the_end
from labpgt.session import Session
from labpgt.session.schema import chunk_rows

Rows = NDArray[np.void]

MARK_DTYPE = np.dtype([("time", "<f8"), ("flags", "<u4")])
"""Of a shot: when it was taken, and what it suffered from (`labpgt.events.Flag`)."""
SHORT = 4096
"""A past of no more rows is read at once."""
_BLOCK = 4096
"""Most rows read in one go."""
_BLOCK_BYTES = 4 << 20
_SAMPLES = {"steps": 160, "epochs": 64, "marks": 64}
"""Blocks that are sampled of a long table."""
_SAMPLE_BYTES = 32 << 20
_WHOLE_BYTES = 32 << 20
_READING_S = 0.012
"""Time given to the past between two looks."""
_CATCHING_UP_S = 0.1
"""Most time given to what is new at one look, before it is told."""


@dataclass(frozen=True)
class Part:
    """Some rows of a run, in its order: of `STEP_DTYPE`, `EPOCH_DTYPE` and `MARK_DTYPE`, each (n,)."""

    steps: Rows = field(default_factory=lambda: np.empty(0, STEP_DTYPE))
    epochs: Rows = field(default_factory=lambda: np.empty(0, EPOCH_DTYPE))
    marks: Rows = field(default_factory=lambda: np.empty(0, MARK_DTYPE))

    def __bool__(self) -> bool:
        return bool(len(self.steps) or len(self.epochs) or len(self.marks))


@dataclass(frozen=True)
class News:
    """What one look has found.

    A run that had a long past when following began is told twice: `sample` and all that is `new`, to be shown at once;
    and `past`, from the first row on, which is the whole run when `caught_up`. From then on there is only `new`.
    """

    events: Sequence[Event] = ()
    """`RunStarted` when a run begins, `Measured`, warnings and pauses, `RunStopped` at its end; no rows."""
    sample: Part = field(default_factory=Part)
    """Evenly taken from the past; once."""
    new: Part = field(default_factory=Part)
    """What has come since following began, each row once."""
    past: Part = field(default_factory=Part)
    caught_up: bool = False
    """Whether `past` and what came of it before are all there is; said once."""
    shots: Rows | None = None
    """The newest of the new shots, whole: rows of `labpgt.events.shot_dtype`."""
    n_shots: int = 0
    n_steps: int = 0
    n_epochs: int = 0
    share_read: float = 1.0
    """How much of the run `past` has reached."""


def follow_rows(
    path: Path,
    *,
    interval_s: float = 0.033,
    stop: Callable[[], object] = lambda: None,
    tell: Callable[[str], None] = lambda _: None,
    shots: int = 256,
) -> Iterator[News]:
    """Look at a session every `interval_s` seconds and yield what is new, until it has ended well or `stop()` is true.

    A file that is missing, being created or unreadable is waited for, and so is somebody who resumes a run that ended
    in anything but success, as `labpgt.follow.follow` does it. Of the new shots the newest `shots` are yielded whole,
    or as many as fit into 32 MiB.

    Damaged shots are left out, and `tell` says how many. Raises `InputError` when the file is not a session,
    `StorageFault` when it stays unreadable.
    """
    door = Door(Path(path), interval_s, stop, tell, True)
    reader = _Reader(shots)
    while (session := door.opened()) is not None:
        with session:
            if not reader.begin(session) and door.changed:
                tell("the run was resumed and goes on")
            last = yield from until_the_end(session, door, reader.look)
            while last is not None and reader.behind and door.pause() and not door.is_another():
                yield reader.read_on(session, damaged=True)
            if reader.left_out:
                tell(f"{reader.left_out} damaged shots of the record are left out; labpgt replay --verify names them")
                reader.left_out = 0
        # The file is closed by now: some systems do not replace an open one.
        if last is not None:
            if last.status is Status.SUCCESS:
                return
            door.await_another()


class _Reader:
    """Which rows have been told; it stays so when the run goes on in another file."""

    def __init__(self, shots: int) -> None:
        self._most = shots
        self._untold = Untold(0, 0, 0)
        self._begun: list[Event] = []
        self._first = True
        self._new = {"steps": 0, "epochs": 0, "marks": 0}
        self._past = dict.fromkeys(self._new, 0)
        self.behind = False
        """Whether rows are left that `past` has not told."""
        self.left_out = 0
        """Shots that were left out, for they are damaged."""
        self._failing_since: float | None = None

    def begin(self, session: Session) -> bool:
        """Take up a session that was opened; return whether it is another run than before."""
        started = self._untold.begin(session)
        if started is None:
            return False
        self._begun, self._first, self.behind = [started], True, False
        return True

    def look(self, session: Session, seldom: bool, last: RunStopped | None) -> list[News]:
        """Return what is new; everything when the run has ended.

        What cannot be read may be on its way to the disk: `StorageFault`, to be looked at again. Damaged shots, which
        stay so, are left out.
        """
        long_ago = time.monotonic() - PATIENCE_S / 2
        damaged = last is not None or (self._failing_since is not None and self._failing_since < long_ago)
        before = self._first, dict(self._new), dict(self._past), self.behind, self.left_out
        try:
            found = self._look(session, seldom, last, damaged)
        except StorageFault:
            # Nothing of this look is told, whatever was read before it failed.
            self._first, self._new, self._past, self.behind, self.left_out = before
            if self._failing_since is None:
                self._failing_since = time.monotonic()
            raise
        self._failing_since = None
        return found

    def _look(self, session: Session, seldom: bool, last: RunStopped | None, damaged: bool) -> list[News]:
        there = _lengths(session)
        found: list[News] = []
        if self._first:
            found.append(self._first_look(session, there, damaged))
        found += self._rest_of(session, there, last is not None, damaged)
        if self.behind and last is None:
            found.append(self.read_on(session, damaged))
        rare = self._untold.look(session, seldom, last is not None)
        # The beginning has to be known before the first rows, and the end after the last.
        if self._begun:
            found.insert(0, replace(_counted(there), events=self._begun))
            self._begun = []
        if events := [*rare, *([last] if last is not None else [])]:
            found.append(replace(_counted(there), events=events))
        return found

    def _read(self, session: Session, name: str, start: int, stop: int, damaged: bool) -> Rows:
        """Read rows; with `damaged`, without the shots that are."""
        rows = _read(session, name, start, stop, damaged and name == "marks")
        self.left_out += stop - start - len(rows) if damaged else 0
        return rows

    def _first_look(self, session: Session, there: dict[str, int], damaged: bool) -> News:
        """Return a sample of a long past, or nothing: what is short is new as a whole."""
        self._past = dict.fromkeys(there, 0)
        self.behind = max(there.values()) > SHORT
        if not self.behind:
            self._first = False
            self._new = dict.fromkeys(there, 0)
            return _counted(there)
        sample = Part(**{name: _sampled(session, name, length, damaged) for name, length in there.items()})
        first = max(0, there["marks"] - self._whole(session))
        shots = _read(session, "marks", first, there["marks"], damaged)
        # Only now, when nothing more can fail.
        self._first, self._new = False, dict(there)
        return replace(_counted(there), sample=sample, shots=shots, share_read=0.0)

    def _rest_of(self, session: Session, there: dict[str, int], everything: bool, damaged: bool) -> list[News]:
        """Return the rows that have come since the last look, block by block."""
        found = []
        began = time.monotonic()
        while any(there[name] > self._new[name] for name in there):
            if not everything and time.monotonic() - began > _CATCHING_UP_S:
                break
            part: dict[str, Rows] = {}
            reached: dict[str, int] = {}
            shots = None
            for name, length in there.items():
                start, stop = self._new[name], min(length, self._new[name] + _block(session, name))
                if stop <= start:
                    continue
                rows = self._read(session, name, start, stop, damaged)
                if name == "marks":
                    shots = rows[-self._whole(session) :]
                    rows = _marks(rows)
                part[name], reached[name] = rows, stop
            # Only now, when nothing more can fail: what could not be read is looked for again.
            self._new |= reached
            found.append(replace(_counted(there), new=Part(**part), shots=shots))
        return found

    def read_on(self, session: Session, damaged: bool) -> News:
        """Read some of the past; with `damaged`, without the shots that are."""
        began = time.monotonic()
        there = dict(self._new)
        parts: dict[str, list[Rows]] = {name: [] for name in there}
        while any(self._past[name] < there[name] for name in there):
            # The one that is furthest behind, so that all of them grow together.
            name = min(there, key=lambda name: self._past[name] / max(1, there[name]))
            start, stop = self._past[name], min(there[name], self._past[name] + _block(session, name))
            rows = self._read(session, name, start, stop, damaged)
            parts[name].append(_marks(rows) if name == "marks" else rows)
            self._past[name] = stop
            if time.monotonic() - began > _READING_S:
                break
        self.behind = any(self._past[name] < there[name] for name in there)
        past = Part(**{name: np.concatenate(rows) for name, rows in parts.items() if rows})
        done = sum(self._past.values()) / max(1, sum(there.values()))
        return replace(_counted(there), past=past, caught_up=not self.behind, share_read=done)

    def _whole(self, session: Session) -> int:
        size = shot_dtype(session.symbols, session.nodes).itemsize
        return max(1, min(self._most, _WHOLE_BYTES // size))


def _lengths(session: Session) -> dict[str, int]:
    return {"steps": session.n_steps, "epochs": session.n_epochs, "marks": session.n_shots}


def _counted(there: dict[str, int]) -> News:
    return News(n_shots=there["marks"], n_steps=there["steps"], n_epochs=there["epochs"])


def _dtype(session: Session, name: str) -> np.dtype[np.void]:
    return shot_dtype(session.symbols, session.nodes) if name == "marks" else _DTYPES[name]


_DTYPES = {"steps": STEP_DTYPE, "epochs": EPOCH_DTYPE}


def _block(session: Session, name: str) -> int:
    return max(1, min(_BLOCK, _BLOCK_BYTES // _dtype(session, name).itemsize))


def _read(session: Session, name: str, start: int, stop: int, around: bool) -> Rows:
    """Read rows; with `around`, those that can be read."""
    read = {"steps": session.steps, "epochs": session.epochs, "marks": session.shots}[name]
    try:
        return read(start, stop)
    except StorageFault:
        if not around:
            raise
    if stop - start == 1:
        return np.empty(0, _dtype(session, name))
    middle = (start + stop) // 2
    return np.concatenate([_read(session, name, *part, around) for part in ((start, middle), (middle, stop))])


def _marks(shots: Rows) -> Rows:
    marks = np.empty(len(shots), MARK_DTYPE)
    for name in MARK_DTYPE.names or ():
        marks[name] = shots[name]
    return marks


def _sampled(session: Session, name: str, length: int, damaged: bool) -> Rows:
    """Return blocks of rows, evenly taken from a table; the first and the last row are among them."""
    dtype = _dtype(session, name)
    block = chunk_rows(dtype)
    blocks = max(8, min(_SAMPLES[name], _SAMPLE_BYTES // (block * dtype.itemsize)))
    if length <= blocks * block:
        starts = np.arange(0, length, block)
    else:
        starts = np.unique(np.linspace(0, (length - 1) // block, blocks).astype(int) * block)
    around = damaged and name == "marks"
    read = [_read(session, name, int(start), min(int(start) + block, length), around) for start in starts]
    rows = np.concatenate(read) if read else np.empty(0, dtype)
    return _marks(rows) if name == "marks" else rows
