"""Where the window keeps what is its own: how it looked, its log, reports of crashes, and what its jobs say."""

import os
from pathlib import Path

import psutil
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

    def begins(self) -> str:
        """Note that a window is open; return a word about how the last one ended, if nobody closed it."""
        pid = int(self.settings.value("open", 0))
        size = self.crashes.stat().st_size if self.crashes.exists() else 0
        grown = size > int(self.settings.value("crashes", 0))
        self.settings.setValue("open", os.getpid())
        self.settings.setValue("crashes", size)
        self.settings.sync()
        if not pid or psutil.pid_exists(pid):  # closed, or another window
            return ""
        return f"its report is in {self.crashes}" if grown else "it was killed, or this computer stopped"

    def ends(self) -> None:
        """Note that the window was closed."""
        if int(self.settings.value("open", 0)) == os.getpid():
            self.settings.setValue("open", 0)

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
