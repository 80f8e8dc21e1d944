"""A session as an `xarray.Dataset` that reads its shots when they are asked for."""

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

from labpgt.events import shot_dtype
from labpgt.session.description import (
    COLUMNS,
    CONVENTIONS,
    DIMENSIONS,
    NODE,
    SHOT,
    SYMBOL,
    TIME_UNITS,
    Column,
    attributes,
    column_attributes,
    datetimes,
    texts,
)
from labpgt.session.reader import Session

_BLOCK_BYTES = 16 << 20
_INNER = {"drive": ("symbol",), "response": ("symbol", "node")}


def to_xarray(session: Session, shots: slice = slice(None)) -> xr.Dataset:
    """Return the session as one dataset; see `Session.to_xarray`."""
    dtype = shot_dtype(session.symbols, session.nodes)
    rows = range(session.n_shots)[shots]
    variables = {
        "shot": _variable(SHOT, ("shot",), np.arange(rows.start, rows.stop, rows.step)),
        "symbol": _variable(SYMBOL, ("symbol",), np.arange(session.symbols)),
        "node": _variable(NODE, ("node",), np.arange(session.nodes)),
    }
    for name, column in COLUMNS["shots"].items():
        data = _lazy(_ShotColumn(session, rows, name, dtype))
        variables[column.name] = _variable(column, ("shot", *_INNER.get(name, ())), data)
    for table, values in (("steps", session.steps()), ("epochs", session.epochs())):
        for name, column in COLUMNS[table].items():
            variables[column.name] = _variable(column, (DIMENSIONS[table],), _plain(values[name], name))
    described = (SHOT, SYMBOL, NODE, *(column for table in COLUMNS.values() for column in table.values()))
    coordinates = {column.name for column in described if column.is_coordinate}
    return xr.Dataset(
        {name: variable for name, variable in variables.items() if name not in coordinates},
        {name: variable for name, variable in variables.items() if name in coordinates},
        {"Conventions": CONVENTIONS, **attributes(session)},
    )


def _lazy(array: BackendArray) -> Any:
    """Wrap as xarray wraps what it opens itself: nothing is written back, and what was read whole is kept."""
    copied = indexing.CopyOnWriteArray(indexing.LazilyIndexedArray(array))  # type: ignore[arg-type]
    return indexing.MemoryCachedArray(copied)  # type: ignore[no-untyped-call]


def _variable(column: Column, dimensions: tuple[str, ...], data: Any) -> xr.Variable:
    found, encoding = column_attributes(column), {}
    if column.units == TIME_UNITS:
        # A datetime64 knows its unit; this one is for whoever writes the dataset into a file.
        encoding = {"units": found.pop("units"), "calendar": "proleptic_gregorian", "dtype": "float64"}
    return xr.Variable(dimensions, data, found, encoding)


def _plain(values: NDArray[Any], name: str) -> NDArray[Any]:
    """Return a column of rows on its own, so that the rows can be let go."""
    if name == "time":
        return datetimes(values)
    return texts(values).astype(str) if values.dtype.kind == "S" else np.ascontiguousarray(values)


class _ShotColumn(BackendArray):
    """One column of some of the shots, read in blocks of rows; a block without a wanted row is passed over."""

    def __init__(self, session: Session, rows: range, name: str, dtype: np.dtype[np.void]) -> None:
        self._session = session
        self._rows = rows
        self._name = name
        self._block = max(1, _BLOCK_BYTES // dtype.itemsize)
        column = dtype[name]
        self.dtype = np.dtype("datetime64[ns]") if name == "time" else column.base
        self.shape = (len(rows), *column.shape)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> Any:
        asked, *inner = key
        one = isinstance(asked, int | np.integer)
        wanted = np.atleast_1d(np.arange(self._rows.start, self._rows.stop, self._rows.step)[asked])
        # In the order of the file, however they were asked for.
        order = np.argsort(wanted, kind="stable")
        ordered = wanted[order]
        # What the inner axes leave: an array of positions takes them one after the other, as "outer" means.
        probe = self._inner(np.empty((0, *self.shape[1:]), self.dtype), inner)
        found = np.empty((len(wanted), *probe.shape[1:]), self.dtype)
        start = 0
        while start < len(ordered):
            first = int(ordered[start])
            stop = int(np.searchsorted(ordered, first + self._block))
            read = self._session.shots(first, int(ordered[stop - 1]) + 1)
            values = self._inner(_plain(read[self._name], self._name), inner)
            found[order[start:stop]] = values[ordered[start:stop] - first]
            start = stop
        return found[0] if one else found

    @staticmethod
    def _inner(values: NDArray[Any], keys: list[Any]) -> NDArray[Any]:
        # From the last axis on, so that an integer, which takes its axis away, moves none that is still to come.
        for axis in range(len(keys), 0, -1):
            values = values[(*[slice(None)] * axis, keys[axis - 1])]
        return values
