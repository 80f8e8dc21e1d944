"""One calibration, step by step: the loop's gain, then the ring at that gain, then what a run measures before training.

Each step opens the device anew as the step before has left its settings, and has a session file of its own.
"""

import itertools
import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labpgt.calibrator import Calibrator
from labpgt.characterisation.reader import Characterisation
from labpgt.config import Config, to_toml
from labpgt.errors import InputError, StorageFault
from labpgt.events import SPOILED, Event, RunStopped, RunWarning, ShotsTaken, Status
from labpgt.registry import make_device, setting_descriptions
from procedures.characterize.run import characterize
from procedures.configured import with_device_defaults
from procedures.train import StopRequest, run

MEASURES = {"gain": ("threshold", "memory"), "ring": ("noise", "repeatability", "compression")}
"""Steps that characterise the device, and what they measure."""
RUN = "run"
"""The step that measures what a run does before it trains."""
STEPS = (*MEASURES, RUN)
ATTENUATION, MEMORY, DRIVE_GAIN, DELTA = (
    *("device.attenuation_db", "device.memory_time_s", "network.drive_gain", "training.delta"),
)
"""What a calibration sets."""
ATTENUATION_STEP_DB = 0.25
"""That of programmable attenuators; what is suggested is rounded up to it, which is to less gain."""
NOISY = 0.1
"""Readout noise, as a share of the response's deviation between samples, above which stronger drives are tried."""
SPREAD = 0.25
"""Deviation of the drives, as a share of their range, that they are not made to exceed; uniform ones have 0.29."""
_TRIES = 3
_ROUNDING_DB = 1e-9


@dataclass(frozen=True)
class StepBegins:
    """A step is about to open the device."""

    name: str
    file: Path
    number: int
    """From 1 on; a step that is repeated keeps its number."""


@dataclass(frozen=True)
class Suggested:
    """A setting was found."""

    key: str
    value: float
    before: Any
    """What it was; None for a setting that was not given."""


Watcher = Callable[[Any], None]
"""Gets `StepBegins`, `Suggested`, and what `characterize` and `run` tell of their steps; it must not raise."""


@dataclass
class Calibration:
    """What has been found so far, and the configuration with it."""

    config: Config
    gain_share: float
    status: Status = Status.SUCCESS
    reason: str = "calibrated"
    values: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    """Why a value is not there."""
    state: str = ""
    suggestions: dict[str, float] = field(default_factory=dict)
    sessions: list[Path] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    shots: int = 0
    device_s: float = 0.0
    wall_s: float = 0.0

    def take(self, report: dict[str, Any], wanted: Sequence[str]) -> None:
        """Take over what a characterisation reports."""
        for name in wanted:
            if report[name] is not None:
                self.values[name] = report[name]
            else:
                self.missing[name] = report["unmeasured"][name]
        self.state = report["state"] or self.state
        self.shots += report["shots"]
        self.device_s += report["device_s"]


def default_folder(config: Config) -> Path:
    """Return the folder for the session files when none is given: in `sessions/`, named by time and device."""
    device = "".join(c if c.isalnum() or c in "-_." else "-" for c in Path(config.device.name).name)
    folder = Path("sessions") / f"{datetime.now():%Y%m%d-%H%M%S}-calibrate-{device}"
    # A fast device is calibrated twice in a second.
    others = (folder.with_name(f"{folder.name}-{number}") for number in itertools.count(2))
    return next(place for place in itertools.chain([folder], others) if not place.exists())


def check_places(folder: Path, out: Path | None) -> None:
    """Raise `InputError` when a file that would be written is there already, or its folder cannot be."""
    for path in sorted(folder.glob("*.h5")):
        raise InputError(f"{path} exists already; choose another --sessions")
    if out is None:
        return
    if out.exists():
        raise InputError(f"{out} exists already; choose another --out")
    place = next(parent for parent in out.absolute().parents if parent.exists())
    if not (place.is_dir() and os.access(place, os.W_OK)):
        raise InputError(f"{out}: {place} is not a folder that can be written; choose another --out")


def calibrate(
    config: Config,
    folder: Path,
    *,
    gain_share: float,
    quick: bool = False,
    watcher: Watcher = lambda event: None,
    stop: StopRequest | None = None,
) -> Calibration:
    """Measure what a run of this configuration needs; return it, and the configuration with the settings found.

    `gain_share` is the loop gain that is wanted, as a share of that at which the ring starts to oscillate. Raises what
    went wrong in a step, as `characterize` and `run` do: the device safe, every shot taken in the step's file.
    """
    began = time.perf_counter()
    stop = stop or StopRequest()
    found = Calibration(with_device_defaults(config), gain_share)
    with stop.on_signals():
        for step in STEPS:
            if step == RUN:
                _measure_run(found, folder, watcher, stop)
            else:
                _measure_device(found, step, folder, quick, watcher, stop)
            if found.status is Status.SUCCESS and (asked := stop()):
                # In the last call of a step, which is done for that.
                found.status, found.reason = Status.ABORTED, asked
            if found.status is not Status.SUCCESS:
                break
            if step == "gain":
                _set_gain(found, watcher)
    found.wall_s = time.perf_counter() - began
    return found


def write_config(config: Config, path: Path) -> None:
    """Write a whole configuration at one stroke; `StorageFault` when that cannot be."""
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(to_toml(config, setting_descriptions(config.device.name)), encoding="utf-8")
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise StorageFault(f"{path}: writing the configuration failed: {os.strerror(error.errno or 0)}") from error


def _measure_device(
    found: Calibration, step: str, folder: Path, quick: bool, watcher: Watcher, stop: StopRequest
) -> None:
    path = _begin(found, step, folder / f"{step}.h5", watcher)
    report = characterize(found.config, path, MEASURES[step], quick=quick, watcher=watcher, stop=StopRequest(stop))
    found.take(report, _VALUES[step])
    if report["status"] != Status.SUCCESS:
        found.status, found.reason = Status(report["status"]), report["reason"]


_VALUES = {
    "gain": (
        *("threshold_attenuation_db", "threshold_uncertainty_db", "threshold_gain", "margin_db"),
        *("memory_time_s", "memory_symbols"),
    ),
    "ring": ("noise_floor", "noise_driven", "repeatability", "compression_db", "compression_1db_drive"),
}


def _begin(found: Calibration, step: str, path: Path, watcher: Watcher) -> Path:
    found.sessions.append(path)
    watcher(StepBegins(step, path, STEPS.index(step) + 1))
    return path


def _set_gain(found: Calibration, watcher: Watcher) -> None:
    """Set the attenuation for the wanted share of the threshold, and the memory time that the ring then has."""
    threshold = found.values.get("threshold_attenuation_db")
    if threshold is None:
        reason = found.missing["threshold_attenuation_db"]
        found.missing["gain_share"] = found.missing[ATTENUATION] = reason
    else:
        _set_attenuation(found, threshold, watcher)
    if "memory_time_s" in found.values:
        _suggest(found, MEMORY, found.values["memory_time_s"], watcher)
    else:
        found.missing[MEMORY] = found.missing["memory_time_s"]


def _set_attenuation(found: Calibration, threshold_db: float, watcher: Watcher) -> None:
    with Characterisation(found.sessions[-1]) as recorded:
        low, high = recorded.tunable["attenuation_db"]
        present = recorded.settings["attenuation_db"].value if "attenuation_db" in recorded.settings else 0.0
        curve = recorded.curves.get("memory", {})
    wanted = threshold_db - 20 * math.log10(found.gain_share)
    stepped = ATTENUATION_STEP_DB * math.ceil(wanted / ATTENUATION_STEP_DB - _ROUNDING_DB)
    attenuation = float(np.clip(stepped, low, high))
    if _suggest(found, ATTENUATION, attenuation, watcher):
        _take_memory(found, curve, attenuation)
        found.values["margin_db"] = attenuation - threshold_db
    else:
        attenuation = float(present)
    found.values["gain_share"] = 10 ** ((threshold_db - attenuation) / 20)


def _take_memory(found: Calibration, curve: dict[str, Any], attenuation_db: float) -> None:
    """Take the memory time at the attenuation that was set from its curve against the gain.

    Between two settings the rate of the decay is taken to be linear in decibels, as that of a ring with one round trip
    is (`labpgt.characterisation.threshold`).
    """
    known = np.isfinite(curve["memory_symbols"]) if curve else np.zeros(0, bool)
    settings = curve["attenuation_db"][known] if curve else known
    for name in ("memory_symbols", "memory_time_s"):
        found.values.pop(name, None)
        if not len(settings) or not settings[0] <= attenuation_db <= settings[-1]:
            found.missing[name] = f"at {attenuation_db:g} dB the decay is too fast, or too weak, for a time constant"
            continue
        rate = float(np.interp(attenuation_db, settings, 1 / curve[name][known]))
        if math.isfinite(rate):
            found.values[name] = 1 / rate
            found.missing.pop(name, None)
        else:
            found.missing[name] = "the device has no setting symbol_s in s; see memory_symbols"


def _measure_run(found: Calibration, folder: Path, watcher: Watcher, stop: StopRequest) -> None:
    """Measure scale, noise and delta as a run does; with stronger drives while the response drowns in the noise."""
    config = found.config
    training = config.training.model_copy(update={"delta": "auto", "baseline": False})
    for attempt in range(1, _TRIES + 1):
        path = _begin(found, RUN, folder / f"{RUN}{f'-{attempt}' if attempt > 1 else ''}.h5", watcher)
        gain = config.network.drive_gain * 2 ** (attempt - 1)
        network = config.network.model_copy(update={"drive_gain": gain})
        last = _run(config.model_copy(update={"network": network, "training": training}), path, found, watcher, stop)
        if last.status is not Status.SUCCESS:
            found.status, found.reason = last.status, last.reason
            return
        enough = _enough(found)
        if enough:
            break
    found.missing[DRIVE_GAIN] = enough
    if gain != config.network.drive_gain:
        _suggest(found, DRIVE_GAIN, gain, watcher)
    if "delta" in found.values:
        _suggest(found, DELTA, found.values["delta"], watcher)
    else:
        reason = f"the estimator {config.training.estimator} takes no ± pairs"
        found.missing["delta"] = found.missing[DELTA] = reason


def _enough(found: Calibration) -> str:
    """Say why stronger drives need not, or cannot, be tried; empty when they should be."""
    noise, spread = found.values["noise_to_signal"], found.values["drive_deviation"]
    if noise <= NOISY:
        return f"the drives are strong enough: the noise is {noise:.1%} of what the responses differ by"
    if found.config.network.pre is not None:
        return "network.pre is yours: its first weights are not labpgt's to scale"
    if 2 * spread > SPREAD:
        return f"the drives already spread over {spread:.0%} of their range"
    return ""


def _run(config: Config, path: Path, found: Calibration, watcher: Watcher, stop: StopRequest) -> RunStopped:
    """Calibrate as a run does, and take over what that finds."""
    reservoir = make_device(config.device.name, config.device.settings)
    taken: list[NDArray[np.void]] = []

    def watch(event: Event) -> None:
        if isinstance(event, ShotsTaken) and len(taken) < 2:
            good = event.rows[(event.rows["flags"] & SPOILED) == 0]
            if len(good):
                taken.append(good)
        if isinstance(event, RunWarning):
            found.warnings.append(event.message)
        watcher(event)

    last = run(config, path, [watch], StopRequest(stop), reservoir, Calibrator)
    found.shots += int(last.results["calibration_shots"])
    found.device_s += last.results["device_s"]
    if last.status is Status.SUCCESS:
        found.values |= _spread(*taken, reservoir.drive_limits)
        for name in ("response_offset", "response_scale", "response_noise", "nonlinearity", "delta"):
            value = last.results.get(name, math.nan)
            if math.isfinite(value):
                found.values[name] = value
            else:
                found.missing[name] = "needs twice as many training.calibration_shots as drive symbols"
    return last


def _spread(shots: NDArray[np.void], repeats: NDArray[np.void], limits: tuple[float, float]) -> dict[str, float]:
    """Return by how much drives and responses of samples differ from one to the next, and the noise against that.

    The shots are those of `labpgt.calibration.measure_responses`: one a sample, and the first of them once more. The
    deviation is that of each value over the samples, root mean square over the values, less the noise's part.
    """
    responses = shots["response"].astype(np.float64)
    # By sample, not by place: what was taken again comes last.
    first = dict(zip(shots["sample"].tolist(), responses, strict=True))
    again = np.array([first[sample] for sample in repeats["sample"].tolist()])
    noise = float(np.mean((again - repeats["response"]) ** 2)) / 2
    signal = math.sqrt(max(float(responses.var(axis=0, ddof=1).mean()) - noise, 0.0))
    drives = shots["drive"].astype(np.float64)
    return {
        "drive_deviation": float(np.sqrt(drives.var(axis=0, ddof=1).mean())) / (limits[1] - limits[0]),
        "response_deviation": signal,
        "noise_to_signal": math.sqrt(noise) / signal if signal else math.inf if noise else 0.0,
    }


def _suggest(found: Calibration, key: str, value: float, watcher: Watcher) -> bool:
    """Change a setting, unless the device has none of that name or refuses the value; say whether it was changed."""
    section, _, name = key.partition(".")
    table = getattr(found.config, section)
    before = getattr(table, name, None)
    try:
        data = {**table.model_dump(), name: value}
        changed = with_device_defaults(found.config.model_copy(update={section: type(table).model_validate(data)}))
        make_device(changed.device.name, changed.device.settings)
    except InputError as error:
        found.missing[key] = f"the device does not take {value:g}: {str(error).splitlines()[0]}"
        return False
    found.config = changed
    found.suggestions[key] = value
    watcher(Suggested(key, value, before))
    return True
