"""The shots and the time that a run takes, before it begins."""

import time
import tomllib
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import psutil

from labpgt.config import Config
from labpgt.device import Reservoir, Seekable
from labpgt.errors import InputError, LabpgtError
from labpgt.evaluation import EVALUATION_BLOCK
from labpgt.events import EpochDone, ShotsTaken, StepDone
from labpgt.network import parameter_count
from labpgt.planning import Plan, plan
from labpgt.session import Session, SessionWriter
from labpgt.tasks import Dataset
from labpgt.training import Trainer
from procedures.configured import default_path
from procedures.desk.beginnings import dataset_of, device_of, known, refusals, without_layers
from procedures.desk.forms import as_lines

_TRIAL_S = 0.3
"""Time that a trial should take, and no call of the device in it more."""
_SLOW_SHOT_S = 0.05
"""A device that takes longer for one shot is tried with nothing else."""
_FEW_SYMBOLS = 64
"""Length of the first shot that is timed: a whole one may take minutes."""
_MOST_SHOTS = 512
"""In one call of a trial."""
_MOST_NUMBERS = 5_000_000
"""Parameters, or elements of a twin's Jacobian, up to which training is tried."""
_UPDATES = 4
"""In an epoch of a trial."""
_SHORT = {
    "calibration_shots": 8,
    "baseline": False,
    "evaluation": "test",
    "scheduler": "none",
    "epochs": 1_000_000,
    "max_shots": None,
    "target_loss": None,
    "patience_s": 0.0,
}
"""How a trial's training differs from that of the run."""
_LOOK_S = 0.05
_BUSY_PERCENT = 30
"""Use of all cores by others from which on a trial takes longer than it would."""
_SESSIONS = 200
"""Newest files of a folder that are looked at."""


class Time(NamedTuple):
    """What a run's time is reckoned from."""

    per_shot_s: float
    """Of a training shot, everything included."""
    other_s: float
    """Of any other shot."""
    opening_s: float
    how: str


class Estimator:
    """Estimates runs, keeping the simulator of the last one open for the next."""

    def __init__(self) -> None:
        self._opened: _Opened | None = None

    def estimate(self, config: Config) -> dict[str, Any]:
        """Return shots by purpose, updates, parameters and time; the time is None where `how` says why.

        Counts are those of a run that nothing ends early and that takes no shot twice. Raises `InputError` for a run
        that would be refused.
        """
        if refused := refusals(config):
            raise InputError(as_lines(refused))
        dataset = dataset_of(config)
        counts = plan(config, len(dataset.train_x), len(dataset.test_x))
        device = device_of(config) if known(config) else None
        try:
            nodes = None if device is None else device.n_nodes
            parameters = None
            if nodes is not None:
                features, outputs = dataset.train_x.shape[1], len(dataset.target_names)
                parameters = parameter_count(config.network, features, nodes, outputs)
            try:
                measured = self._time(config, dataset, device, parameters)
            except InputError:
                raise
            except LabpgtError as error:
                measured = f"the time is not known: {error}"
        finally:
            if device is not None:
                device.close()
        return {
            "training_shots": counts.training_shots,
            "calibration_shots": counts.calibration_shots,
            "baseline_shots": counts.baseline_shots,
            "evaluation_shots": counts.evaluation_shots,
            "total_shots": counts.total_shots,
            "steps": counts.steps,
            "parameters": parameters,
            **_seconds(config, counts, measured),
        }

    def _time(self, config: Config, dataset: Dataset, device: Reservoir | None, parameters: int | None) -> Time | str:
        if config.device.name.startswith("replay:"):
            return "the time is not known: a recorded session answers from its file"
        # What can repeat its noise is a simulator; anything else may be an instrument, which only a run opens.
        if device is None or not isinstance(device, Seekable):
            return _recorded(config)
        opened = self._open(config)
        busy = psutil.cpu_percent(_LOOK_S) > _BUSY_PERCENT
        found = _tried(opened, config, dataset, parameters)
        return (
            found._replace(how=f"{found.how}; other work keeps this computer busy: it may take less") if busy else found
        )

    def _open(self, config: Config) -> "_Opened":
        key = (config.device.name, repr(sorted(config.device.settings.items())))
        if self._opened is None or self._opened.key != key:
            if self._opened is not None:
                before, self._opened = self._opened, None
                before.device.close()
            device = device_of(config)
            began = time.perf_counter()
            try:
                device.open()
            except BaseException:
                device.close()
                raise
            self._opened = _Opened(key, device, time.perf_counter() - began)
        return self._opened


@dataclass(frozen=True)
class _Opened:
    key: tuple[str, str]
    device: Reservoir
    seconds: float


def _seconds(config: Config, counts: Plan, measured: Time | str) -> dict[str, Any]:
    if isinstance(measured, str):
        return {"seconds": None, "per_shot_s": None, "how": measured}
    others = counts.total_shots - counts.training_shots
    seconds = measured.opening_s + counts.training_shots * measured.per_shot_s + others * measured.other_s
    how = measured.how
    if config.training.target_loss is not None:
        how += "; less if training.target_loss is reached sooner"
    return {"seconds": seconds, "per_shot_s": measured.per_shot_s, "how": how}


def _tried(opened: _Opened, config: Config, dataset: Dataset, parameters: int | None) -> Time:
    """Time a simulator: a short shot first, then a short run."""
    device, symbols = opened.device, config.network.symbols
    _forward_s(device, 1, 1)  # the first one loads machine code
    few = min(symbols, _FEW_SYMBOLS)
    single = _forward_s(device, 1, few) * symbols / few
    if single > _SLOW_SHOT_S:
        how = f"timed here just now, {few} of {symbols} symbols: {_of(single)} a shot"
        return Time(single, single, opened.seconds, how)
    most = min(max(1, int(_TRIAL_S / single)), _MOST_SHOTS)
    twin = symbols * symbols * device.n_nodes if config.training.estimator == "jacobian-twin" else 0
    if twin > _MOST_NUMBERS:
        shot = _forward_s(device, most, symbols) / most
        how = f"timed here just now: {_of(shot)} a shot, without the updates, which are too large to try"
        return Time(shot, shot, opened.seconds, how)
    without = ""
    if config.network.pre or config.network.readout:
        without = ", without your own layers"
    elif (parameters or 0) > _MOST_NUMBERS:
        without = ", without the layers, which are too large to try"
    training, other = _trial(without_layers(config) if without else config, device, dataset, most)
    how = f"a short run here just now: {_of(training)} a training shot, {_of(other)} any other{without}"
    return Time(training, other, opened.seconds, how)


def _forward_s(device: Reservoir, shots: int, symbols: int) -> float:
    """Return the time of one call of the device with so many shots of random drives."""
    low, high = device.drive_limits
    drives = np.random.default_rng(0).uniform(low, high, (shots, symbols))
    began = time.perf_counter()
    device.forward(drives)
    return time.perf_counter() - began


def _trial(config: Config, device: Reservoir, dataset: Dataset, most: int) -> tuple[float, float]:
    """Return the time of a training shot and of another one, in a short run with calls of `most` shots at most.

    All that a run does is in it, the writing of its session too.
    """
    batch = min(config.training.batch, max(1, most // 2))
    block = min(EVALUATION_BLOCK, most)
    little = replace(
        dataset,
        train_x=dataset.train_x[: _UPDATES * batch],
        train_y=dataset.train_y[: _UPDATES * batch],
        test_x=dataset.test_x[:block],
        test_y=dataset.test_y[:block],
    )
    short = {**_SHORT, "batch": batch}
    if config.training.delta == "auto":
        short["delta"] = 0.01
    training = config.training.model_copy(update=short)
    trainer = Trainer(config.model_copy(update={"training": training}), device, little)
    updating = evaluating = 0.0
    epochs = -1  # the first one loads what the others use
    with (
        TemporaryDirectory() as folder,
        SessionWriter(Path(folder) / "trial.h5") as writer,
        closing(trainer.events()) as events,
    ):
        began = time.perf_counter()
        while epochs < 1 or updating + evaluating < _TRIAL_S:
            event = next(events)
            writer(event)
            spent = time.perf_counter() - began
            if isinstance(event, StepDone):
                updating += spent
            elif isinstance(event, EpochDone):
                evaluating += spent
                epochs += 1
                if epochs == 0:
                    updating = evaluating = 0.0
            if not isinstance(event, ShotsTaken):
                began = time.perf_counter()
    return updating / (epochs * trainer.shots_per_epoch), evaluating / (epochs * len(little.test_x))


def _of(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"


def _recorded(config: Config) -> Time | str:
    """Return the time of a shot in the newest session of the device with as many symbols, else why there is none."""
    symbols = config.network.symbols
    folder = default_path(config).parent
    wanted = f"{config.device.name} with {symbols} symbols"
    for path in _newest(folder):
        try:
            with Session(path) as session:
                if session.symbols != symbols or _device_in(session) != config.device.name:
                    continue
                results, shots = session.results, session.n_shots
        except LabpgtError:
            continue  # something else, or damaged
        spent = results.get("device_s", 0.0)
        if shots and spent > 0:
            shot = spent / shots
            training = shot + 1e-6 * results.get("overhead_us_per_shot", 0.0)
            return Time(training, shot, 0.0, f"the last run of {wanted}, {path.name}: {_of(shot)} a shot")
    return f"the time is not known: no ended run of {wanted} is in {folder}"


def _device_in(session: Session) -> str:
    try:
        device = tomllib.loads(session.configuration)["device"]["name"]
    except (ValueError, KeyError, TypeError):
        return ""  # a configuration that somebody else has written
    return str(device)


def _newest(folder: Path) -> list[Path]:
    found = []
    for path in folder.glob("*.h5"):
        try:
            found.append((path.stat().st_mtime, path))
        except OSError:
            continue
    return [path for _, path in sorted(found, reverse=True)[:_SESSIONS]]
