"""What the two ways of using a ring have in common: what they promise, and how an analyser is made ready."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from instruments.scpi import InstrumentFault
from labpgt.device import Setting

_STATE = ":STAT:OPER:COND?"
_WAITING = 32
"""Bit of the operation register that says "waiting for trigger" (SCPI-1999 vol. 1 ch. 9.3)."""
_READY_TRIES, _READY_PAUSE_S = 100, 5e-3

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


class RingUse(Protocol):
    """A way of sending drives through a ring and reading its responses, over a source and an analyser."""

    def problems(self) -> list[str]:
        """Say what these instruments cannot do, a line each; asks them, but sets nothing."""

    def prepare(self) -> None:
        """Set up source and analyser, RF left as it is."""

    def retune(self, carrier_hz: float) -> None:
        """Change to another carrier."""

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
