"""Reads the file of a characterisation, however it ended. Nothing in it is imported or evaluated."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from labpgt.characterisation import layout
from labpgt.characterisation.bench import TABLES
from labpgt.characterisation.outcome import CURVES, OUTCOMES, VALUES
from labpgt.errors import StorageFault
from labpgt.session import schema
from labpgt.session.checked import Value, reported
from labpgt.session.constants import inside, there
from labpgt.session.recorded import Recorded


class Characterisation(Recorded):
    """One recorded characterisation: finished, crashed, or still going on in another process. A context manager.

    Raises as `labpgt.session.recorded.Recorded` says.
    """

    definition = schema.CHARACTERISATION_NAME
    what = "a characterisation"
    newest_schema = layout.SCHEMA_VERSION
    state_paths = layout.STATE
    state_chain = layout.STATE_CHAIN

    max_symbols: int
    tunable: dict[str, tuple[float, float]]
    """Range of each setting that could differ from shot to shot."""
    measures: tuple[str, ...]
    """That were asked for."""
    seed: int
    effort: dict[str, int]
    """Fields of `labpgt.characterisation.Effort`."""
    symbols: dict[str, int]
    """Of a shot, by table."""

    def _read(self) -> None:
        groups = (leaf for group in layout.CONSTANT_GROUPS for leaf in self._file.leaves(group))
        values = {value.path: value for value in self._file.read_all([*layout.CONSTANTS, *groups])}
        self._run = self.run_id = values[schema.RUN_ID].text()
        self._compare(values.values(), schema.CONSTANTS_CRC, "configuration, settings and provenance")
        self._take_constants(values)
        self.max_symbols = there(values, layout.MAX_SYMBOLS).integer()
        self.tunable = {name: _pair(value) for name, value in inside(values, layout.TUNABLE)}
        self.measures = tuple(there(values, layout.MEASURES).texts())
        self.seed = there(values, layout.SEED).integer()
        self.effort = {name: value.integer() for name, value in inside(values, layout.EFFORT)}
        self.symbols = {table: there(values, f"{layout.SYMBOLS}/{table}").integer() for table in TABLES}
        if self.nodes < 1 or min(self.symbols.values()) < 1:
            raise ValueError(f"{self.symbols} symbols of {self.nodes} nodes are no shots")
        self._read_rows(layout.table_dtypes(self.symbols, self.nodes))

    @property
    def n_shots(self) -> dict[str, int]:
        """Shots in the file, by table."""
        return {table: self._tables.lengths[layout.table_path(table)] for table in TABLES}

    def shots(self, table: str, start: int = 0, stop: int | None = None) -> NDArray[np.void]:
        """Return shots start to stop of a table, as rows of `labpgt.characterisation.bench.row_dtype`."""
        return self._rows(layout.table_path(table), start, stop)

    @property
    def values(self) -> dict[str, float]:
        """What was measured, by the names of `labpgt.characterisation.outcome.VALUES`."""
        found = {name: value.number() for name, value in self._found(layout.RESULTS, VALUES).items()}
        return {name: value for name, value in found.items() if not np.isnan(value)}

    @property
    def missing(self) -> dict[str, str]:
        """Why a value that was asked for was not measured."""
        found = {name: value.text() for name, value in self._found(layout.UNMEASURED, VALUES).items()}
        return {name: reason for name, reason in found.items() if reason}

    @property
    def done(self) -> tuple[str, ...]:
        """Measures that are done."""
        found = self._found(layout.DONE, OUTCOMES)
        return tuple(name for name in OUTCOMES if name in found and found[name].integer())

    @property
    def device_state(self) -> str:
        """ "quiet", "oscillating", or an empty text when it was not looked at."""
        return next((value.text() for value in self._found(layout.RESULTS, ("state",)).values()), "")

    @property
    def curves(self) -> dict[str, dict[str, NDArray[np.float64]]]:
        """The curves that were measured, by the names of `labpgt.characterisation.outcome.CURVES`."""
        curves = {}
        for name, kind in CURVES.items():
            found = self._found(f"{schema.ENTRY}/{name}", kind.columns)
            columns = {column: np.array(value.numbers()) for column, value in found.items()}
            if columns and all(len(column) for column in columns.values()):
                curves[name] = columns
        return curves

    def _found(self, group: str, names: Iterable[str]) -> dict[str, Value]:
        """Return results right inside a group, all checked; nothing when a process died over writing them."""
        with reported(self.path, StorageFault, "reading the results"):
            read = self._live(layout.result_paths, schema.RESULTS_CRC, "results")
            self._state()  # has a checksum of the results' checksum: these may be older ones
            by_path = {value.path: value for value in read or ()}
            return {name: by_path[f"{group}/{name}"] for name in names if f"{group}/{name}" in by_path}


def _pair(value: Value) -> tuple[float, float]:
    low, high = value.numbers()
    return low, high
