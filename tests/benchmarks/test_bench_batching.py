"""An epoch of 250 samples, two shots each, over VISA with 5 ms a reply: shot by shot, and in captures of many shots."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from instruments.magnonic_ring import MagnonicRing
from instruments.waveforms import SHIFTS
from labpgt.config import Config
from labpgt.events import Event, StepDone
from procedures.train import run
from simulators.virtual_bench.bench import VirtualBench
from tests.virtual_runs import RING, write_bench

pytestmark = pytest.mark.benchmark

LATENCY_S = 5e-3
SAMPLES = 250
SYMBOLS = 8
NETWORK: dict[str, Any] = {
    "task": {"name": "hidden-xor", "samples": 313},
    "network": {"hidden": [32], "symbols": SYMBOLS},
}
TRAINING: dict[str, Any] = {"epochs": 2, "baseline": False, "evaluation": "none", "calibration_shots": 8, "delta": 0.1}


class Epoch:
    """Subscriber that times the second epoch, from its first update to its last, and how busy the bench was."""

    def __init__(self, bench: VirtualBench) -> None:
        self.bench = bench
        self.times: list[tuple[float, float]] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, StepDone) and (event.row["epoch"] == 1 or not self.times):
            self.times.append((time.perf_counter(), self.bench.busy_s))
        elif isinstance(event, StepDone):
            self.times[0] = time.perf_counter(), self.bench.busy_s

    def measured(self) -> tuple[float, float]:
        """Seconds an epoch, and share of them in which an instrument was at work."""
        (began, busy), (ended, until) = self.times[0], self.times[-1]
        return ended - began, (until - busy) / (ended - began)


def epoch(bench: VirtualBench, folder: Path, batch: int, most: int) -> tuple[float, float, str]:
    config = Config.model_validate({**NETWORK, "training": {**TRAINING, "batch": batch}})
    watch = Epoch(bench)
    device = MagnonicRing(bench=write_bench(bench, folder / "bench.toml"), batch=most)
    last = run(config, folder / f"run-{batch}-{most}.h5", [watch], device=device)
    return *watch.measured(), last.parameters_sha256


def played(device: MagnonicRing, shots: int) -> float:
    """Share of a capture in which shots are played or the ring forgets them, the rest being lead-in and pilot."""
    settings = device.settings()
    symbol_s, gap_s = (float(settings[name].value) for name in ("symbol_s", "gap_s"))
    needed = shots * (SYMBOLS * symbol_s + gap_s)
    pilot = (float(settings["pilot_symbols"].value) + SHIFTS - 1) * symbol_s + gap_s
    return needed / (needed + float(settings["lead_in_used_s"].value) + pilot)


def test_batching(tmp_path: Path) -> None:
    rows = []
    with VirtualBench(settings=RING, latency_s=LATENCY_S) as bench:
        single = {}
        for batch in (4, 16, 32, SAMPLES):
            for most in (1, 0):
                if most and batch not in (4, 16):
                    continue  # shot by shot the size of a step makes no difference
                seconds, busy, parameters = epoch(bench, tmp_path, batch, most)
                if most:
                    single[batch] = seconds, parameters
                elif batch in single:
                    assert parameters == single[batch][1], "the result must not depend on it"
                rows.append((batch, "shot by shot" if most else "batched", seconds, busy))
        drives = np.random.default_rng(0).uniform(0, 1, (2 * SAMPLES, SYMBOLS))
        with MagnonicRing(bench=write_bench(bench, tmp_path / "bench.toml")) as device:
            device.forward(drives)
            share = [played(device, 2 * shots) for shots in (4, 16, 32, SAMPLES)]
            began, busy = time.perf_counter(), bench.busy_s
            device.forward(drives)
            whole = time.perf_counter() - began
            rows.append((SAMPLES, "one capture, no training", whole, (bench.busy_s - busy) / whole))
    slowest = max(seconds for seconds, _ in single.values())
    print(f"\n{SAMPLES} samples, two shots each, {1e3 * LATENCY_S:g} ms a reply")
    print(f"{'samples an update':>18} {'':26} {'s an epoch':>10} {'ratio':>7} {'bench at work':>14}")
    for batch, how, seconds, busy in rows:
        print(f"{batch:18} {how:26} {seconds:10.3f} {slowest / seconds:7.1f} {busy:14.0%}")
    print("share of a capture that its shots and their gaps need, by samples an update:", *(f"{s:.0%}" for s in share))
