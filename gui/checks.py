"""What `labpgt doctor` says of the windows: PyQt6, pyqtgraph, and whether Qt can start here.

Qt ends the process when it finds no platform to start on, so it is tried in a process of its own.
"""

import os
import subprocess
import sys

from labpgt.checks import Check, installed

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

_START_QT = "from PyQt6.QtWidgets import QApplication; app = QApplication([]); print(app.platformName())"

_FIND_MISSING = """
import ctypes, sys
for library in sys.argv[1:]:
    try:
        ctypes.CDLL(library)
    except OSError:
        print(library)
"""

_TIMEOUT_S = 20.0


def checks() -> list[Check]:
    """Return versions of PyQt6 and pyqtgraph, and whether a `QApplication` starts on this display, or without one."""
    found = [installed("PyQt6"), installed("pyqtgraph")]
    if found[0].ok:
        found.append(_starts())
    return found


def _starts() -> Check:
    """Start Qt as a window would; without a display on the `offscreen` platform, which tests use."""
    environment = dict(os.environ)
    if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"} & environment.keys():
        environment["QT_QPA_PLATFORM"] = "offscreen"
    try:
        process = _python(_START_QT, environment=environment)
    except subprocess.TimeoutExpired:
        display = environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY", "")
        return Check("Qt", False, f"did not start in {_TIMEOUT_S:g} s", f"See whether the display '{display}' answers.")
    if process.returncode == 0:
        return Check("Qt", True, f"starts on platform '{process.stdout.strip()}'")
    detail = f"does not start: {_reason(process.stderr) or f'ended with {process.returncode}'}"
    return Check("Qt", False, detail, _advice())


def _reason(stderr: str) -> str:
    """Return Qt's first complaint, or the error that ends a traceback."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()] or [""]
    return lines[-1] if lines[0].startswith("Traceback") else lines[0]


def _advice() -> str:
    """Name the Debian packages of the libraries that cannot be loaded; if there is none, it is the display."""
    missing = _python(_FIND_MISSING, *QT_LIBRARIES).stdout.split() if sys.platform == "linux" else []
    if missing:
        packages = " ".join(QT_LIBRARIES[library] for library in missing)
        return f"Install what Qt needs: sudo apt-get install {packages}"
    return "Set DISPLAY to a display that answers, or QT_QPA_PLATFORM=offscreen to work without one."


def _python(code: str, *arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a line of Python in a fresh interpreter."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S
    )
