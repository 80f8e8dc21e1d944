"""What a session file needs of its disk, and what is done when the disk fails it."""

import contextlib
import math
import os
import re
import shutil
import sys
import tempfile
import zlib
from pathlib import Path
from typing import BinaryIO

import h5py
import psutil

from labpgt.errors import InputError, StorageFault

RESERVE_BYTES = 64 << 20
"""A run stops when less than this would stay free on the disk: HDF5 does not survive a full one."""
LAST_RESERVE_BYTES = 1 << 20
"""The end of a run may use the reserve up to this."""
TODO = "Free some space or choose another --out"
RENAMES_OPEN_FILES = os.name != "nt"
_COPY_BYTES = 16 << 20
_LONGEST_NAME = 255
_SAME_FILE = ("st_dev", "st_ino", "st_size", "st_mtime_ns")


def check_creatable(path: Path, todo: str = "choose another --out, or go on with it: labpgt resume") -> None:
    """Raise `InputError` when a new file cannot be made there; `todo` is for a file that is there already."""
    folder = path.parent
    try:
        if path.is_symlink() or path.exists():
            raise InputError(f"session file {path} exists already; {todo}")
        # What is missing is made when the run starts: input that is refused meanwhile leaves nothing behind.
        while not folder.exists():
            folder = folder.parent
        if not folder.is_dir():
            raise InputError(f"session file {path} cannot be created: {folder} is not a folder; choose another --out")
        writable = os.access(folder, os.W_OK | os.X_OK)
    except OSError as error:
        raise InputError(f"session file {path} cannot be created: {error}; choose another --out") from error
    if not writable:
        raise InputError(f"session file {path}: the folder {folder} cannot be written to; choose another --out")


def companion(path: Path, ending: str) -> Path:
    """Return the place of a small file of labpgt's own that belongs to a session file and lies beside it."""
    # A short name, whatever the length of the file's own.
    return path.with_name(f".labpgt-{zlib.crc32(os.fsencode(path.name)):08x}{ending}")


def part_path(path: Path) -> Path:
    """Return where the file is made before it appears at its place, and remove what dead processes left there.

    A process killed while it makes a file so leaves either the whole of it at its place or nothing.
    """
    name = re.compile(re.escape(companion(path, "").name) + r"-(\d+)\.part")
    # Tidying up is no reason to fail: the folder may not be listed, or what is left may be another person's.
    with contextlib.suppress(OSError):
        for left in path.parent.iterdir():
            found = name.fullmatch(left.name)
            if found and (int(found[1]) == os.getpid() or not psutil.pid_exists(int(found[1]))):
                left.unlink(missing_ok=True)
    return companion(path, f"-{os.getpid()}.part")


def put_in_place(part: Path, path: Path, replaced: os.stat_result | None = None) -> None:
    """Move a file to its place at one stroke, where nothing is, or where what is `replaced` is as it was.

    Raises `StorageFault` when something else is there.
    """
    if replaced is not None:
        try:
            now = path.stat()
        except OSError as error:
            raise StorageFault(f"{path}: is gone since it was read ({error.strerror}); nothing was changed") from error
        if not all(getattr(now, name) == getattr(replaced, name) for name in _SAME_FILE):
            raise StorageFault(
                f"{path}: has changed since it was read, so somebody else goes on with it; nothing was changed. "
                "Look at it with labpgt show"
            )
        with contextlib.suppress(OSError):
            shutil.copymode(path, part)
        part.replace(path)
    else:
        try:
            os.link(part, path)
        except FileExistsError as error:
            raise StorageFault(f"{path}: another process has created it meanwhile; choose another --out") from error
        except OSError:  # a disk without hard links
            if path.exists():
                raise StorageFault(f"{path}: another process has created it meanwhile; choose another --out") from None
            part.replace(path)
        else:
            part.unlink()
    _fsync_folder(path.parent)


def is_deleted(file: h5py.File) -> bool:
    """Say whether the open file has no name any more: what is written to it goes with this process."""
    return RENAMES_OPEN_FILES and os.fstat(file.id.get_vfd_handle()).st_nlink == 0


def deletion(path: Path) -> StorageFault:
    """Return the error of a run whose file was deleted."""
    return StorageFault(f"{path}: the file, or its folder, was deleted while the run went on")


def check_space(
    file: h5py.File | None, path: Path, needed: int, acknowledged: int, *, last: bool = False, todo: str = TODO
) -> None:
    """Raise `StorageFault` while there is still space to close the file in order."""
    needed += LAST_RESERVE_BYTES if last else RESERVE_BYTES
    # Asked of the open file, for its folder may have been moved.
    place = path.parent if file is None or not RENAMES_OPEN_FILES else file.id.get_vfd_handle()
    free = shutil.disk_usage(place).free
    if free < needed:
        raise StorageFault(
            f"{path}: going on safely takes {math.ceil(needed / 1e5) / 10} MB of free disk, and "
            f"{math.floor(free / 1e5) / 10} MB are free; {acknowledged} shots are safe. {todo}"
        )


def close_unwritten(file: h5py.File) -> None:
    """Close a file that cannot be written, leaving on disk what was flushed.

    HDF5 writes once more when it closes, and a write that fails then ends the whole process, even when that exits. So
    these last writes go to a file in memory that nobody reads.
    """
    if sys.platform == "linux":
        scratch = os.memfd_create("session")
    else:
        with tempfile.TemporaryFile() as temporary:
            scratch = os.dup(temporary.fileno())
    try:
        os.dup2(scratch, file.id.get_vfd_handle())
        # After some failed writes HDF5 refuses to close a file, but then it no longer harms.
        with contextlib.suppress(OSError, RuntimeError):
            file.close()
    finally:
        os.close(scratch)


def close_durably(file: h5py.File, path: Path) -> Path | None:
    """Close a file and wait until the disk has it; return where its content went if the file was deleted meanwhile."""
    if not RENAMES_OPEN_FILES:
        file.close()
        with path.open("rb+") as closed:
            os.fsync(closed.fileno())
        return None
    descriptor = os.dup(file.id.get_vfd_handle())
    try:
        file.close()
        os.fsync(descriptor)
        return _rescue(descriptor, path) if os.fstat(descriptor).st_nlink == 0 else None
    finally:
        os.close(descriptor)


def _rescue(descriptor: int, path: Path) -> Path | None:
    """Copy a deleted file, while it is still open, to the nearest folder of its absolute path that takes it."""
    length = os.fstat(descriptor).st_size
    for folder in (*path.parents, Path(tempfile.gettempdir())):
        try:
            if shutil.disk_usage(folder).free < length:
                continue
            copy = _create_beside_others(folder, path)
        except OSError:
            continue
        try:
            with copy:
                while data := os.pread(descriptor, _COPY_BYTES, copy.tell()):
                    copy.write(data)
                copy.flush()
                os.fsync(copy.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                Path(copy.name).unlink()
            continue
        return Path(copy.name)
    return None


def _create_beside_others(folder: Path, path: Path) -> BinaryIO:
    """Create a file for what is rescued of `path`; one that was rescued before keeps its name."""
    number = 1
    while True:
        times = "" if number == 1 else f"-{number}"
        name = f"rescued-{os.getpid()}{times}-{path.name}"
        if len(os.fsencode(name)) > _LONGEST_NAME:
            name = f"rescued-{os.getpid()}{times}.h5"
        try:
            return (folder / name).open("xb")
        except FileExistsError:
            number += 1


def fsync(file: h5py.File) -> None:
    """Wait until the disk has what was flushed."""
    os.fsync(file.id.get_vfd_handle())


def _fsync_folder(folder: Path) -> None:
    """Wait until the disk has the folder's list of names."""
    if not RENAMES_OPEN_FILES:
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
