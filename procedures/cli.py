"""The command line: options of its own, the commands, and what an error looks like."""

import signal
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from labpgt.errors import DeviceFault, InputError, LabpgtError, RunAborted
from procedures.commands import control, files, runs, studies
from procedures.commands.common import Json, print_json
from procedures.commands.registered import CommandGroup
from procedures.text import for_programs, json_line, printable

app = typer.Typer(
    name="labpgt",
    cls=CommandGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

_CTRL_C = 130


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        sys.stdout.write(f"labpgt {version('labpgt')}\n")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    """Train deep networks through physical devices, shot by shot.

    Start with `labpgt train`: it trains a network with a simulated magnonic ring inside and writes every shot into a
    session file under sessions/.
    """


def doctor(
    bench: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.toml",
            help="Also look at the instruments of this bench: reachable, what they are, and how they answer.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check this installation: versions, devices, kernels, VISA, Qt; say how to mend what is wrong.

    With --bench, the instruments of a bench too. Exit codes: 0 everything is in order, 1 something about the
    installation is not, 3 something about the bench is not.
    """
    from rich.console import Console

    from procedures.doctor import doctor as examine
    from procedures.doctor import print_report

    report = examine(bench)
    if as_json:
        print_json(report)
    else:
        print_report(report, Console())
    if not all(check["ok"] for check in report["bench_checks"]):
        raise typer.Exit(DeviceFault.exit_code)
    if not report["ok"]:
        raise typer.Exit(1)


for command in (
    *(runs.train, runs.resume, runs.characterize),
    *(studies.calibrate, studies.sweep),
    *(files.show, files.watch),
    *(control.pause, control.continue_, control.stop),
    *(files.replay, files.export),
    doctor,
):
    app.command(command.__name__.removesuffix("_"))(command)


def main() -> None:
    """Run the command line; errors a person can mend are one message and an exit code, not a traceback."""
    from labpgt.checks import foreign_packages

    try:
        if problems := foreign_packages():
            raise InputError("\n".join(problems))
        app()
    except LabpgtError as error:
        _end("\n".join([str(error), *getattr(error, "__notes__", ())]), error.exit_code)
    except SystemExit as end:
        # What click makes of a Ctrl-C outside of a run, for instance while libraries load.
        if end.code == _CTRL_C:
            _end("stopped by Ctrl-C", RunAborted.exit_code)
        raise


def _end(text: str, exit_code: int) -> NoReturn:
    """Say why the command ends, and end; a program reads `{"error": text, "exit_code": n}`."""
    text = printable(text)
    sys.stderr.write(json_line(error=text, exit_code=exit_code) if for_programs() else f"labpgt: {text}\n")
    sys.exit(exit_code)


def script() -> None:
    """What the command `labpgt` does: `main`, and no signal changes the exit code while the interpreter ends."""
    if for_programs() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell lets what a script starts in the background ignore Ctrl-C. That is meant for the window, if at all: an
        # interrupt of what the window has started comes from its Stop.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        main()
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    script()
