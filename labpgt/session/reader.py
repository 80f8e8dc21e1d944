"""Reads a session file, whoever wrote it and however the run ended. Nothing in it is imported or evaluated."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from labpgt.errors import StorageFault
from labpgt.events import EPOCH_DTYPE, RESULTS, STEP_DTYPE, shot_dtype
from labpgt.session import checkpoints, schema
from labpgt.session.checked import reported
from labpgt.session.checkpoints import Cursor, TrainingState
from labpgt.session.constants import Resumption, resumption, there
from labpgt.session.recorded import Recorded

if TYPE_CHECKING:
    from xarray import Dataset

_BLOCK_BYTES = 64 << 20


class Session(Recorded):
    """One recorded run: finished, crashed, or still going on in another process.

    The number of rows is as of the last `refresh()`, everything else as it is in the file now. A context manager.

    Raises `InputError` for a file that is missing, is not a session, comes from a newer labpgt, is truncated, or does
    not hold what a session holds; `StorageFault` when something in it cannot be read later on.
    """

    definition = schema.DEFINITION_NAME
    what = "a session"
    newest_schema = schema.SCHEMA_VERSION
    state_paths = schema.STATE
    state_chain = schema.STATE_CHAIN

    run_id: str
    """UUID; stays the same when the run is resumed. Empty in files of schema 1."""
    resumptions: list[Resumption]
    """Oldest first."""
    symbols: int
    """Drive values a shot."""
    targets: tuple[str, ...]
    training_samples: int
    test_samples: int
    planned_shots: int
    """Training shots if nothing ends the run early."""

    def _read(self) -> None:
        self._read_constants()
        self._read_tables()

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
        self._take_constants(values)
        self.symbols = there(values, schema.SYMBOLS).integer()
        self.targets = tuple(there(values, schema.TARGETS).texts())
        self.training_samples = there(values, schema.TRAINING_SAMPLES).integer()
        self.planned_shots = there(values, schema.PLANNED_SHOTS).integer()
        self.test_samples = there(values, schema.TEST_SAMPLES).integer()
        names = sorted({path.split("/")[2] for path in values if path.startswith(f"{schema.RESUMPTIONS}/")})
        self.resumptions = [resumption(values, f"{schema.RESUMPTIONS}/{name}") for name in names]

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
        self._read_rows(dtypes)

    @property
    def writer(self) -> dict[str, str]:
        """Provenance of the process that writes the file, or did last."""
        return self.resumptions[-1].provenance if self.resumptions else self.provenance

    @property
    def parameters_sha256(self) -> str:
        """Hash of the trained parameters; empty until the run ends."""
        with reported(self.path, StorageFault, "reading the hash of the parameters"):
            return self._state()[schema.PARAMETERS_SHA256]

    @property
    def results(self) -> dict[str, float]:
        """What the run has measured so far; the keys are those of `labpgt.events.RESULTS`."""
        with reported(self.path, StorageFault, "reading the results"):
            read = self._live(lambda: self._file.leaves(schema.RESULTS), schema.RESULTS_CRC, "results")
            self._state()  # has a checksum of the results' checksum: these may be older ones
            values = {value.path.removeprefix(f"{schema.RESULTS}/"): value for value in read or ()}
            known = {name: values[name].number() for name in RESULTS if name in values}
        return {name: value for name, value in known.items() if not np.isnan(value)}

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
