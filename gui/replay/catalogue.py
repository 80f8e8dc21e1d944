"""The sessions of a folder, each in one line: read in a thread, and again only when a file has changed."""

import os
import stat
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labpgt.errors import LabpgtError
from labpgt.events import Status
from labpgt.session import Session, schema
from labpgt.session.recorded import OTHERS, definition_of

DEPTH = 2
"""Folders inside the folder that are looked into: a sweep has one for its runs."""
MOST = 5000
"""Files that are listed."""
LOOK_S = 0.1
"""After so long a look hands over what it has read."""


@dataclass(frozen=True)
class Entry:
    """One file of the folder."""

    path: Path
    name: str
    """As seen from the folder."""
    status: str
    """A `Status`, "characterisation" or "unreadable"."""
    problem: str = ""
    """Why it cannot be read, or why the run ended."""
    task: str = ""
    estimator: str = ""
    device: str = ""
    shots: int = 0
    loss: float | None = None
    """Training loss, so far or at the end."""
    accuracy: float | None = None
    """On the test part."""
    date: str = ""
    """When it was started; ISO 8601, UTC."""

    @property
    def is_run(self) -> bool:
        """Whether it is a training run that can be opened."""
        return self.status in set(Status)


class Catalogue:
    """What is in a folder. Used by one thread."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, int], Entry]] = {}

    def look(self, folder: Path) -> tuple[list[Entry], bool]:
        """Return the entries known so far, newest file first, and whether there are more to be read.

        Raises `OSError` when the folder cannot be read.
        """
        began = time.monotonic()
        entries, more = [], False
        for path, mark in sorted(_files(folder), key=lambda found: -found[1][0])[:MOST]:
            mark_read, entry = self._known.get(path, (None, None))
            if mark_read != mark or (entry is not None and entry.status == Status.RUNNING):
                if time.monotonic() - began < LOOK_S:
                    entry = _read(path, str(path.relative_to(folder)))
                    self._known[path] = mark, entry
                else:
                    more = more or mark_read != mark
            if entry is not None:
                entries.append(entry)
        return entries, more


def _files(folder: Path) -> Iterator[tuple[Path, tuple[int, int]]]:
    """Yield session files with time of change and size."""
    for place, folders, names in os.walk(folder, onerror=None):
        here = Path(place)
        if len(here.relative_to(folder).parts) >= DEPTH:
            folders.clear()
        for name in names:
            if name.endswith(".h5") and not name.startswith("."):
                try:
                    found = (here / name).stat()
                except OSError:
                    continue  # gone meanwhile
                if not stat.S_ISREG(found.st_mode):
                    continue  # a pipe: who opens it waits for ever
                yield here / name, (found.st_mtime_ns, found.st_size)
    os.scandir(folder).close()  # says what is wrong with a folder that cannot be read


def _read(path: Path, name: str) -> Entry:
    try:
        definition = definition_of(path)
        if definition in OTHERS and definition != schema.DEFINITION_NAME:
            return Entry(path, name, "characterisation", f"holds {OTHERS[definition]}", date=_modified(path))
        with Session(path) as session:
            return _summary(session, name)
    except (LabpgtError, OSError) as error:
        return Entry(path, name, "unreadable", str(error), date=_modified(path))


def _summary(session: Session, name: str) -> Entry:
    configuration = sections(session.configuration)
    status, results = session.status, session.results
    loss, accuracy = results.get("train_loss"), results.get("test_accuracy")
    for epoch in session.epochs(max(0, session.n_epochs - 1)):
        loss = float(epoch["train_loss"]) if loss is None else loss
        measured = float(epoch["test_accuracy"])
        accuracy = measured if accuracy is None and measured == measured else accuracy
    return Entry(
        path=session.path,
        name=name,
        status=str(status),
        problem=session.reason,
        task=str(configuration.get("task", {}).get("name", "")),
        estimator=str(configuration.get("training", {}).get("estimator", "")),
        device=session.device,
        shots=session.n_shots,
        loss=loss,
        accuracy=accuracy,
        date=session.start_time,
    )


def sections(configuration: str) -> dict[str, dict[str, Any]]:
    """Return a recorded configuration by section; what stands in none is under an empty name, nothing if unreadable."""
    try:
        parsed = tomllib.loads(configuration)
    except (ValueError, RecursionError):
        return {}
    loose = {key: value for key, value in parsed.items() if not isinstance(value, dict)}
    found = {name: section for name, section in parsed.items() if isinstance(section, dict)}
    return {"": loose, **found} if loose else found


def _modified(path: Path) -> str:
    try:
        return schema.iso_time(path.stat().st_mtime)
    except OSError:
        return ""
