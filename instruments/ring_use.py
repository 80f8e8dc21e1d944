"""What the two ways of using a ring have in common."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from labpgt.device import Setting

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
