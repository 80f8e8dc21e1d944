"""What a vector source plays: its codes cut into shots, and read as pulses on the symbol grid of the ring."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FULL_CODE = 32_767
"""Code of a drive of 1."""

_ROUNDING = 1.001
"""Codes that a pulse of full amplitude may be off by, once its two parts are rounded."""


class Shots(NamedTuple):
    """A waveform cut into shots. What comes before the first one is silent."""

    baseband: NDArray[np.complex128]
    """(samples,): codes as a share of `FULL_CODE`, in phase + i * in quadrature."""
    starts: NDArray[np.intp]
    """(shots,): first sample of each."""
    quiet: NDArray[np.float64]
    """(shots,): silent samples just before each; infinite where nothing was played before."""

    @property
    def lengths(self) -> NDArray[np.intp]:
        """(shots,): samples of each, the silence up to the next one included."""
        return np.diff(self.starts, append=len(self.baseband))


class Symbols(NamedTuple):
    """Shots on the symbol grid, one after the other; each starts a symbol of its own."""

    pulses: NDArray[np.complex128]
    """(symbols,)."""
    counts: NDArray[np.intp]
    """(shots,): symbols of each; of the last one of a shot the waveform may hold only a part."""


def cut(codes: NDArray[np.int16], marks: NDArray[np.intp] | None, forgotten: float) -> Shots:
    """Cut a waveform of codes (samples, 2) into shots at `marks`, sample numbers.

    Without marks a shot starts where the waveform begins again after a silence of `forgotten` samples or more. Such a
    cut cannot see drives of 0 at the start of a shot: a source that marks its shots is understood better.
    """
    baseband = (codes[:, 0] + 1j * codes[:, 1]).astype(np.complex128) / FULL_CODE
    loud = np.flatnonzero(codes.any(axis=1))
    if marks is None or not len(marks):
        silences = np.diff(loud) - 1
        starts = np.concatenate([loud[:1], loud[1:][silences >= forgotten]])
    else:
        starts = np.unique(np.asarray(marks, np.intp))
        starts = starts[(starts >= 0) & (starts < len(codes))]
        if len(loud) and len(starts) and loud[0] < starts[0]:
            starts = np.concatenate([loud[:1], starts])
    if not len(starts):
        starts = np.zeros(1, np.intp)
    before = np.searchsorted(loud, starts)
    quiet = np.full(len(starts), np.inf)
    some = before > 0
    quiet[some] = starts[some] - loud[before[some] - 1] - 1
    return Shots(baseband, starts, quiet)


def chained(quiet: NDArray[np.float64], forgotten: float) -> NDArray[np.intp]:
    """Return the numbers of the shots that start from rest; every other one follows its predecessor too soon."""
    rested = quiet >= forgotten
    rested[0] = True
    return np.flatnonzero(rested)


def rounded(count: float) -> int | None:
    """Return the whole number that a count is but for rounding errors, or None."""
    whole = round(count)
    return whole if abs(count - whole) <= 1e-6 * max(1.0, count) else None


def on_grid(shots: Shots, per_symbol: int, on: int, rested: NDArray[np.intp]) -> Symbols | None:
    """Read shots as symbols of `per_symbol` samples, the first `on` of which hold the pulse and the others nothing.

    Returns None if the waveform is not like that, or a shot that does not start from rest does not start on a symbol
    of the one before.
    """
    lengths = shots.lengths
    follows = np.setdiff1d(np.arange(1, len(lengths)), rested)
    if (lengths[follows - 1] % per_symbol).any():
        return None
    counts = -(-lengths // per_symbol)
    samples = np.zeros(int(counts.sum()) * per_symbol, np.complex128)
    ends = np.cumsum(counts) * per_symbol
    shift = ends - counts * per_symbol - shots.starts
    samples[np.arange(shots.starts[0], len(shots.baseband)) + np.repeat(shift, lengths)] = shots.baseband[
        shots.starts[0] :
    ]
    symbols = samples.reshape(-1, per_symbol)
    pulses = symbols[:, 0].copy()
    if (symbols[:, :on] != pulses[:, None]).any() or symbols[:, on:].any():
        return None
    return Symbols(pulses, counts)


def full_pulses(pulses: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Pulses of a phase encoding: what is of full amplitude but for the rounding of its codes is so exactly."""
    near = np.abs(np.abs(pulses) - 1) <= _ROUNDING / FULL_CODE
    return np.where(near, np.exp(1j * np.pi * (np.angle(pulses) / np.pi)), pulses)
