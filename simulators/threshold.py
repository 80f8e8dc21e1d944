"""Where a delayed feedback loop around a strip starts to oscillate by itself."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from simulators.llg import record
from simulators.strip import Loop, Strip

_PULSE_S = 50e-12
"""Standard deviation of the test pulse: short enough to reach every wave that the strip carries well."""

_PULSE_FIELD = 1e-9
"""Peak of the test pulse in units of Ms: linear throughout, and a ring that oscillates takes long to saturate."""

_LISTEN_S = 250e-9
_LONGEST_S = 8e-6
"""How long to listen to the pick-up of an open strip: until it has faded, but no longer."""

_FADED = 1e-5
"""Share of a response, in root mean square, that its last eighth may hold."""

_ROUND_TRIPS = 8

_TRANSIT_S = 5e-9
"""Through the strip, about: what a round trip takes besides the delay."""


def pulse_response(
    strip: Strip, loop: Loop, step_s: float, listen_s: float = _LISTEN_S
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a short drive pulse and the pick-up it makes, every `step_s` for `listen_s`; both in units of Ms."""
    time = 0.5 * step_s * np.arange(2 * round(listen_s / step_s) + 1)
    pulse = _PULSE_FIELD * np.exp(-0.5 * ((time - 5 * _PULSE_S) / _PULSE_S) ** 2)
    return pulse[::2], record(strip, loop, step_s, pulse[None])[0].astype(np.float64)


@lru_cache(maxsize=64)
def oscillation_threshold(strip: Strip, delay_s: float, step_s: float) -> tuple[float, float]:
    """Return the loop gain at which the ring starts to oscillate, in (field / Ms) per mean pick-up, and where, in Hz.

    Barkhausen's criterion: the smallest gain G at which G H(f) exp(-2 pi i f delay) is 1 at some f, with the
    transfer function H from input field to pick-up measured by one pulse through the open strip.
    """
    pulse, pickup = pulse_response(strip, Loop(delay_s), step_s, ring_time(strip, step_s))
    # Padded to eight times its length, so that magnitude and phase are smooth from one frequency to the next.
    length = 8 * len(pickup)
    spectrum = np.fft.rfft(pulse, length)
    carried = np.abs(spectrum) > 1e-3 * np.abs(spectrum).max()
    frequency = np.fft.rfftfreq(length, step_s)[carried]
    transfer = np.fft.rfft(pickup, length)[carried] / spectrum[carried]
    size = np.abs(transfer)
    turns = np.unwrap(np.angle(transfer * np.exp(-2j * np.pi * frequency * delay_s))) / (2 * np.pi)
    # Linear interpolation to where the phase passes a whole number of turns.
    i = np.flatnonzero(np.floor(turns[1:]) != np.floor(turns[:-1]))
    whole = np.maximum(np.floor(turns[i]), np.floor(turns[i + 1]))
    part = (whole - turns[i]) / (turns[i + 1] - turns[i])
    size = size[i] + part * (size[i + 1] - size[i])
    best = np.argmax(size)
    return float(1 / size[best]), float(frequency[i[best]] + part[best] * (frequency[1] - frequency[0]))


@lru_cache(maxsize=64)
def ring_time(strip: Strip, step_s: float) -> float:
    """Return how long the pick-up of an open strip is to be listened to, in s: until it has faded, at most 8 us."""
    listen_s = _LISTEN_S
    while listen_s < _LONGEST_S:
        _, pickup = pulse_response(strip, Loop(16 * step_s), step_s, listen_s)
        energy = np.square(pickup)
        if energy[-len(energy) // 8 :].sum() <= _FADED**2 * energy.sum():
            break
        listen_s *= 2
    return listen_s


@lru_cache(maxsize=64)
def ring_down(strip: Strip, loop: Loop, step_s: float) -> float:
    """Return the factor by which the closed ring's answer to a pulse changes in half of the time listened to.

    That is as long as the open strip rings, and eight times the delay. Below 1 the ring forgets; above 1 it oscillates
    by itself.
    """
    listen_s = max(ring_time(strip, step_s), _ROUND_TRIPS * (loop.delay_s + _TRANSIT_S))
    _, pickup = pulse_response(strip, loop, step_s, listen_s)
    _, second, _, fourth = np.array_split(pickup, 4)
    earlier = np.linalg.norm(second)
    # In a heavily damped film nothing at all may be left.
    return float(np.linalg.norm(fourth) / earlier) if earlier > 0 else 0.0
