"""Reads a session file, whoever wrote it and however the run ended. Nothing in it is imported or evaluated."""

import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from labpgt.device import Setting
from labpgt.errors import InputError, StorageFault
from labpgt.events import EPOCH_DTYPE, RESULTS, STEP_DTYPE, Status, shot_dtype
from labpgt.session import schema
from labpgt.session.checked import CheckedFile, Value, reported
from labpgt.session.checksum import (
    CRC_DTYPE,
    checkpoint_crc,
    lengths_crc,
    matching,
    split,
    stored_dtype,
    table_key,
    values_crc,
)
from labpgt.session.provenance import process_runs

if TYPE_CHECKING:
    from xarray import Dataset

_BLOCK_BYTES = 64 << 20
_LIVE_S = 1.0
_LIVE_PAUSE_S = 2e-3
_CHECKPOINT_TRIES = 100
_RECENT_S = 60.0
"""A run on another machine counts as running while its file is younger than this."""


class Cursor(NamedTuple):
    """Where in a run a checkpoint was taken: shots taken, and the last step and epoch done (-1: none)."""

    shot: int
    step: int
    epoch: int


class TrainingState(NamedTuple):
    """A whole checkpoint: what training goes on from."""

    cursor: Cursor
    parameters: NDArray[np.float32]
    state: dict[str, NDArray[Any]]


class Resumption(NamedTuple):
    """One time that the run went on after it had ended too early."""

    time: str
    """ISO 8601, UTC."""
    shot: int
    """The first shot taken by the process that resumed it."""
    status: str
    """How the run had ended."""
    reason: str
    provenance: dict[str, str]
    settings: dict[str, Setting]
    """The device's, where they had changed and the change was accepted."""


class Session:
    """One recorded run: finished, crashed, or still going on in another process.

    The number of rows is as of the last `refresh()`, everything else as it is in the file now. A context manager.

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
    run_id: str
    """UUID; stays the same when the run is resumed. Empty in files of schema 1."""
    resumptions: list[Resumption]
    """Oldest first."""
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

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._file = CheckedFile(self.path)
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
            definition = self._file.read(schema.DEFINITION).text()
            self.schema_version = self._file.read(schema.VERSION).integer()
        except ValueError:
            definition = ""
        if definition != schema.DEFINITION_NAME:
            raise InputError(f"{self.path} is an HDF5 file but not a session; give one that labpgt has written")
        if not 1 <= self.schema_version <= schema.SCHEMA_VERSION:
            todo = "update labpgt" if self.schema_version > 0 else "no labpgt has written that: take it from a backup"
            raise InputError(
                f"session {self.path} has schema version {self.schema_version}, this labpgt reads 1 to "
                f"{schema.SCHEMA_VERSION}; {todo}"
            )
        self._checked = self.schema_version >= schema.CHECKSUMS_SINCE

    def _read_constants(self) -> None:
        file = self._file
        groups = [group for group in schema.CONSTANT_GROUPS if self._checked or group != schema.RESUMPTIONS]
        paths = [path for path in schema.CONSTANTS if self._checked or path != schema.RUN_ID]
        paths += (leaf for group in groups for leaf in file.leaves(group))
        values = {value.path: value for value in file.read_all(paths)}
        self.run_id = values[schema.RUN_ID].text() if self._checked else ""
        if self._checked:
            self._compare(values.values(), schema.CONSTANTS_CRC, "configuration, settings and provenance")
        self.start_time = values[schema.START_TIME].text()
        self.configuration = values[schema.CONFIGURATION].text()
        self.provenance = {name: value.text() for name, value in _inside(values, schema.PROVENANCE)}
        self.device = _there(values, schema.DEVICE).text()
        self.settings = {name: Setting(v.scalar(), v.units) for name, v in _inside(values, schema.SETTINGS)}
        self.symbols = _there(values, schema.SYMBOLS).integer()
        self.nodes = _there(values, schema.N_NODES).integer()
        low, high = _there(values, schema.DRIVE_LIMITS).numbers()
        self.drive_limits = low, high
        self.targets = tuple(_there(values, schema.TARGETS).texts())
        self.training_samples = _there(values, schema.TRAINING_SAMPLES).integer()
        self.planned_shots = _there(values, schema.PLANNED_SHOTS).integer()
        self.test_samples = _there(values, schema.TEST_SAMPLES).integer()
        names = sorted({path.split("/")[2] for path in values if path.startswith(f"{schema.RESUMPTIONS}/")})
        self.resumptions = [_resumption(values, f"{schema.RESUMPTIONS}/{name}") for name in names]

    def _compare(self, values: Iterable[Value], crc_path: str, what: str) -> None:
        computed = values_crc(((value.path, value.array, value.units) for value in values), self._key(crc_path))
        if computed != self._recorded_crc(crc_path):
            raise _Mismatch(f"{what} do not match their checksum; the file is damaged, take it from a backup")

    def _recorded_crc(self, path: str) -> int:
        return int(self._file.array(path, CRC_DTYPE))

    def _key(self, place: str) -> int:
        return table_key(self.run_id, place)

    def _read_tables(self) -> None:
        if self.symbols < 1 or self.nodes < 1:
            raise ValueError(f"{self.symbols} symbols of {self.nodes} nodes are no shot")
        self._dtypes = {
            schema.SHOTS: shot_dtype(self.symbols, self.nodes),
            schema.STEPS: STEP_DTYPE,
            schema.EPOCHS: EPOCH_DTYPE,
        }
        if self._checked:
            self._dtypes[schema.WARNINGS] = schema.WARNING_DTYPE
        self._keys = {path: self._key(path) for path in self._dtypes}
        self._stored = {path: stored_dtype(t) if self._checked else t for path, t in self._dtypes.items()}
        for path, dtype in self._stored.items():
            with self._file.dataset(path) as table:
                self._check_table(table, path, dtype)
        self._lengths = {path: self._length(path) for path in self._dtypes}
        if self._checked and not self._file.unfinished:
            self._check_lengths()

    def _check_lengths(self) -> None:
        """Check that a closed file is as long as it was when the run ended."""
        key, recorded = self._key(schema.LENGTHS_CRC), self._recorded_crc(schema.LENGTHS_CRC)
        if recorded == lengths_crc({}, key) and not self._state()[schema.END_TIME]:
            return  # closed by HDF5, when a process left without closing its writer
        if recorded != lengths_crc(self._lengths, key):
            raise ValueError("the tables are not as long as they were; the file is damaged, take it from a backup")

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
            return self._rows_there(table, path)

    def _rows_there(self, table: h5py.Dataset, path: str) -> int:
        dtype = self._stored[path]
        claimed = int(table.shape[0])
        possible: int = self._file.size // dtype.itemsize
        if not self._file.unfinished:
            if claimed > possible:
                raise ValueError(f"{table.name} claims {claimed} rows, more than the file can hold; it is damaged")
            return claimed
        # The last block of a run whose disk refused a write, or whose machine lost power, may be there in name only.
        stop = min(claimed, possible)
        block = schema.chunk_rows(dtype)
        searched = False
        while stop:
            start = max(0, stop - block)
            there = np.flatnonzero(self._whole_rows(self._read(table, path, start, stop), path, start))
            if there.size:
                return start + int(there[-1]) + 1
            # A file may claim to be long at no cost.
            stop = start if searched else min(start, table.id.get_num_chunks() * table.chunks[0])
            searched = True
        return 0

    def _read(self, table: h5py.Dataset, path: str, start: int, stop: int) -> NDArray[np.void]:
        # Indexing the table, h5py would take longer to find out what its rows are than to read them.
        rows = np.empty(stop - start, self._stored[path])
        if rows.size:
            table.read_direct(rows, np.s_[start:stop])
        return rows

    def _whole_rows(self, rows: NDArray[np.void], path: str, first: int) -> NDArray[np.bool_]:
        if self._checked:
            return matching(rows, self._dtypes[path], self._keys[path], first)
        written: NDArray[np.bool_] = rows["time"] != 0  # a row that was never written is all zeros
        return written

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
            state = self._state()
            status = Status(state[schema.STATUS])
            ended = bool(state[schema.END_TIME])
            return Status.CRASHED if status is Status.RUNNING and (ended or not alive) else status

    def _writer_lives(self) -> bool:
        recorded = self.resumptions[-1].provenance if self.resumptions else self.provenance
        if recorded.get("host") == platform.node():
            return process_runs(recorded.get("pid", ""), recorded.get("process_create_time", ""))
        return time.time() - self._file.stat().st_mtime < _RECENT_S

    @property
    def reason(self) -> str:
        """Why the run ended; empty until it does."""
        with reported(self.path, StorageFault, "reading the reason"):
            return self._state()[schema.REASON]

    @property
    def end_time(self) -> str:
        """ISO 8601, UTC; empty until the run ends."""
        with reported(self.path, StorageFault, "reading the end time"):
            return self._state()[schema.END_TIME]

    @property
    def parameters_sha256(self) -> str:
        """Hash of the trained parameters; empty until the run ends."""
        with reported(self.path, StorageFault, "reading the hash of the parameters"):
            return self._state()[schema.PARAMETERS_SHA256]

    def _state(self) -> dict[str, str]:
        """Return the texts that change while a run goes on."""
        paths = schema.STATE_CHAIN if self._checked else schema.STATE
        values = self._live(lambda: paths, schema.STATE_CRC, "status, reason, end time and hash")
        if values is None:
            return dict.fromkeys(schema.STATE, "") | {schema.STATUS: Status.RUNNING}
        return {value.path: value.text() for value in values if value.path in schema.STATE}

    @property
    def results(self) -> dict[str, float]:
        """What the run has measured so far; the keys are those of `labpgt.events.RESULTS`."""
        with reported(self.path, StorageFault, "reading the results"):
            read = self._live(lambda: self._file.leaves(schema.RESULTS), schema.RESULTS_CRC, "results")
            self._state()  # has a checksum of the results' checksum: these may be older ones
            values = {value.path.removeprefix(f"{schema.RESULTS}/"): value for value in read or ()}
            known = {name: values[name].number() for name in RESULTS if name in values}
        return {name: value for name, value in known.items() if not np.isnan(value)}

    def _live(self, paths: Callable[[], Iterable[str]], crc_path: str, what: str) -> list[Value] | None:
        """Read values that a running run may change at this moment, until they match their checksum.

        None when they do not, and the process that changed them is dead: it may have died over it.
        """
        deadline = time.monotonic() + _LIVE_S
        while True:
            alive = self._file.unfinished and self._writer_lives()
            values = self._file.read_all(paths())
            try:
                if self._checked:
                    self._compare(values, crc_path, what)
                return values
            except _Mismatch:
                if self._file.unfinished and not alive:
                    return None
                if not alive or time.monotonic() > deadline:
                    raise
                time.sleep(_LIVE_PAUSE_S)

    @property
    def warnings(self) -> list[str]:
        """What a person should look at, oldest first."""
        return [row["message"].decode("utf-8", "replace") for row in self.warning_rows()]

    def warning_rows(self) -> NDArray[np.void]:
        """Return one row of `schema.WARNING_DTYPE` for each warning: shots taken when it came, and its text."""
        if self._checked:
            return self._rows(schema.WARNINGS, 0, None)
        with reported(self.path, StorageFault, "reading the warnings"):
            texts = [text for text in self._file.read(schema.WARNINGS).texts() if text]
        return np.array([(-1, schema.encode(text)) for text in texts], schema.WARNING_DTYPE)

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self._file.size

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
            _, count = parameters.shape
            return int(count)

    def to_xarray(self, shots: slice = slice(None)) -> "Dataset":
        """Return the session, or these shots of it, as an `xarray.Dataset`, with units and descriptions.

        Dimensions are shot, symbol and node; step; epoch. `drive`, `response` and the other columns of the shots are
        read when they are used, and only as far as they are: select first (`.sel`, `.isel`), and call `.load()` on what
        is to be there when the session is closed. Times are datetime64 in UTC; the rest of the session is in `attrs`.
        Raises `StorageFault`, now or when values are used.
        """
        from labpgt.session.to_xarray import to_xarray

        return to_xarray(self, shots)

    def _rows(self, path: str, start: int, stop: int | None) -> NDArray[np.void]:
        start, stop, _ = slice(start, stop).indices(self._lengths[path])
        doing = f"reading rows {start} to {stop} of /{path}"
        with reported(self.path, StorageFault, doing), self._file.dataset(path) as table:
            rows = self._read(table, path, start, max(start, stop))
            if not self._checked:
                return rows
            whole = self._whole_rows(rows, path, start)
            if not whole.all():
                raise ValueError(
                    f"row {start + int(np.argmin(whole))} does not match its checksum; the file is damaged there"
                )
            return split(rows, self._dtypes[path])

    def checkpoint(self) -> tuple[Cursor, NDArray[np.float32]] | None:
        """Return the newest whole checkpoint: where it was taken, and the parameters (n,). None before the first."""
        found = self._newest(lambda cursor: True)
        return None if found is None else (found[0], found[1][schema.CHECKPOINT_PARAMETERS])

    def training_state(self) -> TrainingState | None:
        """Return the newest checkpoint that training can go on from, whose shots, steps and epochs are all here.

        None where there is none: before the first, and in files of schema 1, which kept the parameters alone.
        """
        if not self._checked:
            return None

        def recorded(cursor: Cursor) -> bool:
            return (
                0 <= cursor.shot <= self._lengths[schema.SHOTS]
                and -1 <= cursor.step < self._lengths[schema.STEPS]
                and -1 <= cursor.epoch < self._lengths[schema.EPOCHS]
            )

        found = self._newest(recorded)
        if found is None:
            return None
        cursor, arrays = found
        parameters = arrays.pop(schema.CHECKPOINT_PARAMETERS)
        state = {path.removeprefix(f"{schema.CHECKPOINT_STATE}/"): array for path, array in arrays.items()}
        return TrainingState(cursor, parameters, state)

    def _newest(self, wanted: Callable[[Cursor], bool]) -> tuple[Cursor, dict[str, NDArray[Any]]] | None:
        with reported(self.path, StorageFault, "reading the checkpoint"):
            for _ in range(_CHECKPOINT_TRIES):
                cursors = self._cursors()
                # Without evaluation the last update of an epoch and its end are at the same shot.
                order = np.argsort(cursors, order=Cursor._fields)[::-1]
                for slot in (int(i) for i in order if cursors["valid"][i]):
                    cursor = Cursor(*(int(cursors[name][slot]) for name in Cursor._fields))
                    if not wanted(cursor):
                        continue
                    arrays = self._checkpoint_arrays(slot)
                    # The writer may have come round to this slot in the meantime.
                    if self._cursors()[slot] == cursors[slot] and self._whole(cursors[slot], cursor, arrays):
                        return cursor, arrays
                if (self._cursors() == cursors).all():
                    break
        return None

    def _whole(self, stored: np.void, cursor: Cursor, arrays: Mapping[str, NDArray[Any]]) -> bool:
        if not self._checked:
            return True
        return int(stored["crc32"]) == checkpoint_crc(cursor, arrays, self._key(schema.CHECKPOINTS))

    def _checkpoint_arrays(self, slot: int) -> dict[str, NDArray[Any]]:
        path = schema.CHECKPOINT_PARAMETERS
        arrays = {path: self._file.array(path, np.dtype(np.float32), 2)[slot]}
        for path in self._file.leaves(schema.CHECKPOINT_STATE) if self._checked else ():
            arrays[path] = self._file.slot(path, slot)
            if sum(array.nbytes for array in arrays.values()) > self._file.size:
                raise ValueError(f"/{schema.CHECKPOINTS} claims more than the file can hold")
        return arrays

    def _cursors(self) -> NDArray[Any]:
        dtype = schema.CURSOR_DTYPE if self._checked else schema.CURSOR_V1_DTYPE
        return self._file.array(schema.CHECKPOINT_CURSOR, dtype, 1)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Mismatch(ValueError):
    """Values do not match their checksum."""


def _there(values: Mapping[str, Value], path: str) -> Value:
    if path not in values:
        raise ValueError(f"/{path} is missing")
    return values[path]


def _inside(values: Mapping[str, Value], group: str) -> Iterator[tuple[str, Value]]:
    for path, value in values.items():
        parent, _, name = path.rpartition("/")
        if parent == group:
            yield name, value


def _resumption(values: Mapping[str, Value], group: str) -> Resumption:
    return Resumption(
        _there(values, f"{group}/time").text(),
        _there(values, f"{group}/shot").integer(),
        _there(values, f"{group}/status").text(),
        _there(values, f"{group}/reason").text(),
        {name: value.text() for name, value in _inside(values, f"{group}/provenance")},
        {name: Setting(v.scalar(), v.units) for name, v in _inside(values, f"{group}/settings")},
    )
