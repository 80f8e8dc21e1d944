"""What `labpgt doctor` asks of the window's room."""

import os
import subprocess
import sys
from importlib.metadata import version

from labpgt.checks import Check

_START = "from PyQt6.QtWidgets import QApplication; app = QApplication([]); print(app.platformName())"
_TIMEOUT_S = 30.0
_MISSING = """
import ctypes, sys
for library in sys.argv[1:]:
    try:
        ctypes.CDLL(library)
    except OSError:
        print(library)
"""

QT_LIBRARIES = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libfontconfig.so.1": "libfontconfig1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libdbus-1.so.3": "libdbus-1-3",
    "libX11-xcb.so.1": "libx11-xcb1",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-randr.so.0": "libxcb-randr0",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxcb-sync.so.1": "libxcb-sync1",
    "libxcb-xfixes.so.0": "libxcb-xfixes0",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
}
"""Libraries that PyQt6's wheels take from the system, with the Debian package of each; the last nine for X11 alone."""


def checks() -> list[Check]:
    """Return whether a Qt application starts; tried in a process of its own, for Qt aborts when it cannot."""
    environment = dict(os.environ)
    headless = sys.platform.startswith("linux") and not {"DISPLAY", "WAYLAND_DISPLAY"} & set(environment)
    if headless:
        environment["QT_QPA_PLATFORM"] = "offscreen"
    versions = f"PyQt6 {version('PyQt6')}, pyqtgraph {version('pyqtgraph')}"
    try:
        done = subprocess.run(
            [sys.executable, "-c", _START], env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return [Check("Qt", False, f"{versions}: no window within {_TIMEOUT_S:g} s", _advice())]
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"])[-1]
        return [Check("Qt", False, f"{versions}: {last}", _advice())]
    note = " (no display here: windows can be drawn but not seen)" if headless else ""
    return [Check("Qt", True, f"{versions}, platform {done.stdout.strip()}{note}")]


def _advice() -> str:
    """Name the Debian packages of the libraries that cannot be loaded here; if there are none, it is the display."""
    probe = [sys.executable, "-c", _MISSING, *QT_LIBRARIES]
    missing = subprocess.run(probe, capture_output=True, text=True, check=False).stdout.split()
    if missing:
        return f"On Debian or Ubuntu: apt-get install {' '.join(QT_LIBRARIES[library] for library in missing)}"
    return "Set DISPLAY to a display that answers, or QT_QPA_PLATFORM=offscreen to work without one."
