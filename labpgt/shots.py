"""Taking shots: the one place where numbers go to a device and come back."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labpgt.device import Reservoir, Seekable
from labpgt.errors import DeviceFault, LabpgtError
from labpgt.events import Purpose, shot_dtype


@contextmanager
def device_errors(doing: str) -> Iterator[None]:
    """Turn whatever a device raises into a `DeviceFault` that says what was being done."""
    try:
        yield
    except LabpgtError:
        raise
    except Exception as error:
        raise DeviceFault(f"{doing} failed: {type(error).__name__}: {error}") from error


def float32_limits(reservoir: Reservoir) -> tuple[np.float32, np.float32]:
    """Return the lowest and the highest drive that float32 holds and the reservoir accepts.

    Rounding to float32 may step over a limit that float32 cannot hold: then the nearest value inside is the limit.
    """
    low, high = (np.float32(limit) for limit in reservoir.drive_limits)
    # Compared as Python floats, for numpy would round the limit to float32 first.
    if float(low) < reservoir.drive_limits[0]:
        low = np.nextafter(low, np.float32(np.inf))
    if float(high) > reservoir.drive_limits[1]:
        high = np.nextafter(high, np.float32(-np.inf))
    return low, high


def checked_responses(
    reservoir: Reservoir, first: int, responses: NDArray[Any], expected: tuple[int, int, int]
) -> NDArray[np.float32]:
    """Return what came back as float32; `DeviceFault` when it has another shape or is not finite.

    `first` is the number of the first of these shots.
    """
    name = reservoir.name
    if responses.shape != expected:
        raise DeviceFault(
            f"{name}: shot {first} came back with shape {responses.shape}, expected {expected} "
            "(shots, symbols, nodes); check the device's trigger and trace length"
        )
    rounded: NDArray[np.float32] = responses.astype(np.float32)
    if not np.isfinite(rounded).all():
        bad = int(np.argwhere(~np.isfinite(rounded).all(axis=(1, 2)))[0, 0])
        raise DeviceFault(
            f"{name}: shot {first + bad} came back with a value that is not finite (NaN or overflow); "
            "check the analyser's range and the ring's gain"
        )
    return rounded


class TakingStopped(Exception):
    """Somebody asked to stop between two device calls of one request."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.answered: NDArray[np.void] | None = None
        """Rows of the shots that were answered before, whole pairs, without losses."""


class ShotTaker:
    """Numbers, rounds, checks and times the shots of one run.

    Drives and responses are rounded to float32, the session file's precision, before anyone sees them: what training
    uses is what is stored, so a replay is exact.
    """

    def __init__(self, reservoir: Reservoir, symbols: int, device_batch: int | None = None) -> None:
        self.reservoir = reservoir
        self.symbols = symbols
        self.taken: Counter[Purpose] = Counter()
        self.index = 0
        self.device_s = 0.0
        self.stop: Callable[[], str | None] = lambda: None
        """Asked between device calls, never inside a ± pair; a reason raises `TakingStopped`."""
        self.announce: Callable[[int, int], None] = lambda first, stop: None
        """Told which shots the device is about to be asked for."""
        self._batch = device_batch
        self._dtype = shot_dtype(symbols, reservoir.n_nodes)
        self._seek = reservoir.seek if isinstance(reservoir, Seekable) else None
        self._low, self._high = float32_limits(reservoir)

    def take(
        self,
        drives: NDArray[np.floating],
        samples: NDArray[np.integer],
        *,
        purpose: Purpose = Purpose.TRAIN,
        epoch: int = -1,
        step: int = -1,
        sign: int | NDArray[np.integer] = 0,
        seed: int = 0,
        delta: float = 0.0,
    ) -> NDArray[np.void]:
        """Take one shot for each row of drives (shots, symbols); return their rows, with `loss` still NaN.

        Raises `DeviceFault` when the device fails, or answers in the wrong shape or with a value that is not finite;
        `LabpgtError`, before anything is sent, for a drive that is NaN.
        """
        rows = np.empty(len(drives), self._dtype)
        rows["index"] = np.arange(self.index, self.index + len(rows))
        rows["purpose"] = purpose
        rows["epoch"] = epoch
        rows["step"] = step
        rows["sample"] = samples
        rows["sign"] = sign
        rows["seed"] = seed
        rows["delta"] = delta
        rows["drive"] = np.minimum(np.maximum(drives, self._low), self._high)
        if np.isnan(rows["drive"]).any():
            bad = int(np.argwhere(np.isnan(rows["drive"]))[0, 0])
            raise LabpgtError(
                f"shot {self.index + bad}: the drive is not a number (NaN), so the network's parameters have diverged; "
                "lower training.learning_rate"
            )
        rows["loss"] = np.nan
        rows["flags"] = 0
        size = self._batch or len(rows)
        paired = bool(rows["sign"][0])
        done = 0
        try:
            for done in range(0, len(rows), size):
                if done and not (paired and done % 2) and (reason := self.stop()):
                    raise TakingStopped(reason)
                part = rows[done : done + size]
                self.announce(self.index, self.index + len(part))
                self._expose(part)
        except (DeviceFault, TakingStopped) as end:
            end.answered = rows[: done - done % 2 if paired else done]
            self.taken[purpose] += len(end.answered)
            raise
        self.taken[purpose] += len(rows)
        return rows

    def _expose(self, rows: NDArray[np.void]) -> None:
        name = self.reservoir.name
        began = time.time()
        clock = time.perf_counter()
        with device_errors(f"{name}: shot {self.index}"):
            if self._seek is not None:
                self._seek(self.index)
            responses = np.asarray(self.reservoir.forward(rows["drive"].astype(np.float64)))
            if responses.dtype.kind not in "fiu":
                raise TypeError(f"responses of type {responses.dtype}, expected real numbers")
        duration = time.perf_counter() - clock
        self.device_s += duration
        expected = (len(rows), self.symbols, self.reservoir.n_nodes)
        rows["response"] = checked_responses(self.reservoir, self.index, responses, expected)
        rows["time"] = began
        rows["duration"] = duration / len(rows)
        self.index += len(rows)
