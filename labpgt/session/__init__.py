"""The session file: every shot of a run, written while it goes and read back by anyone."""

from labpgt.session.reader import Session
from labpgt.session.recovery import Recovery
from labpgt.session.writer import SessionWriter

__all__ = ["Recovery", "Session", "SessionWriter"]
