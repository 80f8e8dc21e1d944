"""Opens an HDF5 file that anyone may have sent, and takes from it only what was expected there."""

import contextlib
import ctypes
import mmap
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from labpgt.errors import InputError, LabpgtError
from labpgt.session import schema
from labpgt.session.checksum import raw, units

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
# The superblock's "file consistency flags" (HDF5 file format specification, superblock version 3).
_FLAGS_AT = 11
_OPEN_FOR_WRITING = 0b001
_OPEN_FOR_SWMR = 0b100
_READ_ATTEMPTS = 26
"""Reading damaged metadata is given up after 0.07 s."""
_MOST_LEAVES = 4096
_MOST_BYTES = 64 << 20
"""Of all values that are read together: configuration, settings, provenance."""
_LONGEST_UNIT = 1024
_HEAP = b"GCOL"
_HEAP_HEADER = 16
_MOST_HEAPS = 256
_LARGEST_HEAP = 1 << 16
_DEEPEST = 4
_ATOMIC = (h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.STRING, h5py.h5t.ENUM)
_ONE_OPEN = threading.RLock()
"""Held while a dataset is open. HDF5 takes the chunks of a dataset that is refreshed while it is open twice in one
process, in whatever file handles, for copies of the first one."""


class NotReady(InputError):
    """The file is there, and is no session yet: it may be one in a moment."""


class Value(NamedTuple):
    """What stands in one small dataset. Its methods raise `ValueError` when it is something else."""

    path: str
    array: NDArray[Any]
    units: str

    def integer(self) -> int:
        """Return a 64-bit integer."""
        return int(self._one(np.dtype(np.int64)))

    def number(self) -> float:
        """Return a 64-bit floating-point number."""
        return float(self._one(np.dtype(np.float64)))

    def text(self) -> str:
        """Return a fixed-length text."""
        value = self.scalar()
        if not isinstance(value, str):
            raise ValueError(f"/{self.path} is not a text")
        return value

    def texts(self) -> list[str]:
        """Return a list of fixed-length texts."""
        if self.array.dtype.kind != "S" or self.array.ndim != 1:
            raise ValueError(f"/{self.path} is {self.array.dtype} {self.array.shape}, expected a list of texts")
        return [item.decode("utf-8", "replace") for item in self.array.tolist()]

    def numbers(self) -> list[float]:
        """Return a list of 64-bit floating-point numbers."""
        if self.array.dtype != np.float64 or self.array.ndim != 1:
            raise ValueError(f"/{self.path} is {self.array.dtype} {self.array.shape}, expected a list of float64")
        values: list[float] = self.array.tolist()
        return values

    def scalar(self) -> float | int | bool | str:
        """Return a number, a truth value or a text."""
        if self.array.shape != ():
            raise ValueError(f"/{self.path} has shape {self.array.shape}, expected one number or text")
        value: float | int | bool | bytes = self.array.item()
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value

    def _one(self, dtype: np.dtype[Any]) -> Any:
        if self.array.dtype != dtype or self.array.shape != ():
            raise ValueError(f"/{self.path} is {self.array.dtype} {self.array.shape}, expected one {dtype}")
        return self.array.item()


class CheckedFile:
    """An HDF5 file, read without following links, running filters or taking more memory than the file is long.

    Raises `InputError` when it cannot be opened. Its methods raise `ValueError` for what is not as expected, and what
    h5py raises for what cannot be read: wrap them in `reported`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._heaps_checked = False
        self._groups: dict[str, h5py.h5g.GroupID] = {}
        with contextlib.ExitStack() as opened:
            try:
                # Kept open: the path may come to lead to another file, when the run is resumed.
                self._bytes = opened.enter_context(path.open("rb"))
                head = self._bytes.read(_FLAGS_AT + 1)
            except OSError as error:
                raise InputError(f"session {path} cannot be opened: {error.strerror}; check the path") from error
            self._open(head)
            self._opened = opened.pop_all()

    def _open(self, head: bytes) -> None:
        path = self.path
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
            self._file = _open_unfinished(path) if self.unfinished else h5py.File(path, "r")

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._opened.close()

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self.stat().st_size

    def stat(self) -> os.stat_result:
        """Return what the system knows of the open file, wherever its path leads by now."""
        return os.fstat(self._bytes.fileno())

    def names(self, path: str) -> list[str]:
        """Return the names in a group."""
        found = self._object(path)
        if not isinstance(found, h5py.h5g.GroupID):
            raise ValueError(f"/{path} is not a group")
        group = h5py.Group(found)
        if len(group) > _MOST_LEAVES:
            raise ValueError(f"/{path} holds {len(group)} values, too many for a session")
        return list(group)

    @contextlib.contextmanager
    def dataset(self, path: str) -> Iterator[h5py.Dataset]:
        """Open a dataset as it is on disk now, checked to be plain: in this file, not computed, not filtered.

        It is closed at the end of the `with`, and nobody else in this process can open one until then.
        """
        with _ONE_OPEN:
            found = self._object(path)
            if not isinstance(found, h5py.h5d.DatasetID):
                raise ValueError(f"/{path} is not a dataset")
            try:
                dataset = h5py.Dataset(found, readonly=True)
                self._check_plain(dataset, path)
                if self.unfinished:
                    dataset.refresh()
                yield dataset
            finally:
                h5py.h5i.dec_ref(found)

    def _check_plain(self, dataset: h5py.Dataset, path: str) -> None:
        kind, created = dataset.id.get_type(), dataset.id.get_create_plist()
        if not _is_plain_type(kind):
            raise ValueError(f"/{path} is of a type that a session never has")
        if created.get_layout() == h5py.h5d.VIRTUAL or created.get_external_count() or created.get_nfilters():
            raise ValueError(f"/{path} is virtual, external or filtered, which a session's never is")
        if dataset.shape is None:
            raise ValueError(f"/{path} holds no value")
        itemsize = kind.get_size()
        if dataset.chunks and np.prod(dataset.chunks, dtype=float) * itemsize > max(schema.CHUNK_BYTES, itemsize):
            raise ValueError(f"/{path} has chunks of {dataset.chunks} rows, larger than a session's")

    def array(self, path: str, dtype: np.dtype[Any], dimensions: int = 0) -> NDArray[Any]:
        """Return a whole dataset of this type."""
        with self.dataset(path) as dataset:
            if dataset.dtype != dtype or dataset.ndim != dimensions:
                found = f"{dataset.dtype} {dataset.shape}"
                raise ValueError(f"/{path} is {found}, expected {dtype} of {dimensions} dimensions")
            return self._whole(dataset)

    def read(self, path: str) -> "Value":
        """Return a number, a truth value, a fixed-length text, or a list of one of these, with its units."""
        return self.read_all([path])[0]

    def read_all(self, paths: Iterable[str]) -> list["Value"]:
        """Return what `read` does of each path. Together they are no longer than the file: links may lead to the same
        dataset over and over.
        """
        room = min(self.size, _MOST_BYTES)
        values = []
        for path in paths:
            with self.dataset(path) as dataset:
                dtype = dataset.dtype
                if dtype.kind not in "fiubS" or dataset.ndim > 1:
                    raise ValueError(f"/{path} is {dtype} {dataset.shape}, expected numbers or fixed-length texts")
                room -= dataset.size * dtype.itemsize
                if room < 0:
                    raise ValueError(f"/{path} claims {dataset.shape} values, more than the file can hold")
                values.append(Value(path, raw(dataset), self._units(dataset)))
        return values

    def slot(self, path: str, slot: int) -> NDArray[Any]:
        """Return one of the arrays of numbers that are stacked in a dataset."""
        with self.dataset(path) as dataset:
            if dataset.dtype.kind not in "fiubV" or dataset.ndim < 1 or dataset.dtype.hasobject:
                raise ValueError(f"/{path} is {dataset.dtype} {dataset.shape}, expected stacked numbers")
            return np.array(self._whole(dataset)[slot])

    def leaves(self, path: str) -> list[str]:
        """Return the paths of all datasets in a group and the groups inside it."""
        found: list[str] = []
        waiting = [path]
        seen = 0
        while waiting:
            group = waiting.pop()
            names = self.names(group)
            seen += len(names)  # groups, too: links may lead round in circles
            if seen > _MOST_LEAVES or group.count("/") > _DEEPEST:
                raise ValueError(f"/{path} holds more than {_MOST_LEAVES} values or is too deep for a session")
            for name in names:
                inner = f"{group}/{name}"
                (waiting if isinstance(self._object(inner), h5py.h5g.GroupID) else found).append(inner)
        return found

    def _units(self, dataset: h5py.Dataset) -> str:
        """Return the units of a value; empty when there are none, or they are no text."""
        if not h5py.h5a.exists(dataset.id, b"units"):
            return ""
        attribute = h5py.h5a.open(dataset.id, b"units")
        kind = attribute.get_type()
        if kind.get_class() != h5py.h5t.STRING or attribute.shape or attribute.get_storage_size() > _LONGEST_UNIT:
            return ""
        if kind.is_variable_str() and not self._heaps_checked:
            self._check_heaps()
        return units(dataset)

    def _check_heaps(self) -> None:
        """Check every heap of variable-length texts, which the units of schema 1 are.

        Heaps have no checksum, and HDF5 goes round in a damaged one for ever.
        """
        with mmap.mmap(self._bytes.fileno(), 0, access=mmap.ACCESS_READ) as data:
            start = data.find(_HEAP)
            for _ in range(_MOST_HEAPS):
                if start < 0:
                    self._heaps_checked = True
                    return
                if data[start + 4 : start + 5] == b"\1" and not _is_sound_heap(data[start : start + _LARGEST_HEAP]):
                    break
                start = data.find(_HEAP, start + 1)
        raise ValueError("the texts of its attributes are damaged, or too many")

    def _whole(self, dataset: h5py.Dataset) -> NDArray[Any]:
        if dataset.size * dataset.dtype.itemsize > self.size:
            raise ValueError(f"{dataset.name} claims {dataset.shape} values, more than the file can hold")
        return raw(dataset)

    def _object(self, path: str) -> h5py.h5g.GroupID | h5py.h5d.DatasetID | h5py.h5t.TypeID:
        """Open what stands at a path. Groups stay open: each is on the way to dozens of values."""
        known = self._groups.get(path)
        if known is not None:
            return known
        before, _, name = path.rpartition("/")
        group = self._object(before) if before else self._file.id
        links, key = group.links if isinstance(group, h5py.h5g.GroupID) else None, name.encode()
        # A link of another kind leads to another place, or to another file.
        if links is None or not links.exists(key) or links.get_info(key).type != h5py.h5l.TYPE_HARD:
            raise ValueError(f"/{path} is missing, or a link")
        found = h5py.h5o.open(group, key)
        if isinstance(found, h5py.h5g.GroupID):
            self._groups[path] = found
        return found


def _is_plain_type(kind: h5py.h5t.TypeID, depth: int = 0) -> bool:
    """Say whether a type is a number, a text, or rows of such and of arrays of such.

    Asked before h5py makes a numpy type of it, which takes a type nested in itself 5000 times half a minute.
    """
    match kind.get_class():
        case h5py.h5t.COMPOUND:
            members = (kind.get_member_type(i) for i in range(kind.get_nmembers()))
            return depth == 0 and all(_is_plain_type(member, 1) for member in members)
        case h5py.h5t.ARRAY:
            return depth <= 1 and _is_plain_type(kind.get_super(), 2)
        case atomic:
            return atomic in _ATOMIC


def _is_sound_heap(data: bytes) -> bool:
    """Say whether one follows the other in a global heap (HDF5 file format specification, III.E), up to its end."""
    size = int.from_bytes(data[8:16], "little")
    place = _HEAP_HEADER
    while place + _HEAP_HEADER <= size <= len(data):
        index = int.from_bytes(data[place : place + 2], "little")
        length = int.from_bytes(data[place + 8 : place + 16], "little")
        # Number 0 is the free space, with its own header counted.
        if not index and not length:
            return False
        place += _HEAP_HEADER + -(-length // 8) * 8 if index else length
    return place <= size <= len(data)


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
    except (OSError, KeyError, RuntimeError) as error:  # what h5py makes of HDF5's errors
        said = error.args[0] if isinstance(error, KeyError) and error.args else error
        raise kind(
            f"session {path}: {doing} failed: {said}. The file or its disk is damaged; take it from a backup"
        ) from error
    except Exception as error:
        raise kind(f"session {path}: {doing} failed: {error}") from error
