"""Opens an HDF5 file that anyone may have sent, and takes from it only what was expected there."""

import contextlib
import ctypes
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from labpgt.errors import InputError, LabpgtError
from labpgt.session import schema

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
# The superblock's "file consistency flags" (HDF5 file format specification, superblock version 3).
_FLAGS_AT = 11
_OPEN_FOR_WRITING = 0b001
_OPEN_FOR_SWMR = 0b100
_READ_ATTEMPTS = 26
"""Reading damaged metadata is given up after 0.07 s."""
_ONE_OPEN = threading.RLock()
"""Held while a dataset is open. HDF5 takes the chunks of a dataset that is refreshed while it is open twice in one
process, in whatever file handles, for copies of the first one."""


class NotReady(InputError):
    """The file is there, and is no session yet: it may be one in a moment."""


class CheckedFile:
    """An HDF5 file, read without following links, running filters or taking more memory than the file is long.

    Raises `InputError` when it cannot be opened. Its methods raise `ValueError` for what is not as expected, and what
    h5py raises for what cannot be read: wrap them in `reported`.
    """

    def __init__(self, path: Path, locking: bool = True) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                head = file.read(_FLAGS_AT + 1)
        except OSError as error:
            raise InputError(f"session {path} cannot be opened: {error.strerror}; check the path") from error
        if len(head) <= _FLAGS_AT or not head.startswith(_SIGNATURE):
            raise InputError(f"{path} is not an HDF5 file; give a session that labpgt has written")
        flags = head[_FLAGS_AT]
        self.unfinished = bool(flags & _OPEN_FOR_SWMR)
        """Whether the file was not closed: somebody writes it, or died doing so."""
        if flags & _OPEN_FOR_WRITING and not self.unfinished:
            raise NotReady(
                f"session {path} is being created just now, or its writer died before the first shot; "
                "try again, and delete it if it stays so"
            )
        with reported(path, InputError, "opening the file (was it copied whole?)"):
            # Only an unfinished file is opened as such: HDF5 then takes its length on trust, and would read what a
            # truncated file lacks as zeros.
            self._file = _open_unfinished(path) if self.unfinished else _open_finished(path, locking)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self.path.stat().st_size

    def attribute(self, path: str, name: str) -> str:
        """Return a text attribute of a group or dataset, empty where there is none."""
        value = self._object(path).attrs.get(name, "")
        return value if isinstance(value, str) else ""

    def names(self, path: str) -> list[str]:
        """Return the names in a group."""
        group = self._object(path)
        if not isinstance(group, h5py.Group):
            raise ValueError(f"/{path} is not a group")
        return list(group)

    @contextlib.contextmanager
    def dataset(self, path: str) -> Iterator[h5py.Dataset]:
        """Open a dataset as it is on disk now, checked to be plain: in this file, not computed, not filtered.

        It is closed at the end of the `with`, and nobody else in this process can open one until then.
        """
        with _ONE_OPEN:
            dataset = self._object(path)
            if not isinstance(dataset, h5py.Dataset):
                raise ValueError(f"/{path} is not a dataset")
            try:
                self._check_plain(dataset, path)
                if self.unfinished:
                    dataset.refresh()
                yield dataset
            finally:
                h5py.h5i.dec_ref(dataset.id)

    def _check_plain(self, dataset: h5py.Dataset, path: str) -> None:
        if dataset.is_virtual or dataset.external or dataset.id.get_create_plist().get_nfilters():
            raise ValueError(f"/{path} is virtual, external or filtered, which a session's never is")
        itemsize = dataset.id.get_type().get_size()
        if dataset.chunks and np.prod(dataset.chunks, dtype=float) * itemsize > max(schema.CHUNK_BYTES, itemsize):
            raise ValueError(f"/{path} has chunks of {dataset.chunks} rows, larger than a session's")

    def array(self, path: str, dtype: np.dtype[Any], dimensions: int = 0) -> NDArray[Any]:
        """Return a whole dataset of this type."""
        with self.dataset(path) as dataset:
            if dataset.dtype != dtype or dataset.ndim != dimensions:
                found = f"{dataset.dtype} {dataset.shape}"
                raise ValueError(f"/{path} is {found}, expected {dtype} of {dimensions} dimensions")
            return self._whole(dataset)

    def integer(self, path: str) -> int:
        """Return a 64-bit integer."""
        return int(self.array(path, np.dtype(np.int64)))

    def number(self, path: str) -> float:
        """Return a 64-bit floating-point number."""
        return float(self.array(path, np.dtype(np.float64)))

    def text(self, path: str) -> str:
        """Return a fixed-length text."""
        value = self.scalar(path)
        if not isinstance(value, str):
            raise ValueError(f"/{path} is not a text")
        return value

    def texts(self, path: str) -> list[str]:
        """Return a list of fixed-length texts."""
        with self.dataset(path) as dataset:
            if dataset.dtype.kind != "S" or dataset.ndim != 1:
                raise ValueError(f"/{path} is {dataset.dtype} {dataset.shape}, expected a list of texts")
            return [item.decode("utf-8", "replace") for item in self._whole(dataset).tolist()]

    def scalar(self, path: str) -> float | int | bool | str:
        """Return a number, a truth value or a fixed-length text."""
        with self.dataset(path) as dataset:
            if dataset.dtype.kind not in "fiubS" or dataset.shape != ():
                raise ValueError(f"/{path} is {dataset.dtype} {dataset.shape}, expected one number or text")
            value: float | int | bool | bytes = self._whole(dataset).item()
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value

    def _whole(self, dataset: h5py.Dataset) -> NDArray[Any]:
        if dataset.size * dataset.dtype.itemsize > self.size:
            raise ValueError(f"{dataset.name} claims {dataset.shape} values, more than the file can hold")
        return np.asarray(dataset[()], dataset.dtype)

    def _object(self, path: str) -> h5py.Group | h5py.Dataset:
        node = self._file
        for name in path.split("/"):
            links = node.id.links if isinstance(node, h5py.Group) else None
            # A link of another kind leads to another place, or to another file.
            if (
                links is None
                or not links.exists(name.encode())
                or links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD
            ):
                raise ValueError(f"/{path} is missing, or a link")
            node = node[name]
        return node


def _open_finished(path: Path, locking: bool) -> h5py.File:
    """Open a file that nobody writes. `locking` keeps others from writing it, where the system knows such locks."""
    # None leaves it to HDF5 and its environment variable.
    wanted, other = (None, False) if locking else (False, None)
    try:
        return h5py.File(path, "r", locking=wanted)
    except OSError:
        # All who have a file open in one process must agree.
        return h5py.File(path, "r", locking=other)


def _open_unfinished(path: Path) -> h5py.File:
    """Open a file for reading while it may be written (SWMR).

    HDF5 then reads metadata again when a checksum is wrong, for it may be half written: 100 times, sleeping 1 ns and
    twice as long each time. On a damaged file it would sleep until the end of time, deaf to signals. h5py does not
    offer the function that sets this, so it is called by name.
    """
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    # Not found on Windows, where names of libraries that a module uses are not seen through it.
    with contextlib.suppress(AttributeError, OSError):
        set_attempts = ctypes.CDLL(h5py.h5p.__file__).H5Pset_metadata_read_attempts
        set_attempts(ctypes.c_int64(access.id), ctypes.c_uint(_READ_ATTEMPTS))
    flags = h5py.h5f.ACC_RDONLY | h5py.h5f.ACC_SWMR_READ
    return h5py.File(h5py.h5f.open(os.fsencode(path), flags, fapl=access))


@contextlib.contextmanager
def reported(path: Path, kind: type[LabpgtError], doing: str) -> Iterator[None]:
    """Say which file it was when something in it cannot be read or is not as expected."""
    try:
        yield
    except LabpgtError:
        raise
    except Exception as error:
        raise kind(f"session {path}: {doing} failed: {error}") from error
