"""What the virtual analysers have in common: arming, triggers, waiting for results, and how numbers are sent."""

import asyncio
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulators.virtual_bench import scpi
from simulators.virtual_bench.instrument import ClientGone, Instrument
from simulators.virtual_bench.scpi import ScpiError, block
from simulators.virtual_bench.setup import Setup
from simulators.virtual_bench.tree import Call
from simulators.virtual_bench.world import SourceOutput

OHM = 50.0
DRIFT = 1.3
"""Factor on all that is measured while the fault `drift` lasts."""
_ALL = 1 << 30
_MW = 1e-3
LEVELS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "V": lambda volts: volts,
    "W": lambda volts: volts**2 / OHM,
    "DBM": lambda volts: 10 * np.log10(np.maximum(volts, 1e-12) ** 2 / OHM / _MW),
    "DBMV": lambda volts: 20 * np.log10(np.maximum(volts, 1e-12) / 1e-3),
    "DBUV": lambda volts: 20 * np.log10(np.maximum(volts, 1e-12) / 1e-6),
}
"""What becomes of V rms in each unit that levels can be asked in."""


def range_v(reference_dbm: float) -> float:
    """Return the peak voltage of a carrier at the reference level, which is where the converter's range ends."""
    return math.sqrt(2 * OHM * _MW * 10 ** (reference_dbm / 10))


class Analyzer(Instrument):
    """An analyser at the ring's output. A model says in `acquire` what one acquisition measures."""

    ROLE = "analyzer"
    FREQUENCY: tuple[float, float]
    POINTS: tuple[int, int, int]
    """Fewest and most points of a trace, and how many there are at first."""

    def __init__(self, serial: str, setup: Setup, model: str) -> None:
        self.setup = setup
        self.armed = False
        """Waits for a trigger."""
        self.result: Any = None
        """What the last acquisition measured; None: nothing yet, or it was aborted."""
        self.before: Any = None
        """What the last acquisition found, whatever has been started since."""
        self.overload = False
        """During the last acquisition: the condition."""
        self.overloaded = False
        """Since it was last asked: the event."""
        self.acquired = 0
        self._pulses: list[SourceOutput] = []
        self._ready_at = -math.inf
        self._done = asyncio.Event()
        self._done.set()
        self._task: asyncio.Task[None] | None = None
        self._oscillates_until = self._drifts_until = -math.inf
        super().__init__(serial, setup.busy, model)
        setup.wire.connect(self._pulse)

    def build(self) -> None:
        """Add the frequency axis, bandwidths and the sweep."""
        low, high = self.FREQUENCY
        self.number("center", "[:SENSe]:FREQuency:CENTer", low, high, "HZ", default=high / 2)
        self.number("span", "[:SENSe]:FREQuency:SPAN", 0.0, high, "HZ", default=high)
        for name, side in (("STARt", -1), ("STOP", 1)):
            self.tree.add(
                f"[:SENSe]:FREQuency:{name}",
                command=partial(self._set_edge, side),
                query=partial(self._show_edge, side),
            )
        self.tree.add("[:SENSe]:FREQuency:SPAN:FULL", command=lambda call: self.assign("span", high))
        for name, auto, words in (
            ("rbw", self._auto_rbw, ("BANDwidth|BWIDth[:RESolution]",)),
            ("vbw", lambda: 10 * self.rbw_hz, ("BANDwidth|BWIDth:VIDeo",)),
        ):
            self._automatic(name, f"[:SENSe]:{words[0]}", 1.0, 50e6, "HZ", auto)
        self._automatic("sweep_time", "[:SENSe]:SWEep:TIME", 1e-6, 16000.0, "S", self._auto_sweep_time)
        self.number("points", "[:SENSe]:SWEep:POINts", *self.POINTS[:2], default=self.POINTS[2], integer=True)
        self.boolean("continuous", ":INITiate#:CONTinuous", default=True)
        self.tree.add(":INITiate#[:IMMediate]", command=lambda call: self.initiate())
        self.tree.add(":ABORt", command=lambda call: self.abort())

    def _automatic(
        self, name: str, pattern: str, low: float, high: float, unit: str, auto: Callable[[], float]
    ) -> None:
        """Add a number that the instrument chooses itself until it is set: None stands for its choice."""
        self._defaults[name] = None
        self._defaults[f"{name}_auto"] = auto

        def command(call: Call) -> None:
            self.assign(name, self.limited(call.one(), low, high, unit))

        def switch(call: Call) -> None:
            self.assign(name, None if scpi.boolean(call.one()) else self.value(name))

        self.tree.add(pattern, command=command, query=lambda call: self.shown(float(self.value(name))))
        self.tree.add(f"{pattern}:AUTO", command=switch, query=lambda call: str(int(self.values[name] is None)))

    def value(self, name: str) -> float:
        """Return a number that may be automatic."""
        value = self.values[name]
        return float(self.values[f"{name}_auto"]() if value is None else value)

    @property
    def rbw_hz(self) -> float:
        """Resolution bandwidth."""
        return self.value("rbw")

    def _auto_rbw(self) -> float:
        span = float(self.values["span"])
        return min(max(span / 100, 1e3), 3e6) if span else 1e6

    def _auto_sweep_time(self) -> float:
        """Time in which a filter of that bandwidth settles at every point, at least 1 ms."""
        return max(1e-3, 2.5 * float(self.values["span"]) / self.rbw_hz**2)

    def edge(self, side: int) -> float:
        """Return the start (-1) or stop (1) frequency."""
        return float(self.values["center"] + side * self.values["span"] / 2)

    def _show_edge(self, side: int, call: Call) -> str:
        call.only()
        return self.shown(self.edge(side))

    def _set_edge(self, side: int, call: Call) -> None:
        new, other = self.limited(call.one(), *self.FREQUENCY, "HZ"), self.edge(-side)
        # The other edge gives way, so that start never lies above stop.
        other = max(other, new) if side < 0 else min(other, new)
        self.values["span"] = abs(new - other)
        self.assign("center", (new + other) / 2)

    # --- acquiring ---

    def external(self) -> bool:
        """Whether an acquisition waits for a trigger."""
        raise NotImplementedError

    def pulses_needed(self) -> int:
        """Triggers that one `INITiate` waits for."""
        return 1

    def sweep_s(self) -> float:
        """Time after a trigger in which the next one is missed."""
        return 0.0

    def acquire(self, emissions: list[SourceOutput]) -> Any:
        """Return what is measured and whether the input was overloaded; runs in a thread.

        There is one emission a trigger; each becomes `world.output` before the world is asked.
        """
        raise NotImplementedError

    def finished(self) -> None:
        """Hear that `result` is new."""

    def initiate(self) -> None:
        """Start an acquisition: now, or at the next trigger."""
        self.abort()
        self._done.clear()
        self.result = None
        if self.external():
            self._ready_at = -math.inf
            self.armed = True
        else:
            emission = self.setup.wire.emission()
            self._begin([emission] * self.pulses_needed())

    def abort(self) -> None:
        """Stop waiting for a trigger; what is being computed is thrown away."""
        self.armed = False
        self._pulses = []
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._done.set()

    def reset(self) -> None:
        """Set everything as after `*RST`."""
        self.abort()
        self.result = self.before = None
        self.overload = False
        super().reset()

    def close(self) -> None:
        """Give up what is pending."""
        super().close()
        self.abort()

    def _pulse(self, emission: SourceOutput, at: float) -> None:
        """Hear a trigger at that time (s)."""
        if self.values["continuous"] and self.external() and not self.armed and self._done.is_set():
            self.initiate()
        if not self.armed or at < self._ready_at - 1e-9:
            return
        self._ready_at = at + self.sweep_s()
        self._pulses.append(emission)
        if len(self._pulses) >= self.pulses_needed():
            pulses, self._pulses = self._pulses, []
            self.armed = False
            self._begin(pulses)

    def _begin(self, emissions: list[SourceOutput]) -> None:
        self._task = asyncio.ensure_future(self._measure(emissions))

    async def _measure(self, emissions: list[SourceOutput]) -> None:
        world, now = self.setup.world, asyncio.get_running_loop().time()
        overload = self.setup.faults.doing(self.ROLE, "overload")
        oscillates, drifts = now < self._oscillates_until, now < self._drifts_until

        def work() -> Any:
            # For all that this acquisition asks of the world, however often.
            world.overload_next = _ALL if overload else 0
            world.oscillate = _ALL if oscillates else 0
            world.drift = DRIFT if drifts else 1.0
            try:
                return self.acquire(emissions)
            finally:
                world.overload_next = world.oscillate = 0
                world.drift = 1.0

        try:
            found, self.overload = await self.setup.compute(work)
            self.result, self.before = self._stale(found), found
            self.overloaded |= self.overload
            self.acquired += 1
            self.finished()
        except Exception as error:
            self.result, self.overload = None, False
            self.add_error(ScpiError(-310, f"{type(error).__name__}: {error}"))
        self._done.set()

    def _stale(self, found: NDArray[Any]) -> NDArray[Any]:
        """Return what was measured; while the fault `stale` strikes, the one before, where that looks the same."""
        last = self.before
        alike = last is not None and last.shape == found.shape and last.dtype == found.dtype
        return last if alike and self.setup.faults.doing(self.ROLE, "stale") else found

    def register(self, pattern: str, bit: int) -> None:
        """Add a status register with the overload as its only bit: condition, and event, which reading clears."""

        def event(call: Call) -> str:
            call.only()
            found, self.overloaded = self.overloaded, False
            return str(bit * found)

        self.tree.add(f"{pattern}:CONDition", query=lambda call: str(bit * self.overload))
        self.tree.add(f"{pattern}[:EVENt]", query=event)

    def clear(self) -> None:
        """Empty the error queue and the event registers."""
        super().clear()
        self.overloaded = False

    @property
    def done(self) -> bool:
        """Whether no acquisition is under way."""
        return self._done.is_set()

    def oscillate(self, seconds: float) -> None:
        """Let the ring oscillate in all that is measured from now on for a while."""
        self._oscillates_until = asyncio.get_running_loop().time() + seconds

    def drift(self, seconds: float) -> None:
        """Let the level of all that is measured from now on be wrong for a while."""
        self._drifts_until = asyncio.get_running_loop().time() + seconds

    async def settled(self, call: Call) -> None:
        """Return when no acquisition is pending."""
        while not self._done.is_set():
            waits = [asyncio.ensure_future(e.wait()) for e in (self._done, call.client.gone)]
            try:
                with self.busy.waiting():
                    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
            if call.client.gone.is_set() and not self._done.is_set():
                raise ClientGone

    async def measured(self, call: Call) -> Any:
        """Return the result of the acquisition that was started, when it is there; `ScpiError` -230 if none was.

        In continuous mode without a trigger there is always a newer one.
        """
        if self.values["continuous"] and not self.external() and self._done.is_set():
            self.initiate()
        await self.settled(call)
        if self.result is None:
            raise ScpiError(-230, "nothing was acquired")
        return self.result

    # --- how numbers are sent ---

    def floats(self, values: NDArray[np.float64], form: tuple[str, int], order: str) -> str | bytes:
        """Return values as text or as a block, in the byte order "<" or ">"."""
        kind, bits = form
        if kind == "ASC":
            return ",".join(f"{value:.8E}" for value in values)
        return block(np.asarray(values, dtype=f"{order}f{bits // 8}").tobytes())

    def _set_format(self, call: Call) -> None:
        first, *rest = call.only(1, 2)
        kind = scpi.choice(first, ("ASCii", "REAL"))
        usual = 32 if kind == "REAL" else self._defaults["format"][1]
        bits = int(scpi.number(rest[0])) if rest else usual
        if bits not in ((32, 64) if kind == "REAL" else (0, 8)):
            raise ScpiError(-224, f"{kind},{bits}")
        self.assign("format", (kind, bits))

    def _format(self, call: Call) -> str:
        kind, bits = self.values["format"]
        return f"{kind},{bits}"


def trace_number(call: Call) -> int:
    """Return the number of the trace that a parameter such as TRACE1 names, or raise `ScpiError` -224."""
    name = call.text().upper()
    if not name.startswith("TRACE") or name[5:] not in tuple("123456"):
        raise ScpiError(-224, f"{name[:24]}, expected TRACE1 to TRACE6")
    return int(name[5:])
