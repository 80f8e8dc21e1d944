"""One run from configuration to closed file: open the device, train, write, and always end safe."""

import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

from labpgt.config import Config
from labpgt.device import Reservoir
from labpgt.errors import RunAborted, StorageFault
from labpgt.events import RunStopped, Status, Subscriber
from labpgt.registry import default_settings, make_device
from labpgt.session import SessionWriter
from labpgt.tasks import load_dataset
from labpgt.training import Trainer


class StopRequest:
    """Asks a run to stop: the first Ctrl-C or SIGTERM ends it after the step in hand, the second at once."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def __call__(self) -> str | None:
        """Return why the run should stop, or None."""
        return self.reason

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Listen to SIGINT and SIGTERM while inside; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._asked) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _asked(self, number: int, _frame: FrameType | None) -> None:
        if self.reason is not None:
            raise KeyboardInterrupt
        self.reason = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


def default_path(config: Config) -> Path:
    """Return the session file's place when none is given: `sessions/` in the working directory, named by the time."""
    if config.session.file:
        return Path(config.session.file)
    return Path("sessions") / f"{datetime.now():%Y%m%d-%H%M%S}-{config.task.name}-{config.training.estimator}.h5"


def with_device_defaults(config: Config) -> Config:
    """Return the configuration with every setting of its device spelled out, for the file and for people."""
    settings = {**default_settings(config.device.name), **config.device.settings}
    return config.model_copy(update={"device": type(config.device)(name=config.device.name, **settings)})


def run(
    config: Config,
    path: Path,
    subscribers: Sequence[Subscriber] = (),
    stop: StopRequest | None = None,
    device: Reservoir | None = None,
) -> RunStopped:
    """Train as configured into a new session file at `path`; return the run's last event.

    Raises what went wrong after device and file are in order: the device safe, then the status and the reason written,
    every shot taken readable. `device` replaces the one that the configuration names.
    """
    stop = stop or StopRequest()
    dataset = load_dataset(config.task, config.training.seed)
    reservoir = make_device(config.device.name, config.device.settings) if device is None else device
    trainer: Trainer | None = None
    writer = SessionWriter(path, flush_shots=config.session.flush_shots, flush_s=config.session.flush_ms / 1000)
    with writer, stop.on_signals():
        try:
            # The inner `with` ends first: the device is safe before anything slower is done.
            with reservoir:
                trainer = Trainer(config, reservoir, dataset)
                for event in trainer.events(stop):
                    if isinstance(event, RunStopped):
                        reservoir.make_safe()
                        last = event
                    writer(event)
                    for subscriber in subscribers:
                        subscriber(event)
        except BaseException as error:
            if trainer is None or isinstance(error, StorageFault):
                raise
            aborted = isinstance(error, KeyboardInterrupt)
            reason = "interrupted" if aborted else str(error) or type(error).__name__
            last = trainer.stopped(Status.ABORTED if aborted else Status.FAILED, reason)
            writer(last)
            for subscriber in subscribers:
                subscriber(last)
            if aborted:
                raise RunAborted(f"aborted at once; {writer.acknowledged} shots are in {path}") from None
            raise
    return last


def summary(config: Config, path: Path, last: RunStopped) -> Mapping[str, Any]:
    """Return what `--json` prints of a run: plain numbers and texts; what was not measured is None."""
    counts = {"shots", "calibration_shots", "baseline_shots", "evaluation_shots"}
    numbers = {
        key: None if value != value else int(value) if key in counts else value for key, value in last.results.items()
    }
    return {
        "status": str(last.status),
        "reason": last.reason,
        "session": str(path),
        "task": config.task.name,
        "device": config.device.name,
        "estimator": config.training.estimator,
        "seed": config.training.seed,
        **dict.fromkeys(("train_loss", "test_loss", "test_accuracy", "readout_only_loss")),
        **numbers,
        "parameters_sha256": last.parameters_sha256,
    }
