"""Where an export goes: names, what is refused, and files that are there whole or not at all."""

import contextlib
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from labpgt.errors import InputError

SUFFIXES = {"csv": ".csv", "parquet": ".parquet", "netcdf": ".nc"}


class Target(NamedTuple):
    """One file of an export, and the tables that go into it."""

    path: Path
    tables: tuple[str, ...]


def plan(session: Path, form: str, tables: Sequence[str], out: Path | None) -> list[Target]:
    """Return the files of an export: `NAME-TABLE.csv` (or .parquet), or one `NAME.nc`, beside the session.

    `out` is another folder for them; or, of a single file, its path. Raises `InputError` when it can be neither.
    """
    if form == "netcdf":
        one = [Target(Path(f"{session.stem}{SUFFIXES[form]}"), tuple(tables))]
    else:
        one = [Target(Path(f"{session.stem}-{table}{SUFFIXES[form]}"), (table,)) for table in tables]
    folder = session.parent if out is None else out
    if out is not None and not out.is_dir():
        if len(one) == 1:
            others = {suffix for other, suffix in SUFFIXES.items() if other != form}
            if out.suffix in others:
                raise InputError(f"--out {out}: the name says another format than --to {form}; change one of them")
            return [Target(out, one[0].tables)]
        if out.suffix or out.exists():
            raise InputError(
                f"--out {out}: {len(one)} tables go into as many files; give a folder, or choose one with --table"
            )
    return [Target(folder / path, held) for path, held in one]


def check(targets: Sequence[Target], session: Path, force: bool) -> None:
    """Raise `InputError` for a target that must not be written: one that exists, and the session itself always."""
    for path, _ in targets:
        if path.exists() and path.samefile(session):
            raise InputError(f"{path} is the session itself; choose another --out")
        if path.is_dir():
            raise InputError(f"{path} is a folder; choose another --out")
        if (path.exists() or path.is_symlink()) and not force:
            raise InputError(f"{path} exists already; choose another --out, or replace it with --force")


class Sink:
    """A new binary file that remembers the first failure to write, and drops what comes afterwards.

    So whatever writes through it ends in order: HDF5, for one, brings the process down when it closes a file that it
    could not write. `check` and `finish` raise the failure.
    """

    closed = False

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb+")
        self._fault: OSError | None = None

    def check(self) -> None:
        """Raise the `OSError` that writing has met."""
        if self._fault is not None:
            raise self._fault

    def write(self, data: Any) -> int:
        """Write all of `data`."""
        self._try(self._file.write, data)
        return memoryview(data).nbytes

    def read(self, size: int = -1) -> bytes:
        """Read back what was written; HDF5 asks for this or for `readinto`."""
        return self._try(self._file.read, size) or b""

    def readinto(self, buffer: Any) -> int:
        """Read back what was written."""
        return self._try(self._file.readinto, buffer) or 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position."""
        return self._try(self._file.seek, offset, whence) or 0

    def tell(self) -> int:
        """Return the position."""
        return self._try(self._file.tell) or 0

    def truncate(self, size: int | None = None) -> int:
        """Make the file so long."""
        return self._try(self._file.truncate, size) or 0

    def flush(self) -> None:
        """Hand to the operating system what waits."""
        self._try(self._file.flush)

    def close(self) -> None:
        """Flush: libraries call this, but what they are done with is not finished yet."""
        self.flush()

    def finish(self) -> None:
        """Close the file such that it survives a power cut. Raises the `OSError` that writing has met."""
        self.flush()
        self._try(os.fsync, self._file.fileno())
        self._try(self._file.close)
        self.check()

    def discard(self) -> None:
        """Close the file, whatever is in it; a library that still has it writes into nothing."""
        self._fault = self._fault or OSError("discarded")
        with contextlib.suppress(OSError):
            self._file.close()

    def _try(self, action: Callable[..., Any], *arguments: Any) -> Any:
        if self._fault is None:
            try:
                return action(*arguments)
            except OSError as error:
                self._fault = error
        return None


class Files:
    """The files of one export: written under other names in the same folders, and renamed together at the end.

    A context manager: left without `publish`, it leaves nothing behind, not even the folders it has made.
    """

    def __init__(self) -> None:
        self._open: dict[Path, tuple[Path, Sink]] = {}
        self._folders: list[Path] = []

    def create(self, path: Path) -> Sink:
        """Return a file to write into that is to become `path`."""
        missing = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir()
            self._folders.append(folder)
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        sink = Sink(part)
        self._open[path] = part, sink
        return sink

    def publish(self, force: bool) -> None:
        """Give the files their names. Raises `InputError` when one has been taken meanwhile, unless `force`."""
        for path in self._open:
            if path.exists() and not force:
                raise InputError(f"{path} has come to exist during the export; choose another --out")
        for path in list(self._open):
            part, _ = self._open[path]
            part.replace(path)
            del self._open[path]
        self._folders.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for part, sink in self._open.values():
            sink.discard()
            part.unlink(missing_ok=True)
        for folder in reversed(self._folders):
            with contextlib.suppress(OSError):
                folder.rmdir()
