"""What the queue keeps for the next start of the window."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from gui.jobs import JobState
from gui.runs.entry import Entry


class Store:
    """A small file with every run that is not done."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._saved = ""

    def save(self, entries: Sequence[Entry], at_once: int) -> None:
        """Keep these runs. Raises `OSError` once for each state that cannot be kept."""
        kept = [_kept(entry) for entry in entries if entry.standing is not JobState.DONE]
        text = json.dumps({"at_once": at_once, "entries": kept}, default=str)
        if text == self._saved:
            return
        self._saved = text
        new = self._file.with_suffix(".new")
        new.write_text(text, "utf-8")
        new.replace(self._file)

    def load(self) -> tuple[list[Entry], int]:
        """Return the runs that were kept, and how many may go at once; what cannot be read was not kept."""
        entries: list[Entry] = []
        at_once = 1
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            told = json.loads(self._file.read_text("utf-8"))
            at_once = max(1, int(told["at_once"]))
            entries += map(_entry, told["entries"])
        return entries, at_once


def _kept(entry: Entry) -> dict[str, Any]:
    return {
        "config": entry.config,
        "note": entry.note,
        "session": None if entry.session is None else str(entry.session),
        "resume": entry.resume,
        "standing": entry.standing,
        "why": entry.why,
        "advice": entry.advice,
    }


def _entry(kept: dict[str, Any]) -> Entry:
    session = kept["session"]
    entry = Entry(dict(kept["config"]), str(kept["note"]), Path(session) if session else None)
    entry.resume = bool(kept["resume"])
    entry.standing = JobState(kept["standing"])
    entry.why, entry.advice = str(kept["why"]), str(kept["advice"])
    return entry
