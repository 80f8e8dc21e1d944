"""The solver's machine code: numba compiles it once and keeps it on disk, in `__pycache__` or the user's cache."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_LOG = logging.getLogger("labpgt.simulators")

_PATIENCE_S = 1.5
"""Loading from disk takes less."""

_SOURCES = ("ring.py", "llg.py", "film.py", "lanes.py", "envelope_kernel.py")


def fresh(function: Any) -> Any:
    """Return a jitted function; machine code of it on disk that is older than any source of the solver is removed.

    numba looks at the file of the jitted function alone, not at those of the functions that it calls. It reads the
    disk at the first call, so this comes in time where the function is defined.
    """
    for entry in _stale(function):
        entry.unlink(missing_ok=True)
    return function


def compiled() -> bool:
    """Say whether there is machine code of the LLG solver on disk that is newer than all its sources."""
    from simulators.ring import run

    return bool(_index(run)) and not _stale(run)


def cache_folder() -> Path:
    """Where the machine code is."""
    from simulators.ring import run

    return Path(str(run.stats.cache_path))


@contextmanager
def announced(name: str, *functions: Any) -> Iterator[None]:
    """Say so where calls inside have these functions compiled, which takes its time."""
    misses = _misses(functions)
    start = time.monotonic()
    text = "%s: compiling the solver for this machine, some seconds; the next start finds it on disk"
    notice = threading.Timer(_PATIENCE_S, lambda: _LOG.warning(text, name))
    notice.daemon = True
    notice.start()
    try:
        yield
    finally:
        notice.cancel()
    if _misses(functions) > misses:
        _LOG.warning("%s: compiled in %.1f s", name, time.monotonic() - start)


def _misses(functions: tuple[Any, ...]) -> int:
    return sum(function.stats.cache_misses.total() for function in functions)


def _index(function: Any) -> list[Path]:
    module = function.py_func.__module__.rpartition(".")[2]
    return list(Path(str(function.stats.cache_path)).glob(f"{module}.{function.py_func.__name__}-*.nbi"))


def _stale(function: Any) -> list[Path]:
    here = Path(__file__)
    source = max(here.with_name(name).stat().st_mtime for name in _SOURCES)
    return [entry for entry in _index(function) if entry.stat().st_mtime < source]
