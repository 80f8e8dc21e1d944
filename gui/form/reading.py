"""The configuration that is in a file: TOML, or the one that a session has recorded. Read in a thread."""

import threading
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PyQt6.QtCore import QObject, pyqtSignal

from labpgt.config import Config
from labpgt.errors import InputError, LabpgtError
from labpgt.session import Session

_HDF5 = b"\x89HDF\r\n\x1a\n"
_MOST_BYTES = 1 << 20


def configuration_in(path: Path) -> dict[str, Any]:
    """Return the sections of the configuration in a file, unchecked. Raises `LabpgtError`."""
    try:
        with path.open("rb") as file:
            start = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; check the path") from error
    if start.startswith(_HDF5):
        with Session(path) as session:
            found = parsed(session.configuration, f"the configuration in {path}")
        found.get("session", {}).pop("file", None)  # that place is taken
        return found
    if len(start) > _MOST_BYTES:
        raise InputError(f"{path} is no configuration: larger than {_MOST_BYTES >> 20} MiB; choose a TOML file")
    return parsed(start, str(path))


def parsed(text: bytes | str, source: str) -> dict[str, Any]:
    """Return the sections in a TOML text, unchecked, without what says the same as a default.

    Defaults of a device may depend on its other settings: these all come. Raises `InputError`, which names the source.
    """
    try:
        decoded = text if isinstance(text, str) else text.decode("utf-8-sig")
        found = tomllib.loads(decoded)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source} is not a configuration: no valid TOML ({error})") from error
    if odd := [name for name, value in found.items() if name not in Config.model_fields or not isinstance(value, dict)]:
        raise InputError(
            f"{source} is not a configuration of a run: it has {', '.join(odd)}, expected are the sections "
            f"{', '.join(Config.model_fields)}"
        )
    defaults = Config().model_dump(exclude={"device"})
    for section, given in found.items():
        usual = defaults.get(section, {})
        found[section] = {k: v for k, v in given.items() if k not in usual or v != usual[k]}
    return found


class InThread(QObject):
    """Does something in a thread, and calls back in the window's own."""

    _over = pyqtSignal(object, object)

    def __init__(self, work: Callable[[], Any], then: Callable[[Any], None], failed: Callable[[str], None]) -> None:
        """`failed` gets the words of a `LabpgtError`; anything else that is raised is a mistake of the program."""
        super().__init__()
        self._work = work
        self._then = then
        self._failed = failed
        self._over.connect(self._tell)
        _ALIVE.add(self)
        threading.Thread(target=self._run, name="reading", daemon=True).start()

    def _run(self) -> None:
        try:
            result: Any = self._work()
        except LabpgtError as error:
            self._over.emit(None, str(error))
        except Exception as error:
            self._over.emit(None, f"{type(error).__name__}: {error}")
        else:
            self._over.emit(result, None)

    def _tell(self, result: Any, why: str | None) -> None:
        _ALIVE.discard(self)
        if why is None:
            self._then(result)
        else:
            self._failed(why)


_ALIVE: set[InThread] = set()
"""Those that are at it: nobody else holds them."""
