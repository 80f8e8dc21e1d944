"""Series of any length in a fixed amount of memory: rows put together into bins, twice as many each time it is full."""

import copy
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

CAPACITY = 2048
"""Bins of a series; half of them at least are in use once it was full."""


class Series:
    """Rows of numbers in their order, each bin `per` of them: where they lie, and their mean, least and greatest value.

    `places` are columns that rise (shots, time), of which the mean is kept; `values` those of which least and greatest
    are kept as well. A value that is not finite does not count.
    """

    def __init__(self, places: Sequence[str], values: Sequence[str], capacity: int = CAPACITY) -> None:
        """`capacity` is even."""
        self.places, self.values = tuple(places), tuple(values)
        self.capacity = capacity
        self.per = 1
        """Rows in a bin."""
        self.rows = 0
        """Rows so far."""
        self._sum = np.zeros((len(self.places), capacity))
        self._count = np.zeros((len(self.values), capacity))
        self._total = np.zeros((len(self.values), capacity))
        self._least = np.full((len(self.values), capacity), np.inf)
        self._greatest = np.full((len(self.values), capacity), -np.inf)

    def __len__(self) -> int:
        """Return how many bins there are."""
        return -(-self.rows // self.per)

    def add(self, columns: Mapping[str, NDArray[np.generic]]) -> None:
        """Append rows, column by column, each (n,)."""
        n = len(columns[self.places[0]])
        if not n:
            return
        while self.rows + n > self.capacity * self.per:
            self._halve()
        bins = (self.rows + np.arange(n)) // self.per
        starts = np.flatnonzero(np.diff(bins, prepend=-1))
        into = bins[starts]
        for i, name in enumerate(self.places):
            self._sum[i, into] += np.add.reduceat(np.asarray(columns[name], np.float64), starts)
        for i, name in enumerate(self.values):
            value = np.asarray(columns[name], np.float64)
            there = np.isfinite(value)
            with np.errstate(over="ignore"):  # the mean of numbers that have no sum is infinite
                self._total[i, into] += np.add.reduceat(np.where(there, value, 0.0), starts)
            self._count[i, into] += np.add.reduceat(there.astype(np.float64), starts)
            least = np.minimum.reduceat(np.where(there, value, np.inf), starts)
            self._least[i, into] = np.minimum(self._least[i, into], least)
            greatest = np.maximum.reduceat(np.where(there, value, -np.inf), starts)
            self._greatest[i, into] = np.maximum(self._greatest[i, into], greatest)
        self.rows += n

    def place(self, name: str) -> Array:
        """Return where the bins lie (bins,): the mean over the rows of each."""
        used = len(self)
        rows = np.full(used, float(self.per))
        if used:
            rows[-1] = self.rows - (used - 1) * self.per
        return np.asarray(self._sum[self.places.index(name), :used] / rows)

    def mean(self, name: str) -> Array:
        """Return the mean of a value in each bin (bins,); NaN where there is none."""
        return self.smoothed(name, 1)

    def smoothed(self, name: str, over: int) -> Array:
        """Return the mean of a value over so many rows around each bin (bins,), fewer at both ends."""
        i, used = self.values.index(name), len(self)
        count, total = self._count[i, :used], self._total[i, :used]
        half = over // self.per // 2
        if half and used:
            count, total = _around(count, half), _around(total, half)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.where(count > 0, total / count, np.nan))

    def sum(self, name: str) -> Array:
        """Return the sum of a value in each bin (bins,)."""
        return self._total[self.values.index(name), : len(self)]

    def least(self, name: str) -> Array:
        """Return the least value in each bin (bins,); NaN where there is none."""
        return _nan_where(self._least[self.values.index(name), : len(self)])

    def greatest(self, name: str) -> Array:
        """Return the greatest value in each bin (bins,); NaN where there is none."""
        return _nan_where(self._greatest[self.values.index(name), : len(self)])

    def coarser(self, most: int) -> "Series":
        """Return the same with no more than so many bins; itself, if it has no more."""
        if len(self) <= most:
            return self
        other = copy.copy(self)
        other._sum, other._count, other._total = self._sum.copy(), self._count.copy(), self._total.copy()
        other._least, other._greatest = self._least.copy(), self._greatest.copy()
        while len(other) > most:
            other._halve()
        return other

    def _halve(self) -> None:
        """Put two bins together each; the upper half is free then."""
        half = self.capacity // 2
        for kept, together, nothing in (
            (self._sum, np.add, 0.0),
            (self._count, np.add, 0.0),
            (self._total, np.add, 0.0),
            (self._least, np.minimum, np.inf),
            (self._greatest, np.maximum, -np.inf),
        ):
            kept[:, :half] = together(kept[:, ::2], kept[:, 1::2])
            kept[:, half:] = nothing
        self.per *= 2


def _around(numbers: Array, half: int) -> Array:
    """Return the sum of each number with so many on both sides.

    Nothing is taken away from a running sum, in which one huge number would blot out all that follow: each window is
    the end of one block and the beginning of the next (van Herk 1992, doi 10.1016/0167-8655(92)90069-C).
    """
    n = len(numbers)
    half = min(half, n - 1)
    width = 2 * half + 1
    padded = np.zeros(-(-(n + 2 * half) // width) * width)
    padded[half : half + n] = numbers
    blocks = padded.reshape(-1, width)
    begins, ends = np.cumsum(blocks, 1).ravel(), np.cumsum(blocks[:, ::-1], 1)[:, ::-1].ravel()
    last = np.arange(n) + width - 1
    # A window that is a block as a whole has no second part.
    return np.asarray(begins[last] + np.where(np.arange(n) % width, ends[:n], 0.0))


def _nan_where(extreme: Array) -> Array:
    return np.where(np.isfinite(extreme), extreme, np.nan)
