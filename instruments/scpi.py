"""What every instrument on the bench has in common: identity, options, error queue, binary blocks.

Sources: IEEE Std 488.2-1992 (`*IDN?` ch. 10.14, `*OPT?` ch. 10.20, definite length block ch. 8.7.9) and SCPI-1999
(vol. 2 ch. 21.8, `SYSTem:ERRor?`; vol. 1 ch. 7.2.1.5, not-a-number is 9.91E37).

Errors of the connection itself (a time-out, a lost link) leave here as the `VisaIOError` that pyvisa raises; whoever
holds the connection words them. What an instrument says that it should not say is an `InstrumentFault`.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray
from pymeasure.instruments import Instrument, SCPIMixin

from labpgt.device import Setting
from labpgt.errors import DeviceFault

ERRORS_READ = 32
"""Most entries read from an error queue in one go, so that a queue that never ends cannot hold a run."""

LINES = {"read_termination": "\n", "write_termination": "\n"}
"""How messages end on a TCP socket."""

NOT_A_NUMBER = 9.9e37
"""Magnitudes from here on are SCPI's infinity (9.9E37) and not-a-number (9.91E37)."""


class InstrumentFault(DeviceFault):
    """An instrument reported errors, or answered with something that cannot be the answer."""


class SettingRefused(InstrumentFault, ValueError):
    """A value that the driver does not send, because the instrument cannot take it; the connection is as it was."""


class Identity(NamedTuple):
    """The four fields of `*IDN?`."""

    maker: str
    model: str
    serial: str
    firmware: str


class Named:
    """An instrument of known models. The instruments that speak SCPI get theirs from `LabInstrument`."""

    MODELS: ClassVar[tuple[str, ...]] = ()
    """Models, as the instrument gives them, that the driver is for."""

    GUIDE: ClassVar[str] = ""
    """Programming guide that the commands were taken from."""

    LIVE: ClassVar[Mapping[str, tuple[str, str]]] = {}
    """What a look at the bench shows of the instrument: the driver's property and its unit, by a short name."""

    name: str
    _groups: int = 0
    """Groups that are open, one in another."""

    def identify(self) -> Identity:
        """Return who answers; `InstrumentFault` if the answer is not an identity."""
        raise NotImplementedError

    def check_identity(self) -> Identity:
        """Return who answers, or raise `InstrumentFault` when it is not one of `MODELS`."""
        identity = self.identify()
        if identity.model not in self.MODELS:
            raise InstrumentFault(
                f"{self.name}: the instrument that answers is a {identity.maker} {identity.model} "
                f"(serial {identity.serial}), but this driver is for {', '.join(self.MODELS)}; "
                "check the address, or name the model that is there"
            )
        return identity

    def limits(self, name: str) -> tuple[float, float]:
        """Lowest and highest value that the property of that name takes now; `AttributeError` if it has none."""
        raise AttributeError(f"{self.name}: {name} has no limits")

    def live(self) -> Iterator[tuple[str, Setting]]:
        """Ask for what a look at the bench shows, one question after the other; nothing is set."""
        yield from self._live(self.LIVE)

    def _live(self, shown: Mapping[str, tuple[str, str]]) -> Iterator[tuple[str, Setting]]:
        for name, (control, unit) in shown.items():
            yield name, Setting(getattr(self, control), unit)

    def installed_options(self) -> frozenset[str]:
        """Names of the options that the instrument has."""
        return frozenset()

    def require_options(self, options: Sequence[str], doing: str) -> None:
        """Raise `InstrumentFault` naming each of `options` that the instrument lacks for what is being done."""
        installed = self.installed_options()
        if missing := [option for option in options if option not in installed]:
            raise InstrumentFault(
                f"{self.name}: {doing} needs option {', '.join(missing)}, which is not installed "
                f"(installed: {', '.join(sorted(installed)) or 'none'})"
            )

    def empty_errors(self) -> list[str]:
        """Read and drop what is in the error queue; the texts, oldest first."""
        return []

    @contextmanager
    def group(self, doing: str) -> Iterator[None]:
        """Writes that belong together: at their end the error queue is read once, for all of them.

        `InstrumentFault` lists every error with what was being `doing`. A group inside another is part of the outer
        one, which costs one reply for both. When the body itself raises, the queue is left alone.
        """
        with self.unchecked():
            yield
        if self._groups == 0 and (errors := self.empty_errors()):
            raise InstrumentFault(f"{self.name}: {doing}: the instrument reports {'; '.join(errors)}")

    @contextmanager
    def unchecked(self) -> Iterator[None]:
        """Writes, and groups of them, after which whoever opened this reads the error queue, in its own time."""
        self._groups += 1
        try:
            yield
        finally:
            self._groups -= 1


class LabInstrument(Named, SCPIMixin, Instrument):
    """An instrument that speaks SCPI. Over a TCP socket messages end with a line feed, both ways."""

    def __init__(self, adapter: Any, name: str, **kwargs: Any) -> None:
        kwargs.setdefault("tcpip", LINES)
        super().__init__(adapter, name, **kwargs)

    def _setup_special_names(self) -> frozenset[str]:
        # pymeasure looks every attribute up in these names, a list of hundreds: as a set that costs nothing.
        return frozenset(super()._setup_special_names())

    def limits(self, name: str) -> tuple[float, float]:
        """Lowest and highest value that the property of that name takes now."""
        control = getattr(type(self), name, None)
        if not hasattr(control, "limits"):
            return super().limits(name)
        return getattr(self, f"{control.prefix}{name}_values", control.limits)

    def was_set(self, name: str, value: Any) -> None:
        """Hear that a value was sent for the property of that name."""

    def identify(self) -> Identity:
        """Return the fields of `*IDN?`; `InstrumentFault` if there are not four."""
        reply = self.ask("*IDN?").strip()
        fields = [field.strip() for field in reply.split(",", maxsplit=3)]
        if len(fields) != 4 or not fields[1]:
            raise InstrumentFault(
                f"{self.name}: expected maker, model, serial number and firmware as the answer to *IDN?, got {reply!r}"
            )
        return Identity(*fields)

    def installed_options(self) -> frozenset[str]:
        """Names of the options in `*OPT?`; places of absent ones, which some makers fill with 0, are left out."""
        fields = (field.strip(" \"'") for field in self.ask("*OPT?").strip().split(","))
        return frozenset(field for field in fields if field not in ("", "0"))

    def empty_errors(self) -> list[str]:
        """Read the error queue until it is empty, at most `ERRORS_READ` entries; the texts, oldest first."""
        errors: list[str] = []
        for _ in range(ERRORS_READ):
            reply = self.ask("SYST:ERR?").strip()
            code = _error_code(reply)
            if code is None:
                raise InstrumentFault(
                    f'{self.name}: expected an error such as 0,"No error" to SYST:ERR?, got {reply!r}'
                )
            if code == 0:
                return errors
            errors.append(reply)
        return [*errors, "more that were not read"]

    def send_with_errors(self, query: str) -> None:
        """Ask a question and for the error queue in one message; read the answer with `answer_with_errors`."""
        self.write(f"{query};:SYST:ERR?")

    def answer_with_errors(self, query: str, doing: str) -> str:
        """Return the answer to the question of `send_with_errors`; `InstrumentFault` lists all errors there were.

        To several questions in one (`A?;B?`) the answers are as many, with semicolons between.
        """
        reply = self.read().strip()
        questions = query.count(";") + 1
        # An error's text may hold semicolons too.
        *answers, error = reply.split(";", questions)
        answer, code = ";".join(answers), _error_code(error)
        if len(answers) != questions or code is None:
            raise InstrumentFault(
                f"{self.name}: expected an answer and an error from the queue to {query};:SYST:ERR?, got {reply!r}"
            )
        if code:
            errors = [error, *self.empty_errors()]
            raise InstrumentFault(f"{self.name}: {doing}: the instrument reports {'; '.join(errors)}")
        return answer

    def check_errors(self) -> list[str]:
        """Read all errors from the instrument, at most `ERRORS_READ`."""
        return self.empty_errors()

    @contextmanager
    def patience(self, seconds: float) -> Iterator[None]:
        """Wait that much longer for a reply, for as long as the instrument is measuring."""
        connection = self.adapter.connection
        usual = connection.timeout
        if not isinstance(usual, int | float) or not math.isfinite(usual):
            yield
            return
        connection.timeout = usual + 1e3 * seconds
        try:
            yield
        finally:
            connection.timeout = usual

    def ask_floats(self, query: str, count: int, spare: int = 0) -> NDArray[np.float64]:
        """Ask for a block of little-endian 4-byte floats, `count` of them: float64 `(count,)`.

        The instrument may send up to `spare` more, which are dropped. Anything else (no block, another length than
        announced or asked, no line feed after it, a value that is not a number) raises `InstrumentFault`; what is
        left in the connection then is unread, so that it must not be used again.
        """
        connection = self.adapter.connection
        self.write(query)
        # Else each line feed among the bytes would end a read: correct, but slow for long blocks.
        usual, connection.read_termination = connection.read_termination, None
        try:
            payload = self._read_block(query, 4 * count, 4 * spare)
        finally:
            connection.read_termination = usual
        values = np.frombuffer(payload, "<f4", count).astype(np.float64)
        wrong = ~(np.abs(values) < NOT_A_NUMBER)
        if wrong.any():
            first = int(np.argmax(wrong))
            raise InstrumentFault(
                f"{self.name}: value {first} of the {count} answered to {query} is {values[first]:g}, not a number; "
                "the measurement has no result there"
            )
        return values

    def _read_block(self, query: str, length: int, spare: int) -> bytes:
        """Return the bytes of a definite length block of `length` to `length + spare` whole 4-byte values."""
        header = self.read_bytes(2)
        if len(header) != 2 or header[:1] != b"#" or header[1:] not in (b"%d" % n for n in range(1, 10)):
            self._no_block(query, f"a block that begins with # and a digit 1 to 9, got {header!r}")
        digits = self.read_bytes(int(header[1:]))
        if len(digits) != int(header[1:]) or not digits.isdigit():
            self._no_block(query, f"{int(header[1:])} digits of a length in the block's header, got {digits!r}")
        announced = int(digits)
        if announced % 4 or not length <= announced <= length + spare:
            wanted = f"{length}" if not spare else f"{length} to {length + spare}"
            self._no_block(query, f"a block of {wanted} bytes, got one of {announced}")
        payload = self.read_bytes(announced + 1)
        if len(payload) != announced + 1:
            self._no_block(query, f"{announced} bytes and a line feed after the block's header, got {len(payload)}")
        if payload[-1:] != b"\n":
            self._no_block(query, f"a line feed after the {announced} bytes of the block, got {payload[-1:]!r}")
        return payload[:announced]

    def _no_block(self, query: str, expected: str) -> NoReturn:
        raise InstrumentFault(f"{self.name}: answer to {query}: expected {expected}")


def _error_code(reply: str) -> int | None:
    """Return the number of an error as `SYSTem:ERRor?` answers it, None if it is not one."""
    found = re.match(r"([+-]?\d+),", reply)
    return int(found[1]) if found else None


def definite_block(payload: bytes) -> bytes:
    """Return the payload with the header of a definite length block before it (IEEE 488.2 ch. 8.7.9)."""
    length = b"%d" % len(payload)
    return b"#%d%b%b" % (len(length), length, payload)
