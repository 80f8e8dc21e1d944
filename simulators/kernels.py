"""The solver's machine code: numba compiles it once and keeps it on disk, in `__pycache__` or the user's cache."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from simulators import envelope_kernel, llg, ring

_LOG = logging.getLogger("labpgt.simulators")

_PATIENCE_S = 0.5
"""Loading from disk takes less."""


def compiled() -> bool:
    """Say whether there is machine code on disk that is newer than all its sources."""
    return bool(_index()) and not _stale()


def cache_folder() -> Path:
    """Where the machine code is."""
    return Path(str(ring.run.stats.cache_path))


def make_ready(call: Callable[[], object], name: str) -> None:
    """Make a first call, saying so where compilation takes its time."""
    # numba looks at the file of the jitted function alone, not at those of the functions it calls.
    for entry in _stale():
        entry.unlink(missing_ok=True)
    misses = _misses()
    start = time.monotonic()
    text = "%s: compiling the solver for this machine, some seconds; the next start finds it on disk"
    notice = threading.Timer(_PATIENCE_S, lambda: _LOG.warning(text, name))
    notice.daemon = True
    notice.start()
    try:
        call()
    finally:
        notice.cancel()
    if _misses() > misses:
        _LOG.warning("%s: compiled in %.1f s", name, time.monotonic() - start)


def _misses() -> int:
    return sum(f.stats.cache_misses.total() for f in (ring.run, llg.advance, envelope_kernel.run))


def _index() -> list[Path]:
    return [
        entry for name in ("ring.*.nbi", "llg.*.nbi", "envelope_kernel.*.nbi") for entry in cache_folder().glob(name)
    ]


def _stale() -> list[Path]:
    source = max(
        Path(__file__).with_name(name).stat().st_mtime
        for name in ("ring.py", "llg.py", "envelope_kernel.py", "film.py", "lanes.py")
    )
    return [entry for entry in _index() if entry.stat().st_mtime < source]
