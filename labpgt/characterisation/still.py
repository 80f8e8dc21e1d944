"""What does not need memory: noise, repeatability, compression and transmission."""

import math

import numpy as np
from numpy.typing import NDArray

from labpgt.characterisation.bench import Bench
from labpgt.characterisation.outcome import Outcome

_PROBE = 0.3
"""Drive of the transmission, as a share of the largest: high enough for the noise, low enough to be nearly linear."""
_LOWEST_LEVEL = 0.01
"""Of the compression curve, as a share of the largest drive."""
_CLEAR = 10.0
"""A response counts as seen when it is so many times its own uncertainty."""
_SMALL = 3.0
"""The small-signal line is fitted to drives up to so many times the lowest that is seen."""
_HIGHEST_SMALL = 0.35
"""Share of the largest drive above which nothing counts as small."""
_NEAR_PEAK_DB = 20.0
"""Below the peak, down to here: where the second pass of the transmission looks."""
_REPEAT_DRAW = 4


def noise(bench: Bench) -> Outcome:
    """Return the noise floor: the deviation of a response value between repeats of one shot at rest."""
    responses = _at_rest(bench)
    variance = responses.var(axis=0, ddof=1)
    deviation = np.sqrt(variance.mean(axis=0))
    return Outcome(
        values={"noise_floor": float(np.sqrt(variance.mean()))},
        curves={"noise": {"node": np.arange(bench.nodes, dtype=float), "deviation": deviation}},
    )


def _at_rest(bench: Bench) -> NDArray[np.float64]:
    return bench.once("noise", lambda: np.full((bench.effort.repeats, bench.symbols("noise")), bench.rest))


def repeatability(bench: Bench) -> Outcome:
    """Return how repeats of one random shot differ: deviation between them, and that over the deviation within.

    The drive is uniform over its whole range. The deviation within the shot is that of a response value over the
    symbols, in the mean of the repeats, less what noise adds to it.
    """
    low, high = bench.limits
    repeats = bench.effort.repeats
    drive = bench.draw(_REPEAT_DRAW).uniform(low, high, bench.symbols("repeatability"))
    responses = bench.take("repeatability", np.tile(drive, (repeats, 1)))
    mean = responses.mean(axis=0)
    between = float(responses.var(axis=0, ddof=1).mean())
    within = float(mean.var(axis=0).mean()) - between / repeats
    outcome = Outcome(values={"noise_driven": math.sqrt(between)})
    if within <= 0:
        return outcome.lack("the responses to a random drive do not differ by more than their noise", "repeatability")
    outcome.values["repeatability"] = math.sqrt(between / within)
    # A repeat deviates from a mean that it is part of by (1 - 1/repeats) of its variance.
    each = np.sqrt(np.mean((responses - mean) ** 2, axis=(1, 2)) / ((1 - 1 / repeats) * within))
    outcome.curves["repeatability"] = {"repeat": np.arange(repeats, dtype=float), "deviation": each}
    return outcome


def compression(bench: Bench) -> Outcome:
    """Return how the response falls behind a growing constant drive, and where it is 1 dB behind.

    The response is the root mean square over the nodes of the mean deviation from rest over the second half of the
    shot, when the ring has filled, less the noise. The small-signal line is fitted through the origin to the lowest
    drives that stand out of the noise.
    """
    names = ("compression_db", "compression_1db_drive")
    rest = bench.rest
    strongest = max(bench.limits, key=lambda limit: abs(limit - rest))
    shares = np.geomspace(_LOWEST_LEVEL, 1, bench.effort.levels)
    symbols = bench.symbols("compression")
    levels = rest + shares * (strongest - rest)
    responses = bench.take("compression", np.tile(levels[:, None], (1, symbols)))
    response, uncertainty = _settled(responses, _at_rest(bench))
    drive = shares * abs(strongest - rest)
    seen = response > _CLEAR * uncertainty
    curve = {"drive": drive, "response": response, "small_signal": np.full_like(drive, np.nan)}
    outcome = Outcome(curves={"compression": curve})
    if not seen.any():
        return outcome.lack("no response to a constant drive stands out of the noise", *names)
    lowest = int(np.argmax(seen))
    if shares[lowest] > _HIGHEST_SMALL:
        return outcome.lack(
            f"responses stand out of the noise only from {shares[lowest]:.0%} of the largest drive on: "
            "there is no small-signal line to compare with",
            *names,
        )
    small = seen & (shares <= min(_SMALL * shares[lowest], max(_HIGHEST_SMALL, shares[lowest])))
    slope = float(np.sum(drive[small] * response[small]) / np.sum(drive[small] ** 2))
    curve["small_signal"] = slope * drive
    behind = 20 * np.log10(slope * drive[seen] / response[seen])
    outcome.values["compression_db"] = float(behind[-1]) if seen[-1] else float("inf")
    above = np.flatnonzero((behind[1:] >= 1) & (behind[:-1] < 1))
    if len(above):
        i = int(above[0])
        share = (1 - behind[i]) / (behind[i + 1] - behind[i])
        logarithm = np.log(drive[seen])
        outcome.values["compression_1db_drive"] = float(
            np.exp(logarithm[i] + share * (logarithm[i + 1] - logarithm[i]))
        )
    else:
        where = f"{behind[-1]:.2g} dB behind" if behind[-1] > 0 else f"{-behind[-1]:.2g} dB ahead"
        outcome.lack(f"at full drive the response is {where}, not 1 dB behind", names[1])
    return outcome


def _settled(responses: NDArray[np.float64], at_rest: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Return how far each shot (shots, symbols, nodes) settles from rest, less the noise; and the noise of that."""
    half = responses.shape[1] // 2
    repeats = len(at_rest)
    still = at_rest.mean(axis=0)[half:]
    settled = (responses[:, half:] - still).mean(axis=1)
    own = (at_rest[:, half:] - still).mean(axis=1)
    variance = float(np.sum(own**2, axis=0).mean()) / (repeats - 1) * (1 + 1 / repeats)
    size = np.sqrt(np.maximum(np.mean(settled**2, axis=1) - variance, 0.0))
    resolution = 1e-7 * float(np.abs(responses).max())
    return size, max(math.sqrt(variance / responses.shape[2]), resolution)


def transmission(bench: Bench) -> Outcome:
    """Return the response to a constant weak drive against the carrier's frequency.

    Two passes: over the whole range that the carrier can be tuned, and over what is within 20 dB of the peak. Each is
    taken as the device is set and, when its attenuator can be tuned, with the loop attenuated as far as it goes. The
    response is the root mean square over nodes and over the second half of the shot of the deviation from rest.
    """
    if reason := bench.lacks("carrier_hz"):
        return Outcome().lack(reason, "transmission_peak", "transmission_peak_hz")
    opened = "attenuation_db" in bench.tunable
    low, high = bench.tunable["carrier_hz"]
    coarse = np.linspace(low, high, bench.effort.frequencies)
    closed, loose = _sweep(bench, coarse, opened)
    near = np.flatnonzero(closed >= closed.max() * 10 ** (-_NEAR_PEAK_DB / 20))
    first, last = max(near[0] - 1, 0), min(near[-1] + 1, len(coarse) - 1)
    # Between the first pass's own frequencies, none of which is taken twice.
    fine = np.linspace(coarse[first], coarse[last], bench.effort.frequencies + 2)[1:-1]
    fine = fine[~np.isin(fine, coarse)]
    more, looser = _sweep(bench, fine, opened)
    frequency = np.concatenate([coarse, fine])
    order = np.argsort(frequency)
    frequency = frequency[order]
    response = np.concatenate([closed, more])[order]
    without_loop = np.concatenate([loose, looser])[order]
    peak = int(np.argmax(response))
    outcome = Outcome(
        values={"transmission_peak": float(response[peak]), "transmission_peak_hz": float(frequency[peak])},
        curves={
            "transmission": {"frequency_hz": frequency, "response": response, "response_open": without_loop},
        },
    )
    if opened:
        peak = int(np.argmax(without_loop))
        outcome.values["transmission_open_peak"] = float(without_loop[peak])
        outcome.values["transmission_open_peak_hz"] = float(frequency[peak])
    else:
        outcome.lack(bench.lacks("attenuation_db"), "transmission_open_peak", "transmission_open_peak_hz")
    return outcome


def _sweep(
    bench: Bench, frequency: NDArray[np.float64], opened: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the response at each frequency, as set and with the loop attenuated; NaN where that cannot be."""
    low, high = bench.limits
    strongest = max((low, high), key=lambda limit: abs(limit - bench.rest))
    level = bench.rest + _PROBE * (strongest - bench.rest)
    symbols = bench.symbols("transmission")
    drives = np.full((len(frequency), symbols), level)
    still = _at_rest(bench)
    half = symbols // 2
    quiet = still.mean(axis=0)[half:]
    variance = float(still.var(axis=0, ddof=1).mean()) * (1 + 1 / len(still))

    def size(responses: NDArray[np.float64]) -> NDArray[np.float64]:
        power = np.mean((responses[:, half:] - quiet) ** 2, axis=(1, 2)) - variance
        return np.asarray(np.sqrt(np.maximum(power, 0.0)))

    closed = size(bench.take("transmission", drives, {"carrier_hz": frequency}))
    if not opened:
        return closed, np.full_like(closed, np.nan)
    open_loop = np.full(len(frequency), bench.tunable["attenuation_db"][1])
    tuning = {"carrier_hz": frequency, "attenuation_db": open_loop}
    return closed, size(bench.take("transmission", drives, tuning))
