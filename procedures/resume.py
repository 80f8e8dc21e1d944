"""Going on with a run that crashed, was aborted or failed, in the same file."""

import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock, Timeout

from labpgt.config import Config
from labpgt.device import Reservoir
from labpgt.errors import InputError
from labpgt.events import RunResumed, RunStopped, RunWarning, Status, Subscriber
from labpgt.registry import make_device
from labpgt.replay import check_data
from labpgt.resume import ResumedReservoir, check_device, check_settings, comparison, tolerance_of
from labpgt.session import Recovery, Session, SessionWriter
from labpgt.session.disk import companion
from labpgt.session.provenance import provenance
from labpgt.shots import device_errors
from labpgt.tasks import load_dataset
from labpgt.training import Trainer
from procedures.replay import trusted_configuration
from procedures.train import StopRequest, conduct


@dataclass(frozen=True)
class Resumed:
    """How a resumption went."""

    config: Config
    last: RunStopped
    resumed: RunResumed | None
    """None when no shot was left to take, or it was stopped before."""
    tolerance: float
    """Largest difference from the record that was allowed; 0 is bit for bit."""


def resume(
    file: Path,
    subscribers: Sequence[Subscriber] = (),
    stop: StopRequest | None = None,
    *,
    allowed: Sequence[str] = (),
    accept_changed_settings: bool = False,
    device: Reservoir | None = None,
) -> Resumed:
    """Go on with the run in a session file until it ends; what is on record is gone through from the last checkpoint.

    Until the device answers its first new shot the file stays as it was. Raises `InputError` when there is nothing to
    resume or the device is not set as it was, `ReplayMismatch` when training computes something else than is on record,
    and what `procedures.train.run` raises. `device` replaces the one that the configuration names.
    """
    path = file.resolve()
    Session(path).close()  # what is no session is refused before anything is written beside it
    with _alone(path), Session(path) as session:
        _check_resumable(session)
        config = trusted_configuration(session, allowed, with_device=device is None)
        dataset = load_dataset(config.task, config.training.seed)
        check_data(session, config, dataset)
        recovery = Recovery(session)
        tolerance = tolerance_of(session)
        live = make_device(config.device.name, config.device.settings) if device is None else device
        went_live: list[RunResumed] = []

        def going_live(shot: int) -> None:
            went_live.append(RunResumed(time.time(), shot, len(recovery.tail)))
            for event in (went_live[0], *map(RunWarning, _reservations(session, recovery, tolerance))):
                for told in told_all:
                    told(event)

        reservoir = ResumedReservoir(live, recovery, tolerance, going_live)

        def trainer_on() -> Trainer:
            with device_errors(f"{live.name}: reading its settings"):
                now = dict(live.settings())
            recovery.changed_settings = check_settings(session, now, accept=accept_changed_settings)
            check_device(session, live, config.network.symbols)
            trainer = Trainer(config, reservoir, dataset)
            trainer.taker.announce = reservoir.announce
            if recovery.state is not None:
                try:
                    trainer.restore(recovery.state)
                except Exception as error:
                    raise InputError(f"session {path}: going on from its checkpoint failed: {error}") from error
            return trainer

        settings = config.session
        writer = SessionWriter(
            path,
            flush_shots=settings.flush_shots,
            flush_s=settings.flush_ms / 1000,
            fsync=settings.fsync,
            resume=recovery,
        )
        told_all = [comparison(recovery, tolerance), writer, *subscribers]
        last = conduct(reservoir, trainer_on, writer, told_all, stop)
    return Resumed(config, last, went_live[0] if went_live else None, tolerance)


def _reservations(session: Session, recovery: Recovery, tolerance: float) -> Iterator[str]:
    """Yield what a person should know of the resumed run."""
    if recovery.left_out:
        yield (
            f"the last {recovery.left_out} shots of the file were not whole, as after a power cut: they are taken again"
        )
    if session.damaged_checkpoints:
        yield (
            f"{session.damaged_checkpoints} of the checkpoints did not match the checksum and was passed over: the "
            "disk may be failing"
        )
    if tolerance:
        yield _elsewhere(session, tolerance)
    recorded = session.writer
    here = provenance("")
    for what in ("labpgt", "git_commit"):
        if recorded.get(what) != here[what]:
            yield (
                f"recorded by {what} {recorded.get(what) or 'unknown'}, resumed by {here[what] or 'unknown'}: what was "
                "on record came out again, and what comes may differ from a run that never stopped"
            )


def _elsewhere(session: Session, tolerance: float) -> str:
    recorded = session.provenance
    return (
        f"resumed on {platform.node()} with torch {version('torch')} and numpy {version('numpy')}; recorded on "
        f"{recorded.get('host')} with torch {recorded.get('torch')} and numpy {recorded.get('numpy')}: drives and "
        f"losses may differ by {tolerance:g} from those of a run that never stopped"
    )


def _check_resumable(session: Session) -> None:
    status = session.status
    if status is Status.SUCCESS:
        raise InputError(f"{session.path}: the run ended in success ({session.reason}); there is nothing to resume")
    if status is Status.RUNNING:
        writer = session.writer
        raise InputError(
            f"{session.path}: the run is still going on (process {writer.get('pid')} on {writer.get('host')}); "
            "watch it with labpgt watch, or stop it first, with labpgt stop"
        )


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep everybody else from resuming the same file: who does has a lock beside it.

    A lock that a dead process left is free, and anybody may take it.
    """
    place = companion(path, ".lock")
    lock = FileLock(place, timeout=0, mode=0o666)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(f"{path}: another process is resuming it; watch it with labpgt watch") from None
    except OSError as error:
        raise InputError(
            f"{path}: cannot be resumed where it is: {place} cannot be written ({error.strerror}). Copy the session to "
            "a folder of yours and resume it there"
        ) from error
    try:
        yield
    finally:
        with suppress(OSError):
            place.unlink()
        lock.release()
