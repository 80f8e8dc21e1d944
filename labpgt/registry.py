"""Devices by name, so that nothing above the core needs to import a driver or a simulator."""

import importlib
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from labpgt.config import Config
from labpgt.device import Reservoir
from labpgt.errors import DeviceFault, InputError, LabpgtError
from labpgt.validation import nearest, problems, validated

GROUP = "labpgt.reservoirs"


def registered() -> dict[str, EntryPoint]:
    """Return the entry points of every registered reservoir, by name. Nothing is imported."""
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def own_code(config: Config) -> dict[str, str]:
    """Return what a run imports because its configuration names it, `module:name` by `section.key`.

    Whoever takes a configuration from a session file asks a person first: a file may come from anywhere.
    """
    network, device = config.network, config.device.name
    named = {"network.pre": network.pre, "network.readout": network.readout}
    if ":" in device and not device.startswith("replay:") and device not in registered():
        named["device.name"] = device
    return {key: name for key, name in named.items() if name is not None}


def device_class(name: str) -> type[Any]:
    """Return the class behind a registered name or `module:Class`; `InputError` when there is none."""
    if ":" in name:
        module, _, attribute = name.partition(":")
        try:
            found: type[Any] = getattr(importlib.import_module(module), attribute)
        except Exception as error:
            raise InputError(
                f'device.name = "{name}": cannot be imported ({error}). Expected "module:Class" with the module on '
                "PYTHONPATH"
            ) from error
        return found
    known = registered()
    if name not in known:
        raise InputError(
            f'device.name = "{name}": no such device.{nearest(name, known)} Registered: {", ".join(sorted(known))}; '
            'also "replay:FILE.h5" and "module:Class"'
        )
    try:
        return known[name].load()  # type: ignore[no-any-return]
    except Exception as error:
        raise DeviceFault(
            f'device "{name}": {known[name].value} cannot be loaded: {error}. Try labpgt doctor'
        ) from error


def complete_settings(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a device's settings with its defaults, checked, when it has a pydantic model called `Config`.

    Raises `InputError` for what is wrong with them. A class without such a model checks its settings when it is made.
    """
    model = settings_model(name)
    if model is None:
        return dict(settings)
    return validated(model, settings, "device", written=True).model_dump(mode="json")


def setting_problems(name: str, settings: Mapping[str, Any]) -> dict[str, str]:
    """Return what `complete_settings` would raise about the settings, as sentences by `device.key`."""
    model = settings_model(name)
    return {} if model is None else problems(model, settings, "device", written=True)


def setting_descriptions(name: str) -> dict[str, str]:
    """Return what each setting of a device does, in its model's words."""
    model = settings_model(name)
    return {} if model is None else {key: field.description or "" for key, field in model.model_fields.items()}


def settings_model(name: str) -> type[BaseModel] | None:
    """Return the pydantic model of a device's settings; None for one that has none, and for a recording."""
    model = None if name.startswith("replay:") else getattr(device_class(name), "Config", None)
    return model if isinstance(model, type) and issubclass(model, BaseModel) else None


def make_device(name: str, settings: Mapping[str, Any]) -> Reservoir:
    """Return the reservoir of that name, closed, with its settings checked; `InputError` for what is wrong."""
    if name.startswith("replay:"):
        from labpgt.replay import ReplayReservoir

        if settings:
            raise InputError(f"device.{next(iter(settings))}: a recorded session has no settings to change")
        return ReplayReservoir(Path(name.removeprefix("replay:")))
    kind = device_class(name)
    try:
        device = kind(**settings)
    except LabpgtError:
        raise
    except Exception as error:
        raise InputError(
            f"device {name!r} with settings {dict(settings)}: {type(error).__name__}: {error}. Expected a class that "
            "takes these as keyword arguments"
        ) from error
    if not isinstance(device, Reservoir):
        missing = [m for m in _RESERVOIR if not hasattr(device, m)]
        raise InputError(f'device.name = "{name}": is not a labpgt.Reservoir; it lacks {", ".join(missing)}')
    return device


_RESERVOIR = (
    *("name", "open", "close", "make_safe", "settings", "__enter__", "__exit__"),
    *("n_nodes", "max_symbols", "drive_limits", "forward"),
)
