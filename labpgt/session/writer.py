"""Writes a run into its session file while it goes."""

import contextlib
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import h5py
import numpy as np
from numpy.typing import NDArray

from labpgt.errors import InputError, StorageFault
from labpgt.events import (
    RESULTS,
    Checkpoint,
    EpochDone,
    Event,
    Measured,
    RunStarted,
    RunStopped,
    RunWarning,
    ShotsTaken,
    Status,
    StepDone,
)
from labpgt.session import schema
from labpgt.session.buffer import RowBuffer
from labpgt.session.layout import lay_out
from labpgt.session.provenance import provenance

RESERVE_BYTES = 64 << 20
"""A run stops when less than this would stay free on the disk: HDF5 does not survive a full one."""
LAST_RESERVE_BYTES = 1 << 20
"""The end of a run may use the reserve up to this."""
_SHORTEST_PAUSE_S = 1e-3
_SPACE_CHECK_S = 0.2
_SPACE_CHECK_BYTES = RESERVE_BYTES // 2


class SessionWriter:
    """Subscriber that records every event of a run in one new HDF5 file.

    Synchronous and fatal: any failure to record raises `StorageFault`, after which only `RunStopped` is still taken,
    to close the file in order if that is possible. Shots are acknowledged, which means that they survive the death of
    this process, when about `flush_shots` wait or the oldest has waited for `flush_s` seconds; a thread sees to the
    second when no event comes. The file appears with `RunStarted`, and folders that are missing; while it is open other
    processes can read it.

    Raises `InputError` when the file exists or cannot be created.
    """

    def __init__(self, path: Path, *, flush_shots: int = 64, flush_s: float = 0.05) -> None:
        self.path = Path(path)
        self.flush_shots = flush_shots
        self.flush_s = flush_s
        self.acknowledged = 0
        """Shots that are safe in the file."""
        self.seconds = 0.0
        """Time that the run has spent in here."""
        _check_creatable(self.path)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._file: h5py.File | None = None
        self._fault: StorageFault | None = None
        self._buffers: dict[str, RowBuffer] = {}
        self._waiting_since: float | None = None
        self._space_checked = -np.inf
        self._unchecked_bytes = 0
        self._checkpoints = 0

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
                if not known:
                    raise fault from error

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
        self._check_space(8 * event.parameters)
        file = h5py.File(self.path, "x", libver=schema.LIBVER)
        try:
            lay_out(file, event, provenance(event.dataset_sha256))
            for name in (schema.SHOTS, schema.STEPS, schema.EPOCHS, schema.WARNINGS):
                self._buffers[name] = RowBuffer(file[name], self.flush_shots)
            for name in schema.CURVE:
                path = f"{schema.LEARNING_CURVE}/{name}"
                self._buffers[path] = RowBuffer(file[path], self.flush_shots)
            file.swmr_mode = True
        except BaseException:
            _close_unwritten(file)
            self.path.unlink()
            raise
        self._file = file
        self._thread = threading.Thread(target=self._flush_old_rows, name="session-flush", daemon=True)
        self._thread.start()

    def _record(self, file: h5py.File, event: Event) -> None:
        match event:
            case ShotsTaken():
                self._append(schema.SHOTS, event.rows)
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
                self._flush()
            case RunWarning():
                text = np.array(schema.encode(event.message, schema.WARNING_BYTES), file[schema.WARNINGS].dtype)
                self._append(schema.WARNINGS, text)
            case RunStopped():
                self._stop(file, event)

    def _append(self, name: str, rows: NDArray[np.generic]) -> None:
        rows = np.atleast_1d(rows)
        buffer = self._buffers[name]
        start = 0
        while start < len(rows):
            if not buffer.room:
                self._flush()
            stop = start + min(buffer.room, len(rows) - start)
            buffer.add(rows[start:stop])
            if self._waiting_since is None:
                self._waiting_since = time.perf_counter()
            start = stop
        if buffer.is_due or self._waited() >= self.flush_s:
            self._flush()

    def _waited(self) -> float:
        """Seconds since the oldest row came that waits."""
        return 0.0 if self._waiting_since is None else time.perf_counter() - self._waiting_since

    def _flush(self, *, last: bool = False) -> None:
        """Hand everything that waits to HDF5 and flush it."""
        assert self._file is not None
        self._check_space(sum(buffer.nbytes for buffer in self._buffers.values()), last=last)
        for buffer in self._buffers.values():
            buffer.write()
        self._file.flush()
        self._waiting_since = None
        self.acknowledged = self._buffers[schema.SHOTS].written

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
        """Overwrite the older checkpoint; each flush makes sure that a crash leaves the other one, or both."""
        slot = self._checkpoints % 2
        cursor = file[schema.CHECKPOINT_CURSOR]
        cursor[slot] = np.zeros((), schema.CURSOR_DTYPE)
        self._flush()
        file[schema.CHECKPOINT_PARAMETERS][slot] = event.parameters
        file.flush()
        cursor[slot] = np.array((event.shot, event.step, event.epoch, 1), schema.CURSOR_DTYPE)
        file.flush()
        self._checkpoints += 1

    def _measured(self, file: h5py.File, values: Mapping[str, float]) -> None:
        if unknown := values.keys() - RESULTS.keys():
            raise StorageFault(
                f"{self.path}: no place for the result {', '.join(sorted(unknown))}; add it to labpgt.events.RESULTS"
            )
        for name, value in values.items():
            file[f"{schema.RESULTS}/{name}"][()] = value

    def _stop(self, file: h5py.File, event: RunStopped) -> None:
        self._flush(last=True)
        self._measured(file, event.results)
        _overwrite(file, schema.PARAMETERS_SHA256, event.parameters_sha256, schema.SHA256_BYTES)
        _overwrite(file, schema.REASON, event.reason, schema.REASON_BYTES)
        _overwrite(file, schema.END_TIME, schema.iso_time(event.time), schema.TIME_BYTES)
        _overwrite(file, schema.STATUS, event.status, schema.STATUS_BYTES)
        file.flush()

    def _close(self, file: h5py.File) -> None:
        if self._fault is None:
            self._flush(last=True)
        else:
            self._check_space(0, last=True)
        if not file[schema.END_TIME][()]:
            if self._fault is not None:
                _overwrite(file, schema.REASON, str(self._fault), schema.REASON_BYTES)
                _overwrite(file, schema.STATUS, Status.FAILED, schema.STATUS_BYTES)
            _overwrite(file, schema.END_TIME, schema.iso_time(time.time()), schema.TIME_BYTES)
            file.flush()
        file.close()
        self._file = None
        # The run is over, so there is time to make it survive a power cut, too.
        with self.path.open("rb+") as written:
            os.fsync(written.fileno())

    def _check_space(self, needed: int, *, last: bool = False) -> None:
        """Raise `StorageFault` while there is still space to close the file in order."""
        now = time.perf_counter()
        self._unchecked_bytes += needed
        due = now - self._space_checked > _SPACE_CHECK_S or self._unchecked_bytes > _SPACE_CHECK_BYTES
        if not (due or last):
            return
        needed += LAST_RESERVE_BYTES if last else RESERVE_BYTES
        free = shutil.disk_usage(self.path.parent).free
        if free < needed:
            raise StorageFault(
                f"{self.path}: the disk has {free / 1e6:.1f} MB free, going on safely takes {needed / 1e6:.1f} MB; "
                f"{self.acknowledged} shots are safe. Free some space or choose another --out"
            )
        self._space_checked, self._unchecked_bytes = now, 0

    def _failed(self, doing: str, error: Exception) -> StorageFault:
        """Remember a failure so that every later call fails too; give up a file that HDF5 cannot write."""
        if isinstance(error, StorageFault):
            self._fault = error
        else:
            self._fault = StorageFault(
                f"{self.path}: {doing} failed: {error}. {self.acknowledged} shots are safe; "
                "check the disk (space, quota, connection) and choose another --out"
            )
        if isinstance(error, OSError | RuntimeError):
            self._abandon()
        return self._fault

    def _abandon(self) -> None:
        if self._file is not None:
            _close_unwritten(self._file)
            self._file = None


def _check_creatable(path: Path) -> None:
    folder = path.parent
    try:
        if path.is_symlink() or path.exists():
            raise InputError(f"session file {path} exists already; choose another --out or delete it")
        # What is missing is made when the run starts: input that is refused meanwhile leaves nothing behind.
        while not folder.exists():
            folder = folder.parent
        if not folder.is_dir():
            raise InputError(f"session file {path} cannot be created: {folder} is not a folder; choose another --out")
        writable = os.access(folder, os.W_OK | os.X_OK)
    except OSError as error:
        raise InputError(f"session file {path} cannot be created: {error}; choose another --out") from error
    if not writable:
        raise InputError(f"session file {path}: the folder {folder} cannot be written to; choose another --out")


def _overwrite(file: h5py.File, path: str, text: str, length: int) -> None:
    file[path][()] = schema.encode(text, length)


def _close_unwritten(file: h5py.File) -> None:
    """Close a file that cannot be written, leaving on disk what was flushed.

    HDF5 writes once more when it closes, and a write that fails then ends the whole process, even when that exits. So
    these last writes go to a file in memory that nobody reads.
    """
    if sys.platform == "linux":
        scratch = os.memfd_create("session")
    else:
        with tempfile.TemporaryFile() as temporary:
            scratch = os.dup(temporary.fileno())
    try:
        os.dup2(scratch, file.id.get_vfd_handle())
        # After some failed writes HDF5 refuses to close a file, but then it no longer harms.
        with contextlib.suppress(OSError, RuntimeError):
            file.close()
    finally:
        os.close(scratch)
