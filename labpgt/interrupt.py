"""Asking a run to stop that another program, or another person, has started."""

import os
import signal

import psutil


def interrupt(pid: int) -> bool:
    """Ask the process of a run to stop, as Ctrl-C in its terminal does; return whether there was one to ask.

    A number that belongs to something else by now is left alone: a guard may hold a bench longer than its run lives.
    Raises `PermissionError` when the process is not this user's.
    """
    try:
        process = psutil.Process(pid)
        if not any(word in " ".join([process.name(), *process.cmdline()]) for word in ("python", "labpgt")):
            return False
        os.kill(pid, signal.SIGINT if os.name == "posix" else signal.SIGTERM)
    except (psutil.NoSuchProcess, ProcessLookupError):
        return False
    except (psutil.Error, OSError) as error:
        raise PermissionError(str(error)) from error
    return True
