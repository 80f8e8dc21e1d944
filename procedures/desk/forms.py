"""What a form needs to know: devices and their settings, what is wrong with a configuration, where to start from."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic_core import PydanticUndefined, to_jsonable_python

import labpgt
from labpgt.config import Config, config_problems, load_config, to_toml
from labpgt.errors import InputError, LabpgtError
from labpgt.registry import device_class, registered, setting_descriptions, setting_problems, settings_model
from labpgt.units import unit_of
from procedures.configured import default_path, with_device_defaults

_PRESETS = Path(labpgt.__file__).parents[1] / "data"
"""Configurations of the experiments; an installation without its sources has none."""


def devices() -> list[str]:
    """Return the names of registered devices."""
    return sorted(registered())


def device(name: str) -> dict[str, Any]:
    """Describe a device and its settings; the schema is null where it has no model of them, or is not registered."""
    found: dict[str, Any] = {"name": name, "schema": None, "defaults": {}, "units": {}, "description": ""}
    if name not in registered():
        if ":" not in name:
            device_class(name)  # raises what is wrong
        return found
    found["description"] = (device_class(name).__doc__ or "").strip().partition("\n")[0]
    model = settings_model(name)
    if model is None:
        return found
    return {**found, "schema": _schema(model), "defaults": _defaults(model), "units": _units(model)}


def _schema(model: type[BaseModel]) -> dict[str, Any] | None:
    try:
        return model.model_json_schema()
    except PydanticInvalidForJsonSchema:
        return None


def _defaults(model: type[BaseModel]) -> dict[str, Any]:
    fields = {key: field.get_default(call_default_factory=True) for key, field in model.model_fields.items()}
    return {key: to_jsonable_python(value) for key, value in fields.items() if value is not PydanticUndefined}


def _units(model: type[BaseModel]) -> dict[str, str]:
    return {key: unit for key in model.model_fields if (unit := unit_of(key))}


Refusals = Callable[[Config], dict[str, str]]
"""What a run of a good configuration would be refused for when it begins, by `section.key`."""


def check(config: Mapping[str, Any], refusals: Refusals | None) -> dict[str, Any]:
    """Return what is wrong with a configuration by `section.key`; when nothing is, the whole of it, and its session.

    Without `refusals`, which takes torch, only the values are checked: the answer says so in `complete`.
    """
    problems = _problems(config)
    if not problems:
        whole = _whole(config)
        problems = refusals(whole) if refusals else {}
    found = {"problems": problems, "toml": None, "path": None, "complete": refusals is not None}
    if problems:
        return found
    descriptions = setting_descriptions(whole.device.name) if whole.device.name in registered() else {}
    return {**found, "toml": to_toml(whole, descriptions), "path": str(default_path(whole))}


def checked(config: Mapping[str, Any]) -> Config:
    """Return the whole configuration. Raises `InputError` when there is something wrong with its values."""
    if problems := _problems(config):
        raise InputError(as_lines(problems))
    return _whole(config)


def as_lines(problems: Mapping[str, str]) -> str:
    """Return problems by key as one text."""
    return "\n".join(f"{key}: {sentence}" for key, sentence in problems.items())


def _whole(config: Mapping[str, Any]) -> Config:
    """Return a good configuration, with every setting of its device when that is registered."""
    found = Config.model_validate(config)
    return with_device_defaults(found) if found.device.name in registered() else found


def _problems(config: Mapping[str, Any]) -> dict[str, str]:
    """Return what is wrong with a configuration and with the settings of its device, by `section.key`."""
    return {**config_problems(config), **_device_problems(config.get("device", {}))}


def _device_problems(section: Any) -> dict[str, str]:
    if not isinstance(section, Mapping) or not isinstance(name := section.get("name", Config().device.name), str):
        return {}
    settings = {key: value for key, value in section.items() if key != "name" and value is not None}
    if name.startswith("replay:"):
        return {f"device.{key}": "a recorded session has no settings to change" for key in settings}
    if ":" in name:
        return {}
    try:
        return setting_problems(name, settings)
    except InputError as error:  # no such device
        return {"device.name": str(error).partition(": ")[2]}
    except LabpgtError as error:
        return {"device.name": str(error)}


def presets() -> list[dict[str, str]]:
    """Return configurations to start from, each with what the comment at its top says."""
    defaults = {
        "name": "defaults",
        "title": "Defaults",
        "description": "Wisconsin Breast Cancer through the simulated ring.",
        "toml": to_toml(Config()),
    }
    return [defaults, *filter(None, map(_preset, sorted(_PRESETS.glob("*.toml"))))]


def _preset(path: Path) -> dict[str, str] | None:
    try:
        load_config(path)
        text = path.read_text(encoding="utf-8-sig")
    except (InputError, OSError):
        return None  # not one of labpgt's
    lines = text.splitlines()
    comments = [
        line.lstrip("# ") for line in lines[: next((i for i, line in enumerate(lines) if line[:1] != "#"), None)]
    ]
    title, *more = comments or [path.stem]
    return {"name": path.stem, "title": title, "description": " ".join(more), "toml": text}
