"""One sweep: what is not done yet is run, or gone on with, one run after the other."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labpgt.errors import DeviceFault, InputError, LabpgtError, RunAborted, StorageFault
from labpgt.events import Status
from labpgt.session import Session
from procedures.resume import resume
from procedures.sweep.index import PLANNED, Index, Row, row_of, row_without_file
from procedures.sweep.plan import PlannedRun
from procedures.train import StopRequest, run

_ENDING = (DeviceFault, StorageFault, InputError, RunAborted)
"""Errors that the next run would meet too, or that somebody asked for."""


@dataclass(frozen=True)
class SweepBegins:
    """So many runs are to be made, and so many are done already."""

    planned: int
    done: int
    folder: Path


@dataclass(frozen=True)
class RunBegins:
    """A run is about to begin, or to go on."""

    number: int
    """From 1 on, of all that are planned."""
    run: PlannedRun
    resumed: bool


@dataclass(frozen=True)
class RunEnds:
    """A run has ended, in whichever way."""

    number: int
    run: PlannedRun
    row: Row


Watcher = Callable[[Any], None]
"""Gets `SweepBegins`, `RunBegins`, the events of each run, and `RunEnds`; it must not raise."""


@dataclass
class Sweep:
    """How a sweep went."""

    runs: Sequence[PlannedRun]
    index: Path
    rows: dict[str, Row] = field(default_factory=dict)
    """By the names of the session files."""
    status: Status = Status.SUCCESS
    reason: str = "all runs done"
    found_done: int = 0
    """Runs that were done before."""
    wall_s: float = 0.0


def sweep(
    runs: Sequence[PlannedRun],
    folder: Path,
    watcher: Watcher = lambda event: None,
    stop: StopRequest | None = None,
) -> Sweep:
    """Make every run that is not done; return how all of them stand.

    A run that ended in success stays as it is; one that crashed, failed or was aborted goes on. A run that fails for
    what it computes (its parameters diverge) is noted, and the next begins; a fault of device or storage, or a request
    to stop, ends the sweep, and is raised as `procedures.train.run` does. Started again, it goes on from there.
    """
    began = time.perf_counter()
    stop = stop or StopRequest()
    index = Index(folder, list(runs[0].values))
    standing = [_standing(planned) for planned in runs]
    done = Sweep(runs, index.path, found_done=standing.count(Status.SUCCESS))

    def note(row: Row) -> None:
        done.rows[row["file"]] = row
        index.put(row)

    for planned, status in zip(runs, standing, strict=True):
        note(row_without_file(planned, PLANNED) if status is None else row_of(planned))
    watcher(SweepBegins(len(runs), done.found_done, folder))
    with stop.on_signals():
        for number, (planned, status) in enumerate(zip(runs, standing, strict=True), 1):
            if status is Status.SUCCESS:
                continue
            if reason := stop():
                done.status, done.reason = Status.ABORTED, reason
                if status is None:
                    note(row_without_file(planned, str(Status.ABORTED), f"{reason}, before it began"))
                break
            watcher(RunBegins(number, planned, status is not None))
            note(row_without_file(planned, str(Status.RUNNING)))
            problem = ""
            try:
                _make(planned, status, watcher, StopRequest(stop))
            except _ENDING:
                if planned.path.exists():
                    note(row_of(planned))
                raise
            except LabpgtError as error:
                if not planned.path.exists():
                    raise
                problem = str(error)
            row = row_of(planned)
            row["reason"] = row["reason"] or problem
            note(row)
            watcher(RunEnds(number, planned, row))
            if row["status"] == Status.ABORTED:
                done.status, done.reason = Status.ABORTED, row["reason"]
                break
    done.wall_s = time.perf_counter() - began
    return done


def _standing(planned: PlannedRun) -> Status | None:
    """Return how the session of a run stands; None when there is none. `InputError` when it is still going on."""
    if not planned.path.exists():
        return None
    with Session(planned.path) as session:
        status = session.status
    if status is Status.RUNNING:
        raise InputError(f"{planned.path}: the run is still going on in another process; wait for its end, or stop it")
    return status


def _make(planned: PlannedRun, status: Status | None, watcher: Watcher, stop: StopRequest) -> None:
    config = planned.config
    if status is None:
        run(config, planned.path, [watcher], stop)
        return
    # The configuration is the person's own, and was found to be that of the file.
    own = [name for name in (config.device.name, config.network.pre, config.network.readout) if name is not None]
    resume(planned.path, [watcher], stop, allowed=own)
