"""A connection below the level of drivers, for finding out what an instrument really sends."""

import time
from contextlib import suppress
from typing import Any

from pyvisa.constants import StatusCode
from pyvisa.errors import VisaIOError

from instruments.sockets import mend_socket


class Silence(Exception):
    """The instrument did not answer in time."""


class RawLine:
    """A connection that shows every byte of an answer."""

    def __init__(self, manager: Any, address: str, timeout_s: float) -> None:
        milliseconds = max(1, round(1000 * timeout_s))
        self._timeout_s = timeout_s
        self._visa = manager.open_resource(address, open_timeout=milliseconds)
        mend_socket(self._visa)
        self._visa.timeout = milliseconds
        self._end = b"\n"
        # Where the bus does not tell the end of a message it is looked for byte by byte.
        self._stream = address.upper().startswith("ASRL") or address.upper().endswith("::SOCKET")

    def listen(self, question: bytes, wait_s: float) -> tuple[bytes, float]:
        """Send bytes; return those that come back up to a line feed or a pause, and how long the first took, s."""
        begun = time.perf_counter()
        self._visa.write_raw(question)
        self._end = question[len(question.rstrip(b"\r\n")) :]
        answer = self._read(wait_s)
        took_s = time.perf_counter() - begun
        while answer and self._stream and not answer.endswith(b"\n"):
            byte = self._read(min(0.2, self._timeout_s))
            if not byte:
                break
            answer += byte
        return answer, took_s

    def ask(self, question: str) -> str:
        """Ask for a line of text; raises `Silence`."""
        answer, _ = self.listen(question.encode() + self._end, self._timeout_s)
        if not answer:
            raise Silence
        return answer.decode("ascii", errors="replace").strip()

    def close(self) -> None:
        """Close; never raises."""
        with suppress(Exception):
            self._visa.close()

    def _read(self, wait_s: float) -> bytes:
        """Return a byte (a message, where the bus tells its end), or nothing when none came in time."""
        self._visa.timeout = max(1, round(1000 * wait_s))
        try:
            return bytes(self._visa.read_bytes(1) if self._stream else self._visa.read_raw())
        except VisaIOError as error:
            if error.error_code == StatusCode.error_timeout:
                return b""
            raise
