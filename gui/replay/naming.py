"""Short names for runs beside each other: what they differ in, not what all of them are called."""

from collections.abc import Sequence
from itertools import takewhile

from gui.replay.curves import Run

_TELLING = (("task", "name"), ("training", "estimator"), ("device", "name"))


def short_names(runs: Sequence[Run]) -> list[str]:
    """Return a name of its own for each run: task, estimator and device where they differ, else parts of the files'."""
    told = [tuple(str(run.configuration.get(section, {}).get(key, "")) for section, key in _TELLING) for run in runs]
    differing = [number for number in range(len(_TELLING)) if len({what[number] for what in told}) > 1]
    names = [", ".join(what[number] for number in differing if what[number]) for what in told]
    found = list(names)
    for name in set(names):
        alike = [number for number, other in enumerate(names) if other == name]
        if len(alike) > 1 or not name:
            for number, part in zip(alike, _parts([runs[n] for n in alike]), strict=True):
                found[number] = f"{name}, {part}" if name else part
    return found


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
