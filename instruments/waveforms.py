"""Many shots in one waveform, and one capture cut into shots: the arithmetic of the symbol grid, without instruments.

A waveform is a quiet lead-in, then for each shot its symbols and a quiet gap in which the ring forgets, all on one grid
of symbols. The analyser captures from the waveform's first sample on:

    lead-in | shot 0 | gap | shot 1 | gap | ... | filling
"""

from collections.abc import Iterator
from math import ceil
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FULL_CODE = 32767
"""Code of a drive of 1."""

_WHOLE = 1e-6
"""By how much a number of samples may differ from a whole one: rounding of decimal numbers, and nothing else."""


class Grid(NamedTuple):
    """One symbol as the source plays it and as the analyser samples it."""

    source_samples: int
    """Samples of the waveform a symbol."""
    on_samples: int
    """How many of them, from the first on, carry the pulse."""
    windows: int
    """Windows a symbol that are read."""
    window_samples: int
    """Samples of the capture a window; their mean is read."""

    @property
    def capture_samples(self) -> int:
        """Samples of the capture a symbol."""
        return self.windows * self.window_samples


class Layout(NamedTuple):
    """Where the shots of one capture are, in symbols."""

    shots: int
    symbols: int
    """Of each shot."""
    lead: int
    gap: int
    filling: int = 0
    """Symbols of silence at the end, where the shots alone would be too short a waveform."""

    @property
    def period(self) -> int:
        """From the start of one shot to that of the next."""
        return self.symbols + self.gap

    @property
    def length(self) -> int:
        """All symbols."""
        return self.lead + self.shots * self.period + self.filling

    def starts(self, samples: int) -> NDArray[np.intp]:
        """First sample of each shot, (shots,), with so many samples a symbol."""
        return (self.lead + self.period * np.arange(self.shots)) * samples


class Cut(NamedTuple):
    """One capture by shots."""

    windows: NDArray[np.complex128]
    """(shots, symbols, windows): mean sample of each window."""
    peak: NDArray[np.float64]
    """(shots,): greatest magnitude of a sample in the shot and its gap."""
    before: NDArray[np.float64]
    """(shots,): mean square magnitude at the end of the silence before the shot."""
    after: NDArray[np.float64]
    """(shots,): mean square magnitude at the end of the gap behind the shot."""


def whole_samples(duration_s: float, rate_hz: float) -> int | None:
    """Return how many samples at `rate_hz` last `duration_s`, or None where that is not a whole number of them."""
    exact = duration_s * rate_hz
    count = round(exact)
    return count if count >= 1 and abs(exact - count) <= _WHOLE * count else None


def symbols_of(duration_s: float, symbol_s: float) -> int:
    """Return the least number of symbols that last `duration_s`."""
    return max(0, ceil(duration_s / symbol_s * (1 - _WHOLE) - _WHOLE))


def most_shots(symbols: int, lead: int, gap: int, longest: int) -> int:
    """Return how many shots of so many symbols fit into `longest` symbols; 0 if none does."""
    return max(0, (longest - lead) // (symbols + gap))


def layouts(shots: int, symbols: int, lead: int, gap: int, shortest: int, longest: int, batch: int) -> Iterator[Layout]:
    """Share shots among as few captures as there must be, as evenly as they can be: yield the layout of each.

    A capture holds at most `batch` shots (0: no limit) and from `shortest` to `longest` symbols. `ValueError` where
    one shot is too long.
    """
    most = most_shots(symbols, lead, gap, longest)
    if most < 1:
        raise ValueError(
            f"a shot of {symbols} symbols with its lead-in of {lead} and gap of {gap} is longer than the {longest} "
            "symbols that fit"
        )
    if batch:
        most = min(most, batch)
    captures = ceil(shots / most)
    for capture in range(captures):
        some = shots * (capture + 1) // captures - shots * capture // captures
        bare = Layout(some, symbols, lead, gap)
        yield bare._replace(filling=max(0, shortest - bare.length))


def pulse_codes(drives: NDArray[np.float64], encoding: str) -> NDArray[np.int16]:
    """Return the codes (..., 2) of I and Q for drives (...).

    "amplitude" and "signed": I is the drive in units of 1/32767. "phase": I and Q are those of a full pulse turned by
    pi times the drive.
    """
    codes = np.zeros((*drives.shape, 2), np.int16)
    if encoding == "phase":
        codes[..., 0] = np.rint(FULL_CODE * np.cos(np.pi * drives))
        codes[..., 1] = np.rint(FULL_CODE * np.sin(np.pi * drives))
    else:
        codes[..., 0] = np.rint(FULL_CODE * drives)
    return codes


def waveform(drives: NDArray[np.float64], encoding: str, layout: Layout, grid: Grid) -> NDArray[np.int16]:
    """Return the codes (samples, 2) of I and Q of the waveform for drives (shots, symbols)."""
    codes = np.zeros((layout.length, grid.source_samples, 2), np.int16)
    body = codes[layout.lead : layout.lead + layout.shots * layout.period]
    body = body.reshape(layout.shots, layout.period, grid.source_samples, 2)
    body[:, : layout.symbols, : grid.on_samples] = pulse_codes(drives, encoding)[:, :, None]
    return codes.reshape(-1, 2)


def capture_length(layout: Layout, grid: Grid) -> int:
    """Samples of the capture of a waveform."""
    return layout.length * grid.capture_samples


def cut(samples: NDArray[np.complex128], layout: Layout, grid: Grid) -> Cut:
    """Cut the capture (`capture_length` samples, or magnitudes) of a waveform into its shots."""
    per_symbol = grid.capture_samples
    first, last = layout.lead * per_symbol, (layout.lead + layout.shots * layout.period) * per_symbol
    body = samples[first:last].reshape(layout.shots, layout.period, grid.windows, grid.window_samples)
    windows = body[:, : layout.symbols]
    magnitude = np.abs(body).reshape(layout.shots, -1)
    after = _loudness(magnitude[:, -per_symbol:]) if layout.gap else np.zeros(layout.shots)
    lead_in = _loudness(np.abs(samples[first - per_symbol : first])[None]) if layout.lead else np.zeros(1)
    return Cut(
        windows[..., 0] if grid.window_samples == 1 else windows.mean(axis=-1),
        magnitude.max(axis=1),
        np.concatenate([lead_in, after[:-1]])[: layout.shots],
        after,
    )


def _loudness(magnitude: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean square over the last axis."""
    return np.asarray(np.square(magnitude).mean(axis=-1))
