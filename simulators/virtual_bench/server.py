"""One instrument on a loopback TCP port: several clients, delays, and faults on the wire."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

from simulators.virtual_bench.faults import Fault, Faults, spoiled
from simulators.virtual_bench.instrument import Instrument
from simulators.virtual_bench.scpi import Framer, ScpiError

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
_CHUNK = 1 << 18
_WAITING = 256
"""Messages of one client that wait to be executed before the server stops reading."""
_REBIND_S = 0.05
_TURNS = 5
"""Turns of the event loop in which an accepted connection becomes one of ours."""
Watch = Callable[[str, str, bytes], None]
"""Hears role, "<" or ">" and the bytes of every message and reply."""


class Client:
    """One connection to an instrument."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.gone = asyncio.Event()
        """Nobody listens any more; what has been asked is done all the same."""
        self.cut = False
        """The instrument closed the connection: what has been asked and not done is lost."""
        self.messages: asyncio.Queue[bytes | None] = asyncio.Queue(_WAITING)

    def close(self) -> None:
        """Close the connection at once, and forget what was not done or not sent yet."""
        self.cut = True
        self.gone.set()
        while not self.messages.empty():
            self.messages.get_nowait()
        self.writer.transport.abort()


class Server:
    """The connections of one instrument. Everything runs in one event loop, so an instrument needs no locks."""

    def __init__(
        self, role: str, instrument: Instrument, faults: Faults, *, latency_s: float = 0.0, watch: Watch | None = None
    ) -> None:
        self.role = role
        self.instrument = instrument
        self.latency_s = latency_s
        self.port = 0
        self.lasting: Callable[[Fault], None] = lambda fault: None
        """Hears of the faults that strike the signal and not the connection."""
        self._faults = faults
        self._watch = watch or (lambda role, way, data: None)
        self._server: asyncio.Server | None = None
        self._clients: dict[Client, asyncio.Task[None]] = {}
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._hung_until = 0.0

    @property
    def address(self) -> str:
        """VISA resource name."""
        return f"TCPIP0::{HOST}::{self.port}::SOCKET"

    async def start(self) -> None:
        """Listen, on a free port the first time and on the same one later."""
        self._server = await asyncio.start_server(self._connected, HOST, self.port, limit=_CHUNK)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and close every connection; the tasks that this wakes end by themselves."""
        self._stopping.set()
        await asyncio.gather(*self._tasks)
        await self._unlisten()
        for client, worker in self._clients.items():
            client.close()
            worker.cancel()
        self.instrument.close()

    async def _unlisten(self) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        # asyncio loses the socket of a connection that it accepted just before its server is closed: take no new ones,
        # let those that are under way arrive, then close.
        with contextlib.suppress(NotImplementedError):
            for listening in server.sockets:
                asyncio.get_running_loop().remove_reader(listening.fileno())
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        server.close()

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = Client(writer)
        if self._stopping.is_set():
            client.close()
            return
        worker = asyncio.ensure_future(self._work(client))
        self._clients[client] = worker
        try:
            await self._read(reader, client)
            # What has come before the end is still done: only the answers have no one to go to.
            client.gone.set()
            await client.messages.put(None)
            await asyncio.wait([worker])
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        finally:
            del self._clients[client]

    async def _read(self, reader: asyncio.StreamReader, client: Client) -> None:
        framer = Framer()
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                try:
                    messages = framer.feed(data)
                except ScpiError as error:
                    self.instrument.add_error(error)
                    continue
                for message in messages:
                    await client.messages.put(message)

    async def _work(self, client: Client) -> None:
        while (message := await client.messages.get()) is not None:
            try:
                await self._handle(client, message)
            except OSError:
                client.gone.set()
            if client.cut:
                return

    async def _handle(self, client: Client, message: bytes) -> None:
        self._watch(self.role, "<", message)
        arriving = self._faults.arriving(self.role)
        for fault in arriving:
            self._strike(fault)
        await self._while_hung()
        kinds = {fault.kind for fault in arriving}
        if "drop" in kinds:
            client.close()
        if client.cut:
            return
        with self.instrument.busy.working():
            reply = await self.instrument.execute(message, client)
            if "drop-after" in kinds:
                client.close()
            elif reply is not None:
                await self._answer(client, message, reply)

    def _strike(self, fault: Fault) -> None:
        loop = asyncio.get_running_loop()
        match fault.kind:
            case "hang":
                self._hung_until = max(self._hung_until, loop.time() + fault.seconds)
            case "unplugged":
                self._cut_all()
                self._spawn(self._unplugged(fault.seconds))
            case "error":
                self.instrument.add_error(ScpiError(-310, "injected"))
            case "oscillate" | "drift":
                self.lasting(fault)
            case "rf-off" | "turned":
                self.instrument.touched()

    async def _while_hung(self) -> None:
        while (left := self._hung_until - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(left)

    def _cut_all(self) -> None:
        for client in self._clients:
            client.close()

    async def _unplugged(self, seconds: float) -> None:
        await self._unlisten()
        self._cut_all()
        await self._sleep(seconds)
        while self._server is None and not self._stopping.is_set():
            # Somebody else's connection may have been given the port in the meantime.
            try:
                await self.start()
            except OSError:
                await self._sleep(_REBIND_S)

    async def _sleep(self, seconds: float) -> None:
        """Wait, but not when the server is stopped."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _answer(self, client: Client, message: bytes, reply: bytes) -> None:
        delay = self.latency_s
        for fault in self._faults.replying(self.role, message, reply):
            delay += fault.seconds
            if fault.kind == "missing":
                return
            reply = spoiled(fault, reply, self.instrument.TERMINATOR)
        if delay:
            await asyncio.sleep(delay)
        await self._while_hung()
        if client.writer.is_closing():
            return
        self._watch(self.role, ">", reply)
        client.writer.write(reply)
        await client.writer.drain()
