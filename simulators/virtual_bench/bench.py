"""A whole virtual bench: an instrument for each role, on free loopback ports, with one ring behind them."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import tomlkit

from labpgt.device import DeviceBase
from labpgt.errors import InputError
from labpgt.validation import nearest
from simulators.virtual_bench.faults import Fault, Faults
from simulators.virtual_bench.instrument import Instrument
from simulators.virtual_bench.models import MODELS, ROLES
from simulators.virtual_bench.server import Server, Watch
from simulators.virtual_bench.setup import Setup
from simulators.virtual_bench.supplies import Supply
from simulators.virtual_bench.world import SourceOutput, World

KINDS: Mapping[str, Mapping[str, str]] = {
    "envelope": {
        "source": "N5182B",
        "analyzer": "N9020A",
        "attenuator": "RCDAT-6000-90",
        "amplifier": "E36312A",
    },
    "spectrum": {
        "source": "E8257D",
        "analyzer": "FSV-7",
        "attenuator": "RCDAT-6000-90",
        "amplifier": "HMP4040",
    },
    "loopback": {"source": "N5182B", "analyzer": "N9020A"},
}
"""Model of each role, by what the bench is for."""
TESLA_PER_AMPERE = 0.05
"""Field of the virtual magnet."""
_SUPPLY: Mapping[str, Mapping[str, float]] = {
    "amplifier": {"channel": 1, "voltage_v": 5.0, "current_a": 0.5},
    "magnet": {"channel": 1, "voltage_v": 5.0, "current_a": 1.0},
}
_TURNS = 10
"""Turns of the event loop without a task after which nothing is left to end."""
_COMPUTING_S = 20.0
"""Wait for an answer of the analyser: the ring behind it is computed meanwhile, and made anew for another carrier."""
_NOISE = 3e-4
"""Readout noise of the ring behind, of full scale."""
T = TypeVar("T")


class VirtualBench(DeviceBase):
    """Instruments that answer on loopback while the context is open.

    `models` replaces or adds the model of a role ("magnet": "HMP4040"). `latency_s` delays every reply. `ring` and
    `settings` are those of the ring behind (see `World`), unless a `world` is given; its readout noise is that of a
    good analyser. Ports are free ones, or those from `first_port` on. Raises `InputError` for a kind, role or model
    that does not exist, and for a port that is taken.
    """

    def __init__(
        self,
        kind: str = "envelope",
        *,
        latency_s: float = 0.0,
        ring: str = "envelope-ring",
        settings: Mapping[str, Any] | None = None,
        models: Mapping[str, str] | None = None,
        world: World | None = None,
        watch: Watch | None = None,
        first_port: int = 0,
    ) -> None:
        if kind not in KINDS:
            raise InputError(f"virtual bench {kind!r}: expected one of {', '.join(KINDS)}.{nearest(kind, KINDS)}")
        if not 0 <= latency_s < 60:
            raise InputError(f"latency of a reply: expected 0 to 60 s, got {latency_s:g} s")
        self.kind = kind
        self.models: dict[str, str] = {**KINDS[kind], **(models or {})}
        for role, model in self.models.items():
            if role not in ROLES:
                raise InputError(f"role {role!r} of {model}: expected one of {', '.join(ROLES)}.{nearest(role, ROLES)}")
            if model not in ROLES[role]:
                raise InputError(
                    f"{role} {model!r}: expected one of {', '.join(ROLES[role])}.{nearest(model, ROLES[role])}"
                )
        self.latency_s = latency_s
        if not 0 <= first_port <= 65_535 - len(self.models):
            raise InputError(f"first port: expected 0 (free ones) to {65_535 - len(self.models)}, got {first_port}")
        self._first_port = first_port
        self.world = world or World(ring, {"noise": _NOISE, **(settings or {})}, loopback=kind == "loopback")
        self.faults = Faults(self.models)
        self.instruments: dict[str, Any] = {}
        """The model of each role, to look at: `instruments["source"].rf_on`."""
        self._watch = watch
        self._servers: dict[str, Server] = {}
        self._setup: Setup | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._executor: ThreadPoolExecutor | None = None

    def open(self) -> None:
        """Make the instruments, as after power-on, and listen; some seconds when the ring's solver must be compiled."""
        if self._loop is not None:
            return
        self._prepare()
        self._loop = asyncio.new_event_loop()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="virtual-bench-world")
        self._thread = threading.Thread(target=self._serve, name="virtual-bench", daemon=True)
        self._thread.start()
        try:
            self._ask(self._start())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close every connection and stop everything; closing a closed bench does nothing."""
        loop, self._loop = self._loop, None
        if loop is None or self._thread is None or self._executor is None:
            return
        try:
            asyncio.run_coroutine_threadsafe(self._stop(), loop).result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()
            loop.close()
            self._executor.shutdown()
            self.world.close()

    @property
    def addresses(self) -> dict[str, str]:
        """VISA resource name of each role."""
        return {role: server.address for role, server in self._servers.items()}

    @property
    def busy_s(self) -> float:
        """Time in which any instrument was servicing a command, computing and latency included."""
        return self._setup.busy.total_s if self._setup else 0.0

    def config_text(self) -> str:
        """Return the bench's configuration (TOML) for a run on it."""
        document = tomlkit.document()
        document.add(tomlkit.comment(f"Virtual bench: {self.kind}. Addresses change each time it is started."))
        document["name"] = f"virtual {self.kind} bench"
        document["timeout_s"] = 2.0
        document["guard_s"] = 1.0
        for role in self.models:
            instrument: Instrument = self.instruments[role]
            entry = tomlkit.table()
            entry["model"] = self.models[role]
            entry["address"] = self.addresses[role]
            entry["serial"] = instrument.serial
            if role == "analyzer":
                entry["timeout_s"] = _COMPUTING_S
            entry.update(_SUPPLY.get(role, {}))
            document[role] = entry
        limits = {"power_dbm": 10.0, "frequency_hz": [2e9, 6e9], "attenuation_db": [4.0, 90.0], "field_t": [0.0, 0.2]}
        document["limits"] = {**limits, "oscillation_dbm": -50.0, "drift": 0.1}
        document["wiring"] = {"full_scale_v": self.world.full_scale_v}
        if "magnet" in self.models:
            document["wiring"]["tesla_per_ampere"] = TESLA_PER_AMPERE
        return tomlkit.dumps(document)

    def call(self, work: Callable[[], T]) -> T:
        """Return what `work` returns, done between two commands of the instruments."""

        async def do() -> T:
            return work()

        return self._ask(do())

    def _prepare(self) -> None:
        """Ask the world what it will be asked, so that the first acquisition does not wait for its solver."""
        rest, carrier = self.world.output, self.world.output.carrier_hz
        if self.models["analyzer"] == "N9020A":
            codes = np.zeros((64, 2), np.int16)
            codes[8:10, 0] = 1
            self.world.output = SourceOutput(rf_on=True, carrier_hz=carrier, codes=codes, rate_hz=100e6)
            self.world.capture_iq(64, 100e6, carrier, 0.3)
        else:
            self.world.output = SourceOutput(rf_on=True, carrier_hz=carrier)
            self.world.spectrum(101, carrier, 1e7, 1e5, 0.3)
        self.world.output = rest
        self.world.seek(0)

    # --- in the thread of the servers ---

    def _serve(self) -> None:
        assert self._loop is not None
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _ask(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            work.close()
            raise RuntimeError("the virtual bench is closed")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _start(self) -> None:
        assert self._executor is not None
        self._setup = Setup(self.world, self.faults, self._executor)
        for number, (role, model) in enumerate(self.models.items(), start=1):
            instrument = MODELS[model](f"VB{number:06d}", self._setup, model)
            if isinstance(instrument, Supply):
                instrument.feed(role, TESLA_PER_AMPERE)
            self.instruments[role] = instrument
            server = Server(role, instrument, self.faults, latency_s=self.latency_s, watch=self._watch)
            server.lasting = self._lasting
            if self._first_port:
                server.port = self._first_port + number - 1
            self._servers[role] = server
            try:
                await server.start()
            except OSError as error:
                raise InputError(
                    f"port {server.port} for the {role}: {error.strerror}; choose another first port"
                ) from error

    def _lasting(self, fault: Fault) -> None:
        analyzer = self.instruments["analyzer"]
        (analyzer.oscillate if fault.kind == "oscillate" else analyzer.drift)(fault.seconds)

    async def _stop(self) -> None:
        for server in self._servers.values():
            await server.stop()
        # A connection that was accepted just now becomes a task a few turns of the loop later, and a closed one lets go
        # of its socket a turn later.
        quiet = 0
        while quiet < _TURNS:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            quiet = 0 if others else quiet + 1
            await (asyncio.wait(others) if others else asyncio.sleep(0))
