"""Asks a person before code is run that only a file names; the answer holds for one run, and is never remembered."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from PyQt6.QtCore import Qt
from PyQt6.QtWidgets import QMessageBox, QWidget

from labpgt.config import Config
from labpgt.registry import own_code


def named_in(configuration: Mapping[str, Any]) -> dict[str, str]:
    """Return what a run of a configuration would import: the key that names it, by `module:name`.

    Nothing for one that cannot be used: the command refuses it before it imports anything.
    """
    try:
        return {name: key for key, name in own_code(Config.model_validate(dict(configuration))).items()}
    except ValidationError:
        return {}


def allowing(names: Sequence[str]) -> list[str]:
    """Return what tells `labpgt resume` and `labpgt replay` that these may be imported."""
    return [word for name in names for word in ("--allow", name)]


def file_of(name: str) -> str | None:
    """Return the file that `module:name` would be loaded from, None if none is found. Nothing is imported."""
    place: Sequence[str] | None = None
    found = None
    for n, part in enumerate(parts := name.partition(":")[0].split(".")):
        full = ".".join(parts[: n + 1])
        # `importlib.util.find_spec` would import the packages around a module.
        found = next((spec for finder in sys.meta_path if (spec := finder.find_spec(full, place))), None)
        place = None if found is None else found.submodule_search_locations
        if found is None or (place is None and part is not parts[-1]):
            return None
    return None if found is None else found.origin or ", ".join(place or ())


def ask(parent: QWidget, doing: str, named: Mapping[str, str], then: Callable[[list[str]], object]) -> None:
    """Ask whether this code may be run once; `then` gets the names that may, and is not called for a no.

    What needs no code of one's own is not asked about: `then` is called at once, with none.
    """
    if not named:
        then([])
        return
    box = QMessageBox(parent)
    box.setObjectName("own-code")
    box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    box.setIcon(QMessageBox.Icon.Warning)
    box.setWindowTitle("Code of your own")
    box.setTextFormat(Qt.TextFormat.PlainText)
    lines = [
        f"• {name} ({key}), from {file_of(name) or 'a module that was not found here'}" for name, key in named.items()
    ]
    box.setText("\n".join([f"To {doing}, this code will be run on this computer:", *lines]))
    box.setInformativeText("It may do whatever you may do here. Allow it only if you know it and trust it.")
    allow = box.addButton("&Allow once", QMessageBox.ButtonRole.AcceptRole)
    cancel = box.addButton("&Cancel", QMessageBox.ButtonRole.RejectRole)
    for button, tip in ((allow, "Run it this time; you are asked again the next"), (cancel, "Run nothing")):
        assert button is not None
        button.setToolTip(tip)
    box.setDefaultButton(cancel)
    box.setEscapeButton(cancel)
    box.buttonClicked.connect(lambda clicked: then(list(named)) if clicked is allow else None)
    box.open()
