"""Errors that a person reads: each says what was being done, with which value, what was expected, and what to do.

The command line prints the message without a traceback and leaves with the class's exit code.
"""

from typing import Any


class LabpgtError(Exception):
    """Base of every error that labpgt raises on purpose."""

    exit_code = 1


class InputError(LabpgtError):
    """What the person gave (configuration, file, option) cannot be used. Nothing was started."""

    exit_code = 2


class DeviceFault(LabpgtError):
    """A device is absent, ill, or answered with something that is not a response."""

    exit_code = 3
    answered: Any = None
    """Rows of the shots that were answered before the fault in the same request; whole pairs, without losses."""


class ShotsSpoiled(DeviceFault):
    """Shots have a bad flag, also when they are taken again."""


class TakingStopped(Exception):
    """Somebody asked to stop between two device calls of one request."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.answered: Any = None
        """As `DeviceFault.answered`."""


class RunAborted(LabpgtError):
    """A person or the operating system asked the run to stop."""

    exit_code = 4


class StorageFault(LabpgtError):
    """The session file cannot be written or read back."""

    exit_code = 5
