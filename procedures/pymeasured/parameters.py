"""pymeasure parameters made from what labpgt has declared already: its configuration, and its commands' options."""

import inspect
import json
import math
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pymeasure.experiment import BooleanParameter, FloatParameter, IntegerParameter, ListParameter, Parameter

from labpgt.units import unit_of

_WIDEST_INT = 2**31 - 1
"""Qt's spin boxes hold no more; a number with a higher limit is a text."""


class TextParameter(Parameter):
    """A value as it stands in a TOML file, a bare word being a text; empty for one that is not set."""

    def __init__(
        self, name: str, check: Callable[[Any], Any] = lambda value: None, *, plain: bool = False, **kwargs: Any
    ) -> None:
        self._check = check
        self.plain = plain
        """Whether it is a text whatever it looks like."""
        super().__init__(name, **kwargs)

    def convert(self, value: Any) -> str:
        """Return the text of a value; `ValueError` for one that the configuration does not take."""
        text = value if isinstance(value, str) else toml_text(value)
        if text:
            try:
                self._check(text if self.plain else toml_value(text))
            except ValidationError as error:
                problems = "; ".join(problem["msg"] for problem in error.errors(include_url=False))
                raise ValueError(f"{self.name} = {text}: {problems}") from None
        return text


def of_field(name: str, key: str, field: FieldInfo, *, strict: bool) -> Parameter:
    """Return the parameter of one key of a configuration, named `name`: its default, limits, choices, unit and help.

    What pymeasure has no parameter for (numbers that may be left out, lists, tables) is a `TextParameter`, which is
    checked as the configuration is: `strict` is that of its model.
    """
    kind, default = field.annotation, field.get_default(call_default_factory=True)
    common: dict[str, Any] = {
        "default": None if default is PydanticUndefined else default,
        "description": field.description,
    }
    if get_origin(kind) is Literal:
        return ListParameter(name, choices=get_args(kind), **common)
    if kind is bool:
        return BooleanParameter(name, **common)
    low, high = _limits(field)
    if kind is int and (high <= _WIDEST_INT or math.isinf(high)):
        limits = {"minimum": max(low, -_WIDEST_INT), "maximum": min(high, _WIDEST_INT)}
        return IntegerParameter(name, units=_units(key), **limits, **common)
    if kind is float:
        limits = {"minimum": max(low, -sys.float_info.max), "maximum": min(high, sys.float_info.max)}
        return FloatParameter(name, units=_units(key), **limits, **common)
    annotated = Annotated[(kind, *field.metadata)] if field.metadata else kind
    adapter: TypeAdapter[Any] = TypeAdapter(annotated, config=ConfigDict(strict=True) if strict else None)

    def check(value: Any) -> None:  # a function: pymeasure copies parameters with all that they hold
        adapter.validate_python(value)

    common["default"] = toml_text(common["default"])
    return TextParameter(name, check, plain=_is_text(kind), **common)


def of_option(command: Callable[..., None], option: str) -> Parameter:
    """Return the parameter of one option of a command of the command line."""
    declared = inspect.signature(command).parameters[option]
    kind, info = get_args(declared.annotation)[:2]
    common = {"default": declared.default, "description": info.help}
    if kind is bool:
        return BooleanParameter(option, **common)
    low = -math.inf if info.min is None else info.min
    high = math.inf if info.max is None else info.max
    if kind is int:
        limits = {"minimum": max(low, -_WIDEST_INT), "maximum": min(high, _WIDEST_INT)}
        return IntegerParameter(option, **limits, **common)
    if kind is float:
        return FloatParameter(option, minimum=low, maximum=high, **common)
    return TextParameter(option, plain=True, default="", description=info.help)


def of_section(section: str, model: type[BaseModel]) -> dict[str, Parameter]:
    """Return the parameters of a section of the configuration, by the attribute that a procedure has them under."""
    strict = bool(model.model_config.get("strict"))
    return {
        f"{section}_{key}": of_field(f"{section}.{key}", key, field, strict=strict)
        for key, field in model.model_fields.items()
    }


def _units(key: str) -> str | None:
    """Return the unit of a key in pymeasure's spelling."""
    return unit_of(key).replace("m3", "m^3") or None


def toml_text(value: Any) -> str:
    """Return a value as it stands in TOML; a text bare, and nothing for None."""
    if value is None:
        return ""
    return str(value) if isinstance(value, str | Path) else toml_inline(value)


def toml_value(text: str) -> Any:
    """Return what a text means in TOML, or the text itself."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if len(parsed) == 1 else text


def toml_inline(value: Any) -> str:
    """Return a value as it stands in a TOML array or table, on one line."""
    match value:
        case Mapping():
            return "{" + ", ".join(f"{json.dumps(str(k))} = {toml_inline(v)}" for k, v in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(toml_inline, value)) + "]"
        case _:
            return json.dumps(value, ensure_ascii=False)


def _limits(field: FieldInfo) -> tuple[float, float]:
    """Return the lowest and the highest value that a number may have."""
    low, high = -math.inf, math.inf
    whole = field.annotation is int
    for limit in field.metadata:
        if (ge := getattr(limit, "ge", None)) is not None:
            low = max(low, ge)
        if (gt := getattr(limit, "gt", None)) is not None:
            low = max(low, gt + 1 if whole else math.nextafter(gt, math.inf))
        if (le := getattr(limit, "le", None)) is not None:
            high = min(high, le)
        if (lt := getattr(limit, "lt", None)) is not None:
            high = min(high, lt - 1 if whole else math.nextafter(lt, -math.inf))
    return low, high


def _is_text(kind: Any) -> bool:
    """Say whether nothing but a text, or no value, is meant."""
    if get_origin(kind) in (Union, UnionType):
        return all(_is_text(inner) for inner in get_args(kind) if inner is not type(None))
    return kind in (str, Path) or (get_origin(kind) is Annotated and _is_text(get_args(kind)[0]))
