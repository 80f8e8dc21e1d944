"""The index of a sweep: a CSV file with a row a run, written whenever a run begins or ends."""

import csv
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from labpgt.errors import InputError, StorageFault
from labpgt.events import Status
from labpgt.session import Session
from procedures.sweep.plan import SEED, PlannedRun

NAME = "index.csv"
RESULTS = (
    *("epochs", "shots", "train_loss", "test_loss", "train_accuracy", "test_accuracy"),
    *("prior_loss", "readout_only_loss", "readout_only_test_accuracy", "delta", "response_noise", "nonlinearity"),
    *("wall_s", "device_s", "overhead_us_per_shot"),
)
"""Results of a run that the index has, as `labpgt.events.RESULTS` explains them."""

PLANNED = "planned"
"""Status of a run that has not begun."""

Row = dict[str, Any]
"""One run: plain numbers and texts by column; None for what is not known."""


def row_of(run: PlannedRun) -> Row:
    """Return the row of a run that has a session file, from that file."""
    with Session(run.path) as session:
        results = session.results
        return {
            **_beginning(run),
            "status": str(session.status),
            "reason": session.reason,
            **{name: _number(results.get(name, math.nan)) for name in RESULTS},
            "parameters_sha256": session.parameters_sha256 or None,
        }


def row_without_file(run: PlannedRun, status: str, reason: str = "") -> Row:
    """Return the row of a run that has no session file yet."""
    return {
        **_beginning(run),
        "status": status,
        "reason": reason,
        **dict.fromkeys(RESULTS),
        "parameters_sha256": None,
    }


def _beginning(run: PlannedRun) -> Row:
    return {"file": run.path.name, **{k: v for k, v in run.values.items() if k != SEED}, "seed": run.seed}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


class Index:
    """Rows by file, in the order in which they came; every change goes to the disk at one stroke.

    Rows of an earlier sweep over the same keys stay. Raises `InputError` when the file at its place is no such index.
    """

    def __init__(self, folder: Path, keys: Sequence[str]) -> None:
        self.path = folder / NAME
        self.columns = [
            *("file", *(key for key in keys if key != SEED), "seed", "status", "reason"),
            *(*RESULTS, "parameters_sha256"),
        ]
        self._rows: dict[str, Mapping[str, Any]] = {}
        if self.path.exists():
            self._read()

    def put(self, row: Row) -> None:
        """Add a run, or replace what is known of it. Raises `StorageFault`."""
        self._rows[row["file"]] = row
        part = self.path.with_name(f".{NAME}.part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, self.columns, lineterminator="\n")
                writer.writeheader()
                writer.writerows(self._rows.values())
            part.replace(self.path)
        except OSError as error:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise StorageFault(f"{self.path}: writing the index of the sweep failed: {error.strerror}") from error

    def _read(self) -> None:
        try:
            with self.path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                rows = list(reader)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{self.path}: cannot be read ({error}); choose another --out") from error
        if list(reader.fieldnames or ()) != self.columns:
            raise InputError(
                f"{self.path}: is the index of another sweep, with columns {', '.join(reader.fieldnames or ())[:200]}; "
                "choose another --out"
            )
        self._rows = {row["file"]: row for row in rows}


def standing_of(folder: Path) -> Status:
    """Return how the sweep in a folder stands: in success when each of its runs ended so."""
    with (folder / NAME).open(newline="", encoding="utf-8") as file:
        statuses = {_standing(folder, row) for row in csv.DictReader(file)}
    for status in (Status.RUNNING, Status.ABORTED, Status.FAILED):
        if status in statuses:
            return status
    # Nobody has said why a run did not begin.
    return Status.SUCCESS if statuses == {Status.SUCCESS} else Status.CRASHED


def _standing(folder: Path, row: Mapping[str, str]) -> str:
    """Return the status of a row, and of one that says "running" what its session says."""
    if row["status"] == Status.RUNNING and (folder / row["file"]).exists():
        with Session(folder / row["file"]) as session:
            return session.status
    return row["status"]
