"""Small runs on the virtual bench, beside the same simulated ring used directly."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labpgt.config import Config
from labpgt.device import ReservoirWrapper
from simulators.envelope_ring import EnvelopeRing
from simulators.virtual_bench.bench import VirtualBench
from tests.runs import configured

RING: Mapping[str, Any] = {"symbol_s": 40e-9, "duty": 0.5, "n_nodes": 4, "noise": 0.0}
"""The ring behind the bench; without noise, so that a shot has one right answer whenever it is taken."""
FULL_SCALE_V = 0.25
"""Analyser volts that count as a response of 1."""
RANGE_V = float(np.sqrt(2 * 50 * 1e-3))
"""Peak volts of 0 dBm, the default reference level, at 50 ohms."""


class Quantised(ReservoirWrapper):
    """The envelope ring behind the bench, used directly, with what the bench states of its quantisation.

    Drives are codes of 16 bits with sign, the analyser's converter has 16 bits over its range, its words are float32.
    """

    def __init__(self, **settings: Any) -> None:
        ring = {**RING, **settings}
        super().__init__(EnvelopeRing(**{**ring, "n_nodes": 2 * ring["n_nodes"], "detector": "iq"}))

    @property
    def n_nodes(self) -> int:
        return self.inner.n_nodes // 2

    def seek(self, shot: int) -> None:
        self.inner.seek(shot)  # type: ignore[attr-defined]

    def forward(self, drives: NDArray[np.float64]) -> NDArray[np.float64]:
        sent = np.rint(32767 * np.asarray(drives)) / 32767
        step = 2 * RANGE_V / 2**16
        volts = np.rint(self.inner.forward(sent) * FULL_SCALE_V / step) * step
        words = volts.astype(np.float32).astype(np.float64) / FULL_SCALE_V
        half = self.n_nodes
        return np.abs(words[..., :half] + 1j * words[..., half:])


def small(**training: Any) -> Config:
    """Iris through four symbols: 120 pairs, and nothing measured besides."""
    return configured(training={"patience_s": 8.0, "batch": 12, "calibration_shots": 12, **training})


def write_bench(bench: VirtualBench, path: Path, change: Callable[[str], str] = lambda text: text) -> str:
    """Write the file that describes the bench; return its path."""
    path.write_text(change(bench.config_text()))
    return str(path)
