"""One export: read the session in blocks, write the files, and leave them whole or not at all."""

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from labpgt.errors import InputError, RunAborted, StorageFault
from labpgt.events import Status
from labpgt.session import Session
from labpgt.session.disk import RESERVE_BYTES
from procedures.export.files import Files, Sink, Target, check, plan
from procedures.export.progress import ExportProgress
from procedures.export.source import TABLES, Source

_BLOCK_BYTES = {"csv": 32 << 20, "parquet": 64 << 20, "netcdf": 8 << 20}
"""Rows in memory at once. In Parquet a block is a row group, better few than many."""


class Writer(Protocol):
    """One file being written."""

    def write(self, table: str, rows: NDArray[np.void]) -> None:
        """Append rows of a table."""

    def close(self) -> None:
        """Write what waits."""


def export_session(
    file: Path, form: str, tables: Sequence[str], out: Path | None, force: bool, console: Console
) -> dict[str, Any]:
    """Write what is in a session now into files of another format; return what was written, as plain values.

    `form` is csv, parquet or netcdf; no tables means all of them. `console` shows the progress. Raises `InputError` for
    a session or target that cannot be used, `StorageFault` when reading or writing fails, `RunAborted` when a person
    stops it; then no file is there that was not there before.
    """
    with Session(file) as session:
        targets = plan(file, form, [table for table in TABLES if table in tables or not tables], out)
        status, reason = session.status, session.reason
        with stop_on_signals() as stop, writing(targets[0].path.parent):
            check(targets, file, force)
            console.print(
                f"{file}: {status}{f' ({reason})' if reason else ''}, {session.n_shots:,} shots recorded",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
            source = Source(session)
            total = sum(source.nbytes(table) for target in targets for table in target.tables)
            with Files() as files, ExportProgress(console, total) as progress:
                for target in targets:
                    progress.name = target.path.name
                    _write(source, form, target, files.create(target.path), progress, stop)
                files.publish(force)
        return {
            "session": str(file),
            "status": str(status),
            "reason": reason,
            "format": form,
            "files": [
                {
                    "path": str(target.path),
                    "rows": {table: source.lengths[table] for table in target.tables},
                    "bytes": target.path.stat().st_size,
                }
                for target in targets
            ],
        }


def _write(
    source: Source, form: str, target: Target, sink: Sink, progress: ExportProgress, stop: Callable[[], None]
) -> None:
    # A run that goes on stops when its disk is nearly full: an export must give up before that.
    keep_free = 2 * RESERVE_BYTES if source.session.status is Status.RUNNING else 0
    writer = _writer(form)(sink, source, target.tables)
    try:
        for table in target.tables:
            for rows in source.blocks(table, _BLOCK_BYTES[form]):
                stop()
                if keep_free and shutil.disk_usage(target.path.parent).free < keep_free + rows.nbytes:
                    raise StorageFault(
                        f"export to {target.path.parent}: less than {keep_free / 1e6:.0f} MB would stay free for the "
                        "run that is going on; nothing was left behind. Free some space or choose another --out"
                    )
                writer.write(table, rows)
                sink.check()
                progress.advance(rows.nbytes)
    finally:
        writer.close()
    sink.finish()


def _writer(form: str) -> Callable[[Sink, Source, tuple[str, ...]], Writer]:
    if form == "netcdf":
        from procedures.export.netcdf import NetcdfWriter

        return NetcdfWriter
    from procedures.export.columnar import CsvWriter, ParquetWriter

    return CsvWriter if form == "csv" else ParquetWriter


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Say where it was, and what to do, when something cannot be written."""
    try:
        yield
    except OSError as error:
        kind = InputError if isinstance(error, NotADirectoryError | FileExistsError) else StorageFault
        raise kind(
            f"export to {folder} failed: {error.strerror or error}; nothing was left behind. Check the disk (space, "
            "permission, connection) or choose another --out"
        ) from error


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], None]]:
    """Give a function that raises `RunAborted` once Ctrl-C or SIGTERM has come; the second one interrupts at once.

    A library that writes is never interrupted by the first. Only the main thread can listen.
    """
    asked: list[str] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append("Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name)
        os.write(2, b"\nlabpgt: stopping the export\n")

    def stop() -> None:
        if asked:
            raise RunAborted(f"export stopped by {asked[0]}; nothing was left behind")

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
