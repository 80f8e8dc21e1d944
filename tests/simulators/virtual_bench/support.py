"""A plain TCP client, and a world without physics, for tests of the virtual instruments' dialect."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from simulators.virtual_bench.bench import VirtualBench
from simulators.virtual_bench.receiver import Capture
from simulators.virtual_bench.world import SourceOutput


class StillWorld:
    """Answers at once, and remembers what it was asked with which output of the source.

    IQ samples are 0, 1, 2 ... mV in phase; a trace is 1, 2, 3 ... mV times 10^(power / 20).
    """

    def __init__(self) -> None:
        self.attenuation_db = 20.0
        self.amplifier_on = True
        self.bias_t: float | None = None
        self.full_scale_v = 0.25
        self.output = SourceOutput()
        self.drift = 1.0
        self.level = 1.0
        """Factor on the samples of IQ."""
        self.overload_next = self.oscillate = 0
        self.asked: list[tuple[str, SourceOutput, tuple[Any, ...]]] = []
        self.disturbed: list[tuple[bool, bool, float]] = []
        """Overload, oscillation and drift in force at each acquisition."""
        self.block: Callable[[], object] = lambda: None
        """Called in the middle of each acquisition."""

    def seek(self, shot: int) -> None: ...

    def close(self) -> None: ...

    def _note(self, what: str, *plan: Any) -> None:
        self.asked.append((what, self.output, plan))
        self.disturbed.append((self.overload_next > 0, self.oscillate > 0, self.drift))
        self.block()

    def capture_iq(self, samples: int, rate_hz: float, center_hz: float, range_v: float) -> Capture:
        self._note("iq", samples, rate_hz, center_hz, range_v)
        return Capture(1e-3 * np.arange(samples) * self.drift * self.level + 0j, self.overload_next > 0)

    def idle_iq(self, samples: int, rate_hz: float, center_hz: float, range_v: float) -> Capture:
        self._note("idle", samples, rate_hz, center_hz, range_v)
        return Capture(np.zeros(samples, np.complex128), self.overload_next > 0)

    def _trace(self, points: int, power_dbm: float) -> NDArray[np.float64]:
        return 1e-3 * np.arange(1, points + 1) * 10 ** (power_dbm / 20)

    def zero_span(self, points: int, sweep_time_s: float, center_hz: float, rbw_hz: float, range_v: float) -> Capture:
        self._note("zero span", points, sweep_time_s, center_hz, rbw_hz, range_v)
        return Capture(self._trace(points, self.output.power_dbm), self.overload_next > 0)

    def spectrum(self, points: int, center_hz: float, span_hz: float, rbw_hz: float, range_v: float) -> Capture:
        self._note("spectrum", points, center_hz, span_hz, rbw_hz, range_v)
        return Capture(self._trace(points, self.output.power_dbm), self.overload_next > 0)

    def spectra(
        self, powers_dbm: Any, points: int, center_hz: float, span_hz: float, rbw_hz: float, range_v: float
    ) -> Capture:
        self._note("spectra", tuple(powers_dbm), points, center_hz, span_hz, rbw_hz, range_v)
        return Capture(np.array([self._trace(points, power) for power in powers_dbm]), self.overload_next > 0)


@contextmanager
def still_bench(kind: str = "envelope", **more: Any) -> Iterator[VirtualBench]:
    """A bench without physics, so that tests of the dialect are quick."""
    world: Any = StillWorld()
    with VirtualBench(kind, world=world, **more) as bench:
        yield bench


class Plain:
    """A client that knows nothing of VISA."""

    def __init__(self, address: str, terminator: bytes = b"\n", timeout_s: float = 5.0) -> None:
        _, host, port, _ = address.split("::")
        self.socket = socket.create_connection((host, int(port)), timeout=timeout_s)
        self.terminator = terminator
        self._left = b""

    def send(self, text: str | bytes) -> None:
        self.raw((text.encode() if isinstance(text, str) else text) + b"\n")

    def raw(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read(self) -> str:
        while self.terminator not in self._left:
            more = self.socket.recv(65536)
            if not more:
                raise ConnectionError(f"closed after {self._left!r}")
            self._left += more
        line, _, self._left = self._left.partition(self.terminator)
        return line.decode("latin-1")

    def ask(self, text: str) -> str:
        self.send(text)
        return self.read()

    def ask_block(self, text: str) -> bytes:
        self.send(text)
        return self.read_block()

    def read_block(self) -> bytes:
        head = self._exactly(2)
        assert head[:1] == b"#", head
        data = self._exactly(int(self._exactly(int(head[1:]))))
        assert self._exactly(len(self.terminator)) == self.terminator
        return data

    def _exactly(self, count: int) -> bytes:
        while len(self._left) < count:
            more = self.socket.recv(1 << 20)
            if not more:
                raise ConnectionError("closed")
            self._left += more
        data, self._left = self._left[:count], self._left[count:]
        return data

    def errors(self) -> list[int]:
        """Numbers in the error queue, which is empty afterwards."""
        found = []
        while (number := int(self.ask("SYST:ERR?").split(",")[0])) != 0:
            found.append(number)
        return found

    def silent(self, seconds: float = 0.1) -> bool:
        """Whether nothing comes for a while."""
        self.socket.settimeout(seconds)
        try:
            more = self.socket.recv(65536)
        except TimeoutError:
            return not self._left
        finally:
            self.socket.settimeout(5.0)
        if not more:
            raise ConnectionError("closed")
        self._left += more
        return False

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def plain(bench: VirtualBench, role: str) -> Plain:
    return Plain(bench.addresses[role], b"\r\n" if role == "attenuator" else b"\n")


def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait until something is so, or fail."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


def waveform(samples: int = 128, peak: int = 1000) -> bytes:
    """Codes of a waveform (big-endian I, Q) whose in-phase part is a ramp."""
    codes = np.zeros((samples, 2), ">i2")
    codes[:, 0] = np.linspace(0, peak, samples)
    return codes.tobytes()


def load(source: Plain, name: str, codes: bytes, markers: bytes | None = None) -> None:
    """Load a waveform that is as loud as its codes, with marker 1 on its first samples unless others are given."""
    samples = len(codes) // 4
    markers = (b"\x01" * 32).ljust(samples, b"\0")[:samples] if markers is None else markers
    for folder, data in (("WFM1", codes), ("MKR1", markers)):
        source.send(f':MMEM:DATA "{folder}:{name}",#{len(str(len(data)))}{len(data)}'.encode() + data)
    source.send(f':RAD:ARB:HEAD:RMS "WFM1:{name}",1')


def arm(source: Plain, analyzer: Plain, name: str = "A", samples: int = 128) -> None:
    """Arm source and analyser for one capture of IQ, and see that both are."""
    source.send(f':RAD:ARB:WAV "WFM1:{name}";TRIG:TYPE SING;:RAD:ARB:TRIG BUS;:RAD:ARB ON;:OUTP ON')
    source.send(":POW:ALC OFF;:POW:ALC:SEAR:REF RMS")
    assert source.errors() == []
    analyzer.send(":INST:SEL BASIC;:CONF:WAV;:INIT:CONT OFF;:TRIG:WAV:SOUR EXT1;:FORM REAL,32;:FORM:BORD SWAP")
    analyzer.send(f":WAV:SRAT 100MHz;:WAV:SWE:TIME {samples * 10}ns")
    assert analyzer.ask(":INIT:WAV;:STAT:OPER:COND?") == "32"
    assert analyzer.errors() == []
