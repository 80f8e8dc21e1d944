"""The LLG ring beside its peers, magnum.np and batched torch, and beside the peak of the processor."""

import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from labpgt.errors import LabpgtError
from labpgt.registry import make_device
from simulators.llg import SEGMENTS, TERMS, WIDTH, Drive, advance, aligned, film_of, record, tile_at_rest, wiring_of
from simulators.llg_ring import LLGRing
from simulators.strip import Loop, Strip
from tests.benchmarks import peer_magnumnp, peer_torch
from tests.benchmarks.flop_peak import FlopPeak
from tests.benchmarks.peer_magnumnp import closed_ring, nrmse, pulses

SYMBOLS, NODES = 30, 10
SYMBOL_S = 6.3e-9
CELLS = Strip().cells
STEPS = SYMBOLS * 630
"""Of 10 ps in a shot."""


def flops_per_cell(terms: int = TERMS, segments: int = SEGMENTS, cells: int = CELLS) -> float:
    """Flops of one right-hand side at one cell, counted from `_back`, `_forth` and the scans; an FMA counts 2.

    Of each exponential, along x and along z, going back and going forth: one FMA for its field, one for the
    recursion, one for the sum over the segment. Besides, in `_forth`: nearest neighbours and own field 5 each along x
    and z, 3 along y; w = h + alpha m x h 15; w x m 9; the turn's share 1; the running total 6; the next stage 7, or,
    once in four, 10 for bringing |m| back to 1. A scan over the lanes is one FMA a doubling, per exponential and
    component, back and forth, shared by the rows of a segment. Antennas, feedback and what is not arithmetic (loads,
    shuffles) do not count.
    """
    exponentials = 2 * 2 * terms * 3 * 2
    torque = 5 + 5 + 3 + 15 + 9 + 1 + 6 + (3 * 7 + 10) / 4
    scans = 2 * 2 * terms * 2 * ((segments > 2) + (segments > 3) + (segments > 5)) / -(-cells // segments)
    return exponentials + torque + scans


SHOT_FLOPS = STEPS * 4 * CELLS * flops_per_cell()


def drives(shots: int) -> NDArray[np.float64]:
    return np.random.default_rng(0).uniform(0, 1, (shots, SYMBOLS))


def ring(threads: int) -> LLGRing:
    return LLGRing(n_nodes=NODES, symbol_s=SYMBOL_S, threads=threads, noise=0.0)


def seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


@cache
def ours_ms(batch: int, threads: int, rounds: int = 3) -> float:
    """Time of a shot, in ms; the least of so many calls after a warm-up."""
    with ring(threads) as device:
        device.forward(drives(1))
        return min(seconds(lambda: device.forward(drives(batch))) for _ in range(rounds)) / batch * 1e3


def row(name: str, *figures: tuple[float | str, str]) -> None:
    """Print a name and figures with their targets."""
    print(f"{name:44}" + "".join(f"{v if isinstance(v, str) else f'{v:.4g}':>14}{target:>14}" for v, target in figures))


@pytest.mark.benchmark
@pytest.mark.timeout(1200)
def test_magnumnp() -> None:
    pytest.importorskip("magnumnp", reason="optional extra `peers`")
    error = peer_magnumnp.compare()
    assert error is not None
    print(
        f"\nmagnum.np, closed ring at 0.8 of the threshold; a shot is {STEPS} steps of 10 ps, measured on 100, scaled"
    )
    row("", ("", "target"))
    row("NRMSE of the pick-up over 2000 steps", (error, "<= 1e-3"))
    fastest = np.inf
    for dtype in (torch.float32, torch.float64):
        for threads in (1, 2):
            taken = peer_magnumnp.seconds_per_step(dtype, threads)
            fastest = min(fastest, taken)
            row(f"{dtype}, {threads} thread(s), ms a step".removeprefix("torch."), (1e3 * taken, ""))
    row("shot in magnum.np, the fastest, s", (fastest * STEPS, ""))
    for batch, threads in ((1, 1), (64, 1), (64, 2)):
        ours = ours_ms(batch, threads)
        row(f"ours, batch {batch}, {threads} thread(s), ms a shot", (ours, ""))
        row("  times faster", (fastest * STEPS * 1e3 / ours, ""))
    assert np.isfinite(error)


@pytest.mark.benchmark
@pytest.mark.timeout(1200)
@pytest.mark.filterwarnings("ignore")  # of torch's compiler
def test_batched_torch() -> None:
    strip, loop = closed_ring()
    compiled = peer_torch.compiles()
    drive = pulses(500, shots=64)
    peer = peer_torch.TorchRing(strip, loop, 10e-12, compiled)
    error = nrmse(peer.run(drive), record(strip, loop, 10e-12, drive, np.float32))
    how = "compiled" if compiled else "torch.compile does not work here"
    print(f"\nbatched torch, {how}; batch 64, float32; {STEPS} steps, measured on 500, scaled; target of the ratio: 10")
    row("NRMSE, ours to torch, 500 steps", (error, ""))
    times = {threads: peer_torch.seconds_per_step(peer, drive, threads) * STEPS / 64 * 1e3 for threads in (1, 2)}
    for threads, taken in times.items():
        ours = ours_ms(64, threads)
        row(f"{threads} thread(s): torch, ours, ms a shot", (taken, ""), (ours, ""))
        row("  ratio", (taken / ours, ">= 10"))
    best = min(times[2], times[1] / 2)
    row("two processes of one thread at best, ms a shot", (times[1] / 2, ""))
    row("  ratio of the best of torch to ours", (best / ours_ms(64, 2), ">= 10"))


@pytest.mark.benchmark
@pytest.mark.timeout(1200)
def test_speed_and_share_of_the_peak() -> None:
    peak = FlopPeak()
    print(f"\nours, {SYMBOLS} symbols of {SYMBOL_S * 1e9:g} ns, {NODES} nodes, float32, {STEPS} steps of 10 ps")
    print(f"{flops_per_cell():.1f} flops a cell and right-hand side; peak of FMA measured in turn with the kernel")
    print(f"{'threads':>8}{'batch':>8}{'ms a shot':>12}{'GFlop/s':>12}{'peak':>12}{'share':>8}")
    for threads in (1, 2):
        with ring(threads) as device:
            device.forward(drives(1))
            for batch in (1, 2, 16, 64):
                drive = drives(batch)
                taken, highest = np.inf, 0.0
                for _ in range(3 if batch == 64 else 6):
                    highest = max(highest, peak.measure(threads))
                    taken = min(taken, seconds(lambda drive=drive: device.forward(drive)))
                rate = batch * SHOT_FLOPS / taken
                print(
                    f"{threads:8}{batch:8}{1e3 * taken / batch:12.2f}{rate / 1e9:12.1f}{highest / 1e9:12.1f}"
                    f"{rate / highest:8.1%}",
                    flush=True,
                )
    print(f"A tile holds {WIDTH // SEGMENTS} shots: a batch of 1 or 2 leaves part of it empty, and one thread idle.")


def whole_shot(strip: Strip, loop: Loop, step_s: float, precision: Any) -> NDArray[np.float64]:
    """Pick-up of a shot as the ring drives it, every 10 ps; the switch opens and closes between steps."""
    per_symbol = round(SYMBOL_S / step_s)
    steps = SYMBOLS * per_symbol
    film, wiring = film_of(strip, step_s, precision), wiring_of(strip, loop.delay_s, step_s, precision)
    tile = tile_at_rest(film, wiring, steps)
    symbol, phase = np.divmod(np.arange(steps), per_symbol)
    carrier = np.sin(np.pi * 3.205e9 * step_s * np.arange(2 * steps + 1)).repeat(WIDTH).astype(precision)
    field = 4200 / strip.saturation_magnetisation_a_per_m
    drive = Drive(
        cosine=aligned(carrier),
        sine=aligned(np.zeros_like(carrier)),
        gate=(field * drives(1)[0][symbol] * (phase < per_symbol / 2)).astype(precision),
        in_phase=aligned(np.ones(WIDTH, precision)),
        quadrature=aligned(np.zeros(WIDTH, precision)),
        steepness=aligned(np.full(WIDTH, loop.gain / loop.saturation, precision)),
        saturation=aligned(np.full(WIDTH, loop.saturation, precision)),
    )
    advance(film, wiring, tile, drive, None)
    trace = tile.trace.reshape(-1, WIDTH)[wiring.history :, 0]
    return trace[:: round(10e-12 / step_s)].astype(np.float64)


@pytest.mark.benchmark
@pytest.mark.timeout(600)
def test_single_precision_at_10_ps_beside_double_at_2_5_ps() -> None:
    print(f"\npick-up over a shot of {SYMBOLS} symbols, NRMSE to double precision at 2.5 ps")
    row("gain / threshold", ("f32 10 ps", "target"), ("f64 10 ps", ""))
    for gain in (0.2, 0.8):
        strip, loop = closed_ring(gain)
        reference = whole_shot(strip, loop, 2.5e-12, np.float64)
        single, double = (nrmse(whole_shot(strip, loop, 10e-12, p), reference) for p in (np.float32, np.float64))
        row(f"{gain:g}", (single, "<= 2e-3"), (double, ""))


@pytest.mark.benchmark
@pytest.mark.timeout(600)
def test_envelope_ring() -> None:
    settings = {"n_nodes": NODES, "symbol_s": SYMBOL_S, "noise": 0.0}
    try:
        device: Any = make_device("envelope-ring", settings)
    except LabpgtError as error:
        pytest.skip(f"envelope-ring: {error}")
    drive = drives(64)
    same = {**settings, "drive_field_a_per_m": device.config.drive_field_a_per_m}
    with device, LLGRing(**same) as llg:
        answer = device.forward(drive)
        taken = min(seconds(lambda: device.forward(drive)) for _ in range(3))
        reference = llg.forward(drive)
    print("\nenvelope ring, batch 64")
    row("ms a shot", (1e3 * taken / 64, "<= 0.1"))
    row("correlation with the LLG ring", (float(np.corrcoef(answer.ravel(), reference.ravel())[0, 1]), ">= 0.999"))
