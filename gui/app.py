"""`labpgt gui`: from the command line to the window."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer


def gui(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE.h5]",
            help="Session to open, recorded or going on; a .toml fills the form.",
            show_default=False,
        ),
    ] = None,
    bench: Annotated[
        Path | None,
        typer.Option(metavar="FILE.toml", help="Connect to this bench at the start.", show_default=False),
    ] = None,
) -> None:
    """Open the operator's window: bench, runs, live plots, recorded sessions, log.

    Runs that it starts are processes of their own: they go on when the window crashes, and the next window finds them
    again. It shows runs that were started elsewhere just so. Press F1 in it for every shortcut; F12 turns RF off.

    Examples:

    - `labpgt gui`

    - `labpgt gui sessions/FILE.h5`: a recorded run, or one that goes on

    - `labpgt gui --bench bench.toml`

    What the window keeps for itself (how it looked, log, crash reports) is in a folder of this user's; the
    environment variable LABPGT_WINDOW_STATE names another.
    """
    from gui.main import main

    code = main(file, bench)
    sys.stdout.flush()
    sys.stderr.flush()
    # Everything is saved by now. A thread that was reading a session may hold HDF5's lock for ever once the interpreter
    # ends, and h5py waits for it there.
    os._exit(code)
