"""Rows on their way to a growing dataset."""

from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from labpgt.errors import StorageFault

_BUFFER_BYTES = 8 << 20


class RowBuffer:
    """Collects rows in memory that is taken once, and appends them to a one-dimensional dataset block by block.

    It holds `rows` rows, or as many long ones as fit into 8 MiB, or one.
    """

    def __init__(self, dataset: h5py.Dataset, rows: int) -> None:
        self._dataset = dataset
        self._dtype: np.dtype[Any] = dataset.dtype
        size = max(1, min(rows, _BUFFER_BYTES // self._dtype.itemsize))
        self._rows = np.empty(size, self._dtype)
        # Copying plain bytes is four times as fast as copying a row of fields.
        self._void = np.dtype(f"V{self._dtype.itemsize}")
        self._bytes = self._rows.view(self._void)
        self.filled = 0
        """Rows waiting here."""
        self.written = 0
        """Rows handed to HDF5."""

    @property
    def room(self) -> int:
        """Rows that may come before the next `write`: up to where a block, and so a chunk, ends in the file."""
        size = len(self._rows)
        return size - self.written % size - self.filled

    @property
    def nbytes(self) -> int:
        """Bytes waiting here."""
        return self.filled * self._dtype.itemsize

    def add(self, rows: NDArray[np.generic]) -> None:
        """Copy rows (n,), n at most `room`. Raises `StorageFault` when they are not what the dataset holds."""
        if rows.dtype != self._dtype:
            raise StorageFault(
                f"{self._dataset.file.filename}: {self._dataset.name} takes rows of {self._dtype}, got {rows.dtype}; "
                "make rows as labpgt.events describes them"
            )
        stop = self.filled + len(rows)
        self._bytes[self.filled : stop] = np.ascontiguousarray(rows).view(self._void)
        self.filled = stop

    def write(self) -> None:
        """Append what waits to the dataset. Doing it again after an interruption writes the same rows once."""
        if not self.filled:
            return
        stop = self.written + self.filled
        self._dataset.resize((stop,))
        self._dataset[self.written : stop] = self._rows[: self.filled]
        self.written, self.filled = stop, 0
