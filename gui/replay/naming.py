"""Short names for runs beside each other: what they differ in, not what all of them are called."""

from collections.abc import Sequence
from itertools import takewhile

from gui.replay.curves import Run


def short_names(runs: Sequence[Run]) -> list[str]:
    """Return a name of its own for each run: task, estimator and device where they differ, else parts of the files'."""
    names = differing([(_task(run), _of(run, "training", "estimator"), _of(run, "device", "name")) for run in runs])
    found = list(names)
    for name in set(names):
        alike = [number for number, other in enumerate(names) if other == name]
        if len(alike) > 1 or not name:
            for number, part in zip(alike, _parts([runs[n] for n in alike]), strict=True):
                found[number] = f"{name}, {part}" if name else part
    return found


def baseline_names(runs: Sequence[Run]) -> list[str]:
    """Return a name for the baseline of each run, in which the estimator has no part."""
    names = differing([(_task(run), _of(run, "device", "name")) for run in runs])
    return names if len(set(names)) == len(names) > 1 else short_names(runs)


def differing(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return for each row its entries in the columns in which the rows differ."""
    columns = [number for number, column in enumerate(zip(*rows, strict=True)) if len(set(column)) > 1]
    return [", ".join(row[number] for number in columns if row[number]) for row in rows]


def _task(run: Run) -> str:
    return _of(run, "task", "name")


def _of(run: Run, section: str, key: str) -> str:
    return str(run.configuration.get(section, {}).get(key, ""))


def _parts(runs: Sequence[Run]) -> list[str]:
    """Return what the files' names differ in: whole words of them, or all of the name if one has nothing besides."""
    stems = [run.name if _alone(run, runs) else f"{run.path.parent.name}/{run.name}" for run in runs]
    words = [stem.split("-") for stem in stems]
    begin = _common(words)
    end = _common([line[begin:][::-1] for line in words])
    rest = ["-".join(line[begin : len(line) - end]) for line in words]
    return rest if len(runs) > 1 and all(rest) else stems


def _alone(run: Run, runs: Sequence[Run]) -> bool:
    return sum(other.name == run.name for other in runs) == 1


def _common(lines: Sequence[Sequence[str]]) -> int:
    """Return how many words all lines begin with."""
    return len(list(takewhile(lambda words: len(set(words)) == 1, zip(*lines, strict=False))))
