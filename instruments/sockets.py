"""What pyvisa-py leaves undone on `TCPIP::…::SOCKET`, mended on a connection that is open, and its errors in words.

With pyvisa-py 0.8: small messages wait for the acknowledgement of the one before (Nagle's algorithm, RFC 896) and its
own attribute against that raises; a write to an instrument that takes nothing any more blocks for ever; a connection
closed by the instrument is read at full load of a core until the time-out, and then called a time-out. Connections of
another kind, and those of other VISA libraries, are left alone.
"""

import select
import socket
import time
from typing import Any

from pyvisa.constants import StatusCode
from pyvisa.errors import VisaIOError

_PIECE = 1 << 18
"""Bytes given to the network at a time; each must be taken within the time-out."""


def mend_socket(connection: Any) -> bool:
    """Mend an open pyvisa resource; returns whether it was one of those described above."""
    try:
        from pyvisa_py.tcpip import TCPIPSocketSession
    except ImportError:
        return False
    session = getattr(connection.visalib, "sessions", {}).get(connection.session)
    if not isinstance(session, TCPIPSocketSession) or not isinstance(session.interface, socket.socket):
        return False
    session.interface.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    session.interface.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    session.interface = _Socket(session.interface)
    session.write = lambda data: _write(session, data)
    return True


def explained(error: BaseException) -> str:
    """Say what an error of the connection means, for a person."""
    if isinstance(error, VisaIOError):
        if error.error_code == StatusCode.error_timeout:
            return "no answer in time"
        return f"the connection failed ({error.description or error})"
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused: nothing listens there"
    if isinstance(error, ConnectionError):
        return f"the connection is lost ({error.strerror or error})"
    return f"{error or type(error).__name__}"


class _Socket:
    """A socket that says at once when the other side has closed it."""

    def __init__(self, plain: socket.socket) -> None:
        self._plain = plain

    def recv(self, count: int) -> bytes:
        """Return what there is, at most `count` bytes; `ConnectionResetError` after the last."""
        data = self._plain.recv(count)
        if not data:
            raise ConnectionResetError("the instrument closed the connection")
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)


def _write(session: Any, data: bytes) -> tuple[int, StatusCode]:
    """Send all of `data`, as long as each piece is taken within the session's time-out (s, or None: no limit)."""
    rest = memoryview(data)
    deadline = _deadline(session.timeout)
    while rest:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        _, ready, _ = select.select([], [session.interface], [], left)
        if not ready:
            return len(data) - len(rest), StatusCode.error_timeout
        # The socket is blocking, and takes at least a byte when it is ready; without MSG_DONTWAIT it would wait for
        # the whole piece.
        try:
            rest = rest[session.interface.send(rest[:_PIECE], getattr(socket, "MSG_DONTWAIT", 0)) :]
        except BlockingIOError:
            continue  # Ready all the same for less than the system likes to take.
        deadline = _deadline(session.timeout)
    return len(data), StatusCode.success


def _deadline(timeout_s: float | None) -> float | None:
    return None if timeout_s is None else time.monotonic() + timeout_s
