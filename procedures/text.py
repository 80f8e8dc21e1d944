"""Texts from anywhere, for a terminal; and for a program that reads what is told of progress."""

import json
import os
from typing import Any


def printable(text: str) -> str:
    """Return a text that does nothing to a terminal: a file may come from anybody, and hold escape sequences."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def for_programs() -> bool:
    """Say whether a program reads what goes to standard error, as JSON lines: `LABPGT_PROGRESS=json`."""
    return os.environ.get("LABPGT_PROGRESS") == "json"


def json_line(**values: Any) -> str:
    """Return one line of JSON, all of it ASCII."""
    return json.dumps(values) + "\n"
