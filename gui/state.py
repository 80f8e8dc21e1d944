"""Where the window keeps what is its own: how it looked, its log, reports of crashes, and what its jobs say."""

import os
from pathlib import Path

from platformdirs import user_state_path
from PyQt6.QtCore import QSettings

VARIABLE = "LABPGT_WINDOW_STATE"
"""Environment variable that names another folder."""


class State:
    """A folder of this user's. Nothing in it is needed to read a session."""

    def __init__(self, folder: Path | None = None) -> None:
        """Raises `OSError` when the folder cannot be made."""
        chosen = os.environ.get(VARIABLE)
        self.folder = folder or (Path(chosen) if chosen else user_state_path("labpgt") / "window")
        self.jobs.mkdir(parents=True, exist_ok=True)
        self.settings = QSettings(str(self.folder / "window.ini"), QSettings.Format.IniFormat)

    @property
    def jobs(self) -> Path:
        """Folder with the output of what the window has started."""
        return self.folder / "jobs"

    @property
    def log(self) -> Path:
        """File of the log."""
        return self.folder / "window.log"

    @property
    def crashes(self) -> Path:
        """File with the reports of crashes."""
        return self.folder / "crashes.log"
