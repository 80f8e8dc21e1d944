"""Small real sessions, and what may befall a file: seeded, so that the same number makes the same damage."""

import os
import re
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import h5py
import numpy as np

from labpgt.config import Config
from labpgt.events import Event, StepDone, Subscriber
from procedures.resume import resume
from procedures.train import run
from tests import forked
from tests.runs import configured, record

SAMPLES = Path(__file__).parent / "labpgt" / "sessions"
CONFIG = configured(training={"epochs": 3})
"""Three epochs of 15 updates: 760 shots in a third of a second."""
STRANGERS = {
    "finished": ("finished twin", "other seed"),
    "aborted": ("crashed", "finished"),
    "crashed": ("crashed twin", "other seed"),
    "resumed": ("resumed twin", "finished"),
    "crashed again": ("crashed", "resumed"),
    "schema 1 finished": ("schema 1 crashed",),
    "schema 1 crashed": ("schema 1 finished",),
}
"""The sessions that are damaged, each with those of the same configuration from which blocks come."""
UNCHECKED = {"schema 1 finished": "schema-1-success.h5", "schema 1 crashed": "schema-1-crashed.h5"}
"""Those without checksums, as recorded by the first labpgt."""
_BLOCKS = re.compile(rb"OHDR|OCHK|FRHP|FHDB|FHIB|FSHD|FSSE|BTHD|BTIN|BTLF|EAHD|EAIB|EASB|EADB|FAHD|FADB|GCOL|SNOD|TREE")
_SUPERBLOCK = 48
_LONGEST = 8192


def config(seed: int = 0) -> Config:
    """The configuration of the sessions that are damaged: checkpoints come often."""
    made = CONFIG.model_dump()
    made["training"]["seed"] = seed
    made["session"] = {"checkpoint_shots": 100, "flush_shots": 16, "flush_ms": 1000.0}
    return Config.model_validate(made)


def make_sessions(folder: Path) -> None:
    """Make the sessions; the process that does so is killed in the middle of the last, with SIGKILL."""
    code = forked.start(_make, folder).wait()
    if code != -signal.SIGKILL:
        raise RuntimeError(f"making the sessions ended with code {code}, not with SIGKILL")
    for name, sample in UNCHECKED.items():
        shutil.copy(SAMPLES / sample, place(folder, name))


def place(folder: Path, name: str) -> Path:
    """Return where a session of this name is."""
    return folder / f"{name.replace(' ', '-')}.h5"


def _make(folder: Path) -> None:
    for name, seed in (("finished", 0), ("finished twin", 0), ("other seed", 1)):
        record(config(seed), place(folder, name))
    for name, steps in (("aborted", 33), ("resumed", 20), ("resumed twin", 31)):
        record(config(), place(folder, name), steps=steps)
    for name in ("resumed", "resumed twin"):
        resume(place(folder, name))
    scratch = folder / "scratch.h5"
    # What is in the file at this moment is what a process that is killed now leaves behind.
    record(config(), scratch, steps=20)
    resume(scratch, [_at(38, lambda: shutil.copy(scratch, place(folder, "crashed again")))])
    scratch.unlink()
    run(config(), scratch, [_at(41, lambda: shutil.copy(scratch, place(folder, "crashed twin")))])
    scratch.unlink()
    run(config(), place(folder, "crashed"), [_at(36, lambda: os.kill(os.getpid(), signal.SIGKILL))])


def _at(step: int, action: Callable[[], object]) -> Subscriber:
    """Do something after this update."""

    def watch(event: Event) -> None:
        if isinstance(event, StepDone) and int(event.row["step"]) == step:
            action()

    return watch


@dataclass(frozen=True)
class Original:
    """A sound session as bytes, and where in them is what."""

    name: str
    data: bytes
    strangers: tuple[bytes, ...]
    blocks: tuple[int, ...]
    """Where HDF5's own blocks begin."""
    datasets: tuple[tuple[int, int, int], ...]
    """Offset, length and size of a row of each piece of a dataset."""


def read_original(folder: Path, name: str) -> Original:
    """Read a session and find its parts."""
    path = place(folder, name)
    data = path.read_bytes()
    pieces: list[list[tuple[int, int, int]]] = []
    unfinished = bool(data[11] & 4)

    def visit(_: str, node: object) -> None:
        if isinstance(node, h5py.Dataset):
            row = node.dtype.itemsize
            if node.chunks:
                found = [node.id.get_chunk_info(i) for i in range(node.id.get_num_chunks())]
                pieces.append([(info.byte_offset, info.size, row) for info in found])
            elif node.id.get_offset() is not None:
                pieces.append([(node.id.get_offset(), node.id.get_storage_size(), row)])

    with h5py.File(path, "r", swmr=unfinished) as file:
        file.visititems(visit)
    strangers = tuple(place(folder, other).read_bytes() for other in STRANGERS[name])
    blocks = tuple(match.start() for match in _BLOCKS.finditer(data))
    return Original(name, data, strangers, blocks, tuple(piece for found in pieces for piece in found))


@dataclass(frozen=True)
class Damage:
    """A damaged file and what was done to it."""

    kind: str
    what: str
    data: bytes


WHERE = ("anywhere", "metadata", "data", "superblock")
HOW = ("one bit", "one byte", "some bytes", "zeros", "0xFF", "noise", "copied", "spliced", "swapped")
KINDS = (*(f"{how}, {where}" for how, where in product(HOW, WHERE)), "truncated", "extended")


def damaged(original: Original, kind: str, random: np.random.Generator) -> Damage:
    """Damage a session in one of `KINDS`; the result differs from the original."""
    for attempt in range(20):
        data = bytearray(original.data)
        # Superblocks, for one, may be the same in both sessions.
        done = kind if attempt < 10 else "one bit, anywhere"
        what = _damage(original, done, random, data)
        if data != original.data:
            return Damage(kind, f"{original.name}: {done}: {what}", bytes(data))
    raise RuntimeError(f"{original.name}: no {kind} changes it")


def _damage(original: Original, kind: str, random: np.random.Generator, data: bytearray) -> str:
    if kind == "truncated":
        size = int(random.integers(len(data))) if random.random() < 0.7 else len(data) - int(random.integers(1, 4096))
        del data[size:]
        return f"to {size} bytes"
    if kind == "extended":
        more = int(random.integers(1, 100_000))
        data += random.bytes(more)
        return f"by {more} bytes"
    how, where = kind.split(", ")
    start, length = _region(original, where, random)
    stop = min(start + length, len(data))
    if how == "one bit":
        bit = int(random.integers(8))
        data[start] ^= 1 << bit
        return f"bit {bit} of byte {start}"
    if how == "one byte":
        data[start] = int(random.integers(256))
        return f"byte {start}"
    if how == "some bytes":
        places = random.integers(start, stop, int(random.integers(2, 17)))
        for at in places.tolist():
            data[at] = int(random.integers(256))
        return f"{len(places)} bytes in {start}:{stop}"
    if how in ("zeros", "0xFF", "noise"):
        size = stop - start
        data[start:stop] = random.bytes(size) if how == "noise" else (b"\0" if how == "zeros" else b"\xff") * size
        return f"{start}:{stop}"
    if how == "spliced":
        number = int(random.integers(len(original.strangers)))
        # Where the stranger is shorter, only so much comes; the length stays.
        piece = original.strangers[number][start:stop]
        data[start : start + len(piece)] = piece
        return f"{start}:{stop} from {STRANGERS[original.name][number]}"
    other, _ = _region(original, where, random)
    size = min(stop - start, len(data) - other)
    first, second = bytes(data[start : start + size]), bytes(data[other : other + size])
    data[start : start + size] = second
    if how == "swapped":
        data[other : other + size] = first
    return f"{start}:{start + size} and {other}:{other + size}"


def _region(original: Original, where: str, random: np.random.Generator) -> tuple[int, int]:
    """Return where the damage begins and how long it is, if it is long."""
    size = int(2 ** random.uniform(1, np.log2(_LONGEST)))
    if where == "superblock":
        return int(random.integers(_SUPERBLOCK)), int(random.integers(2, _SUPERBLOCK))
    if where == "metadata":
        i = int(random.integers(len(original.blocks)))
        block = original.blocks[i]
        following = original.blocks[i + 1] if i + 1 < len(original.blocks) else len(original.data)
        if random.random() < 0.5:
            return block, min(following - block, _LONGEST)  # the whole block
        return min(block + int(random.integers(256)), len(original.data) - 2), min(size, 64)
    if where == "data":
        offset, length, row = original.datasets[int(random.integers(len(original.datasets)))]
        if length > row and random.random() < 0.5:  # whole rows
            rows = length // row
            first = int(random.integers(rows))
            return offset + first * row, row * int(random.integers(1, rows - first + 1))
        if random.random() < 0.5:
            return offset, length
        return offset + int(random.integers(length)), size
    if random.random() < 0.2:
        size = int(random.integers(2, len(original.data) // 2))
    return int(random.integers(len(original.data) - 2)), size


def nth(originals: dict[str, Original], seed: int, number: int) -> tuple[Original, Damage]:
    """Return damage number so and so of a seed: kinds and sessions take turns."""
    random = np.random.default_rng((seed, number))
    names = sorted(originals)
    original = originals[names[(number // len(KINDS) + number) % len(names)]]
    return original, damaged(original, KINDS[number % len(KINDS)], random)
