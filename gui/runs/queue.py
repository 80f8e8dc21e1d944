"""The queue: runs in their order, so many at a time, the next when one has ended well."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import tomlkit
from PyQt6.QtCore import QAbstractListModel, QMimeData, QModelIndex, Qt, QTimer, pyqtSignal

from gui.form.form import Values
from gui.form.reading import InThread, configuration_in
from gui.jobs import Job, JobState
from gui.lab import Lab
from gui.own_code import allowing
from gui.runs.entry import ADVICE, RESUME, RETRY, SHAPES, Entry
from gui.runs.store import Store
from gui.tail import RUN
from labpgt.events import Status
from labpgt.session import Session

RUNS = ("train", "resume")
"""Commands whose jobs are runs of the queue, whoever has started them."""
MEASUREMENTS = ("characterize", "calibrate", "sweep", "bench")
"""Commands that have a device for themselves too."""
_MIME = "application/x-labpgt-run"
_FOUND_AGAIN_MS = 1000
"""After which a run that went on when the last window closed, and has no job now, is looked for in its session."""
_HOLDING = (3, 5)
"""Exit codes (device fault, storage fault) after which the next run would most likely meet the same."""


class RunQueue(QAbstractListModel):
    """Entries in order, as a Qt model. The next one starts when fewer than `at_once` go on, unless the queue is held.

    It is held after a run that was stopped, after RF OFF, and after a fault of device or disk.
    """

    held_changed = pyqtSignal()

    def __init__(self, lab: Lab) -> None:
        super().__init__()
        self._lab = lab
        self._entries: list[Entry] = []
        self._stood: dict[Entry, JobState] = {}
        """How each stood when that was last looked at: progress alone starts nothing."""
        self._store = Store(lab.state.queue)
        self.at_once = 1
        self.held = False
        self.why_held = ""
        self._let: set[Entry] = set()
        """Entries that start although the queue is held: somebody has asked for just these."""
        self.times_held = 0
        """Whoever decides something now and does it later sees by this whether the queue was held in between."""
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(0)
        self._soon.timeout.connect(self._go_on)
        self._restore()
        for job in lab.jobs:
            self._adopt(job)
        lab.jobs.started.connect(self._adopt)
        lab.rf.asked.connect(self._rf_off_asked)
        QTimer.singleShot(_FOUND_AGAIN_MS, self._look_after_lost)

    # What Qt asks.

    def rowCount(self, parent: QModelIndex | None = None) -> int:  # noqa: N802  (Qt's name)
        """Return the number of entries."""
        return 0 if parent is not None and parent.isValid() else len(self._entries)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return an entry (user role), or what a screen reader or a tooltip says of it."""
        if not index.isValid():
            return None
        entry = self._entries[index.row()]
        if role == Qt.ItemDataRole.UserRole:
            return entry
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole):
            return "; ".join(
                [f"{SHAPES[entry.standing]} {entry.doing}", entry.title, *(text for text, _ in entry.words)]
            )
        if role == Qt.ItemDataRole.ToolTipRole:
            lines = [f"{key}: {value}" for key, value in flat(entry.config).items()]
            said = [entry.why] if entry.why else []
            return "\n".join([*said, str(entry.session or "no session file yet"), *lines])
        return None

    def flags(self, index: QModelIndex) -> Qt.ItemFlag:
        """Say that entries can be dragged, and dropped between others."""
        flags = super().flags(index)
        return flags | (Qt.ItemFlag.ItemIsDragEnabled if index.isValid() else Qt.ItemFlag.ItemIsDropEnabled)

    def supportedDropActions(self) -> Qt.DropAction:  # noqa: N802  (Qt's name)
        """Entries are moved."""
        return Qt.DropAction.MoveAction

    def mimeTypes(self) -> list[str]:  # noqa: N802  (Qt's name)
        """Return the one type that is dragged."""
        return [_MIME]

    def mimeData(self, indexes: Any) -> QMimeData:  # noqa: N802  (Qt's name)
        """Return the place of the entry that is dragged."""
        data = QMimeData()
        data.setData(_MIME, str(next(iter(indexes)).row()).encode())
        return data

    def dropMimeData(  # noqa: N802  (Qt's name)
        self, data: QMimeData | None, action: Qt.DropAction, row: int, column: int, parent: QModelIndex
    ) -> bool:
        """Move an entry to where it was dropped."""
        if data is None or not data.hasFormat(_MIME):
            return False
        at = row if row >= 0 else len(self._entries)
        source = int(bytes(data.data(_MIME).data()))
        self.move(self._entries[source], at - (source < at))
        return False  # nothing is left for the view to remove

    # What a person asks.

    @property
    def entries(self) -> list[Entry]:
        """All entries, in order."""
        return list(self._entries)

    @property
    def going(self) -> list[Entry]:
        """Entries that a process is at."""
        return [entry for entry in self._entries if entry.standing.going]

    def index_of(self, entry: Entry) -> QModelIndex:
        """Return where an entry is."""
        return self.index(self._entries.index(entry)) if entry in self._entries else QModelIndex()

    def add(self, entries: Sequence[Entry], *, next_one: bool = False) -> None:
        """Have more runs wait: at the end, or before the others that wait."""
        waiting = [n for n, entry in enumerate(self._entries) if entry.standing is JobState.WAITING]
        at = waiting[0] if next_one and waiting else len(self._entries)
        self._insert(at, entries)
        self._soon.start()

    def remove(self, entry: Entry) -> bool:
        """Take out an entry that is not going; its session stays. Return whether it was."""
        if entry not in self._entries or entry.standing.going:
            return False
        at = self._entries.index(entry)
        self.beginRemoveRows(QModelIndex(), at, at)
        del self._entries[at]
        self._stood.pop(entry, None)
        self.endRemoveRows()
        self._soon.start()
        return True

    def move(self, entry: Entry, to: int) -> None:
        """Move an entry to another place."""
        at, to = self._entries.index(entry), max(0, min(to, len(self._entries) - 1))
        if to == at:
            return
        self.beginMoveRows(QModelIndex(), at, at, QModelIndex(), to + (to > at))
        self._entries.insert(to, self._entries.pop(at))
        self.endMoveRows()
        self._soon.start()

    def again(self, entry: Entry, *, resume: bool, allowed: Sequence[str] = ()) -> None:
        """Have a run that is over wait once more: to go on in its session, or to begin anew in another.

        `allowed` are the names of a person's own code that the session may import this time.
        """
        if not entry.standing.over:
            return
        entry.resume, entry.allowed = resume, list(allowed)
        if not resume:
            entry.session = None
            # The place that it asked for is taken, by what is to be kept of it.
            session = {key: value for key, value in entry.config.get("session", {}).items() if key != "file"}
            entry.config = {**entry.config, "session": session} if "session" in entry.config else entry.config
        entry.results = {}
        entry.settle(JobState.WAITING)
        self.let(entry)

    def hold(self, why: str = "") -> None:
        """Start no further run until the queue is released; what goes on goes on."""
        self.held, self.why_held = True, why
        self.times_held += 1
        self._let = set()
        self.held_changed.emit()

    def let(self, entry: Entry) -> None:
        """Have this entry start as soon as there is room, also while the queue is held."""
        self._let.add(entry)
        self._soon.start()

    def release(self) -> None:
        """Start further runs."""
        self.held, self.why_held = False, ""
        self.held_changed.emit()
        self._soon.start()

    def allow(self, at_once: int) -> None:
        """Let so many runs go at the same time."""
        self.at_once = at_once
        self._soon.start()

    # What goes by itself.

    def _insert(self, at: int, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        for entry in entries:
            entry.changed.connect(partial(self._tell, entry))
            entry.ended.connect(partial(self._ended, entry))
        self.beginInsertRows(QModelIndex(), at, at + len(entries) - 1)
        self._entries[at:at] = entries
        self.endInsertRows()

    def _tell(self, entry: Entry) -> None:
        index = self.index_of(entry)
        if not index.isValid():
            return
        self.dataChanged.emit(index, index)
        if self._stood.get(entry) is not entry.standing:
            self._stood[entry] = entry.standing
            self._soon.start()

    def _ended(self, entry: Entry) -> None:
        level = "info" if entry.standing is JobState.DONE else "warning"
        told = f"{entry.title}: {entry.doing}"
        self._lab.notice(level, f"{told}; {entry.why}" if entry.why else told)
        code = entry.job.exit_code if entry.job is not None else None
        waiting = any(other.standing is JobState.WAITING for other in self._entries)
        if waiting and entry.standing is JobState.STOPPED:
            self.hold("a run was stopped")
        elif waiting and code in _HOLDING:
            self.hold(f"{'the device' if code == 3 else 'the disk'} failed, and the next run would meet the same")

    def _rf_off_asked(self) -> None:
        self.hold("RF OFF was pressed")

    def _go_on(self) -> None:
        self._save()
        busy = len(self.going) + sum(job.argv[:1] != () and job.argv[0] in MEASUREMENTS for job in self._lab.jobs.going)
        benches = {entry.bench for entry in self.going} - {None}
        for entry in self._entries:
            may = entry.standing is JobState.WAITING and (not self.held or entry in self._let)
            if may and busy < self.at_once and entry.bench not in benches:
                self._let.discard(entry)
                self._start(entry)
                busy += 1
                benches |= {entry.bench} - {None}

    def _start(self, entry: Entry) -> None:
        if entry.bench is not None:
            self._lab.rf.watch_over(entry.bench)
        try:
            argv, session = self._command(entry)
            entry.standing = JobState.STARTING  # so that the job that is about to be told of is known for this entry's
            entry.session = session
            self._lab.jobs.start(entry.title, argv, session=session, ready=True)
        except OSError as error:
            entry.session = entry.session if entry.resume else None
            entry.fail(f"cannot be started: {error}", f"{ADVICE[5]} {RETRY}")

    def _command(self, entry: Entry) -> tuple[list[str], Path]:
        """Return what starts a run, and its session. Raises `OSError` when its configuration cannot be written."""
        if entry.resume and entry.session is not None:
            return ["resume", str(entry.session), "--json", *allowing(entry.allowed)], entry.session
        self._lab.sessions.mkdir(parents=True, exist_ok=True)
        session = self._place(entry)
        config = self._lab.state.jobs / f"{datetime.now():%Y%m%d-%H%M%S-%f}-{session.stem}{RUN}"
        config.write_text(tomlkit.dumps(entry.config), "utf-8")
        return ["train", str(config), "--out", str(session), "--json"], session

    def _place(self, entry: Entry) -> Path:
        """Return a session file for a run: the one it asks for, or one that no other has."""
        asked = entry.config.get("session", {}).get("file")
        if isinstance(asked, str) and asked:
            return self._lab.sessions / asked
        stem = f"{datetime.now():%Y%m%d-%H%M%S}-{entry.task}-{entry.estimator}"
        taken = {other.session for other in self._entries}
        names = (f"{stem}{f'-{n}' if n else ''}.h5" for n in range(len(self._entries) + 100))
        places = (self._lab.sessions / name for name in names)
        return next(place for place in places if place not in taken and not place.exists())

    def _adopt(self, job: Job) -> None:
        """Follow a run: one of this queue's, or one that somebody else in the window has started or found again."""
        if job.argv and job.argv[0] in MEASUREMENTS:
            job.ended.connect(lambda: self._soon.start())
        if not job.argv or job.argv[0] not in RUNS or job.session is None:
            return
        same = (e for e in self._entries if e.session == job.session and e.standing is not JobState.WAITING)
        entry = next((entry for entry in same if entry.job is None or entry.job.state.over), None)
        if entry is None:
            entry = Entry({}, session=job.session)
            self._insert(len(self._entries), [entry])
        entry.attach(job)
        if entry.bench is not None:
            self._lab.rf.watch_over(entry.bench)  # of a run that was found again nobody else knows
        if not entry.config:
            place = Path(job.argv[1]) if job.argv[0] == "train" and len(job.argv) > 1 else job.session
            adopted = entry
            InThread(lambda: configuration_in(place), lambda found: self._configured(adopted, found), lambda why: None)

    def _configured(self, entry: Entry, config: Values) -> None:
        entry.config = config
        self._stood.pop(entry, None)
        if entry.bench is not None and entry.standing.going:
            self._lab.rf.watch_over(entry.bench)
        self._tell(entry)

    def _look_after_lost(self) -> None:
        """See in their sessions how runs have ended that went on when the last window closed."""
        for entry in self.going:
            if entry.job is None and entry.session is not None:
                place = entry.session
                InThread(lambda p=place: _status(p), *self._lost(entry))

    def _lost(self, entry: Entry) -> tuple[Callable[[Any], None], Callable[[str], None]]:
        def found(how: tuple[Status, str]) -> None:
            status, reason = how
            if entry.job is not None:
                return
            if status is Status.SUCCESS:
                entry.settle(JobState.DONE)
            elif status is Status.ABORTED:
                entry.settle(JobState.STOPPED, reason, RESUME)
            elif status is Status.RUNNING:
                entry.settle(JobState.STOPPED, "it goes on in a process of its own", "Watch it on the page Live.")
            else:
                entry.settle(JobState.FAILED, reason or "its process is gone", RESUME)

        def failed(why: str) -> None:
            if entry.job is None:
                entry.session = None
                entry.settle(JobState.FAILED, why, RETRY)

        return found, failed

    def _save(self) -> None:
        """Keep for the next start of the window what is not done."""
        try:
            self._store.save(self._entries, self.at_once)
        except OSError as error:
            self._lab.notice("warning", f"the queue cannot be kept for the next start: {error}")

    def _restore(self) -> None:
        entries, self.at_once = self._store.load()
        for place in self._lab.state.left_queues():
            known = {entry.session for entry in entries} - {None}
            entries += [entry for entry in Store(place).load()[0] if entry.session not in known]
            try:
                self._store.save(entries, self.at_once)
            except OSError:  # it stays where it is
                break
        self._insert(0, entries)
        if any(entry.standing is JobState.WAITING for entry in entries):
            self.hold("these runs were waiting when the window was closed")


def flat(config: Values) -> dict[str, Any]:
    """Return a configuration by section.key."""
    return {f"{section}.{key}": value for section, given in config.items() for key, value in given.items()}


def _status(place: Path) -> tuple[Status, str]:
    with Session(place) as session:
        return session.status, session.reason
