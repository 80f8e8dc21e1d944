"""What all virtual instruments have in common: settings by header, error queue, status registers, common commands.

Source: IEEE 488.2-1992, chapters 10 (common commands) and 11 (status), and SCPI-99, volume 2, chapter 21 (SYSTem).
"""

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from simulators.virtual_bench import scpi
from simulators.virtual_bench.scpi import Argument, Quoted, ScpiError, Unit
from simulators.virtual_bench.service import Busy
from simulators.virtual_bench.tree import Call, Reply, Tree

log = logging.getLogger(__name__)

QUEUE = 30
"""Errors that the queue holds; the last place is for the overflow."""
_EVENT_BITS = ((-200, 32), (-300, 16), (-400, 8), (-500, 4))
"""Bit of the event status register that an error with a number above the first value sets."""


class ClientGone(Exception):
    """The client that waited for something has closed its connection."""


class Instrument:
    """An instrument that speaks SCPI. A model adds its headers in `build` and says what they do."""

    MAKER: ClassVar[str]
    FIRMWARE: ClassVar[str]
    OPTIONS: ClassVar[tuple[str, ...]] = ()
    GUIDE: ClassVar[str]
    """Programming guide that the headers are from."""
    CLIPS: ClassVar[bool] = False
    """Whether a number out of range is set to the limit (with the error) instead of being refused."""
    TERMINATOR: ClassVar[bytes] = b"\n"

    def __init__(self, serial: str, busy: Busy, model: str) -> None:
        self.serial = serial
        self.model = model
        self.busy = busy
        self.values: dict[str, Any] = {}
        self._defaults: dict[str, Any] = {}
        self._errors: deque[str] = deque()
        self._event_status = 128  # power on
        self._event_enable = 0
        self._service_enable = 0
        self._complete: asyncio.Task[None] | None = None
        self.tree = Tree()
        self._build_common()
        self.build()
        self.reset()

    def build(self) -> None:
        """Add the headers of this model."""
        raise NotImplementedError

    def reset(self) -> None:
        """Set everything as after `*RST`."""
        self.values.update(self._defaults)
        self.changed("")

    def changed(self, name: str) -> None:
        """Hear that the setting `name` has just been set; empty: all of them."""

    async def settled(self, call: Call) -> None:
        """Return when no operation is pending any more; raises `ClientGone` when nobody waits for it."""

    def trigger(self) -> None:
        """Do what `*TRG` does."""
        raise ScpiError(-211)

    def touched(self) -> None:
        """Hear that somebody is at the front panel; a model says what is done there."""

    def close(self) -> None:
        """Give up what is pending."""
        if self._complete is not None:
            self._complete.cancel()

    @property
    def identity(self) -> str:
        """Answer to `*IDN?`."""
        return f"{self.MAKER},{self.model},{self.serial},{self.FIRMWARE}"

    # --- headers that set and give back one value ---

    def number(
        self,
        name: str,
        pattern: str,
        low: float,
        high: float,
        unit: str = "",
        *,
        default: float,
        integer: bool = False,
        other: tuple[str, ...] = (),
    ) -> None:
        """Add a setting that is a number from `low` to `high`, in its base unit; `other` patterns mean the same."""
        self._defaults[name] = default
        limits = {"MINimum": low, "MAXimum": high, "DEFault": default}

        def command(call: Call) -> None:
            value = self.limited(call.one(), low, high, unit, limits, integer)
            self.assign(name, value)

        def query(call: Call) -> str:
            arguments = call.only(0, 1)
            value = limits[self._limit_name(arguments[0])] if arguments else self.values[name]
            return self.shown(round(value) if integer else value)

        for each in (pattern, *other):
            self.tree.add(each, command=command, query=query)

    @staticmethod
    def _limit_name(argument: Argument) -> str:
        named = ("MINimum", "MAXimum", "DEFault")
        short = scpi.choice(argument, named)
        return next(name for name in named if scpi.forms(name)[0] == short)

    def limited(
        self,
        argument: Argument,
        low: float,
        high: float,
        unit: str = "",
        limits: dict[str, float] | None = None,
        integer: bool = False,
    ) -> float:
        """Return a number from `low` to `high`; outside, the limit with an error queued, or `ScpiError` -222."""
        for name, value in (limits or {}).items():
            if isinstance(argument, str) and scpi.matches(argument, name):
                return value
        value = scpi.number(argument, unit)
        if integer:
            value = float(round(value))
        if low <= value <= high:
            return value
        if not self.CLIPS:
            raise ScpiError(-222, f"{value:g} is not from {low:g} to {high:g}")
        self.add_error(ScpiError(-222, f"value clipped to {'lower' if value < low else 'upper'} limit"))
        return min(max(value, low), high)

    def boolean(self, name: str, pattern: str, *, default: bool = False, other: tuple[str, ...] = ()) -> None:
        """Add a setting that is on or off."""
        self._defaults[name] = default

        def query(call: Call) -> str:
            call.only()
            return str(int(self.values[name]))

        for each in (pattern, *other):
            self.tree.add(each, command=lambda call: self.assign(name, scpi.boolean(call.one())), query=query)

    def choice(self, name: str, pattern: str, words: str, *, default: str, other: tuple[str, ...] = ()) -> None:
        """Add a setting that is one of the words "CONTinuous|SINGle", kept and given back in its short form."""
        self._defaults[name] = default
        each_word = tuple(words.split("|"))

        def query(call: Call) -> str:
            call.only()
            return str(self.values[name])

        for each in (pattern, *other):
            self.tree.add(each, command=lambda call: self.assign(name, scpi.choice(call.one(), each_word)), query=query)

    def assign(self, name: str, value: Any) -> None:
        """Set a value, and take it back when the model refuses it."""
        before = self.values[name]
        self.values[name] = value
        try:
            self.changed(name)
        except ScpiError:
            self.values[name] = before
            raise

    def shown(self, value: float) -> str:
        """Return a number as this maker writes it."""
        return str(value) if isinstance(value, int) else f"{value:.15g}"

    # --- errors and status ---

    def add_error(self, error: ScpiError) -> None:
        """Put an error in the queue and set its bit in the event status register."""
        number_ = error.number
        self._event_status |= next((bit for above, bit in _EVENT_BITS if above < number_ < 0), 8)
        if len(self._errors) < QUEUE - 1:
            self._errors.append(f'{number_},"{str(error)[:255]}"')
        elif len(self._errors) == QUEUE - 1:
            self._errors.append('-350,"Queue overflow"')

    @property
    def errors(self) -> tuple[str, ...]:
        """What is in the error queue, oldest first."""
        return tuple(self._errors)

    def clear(self) -> None:
        """Empty the error queue and the event status register."""
        self._errors.clear()
        self._event_status = 0

    def _next_error(self, call: Call) -> str:
        call.only()
        return self._errors.popleft() if self._errors else self.no_error()

    def no_error(self) -> str:
        """Return the answer of an empty error queue."""
        return '0,"No error"'

    def _read_events(self, call: Call) -> str:
        call.only()
        status, self._event_status = self._event_status, 0
        return str(status)

    def questionable(self) -> bool:
        """Whether a bit of the questionable status is set."""
        return False

    def _status_byte(self) -> int:
        status = 4 * bool(self._errors) | 8 * self.questionable() | 32 * bool(self._event_status & self._event_enable)
        return status | 64 * bool(status & self._service_enable)

    def _build_common(self) -> None:
        def register(name: str) -> Callable[[Call], None]:
            return lambda call: setattr(self, name, int(self.limited(call.one(), 0, 255)))

        tree = self.tree
        tree.common("*IDN", query=lambda call: self.identity)
        tree.common("*RST", command=lambda call: self.reset())
        tree.common("*CLS", command=lambda call: self.clear())
        tree.common("*OPC", command=self._mark_complete, query=self._wait_complete)
        tree.common("*WAI", command=self._wait)
        tree.common("*ESR", query=self._read_events)
        tree.common("*STB", query=lambda call: str(self._status_byte()))
        tree.common("*ESE", command=register("_event_enable"), query=lambda call: str(self._event_enable))
        tree.common("*SRE", command=register("_service_enable"), query=lambda call: str(self._service_enable))
        tree.common("*OPT", query=lambda call: ",".join(self.OPTIONS) or "0")
        tree.common("*TST", query=lambda call: "0")
        tree.common("*TRG", command=lambda call: self.trigger())
        tree.add(":SYSTem:ERRor[:NEXT]", query=self._next_error)
        tree.add(":SYSTem:ERRor:COUNt", query=lambda call: str(len(self._errors)))
        tree.add(":SYSTem:VERSion", query=lambda call: "1999.0")
        tree.add(":SYSTem:PRESet", command=lambda call: self.reset())
        tree.add(":STATus:PRESet", command=lambda call: None)

    async def _wait(self, call: Call) -> None:
        await self.settled(call)

    async def _wait_complete(self, call: Call) -> str:
        await self.settled(call)
        return "1"

    def _mark_complete(self, call: Call) -> None:
        async def later() -> None:
            with self.busy.working():
                await self.settled(call)
            self._event_status |= 1

        self._complete = asyncio.ensure_future(later())
        self._complete.add_done_callback(lambda task: task.cancelled() or task.exception())

    # --- messages ---

    async def execute(self, message: bytes, client: Any) -> bytes | None:
        """Do what a message says and return the answer to all its queries, with its end; None: nothing was asked.

        A command error ends the message; after any other error its next command is done.
        """
        replies: list[bytes] = []
        path: list[str] = []
        try:
            for unit in scpi.parse(message):
                handler, suffixes, path = self.tree.find(unit.header, path, unit.query)
                reply = await self._do(handler, unit, Call(unit.arguments, suffixes, client))
                if reply is not None:
                    replies.append(reply.encode("latin-1", "replace") if isinstance(reply, str) else reply)
        except ScpiError as error:
            self.add_error(error)
        return b";".join(replies) + self.TERMINATOR if replies else None

    async def _do(self, handler: Callable[[Call], Any], unit: Unit, call: Call) -> Reply:
        try:
            result: Reply | Awaitable[Reply] = handler(call)
            return await result if inspect.isawaitable(result) else result
        except ScpiError as error:
            if error.is_command_error:
                raise
            self.add_error(error)
        except ClientGone:
            pass
        except Exception:
            log.exception("%s: %s failed", self.model, unit.header)
            self.add_error(ScpiError(-310, unit.header[:40]))
        return None


def unquoted(argument: Argument) -> str:
    """Return text that must be in quotes, or raise `ScpiError` -104."""
    if not isinstance(argument, Quoted):
        raise ScpiError(-104, "expected a quoted string")
    return str(argument)
