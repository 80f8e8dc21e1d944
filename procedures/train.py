"""One run from configuration to closed file: open the device, train, write, and always end safe."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from labpgt.config import Config
from labpgt.control import Requests
from labpgt.device import Device, Reservoir
from labpgt.errors import DeviceFault, LabpgtError, RunAborted, StorageFault
from labpgt.events import Event, RunStopped, Status, Subscriber
from labpgt.registry import make_device
from labpgt.session import SessionWriter
from labpgt.tasks import load_dataset
from labpgt.training import Trainer
from procedures.text import for_programs, json_line

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_ALWAYS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Asks a run to stop: the first Ctrl-C, SIGTERM or hang-up ends it after the device call in hand, a second at once.

    Hanging up is what closing the terminal does; under nohup it is ignored, as nohup wants it. `also` is asked besides,
    for whoever else may stop the run.
    """

    def __init__(self, also: Callable[[], str | None] = lambda: None) -> None:
        self.reason: str | None = None
        self._also = also
        self._shielded = False

    def __call__(self) -> str | None:
        """Return why the run should stop, or None."""
        return self.reason or self._also()

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Listen to SIGINT, SIGTERM and SIGHUP while inside; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        wanted = [n for n in _SIGNALS if n in _ALWAYS or signal.getsignal(n) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self._asked) for number in wanted}
        try:
            with _dropped_unsaid():
                yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def shield(self) -> None:
        """From now on only note signals: nothing may interrupt making the device safe."""
        self._shielded = True

    def _asked(self, number: int, _frame: FrameType | None) -> None:
        if self.reason is not None:
            # Every time, for Python drops what is raised in the middle of its own tidying up.
            if not self._shielded:
                raise KeyboardInterrupt
            return
        self.reason = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        if isinstance(self._also, StopRequest):
            # Whoever makes several runs has been asked as well, also when this one was done all the same.
            self._also.reason = self._also.reason or self.reason
        # Straight to the descriptor: a handler must not enter a stream that it may have interrupted. The terminal that
        # hung up is not there any more.
        text = "stopping after the device call in hand; once more stops at once"
        with suppress(OSError):
            os.write(2, (json_line(say=text) if for_programs() else f"\nlabpgt: {text}\n").encode())


@contextmanager
def _dropped_unsaid() -> Iterator[None]:
    """While inside, say nothing of an interruption that Python drops because it struck while tidying up.

    "Exception ignored in ..." and a stack would hide the one message there is to be; what else is dropped is shown.
    """
    before = sys.unraisablehook

    def show(dropped: "sys.UnraisableHookArgs") -> None:
        if not issubclass(dropped.exc_type, KeyboardInterrupt):
            before(dropped)

    sys.unraisablehook = show
    try:
        yield
    finally:
        sys.unraisablehook = before


def run(
    config: Config,
    path: Path,
    subscribers: Sequence[Subscriber] = (),
    stop: StopRequest | None = None,
    device: Reservoir | None = None,
    trainer: type[Trainer] = Trainer,
) -> RunStopped:
    """Train as configured into a new session file at `path`; return the run's last event.

    Raises what went wrong after device and file are in order: the device safe, then the status and the reason written,
    every shot taken readable. `device` replaces the one that the configuration names, `trainer` what is done with it.
    """
    dataset = load_dataset(config.task, config.training.seed)
    reservoir = make_device(config.device.name, config.device.settings) if device is None else device
    session = config.session
    writer = SessionWriter(path, flush_shots=session.flush_shots, flush_s=session.flush_ms / 1000, fsync=session.fsync)
    return conduct(reservoir, lambda: trainer(config, reservoir, dataset), writer, [writer, *subscribers], stop)


def conduct(
    device: Device,
    trainer_on: Callable[[], Trainer],
    writer: SessionWriter,
    subscribers: Sequence[Subscriber],
    stop: StopRequest | None = None,
) -> RunStopped:
    """Open the device, train, tell the subscribers (the writer among them), and end safe; return the last event.

    `trainer_on` is called once the device is open. The run obeys what other processes ask (`labpgt.control`). Raises as
    `run` does.
    """
    stop = stop or StopRequest()
    trainer: Trainer | None = None

    def asked() -> str | None:
        return stop() or requests.stop()

    def tell(event: Event) -> None:
        for told in subscribers:
            told(event)

    with closing(Requests(writer.path)) as requests, writer, stop.on_signals():
        try:
            with opened(device, stop.shield):
                trainer = trainer_on()
                trainer.taker.pause.tell = tell
                trainer.taker.pause.requested = requests.paused
                for event in trainer.events(asked):
                    if isinstance(event, RunStopped):
                        last = event
                    else:
                        tell(event)
            # The device is safe before the end is announced.
            tell(last)
        except BaseException as error:
            if trainer is None or isinstance(error, StorageFault):
                raise
            if isinstance(error, KeyboardInterrupt):
                # It may have struck in the middle of an update: no hash vouches for such parameters.
                tell(replace(trainer.stopped(Status.ABORTED, worded("interrupted", error)), parameters_sha256=""))
                message = f"aborted at once; {writer.acknowledged} shots are in {writer.path}"
                raise RunAborted(worded(message, error)) from None
            tell(trainer.stopped(Status.FAILED, worded(str(error) or type(error).__name__, error)))
            raise
    return last


@contextmanager
def opened(device: Device, leaving: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Open a device, and leave it safe and closed on every way out; `leaving` is called before that begins.

    Raises `DeviceFault` when it cannot be opened, made safe or closed. An error on the way out never hides the one
    that led there: it becomes a note of it.
    """
    try:
        try:
            device.open()
        except LabpgtError:
            raise
        except Exception as error:
            raise DeviceFault(
                f"{device.name}: cannot be opened: {type(error).__name__}: {error}; check that it is switched on and "
                "connected"
            ) from error
        yield
    except BaseException as error:
        for problem in _release(device, leaving):
            error.add_note(problem)
        raise
    if problems := _release(device, leaving):
        raise DeviceFault("; ".join(problems))


def _release(device: Device, leaving: Callable[[], None]) -> list[str]:
    """Make a device safe and close it; return what went wrong. One failure does not keep the other from happening."""
    try:
        leaving()
    finally:  # an interruption may come just before nothing can interrupt any more
        problems = _safe_and_closed(device)
    return problems


def _safe_and_closed(device: Device) -> list[str]:
    problems: list[str] = []
    said: set[str] = set()
    for doing, action in (("making it safe", device.make_safe), ("closing it", device.close)):
        try:
            action()
        except BaseException as error:
            # Closing makes safe once more: what fails again is said once.
            new = [line for line in f"{type(error).__name__}: {error}".splitlines() if line not in said]
            said.update(new)
            if new:
                problems.append(
                    f"{device.name}: {doing} failed: {chr(10).join(new)}; make sure by hand that its RF is off"
                )
    return problems


def worded(message: str, error: BaseException) -> str:
    """Return a message with the notes of an error behind it."""
    return "; ".join([message, *getattr(error, "__notes__", ())])


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
