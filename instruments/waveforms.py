"""Many shots in one waveform, and one capture cut into shots: the arithmetic of the symbol grid, without instruments.

A waveform is a quiet lead-in, then for each shot its symbols and a quiet gap in which the ring forgets, all on one grid
of symbols. The last shot is the pilot: always the same drives, which show that all is as it was. It moves by some
symbols from waveform to waveform, which shows that a capture is of its own waveform. The analyser captures from the
waveform's first sample on:

    lead-in | shot 0 | gap | shot 1 | gap | ... | shift | pilot | gap | what the shift leaves | filling
"""

from math import ceil
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FULL_CODE = 32767
"""Code of a drive of 1."""

SHIFTS = 8
"""Places of the pilot, a symbol apart."""

_WHOLE = 1e-6
"""By how much a number of samples may differ from a whole one: rounding of decimal numbers, and nothing else."""


_ROUNDING = 1e-9
"""Relative error of a quotient of decimal numbers, generously."""


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
    pilot: int = 0
    """Of the pilot shot; 0: there is none."""
    filling: int = 0
    """Of silence at the end, where the shots alone would be too short a waveform."""
    shift: int = 0
    """Of silence before the pilot, less than `SHIFTS`; its place does not change the length."""

    @property
    def period(self) -> int:
        """From the start of one shot to that of the next."""
        return self.symbols + self.gap

    @property
    def length(self) -> int:
        """All symbols."""
        return self.end + with_pilot(self.pilot, self.gap) + self.filling

    @property
    def end(self) -> int:
        """First symbol after the shots and their gaps."""
        return self.lead + self.shots * self.period

    @property
    def pilot_start(self) -> int:
        """First symbol of the pilot shot."""
        return self.end + self.shift

    def starts(self, samples: int) -> NDArray[np.intp]:
        """First sample of each shot, the pilot included, with so many samples a symbol."""
        shots = self.lead + self.period * np.arange(self.shots)
        return np.append(shots, [self.pilot_start] * bool(self.pilot)).astype(np.intp) * samples


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
    tail: NDArray[np.complex128]
    """(symbols, windows): from the end of the shots to that of silence, with the pilot in it; empty without one."""
    rest: float
    """Mean square magnitude of what should be silence before the pilot and behind its gap; 0 without a pilot."""

    def pilot(self, layout: Layout) -> NDArray[np.complex128]:
        """(pilot symbols, windows): the pilot where it should be."""
        return self.tail[layout.shift : layout.shift + layout.pilot]


def with_pilot(pilot: int, gap: int) -> int:
    """Symbols that a pilot shot takes with its places and its gap."""
    return pilot + SHIFTS - 1 + gap if pilot else 0


def whole_samples(duration_s: float, rate_hz: float) -> int | None:
    """Return how many samples at `rate_hz` last `duration_s`, or None where that is not a whole number of them."""
    exact = duration_s * rate_hz
    count = round(exact)
    return count if count >= 1 and abs(exact - count) <= _WHOLE * count else None


def symbols_of(duration_s: float, symbol_s: float) -> int:
    """Return the least number of symbols that last `duration_s`."""
    return max(0, ceil(duration_s / symbol_s * (1 - _ROUNDING)))


def shares(shots: int, most: int) -> list[int]:
    """Share shots among as few captures of at most `most` as there must be, as evenly as they can be."""
    captures = ceil(shots / most)
    return [shots * (n + 1) // captures - shots * n // captures for n in range(captures)]


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


def waveform(
    drives: NDArray[np.float64], pilot: NDArray[np.float64], encoding: str, layout: Layout, grid: Grid
) -> NDArray[np.int16]:
    """Return the codes (samples, 2) of I and Q of the waveform for drives (shots, symbols) and of the pilot."""
    codes = np.zeros((layout.length, grid.source_samples, 2), np.int16)
    body = codes[layout.lead : layout.end]
    body = body.reshape(layout.shots, layout.period, grid.source_samples, 2)
    body[:, : layout.symbols, : grid.on_samples] = pulse_codes(drives, encoding)[:, :, None]
    end = codes[layout.pilot_start : layout.pilot_start + layout.pilot]
    end[:, : grid.on_samples] = pulse_codes(pilot, encoding)[:, None]
    return codes.reshape(-1, 2)


def capture_length(layout: Layout, grid: Grid) -> int:
    """Samples of the capture of a waveform."""
    return layout.length * grid.capture_samples


def cut(samples: NDArray[np.complex128], layout: Layout, grid: Grid, blur: int = 0) -> Cut:
    """Cut the capture (`capture_length` samples, or magnitudes) of a waveform into its shots.

    `blur` is the number of samples over which the analyser's filter smears what comes after the end of a silence.
    """
    per_symbol = grid.capture_samples
    first, last = layout.lead * per_symbol, layout.end * per_symbol
    body = samples[first:last].reshape(layout.shots, layout.period, grid.windows, grid.window_samples)
    windows = body[:, : layout.symbols]
    magnitude = np.abs(body).reshape(layout.shots, layout.period * per_symbol)
    end = slice(-max(per_symbol, blur + 1), -blur or None)
    after = _loudness(magnitude[:, end])
    lead_in = _loudness(np.abs(samples[:first])[None, end])
    tail = samples[last : last + with_pilot(layout.pilot, layout.gap) * per_symbol]
    before = max(0, layout.shift * per_symbol - blur)
    behind = (layout.shift + layout.pilot + layout.gap) * per_symbol
    rest = np.abs(np.concatenate([tail[:before], tail[behind:]]))
    return Cut(
        _means(windows),
        magnitude.max(axis=1),
        np.concatenate([lead_in, after[:-1]])[: layout.shots],
        after,
        _means(tail.reshape(-1, grid.windows, grid.window_samples)),
        float(_loudness(rest)) if rest.size else 0.0,
    )


def _means(windows: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Mean over the last axis; of one sample, that sample."""
    return windows[..., 0] if windows.shape[-1] == 1 else np.asarray(windows.mean(axis=-1))


def _loudness(magnitude: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean square over the last axis."""
    return np.asarray(np.square(magnitude).mean(axis=-1))
