"""What a recorded shot was part of: its pair, its perturbation, its update; and how noisy a difference is.

For whoever looks into a session afterwards. NumPy and the file alone are needed: nothing is trained again.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from labpgt.config import from_toml_text
from labpgt.events import SPOILED, Purpose
from labpgt.perturbations import draw_perturbation
from labpgt.rng import Draw, generator
from labpgt.session import Session

FIRST = 10
"""Parameters whose perturbation is told one by one."""
_BLOCK_BYTES = 4 << 20
_BYTES_A_PARAMETER = 8
"""Of each parameter two checkpoints are in the file."""


def pair_of(session: Session, row: np.void) -> np.void | None:
    """Return the row of the pair's other half; None for an unperturbed shot, and where the other half is missing.

    The halves of a pair stand side by side, + first. Raises `StorageFault`.
    """
    sign, index = int(row["sign"]), int(row["index"])
    if sign not in (1, -1) or index + sign < 0:
        return None
    for other in session.shots(index + sign, index + sign + 1):
        same = all(other[name] == row[name] for name in ("purpose", "step", "sample", "seed", "delta"))
        if same and int(other["sign"]) == -sign:
            return other  # type: ignore[no-any-return]
    return None


def update_of(session: Session, row: np.void) -> np.void | None:
    """Return the step, a row of `labpgt.events.STEP_DTYPE`, that a shot was taken for; None when there is none (yet).

    Raises `StorageFault`.
    """
    step = int(row["step"])
    if row["purpose"] != Purpose.TRAIN or step < 0:
        return None
    for update in session.steps(step, step + 1):
        if int(update["step"]) == step:
            return update  # type: ignore[no-any-return]
    return None


class ParameterPerturbation(NamedTuple):
    """PM of pgt: whole numbers, times delta on the parameters."""

    parameters: int
    """Trainable parameters of the network."""
    left_out: int
    """Of them, those that dropout left unperturbed."""
    plus: int
    """Of the others, those moved up by the half with sign +."""
    zero: int
    minus: int
    first: tuple[int, ...]
    """PM of the first parameters; 0 also for one that dropout left out."""


class Perturbation(NamedTuple):
    """What the two halves of a pair differed in."""

    half: NDArray[np.float32] | None
    """(u+ - u-)/2 of the drives as sent, (symbols,); None when the other half is not on record."""
    parameters: ParameterPerturbation | None
    """None unless the estimator perturbs the parameters."""


class Perturbations:
    """The perturbations of one session; what was drawn last is kept, for the pairs of a batch share it.

    Raises `InputError` for a session whose configuration cannot be used.
    """

    def __init__(self, session: Session) -> None:
        training = from_toml_text(session.configuration).training
        self._session = session
        self._pgt = training.estimator == "pgt"
        self._seed = training.seed
        self._limit = training.perturbation_range
        self._dropout = training.dropout
        self._size = session.n_parameters if self._pgt else 0
        self._drawn: tuple[int, ParameterPerturbation] | None = None

    def of(self, row: np.void, other: np.void | None) -> Perturbation | None:
        """Return the perturbation of a shot, given the pair's other half; None for an unperturbed shot."""
        sign = int(row["sign"])
        if sign == 0:
            return None
        half = None if other is None else np.float32(sign) * (row["drive"] - other["drive"]) / 2
        return Perturbation(half, self._of_parameters(int(row["seed"])))

    def _of_parameters(self, seed: int) -> ParameterPerturbation | None:
        # A file may claim any number of parameters at no cost.
        if not self._pgt or self._size * _BYTES_A_PARAMETER > self._session.size:
            return None
        if self._drawn is None or self._drawn[0] != seed:
            draw = generator(self._seed, seed, Draw.PERTURBATION)
            self._drawn = seed, _told(self._size, *draw_perturbation(self._size, self._limit, self._dropout, draw))
        return self._drawn[1]


def _told(size: int, where: slice | NDArray[np.intp], values: NDArray[np.float32]) -> ParameterPerturbation:
    first = np.zeros(min(FIRST, size), int)
    if isinstance(where, slice):
        first[:] = values[: len(first)]
    else:
        early = where < len(first)
        first[where[early]] = values[early]
    plus, minus = int(np.count_nonzero(values > 0)), int(np.count_nonzero(values < 0))
    zero = len(values) - plus - minus
    return ParameterPerturbation(size, size - len(values), plus, zero, minus, tuple(first.tolist()))


def difference_noise(session: Session) -> float | None:
    """Return the standard deviation that noise alone gives L+ - L- of one pair, at the delta in use.

    From the pairs that were taken twice to choose delta (`labpgt.calibration.choose_delta`). None when delta was given,
    and before it is chosen. Raises `StorageFault`.
    """
    pairs = []
    for rows in _blocks(session):
        calibration = rows["purpose"] == Purpose.CALIBRATION
        pairs.append(_without_shape(rows[calibration & (rows["sign"] != 0)]))
        if not calibration.all():
            break
    else:
        return None
    taken = np.concatenate(pairs)
    # The ladder is climbed until a delta will do: the last one is in use.
    taken = taken[taken["delta"] == taken["delta"][-1]] if len(taken) else taken
    plus, minus = taken[:-1], taken[1:]
    pair = (plus["sign"] == 1) & (minus["sign"] == -1) & (plus["sample"] == minus["sample"])
    # What was spoiled has been taken again.
    pair &= ((plus["flags"] | minus["flags"]) & SPOILED) == 0
    plus, minus = plus[pair], minus[pair]
    differences = plus["loss"] - minus["loss"]
    apart = []
    for sample in np.unique(plus["sample"]):
        of_sample = differences[plus["sample"] == sample]
        once = len(of_sample) // 2
        apart += (of_sample[:once] - of_sample[once : 2 * once]).tolist()
    noise = float(np.std(apart) / np.sqrt(2)) if len(apart) > 1 else float("nan")
    return noise if np.isfinite(noise) else None


def _without_shape(rows: NDArray[np.void]) -> NDArray[np.void]:
    """Return rows without drive and response, to be kept."""
    names = ["sample", "sign", "delta", "loss", "flags"]
    slim = np.empty(len(rows), [(name, rows.dtype[name]) for name in names])
    for name in names:
        slim[name] = rows[name]
    return slim


def _blocks(session: Session) -> Iterator[NDArray[np.void]]:
    row_bytes = max(1, session.shots(0, 0).dtype.itemsize)
    return session.iter_shots(max(1, min(256, _BLOCK_BYTES // row_bytes)))
