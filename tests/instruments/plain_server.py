"""A few instruments that answer over TCP on loopback: just what connecting, guarding and examining them asks.

Less than the virtual bench on purpose: each test sets by hand what the instrument gets wrong.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self


class PlainInstrument:
    """One instrument on a free port. `state` is what the safety commands change; `got` lists all commands received."""

    def __init__(self, identity: str = "Keysight Technologies, N5182B, MY00000001, B.01.80") -> None:
        self.identity = identity
        self.options = "653,657"
        self.errors: list[str] = []
        self.state: dict[str, str] = {":OUTP": "1"}
        self.got: list[str] = []
        self.termination = b"\n"
        self.wanted_end = b"\n"
        self.delay_s = 0.0
        self.mute = False
        self.deaf_until = 0.0
        self.stuck_on: set[str] = set()
        self.busy_until = 0.0
        self.replies: dict[str, str] = {}
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def address(self) -> str:
        return f"TCPIP0::127.0.0.1::{self._listener.getsockname()[1]}::SOCKET"

    @property
    def rf_on(self) -> bool:
        return self.state[":OUTP"] == "1"

    @property
    def connections(self) -> int:
        return len(self._open)

    def drop(self) -> None:
        """Close every connection."""
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            buffer = b""
            while True:
                try:
                    chunk = connection.recv(65536)
                except OSError:
                    chunk = b""
                if not chunk:
                    break
                time.sleep(max(0.0, self.deaf_until - time.monotonic()))
                *messages, buffer = (buffer + chunk).split(self.wanted_end)
                for message in messages:
                    self._message(connection, message.strip().decode())
        self._open.remove(connection)

    def _message(self, connection: socket.socket, message: str) -> None:
        self.got.append(message)
        time.sleep(max(0.0, self.delay_s, self.busy_until - time.monotonic()))
        reply = self._reply(message)
        if reply is not None and not self.mute:
            with contextlib.suppress(OSError):
                connection.sendall(reply.encode("latin-1") + self.termination)

    def _reply(self, message: str) -> str | None:
        if message in self.replies:
            return self.replies[message]
        if message == "*IDN?":
            return self.identity
        if message == "*OPT?":
            return self.options
        if message in ("SYST:ERR?", ":SYST:ERR?"):
            return self.errors.pop(0) if self.errors else '0,"No error"'
        if message.endswith("?"):
            return self.state.get(message[:-1])
        name, _, value = message.partition(" ")
        if name in self.state and message not in self.stuck_on:
            self.state[name] = {"OFF": "0", "ON": "1"}.get(value, value)
        return None


class PlainAttenuator(PlainInstrument):
    """An RCDAT: every command is answered, there is no `*IDN?` and no error queue."""

    def __init__(self, model: str = "RCDAT-6000-90") -> None:
        super().__init__("")
        self.model, self.attenuation_db = model, 20.0
        self.termination = self.wanted_end = b"\r\n"

    def _reply(self, message: str) -> str | None:
        if message.startswith(":SETATT="):
            self.attenuation_db = float(message.partition("=")[2])
            return "1"
        return {
            ":MN?": f"MN={self.model}",
            ":SN?": "SN=11200110001",
            ":FIRMWARE?": "FIRMWARE=B1",
            ":ATT?": f"{self.attenuation_db:.2f}",
        }.get(message, "-99")


def wait_for(condition: Callable[[], bool], limit_s: float = 10.0) -> bool:
    """Wait until something is so, and return whether it came to be; the limit only bounds a test that fails."""
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True
