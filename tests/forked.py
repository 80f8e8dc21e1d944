"""Command lines in copies of a process that has imported everything: what a person starts, without the wait."""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from labpgt import locks

POSSIBLE = "forkserver" in multiprocessing.get_all_start_methods()
_IMPORTED = (
    *("tests.kills", "procedures.resume", "procedures.console", "procedures.commands.runs"),
    *("procedures.commands.files", "simulators.echo_state", "instruments.magnonic_ring", "instruments.bench_command"),
    *("sklearn.datasets", "sklearn.linear_model", "sklearn.model_selection", "torch._dynamo"),
)
"""What takes seconds to import, and is imported only when a run needs it."""


class Forked(subprocess.Popen[bytes]):
    """A process that was forked, looking like one that was started."""

    def __init__(self, process: Any) -> None:
        # Nothing of the base is set up: this process is not its child, and it only lends its type.
        self._process = process
        self.pid = process.pid
        self.returncode = None

    def poll(self) -> int | None:
        self.returncode = self._process.exitcode
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.poll() is None:
            raise subprocess.TimeoutExpired("a forked process", timeout or 0.0)
        return self.returncode

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)


def start(target: Callable[..., object], *arguments: object) -> Forked:
    """Call a function of a module in a process of its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_IMPORTED))
    # A daemon: what a test that failed has not ended is ended at the end, which multiprocessing else would wait for.
    process = context.Process(target=target, args=arguments, daemon=True)
    process.start()
    return Forked(process)


def start_command(
    argv: Sequence[str], place: Path, out: Path, err: Path, environment: Mapping[str, str] | None = None
) -> Forked:
    """Start `labpgt ARGV` in a folder and a session of its own, its standard output and error in files."""
    for file in (out, err):
        file.touch()
    context = multiprocessing.get_context("forkserver")
    begins, begun = context.Pipe(duplex=False)
    # It is no child of this process: which locks it sees must be told.
    told = {locks.VARIABLE: os.environ[locks.VARIABLE], **(environment or {})}
    process = start(_command, begun, list(argv), str(place), str(out), str(err), told)
    begins.recv()  # from now on a signal does what it does to an interpreter of its own
    begins.close()
    begun.close()
    return process


def redirect(out: str, err: str) -> None:
    """Let standard output and error of this process go to files."""
    for path, descriptor in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)


def _command(begun: Any, argv: list[str], place: str, out: str, err: str, environment: dict[str, str]) -> None:
    from procedures.cli import script

    os.setsid()
    os.environ.update(environment)
    os.chdir(place)
    redirect(out, err)
    sys.argv = ["labpgt", *argv]
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        begun.send(None)
        script()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)
