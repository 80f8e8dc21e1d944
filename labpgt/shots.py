"""Taking shots: the one place where numbers go to a device and come back."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labpgt.device import Flagging, Reservoir, Seekable
from labpgt.errors import DeviceFault, LabpgtError, ShotsSpoiled, TakingStopped
from labpgt.events import SPOILED, Flag, Purpose, shot_dtype
from labpgt.pause import Pause


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


class ShotTaker:
    """Numbers, rounds, checks and times the shots of one run.

    Drives and responses are rounded to float32, the session file's precision, before anyone sees them: what training
    uses is what is stored, so a replay is exact. A spoiled shot (`labpgt.events.Flag`) is taken again, at the end of
    its request and with its pair; the row of the spoiled one is kept, too.
    """

    def __init__(
        self,
        reservoir: Reservoir,
        symbols: int,
        device_batch: int | None = None,
        *,
        retakes: int = 3,
        patience_s: float = 0.0,
    ) -> None:
        self.reservoir = reservoir
        self.symbols = symbols
        self.taken: Counter[Purpose] = Counter()
        self.index = 0
        self.device_s = 0.0
        self.stop: Callable[[], str | None] = lambda: None
        """Asked between device calls, never inside a ± pair; a reason raises `TakingStopped`."""
        self.announce: Callable[[int, int], None] = lambda first, stop: None
        """Told which shots the device is about to be asked for."""
        self.pause = Pause(reservoir, patience_s)
        self._retakes = retakes
        self._superseded: list[NDArray[np.void]] = []
        """Rows of the last request that were taken again."""
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

        A device that fails, or answers in the wrong shape or with a value that is not finite, is waited for
        (`labpgt.pause`) and asked again; so is one whose shots stay spoiled. Raises `DeviceFault` when it stays ill;
        `LabpgtError`, before anything is sent, for a drive that is NaN.
        """
        rows = np.empty(len(drives), self._dtype)
        rows["index"] = -1  # not taken yet
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
        self._superseded = []
        paired = bool(rows["sign"][0])
        try:
            self._ask(rows, paired)
            self._retake_spoiled(rows, paired)
        except (DeviceFault, TakingStopped) as end:
            answered = rows[_whole(rows, paired)]
            end.answered = self.with_superseded(answered)
            self.taken[purpose] += len(answered)
            raise
        self.pause.over()
        self.taken[purpose] += len(rows)
        return rows

    def with_superseded(self, rows: NDArray[np.void]) -> NDArray[np.void]:
        """Return rows of the last request together with those that were taken again, in the order taken."""
        if not self._superseded:
            return rows
        together = np.concatenate([*self._superseded, rows])
        return together[np.argsort(together["index"])]

    def _ask(self, rows: NDArray[np.void], paired: bool, extra: Flag = Flag.NONE) -> None:
        """Have the device answer these rows, a part at a time; `extra` is added to their flags."""
        size = self._batch or len(rows)
        for start in range(0, len(rows), size):
            between_halves = paired and start % 2 == 1
            if not between_halves:
                if (start or extra) and (reason := self.stop()):
                    raise TakingStopped(reason)
                with self._waiting():
                    self.pause.on_request()
            part = rows[start : start + size]
            torn = self._expose_patiently(part)
            part["flags"] |= np.uint32(extra)
            if torn and between_halves:
                part["flags"][0] |= np.uint32(Flag.TORN)

    def _expose_patiently(self, rows: NDArray[np.void]) -> bool:
        """Have the device answer these rows at once; return whether it had to be waited for."""
        waited = False
        while True:
            self.announce(self.index, self.index + len(rows))
            try:
                self._expose(rows)
            except DeviceFault as fault:
                with self._waiting():
                    self.pause.until_well(fault)
                waited = True
            else:
                return waited

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        """Count what is waited for the device inside as its time."""
        before = self.pause.seconds
        try:
            yield
        finally:
            self.device_s += self.pause.seconds - before

    def _retake_spoiled(self, rows: NDArray[np.void], paired: bool) -> None:
        """Take spoiled shots again, pairs whole, until all are good."""
        times = 0
        while (spoiled := _spoiled(rows, paired)).size:
            if times == self._retakes:
                with self._waiting():
                    self.pause.until_well(self._staying_spoiled(rows[spoiled]))
                times = 0
            times += 1
            again = rows[spoiled]
            again["index"] = -1
            try:
                self._ask(again, paired, Flag.RETAKEN)
            finally:
                taken = _whole(again, paired)
                self._superseded.append(rows[spoiled[taken]])
                rows[spoiled[taken]] = again[taken]

    def _staying_spoiled(self, rows: NDArray[np.void]) -> ShotsSpoiled:
        flags = Flag(int(np.bitwise_or.reduce(rows["flags"])) & SPOILED)
        causes = [advice for flag, advice in _ADVICE.items() if flag & flags]
        again = f", also when taken again training.retakes = {self._retakes} times" if self._retakes else ""
        return ShotsSpoiled(f"{self.reservoir.name}: {len(rows)} shots are spoiled{again}: {', '.join(causes)}")

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
            rows["flags"] = flags_of(self.reservoir, len(rows))
        duration = time.perf_counter() - clock
        self.device_s += duration
        expected = (len(rows), self.symbols, self.reservoir.n_nodes)
        rows["response"] = checked_responses(self.reservoir, self.index, responses, expected)
        rows["time"] = began
        rows["duration"] = duration / len(rows)
        rows["index"] = np.arange(self.index, self.index + len(rows))
        self.index += len(rows)


_ADVICE = {
    Flag.OVERLOAD: "overload: raise the analyser's reference level, or lower the drive",
    Flag.DRIFT: "the device answers otherwise than at the start: let it settle, or allow for more drift",
    Flag.OSCILLATION: "the ring oscillates by itself: raise its attenuation",
    Flag.TORN: "the device failed between the halves of a pair",
}


def flags_of(reservoir: Reservoir, shots: int) -> NDArray[np.uint32]:
    """Return the flags (shots,) of the last `forward`, without `RETAKEN`, which is not the device's to say.

    Raises `ValueError` for another number of flags than of shots.
    """
    if not isinstance(reservoir, Flagging):
        return np.zeros(shots, np.uint32)
    flags = np.asarray(reservoir.flags(), np.uint32)
    if flags.shape != (shots,):
        raise ValueError(f"flags of shape {flags.shape}, expected ({shots},)")
    return flags & np.uint32(~Flag.RETAKEN & 0xFFFFFFFF)


def _whole(rows: NDArray[np.void], paired: bool) -> NDArray[np.intp]:
    """Return which rows were taken: the first ones, in whole pairs if they are paired."""
    taken = np.flatnonzero(rows["index"] >= 0)
    return taken[: len(taken) - len(taken) % 2] if paired else taken


def _spoiled(rows: NDArray[np.void], paired: bool) -> NDArray[np.intp]:
    """Return which rows are spoiled, or belong to a pair that is."""
    spoiled = (rows["flags"] & SPOILED) != 0
    if paired:
        spoiled = spoiled.reshape(-1, 2).any(axis=1).repeat(2)
    return np.flatnonzero(spoiled)
