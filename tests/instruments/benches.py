"""A virtual bench to try the ring's drivers on, with all that went over its wires."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from instruments.magnonic_ring import MagnonicRing
from simulators.envelope_ring import EnvelopeRing
from simulators.virtual_bench.bench import VirtualBench

FULL_SCALE_V = 0.25
SYMBOL_S = 40e-9


class TriedBench:
    """A virtual bench whose ring has no readout noise, its file, and the messages of every instrument."""

    def __init__(self, folder: Path, kind: str = "envelope", **options: Any) -> None:
        settings = {"noise": 0.0, **options.pop("settings", {})}
        self.sent: list[tuple[str, bytes]] = []
        """Role and bytes of every message."""
        self.replies: list[tuple[str, bytes]] = []
        self.meanwhile: Callable[[str, bytes], None] = lambda role, message: None
        """Called in the bench's thread before a message is carried out."""
        self.virtual = VirtualBench(kind, settings=settings, watch=self._hear, **options)
        self.path = folder / "bench.toml"

    def _hear(self, role: str, way: str, data: bytes) -> None:
        (self.sent if way == "<" else self.replies).append((role, data))
        if way == "<":
            self.meanwhile(role, data)

    def open(self) -> None:
        self.virtual.open()
        self.write()

    def write(self, change: Callable[[str], str] = lambda text: text) -> None:
        """Write the bench's file, with one wait for all, enough for a ring that is solved at first, changed."""
        text = self.virtual.config_text()
        for usual in ("timeout_s = 2.0\n", "timeout_s = 20.0\n"):
            assert usual in text
        text = text.replace("timeout_s = 20.0\n", "").replace("timeout_s = 2.0", "timeout_s = 10.0")
        self.path.write_text(change(text))

    def ring(self, **settings: Any) -> MagnonicRing:
        """A ring on this bench, without a guard."""
        return MagnonicRing(False, bench=str(self.path), **settings)

    def forget(self) -> None:
        """Forget faults and messages."""
        self.virtual.faults.clear()
        self.sent.clear()
        self.replies.clear()

    def unplug(self, role: str) -> None:
        """Let nobody reach an instrument until it is plugged in again."""
        server = self.virtual._servers[role]

        async def unplug() -> None:
            await server._unlisten()
            server._cut_all()

        self.virtual._ask(unplug())

    def plug_in(self, role: str) -> None:
        """Let an instrument listen again where it did, if it does not."""
        server = self.virtual._servers[role]
        if server._server is None:
            self.virtual._ask(server.start())

    @property
    def rf_on(self) -> bool:
        return bool(self.virtual.instruments["source"].rf_on)

    def sent_to(self, role: str) -> bytes:
        """All that was sent to an instrument."""
        return b"".join(data for to, data in self.sent if to == role)


def quantised(drives: NDArray[np.float64], encoding: str = "amplitude") -> NDArray[np.float64]:
    """The drives that a source of 16 bit plays: each of its two codes is rounded."""
    if encoding != "phase":
        return np.rint(32767 * drives) / 32767
    codes = np.rint(32767 * np.cos(np.pi * drives)) + 1j * np.rint(32767 * np.sin(np.pi * drives))
    return np.angle(codes) / np.pi


def expected(
    drives: NDArray[np.float64],
    *,
    n_nodes: int = 4,
    readout: str = "envelope",
    encoding: str = "amplitude",
    tuning: Mapping[str, NDArray[np.float64]] | None = None,
    **settings: Any,
) -> NDArray[np.float64]:
    """What the ring answers as a device of its own, with the bench's stated quantisation.

    Drives in steps of 1/32767, volts in steps of a 16 bit converter with a range of 0 dBm, and those as float32.
    """
    windows = n_nodes if readout == "iq" else 2 * n_nodes
    options = {"symbol_s": SYMBOL_S, "noise": 0.0, "encoding": encoding, **settings}
    with EnvelopeRing(n_nodes=windows, detector="iq", **options) as ring:
        values = ring.forward_tuned(quantised(drives, encoding), tuning or {}) * FULL_SCALE_V
    step = 2 * np.sqrt(2 * 50 * 1e-3) / 2**16
    volts = (np.round(values / step) * step).astype(np.float32).astype(np.float64)
    half = windows // 2
    if readout == "iq":
        return volts / FULL_SCALE_V
    return np.abs((volts[..., :half] + 1j * volts[..., half:]) / FULL_SCALE_V)
