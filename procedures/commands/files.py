"""Commands that read a session: show, watch, replay, export."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from procedures.commands.common import Allowed, Json, SessionFile, print_json


def show(file: SessionFile, as_json: Json = False) -> None:
    """Show what a session holds: status, configuration, device, shots, losses and baselines.

    Of a characterisation: what was measured, and why something was not.
    """
    from procedures.show import described

    description, print_it = described(file)
    if as_json:
        print_json(description)
    else:
        from rich.console import Console

        print_it(Console(), description)


def watch(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.h5", help="The run's session file; may be yet to come.", show_default=False)
    ],
    interval: Annotated[
        float, typer.Option(min=0.01, max=60.0, metavar="SECONDS", help="Time between two looks at the file.")
    ] = 0.2,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait for a file that is not there yet, or refuse it.")
    ] = True,
    follow_resume: Annotated[
        bool,
        typer.Option(
            "--follow-resume", "-F", help="Go on after a crash, failure or abort, for the run may be resumed."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Watch a run that another process makes, from its session file, as it goes.

    Shows what `labpgt train` shows in its own terminal. Start it before, during or after the run, as often as you
    like: it only reads, and cannot slow or stop the run. It ends with the run, also with one that crashed.

    Examples:

    - `labpgt watch run.h5`

    - `labpgt watch run.h5 --follow-resume --interval 2`

    Ctrl-C ends the watching and never the run.
    Exit codes: 0 the run ended in success, or you ended the watching; 1 the run failed or crashed; 2 bad input;
    4 the run was aborted; 5 the file cannot be read.
    """
    from rich.console import Console

    from procedures.console import print_summary
    from procedures.watch import watch as watch_run

    report, code = watch_run(file, Console(stderr=True), interval_s=interval, wait=wait, resumed=follow_resume)
    if as_json:
        print_json(report)
    elif report["status"] is not None:
        print_summary(Console(), report)
    raise typer.Exit(code)


def replay(
    file: SessionFile,
    verify: Annotated[
        bool, typer.Option("--verify", help="Leave with code 1 unless every shot, loss and update is reproduced.")
    ] = False,
    allow: Allowed = None,
    as_json: Json = False,
) -> None:
    """Train again against a recorded session instead of a device.

    Works on sessions of any status. Says whether every drive, every loss and the parameters come out as recorded, or
    names the first shot that differs with both values.
    """
    from rich.console import Console

    from procedures.replay import replay_session
    from procedures.train import StopRequest

    report = replay_session(file, allow or [], Console(stderr=True), StopRequest())
    if as_json:
        print_json(report)
    else:
        for key, value in report.items():
            Console().print(f"{key}: {value}", highlight=False, markup=False, soft_wrap=True)
    if verify and not report["verified"]:
        raise typer.Exit(1)


class Format(StrEnum):
    """What `labpgt export` writes."""

    CSV = "csv"
    PARQUET = "parquet"
    NETCDF = "netcdf"


class Table(StrEnum):
    """What a session is made of."""

    SHOTS = "shots"
    STEPS = "steps"
    EPOCHS = "epochs"


def export(
    file: SessionFile,
    to: Annotated[Format, typer.Option("--to", help="Format of the files.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Folder for the files, or the file if it is one; else the session's.",
            show_default=False,
        ),
    ] = None,
    tables: Annotated[
        list[Table] | None,
        typer.Option("--table", help="Only this table; may be repeated. Else all.", show_default=False),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    as_json: Json = False,
) -> None:
    """Write a session as files that other tools open.

    CSV and Parquet: a file for each table, `NAME-shots.csv`, `NAME-steps.csv`, `NAME-epochs.csv`, beside the session
    `NAME.h5`; one column a number, `drive_SYMBOL` and `response_SYMBOL_NODE` (in Parquet lists, where a shot has more
    than 1000). netCDF: one file `NAME.nc`, with the variables of `Session.to_xarray`.

    Examples:

    - `labpgt export run.h5 --to parquet`

    - `labpgt export run.h5 --to csv --table epochs --out curve.csv`

    Works on sessions of any status, with what is recorded so far. The files appear when they are whole: Ctrl-C leaves
    none. Exit codes: 0 done, 2 bad input, 4 aborted, 5 storage fault.
    """
    from rich.console import Console

    from procedures.export import export_session

    report = export_session(file, to, tables or [], out, force, Console(stderr=True))
    if as_json:
        print_json(report)
        return
    for written in report["files"]:
        rows = ", ".join(f"{count:,} {table}" for table, count in written["rows"].items())
        sys.stdout.write(f"{written['path']}  {rows}, {written['bytes'] / 1e6:.1f} MB\n")
