"""Reads a session file, whoever wrote it and however the run ended. Nothing in it is imported or evaluated."""

import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from labpgt.device import Setting
from labpgt.errors import InputError, StorageFault
from labpgt.events import EPOCH_DTYPE, RESULTS, STEP_DTYPE, Status, shot_dtype
from labpgt.session import checkpoints, schema
from labpgt.session.checked import CheckedFile, Value, reported
from labpgt.session.checkpoints import Cursor, TrainingState
from labpgt.session.checksum import CRC_DTYPE, lengths_crc, table_key, values_crc
from labpgt.session.constants import Resumption, inside, resumption, there
from labpgt.session.provenance import process_runs
from labpgt.session.tables import Tables

if TYPE_CHECKING:
    from xarray import Dataset

_BLOCK_BYTES = 64 << 20
_LIVE_S = 1.0
_LIVE_PAUSE_S = 2e-3
_RECENT_S = 60.0
"""A run on another machine counts as running while its file is younger than this."""


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

    def _read_constants(self) -> None:
        file = self._file
        checked = self.schema_version >= schema.CHECKSUMS_SINCE
        groups = [group for group in schema.CONSTANT_GROUPS if checked or group != schema.RESUMPTIONS]
        paths = [path for path in schema.CONSTANTS if checked or path != schema.RUN_ID]
        paths += (leaf for group in groups for leaf in file.leaves(group))
        values = {value.path: value for value in file.read_all(paths)}
        self._run = values[schema.RUN_ID].text() if checked else None
        self.run_id = self._run or ""
        if checked:
            self._compare(values.values(), schema.CONSTANTS_CRC, "configuration, settings and provenance")
        self.start_time = values[schema.START_TIME].text()
        self.configuration = values[schema.CONFIGURATION].text()
        self.provenance = {name: value.text() for name, value in inside(values, schema.PROVENANCE)}
        self.device = there(values, schema.DEVICE).text()
        self.settings = {name: Setting(v.scalar(), v.units) for name, v in inside(values, schema.SETTINGS)}
        self.symbols = there(values, schema.SYMBOLS).integer()
        self.nodes = there(values, schema.N_NODES).integer()
        low, high = there(values, schema.DRIVE_LIMITS).numbers()
        self.drive_limits = low, high
        self.targets = tuple(there(values, schema.TARGETS).texts())
        self.training_samples = there(values, schema.TRAINING_SAMPLES).integer()
        self.planned_shots = there(values, schema.PLANNED_SHOTS).integer()
        self.test_samples = there(values, schema.TEST_SAMPLES).integer()
        names = sorted({path.split("/")[2] for path in values if path.startswith(f"{schema.RESUMPTIONS}/")})
        self.resumptions = [resumption(values, f"{schema.RESUMPTIONS}/{name}") for name in names]

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
        dtypes = {
            schema.SHOTS: shot_dtype(self.symbols, self.nodes),
            schema.STEPS: STEP_DTYPE,
            schema.EPOCHS: EPOCH_DTYPE,
        }
        if self._run is not None:
            dtypes[schema.WARNINGS] = schema.WARNING_DTYPE
        self._tables = Tables(self._file, dtypes, self._run)
        if self._run is not None and not self._file.unfinished:
            self._check_lengths()

    def _check_lengths(self) -> None:
        """Check that a closed file is as long as it was when the run ended."""
        key, recorded = self._key(schema.LENGTHS_CRC), self._recorded_crc(schema.LENGTHS_CRC)
        if recorded == lengths_crc({}, key) and not self._state()[schema.END_TIME]:
            return  # closed by HDF5, when a process left without closing its writer
        if recorded != lengths_crc(self._tables.lengths, key):
            raise ValueError("the tables are not as long as they were; the file is damaged, take it from a backup")

    def refresh(self) -> None:
        """Look for rows that were written since; for a run that another process writes."""
        if self._file.unfinished:
            with reported(self.path, StorageFault, "looking for new shots"):
                self._tables.refresh()

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
        paths = schema.STATE_CHAIN if self._run is not None else schema.STATE
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
                if self._run is not None:
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
        if self._run is not None:
            return self._rows(schema.WARNINGS, 0, None)
        with reported(self.path, StorageFault, "reading the warnings"):
            texts = [text for text in self._file.read(schema.WARNINGS).texts() if text]
        return np.array([(-1, schema.encode(text)) for text in texts], schema.WARNING_DTYPE)

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self._file.size

    def stat(self) -> os.stat_result:
        """Return what the system knows of the open file, wherever its path leads by now."""
        return self._file.stat()

    @property
    def n_shots(self) -> int:
        """Shots in the file."""
        return self._tables.lengths[schema.SHOTS]

    def shots(self, start: int = 0, stop: int | None = None) -> NDArray[np.void]:
        """Return shots start to stop as rows of `labpgt.events.shot_dtype`; fewer where the file ends earlier."""
        return self._rows(schema.SHOTS, start, stop)

    def iter_shots(self, block: int = 4096) -> Iterator[NDArray[np.void]]:
        """Yield all shots in blocks of so many rows, or fewer when the shots are long (64 MiB)."""
        rows = max(1, min(block, _BLOCK_BYTES // self._tables.row_bytes(schema.SHOTS)))
        end = self.n_shots
        for start in range(0, end, rows):
            yield self.shots(start, min(start + rows, end))

    @property
    def n_steps(self) -> int:
        """Rows that `steps` returns."""
        return self._tables.lengths[schema.STEPS]

    def steps(self, start: int = 0, stop: int | None = None) -> NDArray[np.void]:
        """Return one row of `labpgt.events.STEP_DTYPE` for each update of the parameters, or some of them."""
        return self._rows(schema.STEPS, start, stop)

    @property
    def n_epochs(self) -> int:
        """Rows that `epochs` returns."""
        return self._tables.lengths[schema.EPOCHS]

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
        start, stop, _ = slice(start, stop).indices(self._tables.lengths[path])
        doing = f"reading rows {start} to {stop} of /{path}"
        with reported(self.path, StorageFault, doing):
            return self._tables.rows(path, start, max(start, stop))

    def cut_at_holes(self) -> int:
        """Let the tables end at their first row that is not whole; return how many shots are left out.

        For whoever goes on with a run whose machine lost power. Only what came after a checkpoint is left out: raises
        `StorageFault` when a hole lies before all of them.
        """
        with reported(self.path, StorageFault, "looking for holes"):
            left_out = self._tables.cut_at_holes()
            if left_out and self.training_state() is None and self.checkpoint() is not None:
                path = next(iter(left_out))
                raise ValueError(
                    f"row {self._tables.lengths[path]} of /{path} does not match its checksum, and every checkpoint is "
                    "later; the file is damaged there, take it from a backup"
                )
        return left_out.get(schema.SHOTS, 0)

    def checkpoint(self) -> tuple[Cursor, NDArray[np.float32]] | None:
        """Return the newest whole checkpoint: where it was taken, and the parameters (n,). None before the first."""
        found = self._newest(lambda cursor: True)
        return None if found is None else (found.cursor, found.parameters)

    def training_state(self) -> TrainingState | None:
        """Return the checkpoint to go on from: the newest with an update on record after it, if there is one.

        Its shots, steps and epochs are all here.

        None where there is none: before the first, and in files of schema 1, which kept the parameters alone.
        """
        if self._run is None:
            return None
        lengths = self._tables.lengths

        def recorded(cursor: Cursor) -> bool:
            return (
                0 <= cursor.shot <= lengths[schema.SHOTS]
                and -1 <= cursor.step < lengths[schema.STEPS]
                and -1 <= cursor.epoch < lengths[schema.EPOCHS]
            )

        newest = self._newest(recorded)
        # Going on is checked against the record: from a checkpoint that ends it there would be nothing to check.
        if newest is not None and newest.cursor.step + 1 == lengths[schema.STEPS]:
            tested = self._newest(lambda cursor: recorded(cursor) and cursor.step < newest.cursor.step)
            return tested or newest
        return newest

    @property
    def damaged_checkpoints(self) -> int:
        """Checkpoints of a closed file that do not match their checksum; what a dying process left does not count."""
        with reported(self.path, StorageFault, "reading the checkpoints"):
            return 0 if self._file.unfinished else checkpoints.damaged(self._file, self._run)

    def _newest(self, wanted: Callable[[Cursor], bool]) -> TrainingState | None:
        with reported(self.path, StorageFault, "reading the checkpoint"):
            return checkpoints.newest(self._file, self._run, wanted)

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
