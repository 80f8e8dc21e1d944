"""Shots a second that the session writer takes, against plain h5py that keeps the same promise."""

import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from labpgt.events import STEP_DTYPE, RunStarted, ShotsTaken, StepDone, shot_dtype
from labpgt.session import SessionWriter

SYMBOLS, NODES = 200, 2
WRITER_SHOTS = 64_000
PEER_SHOTS = 6_400


def blocks(rows: NDArray[np.void], size: int, shots: int) -> Iterator[NDArray[np.void]]:
    for start in range(0, shots, size):
        yield rows[: min(size, shots - start)]


def writer_rate(path: Path, rows: NDArray[np.void], size: int, *, steps: bool) -> float:
    step = np.ones((), STEP_DTYPE)
    with SessionWriter(path) as writer:
        writer(RunStarted(0.0, "", "ring", {}, SYMBOLS, NODES, (0.0, 1.0), 1, 1, 1, ("a",), ""))
        began = time.perf_counter()
        for block in blocks(rows, size, WRITER_SHOTS):
            writer(ShotsTaken(block))
            if steps:
                writer(StepDone(step))
        seconds = time.perf_counter() - began
        assert writer.acknowledged == WRITER_SHOTS
    path.unlink()
    return WRITER_SHOTS / seconds


def plain_rate(path: Path, rows: NDArray[np.void], size: int) -> float:
    """One compound dataset, SWMR, resized and flushed for every block, so that a block is safe once written."""
    with h5py.File(path, "w", libver="latest") as file:
        table = file.create_dataset("shots", (0,), rows.dtype, maxshape=(None,), chunks=(64,))
        file.swmr_mode = True
        began = time.perf_counter()
        written = 0
        for block in blocks(rows, size, PEER_SHOTS):
            table.resize((written + len(block),))
            table[written:] = block
            file.flush()
            written += len(block)
        seconds = time.perf_counter() - began
    path.unlink()
    return PEER_SHOTS / seconds


@pytest.mark.benchmark
def test_shots_per_second(tmp_path: Path) -> None:
    rows = np.zeros(256, shot_dtype(SYMBOLS, NODES))
    rows["drive"] = np.random.default_rng(1).random((256, SYMBOLS))
    rows["time"] = 1.75e9
    writer_rate(tmp_path / "warm.h5", rows, 64, steps=True)
    print(f"\nshots/s of {SYMBOLS} drive and {SYMBOLS * NODES} response values ({rows.itemsize} bytes)")
    print(f"{'block':>6} {'writer':>9} {'with steps':>11} {'plain h5py':>11} {'ratio':>6}")
    for size in (1, 2, 16, 64, 256):
        alone = writer_rate(tmp_path / "alone.h5", rows, size, steps=False)
        steps = writer_rate(tmp_path / "steps.h5", rows, size, steps=True)
        plain = plain_rate(tmp_path / "plain.h5", rows, size)
        print(f"{size:>6} {alone:>9.0f} {steps:>11.0f} {plain:>11.0f} {alone / plain:>6.1f}")
