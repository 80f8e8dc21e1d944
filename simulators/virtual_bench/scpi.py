"""Messages of an instrument: where one ends on a stream, what it says, and the errors it can earn.

Source: IEEE 488.2-1992, chapter 7 (program messages), and SCPI-99, volume 1, chapters 6 (headers), 7 (parameters)
and volume 2, chapter 21.8 (error numbers).
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal

_ERRORS = {
    -100: "Command error",
    -102: "Syntax error",
    -103: "Invalid separator",
    -104: "Data type error",
    -108: "Parameter not allowed",
    -109: "Missing parameter",
    -113: "Undefined header",
    -114: "Header suffix out of range",
    -131: "Invalid suffix",
    -151: "Invalid string data",
    -161: "Invalid block data",
    -171: "Invalid expression",
    -211: "Trigger ignored",
    -213: "Init ignored",
    -221: "Settings conflict",
    -222: "Data out of range",
    -223: "Too much data",
    -224: "Illegal parameter value",
    -230: "Data corrupt or stale",
    -241: "Hardware missing",
    -256: "File name not found",
    -310: "System error",
    -350: "Queue overflow",
    -363: "Input buffer overrun",
    -410: "Query INTERRUPTED",
    -420: "Query UNTERMINATED",
}

LONGEST_TEXT = 1 << 20
"""Bytes of a message without its blocks that an instrument takes; more is an input buffer overrun."""
LARGEST_BLOCK = 1 << 29
"""Bytes of one binary block."""


class ScpiError(Exception):
    """An entry for the error queue: its number and, after the standard text, what was wrong here."""

    def __init__(self, number: int, detail: str = "") -> None:
        text = _ERRORS.get(number, "Device-specific error")
        super().__init__(f"{text};{detail}" if detail else text)
        self.number = number

    @property
    def is_command_error(self) -> bool:
        """Whether the message was not understood, so that the rest of it must not be either."""
        return -200 < self.number <= -100


class Quoted(str):
    """A parameter that was written in quotes, without them."""

    __slots__ = ()


Argument = str | bytes
"""Text, `Quoted` text or a binary block."""


@dataclass(frozen=True)
class Unit:
    """One command of a message: its header as it was written, without "?", and its parameters."""

    header: str
    query: bool
    arguments: list[Argument] = field(default_factory=list)


_STOP = re.compile(rb"[\"'#\n]")
_BLOCK = re.compile(rb"#([1-9])")


class Framer:
    """Cuts what comes from one client into messages.

    A message ends at a line feed that is not inside a binary block. Quotes do not protect a line feed, so that a
    client that forgets one disturbs a single message.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._at = 0
        self._text = 0
        self._quote = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes off the wire and return the messages they complete, without line ends.

        Raises `ScpiError` -363 when a message has no end; what was collected is forgotten.
        """
        self._buffer += data
        messages = []
        while (end := self._end()) >= 0:
            messages.append(bytes(self._buffer[:end]).rstrip(b"\r"))
            del self._buffer[: end + 1]
            self._at = self._text = self._quote = 0
        if min(len(self._buffer), self._at) - self._text > LONGEST_TEXT:
            self._buffer.clear()
            self._at = self._text = self._quote = 0
            raise ScpiError(-363, f"no line feed in {LONGEST_TEXT} characters")
        return messages

    def _end(self) -> int:
        buffer = self._buffer
        while self._at < len(buffer):
            found = _STOP.search(buffer, self._at)
            if found is None:
                self._at = len(buffer)
                break
            here, kind = found.start(), buffer[found.start()]
            if kind == 0x0A:
                return here
            if kind in b"\"'":
                self._quote = 0 if self._quote == kind else self._quote or kind
            elif not self._quote and (head := block_head(buffer, here)) is not None:
                start, length = head
                if start < 0:  # the head itself is not complete yet
                    self._at = here
                    break
                # Beyond the end of what has come: the rest of the block is skipped without looking at it.
                self._at = start + length
                self._text += length
                continue
            self._at = here + 1
        return -1


def block_head(data: bytes | bytearray, at: int) -> tuple[int, int] | None:
    """Return where the block starts whose head is at `at`, and its bytes; start -1: the head is not complete.

    None when this is not the head of a definite block (IEEE 488.2, 7.7.6.2), such as of a number `#H1F`.
    """
    if len(data) < at + 2:
        return -1, 0
    if not _BLOCK.match(data, at):
        return None
    digits = data[at + 1] - 0x30
    text = bytes(data[at + 2 : at + 2 + digits])
    if not text.isdigit() and text:
        return None
    if len(text) < digits:
        return -1, 0
    length = int(text)
    return (at + 2 + digits, length) if length <= LARGEST_BLOCK else None


_SPACE = re.compile(rb"[\x00-\x20]*")
_HEADER = re.compile(rb"[^\x00-\x20;,\"'#]*")
_PLAIN = re.compile(rb"[^;,\"'(]*")


def parse(message: bytes) -> Iterator[Unit]:
    """Yield the commands of a message; `ScpiError` where it cannot be understood any further."""
    at = 0
    while at < len(message):
        at = _space(message, at)
        found = _HEADER.match(message, at)
        assert found is not None
        header, at = found.group().decode("latin-1"), found.end()
        arguments: list[Argument] = []
        at = _space(message, at)
        if header == "?" or (not header and at < len(message) and message[at] != 0x3B):
            raise ScpiError(-102, _shown(message[at:]))
        while at < len(message) and message[at] != 0x3B:
            argument, at = _argument(message, at)
            arguments.append(argument)
            at = _space(message, at)
            if at < len(message) and message[at] != 0x3B:
                if message[at] != 0x2C:
                    raise ScpiError(-103, _shown(message[at:]))
                at = _space(message, at + 1)
                if at == len(message) or message[at] == 0x3B:
                    raise ScpiError(-109, header)
        at += 1
        if header:
            query = header.endswith("?")
            yield Unit(header[:-1] if query else header, query, arguments)


def _space(message: bytes, at: int) -> int:
    found = _SPACE.match(message, at)
    assert found is not None
    return found.end()


def _argument(message: bytes, at: int) -> tuple[Argument, int]:
    first = message[at : at + 1]
    if first == b"#" and (head := block_head(message, at)) is not None:
        start, length = head
        if start < 0 or start + length > len(message):
            raise ScpiError(-161, _shown(message[at:]))
        return message[start : start + length], start + length
    if first in (b'"', b"'"):
        return _quoted(message, at)
    if first == b"(":
        end = message.find(b")", at)
        if end < 0:
            raise ScpiError(-171, _shown(message[at:]))
        return message[at : end + 1].decode("latin-1"), end + 1
    found = _PLAIN.match(message, at)
    assert found is not None
    text = found.group().decode("latin-1").strip()
    if not text:
        raise ScpiError(-102, _shown(message[at:]))
    return text, found.end()


def _quoted(message: bytes, at: int) -> tuple[Quoted, int]:
    """Read a string; inside it its own quote is written twice (IEEE 488.2, 7.7.5)."""
    quote = message[at : at + 1]
    parts = []
    while True:
        end = message.find(quote, at + 1)
        if end < 0:
            raise ScpiError(-151, _shown(message[at:]))
        parts.append(message[at + 1 : end].decode("latin-1"))
        if message[end + 1 : end + 2] != quote:
            return Quoted(quote.decode().join(parts)), end + 1
        at = end + 1


def _shown(data: bytes) -> str:
    return "".join(c if c.isprintable() and c not in ";\"'" else "." for c in data[:24].decode("latin-1"))


def block(data: bytes | memoryview) -> bytes:
    """Return data as a definite-length block."""
    length = str(len(data))
    return b"#%d%s" % (len(length), length.encode()) + bytes(data)


_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:E[+-]?\d{1,5})?)\s*([A-Z%]*)")
_METRIC = {"G": 9, "MA": 6, "K": 3, "": 0, "M": -3, "U": -6, "N": -9, "P": -12}
_SUFFIXES: dict[str, dict[str, int]] = {
    "": {"": 0},
    # M means milli in SCPI, save before HZ (SCPI-99, 7.5.1).
    "HZ": {prefix + "HZ": scale for prefix, scale in _METRIC.items()} | {"MHZ": 6, "": 0},
    "S": {prefix + "S": scale for prefix, scale in _METRIC.items()} | {"": 0},
    "V": {prefix + "V": scale for prefix, scale in _METRIC.items()} | {"VP": 0, "MVP": -3, "": 0},
    "A": {prefix + "A": scale for prefix, scale in _METRIC.items()} | {"": 0},
    "DBM": {"DBM": 0, "DB": 0, "": 0},
    "DB": {"DB": 0, "": 0},
    "PCT": {"PCT": 0, "%": 0, "": 0},
}
"""Power of ten of each suffix, by base unit."""


def number(argument: Argument, unit: str = "") -> float:
    """Return a number in its base unit ("HZ", "S", "V", "A", "DBM", "DB", "PCT" or none), or raise `ScpiError`."""
    if not isinstance(argument, str) or isinstance(argument, Quoted):
        raise ScpiError(-104, "expected a number")
    text = argument.upper()
    if text.startswith(("#H", "#B", "#Q")):
        try:
            return float(int(text[2:], {"H": 16, "B": 2, "Q": 8}[text[1]]))
        except ValueError:
            raise ScpiError(-104, argument) from None
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise ScpiError(-104, f"expected a number, got {_shown(argument.encode('latin-1', 'replace'))}")
    scale = _SUFFIXES[unit].get(found[2])
    if scale is None:
        raise ScpiError(-131, f"{found[2]}, expected {unit or 'no unit'}")
    # In decimal, so that 200 ns is the same number as 200e-9.
    value = float(Decimal(found[1]).scaleb(scale))
    if not math.isfinite(value):
        raise ScpiError(-222, argument)
    return value


def matches(text: str, mnemonic: str) -> bool:
    """Whether a word is the long or the short form of a mnemonic such as "CONTinuous", in any case."""
    return text.upper() in forms(mnemonic)


def forms(mnemonic: str) -> tuple[str, str]:
    """Return the short form, which is what a mnemonic has in capitals and digits, and the long form."""
    return "".join(c for c in mnemonic if not c.islower()), mnemonic.upper()


def choice(argument: Argument, mnemonics: tuple[str, ...]) -> str:
    """Return the short form of the mnemonic that a parameter means; `ScpiError` -224 when it is none of them."""
    if isinstance(argument, str) and not isinstance(argument, Quoted):
        for mnemonic in mnemonics:
            if matches(argument, mnemonic):
                return forms(mnemonic)[0]
    shown = argument if isinstance(argument, str) else "a block"
    raise ScpiError(-224, f"{shown[:24]}, expected {'|'.join(mnemonics)}")


def boolean(argument: Argument) -> bool:
    """Return what ON, OFF or a number means; `ScpiError` -224 for anything else."""
    if isinstance(argument, str) and argument.upper() in ("ON", "OFF"):
        return argument.upper() == "ON"
    return bool(round(number(argument)))
