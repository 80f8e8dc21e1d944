"""The state of an installation, for `labpgt doctor`: versions, devices, and what each room finds wrong with itself."""

import platform
import sys
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import psutil
from rich.console import Console
from rich.text import Text

from labpgt.checks import collect, foreign_packages, installed

RESERVOIRS_GROUP = "labpgt.reservoirs"

_DISTRIBUTIONS = ("labpgt", "numpy", "torch", "h5py", "numba", "scikit-learn")


def doctor() -> dict[str, Any]:
    """Examine this installation and return a report that `json.dumps` takes.

    Keys: `ok` (nothing is wrong); `versions` (name to version, None when not installed); `platform` (`system`,
    `machine`, `cores` there are, `threads` that numerical libraries start by default: the cores this process may use,
    or OMP_NUM_THREADS); `devices`, `checks`: lists of `name`, `ok`, `detail`, `advice`; `foreign_packages`: messages.
    Never raises: what cannot be examined is a failed check. Takes no shot, opens no device, imports no torch.
    """
    versions = [installed(name) for name in _DISTRIBUTIONS]
    hdf5 = _hdf5()
    devices = [_device(entry) for entry in sorted(metadata.entry_points(group=RESERVOIRS_GROUP), key=_name)]
    checks = [check for check in [*versions, hdf5] if not check.ok] + collect()
    foreign = foreign_packages()
    return {
        "ok": all(check.ok for check in [*devices, *checks]) and not foreign,
        "versions": {
            "python": platform.python_version(),
            **{check.name: check.detail if check.ok else None for check in [*versions, hdf5]},
        },
        "platform": {
            "system": platform.platform(),
            "machine": platform.machine(),
            "cores": psutil.cpu_count(logical=False),
            "threads": _threads(),
            "python": sys.executable,
        },
        "devices": [vars(check) for check in devices],
        "checks": [vars(check) for check in checks],
        "foreign_packages": foreign,
    }


def print_report(report: Mapping[str, Any], console: Console) -> None:
    """Print a report of `doctor` for a person, on a terminal or in a pipe: what there is, then what to mend."""
    # A pipe has no width, and a cell cut at 80 columns helps nobody.
    width = None if console.is_terminal else 1000
    facts = {**report["versions"], **report["platform"]}
    console.print(
        _table("Installation", ((name, str(value or "not installed")) for name, value in facts.items())), width=width
    )
    for title, key in (("Devices", "devices"), ("Checks", "checks")):
        rows = ((row["name"], "ok" if row["ok"] else "FAILED", row["detail"]) for row in report[key])
        console.print(_table(title, rows), width=width)
    problems = [
        (row["name"], row["advice"] or row["detail"])
        for row in [*report["devices"], *report["checks"]]
        if not row["ok"]
    ]
    problems += [("packages", message) for message in report["foreign_packages"]]
    for name, advice in problems:
        console.print(Text(f"! {name}: {advice}", style="bold red"), soft_wrap=True)
    if report["ok"]:
        console.print(Text("Everything is in order.", style="bold green"))
