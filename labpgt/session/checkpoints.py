"""Reads the two checkpoints of a session, of which the writer overwrites the older one."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from labpgt.session import schema
from labpgt.session.checked import CheckedFile
from labpgt.session.checksum import checkpoint_crc, table_key

_TRIES = 100


class Cursor(NamedTuple):
    """Where in a run a checkpoint was taken: shots taken, and the last step and epoch done (-1: none)."""

    shot: int
    step: int
    epoch: int


class TrainingState(NamedTuple):
    """A whole checkpoint: what training goes on from."""

    cursor: Cursor
    parameters: NDArray[np.float32]
    """All trainable parameters, (n,)."""
    state: dict[str, NDArray[Any]]
    """As in `labpgt.events.Checkpoint`; empty in files of schema 1, which kept the parameters alone."""


def newest(file: CheckedFile, run: str | None, wanted: Callable[[Cursor], bool]) -> TrainingState | None:
    """Return the newest whole checkpoint that is wanted; None where there is none.

    `run` is the identifier that checksums begin at; None for a file without checksums. Raises `ValueError`, or what
    h5py raises.
    """
    for _ in range(_TRIES):
        cursors = _cursors(file, run)
        # Without evaluation the last update of an epoch and its end are at the same shot.
        order = np.argsort(cursors, order=Cursor._fields)[::-1]
        for slot in (int(i) for i in order if cursors["valid"][i]):
            cursor = Cursor(*(int(cursors[name][slot]) for name in Cursor._fields))
            if not wanted(cursor):
                continue
            arrays = _arrays(file, run, slot)
            whole = run is None or int(cursors["crc32"][slot]) == checkpoint_crc(
                cursor, arrays, table_key(run, schema.CHECKPOINTS)
            )
            # The writer may have come round to this slot in the meantime.
            if whole and _cursors(file, run)[slot] == cursors[slot]:
                parameters = arrays.pop(schema.CHECKPOINT_PARAMETERS)
                prefix = f"{schema.CHECKPOINT_STATE}/"
                return TrainingState(cursor, parameters, {k.removeprefix(prefix): a for k, a in arrays.items()})
        if (_cursors(file, run) == cursors).all():
            break
    return None


def damaged(file: CheckedFile, run: str | None) -> int:
    """Return how many checkpoints say that they are whole and do not match their checksum."""
    if run is None:
        return 0
    cursors, key = _cursors(file, run), table_key(run, schema.CHECKPOINTS)
    crcs = (
        checkpoint_crc((int(cursor[name]) for name in Cursor._fields), _arrays(file, run, slot), key)
        for slot, cursor in enumerate(cursors)
    )
    return sum(bool(cursor["valid"]) and int(cursor["crc32"]) != crc for cursor, crc in zip(cursors, crcs, strict=True))


def _arrays(file: CheckedFile, run: str | None, slot: int) -> dict[str, NDArray[Any]]:
    path = schema.CHECKPOINT_PARAMETERS
    arrays = {path: file.array(path, np.dtype(np.float32), 2)[slot]}
    for path in () if run is None else file.leaves(schema.CHECKPOINT_STATE):
        arrays[path] = file.slot(path, slot)
        if sum(array.nbytes for array in arrays.values()) > file.size:
            raise ValueError(f"/{schema.CHECKPOINTS} claims more than the file can hold")
    return arrays


def _cursors(file: CheckedFile, run: str | None) -> NDArray[Any]:
    dtype = schema.CURSOR_V1_DTYPE if run is None else schema.CURSOR_DTYPE
    return file.array(schema.CHECKPOINT_CURSOR, dtype, 1)
