"""labpgt: training deep networks through physical devices, shot by shot.

Public names are loaded when they are first used, so that importing labpgt costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labpgt.characterisation.reader import Characterisation
    from labpgt.config import Config, load_config
    from labpgt.device import Device, Differentiable, Reservoir, Seekable, Setting, Tunable
    from labpgt.replay import ReplayReservoir
    from labpgt.session import Session, SessionWriter
    from labpgt.training import Trainer

_HOMES = {
    "Characterisation": "labpgt.characterisation.reader",
    "Config": "labpgt.config",
    "Device": "labpgt.device",
    "Differentiable": "labpgt.device",
    "ReplayReservoir": "labpgt.replay",
    "Reservoir": "labpgt.device",
    "Seekable": "labpgt.device",
    "Session": "labpgt.session",
    "SessionWriter": "labpgt.session",
    "Setting": "labpgt.device",
    "Trainer": "labpgt.training",
    "Tunable": "labpgt.device",
    "load_config": "labpgt.config",
}

__all__ = [
    "Characterisation",
    "Config",
    "Device",
    "Differentiable",
    "ReplayReservoir",
    "Reservoir",
    "Seekable",
    "Session",
    "SessionWriter",
    "Setting",
    "Trainer",
    "Tunable",
    "load_config",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'labpgt' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
