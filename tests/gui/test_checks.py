"""What the window's room answers to `labpgt doctor`; Qt is tried in a process of its own."""

import re
from pathlib import Path

import pytest

from gui import checks as module


def test_qt_starts() -> None:
    (qt,) = module.checks()
    assert (qt.name, qt.ok) == ("Qt", True)
    assert "PyQt6 6." in qt.detail
    assert ", platform " in qt.detail


def test_without_a_display_it_is_tried_off_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(module.sys, "platform", "linux")
    (qt,) = module.checks()
    assert qt.ok
    assert "platform offscreen (no display here" in qt.detail


@pytest.mark.parametrize(
    ("start", "detail"),
    [
        ("import sys; sys.exit('first line\\nno Qt platform plugin')", ": no Qt platform plugin"),
        ("import os; os._exit(134)", ": ended with code 134"),
        ("raise ImportError('libEGL.so.1: cannot open')", ": ImportError: libEGL.so.1: cannot open"),
    ],
)
def test_qt_that_does_not_start_is_reported(start: str, detail: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_START", start)
    (qt,) = module.checks()
    assert not qt.ok
    assert qt.detail.endswith(detail)
    assert qt.advice


def test_the_library_that_cannot_be_loaded_is_named_by_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_START", "import sys; sys.exit(1)")
    monkeypatch.setattr(module, "QT_LIBRARIES", {"libc.so.6": "libc6", "libnowhere.so.9": "libnowhere9"})
    (qt,) = module.checks()
    assert qt.advice.endswith("apt-get install libnowhere9")
    monkeypatch.setattr(module, "QT_LIBRARIES", {"libc.so.6": "libc6"})
    (qt,) = module.checks()
    assert "DISPLAY" in qt.advice


def test_set_up_installs_the_same_libraries() -> None:
    script = (Path(module.__file__).parents[1] / ".ci" / "setup").read_text()
    assert dict(re.findall(r"(lib\S+\.so\.\d+):([a-z0-9.+-]+)", script)) == module.QT_LIBRARIES


def test_qt_that_hangs_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_START", "import time; time.sleep(60)")
    monkeypatch.setattr(module, "_TIMEOUT_S", 0.2)
    (qt,) = module.checks()
    assert not qt.ok
    assert "no window within 0.2 s" in qt.detail
