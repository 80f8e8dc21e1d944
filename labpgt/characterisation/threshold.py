"""Where the ring starts to oscillate by itself, and how long it remembers below that."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from labpgt.characterisation.bench import Bench
from labpgt.characterisation.decay import Decay, Quiet, decay_of, kick_drives, quiet_from
from labpgt.characterisation.outcome import Outcome

ATTENUATION = "attenuation_db"
_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
"""Of the threshold: loop gains whose memory is measured."""
_SPAN_DB = 30.0
"""From the least attenuation on: where the memory is measured when no threshold is known."""
_NEAREST = 4
_STRAIGHT_DB = 0.5
"""Just below the threshold: it is extrapolated from the settings there, or from the nearest four."""
_SURE = 3.0
"""Standard errors."""
_NONE = float("nan")
_LARGEST_DB = 400.0
"""Beyond this a gain is no gain."""
_NEPER_DB = 20 / math.log(10)


class Search(NamedTuple):
    """What the search for the threshold has seen."""

    attenuation_db: NDArray[np.float64]
    decays: list[Decay]
    threshold_db: float
    """NaN when there is none in the range."""
    uncertainty_db: float
    reason: str
    """Why there is none."""
    extrapolated_db: float
    """Where the decay rates lead to, when the ring is quiet throughout."""


class Kicks:
    """Kicks of one device, and what it answers when it is not kicked; shared by the measures that need them."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self._quiet: Quiet | None = None
        self._present: Decay | None = None
        self._search: Search | None = None

    def drives(self, shots: int, *, kicked: bool = True) -> NDArray[np.float64]:
        """Return drives (shots, symbols): the end of the range farthest from rest for one symbol, then rest."""
        bench = self.bench
        strongest = max(bench.limits, key=lambda limit: abs(limit - bench.rest))
        return kick_drives(shots, bench.symbols("kick"), bench.rest, strongest if kicked else bench.rest)

    def present(self) -> Decay:
        """Return the decay as the device is set."""
        if self._present is None:
            bench, repeats = self.bench, self.bench.effort.repeats
            limits = bench.tunable.get(ATTENUATION)
            if limits is None:
                quiet = quiet_from(bench.take("kick", self.drives(repeats, kicked=False)))
                kicked = bench.take("kick", self.drives(repeats))
            else:
                # Without a kick, an oscillating ring would pass for its own quiet self; and tuned to what it is set
                # to, it answers also where it oscillates.
                quiet = self.attenuated()
                now = _present_attenuation(bench)
                tuning = {ATTENUATION: np.full(repeats, now)} if limits[0] <= now <= limits[1] else None
                kicked = bench.take("kick", self.drives(repeats), tuning)
            self._present = decay_of(kicked, quiet, plain=True)
        return self._present

    def attenuated(self) -> Quiet:
        """Return the answer without a kick at the highest attenuation, where no ring oscillates."""
        if self._quiet is None:
            highest = self.bench.tunable[ATTENUATION][1]
            repeats = self.bench.effort.repeats
            tuning = {ATTENUATION: np.full(repeats, highest)}
            self._quiet = quiet_from(self.bench.take("kick", self.drives(repeats, kicked=False), tuning))
        return self._quiet

    def at(self, attenuation_db: NDArray[np.float64], repeats: int, *, plain: bool = False) -> list[Decay]:
        """Return the decay at each attenuation (n,), from this many kicks each."""
        quiet = self.attenuated()
        tuning = {ATTENUATION: np.repeat(attenuation_db, repeats)}
        responses = self.bench.take("kick", self.drives(repeats * len(attenuation_db)), tuning)
        return [decay_of(part, quiet, plain=plain) for part in np.split(responses, len(attenuation_db))]

    def search(self) -> Search:
        """Return where the threshold is: bisection over the attenuation, many settings at a time."""
        if self._search is None:
            self._search = _search(self)
        return self._search


def _search(kicks: Kicks) -> Search:
    bench = kicks.bench
    low, high = bench.tunable[ATTENUATION]
    seen: dict[float, Decay] = {}
    for _ in range(bench.effort.rounds):
        settings = np.array([x for x in np.linspace(low, high, bench.effort.sections) if x not in seen])
        seen |= dict(zip(settings.tolist(), kicks.at(settings, bench.effort.kicks), strict=True))
        loud = [x for x, decay in seen.items() if decay.oscillates]
        quiet = [x for x, decay in seen.items() if not decay.oscillates]
        if not loud or not any(x > max(loud) for x in quiet):
            break
        # The highest that oscillates, and the lowest that is quiet above it: more attenuation is less gain.
        low = max(loud)
        high = min(x for x in quiet if x > low)
    attenuation = np.array(sorted(seen))
    decays = [seen[x] for x in attenuation.tolist()]
    reason = _why_none(attenuation, decays)
    line = (
        _line(attenuation, decays)
        if reason
        else _line(attenuation[attenuation >= high], [seen[x] for x in attenuation.tolist() if x >= high])
    )
    if not reason and line is None:
        reason = f"the decays next to the threshold, at about {low:.3g} to {high:.3g} dB, drown in the noise"
    if reason:
        return Search(attenuation, decays, _NONE, _NONE, reason, _NONE if line is None else line.zero)
    assert line is not None
    step = high - low
    # Noise, or a decay too slow to be seen, may have made a setting pass for an oscillating one; and an oscillation
    # that saturates below the noise floor passes for none.
    sure = _SURE * line.error
    threshold = float(np.clip(line.zero, low - max(step, sure), high + line.hidden + sure))
    return Search(attenuation, decays, threshold, math.hypot(step / 2, line.error, line.hidden), "", _NONE)


def _why_none(attenuation: NDArray[np.float64], decays: list[Decay]) -> str:
    strongest = max(decays, key=lambda decay: decay.kick)
    if not strongest.is_seen:
        return (
            f"the response to a kick of one symbol ({strongest.kick:.2g}) does not stand out of the noise "
            f"({strongest.floor:.2g})"
        )
    if decays[-1].oscillates:
        return f"the ring oscillates even at {attenuation[-1]:g} dB, its highest attenuation"
    if not any(decay.oscillates for decay in decays):
        return f"the ring is quiet even at {attenuation[0]:g} dB, its lowest attenuation"
    return ""


class _Line(NamedTuple):
    """Decay rates against attenuation, next to the threshold."""

    zero: float
    """Attenuation at which the rate reaches 0, in dB."""
    error: float
    """Standard error of that."""
    hidden: float
    """How far beyond it an oscillation would still be lost in the noise, in dB."""


def _line(attenuation: NDArray[np.float64], decays: list[Decay]) -> _Line | None:
    """Fit a line to the decay rates of the settings next to the threshold; None if they do not tell.

    A ring with a round trip T and a loop gain g decays as g^(t/T): its rate is linear in decibels, at least over the
    half decibel, or the four settings, next to the threshold.
    """
    known = [(x, d) for x, d in zip(attenuation, decays, strict=True) if math.isfinite(d.memory_symbols)]
    near = [point for i, point in enumerate(known) if i < _NEAREST or point[0] < known[0][0] + _STRAIGHT_DB]
    if len(near) < 2:
        return None
    x, rate, weight = np.array([(x, d.rate, d.repeats) for x, d in near]).T
    weight /= weight.sum()
    x0, rate0 = float(weight @ x), float(weight @ rate)
    spread = float(weight @ (x - x0) ** 2)
    slope = float(weight @ ((x - x0) * (rate - rate0))) / spread
    if not slope < 0:
        return None
    zero = -rate0 / slope
    freedom = len(x) - 2
    scatter = float(weight @ (rate - rate0 - slope * (x - x0)) ** 2)
    error = math.sqrt(scatter / freedom * (1 + zero**2 / spread)) / -slope if freedom else 0.0
    hidden = float(np.median([d.hidden_rate for _, d in near])) / -slope
    return _Line(x0 + zero, error, hidden)


def auto_oscillation(kicks: Kicks) -> Outcome:
    """Return the threshold of auto-oscillation, by kicks of one symbol at many attenuations.

    The ring oscillates where the response to the kick is there to the end of the shot and grows or stays
    (`labpgt.characterisation.decay`). The range of `attenuation_db` is cut into sections, all seen in one batch; the
    pair around the threshold is cut again, and again. Between the last pair, the threshold is where the decay rates of
    the settings just below it, a straight line in decibels, reach zero. `threshold_gain` is
    10^(-threshold_attenuation_db / 20): the loop gain of the threshold as a share of that at 0 dB, whatever
    attenuation is set.
    """
    bench = kicks.bench
    reason = bench.too_short() or bench.lacks(ATTENUATION)
    if reason:
        outcome = Outcome().lack(reason, "threshold_gain", "threshold_attenuation_db", "margin_db")
        return outcome if bench.too_short() else _with_state(outcome, kicks)
    search = kicks.search()
    outcome = Outcome(
        curves={
            "threshold": {
                "attenuation_db": search.attenuation_db,
                "growth_db_per_symbol": np.array([decay.rate for decay in search.decays]) * _NEPER_DB,
                "oscillates": np.array([float(decay.oscillates) for decay in search.decays]),
            }
        }
    )
    if search.reason:
        if math.isfinite(search.extrapolated_db):
            outcome.values["threshold_extrapolated_db"] = search.extrapolated_db
        return _with_state(
            outcome.lack(search.reason, "threshold_gain", "threshold_attenuation_db", "margin_db"), kicks
        )
    margin = _present_attenuation(bench) - search.threshold_db
    outcome.values |= {
        "threshold_gain": 10 ** (-search.threshold_db / 20),
        "threshold_attenuation_db": search.threshold_db,
        "threshold_uncertainty_db": search.uncertainty_db,
        "margin_db": margin,
    }
    return _with_state(outcome, kicks)


def _with_state(outcome: Outcome, kicks: Kicks) -> Outcome:
    present = kicks.present()
    outcome.state = "oscillating" if present.oscillates else "quiet"
    return outcome


def _present_attenuation(bench: Bench) -> float:
    """Attenuation that the device is set to, in dB; 0 when it does not say."""
    setting = bench.reservoir.settings().get(ATTENUATION)
    return float(setting.value) if setting is not None else 0.0


def memory(kicks: Kicks) -> Outcome:
    """Return the time constant of the decay after a kick, as set and against the loop gain.

    From an exponential fit to the response above the noise floor (`labpgt.characterisation.decay`). Against the gain:
    at shares of the threshold, 0.1 to 0.95, where that is known and the attenuator reaches, and else from the least
    attenuation on.
    """
    bench = kicks.bench
    names = ("memory_time_s", "memory_symbols")
    if reason := bench.too_short():
        return Outcome().lack(reason, *names)
    decay = kicks.present()
    symbols = np.arange(len(decay.power), dtype=float)
    outcome = Outcome(
        curves={
            "decay": {
                "symbol": symbols,
                "amplitude": np.sqrt(np.maximum(decay.power, 0)),
                "fit": np.sqrt(np.where(symbols >= decay.fit.first, decay.fit.power(symbols), np.nan)),
                "floor": np.full_like(symbols, decay.floor),
            }
        },
        state="oscillating" if decay.oscillates else "quiet",
    )
    if math.isfinite(decay.memory_symbols):
        outcome.values["memory_symbols"] = decay.memory_symbols
        if math.isfinite(bench.symbol_s):
            outcome.values["memory_time_s"] = decay.memory_symbols * bench.symbol_s
        else:
            outcome.lack("the device has no setting symbol_s in s; see memory_symbols", "memory_time_s")
    else:
        outcome.lack(_why_no_memory(decay), *names)
    if ATTENUATION in bench.tunable:
        outcome.curves["memory"] = _against_gain(kicks)
    return outcome


def _why_no_memory(decay: Decay) -> str:
    if decay.oscillates:
        return "the ring oscillates as it is set: nothing decays"
    if not decay.is_seen:
        return f"the response to a kick ({decay.kick:.2g}) does not stand out of the noise ({decay.floor:.2g})"
    return "the response to a kick is lost in the noise within a few symbols: too soon for a time constant"


def _against_gain(kicks: Kicks) -> dict[str, NDArray[np.float64]]:
    bench = kicks.bench
    low, high = bench.tunable[ATTENUATION]
    threshold = kicks.search().threshold_db
    if not math.isfinite(threshold):
        threshold = kicks.search().extrapolated_db
    if math.isfinite(threshold):
        wanted = threshold - 20 * np.log10(np.array(_SHARES))
        settings = wanted[(wanted >= low) & (wanted <= high)]
    else:
        settings = np.linspace(low, min(high, low + _SPAN_DB), len(_SHARES))
    if not len(settings):
        settings = np.array([low])
    decays = kicks.at(settings, 2 * bench.effort.kicks, plain=True)
    time = np.array([decay.memory_symbols for decay in decays])
    order = np.argsort(settings)
    return {
        "attenuation_db": settings[order],
        "memory_symbols": time[order],
        "share_of_threshold": (10 ** (np.clip(threshold - settings, -_LARGEST_DB, _LARGEST_DB) / 20))[order],
        "memory_time_s": time[order] * bench.symbol_s,
    }
