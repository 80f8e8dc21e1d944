"""`labpgt rf-off`: RF off on a bench, whoever uses it, or on every bench that this computer uses."""

import contextlib
import json
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labpgt.errors import DeviceFault, InputError, LabpgtError

if TYPE_CHECKING:
    from instruments.sentinel import Off, Sentinel


def rf_off(
    bench: Annotated[
        Path | None,
        typer.Argument(metavar="BENCH.toml", help="The bench's file; none: every bench in use.", show_default=False),
    ] = None,
    serve: Annotated[
        bool,
        typer.Option("--serve", help="Stay, and obey the lines `off` and `state` on standard input, in JSON."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """Turn RF off at once, whatever run has the bench; then attenuation up and amplifier off.

    Without a file: on every bench that a run on this computer has, whoever started it; and those runs are asked to
    stop. It ends when none has a bench any more.

    With a file: on that bench. A run that has it is not ended: it finds RF off at its next capture, pauses, and may
    turn RF on again when it goes on. End it as well (`labpgt stop FILE.h5`).

    Each instrument on its own, over a new connection, and asked afterwards whether it is safe. What a run has read in
    the bench's file counts also when the file has been changed or removed since.

    With --serve everything is loaded beforehand, for a panic button: `off` answers `{"off": true, ...}`, `state` says
    whether RF is on, the end of standard input ends it and leaves RF as it is.

    Exit codes: 0 all safe, 2 the file describes no bench or no bench is in use, 3 something is not safe; what it is
    stands in the message.
    """
    if serve:
        if bench is None:
            raise InputError("rf-off --serve: no bench is named; give its file: labpgt rf-off BENCH.toml --serve")
        _serve(bench)
        return
    if bench is None:
        _everywhere(as_json)
        return
    from instruments.guard_process import visa
    from instruments.in_use import sentinel_of

    sentinel = sentinel_of(bench)
    visa()
    found = sentinel.off()
    if as_json:
        words = {"bench": sentinel.name, "done": found.done, "notes": sentinel.notes, **_told(found)}
        sys.stdout.write(json.dumps(words) + "\n")
        if not found.off:
            raise typer.Exit(DeviceFault.exit_code)
        return
    for text in (*sentinel.notes, *found.done):
        sys.stdout.write(text + "\n")
    if found.in_use:
        sys.stdout.write(f"{_note(found.in_use)}\n")
    if not found.off:
        raise DeviceFault("\n".join(f"NOT SAFE: {problem}" for problem in found.problems))


def _everywhere(as_json: bool) -> None:
    """Turn RF off on every bench in use and end what uses it."""
    from instruments.guard_process import visa
    from instruments.in_use import Everywhere

    visa()
    everywhere = Everywhere()
    try:
        everywhere.turn_off()
    except OSError as error:
        raise DeviceFault(f"{error}; who uses which bench cannot be known: labpgt rf-off BENCH.toml") from error
    if not everywhere.found and not everywhere.problems:
        raise InputError(
            "rf-off: no run on this computer has a bench now, so nothing was switched; to turn RF off all the same, "
            "name the bench: labpgt rf-off BENCH.toml"
        )
    problems = [*everywhere.problems]
    benches = []
    for found in everywhere.found:
        problems += [f"{found.name}: {problem}" for problem in found.off.problems]
        file = None if found.file is None else str(found.file)
        benches.append({"bench": found.name, "file": file, "done": found.off.done, **_told(found.off)})
        benches[-1]["in_use"] = found.in_use
    if as_json:
        words = {"off": not problems, "benches": benches, "notes": everywhere.notes, "problems": problems}
        sys.stdout.write(json.dumps(words) + "\n")
        if problems:
            raise typer.Exit(DeviceFault.exit_code)
        return
    for found in everywhere.found:
        sys.stdout.write(f"{found.name} ({found.file or 'of no file'}), in use by {found.in_use}:\n")
        sys.stdout.writelines(f"  {text}\n" for text in found.off.done)
    sys.stdout.writelines(f"{text}\n" for text in everywhere.notes)
    if problems:
        raise DeviceFault("\n".join(f"NOT SAFE: {problem}" for problem in problems))


def _serve(path: Path) -> None:
    """Obey the lines of standard input until its end; an `off` in hand is finished first."""
    if threading.current_thread() is threading.main_thread() and not sys.stdin.isatty():
        # A Ctrl-C in the terminal of whoever holds the pipe is not meant for the button that it may need next.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    say = _Voice()
    try:
        from instruments.guard_process import visa
        from instruments.in_use import sentinel_of

        sentinel = sentinel_of(path)
        visa()
    except LabpgtError as error:
        say({"error": str(error), "exit_code": error.exit_code})
        raise typer.Exit(error.exit_code) from error
    say({"ready": True, "bench": sentinel.name, "guarded": sentinel.roles})
    at_work: list[threading.Thread] = []
    for line in sys.stdin:
        word = line.strip()
        if word == "off":
            # Each in a thread of its own: one that is stuck at a dead instrument must not keep the next from RF.
            at_work = [thread for thread in at_work if thread.is_alive()]
            at_work.append(threading.Thread(target=_off, args=(sentinel, say)))
            at_work[-1].start()
        elif word == "state":
            threading.Thread(target=lambda: say(sentinel.state()), daemon=True).start()
        elif word:
            say({"error": f"got {word!r}, expected one of the words off, state"})
    for thread in at_work:
        thread.join()


def _off(sentinel: "Sentinel", say: "_Voice") -> None:
    say(_told(sentinel.off()))


def _told(found: "Off") -> dict[str, Any]:
    return {
        "off": found.off,
        "problems": found.problems,
        "took_s": round(found.took_s, 4),
        "rf_off_s": None if found.rf_off_s is None else round(found.rf_off_s, 4),
        "in_use": found.in_use,
        "note": _note(found.in_use) if found.in_use else None,
    }


def _note(in_use: str) -> str:
    return (
        f"a run has this bench ({in_use}): it finds RF off at its next capture and pauses, and may turn RF on again "
        "when it goes on; end it to keep RF off"
    )


class _Voice:
    """Writes JSON lines, one at a time, from any thread; whoever listened may be gone, and RF off comes first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __call__(self, words: dict[str, Any]) -> None:
        with self._lock, contextlib.suppress(OSError, ValueError):
            sys.stdout.write(json.dumps(words) + "\n")
            sys.stdout.flush()
