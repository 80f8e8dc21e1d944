"""What a process writes into a file, line by line as it grows; and files that nobody needs any more."""

import time
from contextlib import suppress
from pathlib import Path

from gui import kept

READ_BYTES = 1 << 16
"""Most that is read at one look: no look may keep the window waiting."""
_KEPT_S = 28 * 86400.0
_OUTPUT = (".out", ".err", ".part")
RUN = ".run.toml"
"""How the name of a configuration ends that the window has written for one run."""


class Tail:
    """Reads the lines of a file that another process appends to."""

    def __init__(self, path: Path, *, only_end: bool = False) -> None:
        """With `only_end`, of what is there already only the last `READ_BYTES` are read."""
        self._path = path
        self._only_end = only_end
        self._read = 0
        self._rest = b""

    def take(self) -> tuple[list[str], bool]:
        """Return the next whole lines, and whether there may be more to read at once.

        What is read is bounded, whatever has been written. A file that is not there has no lines.
        """
        try:
            with self._path.open("rb") as file:
                cut = self._go_to_end(file.seek(0, 2)) if self._only_end else False
                file.seek(self._read)
                data = file.read(READ_BYTES)
        except OSError:  # not there yet, or its disk is gone: how its process ends is known all the same
            return [], False
        self._read += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        # The first line was cut in two, unless it is all there is.
        return [line.decode("utf-8", "replace") for line in lines[cut:]], len(data) == READ_BYTES

    def _go_to_end(self, size: int) -> bool:
        self._only_end = False
        self._read = max(0, size - READ_BYTES)
        return self._read > 0

    def last(self) -> str:
        """Return what follows the last line's end: of a process that is gone, nothing more comes."""
        rest, self._rest = self._rest, b""
        return rest.decode("utf-8", "replace")


def clear_away(folder: Path) -> None:
    """Remove what jobs that are over have said weeks ago, and the configurations that they were started with.

    A session has its configuration in itself; what a job that goes on was started with is in its command line.
    """
    with suppress(OSError):
        found = list(folder.iterdir())
        jobs = [path for path in found if path.suffix == ".job"]
        stems = {path.stem for path in jobs}
        words: set[str] = set()
        for job in jobs:
            with suppress(OSError, ValueError):
                words.update(kept.read(job).argv)
        for path in found:
            over = path.suffix in _OUTPUT and path.stem not in stems
            if over or (path.name.endswith(RUN) and str(path) not in words):
                with suppress(OSError):
                    if time.time() - path.stat().st_mtime > _KEPT_S:
                        path.unlink()
