"""A forger: changes a session file and renews its checksums, so that only a replay can tell.

What cannot be read as a value of a session keeps the checksum it has: the file is refused before that is compared.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from labpgt.session import schema
from labpgt.session.checksum import checkpoint_crc, lengths_crc, row_crcs, split, table_key
from labpgt.session.layout import crc_of, run_of

_LARGEST_VALUE = 1 << 20


@contextmanager
def forged(path: Path) -> Iterator[h5py.File]:
    """Open a finished session for changes whose checksums are renewed at the end."""
    with h5py.File(path, "r+") as file:
        yield file
        renew(file)


def renew(file: h5py.File) -> None:
    """Make every checksum that of what stands in the file now."""
    run_id = run_of(file)
    for path in schema.TABLES:
        _renew_table(file, path, table_key(run_id, path))
    for slot in range(2):
        _renew_checkpoint(file, slot)
    groups = [path for path in schema.CONSTANT_GROUPS if _is_here(file, path)]
    constants = [*schema.CONSTANTS, *(leaf for group in groups for leaf in _leaves(file, group))]
    for crc_path, paths in (
        (schema.CONSTANTS_CRC, constants),
        (schema.RESULTS_CRC, _leaves(file, schema.RESULTS)),
        (schema.LENGTHS_CRC, ()),
        (schema.STATE_CRC, schema.STATE_CHAIN),
    ):
        if crc_path == schema.LENGTHS_CRC:
            lengths = {path: file[path].shape[0] for path in schema.TABLES if _is_table(file, path)}
            file[crc_path][()] = lengths_crc(lengths, table_key(run_id, crc_path))
        else:
            file[crc_path][()] = crc_of(file, crc_path, [path for path in paths if _is_value(file, path)])


def _renew_table(file: h5py.File, path: str, key: int) -> None:
    dtype = file[path].dtype if _is_here(file, path) and isinstance(file[path], h5py.Dataset) else np.dtype("f8")
    names = dtype.names or ()
    if names[-1:] != ("crc32",) or dtype.hasobject or file[path].nbytes > file.id.get_filesize():
        return
    rows = file[path][()]
    bare = np.dtype([(name, dtype[name]) for name in names[:-1]])
    rows["crc32"] = row_crcs(np.ascontiguousarray(split(rows, bare)), key, 0)
    file[path][...] = rows


def _renew_checkpoint(file: h5py.File, slot: int) -> None:
    paths = [schema.CHECKPOINT_PARAMETERS, *_leaves(file, schema.CHECKPOINT_STATE)]
    row = file[schema.CHECKPOINT_CURSOR][slot]
    cursor = [row[name] for name in ("shot", "step", "epoch")]
    row["crc32"] = checkpoint_crc(
        cursor, {p: file[p][slot] for p in paths}, table_key(run_of(file), schema.CHECKPOINTS)
    )
    file[schema.CHECKPOINT_CURSOR][slot] = row


def _is_table(file: h5py.File, path: str) -> bool:
    return _is_here(file, path) and isinstance(file[path], h5py.Dataset) and file[path].ndim == 1


def _leaves(file: h5py.File, group: str) -> Iterable[str]:
    found: list[str] = []
    file[group].visit(found.append)
    paths = [f"{group}/{name}" for name in found]
    return [path for path in paths if isinstance(file[path], h5py.Dataset)]


def _is_here(file: h5py.File, path: str) -> bool:
    """Say whether a path leads there without following a link of another kind."""
    return path in file and isinstance(file.get(path, getlink=True), h5py.HardLink)


def _is_value(file: h5py.File, path: str) -> bool:
    if not _is_here(file, path) or file[path].shape is None:
        return False
    return file[path].dtype.kind in "fiubS" and not file[path].is_virtual and file[path].nbytes <= _LARGEST_VALUE
