"""Which driver is for which model. A driver is imported when it is asked for, not before."""

import importlib
from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from labpgt.errors import InputError

DRIVERS: Mapping[str, str] = MappingProxyType(
    {
        model: driver
        for driver, models in {
            "instruments.keysight_e8257d:KeysightE8257D": ("E8257D",),
            "instruments.keysight_n5182b:KeysightN5182B": ("N5182B", "N5172B", "N5182A"),
            "instruments.keysight_n9020a:KeysightN9020A": ("N9020A", "N9020B"),
            "instruments.rohdeschwarz_fsv:RohdeSchwarzFSV": ("FSV-3", "FSV-4", "FSV-7", "FSV-13", "FSV-30", "FSV-40"),
            "instruments.rohdeschwarz_fsv:RohdeSchwarzFSL": ("FSL-3", "FSL-6", "FSL-18"),
            "instruments.minicircuits_rcdat:MiniCircuitsRCDAT": (
                "RCDAT-4000-120",
                "RCDAT-6000-30",
                "RCDAT-6000-60",
                "RCDAT-6000-90",
                "RCDAT-6000-110",
                "RCDAT-8000-30",
                "RCDAT-8000-60",
                "RCDAT-8000-90",
            ),
            "instruments.supplies:SupplyE36312A": ("E36312A",),
            "instruments.supplies:SupplyHMP4040": ("HMP4040",),
        }.items()
        for model in models
    }
)
"""Module and class of the driver of each model, as the instrument itself gives its model."""


def driver_class(model: str) -> type[Any]:
    """Return the driver's class; `InputError` naming the nearest models when there is none."""
    if model not in DRIVERS:
        near = get_close_matches(model.upper(), DRIVERS, n=3, cutoff=0.5)
        meant = f"did you mean {', '.join(near)}?" if near else f"known are {', '.join(sorted(DRIVERS))}"
        raise InputError(f"no driver for model {model!r}; {meant}")
    module, _, name = DRIVERS[model].partition(":")
    found: type[Any] = getattr(importlib.import_module(module), name)
    return found
