"""Commands to a run that goes on: pause, continue, stop."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from procedures.commands.common import Json, SessionFile, print_json

if TYPE_CHECKING:
    from labpgt.control import Request


def pause(file: SessionFile, as_json: Json = False) -> None:
    """Pause a run that goes on, with its device safe (RF off), until `labpgt continue`.

    The run finishes the device call in hand, never inside a ± pair, and waits, as long as you like. It keeps its
    instruments. It goes on bit for bit as if it had not waited.

    Works for every run on this computer whose session file you have, however it was started, from any terminal.
    `labpgt watch FILE.h5` shows when it pauses and goes on.

    Examples:

    - `labpgt pause run.h5`, then `labpgt continue run.h5`

    Exit codes: 0 the run was asked, 2 no run on this computer writes that file, 5 the request cannot be written.
    """
    from labpgt.control import Request

    _report(_ask(file, Request.PAUSE), "was asked to pause after the device call in hand", as_json)


def continue_(file: SessionFile, as_json: Json = False) -> None:
    """Let a run go on that `labpgt pause` has paused.

    An instrument on the bench is connected again, set as it was and checked first. A run that does not pause is not
    disturbed; one that has ended goes on with `labpgt resume`.

    Exit codes: 0 the run was asked, 2 no run on this computer writes that file, 5 the request cannot be written.
    """
    from labpgt.control import Request

    _report(_ask(file, Request.CONTINUE), "was asked to go on", as_json)


def stop(
    file: SessionFile,
    wait: Annotated[bool, typer.Option("--wait", help="Return only when the run has ended, its device safe.")] = False,
    as_json: Json = False,
) -> None:
    """Stop a run that goes on, also a paused one, as Ctrl-C in its own terminal would.

    The run finishes the device call in hand, never inside a ± pair, makes the device safe and closes its file, with the
    status `aborted`. `labpgt resume FILE.h5` goes on with it.

    Examples:

    - `labpgt stop run.h5`

    - `labpgt stop run.h5 --wait && labpgt resume run.h5`

    Exit codes: 0 the run was asked (with --wait: it has ended), 2 no run on this computer writes that file,
    4 Ctrl-C while waiting, 5 the request cannot be written.
    """
    from labpgt.control import Request

    report = _ask(file, Request.STOP)
    text = "was asked to stop after the device call in hand"
    if wait:
        from labpgt.events import RunStopped
        from labpgt.follow import follow

        for event in follow(file, wait=False, steps=1, epochs=1):
            if isinstance(event, RunStopped):
                report |= {"status": str(event.status), "reason": event.reason}
                text = f"has ended: {event.status} ({event.reason})"
    _report(report, text, as_json)


def _ask(file: Path, request: "Request") -> dict[str, Any]:
    """Ask, and return what --json prints."""
    from labpgt.control import ask

    ask(file, request)
    return {"session": str(file), "request": str(request)}


def _report(report: dict[str, Any], text: str, as_json: bool) -> None:
    if as_json:
        print_json(report)
    else:
        sys.stdout.write(f"{report['session']}: the run {text}\n")
