"""What `labpgt doctor` asks of the window's room."""

import os
import subprocess
import sys
from importlib.metadata import version

from labpgt.checks import Check

_START = "from PyQt6.QtWidgets import QApplication; app = QApplication([]); print(app.platformName())"
_TIMEOUT_S = 30.0
_DEBIAN = "libegl1 libgl1 libxkbcommon0 libfontconfig1 libglib2.0-0 libdbus-1-3"


def checks() -> list[Check]:
    """Return whether a Qt application starts; tried in a process of its own, for Qt aborts when it cannot."""
    environment = dict(os.environ)
    headless = sys.platform.startswith("linux") and not {"DISPLAY", "WAYLAND_DISPLAY"} & set(environment)
    if headless:
        environment["QT_QPA_PLATFORM"] = "offscreen"
    versions = f"PyQt6 {version('PyQt6')}, pyqtgraph {version('pyqtgraph')}"
    advice = f"On Debian or Ubuntu: apt-get install {_DEBIAN}"
    try:
        done = subprocess.run(
            [sys.executable, "-c", _START], env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return [Check("Qt", False, f"{versions}: no window within {_TIMEOUT_S:g} s", advice)]
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"])[-1]
        return [Check("Qt", False, f"{versions}: {last}", advice)]
    note = " (no display here: windows can be drawn but not seen)" if headless else ""
    return [Check("Qt", True, f"{versions}, platform {done.stdout.strip()}{note}")]
