"""`labpgt bench`: the instruments of a bench, who they are, how they are set, and whether the ring is well."""

import json
import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labpgt.errors import DeviceFault, InputError
from labpgt.units import worded

if TYPE_CHECKING:
    from rich.console import RenderableType

_SHORTEST_S = 0.1
_PATIENCE_S = 10.0
"""Longest look without --watch: connecting may take a while."""


def bench(
    file: Annotated[Path, typer.Argument(metavar="BENCH.toml", help="The bench's file.", show_default=False)],
    watch: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Look again and again, until Ctrl-C; with --json also until a pipe to standard input ends.",
            show_default=False,
        ),
    ] = None,
    health: Annotated[
        bool,
        typer.Option("--health", help="Open the ring as a run would, RF on for a moment, and say how well it is."),
    ] = False,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="device.KEY=VALUE",
            help="With --health: change one setting of the ring; may be repeated.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on standard output; with --watch a line at each look.")
    ] = False,
) -> None:
    """Show the instruments of a bench: are they there, are they the right ones, is RF on, how are they set?

    Questions only: nothing is set. While a run has the bench nothing is asked, and a run is never kept waiting.

    With --health the ring is opened as `magnonic-ring` would be, with its guard, and left safe: noise floor, margin to
    auto-oscillation, pilot shot. A bench that a run has is refused then.

    Examples:

    - `labpgt bench bench.toml --watch 1`

    - `labpgt bench bench.toml --health --set device.attenuation_db=12`

    Exit codes: 0 every instrument is there or in use, 2 the file describes no bench, 3 an instrument is not as it
    should be.
    """
    if watch is not None and not watch >= _SHORTEST_S:
        raise InputError(f"--watch {watch:g}: expected {_SHORTEST_S:g} s or more")
    if overrides and not health:
        raise InputError(f"--set {overrides[0]}: changes the ring that --health opens; give --health as well")
    if health and watch is not None:
        raise InputError("--health opens the ring once; leave --watch out")
    if health:
        _report_health(file, overrides or [], as_json)
        return
    from instruments.bench import load_bench
    from instruments.looking import BenchWatch

    watching = BenchWatch(load_bench(file), file)
    if watch is None:
        report = watching.look(_PATIENCE_S)
        watching.let_go()
        if as_json:
            _print_line(report)
        else:
            from rich.console import Console

            Console().print(_table(report))
        if not all(instrument["ok"] for instrument in report["instruments"]):
            raise typer.Exit(DeviceFault.exit_code)
    elif as_json:
        _stop_with_input()
        _until_stopped(watching, watch, _print_line)
    else:
        from rich.live import Live

        with Live(auto_refresh=False) as live:
            _until_stopped(watching, watch, lambda report: live.update(_table(report), refresh=True))


def _report_health(file: Path, overrides: list[str], as_json: bool) -> None:
    from instruments.bench import load_bench
    from labpgt.config import load_config
    from labpgt.registry import make_device

    name = load_bench(file).name
    device = load_config(
        None, ["device.name=magnonic-ring", *overrides, f"device.bench={json.dumps(str(file))}"]
    ).device
    ring: Any = make_device(device.name, device.settings)
    if not hasattr(ring, "health"):
        raise InputError(f"--set device.name={device.name}: expected a device on the bench, magnonic-ring or loopback")
    with ring:
        found = ring.health()
    if as_json:
        # What was not found is null: JSON has no NaN.
        values = {
            key: {"value": value if value == value else None, "unit": unit} for key, (value, unit) in found.items()
        }
        _print_line({"bench": name, "file": str(file), "device": device.name, "health": values})
        return
    for key, (value, unit) in found.items():
        sys.stdout.write(f"{key:<22}{value:.4g} {unit}".rstrip() + "\n")


def _until_stopped(watching: Any, every_s: float, show: Callable[[dict[str, Any]], None]) -> None:
    """Look and show until Ctrl-C, or until nobody reads what is shown."""
    try:
        while True:
            begun = time.monotonic()
            show(watching.look(max(1.0, every_s)))
            watching.rest(begun + every_s)
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        # Else the interpreter would complain of the same pipe once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        watching.let_go()


def _stop_with_input() -> None:
    """Have this process interrupted, as by Ctrl-C, when a pipe to its standard input ends: its window is gone."""
    try:
        if not stat.S_ISFIFO(os.fstat(0).st_mode):
            return
    except OSError:  # there is none
        return

    def wait() -> None:
        while os.read(0, 1 << 12):
            pass
        # Sent to the process, and not to this thread, it also ends a wait for an instrument.
        if os.name == "posix":
            os.kill(os.getpid(), signal.SIGINT)
        else:
            signal.raise_signal(signal.SIGINT)

    threading.Thread(target=wait, name="standard input", daemon=True).start()


def _print_line(report: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(report, allow_nan=False) + "\n")
    sys.stdout.flush()


def _table(report: dict[str, Any]) -> "RenderableType":
    """Return what a person reads of one look."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table("role", "model", "state", "RF, output", "settings", box=None, pad_edge=False)
    notes = []
    for found in report["instruments"]:
        settings = ", ".join(
            f"{name} {worded(**setting)}" for name, setting in found["settings"].items() if name != "output"
        )
        style = "" if found["ok"] else "bold red"
        table.add_row(found["role"], found["model"], Text(found["state"], style), found["rf"] or "", settings)
        notes += [found["detail"]] if found["detail"] else []
    in_use = f"in use by {report['in_use']}: nothing is asked" if report["in_use"] else "no run has it"
    return Group(f"{report['bench']} ({report['file']}): {in_use}", table, *notes)
