"""What went wrong in the window itself is kept on disk, and the window goes on where it can."""

import faulthandler
import platform
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from types import TracebackType


class CrashReport:
    """A file to which every error that nobody has caught is added, with its stack; also one that kills the process."""

    def __init__(self, path: Path, tell: Callable[[str], None]) -> None:
        """`tell` gets one line for a person; it may be called from any thread."""
        self.path = path
        self._tell = tell
        self._file = path.open("a", encoding="utf-8")
        self._met: Counter[str] = Counter()
        """How often each error has come, by where."""

    def install(self) -> None:
        """Take in every error from now on."""
        faulthandler.enable(self._file)
        sys.excepthook = self._caught
        threading.excepthook = lambda args: self._caught(
            args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback
        )

    def uninstall(self) -> None:
        """Leave errors to Python again, and close the file."""
        faulthandler.disable()
        sys.excepthook = sys.__excepthook__
        threading.excepthook = threading.__excepthook__
        self._file.close()

    def _caught(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            return
        where = f"{kind.__name__}{''.join(traceback.format_tb(trace))}"
        self._met[where] += 1
        times = self._met[where]
        # One that comes with every picture would fill the disk that runs write to: the 1st, 2nd, 4th, 8th ... is told.
        if times & (times - 1):
            return
        again = f", so far {times} times" if times > 1 else ""
        head = (
            f"\n--- {time.strftime('%Y-%m-%d %H:%M:%S')} labpgt {version('labpgt')}, Python "
            f"{platform.python_version()}, PyQt6 {version('PyQt6')}, {platform.platform()}{again}\n"
        )
        with suppress(OSError, ValueError):
            self._file.write(head + "".join(traceback.format_exception(kind, error, trace)))
            self._file.flush()
        with suppress(Exception):  # the window may be half gone
            self._tell(f"an error in the window: {kind.__name__}: {error}. Runs are not touched; see {self.path}")
