"""Kills runs of every estimator at random moments through the command line, resumes them, and prints a table.

python -m tests.kill_table --kills 200
"""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tests.kills import ESTIMATORS, Outcome, Reference, kill_and_resume, reference, start_anew

CHAIN = 10
CHAIN_LENGTH = 4
"""A run that is killed so often is so many times as long, so that it lives to see it."""


def main(
    kills: Annotated[int, typer.Option(help="Runs killed once, over all estimators.")] = 200,
    chains: Annotated[int, typer.Option(help=f"Runs an estimator killed {CHAIN} times in a row.")] = 1,
    epochs: Annotated[int, typer.Option(help="Length of a run.")] = 120,
    jobs: Annotated[int, typer.Option(help="Runs at a time.")] = 2,
    seed: Annotated[int, typer.Option(help="Seed of the moments.")] = 0,
) -> None:
    """Kill runs at random moments, resume each, and compare it with the run that was never killed."""
    random = np.random.default_rng(seed)
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(jobs) as pool:
        folder = Path(name)
        long = epochs * CHAIN_LENGTH

        def wholes(length: int) -> dict[str, Reference]:
            made = pool.map(lambda e: reference(start_anew, folder / f"{e}-{length}", e, length), ESTIMATORS)
            return dict(zip(ESTIMATORS, made, strict=True))

        once, often = wholes(epochs), wholes(long) if chains else {}
        work: list[tuple[str, Path, Reference, list[float]]] = []
        for i in range(kills):
            estimator = ESTIMATORS[i % len(ESTIMATORS)]
            work.append((estimator, folder / f"kill-{i}", once[estimator], [float(random.uniform(0, 0.99))]))
        for i in range(chains * len(ESTIMATORS)):
            estimator = ESTIMATORS[i % len(ESTIMATORS)]
            # Half of them strike while the run is being resumed: while it starts, copies, goes through the record.
            moments = sorted(random.uniform(0, 0.9, CHAIN).tolist())
            moments[1::2] = (-random.uniform(1, 4, CHAIN // 2)).tolist()
            work.append((f"{estimator}, {CHAIN} in a row", folder / f"chain-{i}", often[estimator], moments))
        columns = (TextColumn("killing and resuming"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        outcomes: dict[str, list[Outcome]] = {}
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("", total=len(work))
            for (label, *_), outcome in zip(
                work, pool.map(lambda w: kill_and_resume(start_anew, *w[1:]), work), strict=True
            ):
                outcomes.setdefault(label, []).append(outcome)
                progress.advance(task)
    table = Table("run", "runs", "kills", "acknowledged shots lost", "resumed", "same hash", "every shot the same")
    for label, found in [*outcomes.items(), ("all", [o for some in outcomes.values() for o in some])]:
        counts = (sum(o.resumed for o in found), sum(o.same_hash for o in found), sum(o.verified for o in found))
        table.add_row(
            label,
            str(len(found)),
            str(sum(o.kills for o in found)),
            str(sum(o.lost for o in found)),
            *(f"{count} of {len(found)}" for count in counts),
        )
    Console(width=120).print(table)
    for label, found in outcomes.items():
        for outcome in found:
            for problem in outcome.problems:
                console.print(f"{label}: {problem}")
    if not all(o.good for some in outcomes.values() for o in some):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
