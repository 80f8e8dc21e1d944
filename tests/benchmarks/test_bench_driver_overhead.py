"""Time a shot costs in the code of drivers and ring alone: every instrument answers at once, from memory."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pymeasure.adapters import Adapter

from instruments import rack
from instruments.bench import Bench
from instruments.keysight_n5182b import KeysightN5182B
from instruments.keysight_n9020a import KeysightN9020A
from instruments.magnonic_ring import MagnonicRing

pytestmark = pytest.mark.benchmark

BENCH = """
[source]
model = "N5182B"
address = "here"
[analyzer]
model = "N9020A"
address = "there"
"""
_NO_ERROR = b'+0,"No error"\n'


class Instant(Adapter):
    """An instrument that answers at once: what it was set to, and noise of the right length as a capture."""

    def __init__(self, identity: bytes, options: bytes) -> None:
        super().__init__()
        self.connection: Any = SimpleNamespace(timeout=2000.0, read_termination="\n")
        self._fixed = {b"*IDN?": identity, b"*OPT?": options, b":STAT:OPER:COND?": b"32", b":STAT:QUES:INT:COND?": b"0"}
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
        pass

    def _take(self, command: bytes) -> None:
        self._text = True
        if command == b":FETC:WAV0?":
            count = round(float(self._set[b":WAV:SRAT"].split()[0]) * float(self._set[b":WAV:SWE:TIME"].split()[0]))
            payload = np.full(2 * count, 0.1, "<f4").tobytes()
            if self._set[b":TRIG:WAV:SOUR"] == b"IMM":
                payload = bytes(len(payload))
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


@pytest.mark.parametrize("shots", [1, 10, 100, 1000])
def test_driver_overhead(shots: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bench.toml"
    path.write_text(BENCH)
    source = Instant(b"Keysight,N5182B,1,1", b"656")
    analyzer = Instant(b"Keysight,N9020A,2,1", b"B85")

    def connect_all(bench: Bench) -> dict[str, Any]:
        return {"source": KeysightN5182B(source), "analyzer": KeysightN9020A(analyzer)}

    monkeypatch.setattr(rack, "connect_all", connect_all)
    drives = np.random.default_rng(0).uniform(0, 1, (shots, 30))
    with MagnonicRing(False, bench=str(path), health_s=3600) as ring:
        ring.forward(drives)
        asked = source.replies + analyzer.replies
        repeats = max(3, 600 // shots)
        best = np.inf
        for _ in range(5):
            began = time.perf_counter()
            for _ in range(repeats):
                ring.forward(drives)
            best = min(best, (time.perf_counter() - began) / repeats)
        replies = (source.replies + analyzer.replies - asked) / (5 * repeats)
    us = 1e6 * best / shots
    print(f"\n{shots:5d} shots of 30 symbols, 4 nodes: {us:8.1f} µs a shot, {replies:.0f} replies a capture")
