"""A sweep as one object and as a table: median, lowest and highest over the seeds."""

import statistics
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from labpgt.events import Status
from procedures.sweep.index import RESULTS
from procedures.sweep.plan import SEED
from procedures.sweep.run import Sweep
from procedures.text import printable

_FAILED = (Status.FAILED, Status.CRASHED)
"""How a run stands that could not be brought to an end; those that were not gone on with among them."""
_SHOWN = {
    "train_loss": ("training loss", "{:.4f}"),
    "test_loss": ("test loss", "{:.4f}"),
    "test_accuracy": ("test accuracy", "{:.1%}"),
    "shots": ("shots", "{:,.0f}"),
}


def report(done: Sweep) -> dict[str, Any]:
    """Return what `--json` prints."""
    combinations: dict[tuple[tuple[str, str], ...], list[dict[str, Any]]] = {}
    for run in done.runs:
        values = tuple((key, value) for key, value in run.values.items() if key != SEED)
        rows = combinations.setdefault(values, [])
        if run.path.name in done.rows:
            rows.append(done.rows[run.path.name])
    statuses = [row["status"] for row in done.rows.values()]
    return {
        "status": str(done.status),
        "reason": done.reason,
        "folder": str(done.index.parent),
        "index": str(done.index),
        "runs": len(done.runs),
        "done": statuses.count(Status.SUCCESS),
        "done_before": done.found_done,
        "failed": sum(status in _FAILED for status in statuses),
        "seeds": sorted({run.seed for run in done.runs}),
        "combinations": [_combined(dict(values), rows) for values, rows in combinations.items()],
        "wall_s": done.wall_s,
    }


def _combined(values: dict[str, str], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Sum up the runs of one combination; only those that ended in success count."""
    good = [row for row in rows if row["status"] == Status.SUCCESS]
    failed = sum(row["status"] in _FAILED for row in rows)
    summed: dict[str, Any] = {"values": values, "done": len(good), "failed": failed}
    for name in RESULTS:
        found = [row[name] for row in good if row[name] is not None]
        spread = {"median": statistics.median(found), "min": min(found), "max": max(found)} if found else None
        summed[name] = spread
    return summed


def print_summary(console: Console, description: Mapping[str, Any]) -> None:
    """Print the table, a line a combination."""
    if not console.is_terminal:
        console.width = 1000  # a pipe has no width, and a broken line cannot be searched
    combinations = description["combinations"]
    shown = [name for name in _SHOWN if any(c[name] is not None for c in combinations)]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for key in combinations[0]["values"]:
        table.add_column(Text(printable(key)), no_wrap=True)
    table.add_column("runs", no_wrap=True)
    for name in shown:
        table.add_column(f"{_SHOWN[name][0]}: median (min to max)")
    for combined in combinations:
        runs = f"{combined['done']}" + (f", {combined['failed']} failed" if combined["failed"] else "")
        cells = [*(printable(value) for value in combined["values"].values()), runs]
        cells += [_spread(combined[name], _SHOWN[name][1]) for name in shown]
        table.add_row(*map(Text, cells))
    console.print(table)
    lines = {name: description[name] for name in ("status", "reason", "folder", "index")}
    lines["runs"] = (
        f"{description['done']} of {description['runs']} done, {description['done_before']} of them before, "
        f"{description['failed']} failed"
    )
    lines["wall time"] = f"{description['wall_s']:.1f} s"
    for name, value in lines.items():
        console.print(printable(f"{name:<12}{value}"), highlight=False, markup=False, soft_wrap=True)


def _spread(found: Mapping[str, float] | None, form: str) -> str:
    if found is None:
        return "-"
    median, low, high = (form.format(found[name]) for name in ("median", "min", "max"))
    return median if low == high else f"{median} ({low} to {high})"
