"""What the pages of the window share."""

from collections.abc import Sequence
from pathlib import Path

from PyQt6.QtCore import QObject, pyqtSignal

from gui.actions import Actions
from gui.desk import Desk
from gui.jobs import Jobs
from gui.json_process import see_all_leave
from gui.rf import RfControl
from gui.state import State
from gui.theme import Theme


class Lab(QObject):
    """One of each: actions, theme, state, desk, jobs and RF; and the ways from one page to another."""

    live_wanted = pyqtSignal(Path)
    """Show this session on the page of live plots."""
    replay_wanted = pyqtSignal(Path)
    """Open this session on the page of recorded runs."""
    configuration_wanted = pyqtSignal(Path)
    """Fill the form of the next run from this file: a configuration (TOML), or that of a session."""
    device_wanted = pyqtSignal(dict)
    """Have the form of the next run on this device: its name and settings."""
    noticed = pyqtSignal(str, str)
    """A level ("info", "warning", "error") and a text, for the log; an error also for the banner."""

    def __init__(self, state: State, theme: Theme, *, preload: Sequence[str] = (), standby: bool = True) -> None:
        """`preload` names devices whose code stands by for the next run."""
        super().__init__()
        self.state = state
        self.theme = theme
        self.actions = Actions()
        self.desk = Desk()
        self.jobs = Jobs(state.jobs, preload, standby=standby)
        self.rf = RfControl(self.jobs)
        self.rf.said.connect(self.noticed)

    @property
    def sessions(self) -> Path:
        """Folder in which runs are looked for and written, as a person has chosen it."""
        return Path(str(self.state.settings.value("sessions", "") or Path("sessions").resolve()))

    def choose_sessions(self, folder: Path) -> None:
        """Look for runs in another folder from now on."""
        self.state.settings.setValue("sessions", str(folder))

    def notice(self, level: str, text: str) -> None:
        """Tell a person something: it is logged, and an error is shown."""
        self.noticed.emit(level, text)

    def close(self) -> None:
        """Let every helper process leave; runs go on."""
        self.desk.close()
        self.rf.close()
        self.jobs.close()
        see_all_leave()
