"""CSV and Parquet: one table a file, one column a number, through Arrow."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from labpgt.session.description import COLUMNS, TIME_UNITS, attributes, datetimes, texts
from procedures.export.files import Sink
from procedures.export.source import Source

WIDE = 1000
"""A Parquet file pays for every column in every group of rows: with more values a shot, they go into lists."""
_ARRAYS = ("drive", "response")


class CsvWriter:
    """Numbers with as many digits as they need to be read back exactly; times as seconds since 1970."""

    def __init__(self, sink: Sink, source: Source, tables: tuple[str, ...]) -> None:
        (table,) = tables
        empty = np.empty(0, source.dtypes[table])
        self._names = [name for name, _ in _flat(empty)]
        schema = pa.schema([(name, pa.array(values).type) for name, values in _flat(empty)])
        self._writer = pa.csv.CSVWriter(sink, schema)

    def write(self, _table: str, rows: NDArray[np.void]) -> None:
        """Append rows of the table."""
        self._writer.write_batch(pa.record_batch([pa.array(values) for _, values in _flat(rows)], self._names))

    def close(self) -> None:
        """Write what waits."""
        self._writer.close()


class ParquetWriter:
    """Times as timestamps in UTC; the session's attributes are the schema's metadata, units those of its fields.

    Each block of rows becomes a row group.
    """

    def __init__(self, sink: Sink, source: Source, tables: tuple[str, ...]) -> None:
        (table,) = tables
        dtype = source.dtypes[table]
        self._is_wide = sum(int(np.prod(dtype[name].shape)) for name in dtype.names or ()) > WIDE
        empty = self._batch(np.empty(0, dtype))
        fields = [field.with_metadata(_metadata(table, field.name)) for field in empty.schema]
        metadata = {name: _as_text(value) for name, value in attributes(source.session).items()}
        self._schema = pa.schema(fields, {**metadata, "table": table})
        # Measured values hardly repeat: looking for those that do would cost time and gain nothing.
        repeating = [field.name for field in fields if not _holds_reals(field.type)]
        self._writer = pa.parquet.ParquetWriter(sink, self._schema, use_dictionary=repeating)

    def write(self, _table: str, rows: NDArray[np.void]) -> None:
        """Append rows of the table."""
        self._writer.write_batch(self._batch(rows).cast(self._schema), row_group_size=len(rows))

    def close(self) -> None:
        """Write what waits."""
        self._writer.close()

    def _batch(self, rows: NDArray[np.void]) -> pa.RecordBatch:
        columns = dict(_lists(rows) if self._is_wide else _flat(rows))
        columns["time"] = pa.array(datetimes(rows["time"])).cast(pa.timestamp("ns", "UTC"))
        return pa.record_batch([pa.array(values) for values in columns.values()], list(columns))


def _flat(rows: NDArray[np.void]) -> Iterator[tuple[str, Any]]:
    """Yield each column; an array's values each as one, `drive_SYMBOL` and `response_SYMBOL_NODE`."""
    for name in rows.dtype.names or ():
        values = rows[name]
        if name in _ARRAYS:
            names = ["_".join(map(str, (name, *place))) for place in np.ndindex(values.shape[1:])]
            # Each becomes contiguous, and Arrow takes it as it is.
            yield from zip(names, np.ascontiguousarray(values.reshape(len(rows), len(names)).T), strict=True)
        else:
            yield name, _one(values)


def _lists(rows: NDArray[np.void]) -> Iterator[tuple[str, Any]]:
    """Yield each column; an array's values as a list (symbols) of lists (nodes), of fixed lengths."""
    for name in rows.dtype.names or ():
        values = rows[name]
        if name in _ARRAYS:
            nested = pa.array(np.ascontiguousarray(values).ravel())
            for length in reversed(values.shape[1:]):
                nested = pa.FixedSizeListArray.from_arrays(nested, length)
            yield name, nested
        else:
            yield name, _one(values)


def _one(values: NDArray[Any]) -> Any:
    if values.dtype.kind == "S":
        return pa.array(texts(values), pa.string())
    return np.ascontiguousarray(values)


def _holds_reals(kind: pa.DataType) -> bool:
    while pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    return bool(pa.types.is_floating(kind) or pa.types.is_timestamp(kind))


def _metadata(table: str, name: str) -> dict[str, str]:
    """Return unit and description of a column; a timestamp knows its unit itself."""
    column, place = COLUMNS[table].get(name), []
    if column is None:
        name, *place = name.split("_")
        column = COLUMNS[table][name]
    axes = zip(("symbol", "node"), place, strict=False)
    return {
        "long_name": ", ".join([column.long_name, *(f"{axis} {number}" for axis, number in axes)]),
        "units": "UTC" if column.units == TIME_UNITS else column.units,
    }


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
