"""One characterisation from configuration to closed file: open the device, measure, write, and always end safe."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import tomlkit

from labpgt.characterisation import FULL, MEASURES, QUICK, Bench, Outcome, characterise
from labpgt.characterisation.layout import heading_of
from labpgt.characterisation.measures import planned_symbols
from labpgt.characterisation.writer import CharacterisationWriter
from labpgt.config import Config, load_config, to_toml
from labpgt.device import Reservoir
from labpgt.errors import InputError, RunAborted, StorageFault, TakingStopped
from labpgt.events import Status
from labpgt.registry import make_device, setting_descriptions
from labpgt.shots import device_errors
from labpgt.validation import nearest
from procedures.characterize.report import report
from procedures.configured import with_device_defaults
from procedures.train import StopRequest, opened, worded

_SECTIONS = ("device", "training.seed", "session.file")
"""Of a configuration, what a characterisation uses."""


@dataclass(frozen=True)
class Planned:
    """About how many symbols each measure will take."""

    symbols: dict[str, int]


@dataclass(frozen=True)
class Taken:
    """Symbols that the device has answered."""

    symbols: int


@dataclass(frozen=True)
class Done:
    """A measure is done."""

    measure: str
    outcome: Outcome


Watcher = Callable[[Any], None]
"""Gets `Planned`, `Taken` and `Done`; it must not raise."""


@dataclass
class _Found:
    """What has been found so far."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    bench: Bench | None = None


def chosen(only: str | None) -> list[str]:
    """Return the measures in a list with commas, in the order in which they are taken; all for None."""
    if only is None:
        return list(MEASURES)
    names = [name.strip() for name in only.split(",") if name.strip()]
    for name in names:
        if name not in MEASURES:
            raise InputError(
                f'--only {only}: no measure "{name}".{nearest(name, MEASURES)} Measures: {", ".join(MEASURES)}'
            )
    if not names:
        raise InputError(f'--only "{only}": expected measures with commas between. Measures: {", ".join(MEASURES)}')
    return [name for name in MEASURES if name in names]


def characterize_config(path: Path | None, overrides: Sequence[str]) -> Config:
    """Return the configuration with the device's defaults; `InputError` for an override that would do nothing."""
    for override in overrides:
        key = override.partition("=")[0].strip()
        if not (key.startswith("device.") or key in _SECTIONS[1:]):
            raise InputError(
                f'override "{override}": a characterisation uses device.*, training.seed and session.file, nothing else'
            )
    return with_device_defaults(load_config(path, overrides))


def default_path(config: Config) -> Path:
    """Return the file's place when none is given: `sessions/` in the working directory, named by time and device."""
    if config.session.file:
        return Path(config.session.file)
    device = "".join(c if c.isalnum() or c in "-_." else "-" for c in Path(config.device.name).name)
    return Path("sessions") / f"{datetime.now():%Y%m%d-%H%M%S}-characterize-{device}.h5"


def characterize(
    config: Config,
    path: Path,
    measures: Sequence[str] = MEASURES,
    *,
    quick: bool = False,
    watcher: Watcher = lambda event: None,
    stop: StopRequest | None = None,
    device: Reservoir | None = None,
) -> dict[str, Any]:
    """Take these measures of the configured device into a new file at `path`; return what `--json` prints.

    Raises what went wrong after device and file are in order: the device safe, then the status and the reason written,
    every shot taken readable. `device` replaces the one that the configuration names.
    """
    began = time.perf_counter()
    reservoir = make_device(config.device.name, config.device.settings) if device is None else device
    writer = CharacterisationWriter(path)
    stop = stop or StopRequest()
    found = _Found()
    with writer, stop.on_signals():
        try:
            with opened(reservoir, stop.shield):
                status, reason = _measure(config, reservoir, writer, measures, quick, watcher, stop, found)
            # The device is safe before the end is written.
            writer.stop(status, reason)
        except StorageFault:
            raise
        except KeyboardInterrupt as error:
            writer.stop(Status.ABORTED, worded("interrupted", error))
            message = f"aborted at once; {writer.acknowledged} shots are in {path}"
            raise RunAborted(worded(message, error)) from None
        except BaseException as error:
            writer.stop(Status.FAILED, worded(str(error) or type(error).__name__, error))
            raise
    return report(
        status=str(status),
        reason=reason,
        session=str(path),
        device=reservoir.name,
        seed=config.training.seed,
        quick=quick,
        measures=measures,
        outcomes=found.outcomes,
        shots=found.bench.shots if found.bench else 0,
        symbols=found.bench.symbols_taken if found.bench else 0,
        device_s=found.bench.device_s if found.bench else 0.0,
        wall_s=time.perf_counter() - began,
    )


def _measure(
    config: Config,
    reservoir: Reservoir,
    writer: CharacterisationWriter,
    measures: Sequence[str],
    quick: bool,
    watcher: Watcher,
    stop: StopRequest,
    found: _Found,
) -> tuple[Status, str]:
    def taken(table: str, rows: Any) -> None:
        writer.rows(table, rows)
        watcher(Taken(rows["drive"].size))

    bench = found.bench = Bench(reservoir, QUICK if quick else FULL, config.training.seed, taken, stop)
    with device_errors(f"{reservoir.name}: reading its settings"):
        heading = heading_of(bench, time.time(), _configuration(config), measures)
    writer.start(heading)
    watcher(Planned(planned_symbols(bench, measures)))
    try:
        for name, outcome in characterise(bench, measures):
            writer.outcome(name, outcome)
            found.outcomes[name] = outcome
            watcher(Done(name, outcome))
    except TakingStopped as stopped:
        return Status.ABORTED, stopped.reason
    return Status.SUCCESS, "all measures done"


def _configuration(config: Config) -> str:
    """Return as TOML what a characterisation uses of a configuration."""
    whole = tomlkit.parse(to_toml(config, setting_descriptions(config.device.name)))
    kept = tomlkit.document()
    kept.add("device", whole["device"])
    training = tomlkit.table()
    training.add("seed", config.training.seed)
    kept.add("training", training)
    return kept.as_string()
