"""pymeasure's `Results` on labpgt's session files."""

from pathlib import Path
from typing import Any, Self

from pandas import DataFrame
from pymeasure.experiment.results import CSVFormatter, Results

from labpgt.characterisation.reader import Characterisation
from labpgt.errors import InputError
from labpgt.session.recorded import definition_of
from procedures.calibrate.run import STEPS
from procedures.pymeasured.base import STATUSES, RunProcedure
from procedures.pymeasured.runs import CalibrateProcedure, CharacterizeProcedure, SweepProcedure, TrainProcedure
from procedures.sweep.index import NAME as INDEX


class SessionResults(Results):
    """The results of a `RunProcedure`: a session file, or for a calibration or a sweep a folder of them.

    The run itself writes it; pymeasure's Recorder gets no file to write, and its queue stays empty on the disk. What
    is there already is loaded, with the status that stands in it: a run that failed or crashed is FAILED.
    """

    def __init__(self, procedure: RunProcedure, data_filename: str | Path) -> None:
        # Not pymeasure's own, which writes a CSV file at once.
        if not isinstance(procedure, RunProcedure):
            raise ValueError(f"expected a labpgt procedure, got {procedure!r}")
        self.data_filename = str(data_filename)
        self.data_filenames: list[str] = []
        self.procedure = procedure
        self.procedure_class = type(procedure)
        procedure.set_parameters({procedure.PLACE: self.data_filename})
        self.parameters = procedure.parameter_objects()
        self.formatter = CSVFormatter(columns=procedure.DATA_COLUMNS)
        self._data = DataFrame(columns=procedure.DATA_COLUMNS)
        self._seen: Any = None
        if self.place.exists():
            self.reload()

    @property
    def place(self) -> Path:
        """The file, or the folder."""
        return Path(self.data_filename)

    @property
    def data(self) -> DataFrame:
        """What is recorded by now, a row a record as the procedure emits them; empty before the first.

        Raises `InputError` and `StorageFault` for a file that cannot be read.
        """
        if self.place.exists() and self._state() != self._seen:
            self._read()
        return self._data

    def reload(self) -> None:
        """Read everything again, and how the run stands."""
        self.procedure.status = STATUSES[self._read()]

    def store_metadata(self) -> None:
        """Do nothing: what a run needs to be understood is in its file before the first shot."""

    @classmethod
    def load(cls, data_filename: str | Path, procedure_class: type[RunProcedure] | None = None) -> Self:
        """Return the results in a file or folder, with a procedure that has its parameters. Raises `InputError`."""
        kind = procedure_class or _kind_of(Path(data_filename))
        return cls(kind.loaded(Path(data_filename)), data_filename)

    def _read(self) -> Any:
        seen = self._state()
        status, self._data = self.procedure.recorded(self.place)
        self._seen = seen
        return status

    def _state(self) -> list[tuple[str, int, int]]:
        files = sorted(self.place.iterdir()) if self.place.is_dir() else [self.place]
        return [(file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files if file.is_file()]


def _kind_of(place: Path) -> type[RunProcedure]:
    """Return the kind of procedure that made a file or folder."""
    if place.is_dir():
        if (place / INDEX).exists():
            return SweepProcedure
        if (place / f"{STEPS[0]}.h5").exists():
            return CalibrateProcedure
        raise InputError(f"{place}: is neither the folder of a sweep nor that of a calibration")
    return CharacterizeProcedure if definition_of(place) == Characterisation.definition else TrainProcedure
