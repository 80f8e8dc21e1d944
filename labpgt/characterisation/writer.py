"""Writes a characterisation into its file while it goes."""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import h5py
import numpy as np
from numpy.typing import NDArray

from labpgt.characterisation import layout
from labpgt.characterisation.bench import TABLES
from labpgt.characterisation.outcome import Outcome
from labpgt.errors import StorageFault
from labpgt.events import Status
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
from labpgt.session.provenance import provenance

_RESULT_BYTES = 1 << 20
"""What the results of a measure may take on the disk."""


class CharacterisationWriter:
    """Records one characterisation: every shot as soon as the device has answered, every measure when it is done.

    Any failure to record raises `StorageFault`; after it only `stop` and `close` do anything, to leave the file in
    order if that is possible. Shots survive the death of this process; other processes can read while it writes.

    Raises `InputError` when the file exists or cannot be created.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        check_creatable(self.path, "choose another --out")
        self._absolute = self.path
        self.acknowledged = 0
        """Shots that are safe in the file."""
        self._run_id = str(uuid.uuid4())
        self._file: h5py.File | None = None
        self._fault: StorageFault | None = None
        self._buffers: dict[str, RowBuffer] = {}

    def start(self, heading: layout.Heading) -> None:
        """Make the file, with folders that are missing, and let it appear at its place."""
        with self._guarded("creating the file"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._absolute = self.path.absolute()  # asked now: the working directory may vanish, too
            part = part_path(self.path)
            try:
                self._file = self._created(heading, part)
            except BaseException:
                part.unlink(missing_ok=True)
                raise

    def rows(self, table: str, rows: NDArray[np.void]) -> None:
        """Append shots to a table, and flush them."""
        with self._guarded("recording shots"):
            file = self._opened()
            buffer = self._buffers[table]
            while len(rows):
                fit = rows[: buffer.room]
                check_space(file, self.path, fit.nbytes, self.acknowledged)
                buffer.add(fit)
                buffer.write()
                rows = rows[len(fit) :]
            file.flush()
            self.acknowledged = self._written()

    def outcome(self, measure: str, outcome: Outcome) -> None:
        """Write what a measure has found."""
        with self._guarded(f"recording {measure}"):
            file = self._opened()
            check_space(file, self.path, _RESULT_BYTES, self.acknowledged)
            for name, value in outcome.values.items():
                file[f"{layout.RESULTS}/{name}"][()] = value
            for name, reason in outcome.missing.items():
                file[f"{layout.UNMEASURED}/{name}"][()] = layout.unmeasured(reason)
            if outcome.state:
                file[layout.DEVICE_STATE][()] = schema.encode(outcome.state)
            for curve, columns in outcome.curves.items():
                for column, values in columns.items():
                    dataset = file[layout.curve_path(curve, column)]
                    dataset.resize(values.shape)
                    dataset[:] = values
            file[f"{layout.DONE}/{measure}"][()] = 1
            layout.sum_up(file, self._run_id, ended=False)
            file.flush()

    def stop(self, status: Status, reason: str) -> None:
        """Write how it ended. Does nothing when the file could not be created, or not be written any more."""
        if self._file is None:
            return
        try:
            self._end(self._file, status, reason)
        except StorageFault as fault:
            self._fault = fault
            raise
        except Exception as error:
            raise self._failed("recording the end", error) from error

    def close(self) -> None:
        """Close the file; a second call does nothing.

        A file closed before `stop` was called says "failed" and why when it was the writing that failed, and otherwise
        goes on saying "running", but has an end: it crashed.
        """
        file = self._file
        if file is None:
            return
        deleted = is_deleted(file)
        if deleted:
            self._fault = self._fault or deletion(self.path)
        try:
            check_space(file, self.path, 0, self.acknowledged, last=True)
            if not file[schema.END_TIME][()]:
                status = Status.RUNNING if self._fault is None else Status.FAILED
                self._end(file, status, "" if self._fault is None else str(self._fault))
            rescued = close_durably(file, self._absolute)
            self._file = None
        except Exception as error:
            known = self._fault is not None
            fault = self._failed("closing the file", error)
            self._abandon()
            if not known:
                raise fault from error
            return
        if deleted and self._fault is not None:
            place = f"are rescued in {rescued}" if rescued else "are lost with it: no folder took a copy"
            self._fault.add_note(f"{self.path}: its {self.acknowledged} shots {place}")
            raise self._fault

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _created(self, heading: layout.Heading, part: Path) -> h5py.File:
        check_space(None, self.path, _RESULT_BYTES, 0)
        file = h5py.File(part, "x", libver=schema.LIBVER)
        try:
            layout.lay_out(file, heading, provenance(""), self._run_id)
        except BaseException:
            close_unwritten(file)
            raise
        close_durably(file, part)
        if not RENAMES_OPEN_FILES:
            put_in_place(part, self.path)
            part = self.path
        file = h5py.File(part, "r+", libver=schema.LIBVER)
        try:
            for table in TABLES:
                path = layout.table_path(table)
                dtype = layout.table_dtypes(heading.symbols, heading.nodes)[path]
                self._buffers[table] = RowBuffer(file[path], dtype, schema.CHUNK_ROWS, table_key(self._run_id, path))
            file.swmr_mode = True
            if part != self.path:
                file.flush()
                fsync(file)
                put_in_place(part, self.path)
        except BaseException:
            close_unwritten(file)
            raise
        return file

    def _opened(self) -> h5py.File:
        """Return the file, which is open and still has a name."""
        if self._file is None:
            raise StorageFault(f"{self.path}: nothing is being recorded; call start() first")
        if is_deleted(self._file):
            raise deletion(self.path)
        return self._file

    def _written(self) -> int:
        return sum(buffer.written for buffer in self._buffers.values())

    def _end(self, file: h5py.File, status: Status, reason: str) -> None:
        # What an interruption has left waiting.
        waiting = sum(buffer.nbytes for buffer in self._buffers.values())
        check_space(file, self.path, waiting, self.acknowledged, last=True)
        for buffer in self._buffers.values():
            buffer.write()
        for path, text, length in (
            (schema.REASON, reason, schema.REASON_BYTES),
            (schema.END_TIME, schema.iso_time(time.time()), schema.TIME_BYTES),
            (schema.STATUS, status, schema.STATUS_BYTES),
        ):
            file[path][()] = schema.encode(text, length)
        layout.sum_up(file, self._run_id, ended=True)
        file.flush()
        self.acknowledged = self._written()

    @contextmanager
    def _guarded(self, doing: str) -> Iterator[None]:
        """Turn any failure into a `StorageFault` that every later call raises again."""
        if self._fault is not None:
            raise self._fault
        try:
            yield
        except StorageFault as fault:
            self._fault = fault
            raise
        except Exception as error:
            raise self._failed(doing, error) from error

    def _failed(self, doing: str, error: Exception) -> StorageFault:
        from_disk = isinstance(error, OSError | RuntimeError)
        if isinstance(error, StorageFault):
            self._fault = self._fault or error
            return error
        todo = "; check the disk (space, quota, connection) and choose another --out" if from_disk else ""
        self._fault = StorageFault(f"{self.path}: {doing} failed: {error}. {self.acknowledged} shots are safe{todo}")
        if from_disk:
            self._abandon()
        return self._fault

    def _abandon(self) -> None:
        """Give up a file that HDF5 cannot write."""
        if self._file is not None:
            close_unwritten(self._file)
            self._file = None
