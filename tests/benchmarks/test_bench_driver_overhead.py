"""Time a shot costs in the code of drivers and ring alone: every instrument answers at once, from memory."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from pymeasure.adapters import Adapter

from instruments import rack
from instruments.bench import Bench
from instruments.keysight_n5182b import KeysightN5182B
from instruments.keysight_n9020a import KeysightN9020A
from instruments.magnonic_ring import MagnonicRing
from labpgt.events import ShotsTaken
from labpgt.session import SessionWriter
from labpgt.shots import ShotTaker
from tests.sessions import STARTED

pytestmark = pytest.mark.benchmark

BENCH = """
[source]
model = "N5182B"
address = "here"
[analyzer]
model = "N9020A"
address = "there"
"""
SYMBOLS, NODES = 8, 4
_NO_ERROR = b'+0,"No error"\n'


class Cable:
    """Between source and analyser: the waveform that was loaded last."""

    codes = np.zeros(0, ">i2")


class Instant(Adapter):
    """An instrument that answers at once: what it was set to, and the waveform that was loaded as a capture."""

    def __init__(self, identity: bytes, options: bytes, cable: Cable) -> None:
        super().__init__()
        self.cable = cable
        self.connection: Any = SimpleNamespace(timeout=2000.0, read_termination="\n")
        self._fixed = {b"*IDN?": identity, b"*OPT?": options, b":STAT:OPER:COND?": b"32", b":STAT:QUES:INT?": b"0"}
        self._set: dict[bytes, bytes] = {}
        self._waiting = bytearray()
        self.replies = 0

    def _write(self, command: str, **kwargs: Any) -> None:
        for part in command.encode().split(b";:") if command.endswith("?") else [command.encode()]:
            self._take(part if part[:1] in b":*" else b":" + part)
        if command.endswith("?"):
            # Answers to the questions of one message are one line.
            self._waiting = bytearray(self._waiting[:-1].replace(b"\n", b";") + b"\n") if self._text else self._waiting
            self.replies += 1

    def _write_bytes(self, content: bytes, **kwargs: Any) -> None:
        if b'"WFM1:' in content[:64]:
            start = content.index(b"#") + 2
            start += int(content[start - 1 : start])
            self.cable.codes = np.frombuffer(content[start : len(content) - 1], ">i2")

    def _take(self, command: bytes) -> None:
        self._text = True
        if command == b":FETC:WAV0?":
            count = round(float(self._set[b":WAV:SRAT"].split()[0]) * float(self._set[b":WAV:SWE:TIME"].split()[0]))
            samples = np.zeros(2 * count, "<f4")
            if self._set[b":TRIG:WAV:SOUR"] != b"IMM":
                played = self.cable.codes[: 2 * count]
                samples[: len(played)] = played * np.float32(0.25 / 32767)
            payload = samples.tobytes()
            size = b"%d" % len(payload)
            self._waiting += b"#%d%b%b\n" % (len(size), size, payload)
            self._text = False
        elif command == b":SYST:ERR?":
            self._waiting += _NO_ERROR
        elif command.endswith(b"?"):
            self._waiting += self._fixed.get(command, self._set.get(command[:-1], b"0").split()[0]) + b"\n"
        else:
            head, _, value = command.partition(b" ")
            self._set[head] = {b"ON": b"1", b"OFF": b"0"}.get(value, value)

    def _read(self, **kwargs: Any) -> str:
        line, _, self._waiting = self._waiting.partition(b"\n")
        return line.decode()

    def _read_bytes(self, count: int, break_on_termchar: bool = False, **kwargs: Any) -> bytes:
        found, self._waiting = bytes(self._waiting[:count]), self._waiting[count:]
        return found

    def close(self) -> None:
        pass


class Overhead(NamedTuple):
    driver_us: float
    """A shot, in drivers and ring."""
    run_us: float
    """A shot, with what a run adds to each request: rounding, checking, numbering, and the session file."""
    replies: float
    """Of a capture."""


def overhead(ring: MagnonicRing, replies: Callable[[], int], writer: SessionWriter, shots: int) -> Overhead:
    taker = ShotTaker(ring, SYMBOLS)
    drives = np.random.default_rng(0).uniform(0, 1, (shots, SYMBOLS))
    samples = np.arange(shots)

    def request() -> None:
        rows = taker.take(drives, samples)
        rows["loss"] = 0.0
        writer(ShotsTaken(rows))

    def best_us(work: Callable[[], object]) -> float:
        work()
        repeats, best = max(5, 400 // shots), np.inf
        for _ in range(5):
            began = time.perf_counter()
            for _ in range(repeats):
                work()
            best = min(best, time.perf_counter() - began)
        return 1e6 * float(best) / (repeats * shots)

    before = replies()
    ring.forward(drives)
    asked = replies() - before
    return Overhead(best_us(lambda: ring.forward(drives)), best_us(request), asked)


def test_driver_overhead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bench.toml"
    path.write_text(BENCH)
    cable = Cable()
    source = Instant(b"Keysight,N5182B,1,1", b"656", cable)
    analyzer = Instant(b"Keysight,N9020A,2,1", b"B85", cable)

    def connect_each(bench: Bench) -> tuple[dict[str, Any], None]:
        return {"source": KeysightN5182B(source), "analyzer": KeysightN9020A(analyzer)}, None

    monkeypatch.setattr(rack, "connect_each", connect_each)
    print(f"\na shot of {SYMBOLS} symbols, {NODES} nodes; instruments that answer at once")
    print(f"{'shots a request':>16} {'driver, µs':>11} {'with run, µs':>13} {'of one by one':>14} {'replies':>8}")
    with (
        MagnonicRing(False, bench=str(path), health_s=3600) as ring,
        SessionWriter(tmp_path / "run.h5") as writer,
    ):
        writer(dataclasses.replace(STARTED, symbols=SYMBOLS, nodes=NODES))
        found = {n: overhead(ring, lambda: source.replies + analyzer.replies, writer, n) for n in (1, 8, 16, 64, 500)}
    for shots, took in found.items():
        share = took.run_us / found[1].run_us
        print(f"{shots:16d} {took.driver_us:11.1f} {took.run_us:13.1f} {share:14.1%} {took.replies:8.0f}")
