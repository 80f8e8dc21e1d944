"""netCDF: all tables in one file, as `Session.to_xarray` has them, written in blocks."""

from typing import Any

import h5netcdf
import h5py
import numpy as np
from numpy.typing import NDArray

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
    texts,
)
from procedures.export.files import Sink
from procedures.export.source import Source

_INNER = {"drive": ("symbol",), "response": ("symbol", "node")}


class NetcdfWriter:
    """Every variable is uncompressed and in one piece, so that any part of it is read at the speed of the disk.

    xarray would hold a whole variable in memory to write it; h5netcdf, which it writes with, takes it in blocks.
    """

    def __init__(self, sink: Sink, source: Source, tables: tuple[str, ...]) -> None:
        self._written = dict.fromkeys(tables, 0)
        self._file = h5netcdf.File(sink, "w")
        self._file.attrs.update({"Conventions": CONVENTIONS, **attributes(source.session)})
        for table in tables:
            self._file.dimensions[DIMENSIONS[table]] = source.lengths[table]
        if "shots" in tables:
            self._file.dimensions["symbol"] = source.session.symbols
            self._file.dimensions["node"] = source.session.nodes
            for axis in (SHOT, SYMBOL, NODE):
                numbers = np.arange(self._file.dimensions[axis.name].size)
                self._variable(axis, (axis.name,), numbers.dtype)[:] = numbers
        for table in tables:
            self._table(table, source.dtypes[table])

    def _table(self, table: str, dtype: np.dtype[np.void]) -> None:
        columns = COLUMNS[table]
        beside = [c.name for c in columns.values() if c.is_coordinate and c.name != DIMENSIONS[table]]
        for name, column in columns.items():
            variable = self._variable(column, (DIMENSIONS[table], *_INNER.get(name, ())), dtype[name].base)
            if not column.is_coordinate:
                variable.attrs["coordinates"] = " ".join(beside)

    def write(self, table: str, rows: NDArray[np.void]) -> None:
        """Put rows of a table behind those that are there."""
        start = self._written[table]
        stop = self._written[table] = start + len(rows)
        for name, column in COLUMNS[table].items():
            values = rows[name]
            self._file[column.name][start:stop] = texts(values) if values.dtype.kind == "S" else values

    def close(self) -> None:
        """Write what waits."""
        self._file.close()

    def _variable(self, column: Column, dimensions: tuple[str, ...], dtype: np.dtype[Any]) -> Any:
        kind = h5py.string_dtype() if dtype.kind == "S" else dtype
        variable = self._file.create_variable(column.name, dimensions, kind)
        variable.attrs.update(column_attributes(column))
        if column.units == TIME_UNITS:
            variable.attrs["calendar"] = "proleptic_gregorian"
        return variable
