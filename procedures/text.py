"""Texts from anywhere, for a terminal."""


def printable(text: str) -> str:
    """Return a text that does nothing to a terminal: a file may come from anybody, and hold escape sequences."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)
