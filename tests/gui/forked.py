"""Jobs in copies of a process that has imported everything: the same command lines, without seconds of loading each."""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gui.jobs import ENVIRONMENT
from procedures.standby import Order, detach
from tests.kills import IMPORTED


class Forked(subprocess.Popen[bytes]):
    """What the window needs of a process."""

    def __init__(self, process: Any) -> None:
        self._forked = process
        self.pid = process.pid

    def poll(self) -> int | None:
        self.returncode = self._forked.exitcode
        return self.returncode  # type: ignore[no-any-return]

    def wait(self, timeout: float | None = None) -> int:
        self._forked.join(timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired("labpgt", timeout or 0.0)
        return code


def become(order: Order, begun: Any) -> None:
    """Be a command line that the window has started."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    begun.send(None)
    detach(order)
    sys.argv = ["labpgt", *order["argv"]]
    from procedures.cli import script

    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        script()
    except KeyboardInterrupt:
        # As an interpreter of its own ends.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)


def start(argv: Sequence[str], place: Path, files: Path) -> "subprocess.Popen[bytes]":
    """Stands in for `gui.jobs._started`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(IMPORTED))
    order = Order(
        argv=list(argv),
        cwd=str(place),
        stdout=str(files.with_suffix(".out")),
        stderr=str(files.with_suffix(".err")),
        env={**os.environ, **ENVIRONMENT},
    )
    begins, begun = context.Pipe(duplex=False)
    process = context.Process(target=become, args=(order, begun))
    process.start()
    begins.recv()
    begins.close()
    begun.close()
    return Forked(process)
