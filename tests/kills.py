"""Runs that are killed with SIGKILL at random moments, and what becomes of them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from labpgt.config import to_toml
from labpgt.errors import InputError
from labpgt.session import Session
from tests import forked, kill_child
from tests.runs import configured

ROOT = Path(__file__).resolve().parents[1]
ESTIMATORS = ("pgt", "node", "jacobian-twin", "readout", "backprop")
_POLL_S = 2e-3


def write_config(folder: Path, estimator: str, epochs: int) -> Path:
    """Write the configuration of a run of some seconds: iris on a noisy ring, a checkpoint every 0.2 s."""
    config = configured(
        device={"noise": 0.0 if estimator == "backprop" else 0.02},
        training={"estimator": estimator, "epochs": epochs, "evaluation": "test", "baseline": True},
        session={"checkpoint_s": 0.2},
    )
    path = folder / f"{estimator}.toml"
    path.write_text(to_toml(config))
    return path


class Process(Protocol):
    """What is needed of a process."""

    @property
    def returncode(self) -> int | None:
        """Exit code, or the number of the signal that ended it, negative; None while it runs."""

    def poll(self) -> int | None:
        """Look whether it has ended; return its exit code."""

    def kill(self) -> None:
        """Send SIGKILL."""

    def wait(self) -> int:
        """Wait for its end; return its exit code."""


Start = Callable[[list[str], Path, Path, Path], Process]
"""From arguments, working folder, and files for standard output and error, to the process."""


def start_anew(arguments: list[str], folder: Path, out: Path, err: Path) -> Process:
    """Start the command line in a new interpreter, as a person does."""
    with out.open("w") as out_file, err.open("w") as err_file:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.kill_child", *arguments],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=out_file,
            stderr=err_file,
        )


def start_forked(arguments: list[str], folder: Path, out: Path, err: Path) -> Process:
    """Start the command line in a copy of a process that has imported everything: the same, without the wait."""
    return forked.start(kill_child.run, arguments, str(folder), str(out), str(err))


@dataclass
class Child:
    """One process of the command line."""

    process: Process
    folder: Path

    @property
    def acknowledged(self) -> int:
        """Shots that it has acknowledged so far."""
        return int.from_bytes((self.folder / "acknowledged").read_bytes(), "little")

    @property
    def out(self) -> str:
        """Standard output so far."""
        return (self.folder / "out").read_text()

    @property
    def err(self) -> str:
        """Standard error so far."""
        return (self.folder / "err").read_text()


@contextmanager
def running(start: Start, folder: Path, *arguments: object) -> Iterator[Child]:
    """Start the command line in another process; kill it at the end if it still runs."""
    counter = folder / "acknowledged"
    counter.write_bytes(bytes(8))
    process = start([str(counter), *map(str, arguments)], folder, folder / "out", folder / "err")
    try:
        yield Child(process, folder)
    finally:
        process.kill()
        process.wait()


@dataclass(frozen=True)
class Reference:
    """The run that is never killed."""

    config: Path
    sha256: str
    shots: NDArray[np.void]


def reference(start: Start, folder: Path, estimator: str, epochs: int) -> Reference:
    """Run once without a kill."""
    folder.mkdir(parents=True, exist_ok=True)
    config = write_config(folder, estimator, epochs)
    with running(start, folder, "train", config, "--out", folder / "whole.h5", "--json") as child:
        assert child.process.wait() == 0, child.err
        report = json.loads(child.out)
    recorded = read_reference(folder)
    assert recorded.sha256 == report["parameters_sha256"]
    return recorded


def read_reference(folder: Path) -> Reference:
    """Return what `reference` left in a folder of its own."""
    (config,) = folder.glob("*.toml")
    with Session(folder / "whole.h5") as session:
        return Reference(config, session.parameters_sha256, session.shots())


@dataclass
class Outcome:
    """What became of one run."""

    kills: int = 0
    lost: int = 0
    """Acknowledged shots that are not in the file, or not as they were taken."""
    resumed: bool = False
    same_hash: bool = False
    verified: bool = False
    problems: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether everything is as it should be."""
        return self.resumed and self.same_hash and self.verified and not self.lost and not self.problems


COLUMNS = ("index", "purpose", "epoch", "step", "sample", "sign", "seed", "delta", "drive", "response")


def lost_shots(path: Path, whole: Reference, acknowledged: int) -> int:
    """Return how many of the acknowledged shots are missing, or are not those of the run that was never killed."""
    with Session(path) as session:
        rows = session.shots()
    there = min(len(rows), acknowledged)
    wrong = np.zeros(there, bool)
    for name in COLUMNS:
        differs = rows[name][:there] != whole.shots[name][:there]
        wrong |= differs.any(axis=tuple(range(1, differs.ndim)))
    return acknowledged - there + int(wrong.sum())


def kill_and_resume(start: Start, folder: Path, whole: Reference, moments: Sequence[float]) -> Outcome:
    """Kill a run, and then each resumption but the last.

    A moment from 0 to 1 is that share of all shots, acknowledged; a negative one so many seconds after the process
    started, whatever it does then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "run.h5"
    outcome = Outcome()
    arguments: list[object] = ["train", whole.config, "--out", path, "--json"]
    for moment in moments:
        with running(start, folder, *arguments) as child:
            began = time.monotonic()
            while child.process.poll() is None:
                if time.monotonic() - began > -moment if moment < 0 else child.acknowledged > moment * len(whole.shots):
                    child.process.kill()
                    break
                time.sleep(_POLL_S)
            code = child.process.wait()
            if code == -signal.SIGKILL:
                outcome.kills += 1
            elif code:
                outcome.problems.append(child.err[-300:])
            acknowledged = child.acknowledged
        if not path.exists():
            continue  # killed before there was anything to resume: it is started again
        try:
            outcome.lost += lost_shots(path, whole, acknowledged)
        except InputError as error:
            outcome.problems.append(str(error))
        arguments = ["resume", path, "--json"]
        with Session(path) as session:
            if session.status == "success":
                break
    with running(start, folder, *arguments) as child:
        if child.process.wait() and "there is nothing to resume" not in child.err:
            outcome.problems.append(child.err[-300:])
            return outcome
    outcome.resumed = True
    with Session(path) as session:
        outcome.same_hash = session.parameters_sha256 == whole.sha256
        outcome.lost += lost_shots(path, whole, len(whole.shots))
        outcome.verified = session.status == "success" and session.n_shots == len(whole.shots)
    return outcome
