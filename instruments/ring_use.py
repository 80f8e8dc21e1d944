"""What the two ways of using a ring have in common: what they promise, and how they deal with source and analyser."""

import itertools
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from instruments.bench import Bench
from instruments.magnonic_ring_config import MagnonicRingConfig
from instruments.scpi import InstrumentFault
from labpgt.device import Setting
from labpgt.errors import DeviceFault

RF = ":OUTP?"
"""Asks whether RF is on."""

_STATE = ":STAT:OPER:COND?"
_WAITING = 32
"""Bit of the operation register that says "waiting for trigger" (SCPI-1999 vol. 1 ch. 9.3)."""
_READY_TRIES, _READY_PAUSE_S = 100, 5e-3

CAPTURES = itertools.count(int(time.time()))
"""Numbers of the captures, by which each differs from the one before it.

They go on from run to run, so that what an earlier run left in an instrument differs too.
"""

Talking = Callable[[str, str], AbstractContextManager[None]]
"""Role and what is being done, to a context in which trouble with that instrument becomes a worded `DeviceFault`."""


class Taken(NamedTuple):
    """What came of some shots."""

    responses: NDArray[np.float64]
    """(shots, symbols, n_nodes), dimensionless."""
    flags: NDArray[np.uint32]
    """(shots,): bits of `labpgt.events.Flag`."""
    pilot: NDArray[np.float64] | None = None
    """(pilot symbols, n_nodes): response to the pilot shot in the same capture, where there is one."""


class Idle(NamedTuple):
    """What the analyser hears with RF off."""

    line_v: float
    """Amplitude of the strongest line, V peak."""
    noise: float
    """Root mean square of everything, in units of a response."""


def start_acquisition(analyzer: Any, doing: str) -> None:
    """Start an acquisition and return once it waits for its trigger: a trigger before that would be lost.

    Asks with the state for the errors since the last time; one round trip as a rule. `InstrumentFault` when it does not
    get ready.
    """
    analyzer.arm()
    for _ in range(_READY_TRIES):
        analyzer.send_with_errors(_STATE)
        answer = analyzer.answer_with_errors(_STATE, doing)
        if int(answer) & _WAITING:
            return
        time.sleep(_READY_PAUSE_S)
    raise InstrumentFault(
        f"{analyzer.name}: {doing}: it does not wait for its trigger (answer to {_STATE}: {answer}, expected bit 5); "
        "look at its front panel"
    )


def beyond(role: str, driver: Any, wanted: Mapping[str, tuple[str, float]]) -> list[str]:
    """Say which settings a driver does not take, a line each; asks nothing of the instrument.

    `wanted` has for each setting the driver's property and the value that it is to get.
    """
    found = []
    for setting, (name, value) in wanted.items():
        low, high = driver.limits(name)
        if not low <= value <= high:
            found.append(f"{role}: {setting} = {value:.12g}: expected {low:.12g} to {high:.12g}, its limits")
    return found


def beyond_source(source: Any, config: MagnonicRingConfig, bench: Bench, lowest_dbm: float) -> list[str]:
    """Say which of carrier and powers, down to `lowest_dbm`, the source does not take, a line each."""
    found = beyond("source", source, {"carrier_hz": ("frequency", config.carrier_hz)})
    low, high = source.limits("power")
    # The driver's highest may be the bench's, which has a line of its own.
    if lowest_dbm < low or high < config.power_dbm <= bench.limits.power_dbm:
        found.append(
            f"source: power_dbm = {config.power_dbm:g}: takes powers of {lowest_dbm:g} to {config.power_dbm:g} dBm, "
            f"expected {low:g} to {high:g} dBm, its limits"
        )
    return found


class SourceAndAnalyzer:
    """The two instruments of a use of the ring: one carrier for both, and the source's word that RF was on."""

    def __init__(self, config: MagnonicRingConfig, bench: Bench, source: Any, analyzer: Any, talking: Talking) -> None:
        self._config, self._bench = config, bench
        self._source, self._analyzer, self._talking = source, analyzer, talking
        self._carrier_hz: float | None = None
        """What the source is surely tuned to."""
        self._usual = True
        """Whether the ring is as the settings say."""
        self._set_up: tuple[int, str] | None = None
        """Samples or spectra, and trigger, that the analyser is surely set up for."""

    def retune(self, carrier_hz: float, usual: bool) -> None:
        """Change to another carrier, unless the source is tuned to it."""
        self._usual = usual
        if carrier_hz != self._carrier_hz:
            doing = f"tuning to {carrier_hz:.12g} Hz"
            self._carrier_hz = self._set_up = None
            with self._talking("source", doing), self._source.group(doing):
                self._source.frequency = carrier_hz
            self._carrier_hz = carrier_hz

    def _see_rf_on(self, answer: str, doing: str) -> None:
        """Raise `DeviceFault` unless the source's answer to `RF` says that RF is on, asked after a capture."""
        if answer != "1":
            raise DeviceFault(
                f"source: RF was off while {doing} was taken (answer to {RF}: {answer!r}); somebody or the source "
                "itself has turned it off: look at its front panel"
            )


class RingUse(Protocol):
    """A way of sending drives through a ring and reading its responses, over a source and an analyser."""

    def problems(self) -> list[str]:
        """Say what these instruments cannot do, a line each; asks them, but sets nothing."""

    def prepare(self) -> None:
        """Set up source and analyser, RF left as it is."""

    def retune(self, carrier_hz: float, usual: bool) -> None:
        """Change to another carrier.

        `usual`: the ring is as its settings say, so that the pilot shot must come as it does there.
        """

    @property
    def longest(self) -> int:
        """Symbols of the longest shot."""

    def parts(self, shots: int, symbols: int) -> list[int]:
        """Share shots of so many symbols among captures: the shots of each."""

    def take(self, drives: NDArray[np.float64]) -> Taken:
        """Take the shots (shots, symbols) of one capture; RF is on."""

    def pilot(self) -> NDArray[np.float64] | None:
        """Take the pilot shot alone: (pilot symbols, n_nodes), or None where there is none; RF is on."""

    def idle(self) -> Idle:
        """Listen to the ring with RF off."""

    def settings(self) -> Mapping[str, Setting]:
        """Return what follows from the settings and affects a response."""
