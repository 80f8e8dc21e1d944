"""Asks a run to pause, go on or stop, without making the window wait for its folder."""

import threading
from collections.abc import Callable
from pathlib import Path

from labpgt.control import Request, ask
from labpgt.errors import LabpgtError


def ask_in_thread(session: Path, request: Request, failed: Callable[[str], None]) -> None:
    """Ask whoever writes this session; `failed` gets why that cannot be, in another thread."""

    def put() -> None:
        try:
            ask(session, request, "the window")
        except LabpgtError as error:
            failed(str(error))

    # A folder on the network may take its time.
    threading.Thread(target=put, name="request", daemon=True).start()
