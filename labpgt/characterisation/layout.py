"""What the file of a characterisation contains and where: the one place that its writer and its reader share.

HDF5 with NeXus conventions, in the manner of `labpgt.session.schema`: fixed-length texts, no filters, a checksum to
every row and value, everything created before others may read (SWMR).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import h5py
import numpy as np

from labpgt.characterisation.bench import TABLES, Bench, row_dtype
from labpgt.characterisation.effort import Effort
from labpgt.characterisation.outcome import CURVES, OUTCOMES, VALUES, CurveKind
from labpgt.device import Setting
from labpgt.events import Status
from labpgt.session import schema
from labpgt.session.checksum import CRC_DTYPE, lengths_crc, raw, stored_dtype, table_key, units, values_crc
from labpgt.session.nodes import make_group, make_root, make_setting, make_table, make_text, make_texts

SCHEMA_VERSION = 1
"""Raised whenever a file of this version would be misread by an older reader."""

PLAN = "entry/plan"
MEASURES = "entry/plan/measures"
SEED = "entry/plan/seed"
EFFORT = "entry/plan/effort"
TUNABLE = "entry/instrument/tunable"
MAX_SYMBOLS = "entry/instrument/max_symbols"
SHOTS = "entry/shots"
SYMBOLS = "entry/plan/symbols"
RESULTS = "entry/results"
DEVICE_STATE = "entry/results/state"
UNMEASURED = "entry/unmeasured"
DONE = "entry/done"
"""Of each measure: 1 once it is done."""

STATE = (schema.STATUS, schema.REASON, schema.END_TIME)
STATE_CHAIN = (*STATE, schema.RESULTS_CRC, schema.LENGTHS_CRC)
CONSTANTS = (schema.VERSION, schema.RUN_ID, schema.DEFINITION, schema.TITLE, schema.CONFIGURATION, schema.START_TIME)
CONSTANT_GROUPS = (schema.PROVENANCE, schema.INSTRUMENT, PLAN)

_UNMEASURED_BYTES = 512
_STATE_BYTES = 16


@dataclass(frozen=True)
class Heading:
    """Everything that is known when a characterisation starts."""

    time: float
    """Seconds since 1970 (UTC)."""
    device: str
    settings: Mapping[str, Setting]
    tunable: Mapping[str, tuple[float, float]]
    nodes: int
    max_symbols: int
    drive_limits: tuple[float, float]
    symbols: Mapping[str, int]
    """Of a shot of each table."""
    configuration: str
    measures: Sequence[str]
    seed: int
    effort: Effort


def heading_of(bench: Bench, time: float, configuration: str, measures: Sequence[str]) -> Heading:
    """Return what is known of an open device and of what is to be measured."""
    device = bench.reservoir
    return Heading(
        time=time,
        device=device.name,
        settings=dict(device.settings()),
        tunable=bench.tunable,
        nodes=bench.nodes,
        max_symbols=device.max_symbols,
        drive_limits=device.drive_limits,
        symbols={table: bench.symbols(table) for table in TABLES},
        configuration=configuration,
        measures=measures,
        seed=bench.seed,
        effort=bench.effort,
    )


def table_path(table: str) -> str:
    """Return where the shots of a table stand."""
    return f"{SHOTS}/{table}"


def table_dtypes(symbols: Mapping[str, int], nodes: int) -> dict[str, np.dtype[np.void]]:
    """Return the tables of shots, by path, with their rows."""
    return {table_path(table): row_dtype(symbols[table], nodes) for table in TABLES}


def curve_path(curve: str, column: str) -> str:
    """Return where a column of a curve stands."""
    return f"{schema.ENTRY}/{curve}/{column}"


def result_paths() -> list[str]:
    """Return where everything stands that a measure finds."""
    return [
        *(f"{RESULTS}/{name}" for name in VALUES),
        DEVICE_STATE,
        *(f"{UNMEASURED}/{name}" for name in VALUES),
        *(f"{DONE}/{name}" for name in OUTCOMES),
        *(curve_path(curve, column) for curve, kind in CURVES.items() for column in kind.columns),
    ]


def lay_out(file: h5py.File, heading: Heading, provenance: Mapping[str, str], run_id: str) -> None:
    """Fill a new file with what is known, and with room for what is to come.

    Raises `ValueError` for a setting whose name cannot be the name of a dataset.
    """
    first = next((OUTCOMES[name][1][0] for name in _BEST if name in heading.measures), next(iter(CURVES)))
    make_root(file, first, heading.time, provenance)
    file[schema.VERSION] = np.int64(SCHEMA_VERSION)
    make_text(file, schema.RUN_ID, run_id)
    make_text(file, schema.DEFINITION, schema.CHARACTERISATION_NAME)
    make_text(file, schema.TITLE, f"Characterisation of {heading.device}")
    make_text(file, schema.CONFIGURATION, heading.configuration)
    make_text(file, schema.STATUS, Status.RUNNING, schema.STATUS_BYTES)
    make_text(file, schema.REASON, "", schema.REASON_BYTES)
    make_text(file, schema.START_TIME, schema.iso_time(heading.time), schema.TIME_BYTES)
    make_text(file, schema.END_TIME, "", schema.TIME_BYTES)
    make_texts(file, schema.PROVENANCE, provenance)
    _instrument(file, heading)
    _plan(file, heading)
    make_group(file, SHOTS, "NXcollection")
    for path, dtype in table_dtypes(heading.symbols, heading.nodes).items():
        make_table(file, path, stored_dtype(dtype))
    _results(file)
    for name, kind in CURVES.items():
        _curve(file, name, kind)
    make_group(file, schema.CHECKSUMS, "NXcollection")
    file[schema.LENGTHS_CRC] = CRC_DTYPE.type(lengths_crc({}, table_key(run_id, schema.LENGTHS_CRC)))
    for path, values in (
        (schema.CONSTANTS_CRC, _constants(file)),
        (schema.RESULTS_CRC, result_paths()),
        (schema.STATE_CRC, STATE_CHAIN),
    ):
        file[path] = CRC_DTYPE.type(_crc_of(file, path, values, run_id))


_BEST = ("stm", "transmission", "threshold", "memory", *OUTCOMES)
"""Which measure's curve a viewer shows first."""


def sum_up(file: h5py.File, run_id: str, *, ended: bool) -> None:
    """Write the checksums of results and state as they are now, and once all is over of how long tables are."""
    file[schema.RESULTS_CRC][()] = _crc_of(file, schema.RESULTS_CRC, result_paths(), run_id)
    if ended:
        lengths = {table_path(table): file[table_path(table)].shape[0] for table in TABLES}
        file[schema.LENGTHS_CRC][()] = lengths_crc(lengths, table_key(run_id, schema.LENGTHS_CRC))
    file[schema.STATE_CRC][()] = _crc_of(file, schema.STATE_CRC, STATE_CHAIN, run_id)


def unmeasured(reason: str) -> bytes:
    """Return a reason as the file keeps it."""
    return schema.encode(reason, _UNMEASURED_BYTES)


def _crc_of(file: h5py.File, place: str, paths: Iterable[str], run_id: str) -> int:
    values = ((path, raw(file[path]), units(file[path])) for path in paths)
    return values_crc(values, table_key(run_id, place))


def _constants(file: h5py.File) -> list[str]:
    paths = list(CONSTANTS)
    for group in CONSTANT_GROUPS:
        file[group].visititems(
            lambda name, node, group=group: paths.append(f"{group}/{name}") if isinstance(node, h5py.Dataset) else None
        )
    return paths


def _instrument(file: h5py.File, heading: Heading) -> None:
    make_group(file, schema.INSTRUMENT, "NXinstrument")
    make_text(file, schema.DEVICE, heading.device)
    file[schema.N_NODES] = np.int64(heading.nodes)
    file[MAX_SYMBOLS] = np.int64(heading.max_symbols)
    file[schema.DRIVE_LIMITS] = np.array(heading.drive_limits, np.float64)
    make_group(file, schema.SETTINGS, "NXcollection")
    for name, setting in heading.settings.items():
        make_setting(file[schema.SETTINGS], name, setting)
    make_group(file, TUNABLE, "NXcollection")
    for name, limits in heading.tunable.items():
        file[f"{TUNABLE}/{name}"] = np.array(limits, np.float64)


def _plan(file: h5py.File, heading: Heading) -> None:
    make_group(file, PLAN, "NXcollection")
    names = [schema.encode(name) for name in heading.measures]
    dtype = schema.text_dtype(max(map(len, names), default=1))
    file.create_dataset(MEASURES, data=np.array(names, dtype), dtype=dtype)
    # Seeds go to 2**63 - 1.
    file[SEED] = np.int64(heading.seed)
    for group, numbers in ((EFFORT, heading.effort._asdict()), (SYMBOLS, heading.symbols)):
        make_group(file, group, "NXcollection")
        for name, number in numbers.items():
            file[f"{group}/{name}"] = np.int64(number)


def _results(file: h5py.File) -> None:
    for group in (RESULTS, UNMEASURED, DONE):
        make_group(file, group, "NXcollection")
    for name, quantity in VALUES.items():
        value = file.create_dataset(f"{RESULTS}/{name}", data=np.nan)
        _describe(value, quantity.label, quantity.unit)
        make_text(file, f"{UNMEASURED}/{name}", "", _UNMEASURED_BYTES)
    make_text(file, DEVICE_STATE, "", _STATE_BYTES)
    for name in OUTCOMES:
        file[f"{DONE}/{name}"] = np.int64(0)


def _curve(file: h5py.File, name: str, kind: CurveKind) -> None:
    signal, *others = kind.signals
    attributes = {"signal": signal, "axes": [kind.axis], f"{kind.axis}_indices": 0}
    if others:
        attributes["auxiliary_signals"] = others
    curve = make_group(file, f"{schema.ENTRY}/{name}", "NXdata", **attributes)
    curve["title"] = kind.title
    for column, quantity in kind.columns.items():
        make_table(curve, column, np.dtype(np.float64))
        _describe(curve[column], quantity.label, quantity.unit)


def _describe(dataset: h5py.Dataset, label: str, unit: str) -> None:
    for name, text in (("long_name", f"{label} ({unit})" if unit else label), ("units", unit)):
        data = schema.encode(text)
        dataset.attrs.create(name, data, dtype=schema.text_dtype(len(data)))
