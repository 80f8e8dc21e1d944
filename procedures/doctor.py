"""Is this installation in order, and what to do if not."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from labpgt.checks import collect, collect_bench, foreign_packages
from labpgt.registry import registered
from procedures.text import printable

LIBRARIES = ("labpgt", "numpy", "torch", "h5py", "numba", "scikit-learn", "scipy", "pydantic", "pymeasure", "PyVISA")


def doctor(bench: Path | None = None) -> dict[str, Any]:
    """Examine versions, devices and rooms, and a bench if given; return plain values.

    `ok` says whether nothing needs mending.
    """
    devices = []
    for name, entry in sorted(registered().items()):
        try:
            entry.load()
            error = ""
        except Exception as problem:
            error = f"{type(problem).__name__}: {problem}"
        devices.append({"name": name, "class": entry.value, "error": error})
    checks = [vars(check) for check in collect()]
    bench_checks = [] if bench is None else [vars(check) for check in collect_bench(bench)]
    foreign = foreign_packages()
    versions = {name: _version(name) for name in LIBRARIES}
    return {
        "ok": all(versions.values())
        and all(c["ok"] for c in (*checks, *bench_checks))
        and not foreign
        and not any(d["error"] for d in devices),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "versions": versions,
        "devices": devices,
        "checks": checks,
        "bench": None if bench is None else str(bench),
        "bench_checks": bench_checks,
        "foreign_packages": foreign,
    }


def print_report(report: dict[str, Any], console: Console) -> None:
    """Print what `doctor` returned, for reading."""
    console.print(f"Python {report['python']} on {report['platform']}, {report['cores']} cores", highlight=False)
    table = Table("part", "state", "detail", box=None, pad_edge=False)
    for name, found in report["versions"].items():
        table.add_row(name, _state(bool(found)), found or "not installed")
    for device in report["devices"]:
        table.add_row(
            f"device {device['name']}", _state(not device["error"]), escape(device["error"] or device["class"])
        )
    for check in (*report["checks"], *report["bench_checks"]):
        table.add_row(check["name"], _state(check["ok"]), _shown(check["detail"]))
    if not console.is_terminal:
        console.width = 1000  # a pipe has no width, and a cell broken at 80 columns cannot be searched
    console.print(table)
    for name, found in report["versions"].items():
        if not found:
            console.print(f"[red]mend:[/red] {name}: install labpgt again", highlight=False, soft_wrap=True)
    for problem in report["foreign_packages"]:
        console.print(f"[red]mend:[/red] {escape(problem)}", highlight=False, soft_wrap=True)
    for check in (*report["checks"], *report["bench_checks"]):
        if not check["ok"]:
            console.print(
                f"[red]mend:[/red] {_shown(check['name'] + ': ' + check['advice'])}", highlight=False, soft_wrap=True
            )
    if report["ok"]:
        console.print("Everything is in order.")


def _shown(text: str) -> str:
    """Return a text for rich, whatever an instrument has answered."""
    return escape(printable(text))


def _state(ok: bool) -> str:
    return "[green]ok[/green]" if ok else "[red]failed[/red]"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
