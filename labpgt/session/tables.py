"""Reads the growing tables of a session: how many rows are there, and which of them are whole."""

from collections.abc import Mapping

import h5py
import numpy as np
from numpy.typing import NDArray

from labpgt.session import schema
from labpgt.session.checked import CheckedFile
from labpgt.session.checksum import matching, split, stored_dtype, table_key

_BLOCK = 4096


class Tables:
    """The tables of one file, by path, each with its rows' type. Methods raise `ValueError`, or what h5py raises.

    `run` is the identifier that checksums begin at; None for a file without checksums.
    """

    def __init__(self, file: CheckedFile, dtypes: Mapping[str, np.dtype[np.void]], run: str | None) -> None:
        self._file = file
        self._dtypes = dtypes
        self._keys = None if run is None else {path: table_key(run, path) for path in dtypes}
        self._stored = {path: dtype if run is None else stored_dtype(dtype) for path, dtype in dtypes.items()}
        for path, dtype in self._stored.items():
            with file.dataset(path) as table:
                _check_columns(table, path, dtype)
        self.lengths: dict[str, int] = {}
        """Rows of each table, as of the last `refresh`."""
        self.refresh()

    def refresh(self) -> None:
        """Look how many rows there are."""
        self.lengths = {path: self._length(path) for path in self._dtypes}

    def rows(self, path: str, start: int, stop: int) -> NDArray[np.void]:
        """Return rows start to stop, which are there."""
        with self._file.dataset(path) as table:
            rows = self._read(table, path, start, stop)
        if self._keys is None:
            return rows
        whole = self._whole(rows, path, start)
        if not whole.all():
            raise ValueError(
                f"row {start + int(np.argmin(whole))} does not match its checksum; the file is damaged there"
            )
        return split(rows, self._dtypes[path])

    def cut_at_holes(self) -> dict[str, int]:
        """Let every table of an unfinished file end at its first row that is not whole; return what is left out.

        A disk writes in what order it likes: after a power cut a block may be there, and not the one before.
        """
        left_out = {}
        for path, length in self.lengths.items() if self._file.unfinished else ():
            whole = self._whole_from_start(path, length)
            if whole < length:
                left_out[path] = length - whole
                self.lengths[path] = whole
        return left_out

    def _whole_from_start(self, path: str, length: int) -> int:
        with self._file.dataset(path) as table:
            for start in range(0, length, _BLOCK):
                stop = min(start + _BLOCK, length)
                whole = self._whole(self._read(table, path, start, stop), path, start)
                if not whole.all():
                    return start + int(np.argmin(whole))
        return length

    def row_bytes(self, path: str) -> int:
        """Return how long a row is in the file."""
        return self._stored[path].itemsize

    def _length(self, path: str) -> int:
        with self._file.dataset(path) as table:
            claimed = int(table.shape[0])
            possible: int = self._file.size // self.row_bytes(path)
            if self._file.unfinished:
                return self._last_whole(table, path, min(claimed, possible))
            if claimed > possible:
                raise ValueError(f"{table.name} claims {claimed} rows, more than the file can hold; it is damaged")
            return claimed

    def _last_whole(self, table: h5py.Dataset, path: str, stop: int) -> int:
        """Return how many rows there are up to the last whole one before `stop`.

        The last block of a run whose disk refused a write, or whose machine lost power, may be there in name only.
        """
        block = schema.chunk_rows(self._stored[path])
        searched = False
        while stop:
            start = max(0, stop - block)
            there = np.flatnonzero(self._whole(self._read(table, path, start, stop), path, start))
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

    def _whole(self, rows: NDArray[np.void], path: str, first: int) -> NDArray[np.bool_]:
        if self._keys is not None:
            return matching(rows, self._dtypes[path], self._keys[path], first)
        written: NDArray[np.bool_] = rows["time"] != 0  # a row that was never written is all zeros
        return written


def _check_columns(table: h5py.Dataset, path: str, expected: np.dtype[np.void]) -> None:
    if table.ndim != 1 or table.dtype.names != expected.names:
        raise ValueError(f"/{path} has columns {table.dtype.names}, expected {expected.names}")
    for name in expected.names or ():
        if table.dtype[name] != expected[name]:
            raise ValueError(f"column {name} of /{path} is {table.dtype[name]}, expected {expected[name]}")
    if table.dtype != expected:
        raise ValueError(f"/{path} has its columns at {table.dtype}, expected {expected}")
