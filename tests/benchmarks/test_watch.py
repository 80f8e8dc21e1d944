"""What a watcher costs the run it watches: the same training with and without one, in turns."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
LABPGT = [sys.executable, "-m", "procedures.cli"]
PAIRS = 6
EPOCHS = 90
"""Of 0.13 s each."""


class Cost(NamedTuple):
    """Of one run, in s."""

    wall: float
    """By the run's own clock, from the first shot to the last."""
    overhead: float
    """What is neither in the device nor in writing."""
    processor: float
    """Of the run's process, its start included."""
    watcher: float
    """Processor time of the watcher, its start included."""


def start(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*LABPGT, *arguments, "--json"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def finish(process: "subprocess.Popen[str]") -> tuple[dict[str, float], float]:
    """What the command reported, and the processor time it took, in s."""
    assert process.stdout is not None
    with process.stdout as stream:
        report = json.loads(stream.read())
    _, process.returncode, used = os.wait4(process.pid, 0)
    return report, used.ru_utime + used.ru_stime


def measured(path: Path, watched: bool) -> tuple[Cost, float]:
    """The cost of one run and the hash of what it has learned."""
    watching = start("watch", str(path), "--interval", "0.01") if watched else None
    run, processor = finish(
        start("train", "data/echo-state-ring.toml", f"--set=training.epochs={EPOCHS}", f"--out={path}")
    )
    seen, watcher = (run, 0.0) if watching is None else finish(watching)
    assert seen["parameters_sha256"] == run["parameters_sha256"]
    path.unlink()
    return Cost(run["wall_s"], run["shots"] * run["overhead_us_per_shot"] / 1e6, processor, watcher), run[
        "parameters_sha256"
    ]


@pytest.mark.benchmark
@pytest.mark.timeout(900)
def test_cost_of_a_watcher(tmp_path: Path) -> None:
    measured(tmp_path / "warm-up.h5", watched=False)
    costs: dict[bool, list[Cost]] = {False: [], True: []}
    hashes = set()
    for pair in range(PAIRS):
        # Whoever comes first changes, for the machine may slow down meanwhile.
        for watched in (False, True) if pair % 2 else (True, False):
            cost, sha256 = measured(tmp_path / f"{pair}-{watched}.h5", watched)
            costs[watched].append(cost)
            hashes.add(sha256)
    assert len(hashes) == 1
    alone, watched_costs = np.array(costs[False]), np.array(costs[True])
    print(f"\n{EPOCHS} epochs alone, and with a watcher that looks every 10 ms; {PAIRS} pairs in turns; medians, s")
    print(f"{'':28}{'alone':>8}{'watched':>9}{'ratio':>7}   pair by pair")
    for name in ("wall", "overhead", "processor"):
        i = Cost._fields.index(name)
        one, other = np.median(alone[:, i]), np.median(watched_costs[:, i])
        ratios = " ".join(f"{ratio:.3f}" for ratio in watched_costs[:, i] / alone[:, i])
        print(f"{name + ' time of the run':28}{one:8.2f}{other:9.2f}{other / one:7.3f}   {ratios}")
    watcher = np.median(watched_costs[:, Cost._fields.index("watcher")])
    print(f"{'processor time, the watcher':28}{'':8}{watcher:9.2f}")
