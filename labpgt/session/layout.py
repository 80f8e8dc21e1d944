"""Creates every group, dataset and attribute of a session file; none can be added once others read it (SWMR)."""

from collections.abc import Iterable, Mapping, Sequence

import h5py
import numpy as np

from labpgt.events import EPOCH_DTYPE, RESULTS, STEP_DTYPE, RunStarted, Status, shot_dtype
from labpgt.session import schema
from labpgt.session.checksum import CRC_DTYPE, lengths_crc, raw, stored_dtype, table_key, units, values_crc
from labpgt.session.constants import Resumption
from labpgt.session.nodes import make_group, make_root, make_setting, make_table, make_text, make_texts


def lay_out(
    file: h5py.File,
    started: RunStarted,
    provenance: Mapping[str, str],
    run_id: str,
    resumptions: Sequence[Resumption] = (),
) -> None:
    """Fill a new file with everything that is known when a run starts, and with room for what is to come.

    Raises `ValueError` for a setting whose name cannot be the name of a dataset.
    """
    make_root(file, schema.LEARNING_CURVE.removeprefix(f"{schema.ENTRY}/"), started.time, provenance)
    file[schema.VERSION] = np.int64(schema.SCHEMA_VERSION)
    make_text(file, schema.RUN_ID, run_id)
    make_text(file, schema.DEFINITION, schema.DEFINITION_NAME)
    make_text(file, schema.TITLE, f"Training through {started.device}")
    make_text(file, schema.CONFIGURATION, started.config_toml)
    make_text(file, schema.STATUS, Status.RUNNING, schema.STATUS_BYTES)
    make_text(file, schema.REASON, "", schema.REASON_BYTES)
    make_text(file, schema.START_TIME, schema.iso_time(started.time), schema.TIME_BYTES)
    make_text(file, schema.END_TIME, "", schema.TIME_BYTES)
    make_text(file, schema.PARAMETERS_SHA256, "", schema.SHA256_BYTES)

    make_texts(file, schema.PROVENANCE, provenance)
    _task(file, started)
    _instrument(file, started)
    make_group(file, schema.RESUMPTIONS, "NXcollection")
    for number, resumption in enumerate(resumptions, 1):
        _resumption(file, f"{schema.RESUMPTIONS}/{number:04}", resumption)

    for path, dtype in table_dtypes(started.symbols, started.nodes).items():
        make_table(file, path, stored_dtype(dtype))
    make_group(file, schema.RESULTS, "NXcollection")
    for name, description in RESULTS.items():
        file[f"{schema.RESULTS}/{name}"] = np.nan
        file[f"{schema.RESULTS}/{name}"].attrs["description"] = description
    _checkpoints(file, started)
    _learning_curve(file)
    make_group(file, schema.CHECKSUMS, "NXcollection")
    file[schema.LENGTHS_CRC] = CRC_DTYPE.type(lengths_crc({}, table_key(run_id, schema.LENGTHS_CRC)))
    for path, values in (
        (schema.CONSTANTS_CRC, _constants(file)),
        (schema.RESULTS_CRC, result_paths()),
        (schema.STATE_CRC, schema.STATE_CHAIN),
    ):
        file[path] = CRC_DTYPE.type(crc_of(file, path, values))


def table_dtypes(symbols: int, nodes: int) -> dict[str, np.dtype[np.void]]:
    """Return the tables of a session with their rows, as events carry them."""
    return {
        schema.SHOTS: shot_dtype(symbols, nodes),
        schema.STEPS: STEP_DTYPE,
        schema.EPOCHS: EPOCH_DTYPE,
        schema.WARNINGS: schema.WARNING_DTYPE,
    }


def result_paths() -> list[str]:
    """Return where the results stand."""
    return [f"{schema.RESULTS}/{name}" for name in RESULTS]


def crc_of(file: h5py.File, place: str, paths: Iterable[str]) -> int:
    """Return the checksum, to be kept at `place`, of values as they stand in the file now."""
    # Not by file[path], which asks HDF5 for the whole file's mode each time.
    found = ((path, h5py.Dataset(h5py.h5d.open(file.id, path.encode()))) for path in paths)
    values = ((path, raw(dataset), units(dataset)) for path, dataset in found)
    return values_crc(values, table_key(run_of(file), place))


def sum_up(file: h5py.File, *, ended: bool) -> None:
    """Write the checksums of results and state as they are now, and once the run has ended of how long tables are."""
    file[schema.RESULTS_CRC][()] = crc_of(file, schema.RESULTS_CRC, result_paths())
    if ended:
        lengths = {path: file[path].shape[0] for path in schema.TABLES}
        file[schema.LENGTHS_CRC][()] = lengths_crc(lengths, table_key(run_of(file), schema.LENGTHS_CRC))
    file[schema.STATE_CRC][()] = crc_of(file, schema.STATE_CRC, schema.STATE_CHAIN)


def run_of(file: h5py.File) -> str:
    """Return the identifier of the run."""
    run_id: str = file[schema.RUN_ID][()].decode()
    return run_id


def _constants(file: h5py.File) -> list[str]:
    paths = list(schema.CONSTANTS)
    for group in schema.CONSTANT_GROUPS:
        file[group].visititems(
            lambda name, node, group=group: paths.append(f"{group}/{name}") if isinstance(node, h5py.Dataset) else None
        )
    return paths


def _checkpoints(file: h5py.File, started: RunStarted) -> None:
    make_group(file, schema.CHECKPOINTS, "NXcollection")
    # Written out now, zeros and all: an overwrite then needs no new space on a disk that fills up.
    file[schema.CHECKPOINT_PARAMETERS] = np.zeros((2, started.parameters), np.float32)
    file[schema.CHECKPOINT_CURSOR] = np.zeros(2, schema.CURSOR_DTYPE)
    make_group(file, schema.CHECKPOINT_STATE, "NXcollection")
    for name, array in started.state.items():
        file[f"{schema.CHECKPOINT_STATE}/{name}"] = np.zeros((2, *array.shape), array.dtype)


def _resumption(file: h5py.File, path: str, resumption: Resumption) -> None:
    make_group(file, path, "NXcollection")
    make_text(file, f"{path}/time", resumption.time)
    file[f"{path}/shot"] = np.int64(resumption.shot)
    make_text(file, f"{path}/status", resumption.status)
    make_text(file, f"{path}/reason", resumption.reason)
    make_texts(file, f"{path}/provenance", resumption.provenance)
    settings = make_group(file, f"{path}/settings", "NXcollection")
    for name, setting in resumption.settings.items():
        make_setting(settings, name, setting)


def _task(file: h5py.File, started: RunStarted) -> None:
    make_group(file, schema.TASK, "NXcollection")
    file[schema.TRAINING_SAMPLES] = np.int64(started.training_samples)
    file[schema.PLANNED_SHOTS] = np.int64(started.planned_shots)
    file[schema.TEST_SAMPLES] = np.int64(started.test_samples)
    targets = [schema.encode(target) for target in started.targets]
    dtype = schema.text_dtype(max(map(len, targets), default=1))
    file.create_dataset(schema.TARGETS, data=np.array(targets, dtype), dtype=dtype)


def _instrument(file: h5py.File, started: RunStarted) -> None:
    make_group(file, schema.INSTRUMENT, "NXinstrument")
    make_text(file, schema.DEVICE, started.device)
    file[schema.N_NODES] = np.int64(started.nodes)
    file[schema.SYMBOLS] = np.int64(started.symbols)
    file[schema.DRIVE_LIMITS] = np.array(started.drive_limits, np.float64)
    make_group(file, schema.SETTINGS, "NXcollection")
    for name, setting in started.settings.items():
        make_setting(file[schema.SETTINGS], name, setting)


def _learning_curve(file: h5py.File) -> None:
    signal, *others = (name for name in schema.CURVE if name != "shots")
    curve = make_group(
        file, schema.LEARNING_CURVE, "NXdata", signal=signal, auxiliary_signals=others, axes=["shots"], shots_indices=0
    )
    curve["title"] = "Learning curve"
    for name, label in schema.CURVE.items():
        make_table(curve, name, EPOCH_DTYPE[name])
        curve[name].attrs.update(long_name=label, units="")
    # What xarray and netCDF know an axis by.
    curve["shots"].make_scale("shots")
    for name in (signal, *others):
        curve[name].dims[0].attach_scale(curve["shots"])
