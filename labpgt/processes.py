"""Which process is which: numbers are used again, and a process's creation time moves when the clock is set."""

import math
from contextlib import suppress
from pathlib import Path

import psutil

_PROC = Path("/proc")
_SAME_S = 2.0
"""A process's creation time is derived from the boot time, which moves a little when the clock is corrected."""
_START_TIME = 22 - 3
"""Place of a process's start, in ticks since the boot, after its name in its `stat` (proc(5): field 22)."""


def start_mark(pid: int) -> str:
    """Return the boot and the tick in it at which a process began, as text, whatever the clock says.

    Empty for a process that is not there, and on systems that do not tell (all but Linux).
    """
    with suppress(OSError, IndexError):
        boot = (_PROC / "sys/kernel/random/boot_id").read_text("ascii").strip()
        ticks = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()[_START_TIME]
        return f"{boot}:{ticks.decode('ascii')}"
    return ""


def is_same(process: psutil.Process, created: float, mark: str) -> bool:
    """Say whether a process is the one that began with this mark, or at this creation time where there is no mark.

    Raises `psutil.Error` when the process cannot be asked.
    """
    found = start_mark(process.pid) if mark else ""
    if found:
        return found == mark
    return math.isfinite(created) and abs(process.create_time() - created) < _SAME_S
