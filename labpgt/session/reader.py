"""Reads a session file, whoever wrote it and however the run ended. Nothing in it is imported or evaluated."""

import platform
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from labpgt.device import Setting
from labpgt.errors import InputError, StorageFault
from labpgt.events import EPOCH_DTYPE, RESULTS, STEP_DTYPE, Status, shot_dtype
from labpgt.session import schema
from labpgt.session.checked import CheckedFile, reported
from labpgt.session.provenance import process_runs

_BLOCK_BYTES = 64 << 20
_TIME_DTYPE = np.dtype([("time", "<f8")])
_RECENT_S = 60.0
"""A run on another machine counts as running while its file is younger than this."""


class Cursor(NamedTuple):
    """Where in a run a checkpoint was taken: shots taken, and the last step and epoch done."""

    shot: int
    step: int
    epoch: int


class Session:
    """One recorded run: finished, crashed, or still going on in another process.

    The number of rows is as of the last `refresh()`, everything else as it is in the file now. A context manager.
    A finished file cannot be opened for writing meanwhile, unless `locking` is false.

    Raises `InputError` for a file that is missing, is not a session, comes from a newer labpgt, is truncated, or does
    not hold what a session holds; `StorageFault` when something in it cannot be read later on.
    """

    path: Path
    schema_version: int
    start_time: str
    """ISO 8601, UTC."""
    configuration: str
    """TOML, as the run was configured."""
    provenance: dict[str, str]
    """Versions, code, machine and process; an empty text is something not known."""
    device: str
    settings: dict[str, Setting]
    """The device's, when the run started."""
    symbols: int
    """Drive values a shot."""
    nodes: int
    """Response values a drive symbol."""
    drive_limits: tuple[float, float]
    """Lowest and highest drive value, dimensionless."""
    targets: tuple[str, ...]
    training_samples: int
    test_samples: int
    planned_shots: int
    """Training shots if nothing ends the run early."""

    def __init__(self, path: Path, *, locking: bool = True) -> None:
        self.path = Path(path)
        self._file = CheckedFile(self.path, locking)
        try:
            with reported(self.path, InputError, "reading the session"):
                self._check_identity()
                self._read_constants()
                self._read_tables()
        except BaseException:
            self._file.close()
            raise

    def _check_identity(self) -> None:
        try:
            definition = self._file.text(schema.DEFINITION)
            self.schema_version = self._file.integer(schema.VERSION)
        except ValueError:
            definition = ""
        if definition != schema.DEFINITION_NAME:
            raise InputError(f"{self.path} is an HDF5 file but not a session; give one that labpgt has written")
        if self.schema_version > schema.SCHEMA_VERSION:
            raise InputError(
                f"session {self.path} has schema version {self.schema_version}, this labpgt reads up to "
                f"{schema.SCHEMA_VERSION}; update labpgt"
            )

    def _read_constants(self) -> None:
        file = self._file
        self.start_time = file.text(schema.START_TIME)
        self.configuration = file.text(schema.CONFIGURATION)
        self.provenance = {name: file.text(f"{schema.PROVENANCE}/{name}") for name in file.names(schema.PROVENANCE)}
        self.device = file.text(schema.DEVICE)
        self.settings = {name: self._setting(name) for name in file.names(schema.SETTINGS)}
        self.symbols = file.integer(schema.SYMBOLS)
        self.nodes = file.integer(schema.N_NODES)
        low, high = file.array(schema.DRIVE_LIMITS, np.dtype(np.float64), 1).tolist()
        self.drive_limits = low, high
        self.targets = tuple(file.texts(schema.TARGETS))
        self.training_samples = file.integer(schema.TRAINING_SAMPLES)
        self.planned_shots = file.integer(schema.PLANNED_SHOTS)
        self.test_samples = file.integer(schema.TEST_SAMPLES)

    def _setting(self, name: str) -> Setting:
        path = f"{schema.SETTINGS}/{name}"
        return Setting(self._file.scalar(path), self._file.attribute(path, "units"))

    def _read_tables(self) -> None:
        if self.symbols < 1 or self.nodes < 1:
            raise ValueError(f"{self.symbols} symbols of {self.nodes} nodes are no shot")
        self._dtypes = {
            schema.SHOTS: shot_dtype(self.symbols, self.nodes),
            schema.STEPS: STEP_DTYPE,
            schema.EPOCHS: EPOCH_DTYPE,
        }
        for path, dtype in self._dtypes.items():
            with self._file.dataset(path) as table:
                self._check_table(table, path, dtype)
        self._lengths = {path: self._length(path) for path in self._dtypes}

    def _check_table(self, table: h5py.Dataset, path: str, expected: np.dtype[np.void]) -> None:
        if table.ndim != 1 or table.dtype.names != expected.names:
            raise ValueError(f"/{path} has columns {table.dtype.names}, expected {expected.names}")
        for name in expected.names or ():
            if table.dtype[name] != expected[name]:
                raise ValueError(f"column {name} of /{path} is {table.dtype[name]}, expected {expected[name]}")
        if table.dtype != expected:
            raise ValueError(f"/{path} has its columns at {table.dtype}, expected {expected}")

    def _length(self, path: str) -> int:
        """Return how many rows are there."""
        with self._file.dataset(path) as table:
            return self._rows_there(table, self._dtypes[path])

    def _rows_there(self, table: h5py.Dataset, dtype: np.dtype[np.void]) -> int:
        claimed = int(table.shape[0])
        possible: int = self._file.size // dtype.itemsize
        if not self._file.unfinished:
            if claimed > possible:
                raise ValueError(f"{table.name} claims {claimed} rows, more than the file can hold; it is damaged")
            return claimed
        # The last block of a run whose disk refused a write may be there in name only: as zeros, also in `time`.
        stop = min(claimed, possible)
        block = schema.chunk_rows(dtype)
        while stop:
            start = max(0, stop - block)
            times = np.empty(stop - start, _TIME_DTYPE)
            table.read_direct(times, np.s_[start:stop])
            there = np.flatnonzero(times["time"])
            if there.size:
                return start + int(there[-1]) + 1
            stop = start
        return 0

    def refresh(self) -> None:
        """Look for rows that were written since; for a run that another process writes."""
        if self._file.unfinished:
            with reported(self.path, StorageFault, "looking for new shots"):
                self._lengths = {path: self._length(path) for path in self._dtypes}

    @property
    def status(self) -> Status:
        """How the run stands: `CRASHED` when the file says running but nobody writes it."""
        with reported(self.path, StorageFault, "reading the status"):
            # Asked in this order, a run that ends between the questions is not taken for a crashed one.
            alive = self._writer_lives()
            ended = bool(self._file.text(schema.END_TIME))
            status = Status(self._file.text(schema.STATUS))
            return Status.CRASHED if status is Status.RUNNING and (ended or not alive) else status

    def _writer_lives(self) -> bool:
        recorded = self.provenance
        if recorded.get("host") == platform.node():
            return process_runs(recorded.get("pid", ""), recorded.get("process_create_time", ""))
        return time.time() - self.path.stat().st_mtime < _RECENT_S

    @property
    def reason(self) -> str:
        """Why the run ended; empty until it does."""
        with reported(self.path, StorageFault, "reading the reason"):
            return self._file.text(schema.REASON)

    @property
    def end_time(self) -> str:
        """ISO 8601, UTC; empty until the run ends."""
        with reported(self.path, StorageFault, "reading the end time"):
            return self._file.text(schema.END_TIME)

    @property
    def parameters_sha256(self) -> str:
        """Hash of the trained parameters; empty until the run ends."""
        with reported(self.path, StorageFault, "reading the hash of the parameters"):
            return self._file.text(schema.PARAMETERS_SHA256)

    @property
    def results(self) -> dict[str, float]:
        """What the run has measured so far; the keys are those of `labpgt.events.RESULTS`."""
        with reported(self.path, StorageFault, "reading the results"):
            there = set(self._file.names(schema.RESULTS))
            values = {name: self._file.number(f"{schema.RESULTS}/{name}") for name in RESULTS if name in there}
        return {name: value for name, value in values.items() if not np.isnan(value)}

    @property
    def warnings(self) -> list[str]:
        """What a person should look at, oldest first."""
        with reported(self.path, StorageFault, "reading the warnings"):
            return [text for text in self._file.texts(schema.WARNINGS) if text]

    @property
    def n_shots(self) -> int:
        """Shots in the file."""
        return self._lengths[schema.SHOTS]

    def shots(self, start: int = 0, stop: int | None = None) -> NDArray[np.void]:
        """Return shots start to stop as rows of `labpgt.events.shot_dtype`; fewer where the file ends earlier."""
        return self._rows(schema.SHOTS, start, stop)

    def iter_shots(self, block: int = 4096) -> Iterator[NDArray[np.void]]:
        """Yield all shots in blocks of so many rows, or fewer when the shots are long (64 MiB)."""
        rows = max(1, min(block, _BLOCK_BYTES // self._dtypes[schema.SHOTS].itemsize))
        end = self.n_shots
        for start in range(0, end, rows):
            yield self.shots(start, min(start + rows, end))

    @property
    def n_steps(self) -> int:
        """Rows that `steps` returns."""
        return self._lengths[schema.STEPS]

    def steps(self, start: int = 0, stop: int | None = None) -> NDArray[np.void]:
        """Return one row of `labpgt.events.STEP_DTYPE` for each update of the parameters, or some of them."""
        return self._rows(schema.STEPS, start, stop)

    @property
    def n_epochs(self) -> int:
        """Rows that `epochs` returns."""
        return self._lengths[schema.EPOCHS]

    def epochs(self, start: int = 0, stop: int | None = None) -> NDArray[np.void]:
        """Return one row of `labpgt.events.EPOCH_DTYPE` for each pass through the training part, or some of them."""
        return self._rows(schema.EPOCHS, start, stop)

    @property
    def n_parameters(self) -> int:
        """Trainable parameters of the network."""
        with (
            reported(self.path, StorageFault, "counting the parameters"),
            self._file.dataset(schema.CHECKPOINT_PARAMETERS) as parameters,
        ):
            return int(parameters.shape[-1])

    def _rows(self, path: str, start: int, stop: int | None) -> NDArray[np.void]:
        start, stop, _ = slice(start, stop).indices(self._lengths[path])
        doing = f"reading rows {start} to {stop} of /{path}"
        with reported(self.path, StorageFault, doing), self._file.dataset(path) as table:
            # Indexing the table, h5py would take longer to find out what its rows are than to read them.
            rows = np.empty(max(0, stop - start), self._dtypes[path])
            if rows.size:
                table.read_direct(rows, np.s_[start:stop])
            return rows

    def checkpoint(self) -> tuple[Cursor, NDArray[np.float32]] | None:
        """Return the newest whole checkpoint: where it was taken, and the parameters (n,). None before the first."""
        with reported(self.path, StorageFault, "reading the checkpoint"):
            while True:
                cursors = self._cursors()
                valid = np.flatnonzero(cursors["valid"])
                if not valid.size:
                    return None
                newest = int(valid[np.argmax(cursors["shot"][valid])])
                parameters = self._file.array(schema.CHECKPOINT_PARAMETERS, np.dtype(np.float32), 2)[newest]
                # The writer may have come round to this slot in the meantime.
                if self._cursors()[newest] == cursors[newest]:
                    shot, step, epoch, _ = cursors[newest].tolist()
                    return Cursor(shot, step, epoch), parameters

    def _cursors(self) -> NDArray[Any]:
        return self._file.array(schema.CHECKPOINT_CURSOR, schema.CURSOR_DTYPE, 1)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
