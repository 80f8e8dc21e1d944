"""Takes the shots of a characterisation: rounds, numbers, checks and reports every one."""

import time
from collections.abc import Callable, Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from labpgt.characterisation.effort import FEWEST_SYMBOLS, SAMPLES_A_NODE, Effort
from labpgt.device import Reservoir, Seekable, Tunable
from labpgt.errors import DeviceFault, TakingStopped
from labpgt.events import SPOILED, Flag
from labpgt.rng import Draw, generator
from labpgt.shots import checked_responses, device_errors, flags_of, float32_limits

TUNINGS = ("attenuation_db", "carrier_hz")
"""Settings that a characterisation changes from shot to shot."""
_RETAKES = 3
_TUNED_CALL = 8
"""Most shots in a call with settings of their own."""
TABLES = {
    "noise": "still",
    "repeatability": "still",
    "random": "task",
    "narma10": "task",
    "mackey_glass": "task",
    "compression": "still",
    "kick": "kick",
    "transmission": "still",
}
"""Tables of shots, and how long a shot of each is."""


def row_dtype(symbols: int, nodes: int) -> np.dtype[np.void]:
    """Return the row of one shot: what was asked, with which tuning, and what came back.

    A tuning that the shot was not given, because the device was as configured, is NaN. `drive` is (symbols,) and
    `response` (symbols, nodes), float32 and dimensionless. `time` is in seconds since 1970 (UTC), `duration` in
    seconds: the device call's, shared evenly among its shots.
    """
    return np.dtype(
        [
            ("index", "<i8"),
            *((name, "<f8") for name in TUNINGS),
            ("drive", "<f4", (symbols,)),
            ("response", "<f4", (symbols, nodes)),
            ("time", "<f8"),
            ("duration", "<f8"),
        ]
    )


class Bench:
    """One reservoir and the shots that are taken of it.

    Drives and responses are rounded to float32, the file's precision, before anyone sees them, so that every number
    can be worked out again from the file. `on_rows` gets the name of a table and rows of `row_dtype` after every call
    of the device. `stop` is asked before every call; a reason raises `TakingStopped`.
    """

    def __init__(
        self,
        reservoir: Reservoir,
        effort: Effort,
        seed: int,
        on_rows: Callable[[str, NDArray[np.void]], None] = lambda table, rows: None,
        stop: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.reservoir = reservoir
        self.effort = effort
        self.seed = seed
        self.shots = 0
        self.symbols_taken = 0
        self.device_s = 0.0
        self._on_rows = on_rows
        self._stop = stop
        self._taken: dict[str, NDArray[np.float64]] = {}

    @cached_property
    def nodes(self) -> int:
        """Response values a symbol."""
        return self.reservoir.n_nodes

    @cached_property
    def limits(self) -> tuple[float, float]:
        """Lowest and highest drive."""
        low, high = float32_limits(self.reservoir)
        return float(low), float(high)

    @cached_property
    def rest(self) -> float:
        """The drive that is none: 0, or the limit next to it."""
        return float(np.clip(0.0, *self.limits))

    @cached_property
    def tunable(self) -> Mapping[str, tuple[float, float]]:
        """Range of every setting that can differ from shot to shot; empty for a device without any."""
        return dict(self.reservoir.tunable) if isinstance(self.reservoir, Tunable) else {}

    @cached_property
    def symbol_s(self) -> float:
        """Duration of a symbol; NaN when the device has no such setting."""
        setting = self.reservoir.settings().get("symbol_s")
        return float(setting.value) if setting is not None and setting.unit == "s" else float("nan")

    def symbols(self, table: str) -> int:
        """Symbols of a shot of this table."""
        wanted = {
            "task": self.effort.task_symbols,
            "kick": self.effort.kick_symbols,
            "still": self.effort.still_symbols,
        }
        return min(wanted[TABLES[table]], self.reservoir.max_symbols)

    @cached_property
    def washout(self) -> int:
        """Symbols at the start of a task's shot that no score counts."""
        return min(self.effort.washout, self.symbols("random") // 3)

    @cached_property
    def task_shots(self) -> int:
        """Shots of a task: enough to fit a readout of this many nodes on six tenths of them."""
        needed = SAMPLES_A_NODE * self.nodes / 0.6 / (self.symbols("random") - self.washout)
        return max(self.effort.task_shots, int(np.ceil(needed)))

    def too_short(self) -> str:
        """Say why this device's shots are too short for measures of memory; empty when they are not."""
        longest = self.reservoir.max_symbols
        if longest >= FEWEST_SYMBOLS:
            return ""
        return f"the device takes at most {longest} symbols a shot; this takes {FEWEST_SYMBOLS}"

    def lacks(self, setting: str) -> str:
        """Say why this setting cannot be tuned; empty when it can."""
        if setting in self.tunable:
            return ""
        if not self.tunable:
            return f"the device cannot be tuned from shot to shot (it is not labpgt.Tunable), so not its {setting}"
        return f"the device cannot tune its {setting}; it can: {', '.join(self.tunable)}"

    def draw(self, count: int) -> np.random.Generator:
        """Return the random numbers for one purpose."""
        return generator(self.seed, count, Draw.CHARACTERISATION)

    def take(
        self,
        table: str,
        drives: NDArray[np.floating],
        tuning: Mapping[str, NDArray[np.float64]] | None = None,
    ) -> NDArray[np.float64]:
        """Take one shot for each row of drives (shots, symbols), each with its tuning (shots,); return the responses.

        Raises `DeviceFault` when the device fails, or answers in the wrong shape or with a value that is not finite.
        """
        tuning = tuning or {}
        low, high = float32_limits(self.reservoir)
        rows = np.zeros(len(drives), row_dtype(self.symbols(table), self.nodes))
        rows["drive"] = np.clip(np.asarray(drives, np.float32), low, high)
        for name in TUNINGS:
            rows[name] = tuning.get(name, np.nan)
        # Another tuning may cost a device much; nobody should wait long for a stop or for news.
        size = min(self.effort.call_shots, _TUNED_CALL) if tuning else self.effort.call_shots
        for first in range(0, len(rows), size):
            if reason := self._stop():
                raise TakingStopped(reason)
            part = rows[first : first + size]
            self._expose(part, {name: np.ascontiguousarray(part[name]) for name in tuning})
            self._on_rows(table, part)
        return rows["response"].astype(np.float64)

    def once(self, table: str, drives: Callable[[], NDArray[np.floating]]) -> NDArray[np.float64]:
        """Return the responses of shots that several measures share; they are taken when the first one asks."""
        if table not in self._taken:
            self._taken[table] = self.take(table, drives())
        return self._taken[table]

    def _unspoiled(self, drives: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return responses without a bad flag; what is spoiled is taken again, and only what is good is recorded."""
        for _ in range(1 + _RETAKES):
            responses = self.reservoir.forward(drives)
            spoiled = Flag(int(np.bitwise_or.reduce(flags_of(self.reservoir, len(drives)))) & SPOILED)
            if not spoiled:
                return responses
        names = " and ".join(str(flag.name).lower() for flag in spoiled)
        raise DeviceFault(
            f"{self.reservoir.name}: shots are spoiled by {names}, also when taken again {_RETAKES} times; raise "
            "the analyser's reference level or the ring's attenuation"
        )

    def _expose(self, rows: NDArray[np.void], tuning: Mapping[str, NDArray[np.float64]]) -> None:
        device = self.reservoir
        began = time.time()
        clock = time.perf_counter()
        with device_errors(f"{device.name}: shot {self.shots}"):
            if isinstance(device, Seekable):
                device.seek(self.shots)
            drives = rows["drive"].astype(np.float64)
            if tuning:
                assert isinstance(device, Tunable)
                responses = np.asarray(device.forward_tuned(drives, tuning))
            else:
                responses = np.asarray(self._unspoiled(drives))
            if responses.dtype.kind not in "fiu":
                raise TypeError(f"responses of type {responses.dtype}, expected real numbers")
        duration = time.perf_counter() - clock
        rows["response"] = checked_responses(device, self.shots, responses, (*drives.shape, self.nodes))
        rows["index"] = np.arange(self.shots, self.shots + len(rows))
        rows["time"] = began
        rows["duration"] = duration / len(rows)
        self.device_s += duration
        self.shots += len(rows)
        self.symbols_taken += drives.size
