"""Which runs a sweep has: the combinations of the values given, each with every seed, checked before the first shot."""

import itertools
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from labpgt.config import Config, SessionConfig, from_toml_text, load_config
from labpgt.errors import InputError
from labpgt.session import Session
from procedures.configured import with_device_defaults
from procedures.text import split_values

SEED = "training.seed"
_LONGEST_NAME = 100


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep."""

    values: Mapping[str, str]
    """What it has in place of the configuration's own, by key, as it was given."""
    config: Config
    path: Path
    """Its session file."""

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return self.config.training.seed

    @property
    def label(self) -> str:
        """Name of the run, as its file has it."""
        return self.path.stem


def plan(
    config_file: Path | None, overrides: Sequence[str], over: Sequence[str], seeds: int, folder: Path
) -> list[PlannedRun]:
    """Return every run: combinations in the order given, the last key changing fastest, and for each all the seeds.

    `over` are texts like `training.delta=0.01,0.02`; seeds count up from the configured one. Raises `InputError` for
    keys and values that no run can have, and for files in `folder` that are those of other runs.
    """
    given = dict(map(_parsed, over))
    if len(given) != len(over):
        raise InputError("--over: every key may be given once; write all of its values with commas between")
    if not given and seeds == 1:
        raise InputError("nothing to sweep: give --over section.key=a,b,c or --seeds N")
    if SEED in given and seeds > 1:
        raise InputError(f"--seeds {seeds} and --over {SEED}: give one of them")
    runs: list[PlannedRun] = []
    for chosen in itertools.product(*given.values()):
        values = dict(zip(given, chosen, strict=True))
        config = with_device_defaults(load_config(config_file, [*overrides, *(f"{k}={v}" for k, v in values.items())]))
        # Where each run goes is the sweep's to say.
        config = config.model_copy(update={"session": SessionConfig(**{**config.session.model_dump(), "file": None})})
        for seed in range(config.training.seed, config.training.seed + seeds):
            training = config.training.model_copy(update={"seed": seed})
            run = config.model_copy(update={"training": training})
            runs.append(PlannedRun(values, run, folder / f"{_name(values, seed)}.h5"))
    _check_different(runs)
    for run in runs:
        if run.path.exists():
            _check_same(run)
    return runs


def _parsed(text: str) -> tuple[str, list[str]]:
    key, equals, listed = text.partition("=")
    key, values = key.strip(), split_values(listed)
    if not equals or not all(values) or "." not in key:
        raise InputError(f"--over {text}: expected section.key=a,b,c, for example training.delta=0.01,0.02")
    if key.startswith("session."):
        raise InputError(f"--over {text}: where and how a session is kept makes no other run")
    return key, values


def _name(values: Mapping[str, str], seed: int) -> str:
    """Return a name for the run's file: the same whenever the sweep is started again, and no other run's."""
    shorts = [key.rpartition(".")[2] for key in values]
    parts = [
        f"{short if shorts.count(short) == 1 else key}={value}"
        for short, (key, value) in zip(shorts, values.items(), strict=True)
        if key != SEED
    ]
    wanted = "-".join([*parts, f"seed={seed}"])
    name = "".join(c if c.isalnum() or c in "-+._=" else "_" for c in wanted)
    if name == wanted and len(name) <= _LONGEST_NAME:
        return name
    return f"{name[:_LONGEST_NAME]}-{zlib.crc32(wanted.encode()):08x}"


def _check_different(runs: Sequence[PlannedRun]) -> None:
    seen: list[PlannedRun] = []
    for run in runs:
        for other in seen:
            if run.config == other.config:
                raise InputError(f"{run.label} and {other.label} are the same run: give each value once")
        seen.append(run)


def _check_same(run: PlannedRun) -> None:
    """Raise `InputError` when the session at a run's place is that of another configuration."""
    with Session(run.path) as session:
        there = with_device_defaults(from_toml_text(session.configuration))
    for key, before, now in _differences(there, run.config):
        raise InputError(
            f"{run.path}: was made with {key} = {before}, and now it is {now}; choose another --out, or configure as "
            "before"
        )


def _differences(there: Config, wanted: Config) -> Iterator[tuple[str, object, object]]:
    for section in ("task", "network", "device", "training"):
        before, now = (getattr(config, section).model_dump() for config in (there, wanted))
        for key in {**before, **now}:
            if before.get(key) != now.get(key):
                yield f"{section}.{key}", before.get(key), now.get(key)
