"""Creates every group, dataset and attribute of a session file; none can be added once others read it (SWMR)."""

from typing import Any

import h5py
import numpy as np

from labpgt.device import Setting
from labpgt.errors import StorageFault
from labpgt.events import EPOCH_DTYPE, RESULTS, STEP_DTYPE, RunStarted, Status, shot_dtype
from labpgt.session import schema


def lay_out(file: h5py.File, started: RunStarted, provenance: dict[str, str]) -> None:
    """Fill a new file with everything that is known when a run starts, and with room for what is to come.

    Raises `StorageFault` for a setting whose name cannot be the name of a dataset.
    """
    file.attrs.update(
        NX_class="NXroot",
        default=schema.ENTRY,
        creator=schema.CREATOR,
        creator_version=provenance["labpgt"],
        file_time=schema.iso_time(started.time),
        h5py_version=provenance["h5py"],
        HDF5_Version=provenance["libhdf5"],
    )
    _group(file, schema.ENTRY, "NXentry", default=schema.LEARNING_CURVE.removeprefix(f"{schema.ENTRY}/"))
    file[schema.VERSION] = np.int64(schema.SCHEMA_VERSION)
    _text(file, schema.DEFINITION, schema.DEFINITION_NAME)
    _text(file, schema.TITLE, f"Training through {started.device}")
    _text(file, schema.CONFIGURATION, started.config_toml)
    _text(file, schema.STATUS, Status.RUNNING, schema.STATUS_BYTES)
    _text(file, schema.REASON, "", schema.REASON_BYTES)
    _text(file, schema.START_TIME, schema.iso_time(started.time), schema.TIME_BYTES)
    _text(file, schema.END_TIME, "", schema.TIME_BYTES)
    _text(file, schema.PARAMETERS_SHA256, "", schema.SHA256_BYTES)

    _group(file, schema.PROVENANCE, "NXcollection")
    for name, value in provenance.items():
        _text(file, f"{schema.PROVENANCE}/{name}", value)
    _task(file, started)
    _instrument(file, started)

    _table(file, schema.SHOTS, shot_dtype(started.symbols, started.nodes))
    _table(file, schema.STEPS, STEP_DTYPE)
    _table(file, schema.EPOCHS, EPOCH_DTYPE)
    _table(file, schema.WARNINGS, schema.text_dtype(schema.WARNING_BYTES))
    _group(file, schema.RESULTS, "NXcollection")
    for name, description in RESULTS.items():
        file[f"{schema.RESULTS}/{name}"] = np.nan
        file[f"{schema.RESULTS}/{name}"].attrs["description"] = description
    _group(file, schema.CHECKPOINTS, "NXcollection")
    # Written out now, zeros and all: an overwrite then needs no new space on a disk that fills up.
    file[schema.CHECKPOINT_PARAMETERS] = np.zeros((2, started.parameters), np.float32)
    file[schema.CHECKPOINT_CURSOR] = np.zeros(2, schema.CURSOR_DTYPE)
    _learning_curve(file)


def _task(file: h5py.File, started: RunStarted) -> None:
    _group(file, schema.TASK, "NXcollection")
    file[schema.TRAINING_SAMPLES] = np.int64(started.training_samples)
    file[schema.PLANNED_SHOTS] = np.int64(started.planned_shots)
    file[schema.TEST_SAMPLES] = np.int64(started.test_samples)
    targets = [schema.encode(target) for target in started.targets]
    dtype = schema.text_dtype(max(map(len, targets), default=1))
    file.create_dataset(schema.TARGETS, data=np.array(targets, dtype), dtype=dtype)


def _instrument(file: h5py.File, started: RunStarted) -> None:
    _group(file, schema.INSTRUMENT, "NXinstrument")
    _text(file, schema.DEVICE, started.device)
    file[schema.N_NODES] = np.int64(started.nodes)
    file[schema.SYMBOLS] = np.int64(started.symbols)
    file[schema.DRIVE_LIMITS] = np.array(started.drive_limits, np.float64)
    _group(file, schema.SETTINGS, "NXcollection")
    for name, setting in started.settings.items():
        _setting(file[schema.SETTINGS], name, setting)


def _setting(group: h5py.Group, name: str, setting: Setting) -> None:
    if "/" in name or name in ("", "."):
        raise StorageFault(
            f"{group.file.filename}: the device's setting {name!r} cannot be the name of a dataset; "
            "give it a name without '/' in the device's settings()"
        )
    if isinstance(setting.value, str):
        _text(group, name, setting.value)
    else:
        group[name] = setting.value
    group[name].attrs["units"] = setting.unit


def _learning_curve(file: h5py.File) -> None:
    signal, *others = (name for name in schema.CURVE if name != "shots")
    curve = _group(
        file, schema.LEARNING_CURVE, "NXdata", signal=signal, auxiliary_signals=others, axes=["shots"], shots_indices=0
    )
    curve["title"] = "Learning curve"
    for name, label in schema.CURVE.items():
        _table(curve, name, EPOCH_DTYPE[name])
        curve[name].attrs.update(long_name=label, units="")


def _group(parent: h5py.Group, name: str, nx_class: str, **attributes: Any) -> h5py.Group:
    group = parent.create_group(name)
    group.attrs.update(NX_class=nx_class, **attributes)
    return group


def _text(parent: h5py.Group, name: str, text: str, length: int | None = None) -> None:
    data = schema.encode(text, length)
    parent.create_dataset(name, data=data, dtype=schema.text_dtype(length or len(data)))


def _table(parent: h5py.Group, name: str, dtype: np.dtype[Any]) -> None:
    parent.create_dataset(name, (0,), dtype, maxshape=(None,), chunks=(schema.chunk_rows(dtype),))
