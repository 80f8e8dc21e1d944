"""Makes a sound copy of a session whose run ended too early, in which the run goes on.

A file that a killed process leaves behind can be read but not written: HDF5 takes it for open, and the tool that HDF5
recommends for that (h5clear) loses shots. So everything is read and written anew, checked against the original row by
row, and put in its place at one stroke; until then the original is as it was.
"""

import dataclasses
import time
import uuid
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from labpgt.device import Setting
from labpgt.errors import StorageFault
from labpgt.events import Checkpoint, RunStarted
from labpgt.session import schema
from labpgt.session.buffer import RowBuffer
from labpgt.session.checkpoints import Cursor
from labpgt.session.checksum import checkpoint_crc, table_key
from labpgt.session.constants import Resumption
from labpgt.session.disk import check_space, close_durably, close_unwritten
from labpgt.session.layout import lay_out, run_of, sum_up, table_dtypes
from labpgt.session.provenance import provenance
from labpgt.session.reader import Session

_BLOCK = 4096
TODO = "The session is as it was: make its folder writable, with room for a second copy of it"
_START = Cursor(0, -1, -1)


class Recovery:
    """What a session knows of its run's future, for the one that goes on: where training stands, and what is on record.

    The session may be closed once `copy` is done.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.original = session.stat()
        """What the session's file was like when it was read."""
        self.left_out = session.cut_at_holes()
        """Shots at the end of the file that are not whole, or come after such."""
        self.state = session.training_state()
        """Newest checkpoint; None when the run is to be gone through from its start."""
        cursor = _START if self.state is None else self.state.cursor
        self.first_shot = cursor.shot
        tail = session.shots(cursor.shot)
        # A ± pair is whole or taken again.
        self.tail: NDArray[np.void] = tail[:-1] if len(tail) and tail["sign"][-1] > 0 else tail
        """Shots on record since the checkpoint, in whole pairs."""
        self.steps = session.steps(cursor.step + 1)
        self.epochs = session.epochs(cursor.epoch + 1)
        self.changed_settings: Mapping[str, Setting] = {}
        """All settings of the device, where some have changed and that is accepted."""
        self._warnings = {row.tobytes() for row in session.warning_rows()}
        self._to_come = {schema.SHOTS: len(self.tail), schema.STEPS: len(self.steps), schema.EPOCHS: len(self.epochs)}
        self._to_come |= {f"{schema.LEARNING_CURVE}/{name}": len(self.epochs) for name in schema.CURVE}

    @property
    def n_shots(self) -> int:
        """Shots on record, in whole pairs: the number of the first one to be taken."""
        return self.first_shot + len(self.tail)

    def shots(self, start: int, stop: int) -> NDArray[np.void]:
        """Return shots start to stop of the tail; fewer where the record ends. None is from before the checkpoint."""
        return self.tail[start - self.first_shot : stop - self.first_shot]

    def known(self, table: str, rows: int) -> int:
        """Return how many of the next so many rows of a table the session has already."""
        known = min(rows, self._to_come.get(table, 0))
        if known:
            self._to_come[table] -= known
        return known

    def has_warning(self, row: NDArray[np.void]) -> bool:
        """Say whether the session has this warning already."""
        return row.tobytes() in self._warnings

    def losses_missing(self, rows: NDArray[np.void]) -> tuple[int, NDArray[np.void]] | None:
        """Return rows on record that get their loss from `rows` only now, and the number of the first of them."""
        first = int(rows["index"][0])
        recorded = self.shots(first, first + len(rows))
        missing = np.isnan(recorded["loss"]) & ~np.isnan(rows["loss"][: len(recorded)])
        if not missing.any():
            return None
        read = np.array(recorded)
        read["loss"][missing] = rows["loss"][: len(recorded)][missing]
        return first, read

    def copy(self, started: RunStarted, part: Path) -> None:
        """Write the copy at `part`, and check it against the session row by row.

        Raises `StorageFault` when the disk has no room for a second copy, or the copy is not what the session is.
        """
        session = self.session
        needed = session.size + sum(2 * array.nbytes for array in started.state.values())
        check_space(None, session.path, needed, session.n_shots, todo=TODO)
        file = h5py.File(part, "x", libver=schema.LIBVER)
        try:
            self._lay_out(file, started)
            self._fill(file)
        except BaseException:
            close_unwritten(file)
            raise
        close_durably(file, part)
        with Session(part) as copy:
            self._verify(copy)

    def _lay_out(self, file: h5py.File, started: RunStarted) -> None:
        session = self.session
        first = dataclasses.replace(
            started,
            time=datetime.fromisoformat(session.start_time).timestamp(),
            config_toml=session.configuration,
            device=session.device,
            settings=session.settings,
        )
        now = Resumption(
            time=schema.iso_time(time.time()),
            shot=self.n_shots,
            status=str(session.status),
            reason=session.reason,
            provenance=provenance(session.provenance.get("dataset_sha256", "")),
            settings=dict(self.changed_settings),
        )
        run_id = session.run_id or str(uuid.uuid4())
        lay_out(file, first, session.provenance, run_id, [*session.resumptions, now])

    def _fill(self, file: h5py.File) -> None:
        run_id = run_of(file)
        buffers = {
            name: RowBuffer(file[name], dtype, _BLOCK, table_key(run_id, name))
            for name, dtype in table_dtypes(self.session.symbols, self.session.nodes).items()
        }
        for name, rows in _tables(self.session, self.n_shots):
            buffer = buffers[name]
            for start in range(0, len(rows), buffer.room):
                buffer.add(rows[start : start + buffer.room])
                buffer.write()
        epochs = self.session.epochs()
        for name in schema.CURVE:
            curve = file[f"{schema.LEARNING_CURVE}/{name}"]
            curve.resize((len(epochs),))
            curve[:] = epochs[name]
        if self.state is not None:
            cursor, parameters, state = self.state
            write_checkpoint(file, 0, Checkpoint(*cursor, parameters, state))
            for name in state["results"].dtype.names or ():
                file[f"{schema.RESULTS}/{name}"][()] = state["results"][name]
            sum_up(file, ended=False)

    def _verify(self, copy: Session) -> None:
        same = all(
            getattr(copy, name) == getattr(self.session, name)
            for name in ("start_time", "configuration", "provenance", "device", "settings", "targets", "drive_limits")
        )
        mine, theirs = _tables(copy, self.n_shots), _tables(self.session, self.n_shots)
        same = same and all(a == b and x.tobytes() == y.tobytes() for (a, x), (b, y) in zip(mine, theirs, strict=True))
        copied = copy.training_state()
        cursors = [state.cursor if state is not None else None for state in (copied, self.state)]
        if not same or cursors[0] != cursors[1]:
            raise StorageFault(
                f"{copy.path}: the copy does not read back as {self.session.path}; the session is left as it was. "
                "Check the disk"
            )


def _tables(session: Session, n_shots: int) -> Any:
    """Yield every table with its rows, the shots in blocks up to `n_shots`."""
    for start in range(0, n_shots, _BLOCK):
        yield schema.SHOTS, session.shots(start, min(start + _BLOCK, n_shots))
    yield schema.STEPS, session.steps()
    yield schema.EPOCHS, session.epochs()
    yield schema.WARNINGS, session.warning_rows()


def write_checkpoint(file: h5py.File, slot: int, checkpoint: Checkpoint) -> None:
    """Overwrite one of the two checkpoints. Reading it back meanwhile gives one that does not match its checksum."""
    arrays: dict[str, NDArray[Any]] = {schema.CHECKPOINT_PARAMETERS: checkpoint.parameters}
    arrays |= {f"{schema.CHECKPOINT_STATE}/{name}": array for name, array in checkpoint.state.items()}
    for path, array in arrays.items():
        file[path][slot] = array
    cursor = (checkpoint.shot, checkpoint.step, checkpoint.epoch)
    crc = checkpoint_crc(cursor, arrays, table_key(run_of(file), schema.CHECKPOINTS))
    file[schema.CHECKPOINT_CURSOR][slot] = np.array((*cursor, 1, crc), schema.CURSOR_DTYPE)
