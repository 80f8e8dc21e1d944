"""The reduced ring with given settings: made, tested against the LLG ring at a ladder of drive fields, and asked."""

import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from math import ceil, floor, log10
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from threadpoolctl import threadpool_limits

from labpgt.rng import Draw, generator
from simulators.envelope import reduced, stepper
from simulators.envelope_fit import Feedback, closeness, fit
from simulators.envelope_kernel import PAIR, Stepper, run
from simulators.kernels import announced
from simulators.lanes import WIDTH
from simulators.llg_ring import LLGRing
from simulators.llg_ring_config import LLGRingConfig
from simulators.threshold import oscillation_threshold

_LOG = logging.getLogger("labpgt.simulators")

NAME = "envelope-ring"

_LONGEST_STEP_S = 0.22e-9
"""Waves within 1 GHz of the carrier turn by less than a quarter turn relative to it."""

LEAST_CORRELATION = 0.999
LARGEST_ERROR = 0.05
"""Root mean square over that of the response: what the range of drives is stated for."""

_LEVELS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Shares of the drive field that a fit is tested at."""

_TRIES = 6
"""Models made, at most, to find the range."""

_MARGIN = 1.1
"""Of the drive field: there the model must still be stable."""

_FIT_S = 76e-9
_TEST_S = 190e-9
"""Length of the shots that the model is fitted to and tested with: several times its memory."""

_MOST_CELLS = 512
"""The waves of a strip are found by dense linear algebra."""


class EnvelopeRingConfig(LLGRingConfig):
    """Settings of the ring by envelopes: those of the LLG ring, with a weaker default drive."""

    drive_field_a_per_m: float = Field(
        2800.0, ge=0, le=14e3, description="antenna field of a drive of 1 (peak of the carrier), in A/m"
    )
    cells: int = Field(96, ge=8, le=_MOST_CELLS, description="cells along the strip")
    temperature_k: float = Field(
        0.0, ge=0, le=0, description="temperature of the film, in K; an envelope has no thermal noise: 0"
    )


class Level(NamedTuple):
    """How close the model and the LLG ring are at one drive field."""

    field_a_per_m: float
    correlation: float
    error: float
    """Root mean square over that of the LLG ring's response."""

    @property
    def good(self) -> bool:
        """Whether both are within the limits."""
        return self.correlation >= LEAST_CORRELATION and self.error <= LARGEST_ERROR


class Fitted(NamedTuple):
    """The model of one ring, and how well it does on shots that it was not fitted to."""

    model: Stepper
    gain: float
    """Loop gain at the threshold, for envelopes, in (field / Ms) per mean pick-up."""
    valid: Level
    """The highest drive field up to which the model is valid: the one that was asked for, or a lower one."""
    failed: Level | None
    """The lowest one that was tried and is too high; None if the model is valid at the one that was asked for."""


def reference_of(config: EnvelopeRingConfig) -> LLGRing:
    """The LLG ring of the same settings, without readout noise."""
    return LLGRing(**{**config.model_dump(), "noise": 0.0})


def _windows(config: EnvelopeRingConfig) -> int:
    """Windows a symbol."""
    return config.n_nodes // 2 if config.detector == "iq" else config.n_nodes


def steps_of(config: EnvelopeRingConfig) -> tuple[float, int]:
    """Step in s, and steps a window."""
    window_s = config.symbol_s / _windows(config)
    count = ceil(window_s / min(_LONGEST_STEP_S, config.delay_s / 3) - 1e-9)
    return window_s / count, count


def responses_of(
    config: EnvelopeRingConfig,
    model: Stepper,
    pulses: NDArray[np.complex128],
    gain: NDArray[np.float64],
    pool: ThreadPoolExecutor,
) -> NDArray[np.float64]:
    """Responses without noise (shots, symbols, n_nodes) to pulses (shots, symbols), in units of Ms, at loop gains."""
    shots, symbols = pulses.shape
    step_s, count = steps_of(config)
    windows, iq = _windows(config), config.detector == "iq"
    steps = symbols * windows * count
    # Twice the carrier's phase at every step, in turns; whole turns are left out before single precision is.
    turns = np.exp(2j * np.pi * np.mod(2 * config.carrier_hz * step_s * np.arange(steps + 1), 1))
    flat: NDArray[np.float32] = turns.astype(np.complex64).view(np.float32)
    saturation = config.saturation_a_per_m / config.saturation_magnetisation_a_per_m

    def answer(first: int) -> NDArray[np.float64]:
        some = slice(first, first + WIDTH)
        part, count = pulses[some], len(pulses[some])
        lanes, steep = np.zeros((symbols, PAIR), np.float32), np.zeros(WIDTH, np.float32)
        lanes[:, :count], lanes[:, WIDTH : WIDTH + count] = part.real.T, part.imag.T
        steep[:count] = gain[some] / saturation
        out = np.empty((symbols, windows, 2, WIDTH), np.float32)
        run(model, lanes.ravel(), steep, np.float32(saturation), flat, iq, out.ravel())
        values = out[..., :count].astype(np.float64).transpose(3, 0, 2, 1)
        # A mean square may come out negative by a rounding error.
        values = values.reshape(count, symbols, -1) if iq else np.sqrt(2 * np.maximum(values[:, :, 0], 0))
        return np.asarray(values / config.full_scale)

    return np.concatenate([np.empty((0, symbols, config.n_nodes)), *pool.map(answer, range(0, shots, WIDTH))])


@lru_cache(maxsize=16)
def fitted(config: EnvelopeRingConfig) -> Fitted:
    """Make the model of the ring and test it against the LLG ring; deterministic.

    Where it fails, the range is searched for: a model made for weaker drives, until one is good all the way up.
    """
    started = time.perf_counter()
    # On one thread linear algebra gives the same bits on every machine load, and small products are the faster for it.
    with threadpool_limits(1, user_api="blas"):
        found, levels = _made(config)
        bad = next((level for level in levels if not level.good), None)
        best = levels[-1] if bad is None else _range(config, levels)
    _LOG.info(
        "%s: fitted in %.1f s; up to %.4g A/m it correlates %.5f with the LLG ring and differs by %.2g %%",
        NAME,
        time.perf_counter() - started,
        best.field_a_per_m,
        best.correlation,
        100 * best.error,
    )
    return found._replace(valid=best, failed=bad)


def _range(config: EnvelopeRingConfig, ladder: list[Level]) -> Level:
    """Search for the highest drive field for which a model is good, to about a tenth; 0 if there is none."""
    good, bad = Level(0.0, ladder[0].correlation, ladder[0].error), config.drive_field_a_per_m
    field = _highest(ladder) or ladder[0].field_a_per_m / 4
    for _ in range(_TRIES):
        field = _two_digits(field)
        if field in (0.0, good.field_a_per_m):
            break
        levels = _made(config.model_copy(update={"drive_field_a_per_m": field}))[1]
        if levels[-1].field_a_per_m == _highest(levels):
            good = levels[-1]
        else:
            bad = field
        if bad < 1.15 * good.field_a_per_m:
            break
        field = (good.field_a_per_m * bad) ** 0.5 if good.field_a_per_m else _highest(levels) or field / 8
    return good


def _highest(ladder: list[Level]) -> float:
    """Drive field up to which all levels are good."""
    passed = 0.0
    for level in ladder:
        if not level.good:
            break
        passed = level.field_a_per_m
    return passed


def _two_digits(field: float) -> float:
    """Round down to two digits, which a message can state."""
    if field <= 0:
        return 0.0
    unit = 10.0 ** (floor(log10(field)) - 1)
    return float(floor(field / unit * (1 + 1e-12)) * unit)


def _made(config: EnvelopeRingConfig) -> tuple[Fitted, list[Level]]:
    """Make the model for drives up to the configured field, and test it at a ladder of fields up to that."""
    reference = reference_of(config)
    strip, ms = reference.strip, config.saturation_magnetisation_a_per_m
    step_s, count = steps_of(config)
    windows = _windows(config)
    per_symbol = count * windows
    # The LLG ring ends a pulse on a step of its own; a longer step here counts as much as the pulse is on.
    fine = round(config.symbol_s / reference.step_s)
    on = np.clip(round(config.duty * fine) / fine * per_symbol - np.arange(per_symbol), 0, 1)
    gate = on * np.repeat(config.mask_values(windows), count)
    carried = reduced(strip, config.carrier_hz)
    _, threshold_hz = oscillation_threshold(strip, config.delay_s, reference.step_s)
    # The threshold of the reduced strip itself: near it, a gain is judged by how far from it it is.
    gain = float(1 / np.abs(carried.transfer(threshold_hz - config.carrier_hz)))
    draw = generator(0, 0, Draw.CALIBRATION)

    levels = np.repeat([1 / 3, 2 / 3, 1.0], 8)
    shots = _shots(draw, reference.drive_limits, len(levels), ceil(_FIT_S / config.symbol_s))
    pulses = config.pulses(shots) * levels[:, None] * config.drive_field_a_per_m / ms
    feedback = Feedback(
        config.net_gain * gain,
        config.saturation_a_per_m / ms,
        config.delay_s / step_s,
        np.exp(-2j * np.pi * config.carrier_hz * config.delay_s),
    )
    drive = -1j * np.repeat(pulses, per_symbol, axis=1) * np.tile(gate, pulses.shape[1])
    source = fit(carried, step_s, drive.T, feedback)
    model = stepper(carried, source, config.delay_s, step_s, gate, count)

    fields = np.array(_LEVELS) * config.drive_field_a_per_m
    each = np.repeat(fields, 4)
    test = _shots(draw, reference.drive_limits, len(each), max(2, ceil(_TEST_S / config.symbol_s)))
    with reference:
        expected = reference.forward_tuned(test, {"drive_field_a_per_m": each})
    with ThreadPoolExecutor(config.threads or os.cpu_count() or 1) as pool:
        pulses = config.pulses(test) / ms
        loop = np.full(len(test), config.net_gain * gain)
        with announced(NAME, run):
            responses_of(config, model, pulses[:1, :1], loop[:1], pool)
        found = responses_of(config, model, pulses * each[:, None], loop, pool)
        # No shot may be near the edge: at a higher field all of them must stay finite.
        beyond = responses_of(config, model, pulses * (_MARGIN * config.drive_field_a_per_m), loop, pool)
    parts = zip(fields, np.split(found, len(fields)), np.split(expected, len(fields)), strict=True)
    scores = [Level(float(field), *closeness(mine, llg)) for field, mine, llg in parts]
    if not np.isfinite(beyond).all():
        scores[-1] = scores[-1]._replace(correlation=0.0, error=np.inf)
    return Fitted(model, gain, scores[-1], None), scores


def _shots(draw: np.random.Generator, limits: tuple[float, float], shots: int, symbols: int) -> NDArray[np.float64]:
    """Drives (shots, symbols): of every four, two random, one of the two limits only, one of the upper limit."""
    low, high = limits
    drives = draw.uniform(low, high, (shots, symbols))
    drives[2::4] = np.where(drives[2::4] > (low + high) / 2, high, low)
    drives[3::4] = high
    return drives
