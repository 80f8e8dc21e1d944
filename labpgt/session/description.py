"""A session in the words of other formats: what each column is called, its unit, what it means, and the attributes.

NumPy alone is needed here; `to_xarray` and the exports share it, so that all of them say the same.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from labpgt.events import Flag, Purpose

if TYPE_CHECKING:
    from labpgt.session.reader import Session

TIME_UNITS = "seconds since 1970-01-01"
"""As the CF conventions write it; UTC."""
CONVENTIONS = "CF-1.9"


class Column(NamedTuple):
    """A column of one of the tables, where all tables stand side by side."""

    name: str
    long_name: str
    units: str = "1"
    """"1" for a pure number, as UDUNITS and CF have it."""
    is_coordinate: bool = False
    """Says what a row is, rather than what came out."""


DIMENSIONS = {"shots": "shot", "steps": "step", "epochs": "epoch"}
"""What one row of each table is called."""

COLUMNS = {
    "shots": {
        "index": Column("index", "number of the shot in the run"),
        "purpose": Column("purpose", "what the shot was taken for", is_coordinate=True),
        "epoch": Column("shot_epoch", "epoch of the shot, -1 outside of training", is_coordinate=True),
        "step": Column("shot_step", "update that the shot was taken for, -1 outside of training", is_coordinate=True),
        "sample": Column("sample", "sample that was driven", is_coordinate=True),
        "sign": Column("sign", "half of the pair: 1, -1, or 0 for an unperturbed shot", is_coordinate=True),
        "seed": Column("seed", "seed of the perturbation"),
        "delta": Column("delta", "size of the perturbation"),
        "drive": Column("drive", "drive"),
        "response": Column("response", "response"),
        "loss": Column("loss", "loss of the shot"),
        "time": Column("time", "time of the shot", TIME_UNITS, is_coordinate=True),
        "duration": Column("duration", "share of the device call's duration", "s"),
        "flags": Column("flags", "what the shot suffered from"),
    },
    "steps": {
        "step": Column("step", "update of the parameters", is_coordinate=True),
        "epoch": Column("step_epoch", "epoch of the update", is_coordinate=True),
        "shots": Column("step_shots", "training shots taken when the update was done", is_coordinate=True),
        "loss": Column("step_loss", "mean loss of the update's shots"),
        "difference": Column("difference", "root mean square of L+ - L- over the update's pairs"),
        "gradient_norm": Column("gradient_norm", "norm of the gradient"),
        "cosine": Column("cosine", "cosine of the twin's gradient with the measured one"),
        "learning_rate": Column("learning_rate", "learning rate"),
        "time": Column("step_time", "time of the update", TIME_UNITS, is_coordinate=True),
    },
    "epochs": {
        "epoch": Column("epoch", "pass through the training part", is_coordinate=True),
        "step": Column("epoch_step", "last update of the epoch", is_coordinate=True),
        "shots": Column("epoch_shots", "training shots taken when the epoch was done", is_coordinate=True),
        "train_loss": Column("train_loss", "training loss"),
        "test_loss": Column("test_loss", "test loss"),
        "train_accuracy": Column("train_accuracy", "training accuracy"),
        "test_accuracy": Column("test_accuracy", "test accuracy"),
        "parameters_sha256": Column("parameters_sha256", "SHA-256 of the parameters after the epoch"),
        "time": Column("epoch_time", "time of the end of the epoch", TIME_UNITS, is_coordinate=True),
    },
}
"""A column has its own name where only one table has it, and where not, a shot's keeps it if no dimension has it."""

SHOT = Column("shot", "row in the table of shots", is_coordinate=True)
SYMBOL = Column("symbol", "drive symbol within the shot", is_coordinate=True)
NODE = Column("node", "node within the symbol", is_coordinate=True)


def column_attributes(column: Column) -> dict[str, Any]:
    """Return `long_name`, `units`, and for a coded column what its values mean, as CF words it."""
    found: dict[str, Any] = {"long_name": column.long_name, "units": column.units}
    if column.name == "purpose":
        found["flag_values"] = np.array(list(Purpose), np.uint8)
        found["flag_meanings"] = " ".join(purpose.name.lower() for purpose in Purpose)
    if column.name == "flags":
        found["flag_masks"] = np.array(list(Flag), np.uint32)
        found["flag_meanings"] = " ".join(str(flag.name).lower() for flag in Flag)
    return found


def attributes(session: "Session") -> dict[str, str | int | float | list[float] | list[str]]:
    """Return everything but the tables and the parameters, as every format can hold it: flat, texts and numbers.

    A device's setting is `setting_NAME`, its unit `setting_NAME_units`; a measured scalar is `result_NAME`; where the
    run came from is `provenance_NAME`. What is not known (yet) is an empty text. Raises `StorageFault`.
    """
    found: dict[str, Any] = {
        "title": f"Training through {session.device}",
        "status": str(session.status),
        "reason": session.reason,
        "device": session.device,
        "start_time": session.start_time,
        "end_time": session.end_time,
        "schema_version": session.schema_version,
        "drive_limits": list(session.drive_limits),
        "training_samples": session.training_samples,
        "test_samples": session.test_samples,
        "planned_shots": session.planned_shots,
        "parameters_sha256": session.parameters_sha256,
        "warnings": "\n".join(session.warnings),
        "configuration": session.configuration,
    }
    # netCDF has no empty lists.
    if session.targets:
        found["targets"] = [_text(target) for target in session.targets]
    found |= {f"result_{name}": value for name, value in session.results.items()}
    for name, setting in session.settings.items():
        # netCDF has no truth values either.
        found[f"setting_{name}"] = int(setting.value) if isinstance(setting.value, bool) else setting.value
        found[f"setting_{name}_units"] = setting.unit
    found |= {f"provenance_{name}": value for name, value in session.provenance.items()}
    return {_text(name): _text(value) if isinstance(value, str) else value for name, value in found.items()}


def datetimes(seconds: NDArray[np.float64]) -> NDArray[np.datetime64]:
    """Return seconds since 1970 as times, to the nanosecond: finer than the float's own 0.2 µs.

    What is not finite or beyond the years 1678 to 2262 becomes not-a-time.
    """
    whole = np.floor(seconds)
    known = np.abs(whole) < 9.2e9
    whole = np.where(known, whole, 0)
    nanoseconds = np.rint(np.where(known, seconds - whole, 0) * 1e9).astype(np.int64)
    times = (whole.astype(np.int64) * 10**9 + nanoseconds).view("datetime64[ns]")
    times[~known] = np.datetime64("NaT")
    return times


def texts(values: NDArray[np.bytes_]) -> NDArray[np.object_]:
    """Return fixed-length UTF-8 texts as `str`; a byte that is none is replaced, for a file may hold anything."""
    return np.array([_text(value.decode("utf-8", "replace")) for value in values.tolist()], object)


def _text(text: str) -> str:
    """Return the text without what other formats refuse: half characters, and zero bytes."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
