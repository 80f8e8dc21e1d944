"""Session files with contents that tell every mistake in passing them on."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labpgt.device import Setting
from labpgt.events import (
    EPOCH_DTYPE,
    STEP_DTYPE,
    EpochDone,
    Measured,
    RunStarted,
    RunStopped,
    RunWarning,
    ShotsTaken,
    Status,
    StepDone,
    shot_dtype,
)
from labpgt.session import SessionWriter

RECORDED = Path(__file__).parent / "labpgt" / "sessions"
ODD = (np.nan, np.inf, -np.inf, -0.0, 0.1, 1 / 3, 1e22, 123456789.0, 5e-324, 1.7976931348623157e308)
STARTED = RunStarted(
    time=1.75e9,
    config_toml='# für "alles"\nseed = 1\n',
    device="test ring",
    settings={
        "frequency": Setting(2.5e9, "Hz"),
        "power": Setting(-10, "dBm"),
        "locked": Setting(True),
        "film": Setting("YIG, 5 µm"),
    },
    symbols=4,
    nodes=3,
    drive_limits=(0.0, 1.0),
    parameters=6,
    training_samples=10,
    test_samples=5,
    targets=("a", "b"),
    dataset_sha256="ab" * 32,
    planned_shots=1000,
)


def recorded(name: str, folder: Path) -> Path:
    """A copy of a recorded session, as old as a file is that nobody writes any more."""
    path = folder / f"schema-1-{name}.h5"
    shutil.copy(RECORDED / path.name, path)
    os.utime(path, (1.75e9, 1.75e9))
    return path


def random_rows(dtype: np.dtype[np.void], n: int, seed: int = 0) -> NDArray[np.void]:
    """Rows with numbers of every size in every column, and with what is easily lost of a number."""
    rng = np.random.default_rng(seed)
    rows = np.zeros(n, dtype)
    for name in dtype.names or ():
        column, shape = dtype[name].base, rows[name].shape
        if name == "time":
            rows[name] = 1.75e9 + np.cumsum(rng.exponential(size=n))
        elif column.kind == "S":
            rows[name] = [f"{number:064x}".encode() for number in rng.integers(1, 1 << 62, n)]
        elif column.kind == "f":
            with np.errstate(over="ignore"):
                rows[name] = np.exp(rng.normal(scale=30, size=shape)) * rng.choice([-1, 1], shape)
                odd = rng.random(shape) < 0.1
                rows[name][odd] = rng.choice(ODD, np.count_nonzero(odd))
        else:
            limits = np.iinfo(column)
            rows[name] = rng.integers(limits.min, limits.max, shape, column, endpoint=True)
    return rows


def write(path: Path, shots: int = 300, steps: int = 20, epochs: int = 3, **started: Any) -> Path:
    """A finished session of random rows."""
    run = RunStarted(**{**vars(STARTED), **started})
    with SessionWriter(path) as writer:
        writer(run)
        rows = random_rows(shot_dtype(run.symbols, run.nodes), shots)
        rows["index"] = np.arange(shots)
        writer(ShotsTaken(rows))
        writer(Measured({"delta": 0.05}))
        writer(RunWarning("warmer than usual"))
        for table, dtype, event in (("step", STEP_DTYPE, StepDone), ("epoch", EPOCH_DTYPE, EpochDone)):
            made = random_rows(dtype, steps if table == "step" else epochs)
            made[table] = np.arange(len(made))
            for row in made:
                writer(event(row))
        writer(RunStopped(Status.SUCCESS, "done", 1.75e9 + 60, {"train_loss": 0.25}, "cd" * 32))
    return path


def assert_same(found: Any, expected: NDArray[Any]) -> None:
    """Every value is the same to the last bit; where it is no number, neither is the other."""
    expected = np.ascontiguousarray(expected)
    found = np.ascontiguousarray(found)
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected)
        return
    bits = f"u{expected.dtype.itemsize}"
    number = ~np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(found), ~number)
    np.testing.assert_array_equal(found.view(bits)[number], expected.view(bits)[number])
