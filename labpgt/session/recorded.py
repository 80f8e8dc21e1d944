"""What is common to the files that labpgt writes: who wrote it, how it ended, and growing tables with checksums."""

import os
import platform
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from labpgt.device import Setting
from labpgt.errors import InputError, StorageFault
from labpgt.events import Status
from labpgt.session import schema
from labpgt.session.checked import CheckedFile, Value, reported
from labpgt.session.checksum import CRC_DTYPE, lengths_crc, table_key, values_crc
from labpgt.session.constants import inside, there
from labpgt.session.provenance import process_runs
from labpgt.session.tables import Tables

OTHERS = {
    schema.DEFINITION_NAME: "a training run",
    schema.CHARACTERISATION_NAME: "the characterisation of a device",
}
"""What labpgt writes, by the definition that stands in the file."""
_LIVE_S = 1.0
_LIVE_PAUSE_S = 2e-3
_RECENT_S = 60.0
"""A run on another machine counts as running while its file is younger than this."""


def definition_of(path: Path) -> str:
    """Return which of `OTHERS` a file is; empty when it is none. Raises `InputError` when it cannot be opened."""
    file = CheckedFile(path)
    try:
        return file.read(schema.DEFINITION).text()
    except (ValueError, OSError, KeyError, RuntimeError):
        return ""
    finally:
        file.close()


class Recorded(ABC):
    """One file of labpgt: finished, crashed, or still being written by another process. A context manager.

    Raises `InputError` for a file that is missing, is something else, comes from a newer labpgt, is truncated, or does
    not hold what it should; `StorageFault` when something in it cannot be read later on.
    """

    definition: ClassVar[str]
    what: ClassVar[str]
    """Such a file, in words."""
    newest_schema: ClassVar[int]
    state_paths: ClassVar[tuple[str, ...]]
    """Texts that change at the end."""
    state_chain: ClassVar[tuple[str, ...]]
    """What the checksum of the state is of."""

    path: Path
    schema_version: int
    start_time: str
    """ISO 8601, UTC."""
    configuration: str
    """TOML, as the run was configured."""
    provenance: dict[str, str]
    """Versions, code, machine and process; an empty text is something not known."""
    run_id: str
    """UUID."""
    device: str
    settings: dict[str, Setting]
    """The device's, when the run started."""
    nodes: int
    """Response values a drive symbol."""
    drive_limits: tuple[float, float]
    """Lowest and highest drive value, dimensionless."""
    _run: str | None
    """The identifier that checksums begin at; None for a file without checksums."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._file = CheckedFile(self.path)
        try:
            with reported(self.path, InputError, "reading the session"):
                self._check_identity()
                self._read()
        except BaseException:
            self._file.close()
            raise

    @abstractmethod
    def _read(self) -> None:
        """Read what never changes; raises `ValueError` for what is not as expected."""

    @property
    def writer(self) -> dict[str, str]:
        """Provenance of the process that writes the file, or did last."""
        return self.provenance

    def _check_identity(self) -> None:
        try:
            definition = self._file.read(schema.DEFINITION).text()
            self.schema_version = self._file.read(schema.VERSION).integer()
        except ValueError:
            definition = ""
        if definition != self.definition:
            if definition in OTHERS:
                raise InputError(
                    f"{self.path} holds {OTHERS[definition]}, not {OTHERS[self.definition]}; look at it with labpgt "
                    "show"
                )
            raise InputError(f"{self.path} is an HDF5 file but not {self.what}; give one that labpgt has written")
        if not 1 <= self.schema_version <= self.newest_schema:
            todo = "update labpgt" if self.schema_version > 0 else "no labpgt has written that: take it from a backup"
            raise InputError(
                f"session {self.path} has schema version {self.schema_version}, this labpgt reads 1 to "
                f"{self.newest_schema}; {todo}"
            )

    def _take_constants(self, values: Mapping[str, Value]) -> None:
        """Take what every file says at its start."""
        self.start_time = values[schema.START_TIME].text()
        self.configuration = values[schema.CONFIGURATION].text()
        self.provenance = {name: value.text() for name, value in inside(values, schema.PROVENANCE)}
        self.device = there(values, schema.DEVICE).text()
        self.settings = {name: Setting(v.scalar(), v.units) for name, v in inside(values, schema.SETTINGS)}
        self.nodes = there(values, schema.N_NODES).integer()
        low, high = there(values, schema.DRIVE_LIMITS).numbers()
        self.drive_limits = low, high

    def _compare(self, values: Iterable[Value], crc_path: str, what: str) -> None:
        computed = values_crc(((value.path, value.array, value.units) for value in values), self._key(crc_path))
        if computed != self._recorded_crc(crc_path):
            raise _Mismatch(f"{what} do not match their checksum; the file is damaged, take it from a backup")

    def _recorded_crc(self, path: str) -> int:
        return int(self._file.array(path, CRC_DTYPE))

    def _key(self, place: str) -> int:
        return table_key(self.run_id, place)

    def _read_rows(self, dtypes: Mapping[str, np.dtype[np.void]]) -> None:
        """Look at the tables, by path, each with its rows' type."""
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
        recorded = self.writer
        if recorded.get("host") == platform.node():
            return process_runs(*(recorded.get(key, "") for key in ("pid", "process_create_time", "process_start")))
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

    def _state(self) -> dict[str, str]:
        """Return the texts that change while a run goes on."""
        paths = self.state_chain if self._run is not None else self.state_paths
        values = self._live(lambda: paths, schema.STATE_CRC, "status, reason, end time and hash")
        if values is None:
            return dict.fromkeys(self.state_paths, "") | {schema.STATUS: Status.RUNNING}
        return {value.path: value.text() for value in values if value.path in self.state_paths}

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
    def size(self) -> int:
        """Bytes on disk."""
        return self._file.size

    def stat(self) -> os.stat_result:
        """Return what the system knows of the open file, wherever its path leads by now."""
        return self._file.stat()

    def _rows(self, path: str, start: int, stop: int | None) -> NDArray[np.void]:
        start, stop, _ = slice(start, stop).indices(self._tables.lengths[path])
        doing = f"reading rows {start} to {stop} of /{path}"
        with reported(self.path, StorageFault, doing):
            return self._tables.rows(path, start, max(start, stop))

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
