"""Checksums of a session's rows and values, so that a damaged file is never read as a good one.

HDF5 guards its own metadata, not the data. Every row of a table ends in the CRC-32 of its bytes, begun at a number that
depends on the run, the table and the place in it: a row that was copied elsewhere, or from another run, does not match.
The checksums of values and checkpoints begin so, too.
"""

import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import h5py
import numpy as np
from numpy.typing import DTypeLike, NDArray

CRC_DTYPE = np.dtype("<u4")
CRC = "crc32"
"""Name of the column."""
_MODULO = 1 << 32


def stored_dtype(dtype: DTypeLike) -> np.dtype[np.void]:
    """Return the row as it is stored: with a last column for its checksum."""
    fields = np.dtype(dtype)
    return np.dtype([*((name, fields[name]) for name in fields.names or ()), (CRC, CRC_DTYPE)])


def table_key(run: str, place: str) -> int:
    """Return where the checksums of a table, or of other values, of this run begin."""
    return zlib.crc32(f"{run} {place}".encode())


def row_crcs(rows: NDArray[Any], key: int, first: int) -> list[int]:
    """Return the checksums of rows (n,) that stand from `first` on in the table of this key."""
    data = rows.tobytes()
    start = key + first
    if len(rows) == 1:
        return [zlib.crc32(data, start % _MODULO)]
    size = rows.dtype.itemsize
    view = memoryview(data)
    return [zlib.crc32(view[i * size : (i + 1) * size], (start + i) % _MODULO) for i in range(len(rows))]


def split(stored: NDArray[np.void], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return rows of `dtype` (n,) out of stored ones, without copying."""
    return np.ndarray(stored.shape, dtype, buffer=stored, strides=stored.strides)


def matching(stored: NDArray[np.void], dtype: np.dtype[Any], key: int, first: int) -> NDArray[np.bool_]:
    """Say of each stored row (n,) whether it matches its checksum."""
    matches: NDArray[np.bool_] = stored[CRC] == row_crcs(split(stored, dtype), key, first)
    return matches


def checkpoint_crc(cursor: Iterable[int], arrays: Mapping[str, NDArray[Any]], key: int) -> int:
    """Return one checksum of a checkpoint: where it was taken, and its arrays by path."""
    crc = zlib.crc32(np.array(list(cursor), "<i8").tobytes(), key)
    for path in sorted(arrays):
        crc = zlib.crc32(f"{path}\n".encode(), crc)
        crc = zlib.crc32(np.ascontiguousarray(arrays[path]).tobytes(), crc)
    return crc


def values_crc(values: Iterable[tuple[str, NDArray[Any], str]], key: int) -> int:
    """Return one checksum of named values with their units, whatever order they come in."""
    crc = key
    for name, value, unit in sorted(values, key=lambda item: item[0]):
        crc = zlib.crc32(f"{name} {value.dtype.str} {value.shape} {unit}\n".encode(), crc)
        crc = zlib.crc32(value.tobytes(), crc)
    return crc


def lengths_crc(lengths: Mapping[str, int], key: int) -> int:
    """Return one checksum of how many rows each table has; of no tables while rows still come."""
    return values_crc(((path, np.array(rows, "<i8"), "rows") for path, rows in lengths.items()), key)


def units(dataset: h5py.Dataset) -> str:
    """Return the units of a value; empty when it has none."""
    text = dataset.attrs.get("units", "")
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)


def raw(dataset: h5py.Dataset) -> NDArray[Any]:
    """Return a whole dataset as it is stored, also a text with its padding."""
    return np.asarray(dataset[()], dataset.dtype)
