"""The tables of a session, in blocks of rows."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from labpgt.events import EPOCH_DTYPE, STEP_DTYPE, shot_dtype
from labpgt.session import Session

TABLES = ("shots", "steps", "epochs")


class Source:
    """What is in a session now; of a run that goes on, nothing that comes later."""

    def __init__(self, session: Session) -> None:
        self.session = session
        # A row a step or an epoch takes little; only shots are many and long.
        self._small = {"steps": session.steps(), "epochs": session.epochs()}
        self.dtypes: dict[str, np.dtype[np.void]] = {
            "shots": shot_dtype(session.symbols, session.nodes),
            "steps": STEP_DTYPE,
            "epochs": EPOCH_DTYPE,
        }
        self.lengths = {"shots": session.n_shots, **{table: len(rows) for table, rows in self._small.items()}}
        """Rows of each table."""

    def nbytes(self, table: str) -> int:
        """Bytes that the table takes in memory."""
        return self.lengths[table] * self.dtypes[table].itemsize

    def blocks(self, table: str, nbytes: int) -> Iterator[NDArray[np.void]]:
        """Yield a table in blocks of so many bytes, or of one row. Raises `StorageFault`."""
        rows = max(1, nbytes // self.dtypes[table].itemsize)
        if table == "shots":
            yield from self.session.iter_shots(rows)
        else:
            for start in range(0, self.lengths[table], rows):
                yield self._small[table][start : start + rows]
