"""Rows on their way to a growing dataset."""

from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from labpgt.session.checksum import CRC, row_crcs, split

_BLOCKS = 4
_BLOCK_BYTES = 2 << 20


class RowBuffer:
    """Collects rows in memory that is taken once, and appends them to a one-dimensional dataset in blocks.

    A block is `block` rows, or as many long ones as fit into 2 MiB, or one. There is room for several, so that a large
    batch is written in one go. With a `key` the dataset's rows end in their checksum, which is added here.
    """

    def __init__(self, dataset: h5py.Dataset, dtype: np.dtype[Any], block: int, key: int | None = None) -> None:
        self._dataset = dataset
        self._dtype = dtype
        self._key = key
        self._block: int = max(1, min(block, _BLOCK_BYTES // dtype.itemsize))
        self._rows = np.empty(_BLOCKS * self._block, dataset.dtype)
        # Copying plain bytes is four times as fast as copying a row of fields.
        self._void = np.dtype(f"V{dtype.itemsize}")
        self._plain = split(self._rows, self._void)
        self._crcs = None if key is None else self._rows[CRC]
        self.filled = 0
        """Rows waiting here."""
        self.written: int = dataset.shape[0]
        """Rows handed to HDF5."""

    @property
    def room(self) -> int:
        """Rows that may come before the next `write`."""
        return len(self._rows) - self.filled

    @property
    def is_due(self) -> bool:
        """Whether the rows that wait reach the end of a block, and so mostly of a chunk, in the file."""
        return self.filled + self.written % self._block >= self._block

    @property
    def nbytes(self) -> int:
        """Bytes waiting here."""
        return self.filled * self._rows.itemsize

    def add(self, rows: NDArray[Any]) -> None:
        """Copy rows (n,), n at most `room`. Raises `ValueError` when they are not what the dataset holds."""
        stop = self.filled + len(rows)
        self._put(rows, slice(self.filled, stop), self.written + self.filled)
        self.filled = stop

    def write(self) -> None:
        """Append what waits to the dataset. Doing it again after an interruption writes the same rows once."""
        if not self.filled:
            return
        stop = self.written + self.filled
        self._dataset.resize((stop,))
        self._dataset[self.written : stop] = self._rows[: self.filled]
        self.written, self.filled = stop, 0

    def overwrite(self, first: int, rows: NDArray[Any]) -> None:
        """Replace rows that are in the dataset from `first` on; nothing may wait, and n is at most `room`."""
        self._put(rows, slice(0, len(rows)), first)
        self._dataset[first : first + len(rows)] = self._rows[: len(rows)]

    def _put(self, rows: NDArray[Any], where: slice, first: int) -> None:
        if rows.dtype != self._dtype:
            raise ValueError(
                f"{self._dataset.name} takes rows of {self._dtype}, got {rows.dtype}; "
                "make rows as labpgt.events describes them"
            )
        self._plain[where] = np.ascontiguousarray(rows).view(self._void)
        if self._key is not None and self._crcs is not None:
            self._crcs[where] = row_crcs(rows, self._key, first)
