"""A reservoir that fails on purpose, at a shot of one's choice."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from labpgt.device import Reservoir, ReservoirWrapper, Seekable, checked_drives
from labpgt.errors import DeviceFault
from labpgt.events import SPOILED


class Faulty(ReservoirWrapper):
    """Wraps a reservoir and spoils its answers; without faults it changes nothing.

    Shots are numbered from 0, or from where `seek` said. `nan_at` puts a NaN into the answer to that shot, `raise_at`
    raises `error` instead of answering it, `shape_at` loses the last node of any batch with that shot in it.
    `constant` is what a dead device answers always. `drift_per_shot` multiplies shot n by 1 + n * drift.
    """

    def __init__(
        self,
        inner: Reservoir,
        *,
        nan_at: int | None = None,
        raise_at: int | None = None,
        error: BaseException | None = None,
        shape_at: int | None = None,
        constant: float | None = None,
        drift_per_shot: float = 0.0,
    ) -> None:
        super().__init__(inner)
        self.nan_at = nan_at
        self.raise_at = raise_at
        self.error = error or RuntimeError("the cable fell out")
        self.shape_at = shape_at
        self.constant = constant
        self.drift_per_shot = drift_per_shot
        self.next = 0
        self.seen: list[NDArray[np.float64]] = []
        """Drives of every call, as they came."""

    @property
    def name(self) -> str:
        return f"faulty {self.inner.name}"

    def seek(self, shot: int) -> None:
        self.next = shot
        if isinstance(self.inner, Seekable):
            self.inner.seek(shot)

    def forward(self, drives: NDArray[np.float64]) -> NDArray[np.float64]:
        responses = self.inner.forward(checked_drives(self, drives))
        self.seen.append(np.array(drives))
        first, self.next = self.next, self.next + len(drives)
        numbers = range(first, self.next)
        if self.raise_at in numbers:
            raise self.error
        if self.constant is not None:
            responses = np.full_like(responses, self.constant)
        if self.drift_per_shot:
            responses = responses * (1 + self.drift_per_shot * np.array(numbers))[:, None, None]
        if self.nan_at in numbers:
            responses[numbers.index(self.nan_at), -1, -1] = np.nan
        return responses[..., :-1] if self.shape_at in numbers else responses


class Ill(ReservoirWrapper):
    """A device that says what its shots suffered from, falls ill at calls of one's choice, and can be brought back.

    `flags_at` are the flags of the shots of a call, by the call's number and the shot's place in it; `fails_at` are
    calls that raise; `ill_for` is how many tries of `recover` fail after each failure. A spoiled answer is nonsense,
    so that a run that learned from one would show it.
    """

    def __init__(
        self,
        inner: Reservoir,
        *,
        flags_at: Mapping[int, Mapping[int, int]] | None = None,
        fails_at: Sequence[int] = (),
        ill_for: int = 1,
    ) -> None:
        super().__init__(inner)
        self.flags_at = dict(flags_at or {})
        self.fails_at = set(fails_at)
        self.ill_for = ill_for
        self.calls = 0
        self.happened: list[str] = []
        self._tries = 0
        self._flags = np.zeros(0, np.uint32)

    def forward(self, drives: NDArray[np.float64]) -> NDArray[np.float64]:
        call, self.calls = self.calls, self.calls + 1
        if call in self.fails_at:
            self.happened.append("fault")
            self._tries = 0
            raise DeviceFault("analyzer: no answer within 2 s")
        responses = self.inner.forward(drives)
        self._flags = np.zeros(len(drives), np.uint32)
        for place, flags in self.flags_at.get(call, {}).items():
            self._flags[place] = flags
            if flags & SPOILED:
                responses[place] = 7.0
        return responses

    def flags(self) -> NDArray[np.uint32]:
        return self._flags

    def make_safe(self) -> None:
        self.happened.append("safe")
        super().make_safe()

    def recover(self) -> None:
        self._tries += 1
        self.happened.append("try")
        if self._tries <= self.ill_for:
            raise DeviceFault("still no answer")
