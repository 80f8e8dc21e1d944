"""Writes a run into its session file while it goes."""

import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from labpgt.errors import StorageFault
from labpgt.events import (
    CONTINUED,
    PAUSED,
    RESULTS,
    Checkpoint,
    EpochDone,
    Event,
    Measured,
    RunContinued,
    RunPaused,
    RunResumed,
    RunStarted,
    RunStopped,
    RunWarning,
    ShotsTaken,
    Status,
    StepDone,
)
from labpgt.session import schema
from labpgt.session.buffer import RowBuffer
from labpgt.session.checksum import table_key
from labpgt.session.disk import (
    RENAMES_OPEN_FILES,
    check_creatable,
    check_space,
    close_durably,
    close_unwritten,
    deletion,
    fsync,
    is_deleted,
    part_path,
    put_in_place,
)
from labpgt.session.layout import lay_out, run_of, sum_up, table_dtypes
from labpgt.session.provenance import provenance
from labpgt.session.recovery import Recovery, write_checkpoint

_SHORTEST_PAUSE_S = 1e-3


class SessionWriter:
    """Subscriber that records every event of a run in one HDF5 file: a new one, or the one that it resumes.

    Synchronous and fatal: any failure to record raises `StorageFault`, after which only `RunStopped` is still taken,
    to close the file in order if that is possible. Shots are acknowledged, which means that they survive the death of
    this process, when about `flush_shots` wait or the oldest has waited for `flush_s` seconds; a thread sees to the
    second when no event comes. With `fsync` they survive a power cut, too. A ± pair is acknowledged whole.

    The file appears with `RunStarted`, and folders that are missing; while it is open other processes can read it. With
    `resume`, rows that the session has already are passed over, and it stays as it was until `RunResumed` comes (or the
    run ends in success before).

    Raises `InputError` when the file exists or cannot be created.
    """

    def __init__(
        self,
        path: Path,
        *,
        flush_shots: int = 64,
        flush_s: float = 0.05,
        fsync: bool = False,
        resume: Recovery | None = None,
    ) -> None:
        self.path = Path(path)
        self._absolute = self.path
        self.flush_shots = flush_shots
        self.flush_s = flush_s
        self.fsync = fsync
        self.acknowledged = 0
        """Shots that are safe in the file."""
        self.seconds = 0.0
        """Time that the run has spent in here."""
        if resume is None:
            check_creatable(self.path)
        self._recovery = resume
        self._part: Path | None = None
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._file: h5py.File | None = None
        self._fault: StorageFault | None = None
        self._buffers: dict[str, RowBuffer] = {}
        self._waiting_since: float | None = None
        self._checkpoints = 0
        self._shots = 0 if resume is None else resume.first_shot

    def __call__(self, event: Event) -> None:
        """Record an event; raises `StorageFault` with the file and what to do."""
        began = time.perf_counter()
        try:
            with self._lock:
                self._handle(event)
            if isinstance(event, RunStopped):
                self.close()
        finally:
            self.seconds += time.perf_counter() - began

    def close(self) -> None:
        """Write what waits and close the file; a second call does nothing.

        A file closed before `RunStopped` came says "failed" and why when it was the writing that failed. Otherwise it
        goes on saying "running", but has an end: the run crashed.
        """
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        with self._lock:
            if self._file is None:
                return
            known = self._fault is not None
            try:
                self._close(self._file)
            except Exception as error:
                fault = self._failed("closing the file", error)
                self._abandon()
                if not known and fault is not error:
                    raise fault from error
                if not known:
                    raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _handle(self, event: Event) -> None:
        if self._fault is not None and (self._file is None or not isinstance(event, RunStopped)):
            raise self._fault
        try:
            if isinstance(event, RunStarted):
                self._start(event)
            elif self._file is not None:
                self._record(self._file, event)
            elif not isinstance(event, RunStopped):
                raise StorageFault(f"{self.path}: {type(event).__name__} came while no run is going on")
        except StorageFault as fault:
            self._fault = fault
            raise
        except Exception as error:
            raise self._failed(f"recording {type(event).__name__}", error) from error

    def _start(self, event: RunStarted) -> None:
        if self._file is not None:
            raise StorageFault(f"{self.path}: a run has been started already; give each run a file of its own")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._absolute = self.path.absolute()  # asked now: the working directory may vanish, too
        part = self._part = part_path(self.path)
        try:
            if self._recovery is None:
                self._create(event, part)
            else:
                self._recovery.copy(event, part)
            if not RENAMES_OPEN_FILES:
                self._put_in_place()
            file = h5py.File(self._part or self.path, "r+", libver=schema.LIBVER)
            run_id = run_of(file)
            for name, dtype in table_dtypes(event.symbols, event.nodes).items():
                key = table_key(run_id, name)
                self._buffers[name] = RowBuffer(file[name], dtype, self.flush_shots, key)
            for name in schema.CURVE:
                path = f"{schema.LEARNING_CURVE}/{name}"
                self._buffers[path] = RowBuffer(file[path], file[path].dtype, self.flush_shots)
            file.swmr_mode = True
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        self._file = file
        if self._recovery is None:
            self._put_in_place()
        elif self._recovery.state is not None:
            self._checkpoints = 1  # the one that was copied stays until the next is whole
        self.acknowledged = self._buffers[schema.SHOTS].written
        self._thread = threading.Thread(target=self._flush_old_rows, name="session-flush", daemon=True)
        self._thread.start()

    def _create(self, event: RunStarted, part: Path) -> None:
        check_space(None, self.path, sum(2 * array.nbytes for array in event.state.values()) + 8 * event.parameters, 0)
        file = h5py.File(part, "x", libver=schema.LIBVER)
        try:
            lay_out(file, event, provenance(event.dataset_sha256), str(uuid.uuid4()))
        except BaseException:
            close_unwritten(file)
            raise
        close_durably(file, part)

    def _put_in_place(self) -> None:
        """Let the file appear where it belongs, if it is not there yet."""
        if self._part is None:
            return
        if self._file is not None:
            self._file.flush()
            fsync(self._file)
        put_in_place(self._part, self.path, None if self._recovery is None else self._recovery.original)
        self._part = None

    @property
    def _hidden(self) -> bool:
        """Whether the file is still to appear at its place. Looked up, for an interruption may come in between."""
        if self._part is None:
            return False
        if self._part.exists() and not (self.path.exists() and self._part.samefile(self.path)):
            return True
        self._part.unlink(missing_ok=True)
        self._part = None
        return False

    def _record(self, file: h5py.File, event: Event) -> None:
        match event:
            case RunResumed():
                self._flush()
                self._put_in_place()
            case ShotsTaken() if len(event.rows):
                self._shots_taken(event.rows)
            case StepDone():
                self._append(schema.STEPS, event.row)
            case EpochDone():
                self._append(schema.EPOCHS, event.row)
                for name in schema.CURVE:
                    self._append(f"{schema.LEARNING_CURVE}/{name}", event.row[name])
            case Checkpoint():
                self._keep(file, event)
            case Measured():
                self._measured(file, event.values)
                sum_up(file, ended=False)
                self._flush()
            case RunWarning():
                self._warn(event.message)
            case RunPaused():
                self._warn(f"{PAUSED}{event.reason}")
                self._flush()  # nothing else may come for long
            case RunContinued():
                self._warn(f"{CONTINUED}{event.paused_s:.1f} s")
            case RunStopped():
                self._stop(file, event)

    def _warn(self, text: str) -> None:
        message = schema.encode(text, schema.WARNING_DTYPE["message"].itemsize)
        row = np.array((self._shots, message), schema.WARNING_DTYPE)
        if self._recovery is None or not self._recovery.has_warning(row):
            self._append(schema.WARNINGS, row)

    def _shots_taken(self, rows: NDArray[np.void]) -> None:
        if not len(rows):
            return
        self._shots += len(rows)
        if self._recovery is not None and (first := self._recovery.losses_missing(rows)) is not None:
            # Answered, but not read out, before the run ended: the loss comes only now.
            self._flush()
            self._buffers[schema.SHOTS].overwrite(*first)
        self._append(schema.SHOTS, rows)

    def _append(self, name: str, new: NDArray[Any]) -> None:
        rows: NDArray[Any] = new if new.ndim else new.reshape(1)
        if self._recovery is not None:
            rows = rows[self._recovery.known(name, len(rows)) :]
        buffer = self._buffers[name]
        while len(rows) > buffer.room:
            fit = buffer.room
            # A ± pair is never torn, whatever happens between two flushes.
            if fit and name == schema.SHOTS and rows["sign"][fit - 1] > 0:
                fit -= 1
            buffer.add(rows[:fit])
            rows = rows[fit:]
            self._flush()
        buffer.add(rows)
        if self._waiting_since is None:
            self._waiting_since = time.perf_counter()
        if buffer.is_due or self._waited() >= self.flush_s:
            self._flush()

    def _waited(self) -> float:
        """Seconds since the oldest row came that waits."""
        return 0.0 if self._waiting_since is None else time.perf_counter() - self._waiting_since

    def _flush(self, *, last: bool = False) -> None:
        """Hand everything that waits to HDF5 and flush it."""
        file = self._file
        assert file is not None
        if not last and is_deleted(file):
            raise deletion(self.path)
        waiting = sum(buffer.nbytes for buffer in self._buffers.values())
        check_space(file, self.path, waiting, self.acknowledged, last=last)
        for buffer in self._buffers.values():
            buffer.write()
        self._sync(file)
        self._waiting_since = None
        self.acknowledged = self._buffers[schema.SHOTS].written

    def _sync(self, file: h5py.File) -> None:
        file.flush()
        if self.fsync:
            fsync(file)

    def _flush_old_rows(self) -> None:
        """Flush rows that have waited for `flush_s`: the next shot of a slow device may be long in coming."""
        pause = self.flush_s
        while not self._closing.wait(max(pause, _SHORTEST_PAUSE_S)):
            with self._lock:
                if self._file is None or self._fault is not None:
                    return
                pause = self.flush_s - self._waited()
                if pause <= 0:
                    pause = self.flush_s
                    try:
                        self._flush()
                    except Exception as error:
                        self._failed("flushing shots", error)

    def _keep(self, file: h5py.File, event: Checkpoint) -> None:
        """Overwrite the older checkpoint; what a crash leaves of it does not match its checksum."""
        self._flush()
        slot = self._checkpoints % 2
        write_checkpoint(file, slot, event)
        self._sync(file)
        self._checkpoints += 1

    def _measured(self, file: h5py.File, values: Mapping[str, float]) -> None:
        if unknown := values.keys() - RESULTS.keys():
            raise StorageFault(
                f"{self.path}: no place for the result {', '.join(sorted(unknown))}; add it to labpgt.events.RESULTS"
            )
        for name, value in values.items():
            file[f"{schema.RESULTS}/{name}"][()] = value

    def _stop(self, file: h5py.File, event: RunStopped) -> None:
        if self._hidden:
            if event.status is not Status.SUCCESS:
                self._discard()
                return
            self._put_in_place()
        self._flush(last=True)
        self._measured(file, event.results)
        _overwrite(file, schema.PARAMETERS_SHA256, event.parameters_sha256, schema.SHA256_BYTES)
        _overwrite(file, schema.REASON, event.reason, schema.REASON_BYTES)
        _overwrite(file, schema.END_TIME, schema.iso_time(event.time), schema.TIME_BYTES)
        _overwrite(file, schema.STATUS, event.status, schema.STATUS_BYTES)
        sum_up(file, ended=True)
        self._sync(file)

    def _discard(self) -> None:
        """Give up a copy that never came into its place: the session is as it was."""
        assert self._part is not None
        self._abandon()
        self._part.unlink(missing_ok=True)
        self._part = None

    def _close(self, file: h5py.File) -> None:
        if self._hidden:
            self._discard()
            return
        deleted = is_deleted(file)
        if deleted and self._fault is None:
            self._fault = deletion(self.path)
        if self._fault is None or deleted:
            self._flush(last=True)
        else:
            check_space(file, self.path, 0, self.acknowledged, last=True)
        if not file[schema.END_TIME][()]:
            if self._fault is not None:
                _overwrite(file, schema.REASON, str(self._fault), schema.REASON_BYTES)
                _overwrite(file, schema.STATUS, Status.FAILED, schema.STATUS_BYTES)
            _overwrite(file, schema.END_TIME, schema.iso_time(time.time()), schema.TIME_BYTES)
            sum_up(file, ended=True)
            file.flush()
        rescued = close_durably(file, self._absolute)
        self._file = None
        if deleted:
            assert self._fault is not None
            place = f"are rescued in {rescued}" if rescued else "are lost with it: no folder took a copy"
            self._fault.add_note(f"{self.path}: its {self.acknowledged} shots {place}")
            raise self._fault

    def _failed(self, doing: str, error: Exception) -> StorageFault:
        """Remember a failure so that every later call fails too; give up a file that HDF5 cannot write."""
        from_disk = isinstance(error, OSError | RuntimeError)
        if isinstance(error, StorageFault):
            self._fault = error
        else:
            safe, todo = f"{self.acknowledged} shots are safe", "check the disk (space, quota, connection)"
            if self._recovery is None:
                todo += " and choose another --out"
            elif self._file is None or self._hidden:
                doing, safe, todo = "copying it", "The session is as it was", "its folder must be writable"
            self._fault = StorageFault(
                f"{self.path}: {doing} failed: {error}. {safe}{f'; {todo}' if from_disk else ''}"
            )
        if from_disk:
            self._abandon()
        return self._fault

    def _abandon(self) -> None:
        if self._file is not None:
            close_unwritten(self._file)
            self._file = None


def _overwrite(file: h5py.File, path: str, text: str, length: int) -> None:
    file[path][()] = schema.encode(text, length)
