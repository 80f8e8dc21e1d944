"""Injects faults of every kind into runs on the virtual bench, and prints what came of them, by kind.

python -m tests.fault_table --runs 1000
"""

import faulthandler
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from simulators.virtual_bench.bench import VirtualBench
from simulators.virtual_bench.faults import KINDS
from tests.bench_faults import FaultyBench, Outcome, draw
from tests.virtual_runs import RING

HANG_S = 120.0
"""A run that takes as long hangs: its stack is printed, and that ends the table."""


def main(
    runs: Annotated[int, typer.Option(help="Runs, each with at least one fault; kinds take turns.")] = 1000,
    most: Annotated[int, typer.Option(help="Most faults in one run.")] = 3,
    seed: Annotated[int, typer.Option(help="Seed of kinds, moments and durations.")] = 0,
) -> None:
    """Inject faults, and demand: no hang, no wrong shot taken for good, RF off, the same result in the end."""
    random = np.random.default_rng(seed)
    console = Console(stderr=True)
    outcomes: dict[str, list[Outcome]] = defaultdict(list)
    began = time.monotonic()
    columns = (TextColumn("faults"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        tempfile.TemporaryDirectory() as name,
        VirtualBench(settings=RING) as bench,
        Progress(*columns, console=console) as progress,
    ):
        faulty = FaultyBench(bench, Path(name))
        task = progress.add_task("", total=runs)
        for i in range(runs):
            kind = KINDS[i % len(KINDS)]
            faulthandler.dump_traceback_later(HANG_S, exit=True)
            found = faulty.outcome(draw(random, kind, int(random.integers(1, most + 1))))
            faulthandler.cancel_dump_traceback_later()
            outcomes[kind].append(found)
            if not (found.rf_off and found.same and not found.wrong):
                console.print(f"run {i}: {found}", soft_wrap=True)
            progress.advance(task)
    table = Table(title=f"{runs} runs in {time.monotonic() - began:.0f} s, seed {seed}")
    for column in (
        "first fault",
        "runs",
        "faults",
        "struck",
        "done",
        "failed",
        "refused",
        "wrong shots",
        "RF off",
        "same",
    ):
        table.add_column(column, justify="left" if column == "first fault" else "right")
    everything = [outcome for kind in outcomes for outcome in outcomes[kind]]
    for kind, some in [*sorted(outcomes.items()), ("all", everything)]:
        ends = [o.end for o in some]
        table.add_row(
            kind,
            *(str(len(some)), str(sum(len(o.injected) for o in some)), str(sum(o.struck for o in some))),
            *(str(ends.count(end)) for end in ("success", "failed", "refused")),
            str(sum(o.wrong for o in some)),
            f"{sum(o.rf_off for o in some)} of {len(some)}",
            f"{sum(o.same for o in some)} of {len(some)}",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    typer.run(main)
