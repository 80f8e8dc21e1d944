"""Starts the window, and what works in the background for it."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from PyQt6.QtCore import Qt, QTimer
from PyQt6.QtWidgets import QApplication, QDialog

from gui.crash import CrashReport
from gui.lab import Lab
from gui.state import VARIABLE, State
from gui.theme import Mode, Theme
from gui.window import MainWindow
from labpgt.errors import InputError, LabpgtError, StorageFault

_SIGNALS_MS = 200
"""Python notices a signal only when it runs: a timer sees to that it does."""
_PRELOADED = ("llg-ring", "echo-state-ring")


def main(file: Path | None = None, bench: Path | None = None) -> int:
    """Show the window until it is closed; return the exit code.

    Raises `InputError` for a file that is not there, `LabpgtError` where no window can be shown.
    """
    for path in (file, bench):
        if path is not None and not path.exists():
            raise InputError(f"{path}: no such file; check the path")
    told: list[Lab] = []
    try:
        state = State()
        crash = CrashReport(state.crashes, lambda text: told[0].noticed.emit("error", text))
    except OSError as error:
        raise StorageFault(
            f"the window's own folder cannot be used: {error.filename} cannot be made or written ({error.strerror}); "
            f"name another in the environment variable {VARIABLE}"
        ) from error
    check_display()
    app = QApplication.instance() or QApplication(sys.argv[:1])
    assert isinstance(app, QApplication)
    app.setApplicationName("labpgt")
    # In dialogs of the desktop's own, F12 would not be heard.
    app.setAttribute(Qt.ApplicationAttribute.AA_DontUseNativeDialogs)
    app.setApplicationDisplayName("labpgt")
    chosen = str(state.settings.value("colours", Mode.SYSTEM))
    lab = Lab(state, Theme(app, Mode(chosen) if chosen in set(Mode) else Mode.SYSTEM), preload=_PRELOADED)
    told.append(lab)
    crash.install()
    window = MainWindow(lab)
    window.show()
    begin_in_background(lab, window, file, bench)
    wake = QTimer()
    wake.timeout.connect(lambda: None)
    wake.start(_SIGNALS_MS)
    restore_signals = heed_signals(window)
    try:
        return app.exec()
    finally:
        restore_signals()
        crash.uninstall()


def heed_signals(window: MainWindow) -> Callable[[], None]:
    """Have Ctrl-C and the end of the desktop's session close the window at once, for nobody answers questions then.

    Runs go on, and the next window finds them again. Returns what gives the signals back.
    """

    def leave(*_: object) -> None:
        window.leave()
        for widget in QApplication.topLevelWidgets():
            if isinstance(widget, QDialog):
                widget.reject()

    before = {number: signal.signal(number, leave) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    return restore


def check_display() -> None:
    """Raise `LabpgtError` where Qt would abort the process because there is no screen."""
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or os.environ.get("QT_QPA_PLATFORM")
    ):
        raise LabpgtError(
            "there is no screen here (neither DISPLAY nor WAYLAND_DISPLAY is set); without one use labpgt train and "
            "labpgt watch, or ssh -X"
        )


def begin_in_background(lab: Lab, window: MainWindow, file: Path | None, bench: Path | None) -> None:
    """Once the window is there: find runs again, start the helper processes, open what was asked for."""

    def begin() -> None:
        if tail := lab.state.begins():
            lab.notice("warning", f"the window did not end properly last time: {tail}")
        if not lab.state.first:
            lab.notice(
                "warning",
                "another window is open already: runs that still wait in this one when it closes are taken over by the "
                "next window that starts without another",
            )
        lab.jobs.find_again()
        lab.desk.begin()
        lab.jobs.begin()
        if bench is not None:
            window.bench.file.setEditText(str(bench))
            window.bench.connect_bench()
            window.go("Bench")
        if file is not None and file.suffix.lower() == ".toml":
            lab.configuration_wanted.emit(file.resolve())
        elif file is not None:
            window.open_session(file.resolve())

    QTimer.singleShot(0, begin)
