"""The command line, telling another process after each flush how many shots it has acknowledged.

    python -m tests.kill_child COUNTER labpgt-arguments...

COUNTER is a file of eight bytes that this process maps: what is in it survives SIGKILL.
"""

import mmap
import os
import sys
from pathlib import Path
from typing import Any

from labpgt.session import SessionWriter
from procedures.cli import main
from tests.forked import redirect


def count_acknowledged(counter: Path) -> None:
    """Let every flush of every writer put its count of acknowledged shots into the file."""
    with counter.open("r+b") as file:
        shared = mmap.mmap(file.fileno(), 8)
    flush: Any = SessionWriter._flush

    def counted(self: SessionWriter, **options: bool) -> None:
        flush(self, **options)
        if self._part is None:  # a copy that is not in its place yet vouches for nothing
            shared[:8] = self.acknowledged.to_bytes(8, "little")

    SessionWriter._flush = counted  # type: ignore[method-assign]


def run(arguments: list[str], folder: str, out: str, err: str) -> None:
    """Run the command line in this process, with its standard output and error in files."""
    os.chdir(folder)
    redirect(out, err)
    count_acknowledged(Path(arguments[0]))
    sys.argv = ["labpgt", *arguments[1:]]
    main()


if __name__ == "__main__":
    count_acknowledged(Path(sys.argv[1]))
    sys.argv = ["labpgt", *sys.argv[2:]]
    main()
