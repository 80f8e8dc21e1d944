"""What a session file contains and where: the one place that writer and reader share.

HDF5 with NeXus conventions. Every text is a fixed-length UTF-8 string and no dataset is filtered, so nothing in a
file needs more memory than its own size, and a value can be overwritten while other processes read (SWMR).
"""

from datetime import UTC, datetime

import h5py
import numpy as np
from numpy.typing import DTypeLike

SCHEMA_VERSION = 2
"""Raised whenever a file of this version would be misread by an older reader.

1: the first. 2: a checksum to every row and value, whole training state in checkpoints, warnings with the shot they
came at, resumptions.
"""
CHECKSUMS_SINCE = 2

CREATOR = "labpgt"
DEFINITION_NAME = "labpgt_session"
CHARACTERISATION_NAME = "labpgt_characterisation"
LIBVER = ("v110", "latest")
"""SWMR needs the format of HDF5 1.10. Nothing newer is used, so viewers built on older libraries can read it too."""

ENTRY = "entry"
STATUS = "entry/status"
REASON = "entry/reason"
START_TIME = "entry/start_time"
END_TIME = "entry/end_time"
VERSION = "entry/schema_version"
TITLE = "entry/title"
DEFINITION = "entry/definition"
CONFIGURATION = "entry/configuration"
PARAMETERS_SHA256 = "entry/parameters_sha256"
RUN_ID = "entry/entry_identifier_uuid"
WARNINGS = "entry/warnings"
SHOTS = "entry/shots"
STEPS = "entry/steps"
EPOCHS = "entry/epochs"
PROVENANCE = "entry/provenance"
TASK = "entry/task"
TRAINING_SAMPLES = "entry/task/training_samples"
TEST_SAMPLES = "entry/task/test_samples"
PLANNED_SHOTS = "entry/task/planned_shots"
TARGETS = "entry/task/targets"
INSTRUMENT = "entry/instrument"
DEVICE = "entry/instrument/name"
N_NODES = "entry/instrument/n_nodes"
SYMBOLS = "entry/instrument/symbols"
DRIVE_LIMITS = "entry/instrument/drive_limits"
SETTINGS = "entry/instrument/settings"
RESULTS = "entry/results"
CHECKPOINTS = "entry/checkpoints"
CHECKPOINT_PARAMETERS = "entry/checkpoints/parameters"
CHECKPOINT_STATE = "entry/checkpoints/state"
CHECKPOINT_CURSOR = "entry/checkpoints/cursor"
RESUMPTIONS = "entry/resumptions"
CHECKSUMS = "entry/checksums"
CONSTANTS_CRC = "entry/checksums/constants"
STATE_CRC = "entry/checksums/state"
RESULTS_CRC = "entry/checksums/results"
LENGTHS_CRC = "entry/checksums/lengths"
"""Of the numbers of rows, once the run has ended: HDF5 cannot tell an older list of chunks from the last one."""
LEARNING_CURVE = "entry/learning_curve"

CURVE = {
    "shots": "training shots",
    "train_loss": "training loss",
    "test_loss": "test loss",
    "test_accuracy": "test accuracy",
}
"""Columns of an epoch that make the learning curve, each with the label a viewer shows."""

CURSOR_V1_DTYPE = np.dtype([("shot", "<i8"), ("step", "<i8"), ("epoch", "<i8"), ("valid", "u1")])
CURSOR_DTYPE = np.dtype([("shot", "<i8"), ("step", "<i8"), ("epoch", "<i8"), ("valid", "u1"), ("crc32", "<u4")])
WARNING_DTYPE = np.dtype([("shot", "<i8"), ("message", "S1024")])
"""What a person should look at, and how many shots had been taken when it came; UTF-8."""

TABLES = (SHOTS, STEPS, EPOCHS, WARNINGS)
STATE = (STATUS, REASON, END_TIME, PARAMETERS_SHA256)
"""Texts that change at the end of a run."""
STATE_CHAIN = (*STATE, RESULTS_CRC, LENGTHS_CRC)
"""What the checksum of the state is of: older results do not go with a newer end, whole as they may be."""
CONSTANTS = (VERSION, RUN_ID, DEFINITION, TITLE, CONFIGURATION, START_TIME)
CONSTANT_GROUPS = (PROVENANCE, TASK, INSTRUMENT, RESUMPTIONS)
"""What is known when a process starts to write, and never changes while it does."""

STATUS_BYTES = 16
REASON_BYTES = 4096
TIME_BYTES = 40
SHA256_BYTES = 64

CHUNK_ROWS = 64
CHUNK_BYTES = 1 << 20
"""A chunk is smaller than this unless one row is larger."""


def chunk_rows(dtype: DTypeLike) -> int:
    """Rows in a chunk: 64, or as many of a long row as fit into 1 MiB, or one."""
    return max(1, min(CHUNK_ROWS, CHUNK_BYTES // np.dtype(dtype).itemsize))


def text_dtype(length: int) -> np.dtype[np.bytes_]:
    """Return the fixed-length UTF-8 string type of so many bytes."""
    dtype: np.dtype[np.bytes_] = h5py.string_dtype("utf-8", max(1, length))
    return dtype


def encode(text: str, length: int | None = None) -> bytes:
    """Return the text as UTF-8, cut between characters (with an ellipsis) where it is longer than `length` bytes."""
    data = text.encode("utf-8", "replace")
    if length is None or len(data) <= length:
        return data
    ellipsis = "…".encode()
    return data[: length - len(ellipsis)].decode("utf-8", "ignore").encode() + ellipsis


def iso_time(seconds: float) -> str:
    """Return seconds since 1970 as ISO 8601 in UTC, to the microsecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")
