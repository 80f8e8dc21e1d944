"""Training again against a recorded session."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from labpgt.config import Config, from_toml_text
from labpgt.errors import DeviceFault, InputError
from labpgt.registry import own_code
from labpgt.replay import ReplayMismatch, Verdict, replay
from labpgt.session import Session
from labpgt.session.checked import reported
from labpgt.subscribers import Queued
from labpgt.tasks import load_dataset
from procedures.console import ConsoleWatcher
from procedures.train import StopRequest


def trusted_configuration(session: Session, allowed: Sequence[str], *, with_device: bool = False) -> Config:
    """Return the recorded configuration; code that it names is imported only if `allowed` names it too.

    A session file may come from anywhere: nothing in it is imported because the file says so.
    """
    with reported(session.path, InputError, "using its configuration"):
        config = from_toml_text(session.configuration)
        if config.task.path is not None and not Path(config.task.path).expanduser().is_file():
            # A device or a pipe is not read, for that may never end.
            raise ValueError(
                f"task.path = {config.task.path!r} is not a file seen from {Path.cwd()}; give the same data, in the "
                "place seen from where the run was started"
            )
    for key, named in own_code(config).items():
        # The recording stands in for the device; who opens the real one gives `with_device`.
        if named not in allowed and (with_device or key != "device.name"):
            raise InputError(
                f"{session.path}: was recorded with {key} = {named!r}, code that a file cannot be trusted to name. If "
                f"it is yours, say so with --allow {named}"
            )
    return config


def replay_session(file: Path, allowed: Sequence[str], console: Console, stop: StopRequest) -> dict[str, Any]:
    """Replay a session; return what was reproduced, or what differed first, as plain values."""
    with Session(file) as session:
        config = trusted_configuration(session, allowed)
        dataset = load_dataset(config.task, config.training.seed)
        report: dict[str, Any] = {
            "session": str(file),
            "status": str(session.status),
            "recorded_shots": session.n_shots,
            "verified": False,
        }
        with ConsoleWatcher(console) as watcher, Queued(watcher) as queued, stop.on_signals():
            try:
                for event in replay(session, config, dataset, stop=stop):
                    if isinstance(event, Verdict):
                        report |= {
                            "verified": True,
                            "shots": event.shots,
                            "parameter_hashes": event.hashes,
                            "tolerance": event.tolerance,
                            "note": event.note,
                        }
                    else:
                        queued(event)
            except (ReplayMismatch, DeviceFault) as error:
                # The recording is the device here: a response that is none, such as NaN, is a difference too.
                report["difference"] = str(error)
    return report
