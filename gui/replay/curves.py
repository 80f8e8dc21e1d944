"""Learning curves of recorded runs and what they were set to, read in a thread for pages that compare runs."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gui.replay.catalogue import sections
from labpgt.errors import LabpgtError
from labpgt.events import EPOCH_DTYPE, Status
from labpgt.session import Session

POINTS = 200
"""Most points of a curve of updates, each the mean of as many: more would hide other runs behind their noise."""
_BLOCK = 8192


@dataclass(frozen=True)
class Curve:
    """Values (n,) over each of the axes (n,)."""

    values: NDArray[np.float64]
    shots: NDArray[np.float64]
    epochs: NDArray[np.float64]
    seconds: NDArray[np.float64]
    """Since the start of the run."""


@dataclass(frozen=True)
class Run:
    """What two runs can be compared by."""

    path: Path
    status: str
    updates: Curve = field(repr=False)
    """Mean loss of the updates' shots."""
    epochs: Mapping[str, Curve] = field(repr=False)
    """Columns of the epochs: train_loss, test_loss, train_accuracy, test_accuracy, without what was not measured."""
    results: Mapping[str, float] = field(repr=False)
    configuration: Mapping[str, Mapping[str, Any]] = field(repr=False)
    settings: Mapping[str, tuple[Any, str]] = field(repr=False)
    """Value and unit of each setting of the device, as it was when the run started."""

    @property
    def name(self) -> str:
        """Short name."""
        return self.path.stem


class Runs:
    """Reads runs, and keeps those whose files have not changed. Used by one thread."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, int], Run]] = {}
        self.took_s = 0.0
        """How long the last reading took."""

    def read(self, paths: Sequence[Path]) -> tuple[list[Run], dict[Path, str]]:
        """Return these runs, and why some of them cannot be read."""
        began = time.perf_counter()
        runs, problems = [], {}
        for path in paths:
            try:
                found = path.stat()
                mark = found.st_mtime_ns, found.st_size
                known = self._known.get(path)
                if known is None or known[0] != mark or known[1].status == Status.RUNNING:
                    known = mark, _read(path)
                    self._known[path] = known
                runs.append(known[1])
            except OSError as error:
                problems[path] = error.strerror or str(error)
            except (LabpgtError, ValueError) as error:
                problems[path] = str(error)
        self._known = {path: known for path, known in self._known.items() if path in paths}
        self.took_s = time.perf_counter() - began
        return runs, problems


def _read(path: Path) -> Run:
    with Session(path) as session:
        configuration = sections(session.configuration)
        began = datetime.fromisoformat(session.start_time).timestamp()
        batch = configuration.get("training", {}).get("batch", 0)
        steps_per_epoch = -(-session.training_samples // batch) if isinstance(batch, int) and batch > 0 else 0
        rows = session.epochs()
        return Run(
            path=path,
            status=str(session.status),
            updates=_updates(session, began, max(1, steps_per_epoch)),
            epochs={name: _column(rows, name, began) for name in EPOCH_DTYPE.names or () if _is_measure(name)},
            results=session.results,
            configuration=configuration,
            settings={name: (setting.value, setting.unit) for name, setting in session.settings.items()},
        )


def _updates(session: Session, began: float, steps_per_epoch: int) -> Curve:
    """Return the updates' losses, as many at a time taken together as make no more than `POINTS`."""
    total = session.n_steps
    together = -(-total // POINTS) if total else 1
    block = max(1, _BLOCK // together) * together
    means: list[NDArray[np.float64]] = []
    ends: list[NDArray[np.void]] = []
    sizes: list[NDArray[np.int64]] = []
    for start in range(0, total, block):
        rows = session.steps(start, min(start + block, total))
        starts = np.arange(0, len(rows), together)
        counts = np.diff([*starts, len(rows)])
        means.append(np.add.reduceat(rows["loss"], starts) / counts)
        ends.append(rows[starts + counts - 1])
        sizes.append(counts)
    if not means:
        return _empty()
    mean, last, size = np.concatenate(means), np.concatenate(ends), np.concatenate(sizes)
    if len(mean) > 1 and size[-1] < together / 2:
        # A mean of few updates would jump at the end: they belong to those before them.
        mean[-2] = np.average(mean[-2:], weights=size[-2:])
        last[-2] = last[-1]
        mean, last = mean[:-1], last[:-1]
    return Curve(mean, last["shots"].astype(float), (last["step"] + 1) / steps_per_epoch, last["time"] - began)


def _column(rows: NDArray[np.void], name: str, began: float) -> Curve:
    there = rows[np.isfinite(rows[name])]
    return Curve(there[name], there["shots"].astype(float), there["epoch"] + 1.0, there["time"] - began)


def _is_measure(name: str) -> bool:
    return name.endswith(("_loss", "_accuracy"))


def _empty() -> Curve:
    nothing = np.zeros(0)
    return Curve(nothing, nothing, nothing, nothing)
