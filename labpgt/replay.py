"""A recorded session as a device, and the proof that a session says what it learned."""

import math
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labpgt.config import Config
from labpgt.device import DeviceBase, Differentiable, Setting, checked_drives
from labpgt.errors import DeviceFault, InputError, LabpgtError, RunAborted
from labpgt.events import EpochDone, Event, RunStopped, ShotsTaken, Status, StepDone
from labpgt.network import parameter_count
from labpgt.registry import make_device, registered
from labpgt.session import Session
from labpgt.tasks import Dataset
from labpgt.training import Trainer

BLOCK = 1024
"""Rows read from the file at a time."""
ELSEWHERE = 1e-4
"""Tolerance of drives and losses on another machine or other versions, relative to values of order 1."""


class ReplayMismatch(LabpgtError):
    """Training asked for something else than what was recorded."""


class RecordingEnded(LabpgtError):
    """Training went past the last recorded shot."""


class ReplayReservoir(DeviceBase):
    """Answers each shot with what was recorded, if it was asked the same.

    With a `model`, the recorded device's own derivative stands behind `vjp`, for the `backprop` reference.

    A `Reservoir` and `Seekable`. `forward` raises `ReplayMismatch` naming the first shot whose drive differs by more
    than `tolerance`, with both values, and `RecordingEnded` beyond the last shot.
    """

    def __init__(self, path: Path, tolerance: float = 0.0, model: Differentiable | None = None) -> None:
        self.path = path
        if model is not None:
            self.vjp = model.vjp
        self.tolerance = tolerance
        self._session = Session(path)
        self._open = False
        self._rows = self._session.shots(0, 0)
        self._first = 0
        self._next = 0
        self._flags = np.zeros(0, np.uint32)

    @property
    def name(self) -> str:
        """Short name for messages and files."""
        return f"replay:{self.path.name}"

    @property
    def n_nodes(self) -> int:
        """Response values per drive symbol of the recorded device."""
        return self._session.nodes

    @property
    def max_symbols(self) -> int:
        """Every recorded shot has this many symbols."""
        return self._session.symbols

    @property
    def drive_limits(self) -> tuple[float, float]:
        """The recorded device's."""
        return self._session.drive_limits

    def open(self) -> None:
        """Get ready to answer; opens the file anew."""
        if not self._open:
            self._session.close()
            self._session = Session(self.path)
            self._open = True

    def close(self) -> None:
        """Close the file and refuse shots from now on."""
        self._open = False
        self._session.close()

    def make_safe(self) -> None:
        """Nothing radiates here."""

    def settings(self) -> Mapping[str, Setting]:
        """The recorded device's settings."""
        return self._session.settings

    def seek(self, shot: int) -> None:
        """Go to a shot of the recording."""
        self._next = shot

    def recorded(self, start: int, stop: int) -> NDArray[np.void]:
        """Rows start to stop of the recording; fewer where it ends earlier."""
        if not (self._first <= start and stop <= self._first + len(self._rows)):
            self._first = start
            self._rows = self._session.shots(start, max(stop, start + BLOCK))
        return self._rows[start - self._first : stop - self._first]

    def forward(self, drives: NDArray[np.float64]) -> NDArray[np.float64]:
        """Drives (shots, symbols) as recorded to the recorded responses (shots, symbols, n_nodes)."""
        if not self._open:
            raise DeviceFault(f"{self.name}: a shot was asked of a closed device; call open() first")
        drives = checked_drives(self, drives)
        rows = self.recorded(self._next, self._next + len(drives))
        compare_drives(drives[: len(rows)], rows, self._next, self.tolerance)
        if len(rows) < len(drives):
            raise RecordingEnded(f"{self.name}: the recording ends after {self._next + len(rows)} shots")
        self._next += len(rows)
        self._flags = rows["flags"].astype(np.uint32)
        return rows["response"].astype(np.float64)

    def flags(self) -> NDArray[np.uint32]:
        """The recorded flags of the last shots, (shots,)."""
        return self._flags

    @property
    def on_record(self) -> bool:
        """Whether the next shot is on record."""
        return self._next < self._session.n_shots


@dataclass(frozen=True)
class Verdict:
    """What a replay showed."""

    shots: int
    """Shots reproduced."""
    hashes: int
    """Parameter vectors, after each epoch and at the end, that hash to what was recorded."""
    tolerance: float
    """Largest difference allowed in drives and losses; 0 is bit for bit."""
    note: str
    """How far the replay went."""


def same_machine(session: Session) -> bool:
    """Say whether this machine computes as the recording ones did: same host, processor family and library versions."""
    here = {"machine": platform.machine(), "torch": version("torch"), "numpy": version("numpy")}
    here["host"] = platform.node()
    recorders = [session.provenance, *(resumption.provenance for resumption in session.resumptions)]
    return all(recorded.get(key) == value for key, value in here.items() for recorded in recorders)


def check_data(session: Session, config: Config, dataset: Dataset) -> None:
    """Raise `InputError` when these are not the data, or not the network, that the session was recorded with."""
    recorded = session.provenance.get("dataset_sha256", "")
    if dataset.sha256 != recorded:
        raise InputError(
            f"{session.path}: was recorded on other data than {config.task.name} is here (hash "
            f"{recorded[:12]}, here {dataset.sha256[:12]}); give the same data"
        )
    described = parameter_count(config.network, dataset.train_x.shape[1], session.nodes, len(dataset.target_names))
    # Before a network is made, for it may be one that no memory holds.
    if described is not None and described != session.n_parameters:
        raise InputError(
            f"{session.path}: its configuration describes a network of {described} parameters, its checkpoints hold "
            f"{session.n_parameters}; the file is damaged, take it from a backup"
        )


def replay(
    session: Session,
    config: Config,
    dataset: Dataset,
    *,
    tolerance: float | None = None,
    stop: Callable[[], str | None] = lambda: None,
) -> Iterator[Event | Verdict]:
    """Train against the recording: yields the run's events, and the `Verdict` last.

    Every drive must be what was recorded; every recorded loss, update and result must come out again, and the
    parameters after each epoch and at the end must hash to what was recorded. Raises `ReplayMismatch` at the first that
    does not, `RunAborted` when `stop()` gives a reason. `tolerance` is zero on the recording machine unless given,
    `ELSEWHERE` on any other, where only drives and losses are compared.
    """
    check_data(session, config, dataset)
    if tolerance is None:
        tolerance = 0.0 if same_machine(session) else ELSEWHERE
    shots = 0
    with ReplayReservoir(session.path, tolerance, _model(config)) as reservoir:
        trainer = Trainer(config, reservoir, dataset)
        comparison = Comparison(reservoir.recorded, session.steps(), session.epochs(), tolerance)
        note = "to the end of the run"
        try:
            for event in trainer.events(stop):
                comparison(event)
                shots += len(event.rows) if isinstance(event, ShotsTaken) else 0
                yield event
                if not isinstance(event, RunStopped):
                    continue
                if event.status is Status.ABORTED:
                    raise RunAborted(f"replay of {session.path} stopped by {event.reason} after {shots} shots")
                if shots < session.n_shots:
                    raise ReplayMismatch(f"replay is done after {shots} shots, {session.n_shots} are recorded")
                if not tolerance:
                    _compare_results(event.results, session.results)
        except RecordingEnded:
            if session.status is Status.SUCCESS:
                raise ReplayMismatch(
                    f"the run ended in success, but its recording ends after {session.n_shots} shots: shots are missing"
                ) from None
            # Runs that were aborted, failed or crashed end where their last shot is.
            note = f"to the last recorded shot of a run with status {session.status}"
            shots = session.n_shots
        if session.parameters_sha256 and not tolerance:
            _compare_hash("at the end", trainer.network.sha256(), session.parameters_sha256)
            comparison.hashes += 1
    yield Verdict(shots, comparison.hashes, tolerance, note)


class Comparison:
    """Compares the events of a training with what was recorded of it, and raises `ReplayMismatch` where they differ.

    `recorded` gives shots start to stop as they are on record, fewer where the record ends; steps and epochs are those
    on record from number `first_step` and `first_epoch` on; shots from `unread_from` on may lack their loss. Within a
    tolerance only drives and losses are compared.
    """

    def __init__(
        self,
        recorded: Callable[[int, int], NDArray[np.void]],
        steps: NDArray[np.void],
        epochs: NDArray[np.void],
        tolerance: float,
        *,
        first_step: int = 0,
        first_epoch: int = 0,
        unread_from: float = math.inf,
    ) -> None:
        self.hashes = 0
        """Parameter vectors after an epoch that hashed to what was recorded."""
        self._recorded = recorded
        self._steps, self._first_step = steps, first_step
        self._epochs, self._first_epoch = epochs, first_epoch
        self._tolerance = tolerance
        self._unread_from = unread_from

    def __call__(self, event: Event) -> None:
        """Compare one event; what is not on record passes."""
        if isinstance(event, ShotsTaken):
            first = int(event.rows["index"][0])
            recorded = self._recorded(first, first + len(event.rows))
            _compare(event.rows[: len(recorded)], recorded, self._tolerance, self._unread_from)
        elif isinstance(event, StepDone) and not self._tolerance:
            step = int(event.row["step"])
            recorded = self._steps[step - self._first_step :][:1]
            _compare_record(f"update {step}", event.row, recorded)
        elif isinstance(event, EpochDone) and not self._tolerance:
            epoch = int(event.row["epoch"])
            recorded = self._epochs[epoch - self._first_epoch :][:1]
            for row in recorded:
                computed = event.row["parameters_sha256"].item().decode()
                _compare_hash(f"after epoch {epoch + 1}", computed, row["parameters_sha256"].decode("utf-8", "replace"))
                self.hashes += 1
            _compare_record(f"epoch {epoch + 1}", event.row, recorded)


def compare_drives(asked: NDArray[np.float64], rows: NDArray[np.void], first: int, tolerance: float) -> None:
    """Raise `ReplayMismatch` for the first of the shots, numbered from `first`, that is driven otherwise than recorded.

    Drives asked (shots, symbols) beside as many recorded rows.
    """
    if asked.shape != rows["drive"].shape:
        raise ReplayMismatch(
            f"shots of {asked.shape[1]} symbols were asked, {rows['drive'].shape[1]} symbols are recorded"
        )
    # The comparison is written so that a recorded NaN fails it, and infinity, without a warning.
    with np.errstate(invalid="ignore"):
        differs = ~(np.abs(asked - rows["drive"]) <= tolerance)
    if differs.any():
        i, symbol = np.argwhere(differs)[0]
        raise ReplayMismatch(
            f"shot {first + i} differs: drive symbol {symbol} was recorded as {rows['drive'][i, symbol]:.9g}, "
            f"replay computes {asked[i, symbol]:.9g}"
        )


def _model(config: Config) -> Differentiable | None:
    """Return the recorded device where training differentiated it, made from its registered name and settings."""
    name = config.device.name
    if config.training.estimator != "backprop" or name not in registered():
        return None
    model = make_device(name, config.device.settings)
    return model if isinstance(model, Differentiable) else None


def _compare(
    rows: NDArray[np.void], recorded: NDArray[np.void], tolerance: float, unread_from: float = math.inf
) -> None:
    """Raise `ReplayMismatch` for the first shot whose loss or description is not what was recorded.

    From shot `unread_from` on a recorded loss may be NaN, for the run ended before it was computed.
    """
    different: dict[str, int] = {}
    for column in ("index", "purpose", "epoch", "step", "sample", "sign", "seed", "delta", "loss"):
        same = rows[column] == recorded[column]
        if column == "loss":
            # A shot that was not read out has a loss of NaN in both.
            same |= np.isnan(rows["loss"]) & np.isnan(recorded["loss"])
            same |= np.abs(rows["loss"] - recorded["loss"]) <= tolerance
            same |= np.isnan(recorded["loss"]) & (recorded["index"] >= unread_from)
        if not same.all():
            different[column] = int(np.argmin(same))
    if different:
        column, i = min(different.items(), key=lambda item: item[1])
        raise ReplayMismatch(
            f"shot {rows['index'][i]} differs: {column} was recorded as {recorded[column][i]:.9g}, "
            f"replay computes {rows[column][i]:.9g}"
        )


def _compare_record(what: str, computed: NDArray[np.void], recorded: NDArray[np.void]) -> None:
    """Compare a step or an epoch with its recorded row, if the run got so far; its time is another."""
    for row in recorded:
        for column in (name for name in recorded.dtype.names or () if name != "time"):
            new, old = computed[column].item(), row[column].item()
            if new != old and not (new != new and old != old):  # NaN is equal to NaN here
                raise ReplayMismatch(f"{what} differs: {column} was recorded as {old!r}, replay computes {new!r}")


def _compare_results(computed: Mapping[str, float], recorded: Mapping[str, float]) -> None:
    for key in recorded.keys() - {"wall_s", "device_s", "logging_s", "overhead_us_per_shot"}:
        if computed.get(key) != recorded[key]:
            raise ReplayMismatch(
                f"the results differ: {key} was recorded as {recorded[key]:.9g}, replay computes {computed.get(key)}"
            )


def _compare_hash(when: str, computed: str, recorded: str) -> None:
    if computed != recorded:
        raise ReplayMismatch(
            f"parameters {when} hash to {recorded[:16]}… in the file, replay computes {computed[:16]}…"
        )
