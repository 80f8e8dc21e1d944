"""A reservoir that fails on purpose, at a shot of one's choice."""

from collections.abc import Mapping
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from labpgt.device import Reservoir, Seekable, Setting, checked_drives


class Faulty:
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
        self.inner = inner
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

    @property
    def n_nodes(self) -> int:
        return self.inner.n_nodes

    @property
    def max_symbols(self) -> int:
        return self.inner.max_symbols

    @property
    def drive_limits(self) -> tuple[float, float]:
        return self.inner.drive_limits

    def open(self) -> None:
        self.inner.open()

    def close(self) -> None:
        self.inner.close()

    def make_safe(self) -> None:
        self.inner.make_safe()

    def settings(self) -> Mapping[str, Setting]:
        return self.inner.settings()

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

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
