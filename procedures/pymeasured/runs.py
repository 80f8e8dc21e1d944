"""Training, characterising, calibrating and sweeping as pymeasure procedures."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from pandas import DataFrame

from labpgt.characterisation.outcome import OUTCOMES, VALUES, Outcome
from labpgt.characterisation.reader import Characterisation
from labpgt.config import Config, NetworkConfig, SessionConfig, TaskConfig, TrainingConfig, from_toml_text
from labpgt.errors import InputError, LabpgtError
from labpgt.events import EpochDone, Measured, RunStarted, ShotsTaken, Status, StepDone
from labpgt.session import Session
from procedures.calibrate.report import QUANTITIES
from procedures.calibrate.run import RUN, STEPS, StepBegins, Suggested, calibrate, check_places, write_config
from procedures.calibrate.run import default_folder as calibration_folder
from procedures.characterize.run import Done, characterize, chosen
from procedures.characterize.run import default_path as characterisation_path
from procedures.characterize.share import Share as MeasureShare
from procedures.commands import runs as run_options
from procedures.commands import studies as study_options
from procedures.configured import default_path
from procedures.pymeasured.base import RunProcedure, device_parameters, with_parameters
from procedures.pymeasured.parameters import TextParameter, of_option, of_section
from procedures.sweep.index import NAME as INDEX
from procedures.sweep.index import standing_of
from procedures.sweep.plan import plan
from procedures.sweep.report import report
from procedures.sweep.run import RunEnds, sweep
from procedures.sweep.share import Share as SweepShare
from procedures.train import StopRequest, run


def _parameters_of_a_run() -> dict[str, Any]:
    return {
        **of_section("task", TaskConfig),
        **of_section("network", NetworkConfig),
        **device_parameters(),
        **of_section("training", TrainingConfig),
        **of_section("session", SessionConfig),
    }


@with_parameters(_parameters_of_a_run())
class TrainProcedure(RunProcedure):
    """`labpgt train`: one row a step, with its loss, and one an epoch, with what was measured after it."""

    PLACE = "session_file"
    DATA_COLUMNS = [  # noqa: RUF012  # pymeasure's own
        *("step", "epoch", "shots", "loss", "gradient_norm", "learning_rate"),
        *("train_loss", "test_loss", "train_accuracy", "test_accuracy", "time (s)"),
    ]

    def conduct(self, watcher: Any, stop: StopRequest) -> Status:
        """Train."""
        config = self.configuration()
        self._planned = 0
        return run(config, default_path(config), [watcher], stop).status

    def watch(self, event: Any) -> None:
        """Emit each step, each epoch, and the share of the training shots that are taken."""
        match event:
            case RunStarted():
                self._planned = event.planned_shots
            case StepDone() | EpochDone():
                names = event.row.dtype.names
                known = {name: event.row[name].item() for name in self.DATA_COLUMNS if name in names}
                self.record(**known, **{"time (s)": event.row["time"].item()})
                if isinstance(event, StepDone):
                    self.tell(int(event.row["shots"]) / max(1, self._planned))

    @classmethod
    def recorded(cls, place: Path) -> tuple[Status, DataFrame]:
        """Return steps and epochs, in the order in which they were done."""
        with Session(place) as session:
            status, steps, epochs = session.status, session.steps(), session.epochs()
        parts = []
        for rows, after in ((steps, 0), (epochs, 1)):
            names = {n: n for n in cls.DATA_COLUMNS if n in rows.dtype.names} | {"time (s)": "time"}
            frame = DataFrame({column: np.ascontiguousarray(rows[name]) for column, name in names.items()})
            parts.append(frame.assign(after=after))
        # An epoch comes after the step that it ends with.
        whole = pd.concat([part for part in parts if len(part)] or parts[:1]).sort_values(["step", "after"])
        return status, whole.reindex(columns=cls.DATA_COLUMNS).reset_index(drop=True)

    @classmethod
    def loaded(cls, place: Path) -> Self:
        """Return the procedure that made a session file."""
        with Session(place) as session:
            return cls.of(from_toml_text(session.configuration))


class _Measuring(RunProcedure):
    """What a characterisation and a calibration emit: one row a number."""

    DATA_COLUMNS = ["measure", "quantity", "value", "unit"]  # noqa: RUF012

    def _record_outcome(self, measure: str, outcome: Outcome) -> None:
        for row in _rows(measure, outcome.values):
            self.record(**row)


@with_parameters(device_parameters())
class CharacterizeProcedure(_Measuring):
    """`labpgt characterize`: one row a number that was measured."""

    PLACE = "session_file"
    only = of_option(run_options.characterize, "only")
    quick = of_option(run_options.characterize, "quick")
    training_seed = of_section("training", TrainingConfig)["training_seed"]
    session_file = of_section("session", SessionConfig)["session_file"]

    def conduct(self, watcher: Any, stop: StopRequest) -> Status:
        """Characterise."""
        config = self.configuration()
        self._share = MeasureShare()
        measures = chosen(self.only or None)
        place = characterisation_path(config)
        found = characterize(config, place, measures, quick=self.quick, watcher=watcher, stop=stop)
        return Status(found["status"])

    def watch(self, event: Any) -> None:
        """Emit what each measure has found."""
        self._share(event)
        if isinstance(event, Done):
            self._record_outcome(event.measure, event.outcome)
        self.tell(self._share.share)

    @classmethod
    def recorded(cls, place: Path) -> tuple[Status, DataFrame]:
        """Return every number in a file."""
        with Characterisation(place) as recorded:
            return recorded.status, DataFrame(_of_file(recorded), columns=cls.DATA_COLUMNS)

    @classmethod
    def loaded(cls, place: Path) -> Self:
        """Return the procedure that made the file of a characterisation; how many shots it took is in the file."""
        with Characterisation(place) as recorded:
            return cls.of(from_toml_text(recorded.configuration), only=",".join(recorded.measures))


@with_parameters(_parameters_of_a_run())
class CalibrateProcedure(_Measuring):
    """`labpgt calibrate`: one row a number that was measured, and one a setting that was found."""

    PLACE = "sessions"
    session_file = None  # each step has one
    gain_share = of_option(study_options.calibrate, "gain_share")
    quick = of_option(study_options.calibrate, "quick")
    out = of_option(study_options.calibrate, "out")
    sessions = of_option(study_options.calibrate, "sessions")

    def conduct(self, watcher: Any, stop: StopRequest) -> Status:
        """Calibrate, and write the configuration if it is wanted."""
        config = self.configuration()
        self._share = MeasureShare()
        self._step = 1
        folder = Path(self.sessions) if self.sessions else calibration_folder(config)
        out = Path(self.out) if self.out else None
        check_places(folder, out)
        found = calibrate(config, folder, gain_share=self.gain_share, quick=self.quick, watcher=watcher, stop=stop)
        if found.status is Status.SUCCESS and out is not None:
            write_config(found.config, out)
        return found.status

    def watch(self, event: Any) -> None:
        """Emit what each step has found."""
        self._share(event)
        match event:
            case StepBegins():
                self._step, self._share = event.number, MeasureShare()
            case Done():
                self._record_outcome(event.measure, event.outcome)
            case Measured():
                for row in _rows(RUN, event.values):
                    self.record(**row)
            case Suggested():
                self.record(measure="set", quantity=event.key, value=event.value, unit="")
        if not isinstance(event, ShotsTaken):
            self.tell((self._step - 1 + self._share.share) / len(STEPS))

    @classmethod
    def recorded(cls, place: Path) -> tuple[Status, DataFrame]:
        """Return every number in the files of the steps."""
        rows: list[dict[str, Any]] = []
        status = Status.CRASHED
        for step in STEPS:
            if not (place / f"{step}.h5").exists():
                # Between two steps nothing is running: whoever was at it died there, or was stopped in the last one.
                return (Status.CRASHED if status is Status.SUCCESS else status), DataFrame(
                    rows, columns=cls.DATA_COLUMNS
                )
            if step == RUN:
                with Session(max(place.glob(f"{RUN}*.h5"), key=lambda path: (len(path.name), path.name))) as session:
                    status = session.status
                    rows += _rows(RUN, session.results)
            else:
                with Characterisation(place / f"{step}.h5") as recorded:
                    status = recorded.status
                    rows += _of_file(recorded)
        return status, DataFrame(rows, columns=cls.DATA_COLUMNS)

    @classmethod
    def loaded(cls, place: Path) -> Self:
        """Return the procedure that made a folder, as far as it came; `InputError` before its last step."""
        with Session(place / f"{RUN}.h5") as session:
            return cls.of(from_toml_text(session.configuration))


@with_parameters(_parameters_of_a_run())
class SweepProcedure(RunProcedure):
    """`labpgt sweep`: one row a run."""

    PLACE = "out"
    DATA_COLUMNS = [  # noqa: RUF012
        *("file", "seed", "status", "epochs", "shots", "train_loss", "test_loss", "train_accuracy", "test_accuracy"),
        *("readout_only_loss", "prior_loss", "wall_s", "device_s", "parameters_sha256"),
    ]
    session_file = None  # each run has one
    over = TextParameter(
        "over", plain=True, default="", description='Values to go through, as in "training.batch=4,8; task.bits=2,3"'
    )
    seeds = of_option(study_options.sweep, "seeds")
    out = of_option(study_options.sweep, "out")

    def conduct(self, watcher: Any, stop: StopRequest) -> Status:
        """Make every run that is not done; `LabpgtError` when all are made and some failed."""
        self._share = SweepShare()
        over = [text.strip() for text in self.over.split(";") if text.strip()]
        folder = Path(self.out) if self.out else Path("sessions") / f"{datetime.now():%Y%m%d-%H%M%S}-sweep"
        done = sweep(plan(None, self.overrides(), over, self.seeds, folder), folder, watcher, stop)
        summed = report(done)
        if done.status is Status.SUCCESS and summed["failed"]:
            raise LabpgtError(f"{summed['failed']} of {summed['runs']} runs failed; {done.index} says why")
        return done.status

    def watch(self, event: Any) -> None:
        """Emit each run when it has ended."""
        self._share(event)
        if isinstance(event, RunEnds):
            self.record(**{name: event.row[name] for name in self.DATA_COLUMNS if event.row[name] is not None})
        self.tell(self._share.share)

    @classmethod
    def recorded(cls, place: Path) -> tuple[Status, DataFrame]:
        """Return the index of a sweep, with all of its columns."""
        return standing_of(place), pd.read_csv(place / INDEX)

    @classmethod
    def loaded(cls, place: Path) -> Self:
        """Return the procedure that made a folder; `InputError` for one without a session."""
        index = pd.read_csv(place / INDEX, dtype=str)
        made = [place / name for name in index["file"] if (place / name).exists()]
        if not made:
            raise InputError(f"{place}: no run of this sweep has a session file yet")
        with Session(made[0]) as session:
            config = from_toml_text(session.configuration)
        keys = list(index.columns[1 : list(index.columns).index("seed")])
        over = "; ".join(f"{key}={','.join(dict.fromkeys(index[key]))}" for key in keys)
        seeds = sorted({int(seed) for seed in index["seed"]})
        first = Config.model_validate(
            {**config.model_dump(), "training": {**config.training.model_dump(), "seed": seeds[0]}}
        )
        return cls.of(first, over=over, seeds=len(seeds))


def _rows(measure: str, values: Any) -> Iterator[dict[str, Any]]:
    """Yield a row for each number that has a meaning here."""
    for name, value in values.items():
        quantity = VALUES.get(name) or QUANTITIES.get(name)
        if quantity is not None and value == value:
            yield {"measure": measure, "quantity": name, "value": value, "unit": quantity.unit}


def _of_file(recorded: Characterisation) -> list[dict[str, Any]]:
    values = recorded.values
    return [
        row
        for measure in recorded.done
        for row in _rows(measure, {name: values[name] for name in OUTCOMES[measure][0] if name in values})
    ]
