"""Texts from anywhere, for a terminal; for a program that reads what is told of progress; and lists of values."""

import json
import os
from typing import Any

_OPENING, _CLOSING = "[{(", "]})"


def printable(text: str) -> str:
    """Return a text that does nothing to a terminal: a file may come from anybody, and hold escape sequences."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def for_programs() -> bool:
    """Say whether a program reads what goes to standard error, as JSON lines: `LABPGT_PROGRESS=json`."""
    return os.environ.get("LABPGT_PROGRESS") == "json"


def json_line(**values: Any) -> str:
    """Return one line of JSON, all of it ASCII."""
    return json.dumps(values) + "\n"


def split_values(text: str) -> list[str]:
    """Return the values of a list with commas; commas in brackets or quotes do not count."""
    values, depth, quote, start = [], 0, "", 0
    for i, c in enumerate(text):
        if quote:
            quote = "" if c == quote else quote
        elif c in "'\"":
            quote = c
        elif c in _OPENING:
            depth += 1
        elif c in _CLOSING:
            depth -= 1
        elif c == "," and depth == 0:
            values.append(text[start:i].strip())
            start = i + 1
    return [*values, text[start:].strip()]
